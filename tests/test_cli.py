"""The command line as a user and a pipeline meet it: streams, exit codes, and what is not imported."""

import fcntl
import gzip
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer.main
from conftest import Ran

from lstmgen import checkpoint
from lstmgen.beam_search import search
from lstmgen.cells import Cells
from lstmgen.cli import app, console
from lstmgen.scoring import score_text

TEXT = "".join(
    f"{name} went to {place} and ate {food}.\n"
    for name in ("Ann", "Ben", "Cleo", "Dan", "Eve")
    for place in ("Rome", "Oslo", "Lima", "Bern")
    for food in ("figs", "rice", "soup", "nuts", "peas", "eggs")
)
SMALL = ("--hidden-size", "16", "--embedding-size", "8", "--batch-size", "4", "--window", "16")


def run(*arguments: str | Path, stdin: bytes = b"", **environment: str) -> Ran:
    """The command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "lstmgen", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
        timeout=120,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "trips.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def model(corpus: Path) -> Path:
    folder = corpus.parent / "model"
    done = run("train", corpus, "--model", folder, "--steps", "150", "--learning-rate", "0.02",
               "--dropout", "0", *SMALL)  # fmt: skip
    assert done.code == 0, done.err
    assert done.out == ""
    return folder


def test_train_says_its_plan_and_what_to_do_next(corpus: Path, tmp_path: Path, here: Any) -> None:
    done = here("train", corpus, "-m", tmp_path / "m", "--steps", "2", *SMALL)
    assert done.code == 0
    assert done.out == ""
    for said in (f"{len(TEXT):,} characters", "vocabulary", "parameters", "2 steps", "cpu",
                 f"lstmgen sample --model {tmp_path / 'm'}", "lstmgen eval"):  # fmt: skip
        assert said in done.err
    assert not re.search("\r|\x1b", done.err)  # progress bars are for terminals


@pytest.mark.parametrize("level", ["char", "word"])
def test_the_flags_that_the_plan_names_repeat_it_to_the_bit(
    level: str, corpus: Path, tmp_path: Path, here: Any
) -> None:
    options = ("--batch-size", "4", "--window", "16", "--seed", "3", "--epochs", "0.5",
               "--learning-rate", "0.012345678", "--min-count", "1")  # fmt: skip
    first = here("train", corpus, "-m", tmp_path / "a", "--level", level, *options)
    (flags,) = re.findall(r"^repeat +(.*)$", first.err, re.MULTILINE)
    again = here("train", corpus, "-m", tmp_path / "b", *flags.split())
    assert again.code == 0, again.err
    assert f"repeat      {flags}\n" in again.err
    one, other = (checkpoint.load_model(tmp_path / name).weights for name in "ab")
    assert all((one[name] == other[name]).all() for name in one)


def test_the_network_is_planned_around_the_options_that_are_given(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    def network(*options: str) -> dict[str, Any]:
        done = here("train", corpus, "-m", tmp_path / "m", "--overwrite", "--steps", "1", *options)
        assert done.code == 0, done.err
        return checkpoint.load_model(tmp_path / "m").config.to_json()

    short = network()
    assert short["hidden_size"] < 256  # one step feeds no large network
    assert short["embedding_size"] == 64
    assert network("--hidden-size", "20")["hidden_size"] == 20
    tied = network("--tie")
    assert tied["hidden_size"] == tied["embedding_size"] == short["hidden_size"]
    assert network("--tie", "--embedding-size", "24")["hidden_size"] == 24
    assert network("--embedding-size", "24", "--num-layers", "1") == short | {
        "embedding_size": 24, "num_layers": 1,
    }  # fmt: skip


def test_train_leaves_a_picture_of_its_curves(corpus: Path, tmp_path: Path, here: Any) -> None:
    assert here("train", corpus, "-m", tmp_path / "m", "--steps", "9", *SMALL).code == 0
    picture = (tmp_path / "m" / "curves.svg").read_text("utf-8")
    assert "LSTM 2 x 16 on" in picture
    assert corpus.name in picture
    best = checkpoint.load_model(tmp_path / "m").results["nats_per_token"]
    assert f"best {best:.3f}" in picture


def test_curves_that_cannot_be_drawn_are_no_reason_to_fail(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    assert here("train", corpus, "-m", tmp_path / "m", "--steps", "9", *SMALL).code == 0
    log = tmp_path / "m" / checkpoint.LOG_FILE
    log.write_text("no record\n" + log.read_text())
    done = here("train", corpus, "-m", tmp_path / "m", "--steps", "12", "--resume")
    assert done.code == 0
    assert f"note: the curves are not drawn: {log}, line 1" in done.err
    assert "best validation" in done.err


def test_train_shows_what_the_model_writes_when_asked(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    quiet = here("train", corpus, "-m", tmp_path / "a", "--steps", "3", *SMALL)
    done = here(
        "train", corpus, "-m", tmp_path / "b", "--steps", "3", "--sample-every", "0", *SMALL
    )
    assert done.code == 0
    # Three steps give at least one text of 80 characters, each with an empty line behind it.
    texts = done.err.split("\n\n")[:-1]
    assert len(done.err) - len(quiet.err) >= 80 * len(texts) > 0


def test_a_large_vocabulary_is_trained_on_a_sample_of_it_and_scored_whole(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    options = ("--level", "word", "--steps", "60", "--hidden-size", "16", "--batch-size", "4")
    scores = []
    for sample in ("0", "8"):
        folder = tmp_path / sample
        done = here("train", corpus, "-m", folder, *options, "--softmax-sample", sample)
        assert done.code == 0, done.err
        scores.append(checkpoint.load_model(folder).results["nats_per_token"])
        scored = here("eval", corpus, "-m", folder, "--json")
        assert json.loads(scored.out)["nats_per_token"] < 3.5  # of log 28 = 3.3 for no knowledge
    assert scores[0] != scores[1]
    assert max(scores) < 2


def test_a_run_of_minutes_keeps_its_time_and_says_it(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The start is counted from that of the process, which here is that of all the tests.
    monkeypatch.setattr(time, "process_time", lambda: 0.0)
    done = here("train", corpus, "-m", tmp_path / "a", "--minutes", "0.08", *SMALL)
    assert done.code == 0, done.err
    assert "--minutes 0.08: about" in done.err
    assert 1 < checkpoint.load_run(tmp_path / "a").progress["seconds"] < 6  # 4.8 asked for
    assert (
        "is over before"
        in here("train", corpus, "-m", tmp_path / "c", "--minutes", "0.001", *SMALL).error
    )
    monkeypatch.setattr("lstmgen.cli.plan.DEFAULT_MINUTES", 0.06)
    done = here("train", corpus, "-m", tmp_path / "b", *SMALL)
    assert "--minutes 0.06 (as nothing else is asked): about" in done.err


def test_quiet_says_nothing(corpus: Path, tmp_path: Path, here: Any) -> None:
    done = here("train", corpus, "-m", tmp_path / "m", "--steps", "2", "--quiet", *SMALL)
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ((), "LSTM 2 x 16"),
        (("--cell", "gru", "--num-layers", "1"), "GRU 1 x 16"),
        (("--cell", "rnn", "--num-layers", "3"), "RNN 3 x 16"),
        (("--level", "word"), "tied"),
        (("--level", "word", "--words", "space", "--no-tie", "--max-vocab", "20"), "20 words"),
    ],
)
def test_every_kind_of_model_is_trained_sampled_and_scored(
    corpus: Path, tmp_path: Path, here: Any, options: tuple[str, ...], shown: str
) -> None:
    folder, small = tmp_path / "m", SMALL[:2] + SMALL[4:]
    done = here("train", corpus, "-m", folder, "--steps", "3", *small, *options)
    assert done.code == 0, done.err
    assert shown in done.err
    sampled = here("sample", "-m", folder, "-l", "9", "--seed", "1", "--json")
    assert json.loads(sampled.out)["tokens"] == 9
    scored = json.loads(here("eval", "-m", folder, corpus, "--json").out)
    assert scored["characters"] == len(TEXT)
    assert 0 < scored["bits_per_character"] < 8


def test_eval_agrees_with_what_train_said(model: Path, corpus: Path, here: Any) -> None:
    tail = corpus.parent / "tail.txt"
    tail.write_text(TEXT[int(len(TEXT) * 0.9) :])
    score = json.loads(here("eval", "-m", model, tail, "--json").out)
    results = checkpoint.load_model(model).results
    assert score["nats"] == pytest.approx(results["nats"], rel=1e-5)
    assert set(score) == {"file", "nats", "tokens", "characters", "unknown_tokens",
                          "nats_per_token", "bits_per_character", "perplexity"}  # fmt: skip


def test_eval_of_several_texts_has_a_row_each_and_a_total(
    model: Path, corpus: Path, here: Any
) -> None:
    other = corpus.parent / "other.txt"
    other.write_text("Zoë went to Rome.\n")
    lines = here("eval", "-m", model, corpus, other, "--json").out.splitlines()
    first, second, total = map(json.loads, lines)
    assert total["file"] == "total"
    assert total["nats"] == pytest.approx(first["nats"] + second["nats"])
    assert second["unknown_tokens"] == 2  # Z and ë
    table = here("eval", "-m", model, corpus, other)
    rows = table.out.splitlines()
    assert len(rows) == 4
    assert rows[3].split()[0] == "total"
    assert rows[3].split()[1] == f"{total['bits_per_character']:.4f}"
    assert "unknown" in table.err


def test_eval_by_line_scores_each_line_as_a_text_of_its_own(
    model: Path, tmp_path: Path, here: Any
) -> None:
    lines = ["Ann went to Rome", "", "zzz\tZoë", "Ben"]
    done = run("eval", "-m", model, "-", "--by", "line", stdin="\n".join(lines).encode())
    rows = [line.split("\t", 4) for line in done.out.splitlines()]
    assert [row[4] for row in rows] == lines
    assert "unknown" in done.err
    for number, (row, line) in enumerate(zip(rows, lines, strict=True)):
        path = tmp_path / "line.txt"
        path.write_text(line + ("\n" if number < 3 else ""))
        alone = json.loads(here("eval", "-m", model, path, "--json").out)
        assert float(row[0]) == pytest.approx(alone["bits_per_character"], abs=1e-4)
        assert float(row[1]) == pytest.approx(alone["nats"], abs=1e-3)
        assert [int(row[2]), int(row[3])] == [alone["tokens"], alone["unknown_tokens"]]


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
    model: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
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


def test_eval_with_little_context_knows_less(model: Path, corpus: Path, here: Any) -> None:
    options = ("eval", "-m", model, corpus, "--context", "16,1,4")
    records = [json.loads(line) for line in here(*options, "--json").out.splitlines()]
    assert [record["context"] for record in records] == [1, 4, 16]
    bits = [record["bits_per_character"] for record in records]
    assert bits[0] > bits[1] > bits[2]
    done = here(*options)
    assert [line.split()[0] for line in done.out.splitlines()] == ["context", "1", "4", "16"]
    assert f"{bits[0]:.4f}" in done.out
    assert "█" in done.out
    assert "standard error" in done.err
    auto = here("eval", "-m", model, corpus, "--context", "auto").out.splitlines()
    assert [line.split()[0] for line in auto[1:4]] == ["1", "2", "4"]


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
    assert [record["chosen"] for record in records[:8]] == [0] * 8
    assert records[8]["group"] == "all"
    assert records[8]["accuracy"] == 0.75
    path.write_text(json.dumps(good) + "\n{}\n")
    assert f"line 2 of {path}" in here("eval", "-m", model, path, "--choices").error
    path.write_text("\n\n")
    assert "no question" in here("eval", "-m", model, path, "--choices").error


def test_eval_dynamic_stands_beside_the_static_score_and_changes_no_file(
    model: Path, tmp_path: Path, here: Any
) -> None:
    path = tmp_path / "new.txt"
    path.write_text("Bo met Al in Ulm, and they had jam.\n" * 40)
    before = (model / checkpoint.MODEL_FILE).read_bytes()
    plain = json.loads(here("eval", "-m", model, path, "--json").out)
    fast = ("--dynamic", "--dynamic-rate", "0.002", "--json")
    static, dynamic = map(json.loads, here("eval", "-m", model, path, *fast).out.splitlines())
    assert static == plain
    assert dynamic["nats"] < 0.8 * static["nats"]
    assert dynamic["dynamic"]["rate"] == 0.002
    assert (model / checkpoint.MODEL_FILE).read_bytes() == before
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
    assert "(cache)" in here("eval", corpus, "-m", model, "--cache", "9").out
    assert "--cache is 0" in here("eval", corpus, "-m", model, "--cache", "0").error
    assert "is for --cache" in here("eval", corpus, "-m", model, "--cache-share", "0.2").error


def test_eval_compares_models_on_the_same_text(
    model: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    worse = tmp_path / "by word"
    options = ("--steps", "3", "--level", "word", "--hidden-size", "16", "--batch-size", "4")
    assert here("train", corpus, "-m", worse, *options, "--window", "16").code == 0
    both = ("-m", model, "-m", worse)
    records = [json.loads(line) for line in here("eval", corpus, *both, "--json").out.splitlines()]
    for record, name in zip(records, (model, worse), strict=False):
        alone = json.loads(here("eval", corpus, "-m", name, "--json").out)
        assert record["model"] == str(name)
        assert record["nats"] == pytest.approx(alone["nats"], rel=1e-6)
    bits = [record["bits_per_character"] for record in records[:2]]
    assert records[2]["bits_per_character"] == pytest.approx(bits[1] - bits[0], rel=1e-5)
    assert records[2]["more_than_chance"]
    assert records[2]["blocks"] == TEXT.count("\n")
    done = here("eval", corpus, *both)
    assert f"{bits[1] - bits[0]:+.4f}" in done.out
    assert "more than chance" in done.err
    same = here("eval", corpus, "-m", model, "-m", model)
    assert "+0.0000" in same.out
    assert "no more than chance" in same.err
    assert "several models" in here("eval", corpus, *both, "--by", "line").error


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


def test_sample_writes_the_prime_and_then_what_follows(model: Path, here: Any) -> None:
    options = ("sample", "-m", model, "--prime", "Ann went to", "--seed", "3", "-l", "40")
    whole, rest = here(*options), here(*options, "--no-echo")
    assert whole.out == "Ann went to" + rest.out
    assert len(rest.out.rstrip("\n")) in (39, 40)
    assert whole.err == ""  # the seed was given
    assert here(*options).out == whole.out


def test_the_seed_that_was_chosen_is_said_and_repeats_the_text(model: Path, here: Any) -> None:
    first = here("sample", "-m", model, "-l", "50")
    seed = re.fullmatch(r"seed (\d+)\n", first.err)
    assert seed
    assert here("sample", "-m", model, "-l", "50", "--seed", seed[1]).out == first.out


def test_one_text_of_many_comes_again_with_its_own_seed(model: Path, here: Any) -> None:
    many = here("sample", "-m", model, "-n", "70", "--seed", "10", "-l", "30", "--json").out
    texts = [json.loads(line) for line in many.splitlines()]
    assert [text["seed"] for text in texts] == list(range(10, 80))
    assert len({text["text"] for text in texts}) > 20
    for text in texts[::23]:
        alone = here("sample", "-m", model, "--seed", str(text["seed"]), "-l", "30").out
        assert alone.removesuffix("\n") == text["text"].removesuffix("\n")


def test_stop_ends_each_text_and_is_left_out(model: Path, here: Any) -> None:
    done = here("sample", "-m", model, "-n", "5", "--prime", "Ann", "--stop", "\n", "--seed", "1")
    lines = done.out.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("Ann") for line in lines)


def test_greedy_is_the_likeliest_path_and_needs_no_seed(model: Path, here: Any) -> None:
    saved = checkpoint.load_model(model)
    cells, vocabulary = Cells(saved.config, saved.weights), saved.vocabulary
    text = "Ben"
    for _ in range(20):
        ids = vocabulary.encode("\n" + text)
        logits = cells(ids[None], cells.initial_state(1))[0][0, -1]
        logits[0] = -1e9
        text += vocabulary.tokens[int(logits.argmax())]
    for seed in "1", "2":
        done = here("sample", "-m", model, "--prime", "Ben", "-l", "20", "-t", "0", "--seed", seed)
        assert done.out.removesuffix("\n") == text.removesuffix("\n")


def test_beams_print_the_likeliest_texts_and_need_no_seed(model: Path, here: Any) -> None:
    saved = checkpoint.load_model(model)
    cells = Cells(saved.config, saved.weights)
    best = [t.text for t in search(cells, saved.vocabulary, "Ann ", num_beams=4, length=20)]
    one = here("sample", "-m", model, "--prime", "Ann ", "-l", "20", "--beams", "4")
    assert (one.out.removesuffix("\n"), one.err) == ("Ann " + best[0].removesuffix("\n"), "")
    done = here(
        "sample", "-m", model, "--prime", "Ann ", "-l", "20", "--beams", "4", "-n", "3", "--json"
    )
    told = [json.loads(line) for line in done.out.splitlines()]
    assert [(text["text"], text["seed"]) for text in told] == [(text, None) for text in best[:3]]


def test_beams_answer_each_line_in_order(model: Path) -> None:
    done = run("sample", "-m", model, "--each-line", "--beams", "2", "-n", "2", "-l", "3", "--json",
               stdin=b"Ann\nDan")  # fmt: skip
    primes = [json.loads(line)["prime"] for line in done.out.splitlines()]
    assert primes == ["Ann", "Ann", "Dan", "Dan"]


@pytest.mark.parametrize(
    "other", [("--seed", "1"), ("-t", "0.3"), ("--top-k", "3"), ("-n", "4"), ("--min-p", "0.1")]
)
def test_beams_with_what_is_for_drawing_or_with_too_many_texts_are_refused(
    model: Path, here: Any, other: tuple[str, str]
) -> None:
    done = here("sample", "-m", model, "--beams", "3", *other)
    assert (done.code, done.out) == (1, "")
    assert "--beams 3" in done.error


def test_each_line_is_a_prime_and_answers_keep_the_order(model: Path) -> None:
    primes = ["Ann went", "Dan", "", "Eve went to Rome and"]
    done = run("sample", "-m", model, "--each-line", "--stop", "\n", "--seed", "1", "--json",
               stdin="\n".join(primes).encode())  # fmt: skip
    assert [json.loads(line)["prime"] for line in done.out.splitlines()] == primes


def test_a_line_is_answered_before_the_next_one_comes(model: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "lstmgen",
        "sample",
        "-m",
        str(model),
        "--each-line",
        "-l",
        "9",
    ]
    with subprocess.Popen(
        [*command, "--stop", "\n", "--seed", "1", "-n", "2"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, bufsize=0,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        for prime in "Ann", "Ben":
            process.stdin.write(prime.encode() + b"\n")
            for _ in range(2):
                assert select.select([process.stdout], [], [], 30)[0]
                assert process.stdout.readline().decode().startswith(prime)
        process.stdin.close()
        assert process.wait(30) == 0


def test_text_goes_on_to_the_pipe_while_it_is_written(model: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "lstmgen", "sample", "-m", str(model), "-l", "1000000000", "--seed", "1"],
        stdout=subprocess.PIPE, bufsize=0,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        parts = [process.stdout.read(1 << 20) for _ in range(20)]  # each what there is by then
        process.kill()
    # A buffer would fill to 8 KB first; the machine may be busy now and then.
    assert 0 < sorted(map(len, parts))[10] < 2000


def test_an_endless_input_that_nobody_reads_further_ends_quietly(model: Path) -> None:
    sample = f"{sys.executable} -m lstmgen sample -m {model} --each-line -l 80 --seed 1"
    done = subprocess.run(
        ["bash", "-c", f"yes 'Ann went' | {sample} | head -n 3"],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 3


def test_lines_before_one_that_is_not_utf_8_are_answered(model: Path) -> None:
    done = run("sample", "-m", model, "--each-line", "-l", "5", "--seed", "1", "--stop", "\n",
               stdin=b"Ann\nBen\nC\xff\nDan\n")  # fmt: skip
    assert "line 3 of standard input" in done.error
    assert [line[:3] for line in done.out.splitlines()] == ["Ann", "Ben"]


def test_ctrl_c_while_waiting_for_a_line_is_quiet(model: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "lstmgen", "sample", "-m", str(model), "--each-line", "--seed", "1"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"Ann\n")
        process.stdin.flush()
        assert process.stdout.read(1) == b"A"  # it has begun
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.read().strip() == b""
        assert process.wait(30) == 130


def test_a_prime_comes_from_a_file_or_standard_input(
    model: Path, tmp_path: Path, here: Any
) -> None:
    path = tmp_path / "prime.txt"
    path.write_text("Cleo went")
    options = ("sample", "-m", model, "--seed", "4", "-l", "20")
    expected = here(*options, "--prime", "Cleo went").out
    assert here(*options, "--prime-file", path).out == expected
    assert run(*options, "--prime-file", "-", stdin=b"Cleo went").out == expected


def test_unknown_symbols_in_a_prime_are_named(model: Path, here: Any) -> None:
    done = here("sample", "-m", model, "--prime", "Zoë", "--seed", "1", "-l", "3")
    assert done.code == 0
    assert "'Z'" in done.err
    assert "'ë'" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sample", "-t", "-0.5"), "--temperature is -0.5"),
        (("sample", "--top-k", "0"), "--top-k is 0"),
        (("sample", "--top-p", "0"), "--top-p is 0"),
        (("sample", "--top-p", "1.5"), "--top-p is 1.5"),
        (("sample", "--stop", ""), "--stop is empty"),
        (("sample", "--prime", "a", "--each-line"), "only one of"),
        (("sample", "--prime-file", "nowhere.txt"), "nowhere.txt: there is no such file"),
        (("sample", "--device", "gpu"), "--device 'gpu'"),
        (("sample", "-m", "nowhere"), "there is no model here"),
        (("eval", "nowhere.txt"), "nowhere.txt: there is no such file"),
        (("eval", "."), "this is a folder"),
        (("eval", "CORPUS", "--encoding", "klingon"), "--encoding 'klingon'"),
        (("eval", "nowhere.txt", "--by", "line"), "nowhere.txt: there is no such file"),
        (("eval", "CORPUS", "--by", "line", "--encoding", "klingon"), "--encoding 'klingon'"),
        (("eval", "CORPUS", "--by", "line", "--choices"), "only one of --by"),
        (("eval", "CORPUS", "--context", "1,x"), "--context is '1,x'"),
        (("eval", "CORPUS", "--context", "0"), "--context is '0'"),
        (("eval", "CORPUS", "--context", ""), "--context is ''"),
        (("eval", "CORPUS", "--context", "99999"), "the text has"),
        (("eval", "CORPUS", "--choices"), "line 1 of"),
        (("train", "nowhere.txt"), "nowhere.txt: there is no such file"),
        (("train", "CORPUS", "--steps", "5", "--epochs", "1"), "only one of"),
        (("train", "CORPUS", "--minutes", "0"), "--minutes is 0"),
        (("train", "CORPUS", "--steps", "0"), "--steps is 0"),
        (("train", "CORPUS", "--dropout", "1"), "--dropout is 1"),
        (("train", "CORPUS", "--weight-drop", "-0.1"), "--weight-drop is -0.1"),
        (("train", "CORPUS", "--learning-rate", "-1"), "--learning-rate is -1"),
        (("train", "CORPUS", "--valid-fraction", "1"), "--valid-fraction is 1"),
        (("train", "CORPUS", "--max-vocab", "1"), "--max-vocab is 1"),
        (("train", "CORPUS", "--tie", "--embedding-size", "5", "--hidden-size", "6"), "--tie"),
        (("train", "CORPUS", "--window", "100000"), "too few to train on"),
        (("train", "CORPUS", "--device", "cuda:x"), "--device 'cuda:x'"),
        (("train", "CORPUS", "--resume", "--overwrite"), "leave out --overwrite"),
        (
            ("train", "CORPUS", "--resume", "-m", "nowhere"),
            "nowhere/last.safetensors: there is no model",
        ),
        (
            ("train", "CORPUS", "--valid-file", "CORPUS", "--valid-fraction", "0.2"),
            "leave out --valid-f",
        ),
        (("train", "CORPUS", "--words", "space"), "add --level word"),
        (
            ("train", "CORPUS", "--min-count", "100000"),
            "no symbol is seen --min-count 100000 times",
        ),
        (("train", "CORPUS", "--epochs", "1e10"), "at most 1,000,000"),
        (("train", "CORPUS", "--init-from", "nowhere"), "there is no model here"),
    ],
)
def test_a_mistake_gets_one_line_and_code_1(
    arguments: tuple[str, ...], said: str, model: Path, corpus: Path, tmp_path: Path, here: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LSTMGEN_MODEL", str(model if arguments[0] != "train" else tmp_path / "m"))
    done = here(*(str(corpus) if a == "CORPUS" else a for a in arguments))
    assert said in done.error
    assert done.out == ""
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    "arguments", [("train",), ("sample", "--nonsense"), ("sample", "-n", "0"), ("eval",), ("tell",)]
)
def test_wrong_usage_has_code_2(arguments: tuple[str, ...], here: Any) -> None:
    assert here(*arguments).code == 2


def test_a_text_that_is_not_utf_8_is_refused_with_its_place(tmp_path: Path, here: Any) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("caf\xe9".encode("latin-1"))
    said = here("train", path, "-m", tmp_path / "m").error
    assert "byte 0xe9 at byte 3" in said
    assert "--encoding" in said


def test_a_prime_that_is_not_utf_8_is_refused(model: Path) -> None:
    done = subprocess.run(
        [sys.executable.encode(), b"-m", b"lstmgen", b"sample", b"-m", bytes(model), b"--prime", b"\xff"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert "not UTF-8" in Ran(done.returncode, done.stdout, done.stderr).error


def test_a_short_corpus_shrinks_the_batch_and_says_so(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    done = here("train", corpus, "-m", tmp_path / "m", "--steps", "1", "--hidden-size", "8",
                "--batch-size", "1000", "--window", "64")  # fmt: skip
    assert done.code == 0
    assert f"{int(len(TEXT) * 0.9) // 64} streams instead of 1000" in done.err


def test_a_folder_with_a_model_is_not_overwritten_unasked(
    model: Path, corpus: Path, here: Any
) -> None:
    before = (model / checkpoint.MODEL_FILE).read_bytes()
    assert "--overwrite" in here("train", corpus, "-m", model, "--steps", "1").error
    assert (model / checkpoint.MODEL_FILE).read_bytes() == before


def test_resume_refuses_another_corpus_or_network(corpus: Path, tmp_path: Path, here: Any) -> None:
    folder, other = tmp_path / "m", tmp_path / "other.txt"
    other.write_text(TEXT + "One more line.\n")
    assert here("train", corpus, "-m", folder, "--steps", "2", *SMALL).code == 0
    files = {path: path.read_bytes() for path in folder.iterdir()}
    resume = ("-m", folder, "--resume", "--steps", "4")
    assert "not the text that the run began with" in here("train", other, *resume).error
    assert "--hidden-size 32" in here("train", corpus, *resume, "--hidden-size", "32").error
    assert "--level word" in here("train", corpus, *resume, "--level", "word").error
    assert "step 2" in here("train", corpus, "-m", folder, "--resume").error
    assert {path: path.read_bytes() for path in folder.iterdir()} == files
    moved = tmp_path / "moved.txt"  # the corpus is known by what it says, not by its name
    moved.write_text(TEXT)
    done = here("train", moved, *resume, *SMALL)
    assert done.code == 0
    assert checkpoint.load_run(folder).progress["step"] == 4


def test_a_folder_that_is_being_trained_in_is_refused_and_can_be_read(
    corpus: Path, model: Path, tmp_path: Path, here: Any
) -> None:
    folder = tmp_path / "m"
    with checkpoint.claimed(folder, resume=False, overwrite=False):
        checkpoint.save_model(folder / checkpoint.MODEL_FILE, checkpoint.load_model(model))
        for option in ("--overwrite", "--resume", "--quiet"):
            refused = here("train", corpus, "-m", folder, option)
            assert "another lstmgen is training there" in refused.error
        assert here("eval", corpus, "-m", folder).code == 0


def test_a_loss_that_blows_up_is_said_and_mended(corpus: Path, tmp_path: Path, here: Any) -> None:
    options = ("--steps", "200", "--learning-rate", "40", "--quiet", *SMALL)
    ran = here("train", corpus, "-m", tmp_path / "m", *options)
    assert ran.code == 0
    assert re.search(
        r"note: the loss blew up at step \d+ .*; back to step \d+, to go on with", ran.err
    )
    assert checkpoint.load_model(tmp_path / "m").results["nats_per_token"] < 2  # 3.4 for a guess


@pytest.mark.parametrize("other", [("--cell", "rnn"), ("--init-from", "m")])
def test_memory_is_for_fresh_gates(corpus: Path, here: Any, other: tuple[str, str]) -> None:
    assert "--memory 20 is for" in here("train", corpus, "--memory", "20", *other).error


def test_resume_on_another_device_is_said(corpus: Path, tmp_path: Path, here: Any) -> None:
    options = (corpus, "-m", tmp_path / "m")
    assert here("train", *options, *SMALL, "--steps", "2").code == 0
    saved = checkpoint.load_run(tmp_path / "m")
    assert saved.progress["device"] == "cpu"
    moved = replace(saved, progress={**saved.progress, "device": "cuda"})
    checkpoint.save_run(tmp_path / "m" / checkpoint.RUN_FILE, moved)
    said = here("train", *options, "--resume", "--steps", "4")
    assert said.code == 0
    assert "the run was on cuda and goes on on cpu: its bits may differ" in said.err
    assert "its bits" not in here("train", *options, "--resume", "--steps", "6").err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_tells_how_to_go_on(
    corpus: Path, tmp_path: Path, number: int, code: int
) -> None:
    folder = tmp_path / "m"
    command = ["train", str(corpus), "-m", str(folder), "--steps", "100000", *SMALL]
    process = subprocess.Popen(
        [sys.executable, "-m", "lstmgen", *command], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("training"):
            break
    time.sleep(0.5)
    process.send_signal(number)
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == code
    assert f"lstmgen train {corpus} --resume --model {folder}" in said
    step = checkpoint.load_run(folder).progress["step"]
    assert f"saved at step {step:,}" in said
    assert run("sample", "-m", folder, "-l", "5").code == 0


def test_init_from_begins_where_the_other_model_ended(model: Path, corpus: Path, tmp_path: Path,
                                                      here: Any) -> None:  # fmt: skip
    losses: list[float] = []
    for options in ((), ("--init-from", model)):
        folder = tmp_path / f"m{len(losses)}"
        small = SMALL[4:] if options else SMALL
        done = here("train", corpus, "-m", folder, "--steps", "2", *small, *options)
        assert done.code == 0, done.err
        losses.append(checkpoint.load_model(folder).results["nats_per_token"])
    assert losses[1] < 0.7 * losses[0]


def test_a_closed_pipe_is_quiet(model: Path) -> None:
    command = f"{sys.executable} -m lstmgen sample -m {model} -n 100000 -l 50 --seed 1 | head -n 3"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == 3


def open_terminal(width: int) -> tuple[int, int]:
    main_end, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    return main_end, end


def in_terminal(command: str, width: int = 100) -> str:
    """What a command writes to a terminal, line ends as they come."""
    main_end, end = open_terminal(width)
    with subprocess.Popen(["bash", "-c", command], stdout=end, stderr=end) as process:
        os.close(end)
        shown = b""
        while True:
            try:
                part = os.read(main_end, 65536)
            except OSError:  # Linux says so when the other end is gone
                break
            if not part:
                break
            shown += part
    os.close(main_end)
    assert process.returncode == 0, shown
    return shown.decode()


def test_a_terminal_sees_a_bar_while_training(corpus: Path, tmp_path: Path) -> None:
    small = " ".join(SMALL)
    train = f"{sys.executable} -m lstmgen train {corpus} -m {tmp_path / 'm'} --steps 300 {small}"
    shown = in_terminal(train)
    assert "100%" in shown
    assert "bits/character" in shown
    assert "left" in shown


def test_a_terminal_is_not_sent_control_characters(tmp_path: Path, here: Any) -> None:
    path = tmp_path / "esc.txt"
    path.write_text("\x1b[31m\x07" * 300)
    folder = tmp_path / "m"
    small = ("--hidden-size", "16", "--batch-size", "2", "--window", "8")
    assert here("train", path, "-m", folder, "--steps", "30", *small).code == 0
    sample = f"{sys.executable} -m lstmgen sample -m {folder} -l 60 --seed 1"
    shown = in_terminal(sample)
    assert "\x1b" not in shown
    assert "␛" in shown
    assert "\x1b" in here("sample", "-m", folder, "-l", "60", "--seed", "1").out  # a pipe gets all


@pytest.mark.parametrize(
    ("environment", "start"),
    [
        ("NO_COLOR= TERM=xterm", "\x1b[1mAnn went\x1b[0m"),
        ("NO_COLOR=1 TERM=xterm", "Ann went"),
        ("NO_COLOR= TERM=dumb", "Ann went"),
    ],
)
@pytest.mark.parametrize("count", ["1", "2"])
def test_a_terminal_sets_the_prime_apart(
    model: Path, environment: str, start: str, count: str
) -> None:
    sample = f"{sys.executable} -m lstmgen sample -m {model} --prime 'Ann went' --seed 1 -l 9"
    shown = in_terminal(f"{environment} {sample} -n {count}")
    assert shown.startswith(start)
    assert shown.count(start) == int(count)
    assert ("\x1b" in shown) == ("\x1b" in start)


def test_ctrl_c_in_a_terminal_ends_the_text_with_a_line_end(model: Path) -> None:
    sample = f"{sys.executable} -m lstmgen sample -m {model} -l 1000000000 --seed 1 2>/dev/null"
    shown = in_terminal(f"timeout --signal INT 3 {sample}; [ $? = 124 ]; echo the prompt")
    assert shown.splitlines()[-1] == "the prompt"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_table_shows_its_files_on_any_terminal(model: Path, corpus: Path, width: int) -> None:
    shown = in_terminal(
        f"{sys.executable} -m lstmgen eval -m {model} {corpus.parent / 'trips.txt'}", width
    )
    assert "file" in shown.splitlines()[0]
    assert "bits/character" in shown


def test_overwrite_keeps_all_until_the_new_run_begins(
    model: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    folder = tmp_path / "m"
    assert here("train", corpus, "-m", folder, "--steps", "2", *SMALL).code == 0
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for arguments in (("nowhere.txt",), (corpus, "--device", "gpu"), (corpus, "--dropout", "2")):
        assert here("train", *arguments, "-m", folder, "--overwrite").error
        assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_an_overwritten_model_is_gone_when_the_new_run_is_stopped_early(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    folder = tmp_path / "m"
    assert here("train", corpus, "-m", folder, "--steps", "2", *SMALL).code == 0
    command = [sys.executable, "-m", "lstmgen", "train", str(corpus), "-m", str(folder),
               "--overwrite", "--steps", "1000000", "--cell", "gru", *SMALL]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("training"):
                break
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.stderr.read()
    assert process.returncode == 130
    assert checkpoint.load_model(folder).config.cell == "gru"


def test_nobody_listening_to_the_talk_does_not_stop_a_run(corpus: Path, tmp_path: Path) -> None:
    small = " ".join(SMALL)
    command = f"{sys.executable} -m lstmgen train {corpus} --steps 20 {small}"
    for ending in ("2>&1 | head -n 1", "2>&-"):
        folder = tmp_path / str(len(ending))
        subprocess.run(["bash", "-c", f"{command} -m {folder} {ending}"], check=True,
                       capture_output=True)  # fmt: skip
        assert checkpoint.load_run(folder).progress["step"] == 20


def test_a_closed_terminal_saves_the_run(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    main_end, end = open_terminal(100)
    command = [sys.executable, "-m", "lstmgen", "train", str(corpus), "-m", str(folder),
               "--steps", "10000000", *SMALL]  # fmt: skip
    process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, start_new_session=True)
    os.close(end)
    shown = b""
    while b"%" not in shown:
        assert select.select([main_end], [], [], 60)[0], shown
        shown += os.read(main_end, 4096)
    os.close(main_end)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 128 + signal.SIGHUP
    assert checkpoint.load_run(folder).progress["step"] > 0


@pytest.mark.parametrize(("ending", "said"), [("> /dev/full", "No space"), (">&-", "closed")])
def test_output_that_cannot_be_written_is_told_in_one_line(
    model: Path, ending: str, said: str
) -> None:
    command = f"{sys.executable} -m lstmgen sample -m {model} -l 5 --seed 1 {ending}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert said in Ran(done.returncode, done.stdout, done.stderr).error


def test_too_little_memory_is_told_in_one_line(corpus: Path, tmp_path: Path) -> None:
    options = f"-m {tmp_path / 'm'} --steps 1 --hidden-size 60000"
    command = f"ulimit -v 8000000; {sys.executable} -m lstmgen train {corpus} {options}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert "lower --hidden-size" in Ran(done.returncode, done.stdout, done.stderr).error


def test_output_is_utf_8_whatever_the_locale(tmp_path: Path, here: Any) -> None:
    path = tmp_path / "greek.txt"
    path.write_text("αβγδε ζη θ\n" * 60)
    small = ("--hidden-size", "8", "--batch-size", "2", "--window", "8")
    assert here("train", path, "-m", tmp_path / "m", "--steps", "2", *small).code == 0
    done = run("sample", "-m", tmp_path / "m", "--prime", "αβγ", "--seed", "1",
               LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii")  # fmt: skip
    assert done.code == 0, done.err
    assert done.out.startswith("αβγ")


@pytest.mark.parametrize("command", ["sample", "eval"])
def test_the_demo_model_is_there_where_no_other_is(
    command: str, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LSTMGEN_MODEL", raising=False)
    (tmp_path / "text.txt").write_text("I grew up in France.\n")
    options = ["-l", "20", "--seed", "1"] if command == "sample" else ["text.txt"]
    done = here(command, *options)
    assert done.code == 0
    assert done.err.startswith("note: there is no lstmgen-model here")
    assert done.err.count("\n") == 1
    assert "nowhere" in here(command, *options, "--model", "nowhere").error
    monkeypatch.setenv("LSTMGEN_MODEL", "elsewhere")
    assert "elsewhere" in here(command, *options).error


def test_control_characters_are_shown_to_a_terminal() -> None:
    ordinary = "a\u00a0b\u3000c\u200dd\u00ade é 中 👩\u200d🚀"
    assert console.visible(ordinary) == ordinary
    assert console.visible("a\x1b[31mb\x07\n\tc\x7f\x9b\u202e") == "a␛[31mb␇\n\tc␡<U+009B><U+202E>"
    assert console.visible("name\n", keep_newlines=False) == "name␊"


def test_no_torch_for_help_usage_errors_samples_and_small_scores(model: Path, corpus: Path) -> None:
    script = (
        "import sys\nfrom lstmgen.cli import main\n"
        "try: main()\nexcept SystemExit as left: print(left.code, 'torch' in sys.modules)"
    )
    for arguments, code in (
        (["--help"], 0), (["train", "--help"], 0), (["train", "--nonsense"], 2),
        (["train", "nowhere.txt"], 1), (["sample", "-m", model, "-l", "5"], 0),
        (["sample", "-m", model, "-n", "3", "-l", "5", "--device", "cpu"], 0),
        (["eval", "-m", model, corpus], 0),
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == f"{code} False", arguments


def test_scores_by_the_command_are_those_of_the_library(
    model: Path, corpus: Path, here: Any
) -> None:
    saved = checkpoint.load_model(model)
    score = score_text(Cells(saved.config, saved.weights), saved.vocabulary, TEXT)
    done = json.loads(here("eval", "-m", model, corpus, "--json").out)
    assert done["nats"] == score.nats


@pytest.mark.parametrize(
    "shown",
    [
        "(0.04; with --init-from 0.01)",
        "(5.0)",
        "(tied for words)",
        "(lstm)",
        "(by epochs and size)",
        "lstmgen-model",
    ],
)
def test_help_tells_the_defaults(shown: str, here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert f"[default: {shown}]" in here("train", "--help").out


def option_names() -> dict[str, set[str]]:
    """Every option and argument of each command."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {
        name: {text for option in command.params for text in (*option.opts, *option.secondary_opts)}
        for name, command in commands.items()
    }


