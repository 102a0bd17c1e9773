"""A model and a run <-> a folder on disk, each file of it a container that vouches for itself.

One run at a time may hold a folder; any number of readers may read it meanwhile.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmgen import container
from lstmgen.config import ModelConfig, TrainConfig
from lstmgen.container import Entry, damaged
from lstmgen.errors import CheckpointError, OptionError
from lstmgen.vocabulary import Vocabulary

MODEL_FILE = "model.safetensors"
RUN_FILE = "last.safetensors"
LOG_FILE = "log.jsonl"
CURVES_FILE = "curves.svg"
LOCK_FILE = ".lock"

LARGEST = 1e9  # weight; logits are then finite in float32

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class SavedModel:
    """What `sample` and `eval` need: a network, its vocabulary, and how good it is."""

    config: ModelConfig
    vocabulary: Vocabulary
    weights: Weights
    results: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SavedRun:
    """What `--resume` needs: a model as it last was, and all that training carries beside it.

    `tensors` holds the optimizer's and the carried state's arrays, `progress` the counters.
    """

    model: SavedModel
    training: TrainConfig
    tensors: Weights
    progress: Mapping[str, Any]


def model_path(model: str | Path) -> Path:
    """The weights file that a folder or file name stands for."""
    path = Path(model)
    with _blaming_system(path):
        return path / MODEL_FILE if path.is_dir() else path


@contextmanager
def claimed(folder: Path, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Hold a folder for one run; it is created if need be, and left as it was if nothing is written.

    Refuses a folder that another run holds, and one that holds a model, unless the run resumes or
    may overwrite it. The system ends the hold when the process dies, however that happens.
    """
    with _blaming_system(folder):
        if folder.exists() and not folder.is_dir():
            raise CheckpointError(f"{folder}: this is a file; --model names a folder to write")
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        if not resume:
            folder.mkdir(parents=True, exist_ok=True)
    if resume and made:
        raise _no_run(folder)
    try:
        with _locked(folder):
            files = (folder / MODEL_FILE, folder / RUN_FILE)
            if not (resume or overwrite) and any(file.exists() for file in files):
                raise CheckpointError(
                    f"{folder}: there is a model in it; give --resume to go on with it, "
                    "--overwrite to replace it, or another folder with --model"
                )
            yield
    finally:
        for path in made:
            with suppress(OSError):  # there is something in it, and it stays
                path.rmdir()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows has no such locks, as the README says
        yield
        return
    path = folder / LOCK_FILE
    with _blaming_system(folder):
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
                path.unlink()


def require_room(folder: Path, model: SavedModel, carried_bytes: int) -> None:
    """Make sure that a run's files can be written, before hours are spent on what they will hold.

    `carried_bytes` is the size of what a run carries beside its weights.
    """
    description = _describe(model)
    weights = sum(array.nbytes for array in model.weights.values())
    container.require_readable(folder / MODEL_FILE, description, weights)
    model_bytes = weights + 2 * len(json.dumps(description)) + 100_000
    run_bytes = model_bytes + carried_bytes
    sizes = {MODEL_FILE: model_bytes, RUN_FILE: run_bytes}
    there = {name: (folder / name).exists() for name in sizes}
    # A file is replaced by one beside it, so the larger one needs its room twice.
    wanted = [size for name, size in sizes.items() if not there[name]] + [max(sizes.values())]
    probes = [folder / f".probe.{i}" for i in range(len(wanted))]
    try:
        for probe, size in zip(probes, wanted, strict=True):
            _reserve(probe, size)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: cannot hold the model ({error.strerror}); training takes {sum(wanted):,} "
            "bytes there: make room or choose another --model folder"
        ) from None
    finally:
        for probe in probes:
            with suppress(OSError):  # it was never made, or its folder cannot be written
                probe.unlink()


def _reserve(path: Path, size: int) -> None:
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
        with _blaming_system(path):
            path.unlink(missing_ok=True)


def save_model(path: Path, model: SavedModel) -> None:
    container.write(path, model.weights, _describe(model))


def load_model(model: str | Path) -> SavedModel:
    """The model in a folder or a .safetensors file; `CheckpointError` says why it cannot be had."""
    path = model_path(model)
    with container.opened(path) as file, _blaming(path):
        if "training" in file.description:
            raise CheckpointError(
                f"{path}: this is a run, to be gone on with by `lstmgen train --resume`; name its folder, "
                f"in which {MODEL_FILE} is the model"
            )
        loaded = _model(file.description)
        _check_shapes(file.entries, loaded.config.weight_shapes(), (np.float32, np.float16))
        weights = {n: a.astype(np.float32, copy=False) for n, a in file.arrays().items()}
        _check_sizes(weights)
    return replace(loaded, weights=weights)


