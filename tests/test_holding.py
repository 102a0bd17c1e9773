"""A folder: held by one run at a time, left as it was if nothing is written, and nothing in it lost."""

import errno
import fcntl
import re
import subprocess
import sys
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from lstmgen import durable, folders, holding
from lstmgen.errors import CheckpointError


def claimed(
    folder: Path, *, resume: bool = False, overwrite: bool = False
) -> AbstractContextManager[holding.Hold]:
    return holding.claimed(folder, resume=resume, overwrite=overwrite)


def test_new_folder_is_made_with_those_above_it_and_left_only_if_used(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with claimed(folder):
        assert folder.is_dir()
    assert not (tmp_path / "a").exists()
    aside = tmp_path / "c" / ".." / "d"
    with claimed(aside):
        (aside / folders.LOG_FILE).write_bytes(b"")
    assert aside.exists()  # for which there has to be a c
    with claimed(tmp_path / "e" / ".." / "f"):
        pass
    assert not (tmp_path / "e").exists()
    (tmp_path / "g").mkdir()
    with claimed(tmp_path / "h" / ".." / "g"):
        pass
    assert [entry.name for entry in tmp_path.iterdir() if entry.name in "gh"] == ["g"]
    assert not (tmp_path / "f").exists()
    with claimed(folder):
        (folder / folders.LOG_FILE).write_bytes(b"")
    assert [entry.name for entry in folder.iterdir()] == [folders.LOG_FILE]


def test_a_new_folder_is_on_the_disk_before_anything_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = list[Path]()
    monkeypatch.setattr(durable, "_sync", synced.append)
    with claimed(tmp_path / "a"):
        assert synced == [tmp_path]
    with claimed(tmp_path):
        assert synced == [tmp_path]


def test_a_folder_behind_a_link_is_made_and_left_only_if_used(tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "a" / "b"
    link.symlink_to(target)
    with claimed(link):
        assert target.is_dir()
    assert link.is_symlink()
    assert not (tmp_path / "a").exists()
    durable.put(link / folders.LOG_FILE, b"")  # as where nothing holds it, without locks
    with claimed(link, overwrite=True):
        pass
    assert [entry.name for entry in target.iterdir()] == [folders.LOG_FILE]


def test_folder_with_other_things_in_it_is_taken_and_they_stay(tmp_path: Path) -> None:
    for name in ("notes.txt", ".lock"):
        (tmp_path / name).write_text("mine")
    with claimed(tmp_path, overwrite=True):
        pass
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock", "notes.txt"]


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("model.safetensors", "--overwrite .*--init-from .*--model"),
        ("last.safetensors", "--resume .*--overwrite .*--model"),
        ("log.jsonl", "--overwrite .*--model"),
        ("curves.svg", "--overwrite .*--model"),
    ],
)
def test_folder_that_holds_a_file_to_be_written_is_refused_with_the_ways_out(
    tmp_path: Path, name: str, ways: str
) -> None:
    (tmp_path / name).write_bytes(b"old")
    with (
        pytest.raises(CheckpointError, match=f"{name} in it; give {ways}$"),
        claimed(tmp_path),
    ):
        raise AssertionError("it was given")
    assert (tmp_path / name).read_bytes() == b"old"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_resuming_needs_goes_only_when_overwritten(tmp_path: Path, overwrite: bool) -> None:
    names = {folders.MODEL_FILE, folders.RUN_FILE, folders.LOG_FILE, folders.CURVES_FILE}
    for name in names:
        (tmp_path / name).write_bytes(b"old")
    with claimed(tmp_path, resume=not overwrite, overwrite=overwrite):
        pass
    assert {entry.name for entry in tmp_path.iterdir()} == names
    if overwrite:
        folders.forget_run(tmp_path)
    left = {folders.MODEL_FILE} if overwrite else names
    assert {entry.name for entry in tmp_path.iterdir()} == left


@pytest.mark.parametrize("name", [folders.LOG_FILE, folders.CURVES_FILE])
def test_the_run_stays_where_something_else_cannot_be_removed(tmp_path: Path, name: str) -> None:
    (tmp_path / folders.RUN_FILE).write_bytes(b"old")
    (tmp_path / name).mkdir()
    with pytest.raises(CheckpointError, match=name):
        folders.forget_run(tmp_path)
    assert (tmp_path / folders.RUN_FILE).read_bytes() == b"old"


def test_a_lock_that_cannot_be_removed_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a folder where each may remove his own files only."""

    def refused(path: Path, **how: Any) -> None:
        raise PermissionError(errno.EPERM, "no")

    with monkeypatch.context() as sticky, claimed(tmp_path):
        sticky.setattr(Path, "unlink", refused)
        (tmp_path / folders.LOG_FILE).touch()
    assert (tmp_path / folders.LOG_FILE).exists()


def test_a_lock_that_another_user_left_can_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of `sudo`, killed: it may be read, and removed from a folder of one's own."""
    lock, really_open = tmp_path / folders.LOCK_FILE, Path.open

    def choosy(path: Path, mode: str = "r", *about: Any, **how: Any) -> Any:
        if path == lock and mode != readable:
            raise PermissionError(errno.EACCES, "no")
        return really_open(path, mode, *about, **how)

    lock.touch()
    readable = "rb"
    monkeypatch.setattr(Path, "open", choosy)
    with claimed(tmp_path):
        assert lock.exists()
        with pytest.raises(CheckpointError, match="another lstmgen is training"), claimed(tmp_path):
            pass
    assert not lock.exists()
    with pytest.raises(CheckpointError, match=f"^{tmp_path}: cannot be used"), claimed(tmp_path):
        pass  # as nothing may be written here
    lock.touch()
    readable = "none"
    with pytest.raises(CheckpointError, match=f"^{lock}: cannot be used"), claimed(tmp_path):
        pass


