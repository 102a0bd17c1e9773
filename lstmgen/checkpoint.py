"""A model and a run <-> a folder on disk.

Both files of the folder are safetensors files, so that many programs can read their weights, with
one entry in the header's `__metadata__`: `lstmgen`, a JSON object that holds the format number, a
description (itself JSON) and the SHA-256 of description, tensor table and payload. Nothing is code.
A file is written beside its final name, synced and renamed over the old one, so a reader meets the
old file or the new one, never a part. When read, nothing is believed before it has been checked.
"""

import hashlib
import json
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from lstmgen.config import ModelConfig, TrainConfig
from lstmgen.errors import CheckpointError, OptionError
from lstmgen.vocabulary import Vocabulary

FORMAT = 1
MODEL_FILE = "model.safetensors"
RUN_FILE = "last.safetensors"
LOG_FILE = "log.jsonl"
MAX_HEADER = 100_000_000  # bytes; the limit that safetensors itself sets

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


def prepare_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Make sure that a run can write to a folder, before it is begun; create it if need be.

    Refuses a folder that holds a model unless the run resumes or may overwrite it.
    """
    with _blaming_system(folder):
        if folder.exists() and not folder.is_dir():
            raise CheckpointError(f"{folder}: this is a file; --model names a folder to write")
        files = (folder / MODEL_FILE, folder / RUN_FILE)
        if not (resume or overwrite) and any(file.exists() for file in files):
            raise CheckpointError(
                f"{folder}: there is a model in it; give --resume to go on with it, --overwrite "
                "to replace it, or another folder with --model"
            )
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.write_bytes(b"lstmgen can write here\n")
        probe.unlink()


def forget_run(folder: Path) -> None:
    """Remove what only resuming needs, before another run begins there.

    The model itself stays readable until the new run's first save takes its place.
    """
    with _blaming_system(folder):
        (folder / RUN_FILE).unlink(missing_ok=True)
        (folder / LOG_FILE).unlink(missing_ok=True)


def save_model(path: Path, model: SavedModel) -> None:
    write(path, model.weights, _describe(model))


def load_model(model: str | Path) -> SavedModel:
    """The model in a folder or a .safetensors file; `CheckpointError` says why it cannot be had."""
    path = model_path(model)
    tensors, description = read(path)
    with _blaming(path):
        loaded = _model(tensors, description)
        _check_shapes(loaded.weights, loaded.config.weight_shapes(), (np.float32, np.float16))
    weights = {name: array.astype(np.float32, copy=False) for name, array in tensors.items()}
    return replace(loaded, weights=weights)


def save_half(model: str | Path, path: Path) -> None:
    """Write a copy of a model in half the bytes, its weights in float16, to a .safetensors file."""
    loaded = load_model(model)
    weights = {name: array.astype(np.float16) for name, array in loaded.weights.items()}
    save_model(path, replace(loaded, weights=weights))


def save_run(path: Path, run: SavedRun) -> None:
    weights = {f"model.{name}": array for name, array in run.model.weights.items()}
    description = _describe(run.model) | {
        "training": run.training.to_json(),
        "progress": dict(run.progress),
    }
    write(path, weights | dict(run.tensors), description)


def load_run(folder: Path) -> SavedRun:
    """The run that was left in a folder; `CheckpointError` says why it cannot be had."""
    path = folder / RUN_FILE
    tensors, description = read(path)
    with _blaming(path):
        prefix = "model."
        weights = {n[len(prefix) :]: a for n, a in tensors.items() if n.startswith(prefix)}
        model = _model(weights, description)
        _check_shapes(weights, model.config.weight_shapes(), (np.float32,))
        progress = description.get("progress")
        if not isinstance(progress, dict):
            raise OptionError("it holds no run")
        return SavedRun(
            model=model,
            training=TrainConfig.from_json(description.get("training")),
            tensors={n: a for n, a in tensors.items() if not n.startswith(prefix)},
            progress=progress,
        )


def _describe(model: SavedModel) -> dict[str, Any]:
    return {
        "model": model.config.to_json(),
        "vocabulary": model.vocabulary.to_json(),
        "results": dict(model.results),
    }


def _model(weights: Weights, description: Mapping[str, Any]) -> SavedModel:
    config = ModelConfig.from_json(description.get("model"))
    vocabulary = Vocabulary.from_json(description.get("vocabulary"))
    if len(vocabulary) != config.vocab_size:
        raise OptionError(f"{len(vocabulary)} tokens in a vocabulary of {config.vocab_size}")
    results = description.get("results")
    if not isinstance(results, dict):
        raise OptionError("its results are not a JSON object")
    return SavedModel(config, vocabulary, weights, results)


def _check_shapes(
    weights: Weights, shapes: Mapping[str, tuple[int, ...]], dtypes: tuple[type, ...]
) -> None:
    if set(weights) != set(shapes):
        odd = ", ".join(sorted(set(weights) ^ set(shapes)))
        raise OptionError(f"missing or unknown weights: {odd:.200}")
    for name, shape in shapes.items():
        array = weights[name]
        if array.shape != shape or array.dtype not in dtypes:
            wanted = f"{np.dtype(dtypes[0])} {shape}"
            raise OptionError(f"{name} is {array.dtype} {array.shape} where {wanted} belongs")


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


def damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: not a model of lstmgen, or damaged: {what}; train it anew or restore a copy"
    )


def write(path: Path, tensors: Weights, description: Mapping[str, Any]) -> None:
    """Write a checkpoint file in one step: afterwards `path` is the new file, whole, on the disk."""
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    plain = json.dumps(description, sort_keys=True)
    # The digest leaves out the metadata that will hold it, so a first serialisation can supply it.
    digest = _digest(plain, save(arrays))
    header = json.dumps({"format": FORMAT, "sha256": digest, "description": plain})
    put(path, save(arrays, {"lstmgen": header}))


def read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Tensors and description of a checkpoint file, checked against its digest."""
    raw = _bytes(path)
    try:
        (length,) = struct.unpack_from("<Q", raw)
        if length > min(len(raw) - 8, MAX_HEADER):
            raise damaged(path, f"its header claims {length:,} bytes, the file has {len(raw):,}")
        header = json.loads(raw[8 : 8 + length])["__metadata__"]["lstmgen"]
        envelope = json.loads(header)
        version, digest, plain = (envelope[key] for key in ("format", "sha256", "description"))
        if type(version) is int and version > FORMAT:
            raise CheckpointError(
                f"{path}: written in format {version}, this lstmgen reads up to {FORMAT}; "
                "upgrade lstmgen"
            )
        if version != FORMAT:
            raise damaged(path, f"format {version!r:.40}")
        if not isinstance(plain, str) or digest != _digest(plain, raw):
            raise damaged(path, "its content does not match its digest")
        description = json.loads(plain)
        if not isinstance(description, dict):
            raise damaged(path, "its description is not a JSON object")
        return load(raw), description
    except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(path, f"no header that can be read ({type(error).__name__})") from None
    except (SafetensorError, AttributeError) as error:
        raise damaged(path, f"{error!s:.100}") from None