def test_the_set_of_options_is_what_was_promised() -> None:
    """Scripts depend on these names; a name may be added here, and none taken away."""
    common = {"--model", "-m", "--device"}
    assert option_names() == {
        "train": common | {
            "corpus", "--level", "--words", "--min-count", "--max-vocab", "--valid-fraction",
            "--valid-file", "--encoding", "--cell", "--num-layers", "--hidden-size",
            "--embedding-size", "--dropout", "--weight-drop", "--tie", "--no-tie", "--skip", "--no-skip",
            "--minutes", "--epochs", "--steps", "--weight-decay", "--softmax-sample", "--sample-every",
            "--adamw-share", "--memory",
            "--batch-size", "--window", "--learning-rate", "--seed", "--precision", "--threads",
            "--resume", "--init-from", "--overwrite", "--quiet", "-q",
        },
        "sample": common | {
            "--prime", "--prime-file", "--encoding", "--each-line", "--echo", "--no-echo",
            "--num-samples", "-n", "--length", "-l", "--stop", "--temperature", "-t",
            "--top-k", "--top-p", "--min-p",
            "--repetition-penalty", "--beams", "--seed", "--json",
        },
        "eval": common | {"texts", "--json", "--encoding", "--by", "--context", "--choices",
            "--dynamic", "--dynamic-rate", "--dynamic-decay",
            "--cache", "--cache-share", "--cache-sharpness",
        },
    }  # fmt: skip
