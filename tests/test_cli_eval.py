"""`lstmgen eval` as a user and a pipeline meet it: scores, and how they are told."""

import gzip
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, inf, log, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import SMALL, TEXT, run
from engines import score_of
from numpy.typing import NDArray

from lstmgen import cache, checkpoint, context, dynamic, engines, folders, load, threads
from lstmgen.batching import Streams
from lstmgen.breakdown import costs_and_ranks
from lstmgen.cells import Cells
from lstmgen.cli import console, models, scores
from lstmgen.cli.ahead import MAX_AHEAD, MAX_CHARACTERS, Ahead
from lstmgen.comparison import difference
from lstmgen.config import CacheConfig
from lstmgen.model import TorchEngine


@pytest.fixture(scope="module")
def by_word(corpus: Path) -> Path:
    folder = corpus.parent / "by word"
    options = ("--steps", "3", "--level", "word", "--hidden-size", "16", "--batch-size", "4")
    done = run("train", corpus, "-m", folder, *options, "--window", "16")
    assert done.code == 0, done.err
    return folder


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
    options = ("eval", "-m", model, corpus, "--context", "16,1,4")
    records = [json.loads(line) for line in here(*options, "--json").out.splitlines()]
    assert [record["context"] for record in records] == [1, 4, 16]
    bits = [record["bits_per_character"] for record in records]
    assert bits[0] > bits[1] > bits[2]
    done = here(*options)
    assert [line.split()[0] for line in done.out.splitlines()] == ["context", "1", "4", "16"]
    assert f"{bits[0]:.4f}" in done.out
    assert "█" in done.out
    assert ": its tokens, 3,728 of 3,744, " in done.err
    assert "standard error: of the gain" in done.err
    monkeypatch.setattr(context, "MAX_PLACES", 100)
    done = here(*options)
    assert ": a sample of its tokens, 100 of 3,744, " in done.err
    assert "standard error: of nats/token as not all are scored, of the gain" in done.err
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
    assert found["places"] == len(tokens) - 1
    mean = (len(TEXT) - len(tokens[0])) / found["places"]
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


def test_eval_dynamic_stands_beside_the_static_score_and_changes_no_file(
    model: Path, tmp_path: Path, here: Any
) -> None:
    path = tmp_path / "new.txt"
    path.write_text("Bo met Al in Ulm, and they had jam.\n" * 40)
    before = (model / folders.MODEL_FILE).read_bytes()
    plain = json.loads(here("eval", "-m", model, path, "--json").out)
    fast = ("--dynamic", "--dynamic-rate", "0.002", "--json")
    static, dynamic = map(json.loads, here("eval", "-m", model, path, *fast).out.splitlines())
    assert static == plain
    assert dynamic["nats"] < 0.8 * static["nats"]
    assert dynamic["dynamic"]["rate"] == 0.002
    assert (model / folders.MODEL_FILE).read_bytes() == before
    still = ("--dynamic", "--dynamic-rate", "0", "--json")
    unmoved = json.loads(here("eval", "-m", model, path, *still).out.splitlines()[1])
    assert unmoved["nats"] == pytest.approx(static["nats"], rel=1e-4)
    table = here("eval", "-m", model, path, path, "--dynamic").out.splitlines()
    assert [line.split("  ")[0] for line in table[1:]] == [
        str(path), str(path), "total",
        f"{path} (dynamic)", f"{path} (dynamic)", "total (dynamic)",
    ]  # fmt: skip
    wrong = ("--dynamic", "--dynamic-rate", "2")
    assert "--dynamic-rate is 2" in here("eval", "-m", model, path, *wrong).error
    assert "is for --dynamic" in here("eval", "-m", model, path, *wrong[1:]).error


@pytest.mark.parametrize("lost", [inf, nan])
def test_a_model_that_goes_astray_as_it_learns_has_no_score(
    model: Path, corpus: Path, here: Any, monkeypatch: pytest.MonkeyPatch, lost: float
) -> None:
    monkeypatch.setattr(dynamic, "window_nats", lambda *about: iter([1.0, lost]))
    fast = ("--dynamic", "--dynamic-rate", "0.5")
    told = f"error: {corpus}: with --dynamic-rate 0.5 --dynamic-decay 0.001 the model goes astray"
    for how in ((), ("--json",), ("--tune-on", corpus)):
        done = here("eval", "-m", model, corpus, *fast, *how)
        assert told in done.error
        assert done.error.endswith("; give a lower --dynamic-rate")
        assert ("nats" in done.out) == ("--tune-on" not in how)  # of the model as it is

    monkeypatch.setattr(
        dynamic, "window_nats",
        lambda network, streams, settings: iter([lost if settings.rate > 1e-4 else 1.0]),
    )  # fmt: skip
    done = here("eval", "-m", model, corpus, "--dynamic", "--tune-on", corpus, "--json")
    assert json.loads(done.out.splitlines()[1])["dynamic"]["rate"] == 1e-4


