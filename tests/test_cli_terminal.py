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
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL

from lstmgen import checkpoint
from lstmgen.cli import console


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
    assert last.endswith("characters/s" if width >= 80 else "bits/character")
    assert "100%" in shown
    assert "┤" in shown
    assert max(len(line) for line in shown.splitlines() if "─" in line) == min(80, width)
    told = re.search(r"^training  .*?(?=^repeat  )", shown, re.DOTALL | re.MULTILINE)
    assert told
    assert max(map(len, told[0].splitlines())) <= width
    assert re.search(r"^repeat .* --seed 0", shown, re.MULTILINE)  # to be copied, however wide
    assert re.search(r"^done .*of\s+training\r?\ntry  ", shown, re.DOTALL | re.MULTILINE)


def test_a_quiet_run_shows_a_terminal_nothing_and_a_pipe_has_no_curves(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    train = ["train", str(corpus), "-m", str(tmp_path / "m"), "--steps", "30", *SMALL]
    assert "┤" not in here(*train).err
    train = [sys.executable, "-m", "lstmgen", *train, "--overwrite", "--quiet"]
    assert in_terminal(shlex.join(train)) == ""


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
        ("NO_COLOR= TERM=", "Ann went"),
        ("env -u TERM NO_COLOR=", "Ann went"),
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
