"""What is kept of a run, whatever the disk does, and what takes the place of what."""

import errno
import itertools
import os
import re
import shutil
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from jobs import NUM_STEPS, make_job, payload, stopped_at

from lstmgen import (
    checkpoint,
    container,
    course,
    durable,
    folders,
    holding,
    log_file,
    stopwatch,
    training,
)
from lstmgen.checkpoint import SavedModel
from lstmgen.errors import CheckpointError
from lstmgen.initialization import initialize
from lstmgen.keeping import Keeper
from lstmgen.model import Network
from lstmgen.progress import Progress
from lstmgen.scoring import Score
from lstmgen.training import train

PATIENCE = training.PATIENCE  # as it is for everybody


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a run waits for nobody, where a test does not want it to."""
    monkeypatch.setattr(training, "PATIENCE", 0.0)


def begun(
    folder: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> Generator[Progress, None, None]:
    """A run that tells of each step, when it has come to this one."""
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    records = train(make_job(folder))
    while next(records).step < step:
        pass
    return records


def no_room(path: Path, run: checkpoint.SavedRun) -> None:
    """In the place of `save_run`."""
    raise CheckpointError(f"{path}: no room")


@pytest.mark.parametrize("ended", [False, True])
def test_a_run_whose_folder_another_one_has_made_anew_leaves_that_alone(
    tmp_path: Path, ended: bool
) -> None:
    folder = tmp_path / "m"
    job = make_job(folder)
    with holding.claimed(folder, resume=False, overwrite=False):
        records = train(job)
        next(records)
        shutil.rmtree(folder)
        with ExitStack() as other:
            other.enter_context(holding.claimed(folder, resume=False, overwrite=False))
            list(train(job))
            if ended:
                other.close()
            before = {path.name: path.read_bytes() for path in folder.iterdir()}
            with pytest.raises(
                CheckpointError, match="in a folder of this name, and its files are"
            ):
                list(records)
            assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert not (folder / folders.LOCK_FILE).exists()


@pytest.mark.parametrize("ended", [False, True])
def test_a_run_whose_folder_another_one_has_before_its_first_step_leaves_that_alone(
    tmp_path: Path, ended: bool
) -> None:
    """As while it waits for its text from a pipe."""
    folder = tmp_path / "m"
    with holding.claimed(folder, resume=False, overwrite=False) as hold:
        shutil.rmtree(folder)
        with ExitStack() as other:
            other.enter_context(holding.claimed(folder, resume=False, overwrite=False))
            list(train(make_job(folder)))
            if ended:
                other.close()
            before = {path.name: path.read_bytes() for path in folder.iterdir()}
            with pytest.raises(CheckpointError, match="another lstmgen has begun to train"):
                next(train(make_job(folder), hold=hold))
            assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_that_vanished_before_the_first_step_is_made_and_held_again(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "m"
    with holding.claimed(folder, resume=False, overwrite=False) as hold:
        job = make_job(folder)
        shutil.rmtree(folder)
        records = train(job, hold=hold)
        next(records)
        with (
            pytest.raises(CheckpointError, match="another lstmgen is training there"),
            holding.claimed(folder, resume=False, overwrite=True),
        ):
            pass
        list(records)
    assert checkpoint.load_run(folder).position.step == NUM_STEPS
    assert not (folder / folders.LOCK_FILE).exists()


def test_a_lock_that_was_touched_is_still_the_runs(tmp_path: Path) -> None:
    """As by whoever keeps files from being purged for their age."""
    with holding.claimed(tmp_path, resume=False, overwrite=False):
        records = train(make_job(tmp_path))
        next(records)
        os.utime(tmp_path / folders.LOCK_FILE, (1, 1))
        list(records)
    assert checkpoint.load_run(tmp_path).position.step == NUM_STEPS
    assert not (tmp_path / folders.LOCK_FILE).exists()


@contextmanager
def without_lock(folder: Path) -> Iterator[Iterator[Progress]]:
    """A run after its first report, when somebody has taken its lock for one that was left."""
    with holding.claimed(folder, resume=False, overwrite=False) as hold:
        records = train(make_job(folder), hold=hold)
        while not next(records).score:
            pass
        (folder / folders.LOCK_FILE).unlink()
        yield records


def test_a_lock_that_was_removed_is_taken_again_and_the_run_is_saved(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    with without_lock(folder) as records:
        last = list(records)[-1]
        assert checkpoint.load_run(folder).position.step == last.step == last.num_steps
    assert not (folder / folders.LOCK_FILE).exists()


def test_what_another_run_left_where_the_lock_was_removed_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    with without_lock(folder) as records:
        with holding.claimed(folder, resume=False, overwrite=True):
            list(train(make_job(folder)))
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        told = "another lstmgen has begun to train.*nothing of this run is saved$"
        with pytest.raises(CheckpointError, match=told):
            list(records)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_that_may_be_written_and_not_read_takes_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, really_open = tmp_path / "m", os.open

    def choosy(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if path == folder and not flags & (os.O_WRONLY | os.O_RDWR):
            raise PermissionError(errno.EACCES, "no")
        return really_open(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", choosy)
    with holding.claimed(folder, resume=False, overwrite=False):
        list(train(make_job(folder)))
    assert checkpoint.load_run(folder).position.step == NUM_STEPS


@pytest.fixture
def each_step_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run tells of each step, and saves itself after it."""
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)


