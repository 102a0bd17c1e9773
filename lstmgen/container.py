"""Named arrays and a description <-> one file that vouches for itself.

It is a safetensors file, so that many programs can read the arrays, with one entry in the header's
`__metadata__`: `lstmgen`, a JSON object that holds the format number, a description (itself JSON) and
the SHA-256 of description, table of arrays and their bytes. Nothing in it is code. A file is written
beside its final name, synced and renamed over the old one, so a reader meets the old file or the new
one, never a part. When read, nothing is believed, or given memory, before it has been checked: that
and the digest are why it is read here and not by the safetensors library.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from lstmgen import durable
from lstmgen.errors import CheckpointError, reason

FORMAT = 1
MAX_HEADER = 75_000_000  # bytes; a vocabulary of some four million words
SMALL = 1_000_000  # bytes of header, or marks in it, that no file needs to justify
TABLE = 200_000  # bytes of header that the names and places of arrays may take
NO_DIGEST = "0" * 64
NO_OBJECT = "PyObject pointer is null"  # as Rust says by a panic, which is no `Exception`
DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "U8": "<u1"}

# One that does not end matches to the end of the text, or the search would begin again at each quote in it.
_STRING = re.compile(r'"[^"\\]*+(?:\\(?s:.)[^"\\]*+)*+(?:"|\\?\Z)')

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Entry:
    """What the table says of an array, checked against the size of the file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Container:
    """A file whose header has been read and checked; its arrays are still on the disk."""

    def __init__(self, path: Path, file: BufferedReader) -> None:
        self._path, self._file = path, file
        header, payload = self._header()
        if not isinstance(header, dict):
            raise self._damaged(f"no header that can be read ({type(header).__name__})")
        envelope = self._envelope(header.pop("__metadata__", None))
        self._table: dict[str, Any] = header
        self.entries = self._entries(payload)
        self._plain: str = envelope["description"]
        self._sha256 = envelope["sha256"]
        self.description = self._json(self._plain, payload)
        if not isinstance(self.description, dict):
            raise self._damaged("its description is not a JSON object")

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays, once their bytes have proved to be those that were written. To be called once."""
        digest = _digest(self._plain, self._table)
        arrays = {}
        for name, entry in self.entries.items():
            array = np.empty(prod(entry.shape), entry.dtype)
            view = array.view(np.uint8).data
            if self._file.readinto(view) != len(view):
                raise self._damaged("it became shorter while it was read")
            digest.update(view)
            arrays[name] = array.reshape(entry.shape)
        if digest.hexdigest() != self._sha256:
            raise self._damaged("its content does not match its digest")
        return arrays

    def _header(self) -> tuple[Any, int]:
        """The JSON at the head of the file, and how many bytes follow it."""
        size = os.fstat(self._file.fileno()).st_size
        length = int.from_bytes(self._file.read(8), "little")
        payload = size - 8 - length
        if payload < 0 or length > _most_header(payload):
            raise self._damaged("it does not begin as a safetensors file does, or ends too early")
        try:
            header = self._file.read(length).decode()
        except UnicodeDecodeError:
            raise self._damaged("its header is not UTF-8") from None
        return self._json(header, 0), payload

    def _json(self, text: str, payload: int) -> Any:
        """The value that JSON stands for, if it holds no more things than the file has room for."""
        if _marks(text, SMALL + payload) > SMALL + payload:
            raise self._damaged("its header holds too many things")
        try:
            return json.loads(text, object_pairs_hook=unique)
        except (ValueError, RecursionError) as error:
            what = f"no header that can be read ({type(error).__name__})"
            raise self._damaged(what) from None

    def _envelope(self, metadata: object) -> dict[str, Any]:
        inner = metadata.get("lstmgen") if isinstance(metadata, dict) else None
        envelope = self._json(inner, 0) if isinstance(inner, str) else None
        if not isinstance(envelope, dict):
            raise self._damaged("its header has no entry of lstmgen")
        version = envelope.get("format")
        if type(version) is int and version > FORMAT:
            raise CheckpointError(
                f"{self._path}: written in format {version}, this lstmgen reads up to {FORMAT}; "
                "upgrade lstmgen"
            )
        if type(version) is not int or version != FORMAT:
            raise self._damaged(f"format {version!r:.40}")
        for name in ("sha256", "description"):
            if not isinstance(envelope.get(name), str):
                raise self._damaged(f"its header has no {name}")
        return envelope

    def _entries(self, payload: int) -> dict[str, Entry]:
        """The table in the order of the bytes, which must be filled from the first to the last."""
        rows = []
        try:
            for name, row in self._table.items():
                if set(row) != {"dtype", "shape", "data_offsets"}:
                    raise ValueError
                start, end = _sizes(row["data_offsets"])
                rows.append((start, end, name, DTYPES[row["dtype"]], _sizes(row["shape"])))
        except (KeyError, TypeError, ValueError):
            raise self._damaged("its table of arrays cannot be read") from None
        entries, place = {}, 0
        for start, end, name, dtype, shape in sorted(rows):
            entry = Entry(np.dtype(dtype), shape)
            if start != place or end - start != entry.dtype.itemsize * prod(shape) or start == end:
                raise self._damaged(f"{name!r:.80} does not lie where it should")
            entries[name], place = entry, end
        if place != payload:
            raise self._damaged(f"its arrays take {place:,} bytes, the file has {payload:,}")
        return entries

    def _damaged(self, what: str) -> CheckpointError:
        return damaged(self._path, what)


def _sizes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > 8:
        raise ValueError
    if not all(type(size) is int and 0 <= size < 2**62 for size in value):
        raise ValueError
    return tuple(value)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object of names and values; `ValueError` where a name occurs twice, as one would be lost."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name occurs twice")
    return values


def _marks(text: str, enough: int) -> int:
    """How many characters of JSON are outside strings, and so may each cost an object; stops at enough."""
    outside = end = 0
    for string in _STRING.finditer(text):
        outside += string.start() - end + 1
        end = string.end()
        if outside > enough:
            return outside
    return outside + len(text) - end


@contextmanager
def opened(path: Path) -> Iterator[Container]:
    """A container file to read from; `CheckpointError` says why it cannot be had or trusted."""
    try:
        # A FIFO would block for ever, so the kind of file is looked at first.
        if not stat.S_ISREG(path.stat().st_mode):
            raise CheckpointError(f"{path}: not a file; give a model folder or .safetensors file")
        file = path.open("rb")
    except FileNotFoundError:
        raise _missing(path) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: cannot be read: {reason(error)}; check its path and permissions"
        ) from None
    with file:
        try:
            yield Container(path, file)
        except OSError as error:
            raise CheckpointError(
                f"{path}: cannot be read: {reason(error)}; check the disk"
            ) from None


def write(path: Path, arrays: Arrays, description: Mapping[str, Any]) -> None:
    """Write a file in one step: afterwards `path` is the new file, whole, on the disk.

    `CheckpointError` where that cannot be done: see `durable.put`. Meanwhile there is a copy of the arrays.
    """
    try:
        _write(path, arrays, description)
    except MemoryError:
        raise CheckpointError(
            f"{path}: cannot be written (not enough memory); end other programs, or allow more"
        ) from None


def _write(path: Path, arrays: Arrays, description: Mapping[str, Any]) -> None:
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    require_readable(path, description, sum(array.nbytes for array in arrays.values()))
    plain = json.dumps(description, sort_keys=True)
    envelope = json.dumps({"format": FORMAT, "sha256": NO_DIGEST, "description": plain})
    raw = _packed(arrays, {"lstmgen": envelope})
    start = 8 + int.from_bytes(raw[:8], "little")
    header, payload = raw[:start], memoryview(raw)[start:]
    table = json.loads(header[8:])
    del table["__metadata__"]
    digest = _digest(plain, table)
    digest.update(payload)
    # The digest is of how the arrays lie in the file, so its place was kept free until that was known.
    durable.put(path, header.replace(NO_DIGEST.encode(), digest.hexdigest().encode(), 1), payload)


def _packed(arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> bytes:
    """The arrays as safetensors packs them; `MemoryError` where memory is too little."""
    try:
        return save(arrays, metadata)
    except BaseException as error:
        if NO_OBJECT not in str(error):
            raise
        raise MemoryError from None


def require_readable(path: Path, description: Mapping[str, Any], payload: int) -> int:
    """How many bytes, at most, a header with this takes before arrays of `payload` bytes.

    `CheckpointError` if they are so many that it would not be read again.
    """
    quoted = json.dumps(json.dumps(json.dumps(description)))  # as it stands in the header
    size, most = len(quoted) + TABLE, _most_header(payload)
    if size > most:
        raise CheckpointError(
            f"{path}: the vocabulary would take {len(quoted):,} bytes of a header of at most "
            f"{most:,}; train with a smaller --max-vocab or a higher --min-count"
            + (" or a larger --hidden-size" if most < MAX_HEADER else "")
        )
    return size


def _most_header(payload: int) -> int:
    """How many bytes a header may have: a vocabulary takes less than its tokens' weights, nearly always."""
    return min(MAX_HEADER, SMALL + 4 * payload)


def _digest(description: str, table: Mapping[str, Any]) -> "hashlib._Hash":
    """SHA-256 begun with the description and the table of arrays; their bytes are to follow."""
    return hashlib.sha256(json.dumps([description, table], sort_keys=True).encode())


def _missing(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path}: there is no model here; check the path, or train one with `lstmgen train`"
    )


def damaged(path: Path, what: str) -> CheckpointError:
    """The error for a file that does not hold what it should."""
    return CheckpointError(
        f"{path}: not a model or run of lstmgen, or damaged: {what}; train it anew or restore a copy"
    )
