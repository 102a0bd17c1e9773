"""`lstmgen sample` as a user and a pipeline meet it: texts, lines and streams."""

import json
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from commands import Ran, piped, run

import lstmgen
from lstmgen import checkpoint, folders
from lstmgen.beam_search import search
from lstmgen.cells import Cells
from lstmgen.cli import console


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
    assert here("sample", "-m", model, "-l", "0").err == ""  # nothing is drawn


def test_all_seeds_of_many_texts_can_be_given_again(model: Path, here: Any) -> None:
    last = 2**63 - 1
    options = ("sample", "-m", model, "-n", "3", "-l", "2", "--json", "--seed")
    assert (
        f"--seed {last - 1} leaves no seeds for --num-samples 3" in here(*options, last - 1).error
    )
    assert "--num-samples is 1000000000001; it" in here(*options, 0, "-n", 10**12 + 1).error
    seeds = [json.loads(line)["seed"] for line in here(*options, last - 2).out.splitlines()]
    assert seeds == [last - 2, last - 1, last]


def test_json_has_what_a_text_costs(model: Path, here: Any) -> None:
    done = here("sample", "-m", model, "-l", "5", "-n", "2", "--json")
    # By what JSON knows, to which NaN does not belong.
    told = [json.loads(line, parse_constant=pytest.fail) for line in done.out.splitlines()]
    assert [text["nats"] > 0 for text in told] == [True, True]
    assert told[1]["seed"] == told[0]["seed"] + 1
    assert done.err == ""  # as each has its seed


def test_without_a_seed_each_text_is_another_one(model: Path, here: Any) -> None:
    seeds = {here("sample", "-m", model, "-l", "1").err for _ in range(3)}
    assert len(seeds) == 3


def test_texts_are_ended_by_nul_when_asked(model: Path, here: Any) -> None:
    """So that those with line ends in them can be told apart."""
    options = ("sample", "-m", model, "--seed", "1", "-l", "60")
    told = [json.loads(line) for line in here(*options, "-n", "3", "--json").out.splitlines()]
    texts = [text["text"] for text in told]
    for flag in ("--null", "-0"):
        assert here(*options, "-n", "3", flag).out == "".join(f"{text}\0" for text in texts)
        assert here(*options, "--prime", "Ann", flag).out.startswith("Ann")
        assert here(*options, "--prime", "Ann", flag).out.endswith("\0")
    ends_so = here("sample", "-m", model, "--prime", "Ann\n", "-l", "0", "-0").out
    assert ends_so == "Ann\n\0"


def test_one_text_of_many_comes_again_with_its_own_seed(model: Path, here: Any) -> None:
    many = here("sample", "-m", model, "-n", "70", "--seed", "10", "-l", "30", "--json").out
    texts = [json.loads(line) for line in many.splitlines()]
    assert [text["seed"] for text in texts] == list(range(10, 80))
    assert len({text["text"] for text in texts}) > 20
    for text in texts[::23]:
        alone = here("sample", "-m", model, "--seed", str(text["seed"]), "-l", "30").out
        assert alone.removesuffix("\n") == text["text"].removesuffix("\n")


def test_without_echo_no_prime_is_printed_beside_any_text(model: Path, here: Any) -> None:
    options = ("sample", "-m", model, "-n", "2", "--prime", "Ann", "--seed", "1", "--stop", ".")
    told = [json.loads(line) for line in here(*options, "--json", "--no-echo").out.splitlines()]
    assert not any("prime" in record for record in told)
    texts = [record["text"] for record in told]
    assert len(texts) == 2
    assert here(*options, "--no-echo").out == "".join(text + "\n" for text in texts)
    assert here(*options).out == "".join(f"Ann{text}\n" for text in texts)


@pytest.mark.parametrize(
    "shaping",
    [
        {"temperature": 1.7},
        {"top_k": 2},
        {"top_p": 0.5},
        {"min_p": 0.4},
        {"repetition_penalty": 5.0},
    ],
    ids=str,
)
def test_each_option_that_shapes_a_draw_is_obeyed(
    model: Path, here: Any, shaping: dict[str, Any]
) -> None:
    options = ("sample", "-m", model, "--seed", "1", "-l", "200", "--no-echo")
    ((name, value),) = shaping.items()
    shaped = here(*options, f"--{name.replace('_', '-')}", str(value)).out.rstrip("\n")
    assert shaped == lstmgen.load(model).sample(length=200, seed=1, **shaping).rstrip("\n")
    assert shaped != here(*options).out.rstrip("\n")


def test_a_stop_string_with_a_backslash_is_told_to_be_one(model: Path, here: Any) -> None:
    done = here("sample", "-m", model, "-l", "5", "--seed", "1", "--stop", r"\n")
    assert "a line end is written $'\\n' in bash and zsh" in done.err