@pytest.mark.usefixtures("each_step_saved")
def test_a_run_whose_folder_another_one_has_is_saved_once_that_is_moved_away(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "m"
    with holding.claimed(folder, resume=False, overwrite=False):
        records = train(make_job(folder))
        next(records)
        shutil.rmtree(folder)
        with holding.claimed(folder, resume=False, overwrite=False):
            list(train(make_job(folder)))
        assert "move that folder away before this run ends" in next(records).note
        folder.rename(other := tmp_path / "other")
        list(records)
    for one in (folder, other):
        assert checkpoint.load_run(one).position.step == NUM_STEPS


@pytest.mark.usefixtures("each_step_saved")
@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_that_vanished_is_made_and_held_again(tmp_path: Path, linked: bool) -> None:
    folder = named = tmp_path / "m"
    if linked:
        named = tmp_path / "link"
        named.symlink_to(folder)
    with holding.claimed(named, resume=False, overwrite=False):
        records = train(make_job(named))
        next(records)
        for _ in range(2):
            shutil.rmtree(folder)
            next(records)
            assert (folder / folders.RUN_FILE).exists()
            with (
                pytest.raises(CheckpointError, match="another lstmgen is training there"),
                holding.claimed(named, resume=True, overwrite=False),
            ):
                pass
        list(records)
    assert sorted(path.name for path in folder.iterdir()) == [
        folders.RUN_FILE, folders.LOG_FILE, folders.MODEL_FILE,
    ]  # fmt: skip


def test_a_run_is_saved_between_its_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)
    records = train(make_job(tmp_path))
    for step in (1, 2, 3):
        assert next(records).step == step
        assert checkpoint.load_run(tmp_path).position.step == step
    monkeypatch.setattr(training, "SAVE_SECONDS", 60.0)
    assert [next(records).step for _ in range(3)] == [4, 5, 6]
    assert checkpoint.load_run(tmp_path).position.step == 4  # that of the report
    records.close()


@pytest.mark.parametrize("name", [folders.MODEL_FILE, folders.RUN_FILE, folders.LOG_FILE])
def test_what_cannot_be_written_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    calm, troubled = make_job(tmp_path / "calm"), make_job(tmp_path / "troubled")
    list(train(calm))
    records = []
    for record in train(troubled):
        records.append(record)
        if record.step == 1:
            (troubled.folder / name).mkdir()
        if record.score and record.step == 4:
            assert name in record.note
            assert "it is tried again" in record.note
            (troubled.folder / name).rmdir()
    assert records[-1].note == ""
    for file in (folders.MODEL_FILE, folders.RUN_FILE):
        assert payload(calm.folder / file) == payload(troubled.folder / file)
    logs = [(job.folder / folders.LOG_FILE).read_text() for job in (calm, troubled)]
    assert logs[0].count("\n") == logs[1].count("\n")


