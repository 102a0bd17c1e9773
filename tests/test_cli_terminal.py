"""What a person at a terminal sees, and what a terminal is never sent."""

import fcntl
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import SMALL

from lstmgen import checkpoint, leaving
from lstmgen.choices import Tally
from lstmgen.cli import console, tables, watching
from lstmgen.comparison import Difference
from lstmgen.context import ContextScore
from lstmgen.progress import Progress
from lstmgen.scoring import Score


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


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_terminal_sees_a_bar_and_then_the_curves_at_any_width(
    corpus: Path, tmp_path: Path, width: int
) -> None:
    """Whatever `COLUMNS` says, and wherever standard output goes."""
    small = " ".join(SMALL)
    train = f"{sys.executable} -m lstmgen train {corpus} -m {tmp_path / 'm'} --steps 300 {small}"
    to = "> /dev/null" if width < 140 else ""
    shown = in_terminal(f"COLUMNS=200 {train} {to}", width)
    bars = [line for line in re.split("[\r\n]+", shown) if "left" in line]
    last = [line for line in bars if "best" in line or "validation" in line][-1]
    for part in (r"^ *\d+% ", r"\d\d:\d\d left, loss \d", "bits/character"):
        assert re.search(part, last), last
    if width >= 80:
        assert "characters/s" in last
    assert "100%" in shown
    assert "┤" in shown
    assert max(len(line) for line in shown.splitlines() if "─" in line) == min(80, width)


def test_a_quiet_run_shows_a_terminal_nothing_and_a_pipe_has_no_curves(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    train = ["train", str(corpus), "-m", str(tmp_path / "m"), "--steps", "30", *SMALL]
    assert "┤" not in here(*train).err
    train = [sys.executable, "-m", "lstmgen", *train, "--overwrite", "--quiet"]
    assert in_terminal(shlex.join(train)) == ""


def test_a_terminal_that_was_asked_for_bold_text_is_plain_again_after_ctrl_c(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    stdout = SimpleNamespace(isatty=lambda: True, fileno=lambda: writing, buffer=BytesIO())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(leaving, "plain", b"")
    monkeypatch.setattr(sys, "stdout", stdout)
    leaving._break_line()
    console.emit("I grew up", bold=True)
    leaving._break_line()
    monkeypatch.undo()
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        assert file.read() == b"\n\x1b[0m\n"


@pytest.mark.parametrize(("tty", "told"), [(True, b"\nx\n"), (False, b"x\n")])
def test_beside_a_bar_a_line_of_its_own_is_begun(
    monkeypatch: pytest.MonkeyPatch, tty: bool, told: bytes
) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: tty, fileno=lambda: writing))
    leaving.say("x")
    monkeypatch.undo()
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        assert file.read() == told


def test_long_work_has_a_bar_where_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", console.Talk(shown))

    def slow() -> Iterator[float]:
        for _ in range(console.LONG_WORK):
            time.sleep(0.03)
            yield 1.0

    assert sum(console.watched(slow(), console.LONG_WORK, "read")) == console.LONG_WORK
    assert re.search(r"read +\d+% .* \d\d:\d\d left", shown.getvalue())
    before = shown.getvalue()
    assert sum(console.watched(iter([1.0] * 9), 9)) == 9
    assert shown.getvalue() == before


def test_the_time_that_a_resumed_run_has_left_is_by_its_own_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", console.Talk(shown))

    def records() -> Iterator[Progress]:
        time.sleep(3)  # before the first, which is no step's time
        for step in range(7000, 7004):
            yield Progress(step, 8000, 0.1, 1.0, 0.01, 100.0, 2.0, None)
            time.sleep(0.15)

    watching.follow(records(), [], quiet=False, per_token=1.0)
    assert "? left, loss 2.000" in shown.getvalue()  # the first is shown, before any step is timed
    first, *_ = re.findall(r"(\d\d):\d\d left", shown.getvalue())
    assert 2 <= int(first) <= 40  # a thousand steps, seven a second at most


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
    for way in ("NO_COLOR=1 {} --prime $'\\x1b[2J\\x07'", "{} --prime $'\\u202e' --json"):
        shown = in_terminal(way.format(sample))
        assert not [c for c in shown if console._controls(c) and c not in "\r\n\t"]
    assert "\x1b" in here("sample", "-m", folder, "-l", "60", "--seed", "1").out  # a pipe gets all


