"""A model and a run <-> a folder: bit for bit back, every damage refused, no half-written file ever."""

import re
import resource
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import random_weights
from files import unpacked
from numpy.typing import NDArray

from lstmgen import checkpoint, container, durable, folders, holding, log_file
from lstmgen.checkpoint import SavedModel, SavedRun
from lstmgen.config import ModelConfig, Position, TrainConfig
from lstmgen.errors import CheckpointError
from lstmgen.vocabulary import UNKNOWN, Vocabulary

CONFIG = ModelConfig(vocab_size=4, num_layers=1, hidden_size=3, embedding_size=2)
VOCABULARY = Vocabulary("char", "prose", ("<unk>", "\n", "é", "中"))
TRAINING = TrainConfig(num_steps=10, report_every=5, learning_rate=0.1 + 0.2)


@pytest.fixture
def model() -> SavedModel:
    results = {"nats": 0.1 + 0.2, "step": 3, "corpus": {"name": "naïve\n"}}
    return SavedModel(CONFIG, VOCABULARY, random_weights(CONFIG, seed=1), results)


@pytest.fixture
def run(model: SavedModel) -> SavedRun:
    tensors: dict[str, NDArray[Any]] = {
        "state.0.0": np.arange(6, dtype=np.float32).reshape(2, 3),
        "optimizer.step": np.array([7], np.float32),
        "optimizer.mean": np.array([[1e38, -0.0], [-1e-38, 1e-45]], np.float32),
    }
    position = Position(step=7, seconds=1 / 3, best_nats=2.5, best_tokens=3, best_characters=4)
    return SavedRun(model, TRAINING, tensors, position)


@pytest.fixture
def file(tmp_path: Path, model: SavedModel) -> Path:
    path = tmp_path / "model.safetensors"
    checkpoint.save_model(path, model)
    return path


def assert_same_arrays(these: checkpoint.Weights, those: checkpoint.Weights) -> None:
    assert set(these) == set(those)
    for name, array in these.items():
        assert array.dtype == those[name].dtype, name
        assert array.shape == those[name].shape, name
        assert array.tobytes() == those[name].tobytes(), name


def forged(path: Path, model: SavedModel, parts: dict[str, Any]) -> None:
    """Write a file whose digest is right but whose description says something else."""
    description = {
        "model": model.config.to_json(),
        "vocabulary": model.vocabulary.to_json(),
        "results": {},
    }
    container.write(path, model.weights, description | parts)


def test_model_comes_back_bit_for_bit(file: Path, model: SavedModel) -> None:
    loaded = checkpoint.load_model(file)
    assert loaded.config == model.config
    assert loaded.vocabulary == model.vocabulary
    assert loaded.results == model.results
    assert_same_arrays(loaded.weights, model.weights)


def test_model_is_found_in_its_folder_by_name(file: Path, model: SavedModel) -> None:
    assert_same_arrays(checkpoint.load_model(str(file.parent)).weights, model.weights)


def test_run_comes_back_bit_for_bit(tmp_path: Path, run: SavedRun) -> None:
    checkpoint.save_run(tmp_path / folders.RUN_FILE, run)
    loaded = checkpoint.load_run(tmp_path)
    assert loaded.model.config == run.model.config
    assert loaded.model.vocabulary == run.model.vocabulary
    assert loaded.training == run.training
    assert loaded.position == run.position
    assert_same_arrays(loaded.model.weights, run.model.weights)
    assert_same_arrays(loaded.carried, run.carried)


def test_how_far_a_run_has_come_is_known_without_its_arrays(tmp_path: Path, run: SavedRun) -> None:
    checkpoint.save_run(tmp_path / folders.RUN_FILE, run)
    raw = (tmp_path / folders.RUN_FILE).read_bytes()
    (tmp_path / folders.RUN_FILE).write_bytes(raw[:-1] + b"?")
    assert checkpoint.load_position(tmp_path) == run.position
    with pytest.raises(CheckpointError, match="does not match its digest"):
        checkpoint.load_run(tmp_path)
    checkpoint.save_model(tmp_path / folders.RUN_FILE, run.model)
    with pytest.raises(CheckpointError, match="it holds no run"):
        checkpoint.load_position(tmp_path)
    with pytest.raises(CheckpointError, match="there is no run to go on with here"):
        checkpoint.load_position(tmp_path / "other")


