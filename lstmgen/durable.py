"""Bytes -> a file that holds them, whole or not at all, whatever ends the process or the power meanwhile."""

import errno
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lstmgen.errors import CheckpointError, reason
from lstmgen.folders import FULL, REFUSED, behind_link, beside

CANNOT_SYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP)  # as some file systems say of folders


def make_folder(folder: Path) -> list[Path]:
    """Make a folder durably, with those above it: the ones that were not there, the innermost first.

    `OSError` where that cannot be done; none is then left.
    """
    target, made = behind_link(folder), list[Path]()
    try:
        for path in reversed((target, *target.parents)):
            if not path.exists():
                path.mkdir(exist_ok=True)
                made.insert(0, path)
                _sync(path.parent)
    except OSError:
        remove_empty(made)
        raise
    return made


def remove_empty(made: Iterable[Path]) -> None:
    """Remove folders, the innermost first, up to one that has something in it."""
    with suppress(OSError, ValueError):
        for path in made:
            path.rmdir()


def put(path: Path, *parts: bytes | memoryview) -> None:
    """Make `path` hold the parts, whole or not at all; the old file stays until the new one is safe.

    `CheckpointError` where that cannot be done. Where it is only its name that cannot be synced, the new
    file is there, but may not outlast a loss of power.
    """
    new = beside(path)
    try:
        if not path.parent.exists():  # it was taken away since
            make_folder(path.parent)
        try:
            _attempt(new, parts, path)
            new.replace(path)
        finally:
            with suppress(OSError):  # what could not be written may not be removable either
                new.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as error:
        how = "check the path and the disk"
        if error.errno in REFUSED:
            how = "check the permissions of its folder"
        elif error.errno in FULL:
            how = f"make room there, up to {-(-sum(map(len, parts)) // 10**6):,} MB"
        raise CheckpointError(f"{path}: cannot be written ({reason(error)}); {how}") from None


def _attempt(path: Path, parts: Iterable[bytes | memoryview], older: Path) -> None:
    with path.open("wb") as file:
        with suppress(OSError):  # there is none, or the file system has no such thing
            shutil.copymode(older, path)  # before there is something in it that not all may read
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make the names in a folder durable, where the system and the file system let it be synced."""
    if os.name == "posix":
        try:
            handle = os.open(folder, os.O_RDONLY)
        except PermissionError:  # it may be written and not read
            return
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in CANNOT_SYNC:
                raise
        finally:
            os.close(handle)