def test_a_terminal_is_sent_no_control_characters_by_train_either(
    tmp_path: Path, here: Any
) -> None:
    """Those of its samples, of the name of a text and of the model's."""
    path, folder = tmp_path / "a\x1b[31m.txt", tmp_path / "m\x07"
    path.write_text("\x1b[31m\x07" * 300)
    small = ("--hidden-size", "16", "--batch-size", "2", "--window", "8", "--sample-every", "0")
    done = here("train", path, "-m", folder, "--steps", "30", *small)
    assert done.code == 0, done.err
    assert not [c for c in done.err if console._controls(c) and c not in "\n\t"]
    for shown in ("a␛[31m.txt: ", "m␇: best validation", "␇␛"):
        assert shown in done.err


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


@pytest.mark.skipif(sys.platform != "linux", reason="`timeout` is that of GNU")
def test_ctrl_c_in_a_terminal_ends_the_text_with_a_line_end(model: Path) -> None:
    sample = f"{sys.executable} -m lstmgen sample -m {model} -l 1000000000 --seed 1 2>/dev/null"
    shown = in_terminal(f"timeout --preserve-status --signal INT 3 {sample}; echo $? the prompt")
    assert shown.splitlines()[-1] == "130 the prompt"


def test_ctrl_c_while_a_slow_terminal_is_written_to_is_quiet(model: Path, corpus: Path) -> None:
    """The signal comes in the midst of a write, which is not to be entered again."""
    main_end, end = open_terminal(100)
    command = [
        sys.executable,
        "-m",
        "lstmgen",
        "eval",
        str(corpus),
        "--by",
        "token",
        "-m",
        str(model),
    ]
    with subprocess.Popen(
        command, stdin=end, stdout=end, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as process:  # fmt: skip
        os.close(end)
        assert process.stderr is not None
        assert select.select([main_end], [], [], 30)[0], "nothing is written"
        time.sleep(0.5)  # nobody reads, so it waits by now
        os.write(main_end, b"\x03")
        assert process.wait(20) == 130
        assert process.stderr.read() == b""
    os.close(main_end)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_reader_that_has_stopped_does_not_hold_up_the_end(
    model: Path, number: int, code: int
) -> None:
    command = [
        sys.executable,
        "-m",
        "lstmgen",
        "sample",
        "-m",
        str(model),
        "-n",
        "9999",
        "--seed",
        "1",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        time.sleep(2.0)  # the pipe is full
        process.send_signal(number)
        assert process.wait(20) == code
        assert process.stderr.read() == b""


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
        ["group", "all", "2,000", "95.0%", "94.0% - 95.9%", "25.0%", "90.1%", "by token"],
    ),
}


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
    if width >= 60 and name != "comparison":
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
    assert checkpoint.load_run(folder).position.step > 0


def test_a_terminal_closed_before_the_first_step_leaves_nothing(tmp_path: Path) -> None:
    """As while it waits for its text, when nothing of a run is there to be saved."""
    command = [sys.executable, "-m", "lstmgen", "train", "-", "-m", "m"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=tmp_path) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "m" / ".lstmgen.lock").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 128 + signal.SIGHUP
    assert not list(tmp_path.iterdir())


def test_control_characters_are_shown_to_a_terminal() -> None:
    ordinary = "a\u00a0b\u3000c\u200dd\u00ade é 中 👩\u200d🚀"
    assert console.visible(ordinary) == ordinary
    assert console.visible("a\x1b[31mb\x07\n\tc\x7f\x9b\u202e") == "a␛[31mb␇\n\tc␡<U+009B><U+202E>"
    for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A)):
        assert console.visible(chr(code)) == f"<U+{code:04X}>"
    assert console.visible("name\n", keep_newlines=False) == "name␊"