def _digest(description: str, raw: bytes) -> str:
    """SHA-256 of the description, the table of tensors and their bytes."""
    (length,) = struct.unpack_from("<Q", raw)
    table = json.loads(raw[8 : 8 + length])
    table.pop("__metadata__", None)
    digest = hashlib.sha256(json.dumps([description, table], sort_keys=True).encode())
    digest.update(memoryview(raw)[8 + length :])
    return digest.hexdigest()


def _bytes(path: Path) -> bytes:
    # A FIFO would block for ever, so the kind of file is looked at first.
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CheckpointError(f"{path}: not a file; give a model folder or .safetensors file")
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: there is no model here; train one with `lstmgen train`, "
            "or name another with --model"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path}: cannot be read: {reason}") from None


def put(path: Path, content: bytes) -> None:
    """Make `path` hold `content`, whole or not at all; the old file stays until the new one is safe."""
    beside = path.with_name(f".{path.name}.new")
    try:
        _attempt(beside, content)
        beside.replace(path)
        _sync(path.parent)
    except OSError as error:
        with suppress(OSError):  # what could not be written may not be removable either
            beside.unlink()
        raise CheckpointError(
            f"{path}: cannot be written ({error.strerror}); it takes {len(content):,} bytes: "
            "make room there or choose another --model folder"
        ) from None


def _attempt(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make a rename durable, where the system lets a folder be opened."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def append_log(folder: Path, record: Mapping[str, Any]) -> None:
    """Add one line to the log; a line that a crash cut short is closed first."""
    with _blaming_system(folder / LOG_FILE), (folder / LOG_FILE).open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(record).encode() + b"\n")