@pytest.mark.parametrize("target", ["nowhere", "a" * 300])
def test_a_link_that_leads_nowhere_is_not_replaced_unasked(tmp_path: Path, target: str) -> None:
    link = tmp_path / folders.MODEL_FILE
    link.symlink_to(target)
    assert not folders.has_model(tmp_path)
    with (
        pytest.raises(CheckpointError, match=f"there is {folders.MODEL_FILE} in it"),
        claimed(tmp_path),
    ):
        raise AssertionError("it was given")
    assert link.is_symlink()


def test_what_is_advised_where_a_folder_is_taken_can_be_followed(tmp_path: Path) -> None:
    """A model may have come from elsewhere, without a run to go on with."""
    with_run, without = tmp_path / "run", tmp_path / "a model"
    for folder in (with_run, without):
        folder.mkdir()
        (folder / folders.MODEL_FILE).touch()
    (with_run / folders.RUN_FILE).touch()
    with pytest.raises(CheckpointError, match="--resume to go on"), claimed(with_run):
        raise AssertionError("it was given")
    begin = re.escape(f"--init-from '{without}' and another folder with --model")
    with pytest.raises(CheckpointError, match=begin) as told, claimed(without):
        raise AssertionError("it was given")
    assert "--resume" not in str(told.value)
    with pytest.raises(CheckpointError, match=f"no run .*{begin}"):
        folders.run_path(without)


def test_resuming_makes_no_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match="there is no run to go on with here"),
        claimed(tmp_path / "no", resume=True),
    ):
        raise AssertionError("it was given")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("where", ["file", "file/under"])
def test_file_in_place_of_the_folder_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(CheckpointError, match="--model"),
        claimed(tmp_path / where, overwrite=True),
    ):
        raise AssertionError("it was given")
    assert (tmp_path / "file").read_text() == "mine"


def test_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, who may do all
    with (
        pytest.raises(CheckpointError, match=r"cannot be used \(Permission denied\)"),
        claimed(tmp_path),
    ):
        raise AssertionError("it was given")


def test_a_folder_is_held_by_one_run_at_a_time(tmp_path: Path) -> None:
    with claimed(tmp_path):
        with (
            pytest.raises(CheckpointError, match="another lstmgen is training there"),
            claimed(tmp_path, overwrite=True),
        ):
            raise AssertionError("it was given")
        assert (tmp_path / folders.LOCK_FILE).exists()
    assert list(tmp_path.iterdir()) == []
    with claimed(tmp_path):  # and given back
        pass


def test_a_lock_that_was_removed_as_it_was_taken_keeps_nobody_out_and_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, path = fcntl.flock, tmp_path / folders.LOCK_FILE

    def flock(file: Any, how: int) -> None:
        really(file, how)
        monkeypatch.setattr(fcntl, "flock", really)
        path.unlink()  # by whoever had it before

    monkeypatch.setattr(fcntl, "flock", flock)
    with claimed(tmp_path):
        assert path.exists()
        with pytest.raises(CheckpointError, match="another lstmgen"), claimed(tmp_path):
            raise AssertionError("it was given")


def test_where_there_are_no_locks_a_folder_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as if it could not be imported
    with claimed(tmp_path), claimed(tmp_path):
        assert not (tmp_path / folders.LOCK_FILE).exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_where_a_file_system_has_no_locks_a_folder_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(file: Any, how: int) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", flock)
    with claimed(tmp_path / "m"):
        (tmp_path / "m" / folders.MODEL_FILE).touch()
    assert [path.name for path in (tmp_path / "m").iterdir()] == [folders.MODEL_FILE]
    number = errno.EIO  # which tells of something else
    with pytest.raises(CheckpointError, match="no locks here"), claimed(tmp_path):
        raise AssertionError("it was given")


def test_a_hold_is_given_back_and_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    with claimed(folder):
        (folder / folders.LOCK_FILE).unlink()
        with claimed(folder):
            pass
        with ExitStack() as later:
            later.enter_context(claimed(folder))
            mine = holding.lock_id(folder)
            later = later.pop_all()
    assert holding.lock_id(folder) == mine is not None
    later.close()
    assert holding.lock_id(folder) is None


def test_a_hold_ends_with_the_process_that_had_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from lstmgen import holding\n"
        "with holding.claimed(Path(sys.argv[1]), resume=False, overwrite=False):\n"
        "    print(flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(CheckpointError, match="another lstmgen"), claimed(tmp_path):
            raise AssertionError("it was given")
        process.kill()
    with claimed(tmp_path):
        pass
