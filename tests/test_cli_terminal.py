"""What a person at a terminal sees, and what a terminal is never sent."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
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


def test_control_characters_are_shown_to_a_terminal() -> None:
    ordinary = "a\u00a0b\u3000c\u200dd\u00ade é 中 👩\u200d🚀"
    assert console.visible(ordinary) == ordinary
    assert console.visible("a\x1b[31mb\x07\n\tc\x7f\x9b\u202e") == "a␛[31mb␇\n\tc␡<U+009B><U+202E>"
    assert console.visible("name\n", keep_newlines=False) == "name␊"