def test_one_byte_more_is_no_other_reason_not_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told once what keeps a file from being written, by what is told."""

    def full(path: Path, *about: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable, "_attempt", full)
    told = set()
    for size in (5_000_001, 5_000_009):
        with pytest.raises(CheckpointError, match=r"; make room there, up to 6 MB$") as caught:
            durable.put(tmp_path / "there", b"x" * size)
        told.add(str(caught.value))
    assert len(told) == 1


def test_room_is_asked_for_only_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, *about: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(durable, "_attempt", refused)
    with pytest.raises(CheckpointError) as caught:
        durable.put(tmp_path / "there", b"x")
    assert "; check the path and the disk" in str(caught.value)
    assert "make room" not in str(caught.value)
    monkeypatch.setattr(folders, "_fill", refused)
    with pytest.raises(CheckpointError, match="bytes there: choose another"):
        folders.reserve(tmp_path, {"a": 9})

    def full(path: Path, *about: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folders, "_fill", full)
    with pytest.raises(CheckpointError, match="bytes there: make room or choose another"):
        folders.reserve(tmp_path, {"a": 9})


def test_what_cannot_be_written_is_said_when_there_is_something_to_write_and_no_oftener(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    monkeypatch.setattr(course, "LOG_LINES", 4)  # of 8 steps
    records, noted, steps = train(make_job(tmp_path)), [], 0
    while steps < NUM_STEPS:
        record = next(records)
        if not steps:
            (tmp_path / folders.MODEL_FILE).mkdir()
        steps += 1
        noted += [record.step] if record.note else []
    assert noted == [
        4
    ]  # 2 has a line for the log, which can be written; 6 is no report; 8 is the end
    saved = "the run has ended: it is saved as of step 4, from which --resume goes on"
    with pytest.raises(CheckpointError, match=rf"Is a directory.*; {saved}$"):
        next(records)


def test_the_run_that_is_overwritten_stays_until_there_is_something_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    job = make_job(tmp_path)
    list(train(job))
    records = train(replace(job, training=replace(job.training, seed=5)))
    while next(records).step < 3:
        assert checkpoint.load_run(tmp_path).position.step == NUM_STEPS
    assert next(records).score
    assert checkpoint.load_run(tmp_path).position.step == 4
    records.close()


def test_what_cannot_be_written_at_the_end_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = durable.put

    def full(path: Path, *parts: Any) -> None:
        if path.name == folders.RUN_FILE:
            raise CheckpointError(f"{path}: cannot be written")
        put(path, *parts)

    monkeypatch.setattr(durable, "put", full)
    told = r"last\.safetensors: cannot be written.*: its model is saved, and nothing to go on from$"
    with pytest.raises(CheckpointError, match=told):
        list(train(make_job(tmp_path)))
    assert checkpoint.load_model(tmp_path).results["step"] == NUM_STEPS


def test_the_end_waits_for_what_keeps_it_from_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    monkeypatch.setattr(training, "PATIENCE", 600.0)
    monkeypatch.setattr(training, "AGAIN_SECONDS", 0.0)
    model, records = (
        tmp_path / folders.MODEL_FILE,
        train(replace(make_job(tmp_path), sample_seconds=0.0)),
    )
    while (last := next(records)).step < NUM_STEPS:
        if last.step == 5:
            model.unlink()
            model.mkdir()
    waiting = [next(records) for _ in range(3)]
    assert "training is through, and it is tried again for 10 minutes" in waiting[0].note
    assert [record.note for record in waiting[1:]] == ["", ""]  # said once
    assert last.sample is not None  # which is shown once
    assert all(replace(record, note="") == replace(last, sample=None) for record in waiting)
    model.rmdir()
    assert list(records) == []
    assert checkpoint.load_model(tmp_path).results["step"] == NUM_STEPS


def test_the_end_tries_again_each_second_for_ten_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "PATIENCE", PATIENCE)
    slept, looks = list[float](), itertools.count()
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr(stopwatch, "now", lambda: sum(slept) + next(looks) * 1e-6)
    records = train(make_job(tmp_path))
    next(records)
    monkeypatch.setattr(Keeper, "try_to_write", lambda keeper: "no room")
    with pytest.raises(CheckpointError, match="the run has ended"):
        list(records)
    assert slept == [1.0] * 600


@pytest.mark.parametrize("saved", [0, 4])
def test_a_stop_that_cannot_be_saved_says_what_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: int
) -> None:
    records = begun(tmp_path, saved + 1, monkeypatch)
    (tmp_path / folders.RUN_FILE).unlink(missing_ok=True)
    (tmp_path / folders.RUN_FILE).mkdir()
    kept = (
        "its model is saved, and nothing to go on from" if saved else "nothing of this run is saved"
    )
    with pytest.raises(CheckpointError, match=f"; the run has ended: {kept}$"):
        records.close()


def test_a_stop_that_cannot_write_says_what_is_there_from_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = begun(tmp_path, 5, monkeypatch)
    monkeypatch.setattr(checkpoint, "save_run", no_room)
    # Also where nobody can look, as for a moment on a disk of a network.
    monkeypatch.setattr(folders, "file_id", lambda path: None)
    really_stat = Path.stat

    def lost(path: Path, **how: Any) -> os.stat_result:
        if path.name == folders.RUN_FILE:
            raise OSError(errno.ESTALE, "stale")
        return really_stat(path, **how)

    monkeypatch.setattr(Path, "stat", lost)
    with pytest.raises(CheckpointError, match="it is saved as of step 4, from which --resume goes"):
        records.close()


def test_a_resumed_run_that_cannot_be_saved_says_that_its_older_self_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    job = make_job(tmp_path)
    saved = stopped_at(3, job)
    monkeypatch.setattr(checkpoint, "save_run", no_room)
    records = train(job, saved)
    next(records)
    told = rf"it is saved as of step {saved.position.step}, from which --resume goes on$"
    with pytest.raises(CheckpointError, match=told):
        records.close()


def test_the_best_model_stays_where_nobody_can_tell_for_a_moment_whether_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    costs = iter([1.0, 2.0])
    monkeypatch.setattr(training, "validate", lambda network, job: Score(next(costs), 1, 1))
    records, really_stat = train(make_job(tmp_path)), os.stat
    while next(records).step < 5:
        pass

    def lost(path: Any, *about: Any, **how: Any) -> os.stat_result:
        if str(path).endswith(folders.MODEL_FILE):
            raise OSError(errno.ESTALE, "stale")
        return really_stat(path, *about, **how)

    with monkeypatch.context() as away:  # as a disk of a network may be
        away.setattr(os, "stat", lost)
        while next(records).step < NUM_STEPS:
            pass
    list(records)
    assert checkpoint.load_model(tmp_path).results["step"] == 4
    assert checkpoint.load_run(tmp_path).position.best_step == 4


@pytest.mark.parametrize("damage", [Path.unlink, Path.touch, lambda path: path.write_bytes(b"x")])
def test_a_stop_is_saved_whatever_has_become_of_the_model(tmp_path: Path, damage: Any) -> None:
    job = make_job(tmp_path)
    saved = stopped_at(1, job)
    damage(tmp_path / folders.MODEL_FILE)
    stopped_at(3, job, saved)
    assert checkpoint.load_run(tmp_path).position.step >= 3


def test_a_run_whose_file_was_removed_says_that_there_is_nothing_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = begun(tmp_path, 5, monkeypatch)
    (tmp_path / folders.RUN_FILE).unlink()
    monkeypatch.setattr(checkpoint, "save_run", no_room)
    with pytest.raises(CheckpointError, match=r"its model is saved, and nothing to go on from$"):
        records.close()


def test_a_stop_that_leaves_a_model_and_no_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "save_run", no_room)
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    records = train(make_job(tmp_path))
    assert next(records).score is None  # nothing was kept so far
    with pytest.raises(CheckpointError, match=r"its model is saved, and nothing to go on from$"):
        records.close()
    assert checkpoint.load_model(tmp_path).results["step"] == 1


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("name", folders.OWN)
def test_a_folder_in_place_of_a_file_is_told_before_the_first_step(
    tmp_path: Path, name: str, resumed: bool
) -> None:
    job, saved = make_job(tmp_path), None
    if resumed:
        stopped_at(4, job)
        saved = checkpoint.load_run(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    told = rf"{re.escape(name)}: (cannot be used \(Is a directory|this is no file)"
    with pytest.raises(CheckpointError, match=told):
        next(train(job, saved))
    assert (tmp_path / name).is_dir()


def test_a_folder_that_vanishes_is_made_again(tmp_path: Path) -> None:
    job = make_job(tmp_path / "there")
    for record in train(job):
        if record.step == 4:
            shutil.rmtree(job.folder)
    assert checkpoint.load_run(job.folder).position.step == NUM_STEPS


def test_a_folder_without_room_is_refused_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folders, "_fill", full)
    with pytest.raises(CheckpointError, match="cannot hold the model"):
        next(train(make_job(tmp_path)))


def test_a_run_stopped_before_its_first_report_leaves_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    records = train(make_job(tmp_path))
    assert next(records).step == 1
    records.close()
    weights = checkpoint.load_model(tmp_path).weights
    assert all(np.isfinite(weight).all() for weight in weights.values())


def test_a_log_that_cannot_be_written_does_not_keep_a_run_from_being_saved(tmp_path: Path) -> None:
    records = train(make_job(tmp_path))
    while not next(records).score:
        pass
    (tmp_path / folders.LOG_FILE).unlink()
    (tmp_path / folders.LOG_FILE).mkdir()
    told = f"{folders.LOG_FILE}.*; the run has ended: all but the end of its log is saved$"
    with pytest.raises(CheckpointError, match=told):
        list(records)
    assert checkpoint.load_run(tmp_path).position.step == NUM_STEPS


def test_while_a_model_cannot_be_written_no_run_is_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    saved, save_run = list[int](), checkpoint.save_run

    def noted(path: Path, run: checkpoint.SavedRun) -> None:
        saved.append(run.position.step)
        save_run(path, run)

    monkeypatch.setattr(checkpoint, "save_run", noted)
    records = train(make_job(tmp_path))
    next(records)
    (tmp_path / folders.MODEL_FILE).mkdir()
    while next(records).step < NUM_STEPS - 1:  # each of which tries, as each has a line for the log
        pass
    assert saved == [4]
    (tmp_path / folders.MODEL_FILE).rmdir()
    list(records)
    assert saved == [4, NUM_STEPS]


def test_the_log_is_on_the_disk_before_the_run_that_relies_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, save_run = log_file.sync, checkpoint.save_run
    synced, steps = b"", list[int]()

    def watched_sync(folder: Path) -> None:
        nonlocal synced
        sync(folder)
        synced = (folder / folders.LOG_FILE).read_bytes()

    def watched_save(path: Path, run: checkpoint.SavedRun) -> None:
        assert (path.parent / folders.LOG_FILE).read_bytes() == synced
        assert log_file.read(path.parent)[-1]["step"] == run.position.step  # of a report, as here
        steps.append(run.position.step)
        save_run(path, run)

    monkeypatch.setattr(log_file, "sync", watched_sync)
    monkeypatch.setattr(checkpoint, "save_run", watched_save)
    list(train(make_job(tmp_path)))
    assert steps[-1] == NUM_STEPS


def test_a_run_that_is_stopped_again_before_its_first_report_leaves_its_model_of_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    job = make_job(tmp_path, steps=2000)
    job = replace(job, training=replace(job.training, report_every=2000))
    saved, steps = None, list[int]()
    for stop in (20, 40):
        stopped_at(stop, job, saved)
        saved, model = checkpoint.load_run(tmp_path), checkpoint.load_model(tmp_path)
        steps.append(model.results["step"])
        assert np.array_equal(
            model.weights["output.bias"], saved.model.weights["output.bias"]
        )  # of where it stopped
    assert 20 <= steps[0] < 40 <= steps[1]
    # One that has been validated is not given up for one that has not.
    scored = replace(model, results={**model.results, "nats": 1.0})
    checkpoint.save_model(tmp_path / folders.MODEL_FILE, scored)
    stopped_at(60, job, saved)
    assert checkpoint.load_model(tmp_path).results["step"] == steps[1]


def test_a_model_that_cannot_be_written_does_not_keep_a_run_from_being_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is saved has no best score, so that the run keeps a model at its next report."""
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    records = train(make_job(tmp_path))
    next(records)
    (tmp_path / folders.MODEL_FILE).mkdir()
    while (step := next(records).step) < 6:
        pass
    with pytest.raises(CheckpointError, match=folders.MODEL_FILE):
        records.close()
    saved = checkpoint.load_run(tmp_path)
    assert saved.position.step == step
    assert (saved.position.best_nats, saved.position.best_step) == (None, None)
    assert [line["step"] for line in log_file.read(tmp_path)][-1] == step
    (tmp_path / folders.MODEL_FILE).rmdir()
    list(train(make_job(tmp_path), saved))
    assert checkpoint.load_model(tmp_path).results["step"] == NUM_STEPS
    assert checkpoint.load_run(tmp_path).position.best_step == NUM_STEPS


