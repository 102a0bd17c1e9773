"""A run from its options to its last word: read, plan, train, and tell of it."""

import sys
from pathlib import Path

from lstmgen.cli import console, fitting, plan, resuming, telling, watching


def run(given: plan.Options, folder: Path, began: float) -> None:
    """Train by options that make sense, in a folder that is held; `began` is when the command did."""
    from lstmgen import checkpoint, folders
    from lstmgen import corpus as corpora
    from lstmgen.vocabulary import UNKNOWN_ID

    quiet, encoding = given["quiet"], given["encoding"]
    saved = checkpoint.load_run(folder) if given["resume"] else None
    other = checkpoint.load_model(given["init_from"]) if "init_from" in given else None
    text = corpora.read_all(given["corpus"], encoding)
    held_out = corpora.read(given["valid_file"], encoding) if "valid_file" in given else None
    for line in text.notes + (held_out.notes if held_out else ()):
        console.note(line)
    if held_out and held_out.digest == text.digest:
        console.note(
            "--valid-file is the text that is trained on: its loss will not tell how well others are known"
        )
    if not saved and corpora.is_sorted(text.text):
        console.note(
            f"the lines of {text.name} are in order, and the model will learn that; where each is to stand "
            "for itself, mix them first (shuf)"
        )
    data = resuming.data(saved, given, text, held_out) if saved else plan.data(
        given, text, held_out, other
    )  # fmt: skip
    if saved:
        resuming.require_same(given, saved, data)
    elif data.vocabulary.start_id == UNKNOWN_ID:
        console.note(
            "no line end is among the symbols, as the text that is trained on has none, or too few; so a "
            "text will be read as if <unk> stood before it"
        )
    del text, held_out  # which may be large, and a run be long
    if not quiet:
        console.say(telling.of_data(data))
        if other:
            console.say(telling.of_start(other, data))

    # torch takes longer to import than all the above, and a mistake there should not wait for it.
    import torch

    from lstmgen import device as devices
    from lstmgen import training
    from lstmgen.job import Job

    torch.set_num_threads(given.get("threads", torch.get_num_threads()))
    devices.keep_memory()
    where = devices.choose(given["device"])
    network = saved.model.config if saved else plan.network(given, data, other)
    config = saved.training if saved else plan.training(given, data, where, other)
    every = given.get("sample_every")
    job = Job(folder, data, network, config, where, sample_seconds=every)
    if not saved and not other:
        job = fitting.sized(job, given, began)
    job = fitting.timed(job, given, saved, began)
    if not quiet:
        console.say(telling.of_job(job, given, saved))
    per_token = data.train_characters / len(data.train_ids)
    before = folders.file_id(folder / folders.MODEL_FILE)
    last, caught = watching.follow(training.train(job, saved, other), quiet, per_token)
    if caught:
        step = checkpoint.load_run(folder).position.step
        console.say(f"stopped at step {step:,} of {last.num_steps:,} and saved; to go on:")
        console.say(f"  {telling.to_resume(given)}")
        if step < last.step:
            console.note(
                f"the loss had blown up by step {last.step:,}, so what is saved is the run as it was before"
            )
        if last.best is None:
            earlier = before and before == folders.file_id(folder / folders.MODEL_FILE)
            console.note(
                f"{given['model']} still holds the earlier model, as this run's has not been validated yet"
                if earlier
                else f"{given['model']} holds the model of that step, which has not been validated yet"
            )
        sys.exit(128 + caught)
    watching.draw_curves(folder, telling.title(job), quiet)
    if not quiet:
        console.say(watching.describe_end(last, given["model"], telling.model_flags(given)))