def test_stop_ends_each_text_and_is_left_out(model: Path, here: Any) -> None:
    stopped = here("sample", "-m", model, "--prime", "Ann", "--stop", ".", "--seed", "1").out
    assert "." not in stopped
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
    greedy = ("sample", "-m", model, "--prime", "Ben", "-l", "20", "-t", "0")
    assert "seed" not in here(*greedy).err
    assert here(*greedy, "--json").out == here(*greedy, "--json").out


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


def test_fewer_texts_than_asked_for_are_told_of(model: Path, here: Any) -> None:
    options = ("sample", "-m", model, "--prime", "Ann", "-l", "0", "--no-echo", "--json")
    done = here(*options, "--beams", "3", "-n", "3")
    assert len(done.out.splitlines()) == 1
    assert "of 3 texts 1 were found" in done.err
    assert here(*options, "--beams", "3", "-n", "1").err == ""


def test_beams_answer_each_line_in_order(model: Path) -> None:
    done = run("sample", "-m", model, "--each-line", "--beams", "2", "-n", "2", "-l", "3", "--json",
               stdin=b"Ann\nDan")  # fmt: skip
    primes = [json.loads(line)["prime"] for line in done.out.splitlines()]
    assert primes == ["Ann", "Ann", "Dan", "Dan"]


@pytest.mark.parametrize(
    "other",
    [
        ("--seed", "1"),
        ("-t", "0.3"),
        ("-t", "0.8"),
        ("--top-k", "3"),
        ("-n", "4"),
        ("--min-p", "0.1"),
    ],
)
def test_beams_with_what_is_for_drawing_or_with_too_many_texts_are_refused(
    model: Path, here: Any, other: tuple[str, str]
) -> None:
    done = here("sample", "-m", model, "--beams", "3", *other)
    assert (done.code, done.out) == (1, "")
    assert "--beams 3" in done.error
    if other[0] != "-n":
        name = {"-t": "--temperature"}.get(other[0], other[0])
        assert f"leave out {name} {other[1]}, or" in done.error


def test_json_holds_the_letters_themselves(model: Path, here: Any) -> None:
    out = here("sample", "-m", model, "--prime", "Zoë 京", "--json", "-l", "1", "--seed", "1").out
    assert '"prime": "Zoë 京"' in out


def test_the_built_in_model_is_a_model_like_others_where_it_is_named(here: Any) -> None:
    done = here("sample", "-m", folders.BUILT_IN, "-l", "1", "--seed", "1")
    assert (done.code, done.err) == (0, "")


def test_an_encoding_without_a_name_is_refused(model: Path, corpus: Path, here: Any) -> None:
    error = here("sample", "-m", model, "--prime-file", corpus, "--encoding", "").error
    assert "--encoding ''" in error


@pytest.mark.parametrize("encoding", ["utf-8", "UTF-8", "latin-1"])
def test_an_encoding_is_for_what_is_read(model: Path, here: Any, encoding: str) -> None:
    told = here("sample", "-m", model, "--prime", "A", "--encoding", encoding).error
    assert f"--encoding {encoding} is for what is read; give --prime-file or" in told


def test_a_text_of_nothing_has_a_line_where_its_prime_is_not_shown(model: Path, here: Any) -> None:
    nothing = ("sample", "-m", model, "--prime", "Ann\n", "-l", "0", "-n", "2")
    assert here(*nothing, "--no-echo").out == "\n\n"
    assert here(*nothing).out == "Ann\nAnn\n"


def test_what_changes_nothing_where_the_likeliest_token_is_taken_is_said(
    model: Path, here: Any
) -> None:
    greedy = ("sample", "-m", model, "-t", "0", "-l", "9")
    plain = here(*greedy)
    assert "note:" not in plain.err
    shape = ("--top-k", "3", "--top-p", "0.5", "--min-p", "0.1")
    done = here(*greedy, "--seed", "5", *shape, "-n", "2")
    told = f"so --seed 5 {' '.join(shape)} --num-samples 2 brings nothing new"
    assert told in done.err
    assert done.out == plain.out * 2


def test_each_line_is_a_prime_and_answers_keep_the_order(model: Path) -> None:
    texts = ["Ann went", "Dan", "", "Eve went to Rome and"]
    done = run("sample", "-m", model, "--each-line", "--stop", "\n", "--seed", "1", "--json",
               stdin="\r\n".join(texts).encode())  # fmt: skip
    assert [json.loads(line)["prime"] for line in done.out.splitlines()] == texts
    assert "standard input: made CRLF and CR line ends into LF" in done.err


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


