"""A command that is ended leaves at once and quietly, whoever ends it and whoever reads."""

import os
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import run

from lstmgen import leaving
from lstmgen.cli import console


def left_by(script: str) -> tuple[int, bytes, bytes]:
    """The code that Python ends a script with, and what it has written to both streams."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
def test_ctrl_c_while_the_command_starts_is_quiet() -> None:
    code = (
        "import builtins, os, runpy, signal\noriginal = builtins.__import__\n"
        "def slow(name, *about, **how):\n"
        "    if name == 'typer': os.kill(os.getpid(), signal.SIGINT)\n"
        "    return original(name, *about, **how)\n"
        "builtins.__import__ = slow\nrunpy.run_module('lstmgen', run_name='__main__')"
    )
    assert left_by(code) == (130, b"", b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_torch_is_imported_ends_the_command_right_after_it(
    number: signal.Signals, tmp_path: Path, corpus: Path
) -> None:
    """An exception in the midst of it would end the process by `abort`, or be lost."""
    torch = tmp_path / "torch.py"
    torch.write_text(
        f"import signal, sys\nsignal.raise_signal({int(number)})\n"
        "print('imported', file=sys.stderr)\n"
    )
    folder = tmp_path / "m"
    done = run("train", corpus, "-m", folder, "--steps", "2", "-q", PYTHONPATH=str(tmp_path))
    assert (done.code, done.out, done.err) == (128 + number, "", "imported\n")
    assert not folder.exists()


def test_signals_are_met_as_ever_once_torch_is_imported() -> None:
    script = (
        "import signal\nfrom lstmgen import leaving\nleaving.meet_signals()\n"
        "with leaving.postponed():\n    pass\n"
        "signal.raise_signal(signal.SIGTERM)\nprint('too far')"
    )
    assert left_by(script) == (143, b"", b"")


def test_a_second_signal_while_a_command_leaves_ends_it_at_once_and_quietly() -> None:
    script = (
        "import atexit, signal, sys\nfrom lstmgen import leaving\nleaving.meet_signals()\n"
        "atexit.register(lambda: print('too far'))\n"
        "atexit.register(lambda: signal.raise_signal(signal.SIGTERM))\n"
        "signal.raise_signal(signal.SIGINT)"
    )
    assert left_by(script) == (143, b"", b"")


def test_a_command_ends_also_where_what_it_is_just_at_catches_all_exceptions() -> None:
    script = (
        "import signal, time\nfrom lstmgen import leaving\nleaving.meet_signals()\n"
        "leaving.GRACE = 0.2\n"
        "try:\n    signal.raise_signal(signal.SIGTERM)\nexcept BaseException:\n    time.sleep(60)"
    )
    began = time.monotonic()
    assert left_by(script) == (143, b"", b"")
    assert time.monotonic() - began < 30


def test_what_is_to_be_done_at_the_end_is_done_first() -> None:
    script = (
        "import signal, sys, time\nfrom lstmgen import leaving\nleaving.meet_signals()\n"
        "try:\n    signal.raise_signal(signal.SIGTERM)\n"
        "finally:\n    time.sleep(0.5)\n    print('tidy', file=sys.stderr)"
    )
    assert left_by(script) == (143, b"", b"tidy\n")


def test_signals_are_left_alone_where_they_are_not_the_commands_own() -> None:
    """As in a program that imports the package."""
    with pytest.raises(KeyboardInterrupt), leaving.postponed():
        signal.raise_signal(signal.SIGINT)
    for handler in (signal.SIG_IGN, signal.default_int_handler):
        before = signal.signal(signal.SIGINT, handler)
        with leaving.postponed():
            assert signal.getsignal(signal.SIGINT) is handler
        assert signal.signal(signal.SIGINT, before) is handler


@pytest.mark.skipif(sys.platform == "win32", reason="places of streams are not reckoned so there")
def test_nothing_takes_the_place_of_a_stream_that_is_closed() -> None:
    code = (
        "import os, runpy, sys\nsys.argv = ['lstmgen', '--version']\n"
        "try:\n    runpy.run_module('lstmgen', run_name='__main__')\n"
        "except SystemExit:\n    os._exit(os.open(os.devnull, os.O_RDONLY))"
    )
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(
            ["bash", "-c", f'"$0" -c "$1" {closed}', sys.executable, code], check=False
        )
        assert 3 <= done.returncode < 100


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


def test_where_the_output_goes_to_a_file_the_terminal_of_errors_has_its_line_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: False))
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True, fileno=lambda: writing))
    leaving._break_line()
    monkeypatch.undo()
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        assert file.read() == b"\n"


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
