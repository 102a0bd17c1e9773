"""The time that a run is given: a clock that stands still while the process is suspended by Ctrl-Z."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

_suspended = 0.0  # seconds


def now() -> float:
    """Seconds from any zero."""
    while True:
        suspended, passed = _suspended, time.perf_counter()
        if suspended == _suspended:  # else it was suspended between the two
            return passed - suspended


@contextmanager
def without_suspensions() -> Iterator[None]:
    """Within the block, the clock stands still from Ctrl-Z (SIGTSTP) until the process goes on.

    With SIGSTOP, which a process cannot notice, it goes on.
    """

    def suspend(number: int, frame: object) -> None:
        global _suspended
        began = time.perf_counter()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)  # here it waits
        _suspended += time.perf_counter() - began
        signal.signal(number, suspend)

    number = getattr(signal, "SIGTSTP", None)  # which Windows does not have
    # Where it is ignored, as by some shells, it stays so.
    if number is None or signal.getsignal(number) is not signal.SIG_DFL:
        yield
        return
    signal.signal(number, suspend)
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL)