def test_a_run_that_ends_at_step_0_tells_that_its_model_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*about: object) -> None:
        raise CheckpointError("no room")

    job = make_job(tmp_path)
    network = Network(job.model)
    initialize(network, 0)
    monkeypatch.setattr(checkpoint, "save_run", fail)
    records = train(job, initial=SavedModel(job.model, job.vocabulary, network.weights()))
    assert next(records).note == "no room; it is tried again"
    with pytest.raises(CheckpointError, match="its model is saved, and nothing to go on from"):
        records.close()
    assert checkpoint.load_model(tmp_path).results["step"] == 0


def test_a_run_whose_best_model_cannot_be_written_knows_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next report after it is resumed would take the place of a better model."""
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    list(train(make_job(tmp_path)))
    saved, model = checkpoint.load_run(tmp_path), tmp_path / folders.MODEL_FILE
    for before in (saved.position, replace(saved.position, best_nats=1e9, best_step=1)):
        records = train(make_job(tmp_path, steps=3 * NUM_STEPS), replace(saved, position=before))
        next(records)
        model.unlink()
        model.mkdir()  # so that each report finds no model, and keeps its own
        while next(records).step < 2 * NUM_STEPS:
            pass
        with pytest.raises(CheckpointError, match=folders.MODEL_FILE):
            records.close()
        position = checkpoint.load_run(tmp_path).position
        assert position.step >= 2 * NUM_STEPS
        assert position == position.with_best_of(before)
        model.rmdir()
        model.touch()


def test_the_best_model_that_was_written_is_known_whatever_could_not_be_written_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    records, model = train(make_job(tmp_path, steps=3 * NUM_STEPS)), tmp_path / folders.MODEL_FILE
    while not next(records).score:
        pass
    written = checkpoint.load_run(tmp_path).position
    assert written.best_step == written.step
    model.unlink()
    model.mkdir()
    while not (record := next(records)).score:
        pass
    assert record.best_step == record.step  # as it found no model
    with pytest.raises(CheckpointError, match=folders.MODEL_FILE):
        records.close()
    position = checkpoint.load_run(tmp_path).position
    assert position.step >= record.step
    assert position == position.with_best_of(written)


def test_whoever_takes_a_hold_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back = list[holding.Hold]()
    monkeypatch.setattr(holding.Hold, "give_back", lambda hold: given_back.append(hold))
    list(train(make_job(tmp_path / "own")))
    assert [hold.folder for hold in given_back] == [tmp_path / "own"]
    with holding.claimed(tmp_path / "given", resume=False, overwrite=False) as hold:
        list(train(make_job(tmp_path / "given"), hold=hold))
        assert len(given_back) == 1
    assert given_back[1:] == [hold]


def test_a_run_at_its_end_is_saved_only_with_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would have nothing left to do that could make that again."""
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    records = train(make_job(tmp_path))
    next(records)
    (tmp_path / folders.MODEL_FILE).mkdir()
    with pytest.raises(CheckpointError, match=folders.MODEL_FILE):
        list(records)
    saved = checkpoint.load_run(tmp_path)
    assert saved.position.step < NUM_STEPS
    (tmp_path / folders.MODEL_FILE).rmdir()
    list(train(make_job(tmp_path), saved))
    assert checkpoint.load_model(tmp_path).results["step"] == NUM_STEPS


