"""How a command ends before it is through: at once and quietly, whoever ends it and whoever reads.

Nothing of the package is imported here, so that signals are met from the first moment on.
"""

import _thread
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

PATIENCE = 0.1  # seconds with a reader that has stopped
GRACE = 5.0  # seconds in which a command that is to end has done so by itself
plain = b""  # what a terminal is to be sent first, once it was asked for bold text


def fill_streams() -> None:
    """Let nothing take the place of a stream that is closed: what C writes there would go into a file.

    To Python it stays closed.
    """
    for place in range(3):
        try:
            os.fstat(place)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest place that is free


SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")  # the last for a closed terminal; not on Windows
    if hasattr(signal, name)
]


def meet_signals() -> None:
    """Let Ctrl-C, SIGTERM and a closed terminal end the command with 128 and their number."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as the shell has it for `command &`
            signal.signal(number, _leave)


@contextmanager
def postponed() -> Iterator[None]:
    """Within the block no signal ends the command, but after it, if one came.

    For the import of torch, whose C++ calls Python: an exception that comes up there ends the process by
    `abort`, or is lost.
    """
    came: list[int] = []
    mine = [number for number in SIGNALS if signal.getsignal(number) is _leave]
    for number in mine:
        signal.signal(number, lambda which, frame: came.append(which))
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, _leave)
    if came:
        _leave(came[0], None)


def _leave(number: int, frame: object) -> None:
    # Further ones may come, as from a wrapper that passes on what the terminal has sent already.
    for one in SIGNALS:
        if signal.getsignal(one) is _leave:
            signal.signal(one, _leave_at_once)
    if number == signal.SIGINT:
        _break_line()
    forget(sys.stdout)  # a reader that has stopped would hold up what is left of it
    with suppress(RuntimeError):  # no thread can be had, or none any more
        _thread.start_new_thread(_leave_in_any_case, (number,))
    sys.exit(128 + number)


def _leave_in_any_case(number: int) -> None:
    """As its exception may be lost: Python's compiler drops it, and some modules catch it while imported."""
    time.sleep(GRACE)
    os._exit(128 + number)


def _leave_at_once(number: int, frame: object) -> None:
    """A further one: an exception that comes up while Python leaves would be shown, and end nothing."""
    os._exit(128 + number)


def _break_line() -> None:
    """Let the prompt of a terminal stand on a line of its own."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # it is closed, or no file at all
            if stream.isatty() and not _holds_up(stream.fileno()):
                # Past the buffer, as a write to it may just have been interrupted.
                os.write(stream.fileno(), plain + b"\n")
                return


def say(line: str) -> None:
    """Write a line to standard error past its buffer, as a write to that may just have been interrupted.

    Where nobody reads any more, all talk is let go from here on: it would hold up the end of the command.
    """
    with suppress(AttributeError, OSError, ValueError):  # it is closed, or no file at all
        place, beside_a_bar = sys.stderr.fileno(), "\n" if sys.stderr.isatty() else ""
        if _holds_up(place):
            forget(sys.stderr)
        else:
            os.write(place, f"{beside_a_bar}{line}\n".encode())


def _holds_up(place: int) -> bool:
    """Whether a write would wait for a reader; where nobody can tell, as on Windows, it would not."""
    try:
        return not select.select([], [place], [], PATIENCE)[1]
    except (OSError, ValueError):
        return False


def forget(stream: TextIO | None) -> None:
    """Send what a stream holds back, and all to come, to nowhere.

    Python would wait until it can be written when it leaves, or complain that it cannot.
    """
    with suppress(AttributeError, OSError, ValueError):
        place = stream.fileno()  # type: ignore[union-attr]
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, place)
        os.close(nowhere)


def settle(stream: TextIO | None) -> None:
    """Write what a stream holds back, or forget it: at the end Python would exit with 120 over it."""
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):
        forget(stream)
