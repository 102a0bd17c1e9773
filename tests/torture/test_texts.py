"""Texts that nobody would write: trained on and scored, or refused in one line."""

import itertools
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmgen import corpus
from lstmgen.cli import console
from lstmgen.errors import CorpusError

SMALL = ("--hidden-size", "4", "--embedding-size", "4", "--num-layers", "1", "--batch-size", "2",
         "--window", "8", "--steps", "2", "--overwrite", "-m", "m")  # fmt: skip
LUCK = random.Random(0)
WORDS = "It went up the hill and came down. "
TEXTS: dict[str, bytes] = {
    "nothing": b"",
    "one byte": b"a",
    "a line end": b"\n",
    "one character, repeated": b"a" * 20_000,
    "blanks": b" " * 10_000,
    "line ends": b"\n" * 10_000,
    "random bytes": LUCK.randbytes(10_000),
    "NUL": (WORDS + "\0" + WORDS).encode() * 100,
    "control characters": "".join(map(chr, itertools.chain(range(32), range(127, 160)))).encode()
    * 99,
    "private use": ("\ue000\uf8ff\U000f0000\U0010fffd" + WORDS).encode() * 100,
    "right-to-left marks": ("\u202e\u2066\u200f\u061c" + WORDS).encode() * 100,
    "escape sequences": ("\x1b]0;title\x07\x1b[2J\x9b31m" + WORDS).encode() * 100,
    "combining marks": ("e" + "\u0301" * 300).encode() * 50,
    "a lone surrogate": WORDS.encode() * 100 + b"\xed\xa0\x80" + WORDS.encode() * 100,
    "overlong": WORDS.encode() * 100 + b"\xc0\xaf" + WORDS.encode() * 100,
    "beyond Unicode": WORDS.encode() * 100 + b"\xf4\x90\x80\x80" + WORDS.encode() * 100,
    "UTF-16": (WORDS * 100).encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + WORDS.encode() * 100,
    "carriage returns": (WORDS + "\r\n" + WORDS + "\r").encode() * 100,
    "a third of all characters": "".join(
        map(chr, [*range(0, 0xD800, 3), *range(0xE000, 0x20000, 3)])
    ).encode(),
    "distinct words": " ".join(f"w{i}" for i in range(6_000)).encode(),
    "one word": b"a" * 10_000 + b" " + b"b" * 10_000,
    "<unk>": b"<unk> <unk> it is <unk>\n" * 100,
    "gzip, cut short": b"\x1f\x8b\x08\x00" + LUCK.randbytes(500),
}


@pytest.mark.parametrize("level", ["char", "word"])
@pytest.mark.parametrize("name", TEXTS)
def test_odd_texts_are_taken_or_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Any, name: str, level: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_bytes(TEXTS[name])
    Path("usual").write_text(WORDS * 100)
    assert here("train", "usual", "--level", level, *SMALL).code == 0
    for command in (
        ("eval", "text", "-m", "m"),
        ("eval", "text", "-m", "m", "--by", "line"),
        ("eval", "text", "-m", "m", "--by", "token"),
        ("eval", "text", "-m", "m", "--context", "1,2"),
        ("eval", "text", "-m", "m", "--choices"),
        ("sample", "--prime-file", "text", "-m", "m", "--length", "5", "--seed", "1"),
        ("train", "text", "--level", level, *SMALL),
        ("sample", "-m", "m", "--length", "20", "--seed", "1"),
    ):
        ran = here(*command)
        assert ran.code == 0 or ran.error, command
        assert not any(console._controls(c) for c in ran.err if c not in "\n\t"), command


def test_what_is_not_utf_8_is_found_wherever_a_buffer_ends(tmp_path: Path) -> None:
    path, sizes = tmp_path / "text", (1 << 13, 1 << 16, 1 << 18, 1 << 20)
    for size, before, bad in itertools.product(
        sizes, range(4), (b"\xff", b"\xe4\xb8", b"\xf0\x9f")
    ):
        place = size - before
        path.write_bytes(b"a" * place + bad + b"a" * 100)
        with pytest.raises(CorpusError, match=rf"at offset {place:,} is not"):
            corpus.read_all([str(path)], "utf-8")
        path.write_bytes(b"a" * place + "é中😀".encode() * 50)  # a character cut by a buffer's end
        assert corpus.read_all([str(path)], "utf-8").text == "a" * place + "é中😀" * 50


@pytest.mark.parametrize("how", ["grows", "shrinks"])
def test_a_file_that_changes_while_it_is_read_does_no_harm(tmp_path: Path, how: str) -> None:
    path, over = tmp_path / "text", threading.Event()
    path.write_text(WORDS * 50_000)

    def change() -> None:
        while not over.is_set():
            with path.open("r+b") as file:
                file.truncate(LUCK.randrange(1_000_000) if how == "shrinks" else 2_000_000)
                file.seek(0, 2)
                file.write(WORDS.encode() * 1000)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(30):
            try:
                told = corpus.read_all([str(path)], "utf-8").text
            except CorpusError as error:  # what lies between two sizes is zeros
                told = "\0" if "a quarter of its characters are NUL" in str(error) else str(error)
            assert set(told) <= {*WORDS, "\0"}
    finally:
        over.set()
        thread.join()


def large(tmp_path: Path, what: str, size: int) -> Path:
    path = tmp_path / "large"
    with path.open("w") as file:
        if what == "one line":
            for _ in range(size // 1000):
                file.write("It went up the hill " * 50)
        else:
            for start in range(0, size, 1000):
                file.writelines(f"w{i} " for i in range(start, start + 1000))
    return path


@pytest.mark.parametrize("what", ["one line", "distinct words"])
def test_a_large_text_is_taken_or_refused(
    tmp_path: Path,
    what: str,
    times: Callable[[int, int], int],
    tally: Callable[[str, int], None],
) -> None:
    size = times(10**6, 200 * 10**6) if what == "one line" else times(20_000, 5 * 10**6)
    path = large(tmp_path, what, size)
    level = ["--level", "word", "--min-count", "1"] if what == "distinct words" else []
    command = [sys.executable, "-m", "lstmgen", "train", str(path), *level, *SMALL]
    began = time.monotonic()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    refused = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (done.returncode, len(refused)) in ((0, 0), (1, 1)), done.stderr
    tally(f"{what} of {size:,}: code {done.returncode}, {time.monotonic() - began:.0f} s", 1)