def test_a_run_that_goes_on_keeps_a_model_that_was_better(tmp_path: Path) -> None:
    list(train(make_job(tmp_path)))
    saved, model = checkpoint.load_run(tmp_path), (tmp_path / folders.MODEL_FILE).read_bytes()
    for best_nats, kept in ((1e-9, True), (1e9, False)):
        at = replace(saved, position=replace(saved.position, best_nats=best_nats))
        list(train(make_job(tmp_path, steps=2 * NUM_STEPS), at))
        assert ((tmp_path / folders.MODEL_FILE).read_bytes() == model) == kept


def test_both_files_know_the_corpus(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    list(train(job))
    results = checkpoint.load_model(tmp_path).results
    assert results["corpus"] == job.data.facts
    assert results["nats"] > 0
    assert checkpoint.load_run(tmp_path).model.results == {"corpus": job.data.facts}


@pytest.mark.parametrize("stopped", [False, True])
def test_a_run_whose_model_was_taken_away_leaves_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    """The run alone is all that resuming needs, though its best score was that model's."""
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    job = make_job(tmp_path, steps=20)
    saved = stopped_at(12, job)
    better = replace(saved, position=replace(saved.position, best_nats=1e-9))
    (tmp_path / folders.MODEL_FILE).unlink()
    records = train(job, better)
    if stopped:
        assert next(records).score is None
        records.close()
    else:
        last = list(records)[-1]
        assert last.best == last.score
    assert np.isfinite(checkpoint.load_model(tmp_path).weights["output.bias"]).all()
    # The score of the model that is gone is gone too, so that the next report's model is kept.
    assert (checkpoint.load_run(tmp_path).position.best_nats is None) == stopped


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("state.0.1", np.nan, "what is not a finite number"),
        ("optimizer.layers.0.weight_hh.momentum", np.inf, "what is not a finite number"),
        ("output.bias", 1e30, "where no weight is above"),
        ("output.bias", np.nan, "where no weight is above"),
    ],
)
def test_a_run_that_holds_what_no_run_comes_to_is_refused(
    tmp_path: Path, name: str, value: float, told: str
) -> None:
    list(train(make_job(tmp_path)))
    saved = checkpoint.load_run(tmp_path)
    {**saved.carried, **saved.model.weights}[name].flat[0] = value
    checkpoint.save_run(tmp_path / folders.RUN_FILE, saved)
    with pytest.raises(CheckpointError, match=rf"{name} holds .*{told}"):
        checkpoint.load_run(tmp_path)


