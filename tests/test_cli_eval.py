"""`lstmgen eval` as a user and a pipeline meet it: scores, and how they are told."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import TEXT, run
from engines import score_of

from lstmgen import checkpoint, engines, threads
from lstmgen.cells import Cells
from lstmgen.cli import console, models


def test_eval_agrees_with_what_train_said(model: Path, corpus: Path, here: Any) -> None:
    tail = corpus.parent / "tail.txt"
    tail.write_text(TEXT[int(len(TEXT) * 0.9) :])
    score = json.loads(here("eval", "-m", model, tail, "--json").out)
    results = checkpoint.load_model(model).results
    assert score["nats"] == pytest.approx(results["nats"], rel=1e-5)
    assert set(score) == {"file", "model", "nats", "tokens", "characters", "unknown_tokens",
                          "nats_per_token", "bits_per_character", "perplexity"}  # fmt: skip


def test_eval_of_several_texts_has_a_row_each_and_a_total(
    model: Path, corpus: Path, here: Any
) -> None:
    other = corpus.parent / "other.txt"
    other.write_text("Zoë went to Rome.\n")
    lines = here("eval", "-m", model, corpus, other, "--json").out.splitlines()
    first, second, total = map(json.loads, lines)
    assert (total["file"], total["texts"]) == ("total", 2)  # a file may have that name too
    assert "texts" not in first
    assert total["nats"] == pytest.approx(first["nats"] + second["nats"])
    assert second["unknown_tokens"] == 2  # Z and ë
    table = here("eval", "-m", model, corpus, other)
    rows = table.out.splitlines()
    assert len(rows) == 4
    assert rows[3].split()[0] == "total"
    assert rows[3].split()[1] == f"{total['bits_per_character']:.4f}"
    assert "unknown" in table.err


@pytest.mark.parametrize("how", [["--by", "line"], ["--by", "token"], ["--context", "1"]])
def test_json_tells_which_file_a_record_is_of(
    model: Path, tmp_path: Path, here: Any, how: list[str]
) -> None:
    files = [str(tmp_path / name) for name in ("a.txt", "b.txt")]
    for file in files:
        Path(file).write_text("Ann went to Rome.\n" * 9)
    out = here("eval", "-m", model, *files, *how, "--json").out
    records = [json.loads(line) for line in out.splitlines()]
    half = len(records) // 2
    assert [r["file"] for r in records] == [files[0]] * half + [files[1]] * half
    if "line" in how:
        assert [r["line"] for r in records] == [*range(1, 10)] * 2


def test_a_file_without_text_among_others_is_left_out_with_a_note(
    model: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    empty = tmp_path / "none.txt"
    empty.touch()
    done = here("eval", "-m", model, empty, corpus, "--json")
    assert (done.code, json.loads(done.out)["file"]) == (0, str(corpus))
    assert f"files without text, which are left out: 1 of 2, {empty} first" in done.err
    assert "there is no text in it" in here("eval", "-m", model, empty).error


def test_tokens_that_are_not_known_are_marked(model: Path, tmp_path: Path, here: Any) -> None:
    path = tmp_path / "text"
    path.write_text("Zoë\n")
    lines = here("eval", path, "-m", model, "--by", "token", "--json").out.splitlines()
    found = [(r["text"], r["unknown"]) for r in map(json.loads, lines)]
    assert found == [("Z", True), ("o", False), ("ë", True), ("\n", False)]


def test_eval_reads_standard_input_and_gzip_alike(
    model: Path, corpus: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "trips.gz"
    packed.write_bytes(gzip.compress(TEXT.encode()))
    scores = [
        json.loads(run("eval", "-m", model, name, "--json", stdin=stdin).out)["nats"]
        for name, stdin in ((corpus, b""), (packed, b""), ("-", TEXT.encode()))
    ]
    assert scores[0] == scores[1] == scores[2]


def test_scores_by_the_command_are_those_of_the_library(
    model: Path, corpus: Path, here: Any
) -> None:
    saved = checkpoint.load_model(model)
    score = score_of(Cells(saved.config, saved.weights), saved.vocabulary, TEXT)
    done = json.loads(here("eval", "-m", model, corpus, "--json").out)
    assert done["nats"] == score.nats


@pytest.mark.parametrize("how", [[], ["--by", "token"], ["--cache", "9"]])
def test_whoever_waits_is_shown_how_far_it_is(
    model: Path, corpus: Path, here: Any, monkeypatch: pytest.MonkeyPatch, how: list[str]
) -> None:
    seen = list[int]()

    def watched(parts: Iterator[Any], num_parts: int, what: str = "scored") -> Iterator[Any]:
        seen.append(num_parts)
        return parts

    monkeypatch.setattr(console, "watched", watched)
    assert here("eval", corpus, "-m", model, *how).code == 0
    assert len(seen) == (2 if how[:1] == ["--cache"] else 1)


def test_each_text_is_told_as_soon_as_it_is_scored(model: Path, corpus: Path) -> None:
    """Both scores of the first stand before those of the second, not the static ones before the others."""
    done = run("eval", "-m", model, corpus, corpus, "--json", "--dynamic")
    records = [json.loads(line) for line in done.out.splitlines()]
    kinds = [(Path(r["file"]).name, "dynamic" in r) for r in records]
    name = corpus.name
    assert records[1] == records[3]  # nothing of what the first has taught is left for the second
    assert kinds == [(name, False), (name, True)] * 2 + [("total", False), ("total", True)]
    for total, one, other in ((4, 0, 2), (5, 1, 3)):
        both = records[one]["nats"] + records[other]["nats"]
        assert records[total]["nats"] == pytest.approx(both)
    assert records[5]["nats"] != records[4]["nats"]


def test_unknown_tokens_are_told_of_whatever_is_asked(
    model: Path, tmp_path: Path, here: Any
) -> None:
    path = tmp_path / "odd.txt"
    path.write_text("Ann went to Zürich.\n" * 20)
    for how in ([], ["--context", "1,4"], ["--by", "line"], ["--by", "token"]):
        assert (
            "unknown tokens, scored as <unk>: 60 of 400 (15.00%)"
            in here("eval", path, "-m", model, *how).err
        )
    path.write_text("Ann went to Rome.\n" * 1200 + "ü")
    assert "<unk>: 1 of 21,601 (less than 0.01%)" in here("eval", path, "-m", model).err
    path.write_text('{"context": "Ann went to ", "choices": ["Züri", "Rome"], "answer": 1}\n')
    assert (
        "unknown tokens of the questions, scored as <unk>: 2"
        in here("eval", path, "--choices", "-m", model).err
    )
    path.write_text('{"context": "Zoë went to ", "choices": ["Oslo", "Rome"], "answer": 1}\n')
    assert "scored as <unk>: 2" in here("eval", path, "--choices", "-m", model).err
    path.write_text('{"context": "Ann went to ", "choices": ["Z", "Ü"], "answer": 1}\n')
    done = here("eval", path, "--choices", "-m", model)
    assert "questions between whose likeliest choices the model cannot tell: 1" in done.err
    assert re.split(r"\s{2,}", done.out.splitlines()[1])[2] == "0.5"
    assert "a choice that begins another" not in done.err
    path.write_text('{"context": "Ann went to ", "choices": ["Rom", "Rome"], "answer": 1}\n')
    done = here("eval", path, "--choices", "-m", model)
    assert "choice that begins another, which then costs more under any model: 1; let" in done.err


@pytest.mark.parametrize(
    ("options", "of_long", "of_short"),
    [
        ("", 1, 0),
        ("--by line", 1, 0),
        ("--by token", 1, 0),
        ("--context 2", 1, 0),
        ("--cache 9", 1, 0),
        ("--dynamic", 1, 1),
        ("--cache 9 --tune-on CORPUS", 1, 0),
        ("-m MODEL", 1, 0),
    ],
)
def test_torch_looks_once_for_the_threads_that_serve(
    options: str,
    of_long: int,
    of_short: int,
    model: Path,
    corpus: Path,
    here: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = list[int]()
    monkeypatch.setattr(threads, "settle", lambda watched: taken.append(watched.most))
    more = options.replace("MODEL", str(model)).replace("CORPUS", str(corpus)).split()
    command = ("eval", corpus, "-m", model, "--device", "cpu", *more)
    for torch_pays, times in ((1.0, of_long), (1e30, of_short)):
        models.settle_threads.cache_clear()
        monkeypatch.setattr(engines, "TORCH_PAYS", torch_pays)
        assert here(*command).code == 0
        assert taken == [torch.get_num_threads()] * times
        taken.clear()
