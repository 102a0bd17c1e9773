"""Texts in files, for the tests that read them."""

from pathlib import Path

from lstmgen.corpus import lines


def put(folder: Path, content: bytes, name: str = "file.txt") -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def lines_of(tmp_path: Path, raw: bytes, encoding: str = "utf-8") -> list[str]:
    path = tmp_path / "lines.txt"
    path.write_bytes(raw)
    return list(lines(str(path), encoding))
