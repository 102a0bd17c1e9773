"""A model and a run <-> a folder: bit for bit back, every damage refused, no half-written file ever."""

import errno
import json
import os
import pickle
import re
import resource
import stat
import struct
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
from safetensors import safe_open
from safetensors.numpy import load, save

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


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON object that lstmgen keeps in the header of a file, and nothing else."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    envelope = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["lstmgen"])
    change(envelope)
    path.write_bytes(save(load(raw), {"lstmgen": json.dumps(envelope)}))


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


def test_a_description_may_look_like_a_digest_that_is_not_known_yet(tmp_path: Path) -> None:
    description = {"text": container.NO_DIGEST}
    container.write(tmp_path / "m", {"a": np.ones(3)}, description)
    assert unpacked(tmp_path / "m")[1] == description


def test_other_programs_can_read_the_weights(file: Path, model: SavedModel) -> None:
    with safe_open(file, framework="np") as opened:
        assert_same_arrays({name: opened.get_tensor(name) for name in opened.keys()}, model.weights)  # noqa: SIM118


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


def test_a_file_that_shrinks_or_fails_while_it_is_read_is_refused(file: Path) -> None:
    container.write(file, {"a": np.ones(100_000)}, {})
    with container.opened(file) as opened:
        os.truncate(file, 400_000)
        with pytest.raises(CheckpointError, match="became shorter while it was read"):
            opened.arrays()
    container.write(file, {}, {})
    told = r"cannot be read: Input/output error; check the disk"
    with pytest.raises(CheckpointError, match=told), container.opened(file):
        raise OSError(errno.EIO, "Input/output error")


def test_bytes_added_at_the_end_are_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load_model(file)


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


def test_file_in_a_newer_format_says_upgrade(file: Path) -> None:
    rewritten(file, lambda envelope: envelope.update(format=container.FORMAT + 1))
    with pytest.raises(CheckpointError, match="upgrade lstmgen"):
        checkpoint.load_model(file)


@pytest.mark.parametrize("version", [0, -1, "1", 1.5, None, [1]])
def test_file_in_a_format_that_never_was_is_refused(file: Path, version: object) -> None:
    rewritten(file, lambda envelope: envelope.update(format=version))
    with pytest.raises(CheckpointError, match="format"):
        checkpoint.load_model(file)


@pytest.mark.parametrize("key", ["format", "sha256", "description"])
def test_header_without_one_of_its_parts_is_refused(file: Path, key: str) -> None:
    rewritten(file, lambda envelope: envelope.pop(key))
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load_model(file)


def test_description_changed_behind_the_digest_is_refused(file: Path) -> None:
    rewritten(
        file,
        lambda envelope: envelope.update(
            description=envelope["description"].replace('"step": 3', '"step": 4')
        ),
    )
    with pytest.raises(CheckpointError, match="digest"):
        checkpoint.load_model(file)


def test_weights_of_one_shape_cannot_change_places(file: Path) -> None:
    raw = file.read_bytes()
    for old, new in ((b"bias_ih", b"bias_??"), (b"bias_hh", b"bias_ih"), (b"bias_??", b"bias_hh")):
        assert raw.count(old) == 1
        raw = raw.replace(old, new)
    file.write_bytes(raw)
    with pytest.raises(CheckpointError, match="digest"):
        checkpoint.load_model(file)


@pytest.mark.parametrize("row", [{"x": [[]]}, {"dtype": "F99"}, {"shape": None}])
def test_a_table_that_says_what_it_should_not_is_refused(file: Path, row: dict[str, Any]) -> None:
    raw = file.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    header["output.bias"] |= row
    changed = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(changed)) + changed + raw[8 + length :])
    with pytest.raises(CheckpointError, match="its table of arrays cannot be read"):
        checkpoint.load_model(file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"seven b",
        pickle.dumps({"weights": [1.0]}),
        b"\xff" * 64,
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 60_000) + b"[" * 60_000,
        struct.pack("<Q", 2**63) + b"{}",
        save({"a": np.zeros(2, np.float32)}),
        save({"a": np.zeros(2, np.float32)}, {"lstmgen": "[]"}),
        save({"a": np.zeros(2, np.float32)}, {"lstmgen": "{"}),
        save({"a": np.zeros(2, np.float32)}, {"format": "pt"}),
    ],
    ids=lambda content: repr(content[:20]),
)
def test_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"odd\.safetensors: not a model of lstmgen"):
        checkpoint.load_model(path)


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
    with pytest.raises(CheckpointError, match="m: not a model of lstmgen, or damaged"):
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