def save_half(model: str | Path, path: Path) -> None:
    """Write a copy of a model in half the bytes, its weights in float16, to a .safetensors file."""
    loaded = load_model(model)
    with np.errstate(over="ignore"):
        weights = {name: array.astype(np.float16) for name, array in loaded.weights.items()}
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise CheckpointError(f"{model}: {name} goes beyond float16; keep the model in float32")
    save_model(path, replace(loaded, weights=weights))


def save_run(path: Path, run: SavedRun) -> None:
    weights = {f"model.{name}": array for name, array in run.model.weights.items()}
    description = _describe(run.model) | {
        "training": run.training.to_json(),
        "progress": dict(run.progress),
    }
    container.write(path, weights | dict(run.tensors), description)


def load_run(folder: Path) -> SavedRun:
    """The run that was left in a folder; `CheckpointError` says why it cannot be had."""
    path, prefix = folder / RUN_FILE, "model."
    with _blaming_system(path):
        if not path.exists():
            raise _no_run(folder)
    with container.opened(path) as file, _blaming(path):
        model = _model(file.description)
        entries = {n[len(prefix) :]: e for n, e in file.entries.items() if n.startswith(prefix)}
        _check_shapes(entries, model.config.weight_shapes(), (np.float32,))
        progress = file.description.get("progress")
        if not isinstance(progress, dict):
            raise OptionError("it holds no run")
        training = TrainConfig.from_json(file.description.get("training"))
        arrays = file.arrays()
        weights = {name: arrays.pop(prefix + name) for name in entries}
        _check_sizes(weights)
    return SavedRun(replace(model, weights=weights), training, tensors=arrays, progress=progress)


def _no_run(folder: Path) -> CheckpointError:
    return CheckpointError(
        f"{folder}: there is no run to go on with here; leave out --resume, or name its folder with "
        "--model"
    )


def _describe(model: SavedModel) -> dict[str, Any]:
    return {
        "model": model.config.to_json(),
        "vocabulary": model.vocabulary.to_json(),
        "results": dict(model.results),
    }


def _model(description: Mapping[str, Any]) -> SavedModel:
    """What a file says of its model; the weights are yet to be read."""
    config = ModelConfig.from_json(description.get("model"))
    vocabulary = Vocabulary.from_json(description.get("vocabulary"))
    if len(vocabulary) != config.vocab_size:
        raise OptionError(f"{len(vocabulary)} tokens in a vocabulary of {config.vocab_size}")
    results = description.get("results")
    if not isinstance(results, dict) or not isinstance(results.get("corpus", {}), dict):
        raise OptionError("its results are not JSON objects")
    return SavedModel(config, vocabulary, {}, results)


def _check_shapes(
    entries: Mapping[str, Entry], shapes: Mapping[str, tuple[int, ...]], dtypes: tuple[type, ...]
) -> None:
    if set(entries) != set(shapes):
        odd = ", ".join(sorted(set(entries) ^ set(shapes)))
        raise OptionError(f"missing or unknown weights: {odd:.200}")
    for name, shape in shapes.items():
        entry = entries[name]
        if entry.shape != shape or entry.dtype not in dtypes:
            wanted = f"{np.dtype(dtypes[0])} {shape}"
            raise OptionError(f"{name} is {entry.dtype} {entry.shape} where {wanted} belongs")


def _check_sizes(weights: Weights) -> None:
    for name, array in weights.items():
        largest = float(max(array.max(), -array.min()))
        if not largest <= LARGEST:  # nor is what is not a number
            raise OptionError(f"{name} holds {largest}, where no weight is above {LARGEST:g}")


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Turns what does not fit inside a file into an error that names the file."""
    try:
        yield
    except OptionError as error:
        raise damaged(path, str(error)) from None


@contextmanager
def _blaming_system(path: Path) -> Iterator[None]:
    """Turns what the system refuses into an error that names the path."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"{path}: cannot be used ({reason}); choose another folder with --model"
        ) from None


def append_log(folder: Path, record: Mapping[str, Any]) -> None:
    """Add one line to the log; a line that a crash cut short is closed first."""
    with _blaming_system(folder / LOG_FILE), (folder / LOG_FILE).open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(record).encode() + b"\n")