def test_array_that_is_a_view_is_saved_as_what_it_shows(tmp_path: Path, model: SavedModel) -> None:
    views = {n: np.asfortranarray(a)[..., ::-1] for n, a in model.weights.items()}
    checkpoint.save_model(tmp_path / "m", SavedModel(CONFIG, VOCABULARY, views))
    assert_same_arrays(
        checkpoint.load_model(tmp_path / "m").weights,
        {name: np.ascontiguousarray(view) for name, view in views.items()},
    )


def test_same_model_is_written_as_the_same_bytes(file: Path, model: SavedModel) -> None:
    first = file.read_bytes()
    backwards = dict(reversed(list(model.weights.items())))
    results = dict(reversed(list(model.results.items())))
    checkpoint.save_model(file, SavedModel(CONFIG, VOCABULARY, backwards, results))
    assert file.read_bytes() == first


@pytest.mark.parametrize("kind", ["model", "run"])
def test_truncation_anywhere_is_refused(tmp_path: Path, run: SavedRun, kind: str) -> None:
    if kind == "model":
        path = tmp_path / folders.MODEL_FILE
        checkpoint.save_model(path, run.model)
        loading: Callable[[Path], object] = checkpoint.load_model
    else:
        path, loading = tmp_path / folders.RUN_FILE, checkpoint.load_run
        checkpoint.save_run(path, run)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 37), 1, 7, 8, 9, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=path.name):
            loading(tmp_path)


def test_no_change_of_a_byte_changes_what_is_read(file: Path, model: SavedModel) -> None:
    whole = file.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= int(generator.choice([1, 2, 4, 8, 16, 32, 64, 128, 255]))
        file.write_bytes(damaged)
        try:
            loaded = checkpoint.load_model(file)
        except CheckpointError:
            refused += 1
        else:  # a blank in the header became another blank, say
            assert (loaded.config, loaded.vocabulary) == (CONFIG, VOCABULARY)
            assert loaded.results == model.results
            assert_same_arrays(loaded.weights, model.weights)
    assert refused > 0.99 * len(whole)


@pytest.mark.parametrize(
    "parts",
    [
        {"model": CONFIG.to_json() | {"hidden_size": 4}},
        {"model": CONFIG.to_json() | {"num_layers": 2}},
        {"model": CONFIG.to_json() | {"cell": "gru"}},
        {"model": CONFIG.to_json() | {"vocab_size": 5}},
        {"model": CONFIG.to_json() | {"vocab_size": 10**9}},
        {"model": CONFIG.to_json() | {"num_layers": 10**9}},
        {"model": None},
        {"vocabulary": VOCABULARY.to_json() | {"tokens": ["<unk>", "a", "b"]}},
        {"vocabulary": VOCABULARY.to_json() | {"tokens": ["<unk>", "b", "a", "c"]}},
        {"vocabulary": VOCABULARY.to_json() | {"start": "a"}},
        {"vocabulary": VOCABULARY.to_json() | {"start": 1}},
        {"vocabulary": {}},
        {"results": [1]},
    ],
    ids=repr,
)
def test_description_that_does_not_fit_the_weights_is_refused(
    tmp_path: Path, model: SavedModel, parts: dict[str, Any]
) -> None:
    forged(tmp_path / "m", model, parts)
    with pytest.raises(CheckpointError, match="m: not a model or run of lstmgen, or damaged"):
        checkpoint.load_model(tmp_path / "m")


def test_a_model_in_half_the_bytes_is_the_same_but_for_rounding(
    model: SavedModel, tmp_path: Path
) -> None:
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    checkpoint.save_model(whole, model)
    checkpoint.save_half(whole, half)
    tensors, _ = unpacked(half)
    assert {array.dtype for array in tensors.values()} == {np.dtype(np.float16)}
    loaded = checkpoint.load_model(half)
    assert (loaded.config, loaded.vocabulary) == (model.config, model.vocabulary)
    assert dict(loaded.results) == dict(model.results)
    for name, array in loaded.weights.items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, model.weights[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "dtype"])
