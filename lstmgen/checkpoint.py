"""A model and a run <-> the files of a folder, each a container that vouches for itself."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmgen import container, folders
from lstmgen.config import BY_SYMBOL, ModelConfig, Position, TrainConfig
from lstmgen.container import Arrays, Entry, damaged
from lstmgen.errors import CheckpointError, OptionError
from lstmgen.folders import MODEL_FILE, RUN_FILE
from lstmgen.vocabulary import Vocabulary

MODEL = "model."  # what names of weights begin with in the file of a run
MAX_WEIGHT = 1e9  # so that logits are finite in float32

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class SavedModel:
    """What `sample` and `eval` need: a network, its vocabulary, and how good it is."""

    config: ModelConfig
    vocabulary: Vocabulary
    weights: Weights
    results: Mapping[str, Any] = field(default_factory=dict)

    def weights_for(self, vocabulary: Vocabulary, fresh: Weights) -> dict[str, NDArray[Any]]:
        """The weights for another vocabulary: symbols keep their rows, new ones have those of `fresh`."""
        theirs = self.vocabulary.ids
        known = [(i, theirs[token]) for token, i in vocabulary.ids.items() if token in theirs]
        ours_at, theirs_at = np.array(known).T
        weights = dict(self.weights)
        for name in BY_SYMBOL:
            if name in weights:
                weights[name] = np.array(fresh[name])
                weights[name][ours_at] = self.weights[name][theirs_at]
        return weights


@dataclass(frozen=True)
class SavedRun:
    """What `--resume` needs: a model as it last was, and all that training carries beside it.

    `carried` holds the arrays of the optimizer and of the state.
    """

    model: SavedModel
    training: TrainConfig
    carried: Arrays
    position: Position


def require_room(folder: Path, model: SavedModel, carried_bytes: int) -> None:
    """Make sure that a run's files can be written, before hours are spent on what they will hold.

    `carried_bytes` is the size of what a run carries beside its weights. `CheckpointError` says what is
    missing.
    """
    description = _describe(model)
    weights = sum(array.nbytes for array in model.weights.values())
    header = container.require_readable(folder / MODEL_FILE, description, weights)
    model_bytes = weights + header
    sizes = {MODEL_FILE: model_bytes, RUN_FILE: model_bytes + carried_bytes}
    folders.reserve(folder, sizes)


def save_model(path: Path, model: SavedModel) -> None:
    """Write a model in the place of what there may be, which stays if it cannot be: `CheckpointError`."""
    container.write(path, model.weights, _describe(model))


def load_model(model: str | Path) -> SavedModel:
    """The model in a folder or a .safetensors file; `CheckpointError` says why it cannot be had."""
    path = folders.model_path(model)
    folders.require_no_lone_run(path)
    with container.opened(path) as file, _blaming(path):
        if "training" in file.description:
            raise CheckpointError(
                f"{path}: this is a saved run, for `lstmgen train --resume` to go on with; name its folder, "
                f"in which {MODEL_FILE} is the model"
            )
        loaded = _model(file.description)
        _check_shapes(file.entries, loaded.config.weight_shapes(), (np.float32, np.float16))
        weights = {n: a.astype(np.float32, copy=False) for n, a in file.arrays().items()}
        if odd := unsound(weights, {}):
            raise OptionError(odd)
    return replace(loaded, weights=weights)


def require_model(model: str | Path) -> None:
    """`CheckpointError` unless there is a file of ours where the model should be."""
    path = folders.model_path(model)
    folders.require_no_lone_run(path)
    with container.opened(path):
        pass


def load_results(folder: Path) -> Mapping[str, Any]:
    """What is known of the model in a folder; its weights, and so its digest, are not looked at.

    `CheckpointError` if that cannot be read.
    """
    path = folder / MODEL_FILE
    with container.opened(path) as file, _blaming(path):
        return _model(file.description).results


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
    """Write what `load_run` reads; `CheckpointError` as for a model."""
    weights = {MODEL + name: array for name, array in run.model.weights.items()}
    description = _describe(run.model) | {
        "training": run.training.to_json(),
        "progress": run.position.to_json(),  # as the file has always called it
    }
    container.write(path, weights | dict(run.carried), description)


def load_run(folder: Path) -> SavedRun:
    """The run that was left in a folder; `CheckpointError` says why it cannot be had."""
    path = folders.run_path(folder)
    with container.opened(path) as file, _blaming(path):
        model = _model(file.description)
        entries = {n.removeprefix(MODEL): e for n, e in file.entries.items() if n.startswith(MODEL)}
        _check_shapes(entries, model.config.weight_shapes(), (np.float32,))
        for name, entry in file.entries.items():
            if entry.dtype != np.float32:
                raise OptionError(f"{name:.60} is {entry.dtype} where float32 belongs")
        training, position = _run(file.description)
        arrays = file.arrays()
        weights = {name: arrays.pop(MODEL + name) for name in entries}
        if odd := unsound(weights, arrays):
            raise OptionError(odd)
    return SavedRun(replace(model, weights=weights), training, carried=arrays, position=position)


def load_position(folder: Path) -> Position:
    """How far the run has come that was left in a folder; its arrays, and so its digest, are not looked at.

    `CheckpointError` if that cannot be read.
    """
    path = folders.run_path(folder)
    with container.opened(path) as file, _blaming(path):
        return _run(file.description)[1]


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


def _run(description: Mapping[str, Any]) -> tuple[TrainConfig, Position]:
    """What a file says of how its run is trained, and how far it has come."""
    progress = description.get("progress")
    if not isinstance(progress, dict):
        raise OptionError("it holds no run")
    return TrainConfig.from_json(description.get("training")), Position.from_json(progress)


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


def unsound(weights: Weights, carried: Arrays) -> str:
    """What in these no file may hold, or nothing: a weight beyond `MAX_WEIGHT`, or what is not finite."""
    for name, array in weights.items():
        largest = float(max(array.max(), -array.min()))
        if not largest <= MAX_WEIGHT:  # nor is what is not a number
            return f"{name} holds {largest}, where no weight is above {MAX_WEIGHT:g}"
    for name, array in carried.items():
        if not np.isfinite(array).all():
            return f"{name:.60} holds what is not a finite number"
    return ""


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Turns what does not fit inside a file into an error that names the file."""
    try:
        yield
    except OptionError as error:
        raise damaged(path, str(error)) from None
