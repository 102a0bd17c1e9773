"""The ways to score with one model: by line, by token, with less context, and choices."""

import json
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from math import ceil, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import SMALL, TEXT, piped, run
from numpy.typing import NDArray

from lstmgen import checkpoint, context, engines, load
from lstmgen.breakdown import costs_and_ranks
from lstmgen.cells import Cells
from lstmgen.cli import console, scores
from lstmgen.comparison import difference
from lstmgen.model import TorchEngine


def test_eval_by_line_scores_each_line_as_a_text_of_its_own(
    model: Path, tmp_path: Path, here: Any
) -> None:
    lines = ["Ann went to Rome", "", "zzz\tZoë", "Ben"]
    done = run("eval", "-m", model, "-", "--by", "line", stdin="\r\n".join(lines).encode())
    rows = [line.split("\t", 4) for line in done.out.splitlines()]
    assert [row[4] for row in rows] == lines
    assert "unknown" in done.err
    assert done.err.count("standard input: made CRLF and CR line ends into LF") == 1
    for row, line in zip(rows, lines, strict=True):
        path = tmp_path / "line.txt"
        path.write_text(line + "\n")  # the last one is given the line end that it lacks
        alone = json.loads(here("eval", "-m", model, path, "--json").out)
        assert float(row[0]) == pytest.approx(alone["bits_per_character"], abs=1e-4)
        assert float(row[1]) == pytest.approx(alone["nats"], abs=1e-3)
        assert [int(row[2]), int(row[3])] == [alone["tokens"], alone["unknown_tokens"]]


def test_lines_of_a_file_before_one_that_is_not_utf_8_are_scored(
    model: Path, tmp_path: Path, here: Any
) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(b"Ann\nBen went\nC\xff\nDan\n")
    done = here("eval", "-m", model, path, "--by", "line")
    assert done.code == 1
    assert f"line 3 of {path}" in done.error
    assert [line.split("\t")[4] for line in done.out.splitlines()] == ["Ann", "Ben went"]


