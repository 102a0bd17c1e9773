"""Lines that are read ahead in a thread: the same ones side by side, and no more than are of use."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import piped

from lstmgen import corpus as corpus_module
from lstmgen.cli.ahead import MAX_AHEAD, MAX_CHARACTERS, Ahead, lines_of


def test_of_a_file_the_same_lines_are_scored_side_by_side_however_slowly_it_is_read(
    model: Path, corpus: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("eval", "-m", model, "--by", "line", "--json", "-")

    def scores(of: Any) -> list[float]:
        monkeypatch.setattr(sys, "stdin", of)
        return [json.loads(line)["nats"] for line in here(*options).out.splitlines()]

    with corpus.open() as file:
        soon = scores(file)
    read = Ahead._read

    def late(lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            time.sleep(0.002)
            yield line

    monkeypatch.setattr(Ahead, "_read", lambda self, lines: read(self, late(lines)))
    with corpus.open() as file:
        assert scores(file) == soon
    with piped(corpus.read_bytes()) as pipe:
        assert scores(pipe) == pytest.approx(soon)  # one at a time, which may round otherwise


def test_of_an_endless_input_some_lines_are_read_ahead_and_no_more() -> None:
    taken = [0]

    def endless() -> Iterator[str]:
        while True:
            taken[0] += 1
            yield "a line\n"

    lines = Ahead(endless())
    deadline = time.monotonic() + 30
    while taken[0] <= MAX_AHEAD and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert taken[0] == MAX_AHEAD + 1  # one that waits to be put beside those that are there
    assert lines.ready()
    assert next(lines) == "a line\n"


def test_of_long_lines_fewer_are_read_ahead() -> None:
    taken = [0]

    def endless() -> Iterator[str]:
        while True:
            taken[0] += 1
            yield "x" * (MAX_CHARACTERS // 4)

    lines = Ahead(endless())
    for first in (0, 1, 2):
        deadline = time.monotonic() + 30
        while taken[0] < first + 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        assert taken[0] == first + 5
        next(lines)


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_of_a_file_the_next_line_is_waited_for_so_that_the_same_are_answered_together(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(path: str, encoding: str, tell: object) -> Iterator[str]:
        time.sleep(0.3)
        yield "a\n"

    path = tmp_path / "primes.txt"
    path.write_text("a\n")
    monkeypatch.setattr(corpus_module, "lines", slow)
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat, path.open() as file:
        monkeypatch.setattr(sys, "stdin", file if kind == "file" else cat.stdout)
        given = lines_of("-", "utf-8")
        assert given.ready() == (kind == "file")
        assert list(given) == ["a"]