def test_weights_that_do_not_fit_the_description_are_refused(
    tmp_path: Path, model: SavedModel, change: str
) -> None:
    weights = dict(model.weights)
    if change == "missing":
        del weights["output.bias"]
    elif change == "unknown":
        weights["banana"] = np.zeros(3, np.float32)
    elif change == "shape":
        weights["output.bias"] = weights["output.bias"].reshape(2, 2)
    else:
        weights["output.bias"] = weights["output.bias"].astype(np.float64)
    checkpoint.save_model(tmp_path / "m", SavedModel(CONFIG, VOCABULARY, weights))
    name = "banana" if change == "unknown" else r"output\.bias"
    with pytest.raises(CheckpointError, match=name):
        checkpoint.load_model(tmp_path / "m")


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({}, "it holds no run"),
        ({"progress": [], "training": TRAINING.to_json()}, "it holds no run"),
        ({"progress": {}}, "TrainConfig"),
        ({"progress": {}, "training": TRAINING.to_json() | {"window": 0}}, "--window is 0"),
        (
            {"progress": {"step": 1}, "training": TRAINING.to_json()},
            "Position lacks best_characters, ",
        ),
        (
            {"progress": {}, "training": TRAINING.to_json(), "results": {"corpus": 5}},
            "results are not JSON objects",
        ),
    ],
)
def test_run_that_is_none_is_refused(
    tmp_path: Path, model: SavedModel, parts: dict[str, Any], why: str
) -> None:
    weights = {f"model.{name}": array for name, array in model.weights.items()}
    forged(tmp_path / folders.RUN_FILE, replace(model, weights=weights), parts)
    with pytest.raises(CheckpointError, match=why):
        checkpoint.load_run(tmp_path)


def test_missing_model_is_refused_with_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no model here.*path.*lstmgen train"):
        checkpoint.load_model(tmp_path / "nowhere")


def test_a_run_that_has_no_model_yet_is_to_be_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / folders.RUN_FILE).touch()
    again = f"train CORPUS --resume --model {tmp_path}`"
    with pytest.raises(CheckpointError, match=f"no model yet.* {re.escape(again)}"):
        checkpoint.load_model(tmp_path)
    with pytest.raises(CheckpointError, match="no model here"):
        checkpoint.load_model(tmp_path / "other.safetensors")
    folder = tmp_path / "a run"
    folder.mkdir()
    (folder / folders.RUN_FILE).touch()
    with pytest.raises(CheckpointError, match=re.escape(f"--resume --model '{folder}'`")):
        checkpoint.load_model(folder)


def test_a_run_that_has_just_begun_has_no_model_yet(tmp_path: Path) -> None:
    with (
        holding.claimed(tmp_path, resume=False, overwrite=False),
        pytest.raises(CheckpointError, match=r"no model yet.* first report, or .* begin it again"),
    ):
        checkpoint.load_model(tmp_path)


def test_folder_without_a_model_is_refused_likewise(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.safetensors: there is no model here"):
        checkpoint.load_model(tmp_path)


def test_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / folders.MODEL_FILE).mkdir()
    with pytest.raises(CheckpointError, match="not a file"):
        checkpoint.load_model(tmp_path)