def test_a_stop_string_that_the_model_cannot_write_is_told(model: Path, here: Any) -> None:
    options = ("sample", "-m", model, "--seed", "1", "-l", "5")
    assert (
        "--stop 'a€' ends no text, as the model cannot write '€'"
        in here(*options, "--stop", "a€").err
    )
    assert "note" not in here(*options, "--stop", "went. ").err


@pytest.mark.parametrize("command", ["sample", "eval"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_that_waits(
    model: Path, command: str, number: int, code: int
) -> None:
    how = ["--each-line", "--seed", "1"] if command == "sample" else ["-", "--by", "line"]
    with subprocess.Popen(
        [sys.executable, "-m", "lstmgen", command, "-m", str(model), *how],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"Ann\n")
        begun = bool(select.select([process.stdout], [], [], 30)[0])
        time.sleep(0.5)
        process.send_signal(number)
        try:
            assert (begun, process.wait(30)) == (True, code)
        finally:
            process.kill()
        assert process.stderr is not None
        assert process.stderr.read().strip() == b""


def test_seeds_end_where_those_that_can_be_given_do(model: Path, tmp_path: Path) -> None:
    last = 2**63 - 1
    done = run("sample", "-m", model, "--each-line", "--json", "-l", "3", "--seed", str(last - 1),
               stdin=b"a\nb\nc\n")  # fmt: skip
    assert [json.loads(line)["seed"] for line in done.out.splitlines()] == [last - 1, last]
    assert done.error == (
        f"error: --seed {last - 1} leaves no seed for text 3, as each text has the next one; "
        "give a lower --seed"
    )


def test_a_closed_pipe_is_quiet(model: Path) -> None:
    command = f"{sys.executable} -m lstmgen sample -m {model} -n 100000 -l 50 --seed 1 | head -n 3"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == 3


def test_a_reader_that_leaves_a_socket_is_one_that_has_enough(model: Path) -> None:
    ours, theirs = socket.socketpair()
    options = ["-n", "100000", "-l", "50", "--seed", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "lstmgen", "sample", "-m", str(model), *options],
        stdout=theirs.fileno(), stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        theirs.close()
        ours.recv(1)
        time.sleep(0.5)  # what it writes meanwhile is not read any more
        ours.close()
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_each_line_has_the_next_seed_and_comes_out_as_it_would_alone(
    model: Path, here: Any
) -> None:
    options = ("sample", "-m", model, "-l", "20", "--json", "-t", "1")
    done = run(*options, "--each-line", "-n", "2", "--seed", "5", stdin=b"Ann went\nBen")
    told = [json.loads(line) for line in done.out.splitlines()]
    assert [(text["prime"], text["seed"]) for text in told] == [
        ("Ann went", 5), ("Ann went", 6), ("Ben", 7), ("Ben", 8),
    ]  # fmt: skip
    for text in told:
        alone = here(*options, "--prime", text["prime"], "--seed", str(text["seed"]))
        assert json.loads(alone.out)["text"] == text["text"]


def test_a_text_that_ends_in_a_line_end_is_given_no_second_one(model: Path, here: Any) -> None:
    options = ("sample", "-m", model, "-t", "0", "--prime", "Ann went to Rome and ate figs.", "-l")
    for number in ("1", "2"):
        one = here(*options, "1", "-n", number).out
        assert one == "Ann went to Rome and ate figs.\n" * int(number)
    assert here(*options, "0").out == "Ann went to Rome and ate figs.\n"


@pytest.mark.parametrize("command", ["sample --each-line", "sample --prime-file -", "eval -"])
def test_standard_input_that_is_closed_is_told_in_one_line(model: Path, command: str) -> None:
    line = f"LSTMGEN_MODEL={model} {sys.executable} -m lstmgen {command} <&-"
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False)
    assert "standard input is closed" in Ran(done.returncode, done.stdout, done.stderr).error


@pytest.mark.parametrize(
    ("options", "kept", "told"),
    [((), True, True), ((), False, False), (("--each-line",), True, False)],
)
def test_many_texts_have_a_bar_where_nobody_sees_them_come(
    options: tuple[str, ...], kept: bool, told: bool, model: Path, here: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    seen = list[Any]()

    def watched(parts: Any, *about: Any) -> Any:
        seen.append(about)
        return parts

    monkeypatch.setattr(console, "watched", watched)
    monkeypatch.setattr(console, "keeps_output", lambda: kept)
    with piped(b"Ann\n") as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        assert here("sample", "-m", model, "-l", "1", "-n", "60", *options).code == 0
    assert seen == [(60, "sampled")] * told


def test_a_line_end_that_was_written_as_two_characters_is_told_once(model: Path, here: Any) -> None:
    done = here("sample", "-m", model, "-l", "1", "--seed", "1", "--stop", "\\n")
    (note,) = done.err.splitlines()
    assert "holds a backslash and an n; a line end is written $'\\n'" in note
