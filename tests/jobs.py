"""A small run to test with: a story that is learned in a second."""

from pathlib import Path

import pytest
import torch
from files import unpacked

from lstmgen import checkpoint, dataset, optim
from lstmgen.checkpoint import SavedModel, SavedRun
from lstmgen.config import CellName, CorpusConfig, Level, ModelConfig, Precision, TrainConfig
from lstmgen.corpus import Text
from lstmgen.job import Job
from lstmgen.training import train

STORY = "".join(f"{i} sheep and {i * 7 % 10} goats went up the hill.\n" for i in range(200))
NUM_STEPS = 8


def make_job(
    folder: Path,
    text: str = STORY,
    cell: CellName = "lstm",
    dropout: float = 0.2,
    steps: int = NUM_STEPS,
    softmax_sample: int = 0,
    report_every: int = 4,
    level: Level = "char",
    tie: bool = False,
    memory: int = 0,
    precision: Precision = "float32",
) -> Job:
    data = dataset.prepare(Text("story", text), CorpusConfig(level=level), seed=1)
    model = ModelConfig(
        vocab_size=len(data.vocabulary),
        cell=cell,
        hidden_size=12,
        embedding_size=12 if tie else 6,
        tie=tie,
    )
    numbers = TrainConfig(
        num_steps=steps,
        report_every=report_every,
        batch_size=4,
        window=16,
        dropout=dropout,
        weight_drop=dropout,
        softmax_sample=softmax_sample,
        learning_rate=0.02,
        memory=memory,
        precision=precision,
    )
    folder.mkdir(exist_ok=True)
    return Job(folder, data, model, numbers, torch.device("cpu"))


def stopped_at(
    step: int, job: Job, saved: SavedRun | None = None, initial: SavedModel | None = None
) -> SavedRun:
    """What is left of a run that is stopped, as by Ctrl-C, when it tells of this step or a later one."""
    records = train(job, saved, initial)
    while next(records).step < step:
        pass
    records.close()
    return checkpoint.load_run(job.folder)


def payload(path: Path) -> bytes:
    tensors, _ = unpacked(path)
    return b"".join(name.encode() + tensors[name].tobytes() for name in sorted(tensors))


def be_lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the vocabularies of these tests count as large, of which a step meets only some symbols."""
    monkeypatch.setattr(optim, "LARGE_VOCABULARY", 2)