def test_a_model_that_goes_astray_reads_no_further(
    model: Path, corpus: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[float]()

    def window_nats(*about: Any) -> Iterator[float]:
        for nats in (1.0, nan, 1.0):
            read.append(nats)
            yield nats

    monkeypatch.setattr(dynamic, "window_nats", window_nats)
    assert "goes astray" in here("eval", "-m", model, corpus, "--dynamic").error
    assert len(read) == 2
    done = here("eval", "-m", model, corpus, "--dynamic", "--tune-on", corpus)
    assert "goes astray" in done.err
    assert "inf nats/token" not in done.err


def test_the_encoding_is_that_of_the_text_to_tune_on_too(
    model: Path, tmp_path: Path, here: Any
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(f"{name} crème brûlée\n".encode("latin-1") * 9)
    options = ("--cache", "9", "--tune-on", tmp_path / "b.txt", "--encoding", "latin-1")
    done = here("eval", "-m", model, tmp_path / "a.txt", *options)
    assert done.code == 0, done.err
    two = ("-m", model, "-m", model, "--encoding", "latin-1")
    assert here("eval", tmp_path / "a.txt", *two).code == 0


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


def test_dynamic_scores_on_the_device_that_is_given(
    model: Path, corpus: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices, original = list[str](), engines.network

    def watched(saved: Any, device: str) -> Any:
        devices.append(device)
        return original(saved, device)

    monkeypatch.setattr(engines, "network", watched)
    assert here("eval", corpus, "-m", model, "--dynamic", "--device", "cpu").code == 0
    assert devices == ["cpu"]


def test_eval_takes_the_settings_that_do_best_on_another_text(
    model: Path, tmp_path: Path, here: Any
) -> None:
    path, other = tmp_path / "new.txt", tmp_path / "valid.txt"
    path.write_text("Bo met Al in Ulm, and they had jam.\n" * 20)
    other.write_text("Al met Bo in Ulm, and they had jam.\n" * 30)
    before = (model / folders.MODEL_FILE).read_bytes()

    def scored(text: Path, *options: Any) -> Any:
        done = here("eval", "-m", model, text, "--json", *options)
        return done, json.loads(done.out.splitlines()[1])

    for how, usual in (
        (("--dynamic",), {"--dynamic-rate": 0.0002, "--dynamic-decay": 0.001}),
        (("--cache", "200"), {"--cache-share": 0.2, "--cache-sharpness": 0.2}),
    ):
        done, tuned = scored(path, *how, "--tune-on", other)
        first, *tried = done.err.splitlines()
        assert first == f"note: tuning on {other}, tokens: 1,080"
        settings = tuned[how[0].removeprefix("--")]
        flags = [(name, settings[name.split("-")[-1]]) for name in usual]
        assert dict(flags) != usual
        assert scored(path, *how, *flags[0], *flags[1])[1] == tuned
        # The first and the last of what it tells are the usual settings and those that it takes, with what
        # each of them makes of the other text.
        said = [line for line in tried if "nats/token" in line]
        assert len(said) > 1
        costs = [float(line.split()[-2]) for line in said]
        assert costs == sorted(costs, reverse=True)
        for options, line in ((list(usual.items()), said[0]), (flags, said[-1])):
            told = " ".join(f"{name} {value}" for name, value in options)
            cost = scored(other, *how, *options[0], *options[1])[1]["nats_per_token"]
            assert line == f"note: {told}: {cost:.4f} nats/token"
    assert (model / folders.MODEL_FILE).read_bytes() == before


def test_eval_tunes_what_was_not_given(
    model: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    path = tmp_path / "new.txt"
    path.write_text("Bo met Al in Ulm, and they had jam.\n" * 20)
    options = ("--dynamic", "--dynamic-rate", "0.0123", "--tune-on", path, "--json")
    done = here("eval", "-m", model, corpus, *options)
    found = json.loads(done.out.splitlines()[1])["dynamic"]
    assert found["rate"] == 0.0123
    said = [line for line in done.err.splitlines() if "nats/token" in line]
    assert all("--dynamic-rate 0.0123 --dynamic-decay " in line for line in said)
    assert f"--dynamic-decay {found['decay']}:" in said[-1]
    assert "flatter" not in done.err
    done = here("eval", "-m", model, path, *options)
    assert f"{path} is scored too, and what is chosen on it will flatter its score" in done.err


def test_a_file_without_text_among_others_is_left_out_with_a_note(
    model: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    empty = tmp_path / "none.txt"
    empty.touch()
    done = here("eval", "-m", model, empty, corpus, "--json")
    assert (done.code, json.loads(done.out)["file"]) == (0, str(corpus))
    assert f"files without text: 1 of 2, {empty} first" in done.err
    assert "there is no text in it" in here("eval", "-m", model, empty).error


def test_eval_refuses_to_tune_on_what_tells_nothing(
    model: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    options = ("eval", corpus, "-m", model, "--tune-on")
    told = here(*options, corpus).error
    assert f"--tune-on '{corpus}' is for --dynamic and --cache" in told
    given = ("--dynamic", "--dynamic-rate", "0.001", "--dynamic-decay", "0")
    assert "as all settings are given" in here(*options, corpus, *given).error
    still = ("--dynamic", "--dynamic-rate", "0")
    assert "with --dynamic-rate 0 no setting changes" in here(*options, corpus, *still).error
    assert here(*options, corpus, "--dynamic", "--dynamic-decay", "0").code == 0
    assert "no-such.txt" in here(*options, "no-such.txt", "--dynamic").error
    assert "the name of a file is empty" in here(*options, "", "--dynamic").error
    short = tmp_path / "short.txt"
    short.write_text("Al met Bo.\n")
    told = here(*options, short, "--dynamic").error
    assert f"--tune-on {short}: its 11 tokens cost the same whatever is tried" in told
    assert "--tune-on" in here(*options, corpus, "-m", model, "--cache", "9").error
    nothing = ("--cache", "9", "--cache-share", "0")
    assert "with --cache-share 0 no setting changes" in here(*options, corpus, *nothing).error
    assert "standard input" in here("eval", "-", "-m", model, "--dynamic", "--tune-on", "-").error


def test_eval_with_a_cache_stands_beside_the_static_score(
    model: Path, corpus: Path, here: Any
) -> None:
    static = json.loads(here("eval", corpus, "-m", model, "--json").out)
    options = ("--cache", "100", "--cache-share", "0.2", "--json")
    both = [
        json.loads(line) for line in here("eval", corpus, "-m", model, *options).out.splitlines()
    ]
    assert both[0] == static
    assert both[1]["cache"] == {"size": 100, "share": 0.2, "sharpness": 0.2, "window": 64}
    assert both[1]["tokens"] == static["tokens"]
    assert both[1]["nats"] != static["nats"]
    others = ("--cache", "50", "--cache-share", "0.4", "--cache-sharpness", "0.7", "--json")
    told = json.loads(here("eval", corpus, "-m", model, *others).out.splitlines()[1])
    saved = checkpoint.load_model(model)
    ids = saved.vocabulary.encode(corpus.read_text("utf-8"))
    config = CacheConfig(size=50, share=0.4, sharpness=0.7)
    streams = Streams(ids, saved.vocabulary.start_id, 1, config.window)
    nats = sum(cache.window_nats(Cells(saved.config, saved.weights), streams, config))
    assert told["nats"] == pytest.approx(nats, rel=1e-5)
    assert "(cache)" in here("eval", corpus, "-m", model, "--cache", "9").out
    assert "--cache is 0" in here("eval", corpus, "-m", model, "--cache", "0").error
    assert "is for --cache" in here("eval", corpus, "-m", model, "--cache-share", "0.2").error


def test_eval_compares_models_on_the_same_text(
    model: Path, by_word: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    both = ("-m", model, "-m", by_word)
    records = [json.loads(line) for line in here("eval", corpus, *both, "--json").out.splitlines()]
    for record, name in zip(records, (model, by_word), strict=False):
        alone = json.loads(here("eval", corpus, "-m", name, "--json").out)
        assert record["model"] == str(name)
        assert record["nats"] == pytest.approx(alone["nats"], rel=1e-6)
    bits = [record["bits_per_character"] for record in records[:2]]
    assert records[2]["difference"] == pytest.approx(bits[1] - bits[0], rel=1e-5)
    assert records[2]["more_than_chance"]
    done = here("eval", corpus, *both)
    assert f"{bits[1] - bits[0]:+.4f}" in done.out
    assert f"{by_word} is worse than {model}, by more than chance" in done.err
    done = here("eval", corpus, "-m", by_word, "-m", model)
    assert f"{model} is better than {by_word}, by more than chance" in done.err
    unseen = tmp_path / "unseen.txt"
    unseen.write_text(f"xylophone quartz\n{TEXT * 8}")
    done = here("eval", unseen, *both)
    assert f"{by_word} does not know" in done.err
    assert "leave out what it would cost to spell these" in done.err
    assert f"than {model}, by more than chance" in done.err  # two words are too few to matter
    unseen.write_text("xylophone quartz\n" * 99 + TEXT)
    done = here("eval", unseen, *both)
    assert f"{by_word} and {model} do not compare: what one of them does not know" in done.err
    record = json.loads(here("eval", unseen, *both, "--json").out.splitlines()[2])
    assert record["more_than_chance"] is None
    assert record["unknown_characters"] == 99 * len("xylophone quartz")  # also what neither knows
    turned = here("eval", unseen, "-m", by_word, "-m", model, "--json").out.splitlines()
    assert json.loads(turned[2])["unknown_characters"] == record["unknown_characters"]
    done = here("eval", corpus, unseen, *both)
    for name in (model, by_word):
        alone = json.loads(here("eval", unseen, "-m", name, "--json").out)["unknown_tokens"]
        known = sum(
            json.loads(here("eval", text, "-m", name, "--json").out)["tokens"]
            for text in (corpus, unseen)
        )
        assert f"{name} does not know {alone:,} of {known:,} tokens" in done.err
    twice = here("eval", unseen, "-m", by_word, "-m", by_word, "--json").out.splitlines()
    assert json.loads(twice[2])["unknown_characters"] == 0  # of which they know the same
    total = json.loads(here("eval", unseen, unseen, *both, "--json").out.splitlines()[8])
    assert total["unknown_characters"] == 2 * record["unknown_characters"]
    third = here(
        "eval", corpus, "-m", by_word, "-m", model, "-m", by_word, "--json"
    ).out.splitlines()
    one, other = map(json.loads, third[3:])
    assert one["difference"] == pytest.approx(bits[0] - bits[1], rel=1e-5)
    assert (other["than"], other["difference"]) == (str(by_word), 0)  # each with the first
    short = tmp_path / "short.txt"
    short.write_text("Ann went to Rome.\nBen")
    done = here("eval", short, *both)
    assert f"2 blocks: the text is too short to tell {by_word} from {model}" in done.err
    assert done.out.splitlines()[2].split()[-4] == "-"
    same = here("eval", corpus, "-m", model, "-m", model)
    assert "+0.0000" in same.out
    assert f"the difference of {model} from {model} may be chance" in same.err
    for more in (["--by", "line"], ["--tune-on", corpus], ["--context", ""]):
        assert "several models" in here("eval", corpus, *both, *more).error


def test_models_are_compared_on_all_texts_together(
    model: Path, by_word: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    """Which tells what the first text alone is too short to tell."""
    both, short = ("-m", model, "-m", by_word), tmp_path / "short.txt"
    short.write_text("Ann went to Rome.\n")
    out = here("eval", short, corpus, *both, "--json").out
    records = [json.loads(line) for line in out.splitlines()]
    assert [(r["file"], "difference" in r, r.get("texts")) for r in records] == [
        (str(short), False, None), (str(short), False, None), (str(short), True, None),
        (str(corpus), False, None), (str(corpus), False, None), (str(corpus), True, None),
        ("total", False, 2), ("total", False, 2), ("total", True, 2),
    ]  # fmt: skip
    for first, second, total in zip(records[:2], records[3:5], records[6:8], strict=True):
        assert total["nats"] == pytest.approx(first["nats"] + second["nats"])
        assert total["model"] == first["model"]
    bits = [record["bits_per_character"] for record in records[6:8]]
    assert records[8]["difference"] == pytest.approx(bits[1] - bits[0], rel=1e-5)
    assert records[2]["more_than_chance"] is None
    assert records[8]["more_than_chance"]
    done = here("eval", short, corpus, *both)
    assert "\ntotal:\n" in done.out
    assert f"total, {records[8]['blocks']} blocks: {by_word} is worse" in done.err


def test_what_is_written_as_json_names_the_model(
    model: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("Ann went to Rome.\n" * 3)
    asked = {"context": "Ann went", "choices": [" to Rome", " to Oslo"], "answer": 0}
    Path("answered").write_text(json.dumps(asked))
    Path("open").write_text(json.dumps({**asked, "answer": None}))
    for asked_for in ("text", "text --by line", "text --by token", "text --context 1", "text --dynamic",
                      "answered --choices", "open --choices"):  # fmt: skip
        options = asked_for.split()
        for name, told in ((("-m", model), str(model)), ((), "built-in")):
            lines = here("eval", *options, *name, "--json").out.splitlines()
            assert {json.loads(line)["model"] for line in lines} == {told}


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
    done = here(*options)
    assert done.out.splitlines()[1].split()[:3] == ["all", "1", "1"]
    assert "questions without an answer, which are not counted: 1" in done.err
    path.write_text('{"context": "Ann went to ", "choices": ["Rome", "Zqxj"]}\n')
    assert "no question in" in here(*options).error


@contextmanager
def piped(text: bytes) -> Iterator[Any]:
    """A pipe that the text comes through."""
    reading, writing = os.pipe()
    os.write(writing, text)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        yield pipe


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
