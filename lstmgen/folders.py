"""A folder -> what stands where in it, and the one run that may write there.

Any number of readers may read it meanwhile.
"""

import errno
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lstmgen.config import DEFAULT_MODEL_FOLDER, MODEL_VARIABLE
from lstmgen.errors import CheckpointError, OptionError, reason

BUILT_IN = Path(__file__).with_name("demo.safetensors")  # the model that comes with the package
MODEL_FILE = "model.safetensors"
RUN_FILE = "last.safetensors"
LOG_FILE = "log.jsonl"
CURVES_FILE = "curves.svg"
LOCK_FILE = ".lstmgen.lock"
OWN = (MODEL_FILE, RUN_FILE, LOG_FILE, CURVES_FILE)  # which a new run takes the place of
FileId = tuple[int, int]  # the number of a file, and when it was written
FULL = (errno.ENOSPC, errno.EDQUOT)  # no room
CANNOT_LOCK = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)  # file systems


def find_model(model: str | Path | None) -> str | Path:
    """The model that is meant: the one named here, or in the environment, or else the usual one.

    That is the one in the working folder, or where there is none the built-in model.
    """
    if model is None:
        model = os.environ.get(MODEL_VARIABLE) or None
    if model is not None:
        if not str(model):
            raise OptionError("--model is empty; name a folder or a file, or leave it out")
        return model
    there = os.path.exists(DEFAULT_MODEL_FOLDER)  # noqa: PTH110  # which raises nothing
    return DEFAULT_MODEL_FOLDER if there else BUILT_IN


def model_path(model: str | Path) -> Path:
    """The weights file that a folder or file name stands for."""
    path = Path(model)
    with blaming_system(path):
        return path / MODEL_FILE if path.is_dir() else path


def has_model(folder: Path) -> bool:
    """Whether there is a model in a folder; where nobody may look, there is none."""
    return os.path.exists(folder / MODEL_FILE)  # noqa: PTH110  # which raises nothing


def run_path(folder: Path) -> Path:
    """The file of the run that was left in a folder; `CheckpointError` if there is none."""
    path = folder / RUN_FILE
    with blaming_system(path):
        if not path.exists():
            raise _no_run(folder)
    return path


def require_no_lone_run(model: Path) -> None:
    """`CheckpointError` where the file of a model is not there, but a run that has not come to one."""
    with blaming_system(model):
        if model.name != MODEL_FILE or model.exists():
            return
        saved, begun = (model.with_name(name).exists() for name in (RUN_FILE, LOCK_FILE))
    if saved or begun:
        how = "go on with it by `lstmgen train CORPUS --resume`" if saved else "begin it again"
        raise CheckpointError(
            f"{model}: there is no model yet, as the run in this folder has not written one: wait for its "
            f"first report, or if it was stopped, {how}"
        )


def _no_run(folder: Path) -> CheckpointError:
    how = "or name its folder with --model"
    if has_model(folder):
        how = f"and to begin with the model here give {begun_with(folder)}"
    return CheckpointError(
        f"{folder}: there is no run to go on with here; leave out --resume, {how}"
    )


def _taken(folder: Path, there: Sequence[str]) -> CheckpointError:
    """What to say of a folder with some of a run's files in it: the ways out that it leaves."""
    replace, other = "--overwrite to replace it", "another folder with --model"
    if RUN_FILE in there:
        how = f"--resume to go on with the run, {replace}, or {other}"
    elif MODEL_FILE in there:
        how = f"{replace}, or, to begin with its weights, {begun_with(folder)}"
    else:
        how = f"{replace}, or {other}"
    return CheckpointError(f"{folder}: there is {there[0]} in it; give {how}")


def begun_with(folder: Path) -> str:
    """The options of a run that begins with the model in a folder."""
    return f"--init-from {shlex.quote(str(folder))} and another folder with --model"


