"""What is in files, texts and arrays, for the tests that read them."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lstmgen import container
from lstmgen.corpus import lines


def put(folder: Path, content: bytes, name: str = "file.txt") -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def lines_of(tmp_path: Path, raw: bytes, encoding: str = "utf-8") -> list[str]:
    path = tmp_path / "lines.txt"
    path.write_bytes(raw)
    return list(lines(str(path), encoding))


def unpacked(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays and the description of a model's file, or a run's."""
    with container.opened(path) as opened:
        return opened.arrays(), opened.description
