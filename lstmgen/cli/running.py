"""A run from its options to its last word: read, plan, train, and tell of it."""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lstmgen import folders, stopwatch
from lstmgen.cli import console, fitting, options, resuming, telling, watching
from lstmgen.errors import CheckpointError

if TYPE_CHECKING:
    from lstmgen.checkpoint import SavedModel, SavedRun
    from lstmgen.dataset import Dataset
    from lstmgen.folders import FileId
    from lstmgen.holding import Hold
    from lstmgen.progress import Progress


def run(given: options.Options, hold: "Hold", began: float) -> None:
    """Train by options that make sense, in a folder that is held; `began` is when the command did."""
    from lstmgen import checkpoint, engines

    folder, quiet = hold.folder, given["quiet"]
    saved = checkpoint.load_run(folder) if given["resume"] else None
    other = checkpoint.load_model(given["init_from"]) if "init_from" in given else None
    from_a_pipe = bool(telling.from_pipes(options.paths(given)))
    idle = stopwatch.now() - time.process_time()
    data = _read(folder, given, saved, other)
    if from_a_pipe:  # whose writer was waited for, which is no time of the run
        began += stopwatch.now() - time.process_time() - idle
    if not quiet:
        console.tell(telling.of_data(data))
        if other:
            console.tell(telling.of_start(other, data))

    # torch takes longer to import than all the above, and a mistake there should not wait for it.
    engines.require_torch()
    from lstmgen import device as devices
    from lstmgen import training
    from lstmgen.job import Job

    devices.keep_memory()
    where = devices.choose(given["device"])
    most_threads = fitting.take_threads(given, saved, where)
    if saved:
        resuming.note_other_device(saved, where.type)
    model = saved.model.config if saved else options.model(given, data, other)
    config = resuming.training(saved, where) if saved else options.training(given, data, where)
    every = given.get("sample_every")
    job = Job(folder, data, model, config, where, most_threads=most_threads, sample_seconds=every)
    if not saved and not other:
        job = fitting.sized(job, given, began)
    share_spared = fitting.share_spared_by(other, job, given)
    if share_spared is not None and not quiet:
        console.tell(telling.of_knowledge(share_spared))
    job = fitting.timed(job, given, saved, began)
    if not saved:
        job = fitting.suited(job, given, share_spared)
    if not quiet:
        console.tell(telling.of_job(job, given, saved))
        if not saved:
            console.say(telling.to_repeat(job, given))
    per_token = data.train_characters / len(data.train_ids)
    before = folders.file_id(folder / folders.MODEL_FILE)
    run_before = None if saved else folders.file_id(folder / folders.RUN_FILE)
    raised_at = resuming.raised_at(saved, job.training) if saved else None
    with watching.stopping(quiet) as caught:
        records = training.train(job, saved, other, hold)
        del saved, other  # which are large, and which nobody needs once it has begun
        try:
            last, number = watching.follow(records, caught, quiet, per_token)
        except (MemoryError, RuntimeError):  # as of a GPU that others have filled
            _tell_of_save(given, folder, run_before)
            raise
        if number:
            _tell_of_stop(given, folder, last, before)
            sys.exit(128 + number)
        watching.draw_curves(folder, telling.title(job), quiet)
        if odd := telling.what_is_odd(last, raised_at):
            console.note(odd)
        if not quiet:
            console.tell(telling.of_end(last, given["model"]))
            console.say(telling.to_try(telling.model_flags(given)))


def _is_among(corpus: list[str], valid_file: str) -> bool:
    """Whether the text to validate on is one of those to train on, as with a pattern that takes in both."""
    from lstmgen.corpus import STDIN

    files = [name for name in corpus if name != STDIN]
    return valid_file != STDIN and os.path.realpath(valid_file) in map(os.path.realpath, files)


def _read(
    folder: Path, given: options.Options, saved: "SavedRun | None", other: "SavedModel | None"
) -> "Dataset":
    """The texts as they are to be learned, with notes of what is odd about them."""
    from lstmgen import corpus
    from lstmgen.vocabulary import UNKNOWN_ID, is_tokenised

    encoding = given["encoding"]
    console.note_typing(options.paths(given))
    text = corpus.read_all(given["corpus"], encoding)
    held_out = corpus.read(given["valid_file"], encoding) if "valid_file" in given else None
    console.note(*text.notes, *(held_out.notes if held_out else ()))
    if held_out and (
        held_out.digest == text.digest or _is_among(given["corpus"], given["valid_file"])
    ):
        console.note(
            "--valid-file is trained on too: its loss will not tell how well other texts are known"
        )
    if saved:
        data = resuming.data(folder, saved, text, held_out)
        resuming.require_same(given, saved, data)
        return data
    if corpus.is_sorted(text.text):
        console.note(
            f"the lines of {text.name} are in order, and the model will learn that; where each is to stand "
            "for itself, mix them first (shuf)"
        )
    data = options.data(given, text, held_out, other)
    settled = data.vocabulary.level == "char" or "words" in given or other
    if not settled and is_tokenised(text.text):
        console.note(
            f"{text.name} holds <unk>, as text does whose words are set apart already; if it is such text, "
            "give --words space"
        )
    if data.vocabulary.start_id == UNKNOWN_ID:
        console.note(
            "no line end is among the symbols, as the text that is trained on has none, or too few; so a "
            "text will be read as if <unk> stood before it"
        )
    return data


def _tell_of_save(given: options.Options, folder: Path, before: "FileId | None") -> None:
    """How to go on with a run that an error ends, if it is saved; `before` is an earlier one's file."""
    from lstmgen import checkpoint

    if folders.file_id(folder / folders.RUN_FILE) in (None, before):
        return
    with suppress(CheckpointError):  # of an error there is something to tell already
        step = checkpoint.load_position(folder).step
        console.say(f"an error ends the run, which is saved as of step {step:,}; to go on:")
        _tell_how_to_go_on(given)


def _tell_how_to_go_on(given: options.Options) -> None:
    console.say(f"  {telling.to_resume(given)}")
    for name in telling.from_pipes(options.paths(given)):
        console.note(f"{name} is to give the same text again")


def _tell_of_stop(
    given: options.Options, folder: Path, last: "Progress", before: "FileId | None"
) -> None:
    """What is in the folder of a run that was stopped; `before` is the model that was there."""
    from lstmgen import checkpoint

    position = checkpoint.load_position(folder)
    step = position.step
    console.say(f"stopped at step {step:,} of {last.num_steps:,} and saved; to go on:")
    _tell_how_to_go_on(given)
    if step < last.step:
        console.note(
            f"the loss had blown up by step {last.step:,}, so what is saved is the run as it was before"
        )
    if position.best_nats is None:
        earlier = before and before == folders.file_id(folder / folders.MODEL_FILE)
        console.note(
            f"{given['model']} still holds the earlier model, as this run's has not been validated yet; "
            "nothing else of the earlier run is left"
            if earlier
            else f"{given['model']} holds the model of that step, which has not been validated yet"
        )
