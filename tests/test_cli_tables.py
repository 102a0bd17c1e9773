"""What was found, as tables: each number in its column, whole at any width."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import TEXT

from lstmgen.choices import Tally
from lstmgen.cli import console, tables
from lstmgen.comparison import Difference
from lstmgen.context import ContextScore
from lstmgen.scoring import Score

SCORES = [
    ("a-text-with-a-long-name.txt", Score(158311.27, 111540, 211540, 12)),
    ("total", Score(58311.27, 11540, 11540, 0)),
]


CONTEXTS = [ContextScore(1024, 4096, 2.5, 0.0301, 3.0, 0.6001, 0.0202)]


TABLES: dict[str, tuple[Callable[[], None], list[str]]] = {
    "scores": (
        lambda: tables.scores(SCORES),
        ["file", "a-text-with-a-long-name.txt", "total", "1.0797", "7.2899", "4.134", "111,540"],
    ),
    "comparison": (
        lambda: tables.comparison("t", SCORES, [Difference(0.5123, 0.05, 40, 2000)]),
        ["model", "a-text-with-a-long-name.txt", "+0.5123", "+0.4112 to +0.6134", "1.0797"],
    ),
    "contexts": (
        lambda: tables.contexts("t", CONTEXTS, 111540),
        ["context", "1,024", "3.0000", "2.5000", "0.0301", "0.6001", "0.0202", "+-"],
    ),
    "tallies": (
        lambda: tables.tallies([Tally("all", 2000, 1900, 1802, 500.0)]),
        ["group", "all", "2,000", "95.0%", "94.0% - 95.9%", "25.0%"],
    ),
}


@pytest.mark.parametrize(
    ("name", "width", "end"),
    [
        ("comparison", 110, "95 % interval  perplexity   tokens  unknown"),
        ("comparison", 90, "95 % interval   tokens  unknown"),
        ("comparison", 84, "95 % interval  unknown"),
        ("comparison", 70, "95 % interval"),
        ("tallies", 66, "questions  accuracy  95 % interval  chance  by token"),
        ("tallies", 56, "questions  accuracy  95 % interval  chance"),
    ],
)
def test_columns_give_way_one_by_one(
    name: str, width: int, end: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(console, "shows_output", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    TABLES[name][0]()
    title = capsys.readouterr().out.splitlines()[0]
    assert " ".join(title.split()).endswith(" ".join(end.split()))


def test_what_says_least_gives_way_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "shows_output", lambda: True)
    monkeypatch.setenv("COLUMNS", "85")
    tables.scores(SCORES)
    title = capsys.readouterr().out.splitlines()[0]
    assert title.split() == [
        "file",
        "bits/character",
        "perplexity",
        "nats/token",
        "tokens",
        "unknown",
    ]


@pytest.mark.parametrize("term", ["xterm", "dumb"])
@pytest.mark.parametrize("width", [40, 60, 72, 80, 120])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_shows_names_and_numbers_whole_at_any_width(
    name: str, width: int, term: str, monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:  # fmt: skip
    draw, wanted = TABLES[name]
    monkeypatch.setattr(console, "shows_output", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", term)
    draw()
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert "…" not in "".join(lines)
    folded = "".join(line.split("  ")[0] for line in lines[1:])  # the names
    shown = " ".join(" ".join(lines).split())
    for cell in wanted:
        assert f" {cell} " in f" {shown} " or cell in folded, (cell, lines)
    if width >= 60:
        assert max(map(len, lines)) <= width


def test_a_table_has_no_colours_whoever_forces_them(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("TERM", "xterm")
    tables.scores(SCORES)
    assert b"\x1b" not in capfdbinary.readouterr().out


def test_a_table_of_scores_has_each_number_in_its_column(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    tables.scores([("a.txt", Score(nats=2000.0, tokens=1000, characters=4000, unknown_tokens=3))])
    title, row = capfdbinary.readouterr().out.decode().splitlines()
    columns = "file bits/character perplexity nats/token nats tokens characters unknown"
    assert title.split() == columns.split()
    assert row.split() == ["a.txt", "0.7213", "7.389", "2.0000", "2,000.0", "1,000", "4,000", "3"]


def test_a_table_of_answers_has_each_number_in_its_column(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    tables.tallies([Tally("all", 2000, 1900, 1802, 500.0)])
    _, row = capfdbinary.readouterr().out.decode().splitlines()
    interval = ["94.0%", "-", "95.9%"]
    assert row.split() == ["all", "2,000", "1,900", "95.0%", *interval, "25.0%", "90.1%"]


def test_a_comparison_has_each_number_in_its_row_and_column(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    scored = [
        Score(2000.0, 1000, 4000, 3),
        Score(3000.0, 1500, 4500, 5),
        Score(3500.0, 1400, 3500, 7),
    ]
    found = [Difference(-0.5123, 0.05, 40, 2000), Difference(0.25, 0.0, 1, 2000)]
    tables.comparison("t", list(zip("abc", scored, strict=True)), found)
    title, *rows = capfdbinary.readouterr().out.decode().splitlines()
    columns = "model bits/character difference 95 % interval perplexity tokens unknown"
    assert title.split() == columns.split()
    assert [row.split() for row in rows] == [
        ["a", "0.7213", "7.389", "1,000", "3"],
        ["b", "0.9618", "-0.5123", "-0.6134", "to", "-0.4112", "7.389", "1,500", "5"],
        ["c", "1.4427", "+0.2500", "-", "12.182", "1,400", "7"],
    ]


def test_a_name_in_a_table_stays_as_it_is(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    tables.scores([("a:key:[b].txt", SCORES[0][1])])
    assert b"a:key:[b].txt" in capfdbinary.readouterr().out


@pytest.mark.parametrize(
    ("nats", "shown"), [(27.5, "877,199,251,318.765"), (40.0, "2.354e+17"), (800.0, "inf")]
)
def test_a_perplexity_beyond_measure_does_not_fill_the_line(
    capfdbinary: pytest.CaptureFixture[bytes], nats: float, shown: str
) -> None:
    tables.scores([("a.txt", Score(nats, 1, 1, 0))])
    assert shown in capfdbinary.readouterr().out.decode().split()


def test_a_row_is_one_line_in_a_pipe_however_long_the_name(
    model: Path, corpus: Path, here: Any
) -> None:
    folder = corpus.parent.joinpath(*["long" * 50] * 6)
    folder.mkdir(parents=True)
    path = folder / "corpus.txt"
    path.write_text(TEXT)
    heading, row = here("eval", "-m", model, path).out.splitlines()
    assert row.startswith(f"{path} ")
    assert len(row.split()) == len(heading.split())


@pytest.mark.parametrize("how", [["--context", "1,4"], ["-m", "MODEL"]])
def test_tables_of_several_texts_say_whose_they_are(
    model: Path, corpus: Path, tmp_path: Path, here: Any, how: list[str]
) -> None:
    other = tmp_path / "other.txt"
    other.write_text(TEXT[:2000])
    how = [str(model) if part == "MODEL" else part for part in how]
    lines = here("eval", corpus, other, "-m", model, *how).out.splitlines()
    headings = [line for line in lines if line.endswith(":")]
    total = ["total:"] if "-m" in how else []  # of several models
    assert headings == [f"{corpus}:", f"{other}:", *total]
    assert lines[0] == headings[0]
    assert not [
        line
        for line in here("eval", other, "-m", model, *how).out.splitlines()
        if line.endswith(":")
    ]


def test_a_wide_terminal_has_all_columns_and_a_long_bar(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(console, "shows_output", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    tables.scores(SCORES)
    tables.contexts("t", CONTEXTS, 111540)
    tables.contexts(
        "sure", [replace(CONTEXTS[0], bits_per_character=0.0)], 9
    )  # nothing to divide by
    shown = capfdbinary.readouterr().out.decode()
    for title in ("nats", "characters", "nats/token", "unknown", "█" * tables.BAR):
        assert f" {title}" in shown
