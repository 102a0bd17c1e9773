"""A folder <-> the one run that may write there.

Any number of readers may read it meanwhile.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lstmgen import durable, folders
from lstmgen.errors import CheckpointError
from lstmgen.folders import LOCK_FILE, MODEL_FILE, RUN_FILE, blaming_system

CANNOT_LOCK = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)  # file systems


@contextmanager
def claimed(folder: Path, *, resume: bool, overwrite: bool) -> Iterator["Hold"]:
    """Hold a folder for one run; it is created if need be, and left as it was if nothing is written.

    `CheckpointError` for a folder that another run holds, and for one with files that this one would take the
    place of, unless it resumes or may overwrite them. The system ends the hold when the process dies, however
    that happens.
    """
    with blaming_system(folder):
        if folder.exists() and not folder.is_dir():
            raise CheckpointError(
                f"{folder}: this is a file, and a model is trained into a folder; name one with --model"
            )
        if resume and not folder.exists():
            raise folders.no_run(folder)
    with locked(folder):
        there = folders.own_files(folder)
        if there and not (resume or overwrite):
            raise _taken(folder, there)
        hold = Hold(folder)
        try:
            yield hold
        finally:
            hold.give_back()


def _taken(folder: Path, there: Sequence[str]) -> CheckpointError:
    """What to say of a folder with some of a run's files in it: the ways out that it leaves."""
    replace, other = "--overwrite to replace it", "another folder with --model"
    if RUN_FILE in there:
        how = f"--resume to go on with the run, {replace}, or {other}"
    elif MODEL_FILE in there:
        how = f"{replace}, or, to begin with its weights, {folders.begun_with(folder)}"
    else:
        how = f"{replace}, or {other}"
    return CheckpointError(f"{folder}: there is {there[0]} in it; give {how}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep others out of a folder; `CheckpointError` if one is in it.

    It is made if it is not there, and then left only if it has something in it.
    """
    with blaming_system(folder):
        made = durable.make_folder(folder)
    try:
        with _lock(folder):
            yield
    finally:
        durable.remove_empty(made)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """The lock of a folder that is there, held, where the system and the file system have such a thing."""
    try:
        import fcntl
    except ImportError:  # Windows has no such locks, nor have some file systems, as the README says
        yield
        return
    path = folder / LOCK_FILE
    with blaming_system(path if os.path.exists(path) else folder):  # noqa: PTH110  # which raises nothing
        while True:
            file = _opened(path)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise CheckpointError(
                    f"{folder}: another lstmgen is training there; wait for it, stop it, "
                    "or choose another folder with --model"
                ) from None
            except OSError as error:
                if error.errno in CANNOT_LOCK:
                    break
                file.close()
                raise
            # Whoever held it may have removed it just now, and then it keeps nobody out.
            with suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                    break
            file.close()
    with file:
        try:
            yield
        finally:
            with suppress(OSError):
                if lock_id(folder) == os.fstat(file.fileno()).st_ino:  # not one made there since
                    path.unlink()


def _opened(path: Path) -> BinaryIO:
    """The file of a lock, made if it is not there."""
    try:
        return path.open("ab")
    except PermissionError:  # of another user, perhaps: to be held it need not be written
        with suppress(FileNotFoundError):
            return path.open("rb")
        raise


def lock_id(folder: Path) -> int | None:
    """What tells the lock of a folder from another run's; None where there is none."""
    try:
        return (folder / LOCK_FILE).stat().st_ino  # which is no other's as long as the lock is open
    except OSError:
        return None


class Hold:
    """What a run knows its folder by while it has it: the lock, and the files of weights it left there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._lock = folder, lock_id(folder)
        self.note_files()
        self._again = ExitStack()  # of a lock that had to be taken again

    def note_files(self) -> None:
        """Know the files of weights that are there as this run's."""
        self._left = folders.weight_files(self.folder)

    def renew(self) -> None:
        """Make sure that the folder is still this run's. One that has vanished is made and held again.

        `CheckpointError` where another run has taken it.
        """
        lock = lock_id(self.folder)
        if lock == self._lock:
            return
        if lock is not None or folders.weight_files(self.folder) - self._left:
            # The folder, or its lock, was removed or moved away, and another run has begun there since.
            raise CheckpointError(
                f"{self.folder}: another lstmgen has begun to train in a folder of this name, and its "
                "files are left as they are; to have both, move that folder away before this run ends, or "
                "train again with another --model"
            )
        self._again.enter_context(locked(self.folder))
        self._lock = lock_id(self.folder)

    def give_back(self) -> None:
        """Let go of the lock, if that had to be taken again."""
        self._again.close()