@pytest.mark.parametrize(
    ("number", "way"),
    [
        (errno.EACCES, "; let it be written there$"),
        (errno.ENOSPC, "; make room there, 1 MB at most$"),
    ],
)
def test_what_cannot_be_written_is_told_with_what_helps(
    tmp_path: Path, model: SavedModel, monkeypatch: pytest.MonkeyPatch, number: int, way: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(CheckpointError, match=way):
        checkpoint.save_model(tmp_path / "m", model)


def test_a_run_that_has_no_model_yet_is_to_be_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / folders.RUN_FILE).touch()
    again = f"train CORPUS --resume --model {tmp_path}`"
    with pytest.raises(CheckpointError, match=f"no model yet.* {re.escape(again)}"):
        checkpoint.load_model(tmp_path)
    with pytest.raises(CheckpointError, match="no model here"):
        checkpoint.load_model(tmp_path / "other.safetensors")


def test_a_run_that_has_just_begun_has_no_model_yet(tmp_path: Path) -> None:
    with (
        holding.claimed(tmp_path, resume=False, overwrite=False),
        pytest.raises(CheckpointError, match=r"no model yet.* first report, or .* begin it again"),
    ):
        checkpoint.load_model(tmp_path)


def test_folder_without_a_model_is_refused_likewise(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.safetensors: there is no model here"):
        checkpoint.load_model(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="pipe: not a file"):
        checkpoint.load_model(tmp_path / "pipe")


def test_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / folders.MODEL_FILE).mkdir()
    with pytest.raises(CheckpointError, match="not a file"):
        checkpoint.load_model(tmp_path)


def test_path_that_cannot_be_one_is_refused(tmp_path: Path, file: Path) -> None:
    for odd in (file / "under", tmp_path / "nul\0byte"):
        with pytest.raises(CheckpointError, match="cannot be read"):
            checkpoint.load_model(odd)


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
@pytest.mark.parametrize("old", [None, b"the old file"])
def test_failed_write_leaves_what_was_there_and_no_litter(
    tmp_path: Path,
    model: SavedModel,
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
            checkpoint.save_model(path, model)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == (
        {} if old is None else {path.name: old}
    )


def test_reader_meets_the_old_file_until_the_new_one_is_on_the_disk(
    file: Path, model: SavedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, really_sync, seen = file.read_bytes(), os.fsync, []

    def watch(handle: int) -> None:
        seen.append(file.read_bytes())
        really_sync(handle)

    monkeypatch.setattr(os, "fsync", watch)
    checkpoint.save_model(file, SavedModel(CONFIG, VOCABULARY, model.weights, {"new": 1}))
    new = file.read_bytes()
    assert new != old
    assert seen == [old, new]  # the file is synced before it is renamed, the folder after


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


def test_a_string_without_an_end_is_read_through_once() -> None:
    started = '"' + '\\"' * 500_000  # each quote in it a place to begin from, for hours in all
    for end in ("", "\\", "\n", "\\\n"):
        assert container._marks(started + end, 10**9) <= 2


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_folder_that_its_file_system_does_not_sync_is_none_the_worse(
    tmp_path: Path, model: SavedModel, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    sync = os.fsync

    def choosy(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, "no")
        sync(handle)

    monkeypatch.setattr(os, "fsync", choosy)
    if number == errno.EINVAL:
        checkpoint.save_model(tmp_path / "m", model)
    else:
        with pytest.raises(CheckpointError, match="cannot be written"):
            checkpoint.save_model(tmp_path / "m", model)
    assert_same_arrays(checkpoint.load_model(tmp_path / "m").weights, model.weights)


def test_a_folder_that_may_be_written_and_not_read_takes_a_model(
    tmp_path: Path, model: SavedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_open = os.open

    def choosy(path: Any, flags: int, *rest: Any) -> int:
        if path == tmp_path and not flags & (os.O_WRONLY | os.O_RDWR):
            raise PermissionError(errno.EACCES, "no")
        return really_open(path, flags, *rest)

    monkeypatch.setattr(os, "open", choosy)
    checkpoint.save_model(tmp_path / "m", model)
    assert_same_arrays(checkpoint.load_model(tmp_path / "m").weights, model.weights)


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