def test_room_that_is_not_there_is_missed_before_training(
    tmp_path: Path, model: SavedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    asked: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(folders, "_fill", lambda path, size: asked.append(size))
        checkpoint.require_room(tmp_path, model, 1000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(asked), before[1]))
    try:
        checkpoint.require_room(tmp_path, model, 1000)
        told = rf"cannot hold the model \(File too large\); training takes {sum(asked) + 2:,} bytes"
        with pytest.raises(CheckpointError, match=told):
            checkpoint.require_room(tmp_path, model, 1001)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_room_for_a_file_and_the_one_that_takes_its_place_is_asked_for(
    tmp_path: Path, model: SavedModel, run: SavedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = [[], []]
    carried = sum(array.nbytes for array in run.carried.values())
    for sizes in asked:
        patched = partial(lambda sizes, path, size: sizes.append(size), sizes)
        monkeypatch.setattr(folders, "_fill", patched)
        checkpoint.require_room(tmp_path, model, carried)
        checkpoint.save_model(tmp_path / folders.MODEL_FILE, model)
    small, large, again = asked[0]
    assert large == again == small + carried
    assert asked[1] == [small - (tmp_path / folders.MODEL_FILE).stat().st_size, large, large]
    checkpoint.save_run(tmp_path / folders.RUN_FILE, run)
    assert (tmp_path / folders.MODEL_FILE).stat().st_size < small
    assert (tmp_path / folders.RUN_FILE).stat().st_size < large


def test_room_is_asked_for_the_words_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tuple(f" {i:07}слово" for i in range(20_000))
    vocabulary = Vocabulary("word", "prose", (UNKNOWN["word"], *words))
    config = ModelConfig(vocab_size=20_001, num_layers=1, hidden_size=8, embedding_size=8, tie=True)
    model, asked = SavedModel(config, vocabulary, random_weights(config)), list[int]()
    monkeypatch.setattr(folders, "_fill", lambda path, size: asked.append(size))
    checkpoint.require_room(tmp_path, model, 0)
    checkpoint.save_model(tmp_path / folders.MODEL_FILE, model)
    assert 200_000 < (tmp_path / folders.MODEL_FILE).stat().st_size <= asked[0]


def test_a_vocabulary_that_could_not_be_read_again_is_refused_at_once(
    tmp_path: Path, model: SavedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "MAX_HEADER", container.TABLE + 300)
    with pytest.raises(CheckpointError, match=r"vocabulary would take .* --max-vocab"):
        checkpoint.require_room(tmp_path, model, 0)
    with pytest.raises(CheckpointError, match="vocabulary would take"):
        checkpoint.save_model(tmp_path / "m", model)


def test_a_vocabulary_that_is_much_larger_than_its_weights_is_refused_at_once(
    tmp_path: Path,
) -> None:
    """The reader does not believe such a file, so none may be written."""
    words = tuple(f"{i:07}" + "слово" * 20 for i in range(3000))
    vocabulary = Vocabulary("word", "prose", (UNKNOWN["word"], "\n", *words))
    refused, read = [], []
    for size in (1, 2, 4, 8, 16, 32, 64):
        config = ModelConfig(
            vocab_size=3002, num_layers=1, hidden_size=size, embedding_size=size, tie=True
        )
        path = tmp_path / f"{size}.safetensors"
        try:
            checkpoint.save_model(path, SavedModel(config, vocabulary, random_weights(config)))
        except CheckpointError as error:
            refused.append(str(error))
        else:
            read.append(checkpoint.load_model(path))
    assert read
    assert refused
    assert all("or a larger --hidden-size" in why for why in refused)


def test_what_the_system_refuses_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / folders.LOG_FILE).mkdir()
    with pytest.raises(CheckpointError, match="File name too long"):
        checkpoint.load_model("a" * 300)
    with pytest.raises(CheckpointError, match="File name too long"):
        holding.claimed(tmp_path / ("a" * 300), resume=False, overwrite=False).__enter__()
    with pytest.raises(CheckpointError, match="Not a directory"):
        durable.put(tmp_path / "file" / "x", b"content")
    with pytest.raises(CheckpointError, match="Is a directory"):
        log_file.append(tmp_path, {"step": 1})


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e38, -2e9])
def test_weights_beyond_all_measure_are_refused(
    tmp_path: Path, model: SavedModel, number: float
) -> None:
    weights = {name: array.copy() for name, array in model.weights.items()}
    weights["output.bias"][1] = number
    checkpoint.save_model(tmp_path / "m", replace(model, weights=weights))
    with pytest.raises(CheckpointError, match=r"output\.bias holds .*, where no weight is above"):
        checkpoint.load_model(tmp_path / "m")


def test_a_model_too_large_for_float16_is_not_written_in_it(
    tmp_path: Path, model: SavedModel
) -> None:
    weights = {name: array.copy() for name, array in model.weights.items()}
    weights["output.bias"][1] = 70_000.0
    checkpoint.save_model(tmp_path / "m", replace(model, weights=weights))
    with pytest.raises(CheckpointError, match=r"output\.bias goes beyond float16"):
        checkpoint.save_half(tmp_path / "m", tmp_path / "half")
    assert not (tmp_path / "half").exists()


def test_a_run_that_is_taken_for_a_model_is_told_to_be_one(tmp_path: Path, run: SavedRun) -> None:
    checkpoint.save_run(tmp_path / folders.RUN_FILE, run)
    with pytest.raises(
        CheckpointError, match=r"this is a saved run, .*; name its folder, in which model"
    ):
        checkpoint.load_model(tmp_path / folders.RUN_FILE)


def test_a_file_of_another_kind_is_told_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "curves.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'></svg>")
    with pytest.raises(CheckpointError, match="does not begin as a safetensors file does"):
        checkpoint.load_model(tmp_path / "curves.svg")