def test_while_a_model_cannot_be_written_the_best_one_is_kept_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    job, put, step = make_job(tmp_path, steps=12), durable.put, 0
    costs = iter([1.0, 2.0, 3.0])

    def refused(path: Path, content: Any, *more: Any) -> None:
        if path.name == folders.MODEL_FILE and step < 9:
            raise CheckpointError(f"{path}: there is no room")
        put(path, content, *more)

    monkeypatch.setattr(durable, "put", refused)
    monkeypatch.setattr(training, "validate", lambda *about: Score(next(costs), 1, 1))
    for record in train(job):
        step = record.step
    assert checkpoint.load_model(tmp_path).results["step"] == 4


def test_room_is_asked_for_all_that_will_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, fill = list[int](), folders._fill

    def filled(path: Path, size: int) -> None:
        asked.append(size)
        fill(path, size)

    monkeypatch.setattr(folders, "_fill", filled)
    list(train(make_job(tmp_path)))
    sizes = [(tmp_path / name).stat().st_size for name in (folders.MODEL_FILE, folders.RUN_FILE)]
    of_model, of_run, of_the_larger = asked  # which is written beside what is there
    assert of_model >= sizes[0]
    assert of_run == of_the_larger >= sizes[1]
    carried = sum(array.nbytes for array in checkpoint.load_run(tmp_path).carried.values())
    assert of_run - of_model == carried
    weights = checkpoint.load_model(tmp_path).weights.values()
    assert of_model >= sum(array.nbytes for array in weights) + 100_000


def test_a_save_that_memory_is_too_little_for_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, failures = safetensors.numpy.save, iter([MemoryError()])

    def refuse_once(*about: Any) -> bytes:
        for error in failures:
            raise error
        return save(*about)

    monkeypatch.setattr(container, "save", refuse_once)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    notes = [record.note for record in train(make_job(tmp_path)) if record.note]
    assert len(notes) == 1
    assert re.search(r"cannot be written \(not enough memory\); .* it is tried again", notes[0])
    assert checkpoint.load_run(tmp_path).position.step == NUM_STEPS
