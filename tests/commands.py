"""The commands in processes of their own, and a text that is learned in a second."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# As on a fresh machine, whatever whoever runs the tests has set; before typer asks for them.
for _name in (
    "LSTMGEN_MODEL",
    "GITHUB_ACTIONS",
    "FORCE_COLOR",
    "PY_COLORS",
    "COLUMNS",
    "TERMINAL_WIDTH",
    "NO_COLOR",
):
    os.environ.pop(_name, None)

TEXT = "".join(
    f"{name} went to {place} and ate {food}.\n"
    for name in ("Ann", "Ben", "Cleo", "Dan", "Eve")
    for place in ("Rome", "Oslo", "Lima", "Bern")
    for food in ("figs", "rice", "soup", "nuts", "peas", "eggs")
)
SMALL = ("--hidden-size", "16", "--embedding-size", "8", "--batch-size", "4", "--window", "16")


class Ran:
    """What a command left behind."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code, self.out, self.err = code, out.decode(), err.decode()

    @property
    def error(self) -> str:
        """The one line that an exit with code 1 says, and that it is the only one."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert self.code == 1, self.err
        assert len(lines) == 1, self.err
        assert self.err.endswith(lines[0] + "\n")
        return lines[0]


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


def within(*arguments: str | Path) -> int:
    """The command in this process, which has torch already: the code that it exits with."""
    from lstmgen.cli import main

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lstmgen", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
    for number, handler in before.items():
        signal.signal(number, handler)
    return int(left.value.code or 0)


@contextmanager
def piped(text: bytes) -> Iterator[Any]:
    """A pipe that the text comes through."""
    reading, writing = os.pipe()
    os.write(writing, text)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        yield pipe
