"""Every write, sync and rename of a run is let fail in turn; and the disk is full for a while."""

import errno
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import SMALL
from jobs import STORY, payload

from lstmgen import checkpoint, dataset, folders, training
from lstmgen.config import CorpusConfig, ModelConfig, TrainConfig
from lstmgen.corpus import Text
from lstmgen.errors import CheckpointError
from lstmgen.job import Job
from lstmgen.training import train

CALLS: dict[str, tuple[Any, str]] = {
    "open": (Path, "open"),
    "reserve": (folders, "_fill"),
    "sync": (os, "fsync"),
    "rename": (Path, "replace"),
    "unlink": (Path, "unlink"),
}


def make_job(folder: Path, steps: int) -> Job:
    data = dataset.prepare(Text("story", STORY), CorpusConfig(), seed=1)
    model = ModelConfig(vocab_size=len(data.vocabulary), hidden_size=12, embedding_size=6)
    numbers = TrainConfig(
        num_steps=steps, report_every=2, batch_size=4, window=16, learning_rate=0.02
    )
    folder.mkdir(exist_ok=True)
    return Job(folder, data, model, numbers, torch.device("cpu"))


class Failing:
    """Stands in for a call of the system and fails at one of them, or at none."""

    def __init__(self, patch: pytest.MonkeyPatch, name: str, at: int) -> None:
        self.count, self.at = 0, at
        self.step = 0  # which the run has told of
        self.failed_at: int | None = None  # what that was then
        where, attribute = CALLS[name]
        really = getattr(where, attribute)

        def call(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self.count - 1 == self.at:
                self.failed_at = self.step
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return really(*arguments, **options)

        patch.setattr(where, attribute, call)


@pytest.mark.parametrize("name", CALLS)
def test_no_call_that_fails_loses_anything(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    times: Callable[[int, int], int],
    tally: Callable[[str, int], None],
) -> None:
    last = times(4, 8)
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    list(
        train(make_job(tmp_path / "first", last))
    )  # what torch reads when it is first used is not ours
    with monkeypatch.context() as patch:
        counting = Failing(patch, name, at=-1)
        list(train(make_job(tmp_path / "whole", last)))
    files = (folders.MODEL_FILE, folders.RUN_FILE)
    whole = [payload(tmp_path / "whole" / file) for file in files]
    lines = (tmp_path / "whole" / folders.LOG_FILE).read_text().count("\n")
    assert counting.count > 0
    for at in range(counting.count):
        job = make_job(tmp_path / f"{name}{at}", last)
        notes, error = [], None
        with monkeypatch.context() as patch:
            failing = Failing(patch, name, at)
            try:
                for record in train(job):
                    notes.append(record.note)
                    failing.step = record.step
            except CheckpointError as caught:
                error = caught
        # What is on the disk now can be read, whatever failed.
        for file, load in zip(files, (checkpoint.load_model, checkpoint.load_run), strict=True):
            if (job.folder / file).exists():
                load(job.folder)
        if error is not None:
            assert "Input/output error" in str(error)
            assert failing.step == 0
            continue
        # Where only litter could not be removed, or nothing was to be, there is no more to say; nor where it
        # is the end, which tries again at once.
        assert any(notes) or name == "unlink" or failing.failed_at == last - 1
        assert [payload(job.folder / file) for file in files] == whole
        assert (job.folder / folders.LOG_FILE).read_text().count("\n") >= lines
    tally(f"runs in which one {name} fails", counting.count)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux limits a running process")
def test_a_disk_that_is_full_for_a_while_costs_nothing(tmp_path: Path) -> None:
    """As a limit on the size of files, put upon a running process and lifted again."""
    (tmp_path / "text").write_text(STORY)
    command = [sys.executable, "-m", "lstmgen", "train", "text", "-m", "m", "--steps", "800"]
    log = tmp_path / "m" / folders.LOG_FILE
    with subprocess.Popen(
        [*command, *SMALL], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step "):
                break
        most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, most[1]))
        told = ""
        for line in process.stderr:
            told += line
            if line.startswith("note: "):
                break
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, most)
        told += process.stderr.read()
        assert process.wait(60) == 0, told
    assert "cannot be written (File too large)" in told or "cannot be used (File too large)" in told
    assert "; it is tried again" in told
    assert checkpoint.load_run(tmp_path / "m").position.step == 800
    assert log.read_text().count('"step": 800,') == 1
    assert time.time() - log.stat().st_mtime < 60