def test_eval_by_line_answers_before_the_next_line_comes(model: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "lstmgen", "eval", "-m", str(model), "-", "--by", "line", "--json"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        for number, line in enumerate(("Ann went", "Ben"), 1):
            process.stdin.write(line.encode() + b"\n")
            assert select.select([process.stdout], [], [], 30)[0]
            record = json.loads(process.stdout.readline())
            assert (record["file"], record["line"], record["text"]) == (
                "standard input",
                number,
                line,
            )
        process.stdin.close()
        assert process.wait(30) == 0


def test_eval_by_token_adds_up_to_the_score_of_the_text(
    model: Path, corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "TOLD_AT_ONCE", 1000)  # of 3,744 tokens
    whole = json.loads(here("eval", "-m", model, corpus, "--json").out)
    rows = [
        line.split("\t")
        for line in here("eval", "-m", model, corpus, "--by", "token").out.splitlines()
    ]
    assert sum(float(row[0]) for row in rows) == pytest.approx(whole["nats"], rel=1e-6)
    assert "".join(row[2].replace("\\n", "\n") for row in rows) == TEXT
    assert all(int(row[1]) >= 1 for row in rows)
    path = tmp_path / "odd.txt"
    path.write_text("a\\\tZ\n")
    done = here("eval", "-m", model, path, "--by", "token")
    assert [line.split("\t")[2] for line in done.out.splitlines()] == [
        "a",
        "\\\\",
        "\\t",
        "Z",
        "\\n",
    ]
    assert "unknown" in done.err
    records = [
        json.loads(r)
        for r in here("eval", "-m", model, path, "--by", "token", "--json").out.splitlines()
    ]
    assert [record["text"] for record in records] == list("a\\\tZ\n")
    saved = checkpoint.load_model(model)
    ids, start = saved.vocabulary.encode("a\\\tZ\n"), saved.vocabulary.start_id
    nats, ranks = costs_and_ranks(Cells(saved.config, saved.weights), ids, start)
    assert [record["nats"] for record in records] == pytest.approx(nats.tolist())
    assert [record["rank"] for record in records] == ranks.tolist()
    assert [line.split("\t")[1] for line in done.out.splitlines()] == [str(n) for n in ranks]


@pytest.mark.parametrize(("asked", "until"), [("1,4", False), ("auto", True)])
def test_only_auto_ends_where_nothing_is_gained(
    model: Path, corpus: Path, here: Any, monkeypatch: pytest.MonkeyPatch, asked: str, until: bool
) -> None:
    told, original = list[bool](), context.scores

    def scores(*about: Any, until_no_gain: bool, **more: Any) -> Any:
        told.append(until_no_gain)
        return original(*about, until_no_gain=until_no_gain, **more)

    monkeypatch.setattr(context, "scores", scores)
    assert here("eval", corpus, "-m", model, "--context", asked).code == 0
    assert told == [until]


def test_how_far_a_context_is_can_be_watched(
    model: Path, corpus: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[int]()

    def watched(parts: Iterator[int], num_parts: int) -> Iterator[int]:
        told.append(num_parts)
        return parts

    monkeypatch.setattr(console, "watched", watched)
    out = here("eval", corpus, "-m", model, "--context", "1,4", "--json").out
    (places,) = {json.loads(line)["places"] for line in out.splitlines()}
    assert told == [ceil(places / context.ROWS)] * 2


def test_eval_with_little_context_knows_less(
    model: Path, corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("eval", "-m", model, corpus, "--context", "16,1,4,1")
    records = [json.loads(line) for line in here(*options, "--json").out.splitlines()]
    assert [record["context"] for record in records] == [1, 4, 16]
    bits = [record["bits_per_character"] for record in records]
    assert bits[0] > bits[1] > bits[2]
    done = here(*options)
    assert [line.split()[0] for line in done.out.splitlines()] == ["context", "1", "4", "16"]
    assert f"{bits[0]:.4f}" in done.out
    assert "█" in done.out
    assert (
        ": each row scores the same 3,488 of its 3,744 tokens; +- is one standard error of the gain, "
        in done.err
    )
    monkeypatch.setattr(context, "MAX_PLACES", 100)
    done = here(*options)
    assert (
        "the same 100 of its 3,744 tokens, drawn at random; +- is one standard error of nats/token, as"
        in done.err
    )
    short = tmp_path / "short.txt"
    short.write_text("Ann went.")
    done = here("eval", "-m", model, corpus, short, "--context", "1,16")
    assert f"--context 16 is too long: {short} has 9 tokens" in done.error
    assert done.out == ""  # before any work is done
    auto = here("eval", "-m", model, corpus, "--context", "auto").out.splitlines()
    assert [line.split()[0] for line in auto[1:4]] == ["1", "2", "4"]


def test_by_word_characters_are_counted_where_there_is_more_than_a_score(
    model: Path, by_word: Path, corpus: Path, here: Any
) -> None:
    """A token has several characters: costs are divided by these, and lines end by them."""
    tokens = checkpoint.load_model(by_word).vocabulary.tokenize(TEXT)
    options = ("eval", "-m", by_word, corpus, "--context", "1", "--json")
    found = json.loads(here(*options).out)
    assert found["places"] == len(tokens) - 128  # as `auto` would
    mean = len("".join(tokens[128:])) / found["places"]
    bits = found["nats_per_token"] / log(2) / mean
    assert found["bits_per_character"] == pytest.approx(bits, rel=1e-6)

    def by_line(name: Path) -> NDArray[np.float64]:
        out = here("eval", "-m", name, corpus, "--by", "token", "--json").out
        costs = [0.0]
        for record in map(json.loads, out.splitlines()):
            costs[-1] += record["nats"]
            costs += [0.0] if record["text"].endswith("\n") else []
        return np.array(costs[:-1])

    lines = here("eval", "-m", by_word, corpus, "--by", "line", "--json").out.splitlines()
    assert [json.loads(line)["characters"] for line in lines] == [
        len(line) for line in TEXT.splitlines(keepends=True)
    ]
    assert load(by_word).score(TEXT).characters == len(TEXT)
    told = here("eval", "-m", model, "-m", by_word, corpus, "--json").out.splitlines()[2]
    ends = np.cumsum([len(line) for line in TEXT.splitlines(keepends=True)])
    expected = difference(by_line(model), by_line(by_word), ends)
    assert json.loads(told)["standard_error"] == pytest.approx(expected.standard_error, rel=1e-4)
    assert json.loads(told)["blocks"] == expected.num_blocks


def test_eval_of_choices_tells_how_often_the_model_is_right(
    model: Path, tmp_path: Path, here: Any
) -> None:
    path = tmp_path / "q.jsonl"
    good = {"context": "Ann went to ", "choices": ["Rome", "Zqxj"], "answer": 0, "group": "near"}
    path.write_text("".join(json.dumps(good | {"answer": i % 4 // 3}) + "\n" for i in range(8)))
    done = here("eval", "-m", model, path, "--choices")
    header, total, near = (re.split(r"\s{2,}", line) for line in done.out.splitlines())
    assert header == [
        "group",
        "questions",
        "correct",
        "accuracy",
        "95 % interval",
        "chance",
        "by token",
    ]
    assert total[:4] == ["all", "8", "6", "75.0%"]
    assert near[0] == "near"
    assert total[5] == "50.0%"
    records = [
        json.loads(r)
        for r in here("eval", "-m", model, path, "--choices", "--json").out.splitlines()
    ]
    assert [record["group"] for record in records] == ["all"] + ["near"] * 9
    assert [record["accuracy"] for record in records[:2]] == [0.75] * 2
    assert [record["chosen"] for record in records[2:]] == [0] * 8
    path.write_text(json.dumps(good) + "\n{}\n")
    assert f"line 2 of {path}" in here("eval", "-m", model, path, "--choices").error
    path.write_text("\n\n")
    assert "no question" in here("eval", "-m", model, path, "--choices").error


def test_a_question_may_hold_any_character_but_a_line_end(
    model: Path, tmp_path: Path, here: Any
) -> None:
    path = tmp_path / "q.jsonl"
    question = {"context": "Ann\u2028went\u0085to", "choices": [" Rome", " Oslo"], "answer": 0}
    path.write_text(json.dumps(question, ensure_ascii=False) + "\n")
    done = here("eval", "-m", model, path, "--choices", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out.split("\n")[1])
    assert (told["file"], told["line"], told["context"]) == (str(path), 1, question["context"])


def test_the_work_of_choices_is_that_of_their_tokens(
    model: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By word characters are many more, and would call for torch where it does not pay."""
    seen, original = list[int](), engines.choose

    def watched(saved: Any, device: str, num_tokens: int) -> Any:
        seen.append(num_tokens)
        return original(saved, device, num_tokens)

    monkeypatch.setattr(engines, "choose", watched)
    path, folder, text = tmp_path / "q.jsonl", tmp_path / "words", tmp_path / "text.txt"
    text.write_text(TEXT)
    options = ("--level", "word", "--steps", "1", *SMALL[4:], "--hidden-size", "8")
    assert here("train", text, "-m", folder, *options).code == 0
    path.write_text('{"context": "Ann went to", "choices": [" Rome", " Oslo"], "answer": 1}\n' * 3)
    assert here("eval", path, "--choices", "-m", folder).code == 0
    assert here("eval", path, "--choices", "-m", model).code == 0
    assert seen == [3 * (3 + 2 * 1), 3 * (11 + 2 * 5)]  # a context is read once


def test_the_work_of_lines_is_told_by_the_size_of_files_and_not_of_a_pipe(
    model: Path, corpus: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, made, original = list[int](), list[Any](), engines.choose

    def watched(saved: Any, device: str, num_tokens: int) -> Any:
        seen.append(num_tokens)
        made.append(original(saved, device, num_tokens))
        return made[-1]

    monkeypatch.setattr(engines, "choose", watched)
    options = ("eval", "-m", model, "--by", "line")
    by_numpy = here(*options, corpus, corpus).out
    with corpus.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        given = here(*options, "-").out
    with piped(corpus.read_bytes()) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        of_pipe = here(*options, "-").out
    for one, other in zip(of_pipe.splitlines(), given.splitlines(), strict=True):
        assert float(one.split("\t")[0]) == pytest.approx(float(other.split("\t")[0]), abs=2e-4)
    assert by_numpy == given * 2
    assert seen == [2 * len(TEXT), len(TEXT), 0]
    monkeypatch.setattr(engines, "TORCH_PAYS", 1.0)  # torch, and the same to what is printed
    by_torch = here(*options, corpus).out.splitlines()
    assert {type(engine) for engine in made[:-1]} == {Cells}
    assert type(made[-1]) is TorchEngine
    for one, other in zip(by_torch, given.splitlines(), strict=True):
        assert float(one.split("\t")[0]) == pytest.approx(float(other.split("\t")[0]), abs=2e-4)
    assert "nowhere.txt" in here(*options, "nowhere.txt").error


def test_choices_without_an_answer_are_told_as_json_only(
    model: Path, tmp_path: Path, here: Any
) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"context": "Ann went to ", "choices": ["Rome", "Zqxj"]}\n')
    options = ("eval", path, "--choices", "-m", model)
    (record,) = map(json.loads, here(*options, "--json").out.splitlines())
    assert (record["answer"], record["chosen"], len(record["nats"])) == (None, 0, 2)
    with path.open("a") as file:
        file.write('{"context": "Ann went to ", "choices": ["Rome", "Zqxj"], "answer": 0}\n')
        file.write('{"context": "Ann went to ", "choices": ["ß", "ð"]}\n')
    done = here(*options)
    assert "the model cannot tell" not in done.err  # of those that are counted
    assert done.out.splitlines()[1].split()[:3] == ["all", "1", "1"]
    assert "questions without an answer, which are not counted: 2" in done.err
    path.write_text('{"context": "Ann went to ", "choices": ["Rome", "Zqxj"]}\n')
    assert "no question in" in here(*options).error
