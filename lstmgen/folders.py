"""A folder -> what stands where in it, and room for more."""

import errno
import os
import shlex
from collections.abc import Iterator, Mapping
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
FileId = tuple[int, int]  # the inode number of a file, and when it was last written
FULL = (errno.ENOSPC, errno.EDQUOT)  # no room
REFUSED = (errno.EACCES, errno.EPERM)  # no permission


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
    # A link that leads nowhere, as to a disk that is away, was to be a model too.
    return DEFAULT_MODEL_FOLDER if os.path.lexists(DEFAULT_MODEL_FOLDER) else BUILT_IN


def model_path(model: str | Path) -> Path:
    """The weights file that a folder or file name stands for."""
    path = Path(model)
    with blaming_system(path, "another model"):
        return path / MODEL_FILE if path.is_dir() else path


def has_model(folder: Path) -> bool:
    """Whether there is a model in a folder; where nobody may look, there is none."""
    return os.path.exists(folder / MODEL_FILE)  # noqa: PTH110  # which raises nothing


def run_path(folder: Path) -> Path:
    """The file of the run that was left in a folder; `CheckpointError` if there is none."""
    path = folder / RUN_FILE
    with blaming_system(path):
        if not path.exists():
            raise no_run(folder)
    return path


def require_no_lone_run(model: Path) -> None:
    """`CheckpointError` where the file of a model is not there, but a run that has not come to one."""
    with blaming_system(model, "another model"):
        if model.name != MODEL_FILE or model.exists():
            return
        saved, begun = (model.with_name(name).exists() for name in (RUN_FILE, LOCK_FILE))
    if saved or begun:
        again = f"`lstmgen train CORPUS --resume --model {shlex.quote(str(model.parent))}`"
        how = f"go on with it by {again}" if saved else "begin it again"
        raise CheckpointError(
            f"{model}: there is no model yet, as the run in this folder has not written one: wait for its "
            f"first report, or if it was stopped, {how}"
        )


def no_run(folder: Path) -> CheckpointError:
    """What to say of a folder where there is no run to go on with."""
    how = "or name its folder with --model"
    if has_model(folder):
        how = f"and to begin with the model here give {begun_with(folder)}"
    return CheckpointError(
        f"{folder}: there is no run to go on with here; leave out --resume, {how}"
    )


def begun_with(folder: Path) -> str:
    """The options of a run that begins with the model in a folder."""
    return f"--init-from {shlex.quote(str(folder))} and another folder with --model"


def behind_link(folder: Path) -> Path:
    """The folder itself, or where it is a link the one that it leads to, which may not be there."""
    return Path(os.path.realpath(folder)) if folder.is_symlink() else folder


def own_files(folder: Path) -> list[str]:
    """Those of a run's files that are in a folder, by name."""
    return [name for name in OWN if os.path.lexists(folder / name)]


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


def is_gone(path: Path, known: FileId) -> bool:
    """Whether a file that was known is no longer there, or is another, as far as anybody can tell."""
    return is_missing(path) or file_id(path) not in (known, None)


def is_missing(path: Path) -> bool:
    """Whether nothing is at a path, as far as anybody can tell: a network's disk may be away for a moment."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, (FileNotFoundError, NotADirectoryError))
    return False


def reserve(folder: Path, sizes: Mapping[str, int]) -> None:
    """Make sure that files of these sizes, in bytes by name, can be written, and written anew.

    What a run left half written when it was killed is removed first. `CheckpointError` says what is missing.
    """
    probes = [folder / f".probe.{i}" for i in range(len(sizes) + 1)]
    for left in [*map(beside, map(folder.joinpath, OWN)), *probes]:
        with blaming_system(left):  # by a run that was killed as it wrote; there is seldom any
            left.unlink(missing_ok=True)
    there = {name: _size(folder / name) for name in sizes}
    # A file is replaced by one beside it, so the larger one needs its room twice.
    wanted = [size - there[name] for name, size in sizes.items() if size > there[name]]
    wanted.append(max(sizes.values()))
    try:
        for probe, size in zip(probes, wanted):  # noqa: B905  # no more are wanted
            _fill(probe, size)
    except OSError as error:
        way = "make room or choose" if error.errno in FULL else "choose"
        raise CheckpointError(
            f"{folder}: cannot hold the model ({reason(error)}); training takes {sum(wanted):,} "
            f"bytes there: {way} another --model folder"
        ) from None
    finally:
        for probe in probes:
            with suppress(OSError):  # it was never made, or its folder cannot be written
                probe.unlink()


def require_replaceable(path: Path) -> None:
    """`CheckpointError` where something is there whose place no file can take.

    Tried by `rmdir`, which removes no file: of one that may not be removed Linux says that, and of any other
    that it is no folder.
    """
    with blaming_system(path), suppress(FileNotFoundError, NotADirectoryError):
        if path.is_dir() and not path.is_symlink():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.rmdir()


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

    The model itself stays readable until the new run's first one takes its place; and the run stays if
    something else cannot be removed (`CheckpointError`).
    """
    for path in (folder / LOG_FILE, folder / CURVES_FILE, folder / RUN_FILE):
        with blaming_system(path):
            path.unlink(missing_ok=True)


@contextmanager
def blaming_system(path: Path, instead: str = "another folder with --model") -> Iterator[None]:
    """Turns what the system refuses into a `CheckpointError` that names the path, and what to choose."""
    try:
        yield
    except (OSError, ValueError) as error:
        number, way = getattr(error, "errno", 0), "choose"
        if number in FULL:
            way = "make room there or choose"
        elif number in REFUSED:
            way = "check the permissions or choose"
        raise CheckpointError(
            f"{path}: cannot be used ({reason(error)}); {way} {instead}"
        ) from None
