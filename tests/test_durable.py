"""Bytes into a file, whole or not at all, whatever fails on the way."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from lstmgen import durable
from lstmgen.errors import CheckpointError


def test_a_file_holds_the_parts_that_were_put_into_it_also_in_a_folder_that_was_taken_away(
    tmp_path: Path,
) -> None:
    path = tmp_path / "gone" / "file"
    durable.put(path, b"con", memoryview(b"tent"))
    assert path.read_bytes() == b"content"
    durable.put(path)
    assert path.read_bytes() == b""


def test_a_folder_that_was_made_outlasts_a_loss_of_power_and_so_do_those_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_sync, synced = os.fsync, []

    def watch(handle: int) -> None:
        synced.append(os.fstat(handle).st_ino)
        really_sync(handle)

    monkeypatch.setattr(os, "fsync", watch)
    (link := tmp_path / "link").symlink_to(folder := tmp_path / "a" / "b")
    assert durable.make_folder(link) == [folder, folder.parent]
    assert folder.is_dir()
    assert sorted(synced) == sorted(path.stat().st_ino for path in (tmp_path, tmp_path / "a"))
    synced.clear()
    assert durable.make_folder(link) == []
    assert not synced
    with pytest.raises(OSError, match="too long"):
        durable.make_folder(tmp_path / "b" / ("c" * 300))
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("number", "way"),
    [
        (errno.EACCES, "; check the permissions of its folder$"),
        (errno.EPERM, "; check the permissions of its folder$"),
        (errno.EIO, "; check the path and the disk$"),
        (errno.ENOSPC, "; make room there, up to 1 MB$"),
        (errno.EDQUOT, "; make room there, up to 1 MB$"),
    ],
)
def test_what_cannot_be_written_is_told_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, way: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(CheckpointError, match=way):
        durable.put(tmp_path / "m", b"con", b"tent")


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
@pytest.mark.parametrize("old", [None, b"the old file"])
def test_failed_write_leaves_what_was_there_and_no_litter(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    old: bytes | None,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "model.safetensors"
    if old is not None:
        path.write_bytes(old)
    with monkeypatch.context() as broken:
        broken.setattr(os if step == "fsync" else Path, step, fail)
        with pytest.raises(CheckpointError, match=r"cannot be written \(No space left on device\)"):
            durable.put(path, b"content")
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == (
        {} if old is None else {path.name: old}
    )


def test_reader_meets_the_old_file_until_the_new_one_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_sync, seen = os.fsync, []
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def watch(handle: int) -> None:
        seen.append(file.read_bytes())
        really_sync(handle)

    monkeypatch.setattr(os, "fsync", watch)
    durable.put(file, b"new", b" content")
    assert seen == [
        b"old",
        b"new content",
    ]  # the file is synced before it is renamed, the folder after


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EIO])
def test_a_folder_that_its_file_system_does_not_sync_is_none_the_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    sync = os.fsync

    def choosy(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, "no")
        sync(handle)

    monkeypatch.setattr(os, "fsync", choosy)
    if number != errno.EIO:
        durable.put(tmp_path / "m", b"con", b"tent")
    else:
        with pytest.raises(CheckpointError, match="cannot be written"):
            durable.put(tmp_path / "m", b"con", b"tent")
    assert (tmp_path / "m").read_bytes() == b"content"


@pytest.mark.skipif(os.name != "posix", reason="there are no such modes here")
def test_a_file_keeps_its_mode_before_it_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, modes, sync = tmp_path / "private", list[int](), os.fsync
    path.write_bytes(b"old")
    path.chmod(0o600)

    def watch(handle: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(handle).st_mode))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watch)
    durable.put(path, b"new")
    assert modes[0] == stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"new"


def test_a_folder_that_may_be_written_and_not_read_takes_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_open = os.open

    def choosy(path: Any, flags: int, *rest: Any) -> int:
        if path == tmp_path and not flags & (os.O_WRONLY | os.O_RDWR):
            raise PermissionError(errno.EACCES, "no")
        return really_open(path, flags, *rest)

    monkeypatch.setattr(os, "open", choosy)
    durable.put(tmp_path / "m", b"con", b"tent")
    assert (tmp_path / "m").read_bytes() == b"content"