@contextmanager
def claimed(folder: Path, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Hold a folder for one run; it is created if need be, and left as it was if nothing is written.

    Refuses a folder that another run holds, and one with files that this one would take the place of,
    unless it resumes or may overwrite them. The system ends the hold when the process dies, however
    that happens.
    """
    with blaming_system(folder):
        if folder.exists() and not folder.is_dir():
            raise CheckpointError(f"{folder}: this is a file; --model names a folder to write")
        made = [path for path in (folder, *folder.parents) if not path.exists()]
    if resume and made:
        raise _no_run(folder)
    try:
        with locked(folder):
            there = own_files(folder)
            if there and not (resume or overwrite):
                raise _taken(folder, there)
            yield
    finally:
        for path in made:
            with suppress(OSError, ValueError):  # there is something in it, and it stays
                path.rmdir()


def own_files(folder: Path) -> list[str]:
    """Those of a run's files that are in a folder, by name."""
    return [name for name in OWN if os.path.lexists(folder / name)]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep others out of a folder, which is made if it is not there; `CheckpointError` if one is in it."""
    with blaming_system(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows has no such locks, nor have some file systems, as the README says
        yield
        return
    path = folder / LOCK_FILE
    with blaming_system(folder):
        while True:
            file = path.open("ab")
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


def lock_id(folder: Path) -> int | None:
    """What tells the lock of a folder from another run's; None where there is none."""
    try:
        return (folder / LOCK_FILE).stat().st_ino  # which is no other's as long as the lock is open
    except OSError:
        return None


def weight_files(folder: Path) -> set[FileId]:
    """What the files of weights in a folder are known by: those of a model, and of a run."""
    known = {file_id(folder / name) for name in (MODEL_FILE, RUN_FILE)}
    return {one for one in known if one is not None}


def file_id(path: Path) -> FileId | None:
    """What tells a file from another that takes its place; None where there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns  # as the first may be given once more, to a later file


def reserve(folder: Path, sizes: Mapping[str, int]) -> None:
    """Make sure that files of these sizes, in bytes by name, can be written, and written anew.

    `CheckpointError` says what is missing.
    """
    probes = [folder / f".probe.{i}" for i in range(len(sizes) + 1)]
    for left in [*map(beside, map(folder.joinpath, sizes)), *probes]:
        with suppress(OSError):  # by a run that was killed as it wrote; there is seldom any
            left.unlink()
    there = {name: _size(folder / name) for name in sizes}
    # A file is replaced by one beside it, so the larger one needs its room twice.
    wanted = [size - there[name] for name, size in sizes.items() if size > there[name]]
    wanted.append(max(sizes.values()))
    try:
        for probe, size in zip(probes, wanted):  # noqa: B905  # no more are wanted
            _fill(probe, size)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: cannot hold the model ({error.strerror}); training takes {sum(wanted):,} "
            "bytes there: make room or choose another --model folder"
        ) from None
    finally:
        for probe in probes:
            with suppress(OSError):  # it was never made, or its folder cannot be written
                probe.unlink()


def beside(path: Path) -> Path:
    """Where a file is written that is to take the place of another."""
    return path.with_name(f".{path.name}.new")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _fill(path: Path, size: int) -> None:
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            for start in range(0, size, 1 << 20):
                file.write(bytes(min(1 << 20, size - start)))


def forget_run(folder: Path) -> None:
    """Remove all but the model of a run, before another one begins there.

    The model itself stays readable until the new run's first one takes its place.
    """
    for path in (folder / RUN_FILE, folder / LOG_FILE, folder / CURVES_FILE):
        with blaming_system(path):
            path.unlink(missing_ok=True)


@contextmanager
def blaming_system(path: Path) -> Iterator[None]:
    """Turns what the system refuses into a `CheckpointError` that names the path."""
    try:
        yield
    except (OSError, ValueError) as error:
        way = "make room there or choose" if getattr(error, "errno", 0) in FULL else "choose"
        raise CheckpointError(
            f"{path}: cannot be used ({reason(error)}); {way} another folder with --model"
        ) from None
