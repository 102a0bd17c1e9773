"""Arrays and a description <-> a file that vouches for itself: others can read it, and damage is refused."""

import errno
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from files import unpacked
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load, save

from lstmgen import container
from lstmgen.errors import CheckpointError

ARRAYS = {
    "layers.0.bias_ih": np.arange(3, dtype=np.float32),
    "layers.0.bias_hh": np.array([1e38, -0.0, 1e-45], np.float32),
    "output.bias": np.array([[1 / 3, -2.0]]),
    "counts": np.array([2**62], np.int64),
}
DESCRIPTION = {"step": 3, "nats": 0.1 + 0.2, "corpus": {"name": "naïve\n"}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "arrays.safetensors"
    container.write(path, ARRAYS, DESCRIPTION)
    return path


def same(these: dict[str, NDArray[Any]], those: dict[str, NDArray[Any]]) -> bool:
    """Whether arrays are equal to the bit, and of one kind and shape each."""
    return set(these) == set(those) and all(
        (array.dtype, array.shape, array.tobytes())
        == (those[name].dtype, those[name].shape, those[name].tobytes())
        for name, array in these.items()
    )


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON object that lstmgen keeps in the header of a file, and nothing else."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    envelope = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["lstmgen"])
    change(envelope)
    path.write_bytes(save(load(raw), {"lstmgen": json.dumps(envelope)}))


def test_arrays_and_description_come_back_bit_for_bit(file: Path) -> None:
    arrays, description = unpacked(file)
    assert same(arrays, ARRAYS)
    assert description == DESCRIPTION


def test_a_description_may_look_like_a_digest_that_is_not_known_yet(tmp_path: Path) -> None:
    description = {"text": container.NO_DIGEST}
    container.write(tmp_path / "m", {"a": np.ones(3)}, description)
    assert unpacked(tmp_path / "m")[1] == description


def test_other_programs_can_read_the_arrays(file: Path) -> None:
    with safe_open(file, framework="np") as opened:
        assert same({name: opened.get_tensor(name) for name in opened.keys()}, ARRAYS)  # noqa: SIM118


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


def test_bytes_that_are_missing_at_the_end_are_refused(file: Path) -> None:
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(
            CheckpointError, match=f"{file.name}: not a model or run of lstmgen, or dam"
        ):
            unpacked(file)


def test_bytes_added_at_the_end_are_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="damaged"):
        unpacked(file)


def test_file_in_a_newer_format_says_upgrade(file: Path) -> None:
    rewritten(file, lambda envelope: envelope.update(format=container.FORMAT + 1))
    with pytest.raises(CheckpointError, match="upgrade lstmgen"):
        unpacked(file)


@pytest.mark.parametrize("version", [0, -1, "1", 1.5, None, [1]])
def test_file_in_a_format_that_never_was_is_refused(file: Path, version: object) -> None:
    rewritten(file, lambda envelope: envelope.update(format=version))
    with pytest.raises(CheckpointError, match="format"):
        unpacked(file)


@pytest.mark.parametrize("key", ["format", "sha256", "description"])
def test_header_without_one_of_its_parts_is_refused(file: Path, key: str) -> None:
    rewritten(file, lambda envelope: envelope.pop(key))
    with pytest.raises(CheckpointError, match="damaged"):
        unpacked(file)


def test_description_changed_behind_the_digest_is_refused(file: Path) -> None:
    rewritten(
        file,
        lambda envelope: envelope.update(
            description=envelope["description"].replace('"step": 3', '"step": 4')
        ),
    )
    with pytest.raises(CheckpointError, match="digest"):
        unpacked(file)


def test_arrays_of_one_shape_cannot_change_places(file: Path) -> None:
    raw = file.read_bytes()
    for old, new in ((b"bias_ih", b"bias_??"), (b"bias_hh", b"bias_ih"), (b"bias_??", b"bias_hh")):
        assert raw.count(old) == 1
        raw = raw.replace(old, new)
    file.write_bytes(raw)
    with pytest.raises(CheckpointError, match="digest"):
        unpacked(file)


@pytest.mark.parametrize("row", [{"x": [[]]}, {"dtype": "F99"}, {"shape": None}])
def test_a_table_that_says_what_it_should_not_is_refused(file: Path, row: dict[str, Any]) -> None:
    raw = file.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    header["output.bias"] |= row
    changed = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(changed)) + changed + raw[8 + length :])
    with pytest.raises(CheckpointError, match="its table of arrays cannot be read"):
        unpacked(file)


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
    with pytest.raises(CheckpointError, match=r"odd\.safetensors: not a model or run of lstmgen"):
        unpacked(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="pipe: not a file"):
        unpacked(tmp_path / "pipe")


def test_path_that_cannot_be_one_is_refused(tmp_path: Path, file: Path) -> None:
    for odd in (file / "under", tmp_path / "nul\0byte"):
        with pytest.raises(CheckpointError, match="cannot be read"):
            unpacked(odd)


def test_a_string_without_an_end_is_read_through_once() -> None:
    started = '"' + '\\"' * 500_000  # each quote in it a place to begin from, for hours in all
    for end in ("", "\\", "\n", "\\\n"):
        assert container._marks(started + end, 10**9) <= 2


def test_a_name_that_occurs_twice_is_refused_as_one_value_would_be_lost() -> None:
    assert container.unique([("a", 1), ("b", 2)]) == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match="twice"):
        container.unique([("a", 1), ("a", 1)])


@pytest.mark.parametrize("error", [MemoryError(), BaseException("PyObject pointer is null")])
def test_a_lack_of_memory_is_no_reason_to_lose_what_is_there(
    file: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def refuse(*about: object) -> bytes:
        raise error

    before = file.read_bytes()
    monkeypatch.setattr(container, "save", refuse)
    with pytest.raises(
        CheckpointError, match=r"cannot be written \(not enough memory\); end other"
    ):
        container.write(file, ARRAYS, DESCRIPTION)
    assert file.read_bytes() == before


def test_a_signal_that_ends_a_write_is_no_lack_of_memory(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*about: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(container, "save", refuse)
    with pytest.raises(KeyboardInterrupt):
        container.write(file, ARRAYS, DESCRIPTION)
