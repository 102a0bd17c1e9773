"""Holds the options of `lstmgen train --resume` against the run that it goes on with."""

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lstmgen import folders
from lstmgen.cli import console
from lstmgen.cli.options import Options
from lstmgen.config import CorpusConfig, TrainConfig
from lstmgen.errors import OptionError

if TYPE_CHECKING:
    import torch

    from lstmgen.checkpoint import SavedRun
    from lstmgen.corpus import Text
    from lstmgen.dataset import Dataset

RAISED = 1.1  # times the learning rate, by which a loss may rise


def data(folder: Path, saved: "SavedRun", text: "Text", held_out: "Text | None") -> "Dataset":
    """The corpus of a run again; refused if it is another text or is to be cut another way."""
    from lstmgen import dataset

    facts = saved.model.results.get("corpus", {})
    config = CorpusConfig.from_json({one.name: facts.get(one.name) for one in fields(CorpusConfig)})
    data = dataset.prepare(
        text, config, seed=saved.training.seed, held_out=held_out, known=saved.model.vocabulary
    )
    if data.facts["sha256"] != facts.get("sha256"):
        raise OptionError(
            f"the corpus is not the text that the run began with ({facts.get('name')}); give that one, or to "
            f"train on with this one leave out --resume and give {folders.begun_with(folder)}, or begin anew "
            "with --overwrite"
        )
    if data.facts["valid_sha256"] == facts.get("valid_sha256"):
        return data
    if held_out is None:
        what = "the run began with a --valid-file; give it again"
    elif facts.get("valid_sha256") is None:
        what = "the run began without a --valid-file; leave it out"
    else:
        what = "--valid-file is not what the run began with; give that one"
    raise OptionError(f"{what}, or begin anew with --overwrite")


def raised_at(saved: "SavedRun", config: TrainConfig) -> int | None:
    """The step of a saved run, if its learning rate there is over a tenth higher with `config`; or None.

    That is so where the run gets a much later end.
    """
    from lstmgen import optim

    step = saved.position.step
    raised = optim.schedule(step, config) > RAISED * optim.schedule(step, saved.training)
    return step if raised else None


def require_same(given: Options, saved: "SavedRun", data: "Dataset") -> None:
    """A run that is resumed is the same run: only its end, and where it runs, may change."""
    from lstmgen.batching import fitting_batch

    if saved.training.batch_size > len(data.train_ids):
        raise OptionError(
            f"the run has {saved.training.batch_size:,} streams, and the corpus {len(data.train_ids):,} "
            "tokens; begin anew with --overwrite"
        )
    if "words" in given and saved.model.vocabulary.level == "char":
        raise OptionError(f"--words {given['words']}: the run is by char; leave out --words")
    run = {**data.facts, **saved.model.config.to_json(), **saved.training.to_json()}
    size = given.get("batch_size")
    if size is not None:  # shrunk as it may have been at the start, before its window was evened
        fitted = {fitting_batch(len(data.train_ids), size, window)
                  for window in (saved.training.window, TrainConfig.window)}  # fmt: skip
        size = saved.training.batch_size if saved.training.batch_size in fitted else size
    for name, value in {**given, "batch_size": size}.items():
        free = value is None or value == "auto"
        if name in run and not free and value != run[name]:
            typed, began = (console.option(name, of[name]) for of in (given, run))
            raise OptionError(
                f"{typed} is not what the run began with ({began}); leave it out, or begin anew with "
                "--overwrite"
            )


def training(saved: "SavedRun", where: "torch.device") -> TrainConfig:
    """The numbers of a run, which goes on in float32 where its bfloat16 cannot be had."""
    from lstmgen import device

    if saved.training.precision == "float32" or device.can_bfloat16(where):
        return saved.training
    console.note(
        "the run was in bfloat16, which this processor cannot train in, and is continued in float32 from now "
        "on: its weights may differ a little from those of a run that stays in one precision"
    )
    return replace(saved.training, precision="float32")


def note_other_device(saved: "SavedRun", device: str) -> None:
    """Says where a run goes on on a device of another kind."""
    before = saved.position.device
    if before not in ("", device):  # which older runs did not keep
        console.note(
            f"the run was on {before} and is continued on {device}: its weights may differ in some bits "
            "from those of a run that stays on one device"
        )
