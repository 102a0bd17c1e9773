"""The time of a run: what it was suspended for is none of it."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from lstmgen import stopwatch, threads

WAITS = """
import sys, time
from lstmgen import stopwatch
with stopwatch.without_suspensions():
    for _ in range(2):
        own, all_of_it = stopwatch.now(), time.monotonic()
        print("ready", flush=True)
        sys.stdin.readline()
        print(stopwatch.now() - own, time.monotonic() - all_of_it, flush=True)
"""
SUSPENDED = 0.3  # seconds


@pytest.mark.skipif(not hasattr(signal, "SIGTSTP"), reason="there is no Ctrl-Z here")
def test_the_clock_stands_still_while_the_process_is_suspended_each_time() -> None:
    """In a process group of its own, as a shell starts a command: without a shell none is suspended."""
    command = [sys.executable, "-c", WAITS]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, process_group=0) as waits:
        assert waits.stdin
        assert waits.stdout
        for _ in range(2):
            assert waits.stdout.readline() == "ready\n"
            waits.send_signal(signal.SIGTSTP)
            _, status = os.waitpid(waits.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            time.sleep(SUSPENDED)
            waits.send_signal(signal.SIGCONT)
            waits.stdin.write("\n")
            waits.stdin.flush()
            own, all_of_it = map(float, waits.stdout.readline().split())
            assert all_of_it >= SUSPENDED
            assert 0 <= own <= all_of_it - 0.9 * SUSPENDED
    assert waits.returncode == 0


def test_a_suspension_as_the_clock_is_read_is_none_of_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed = iter([7.0, 8.0])

    def read() -> float:
        monkeypatch.setattr(stopwatch, "_suspended", 5.0)
        return next(passed)

    monkeypatch.setattr(stopwatch, "_suspended", 1.0)
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=read))
    assert stopwatch.now() == 3.0


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_what_ctrl_z_did_before_it_does_afterwards(handler: signal.Handlers) -> None:
    before = signal.signal(signal.SIGTSTP, handler)
    try:
        with stopwatch.without_suspensions():
            own = signal.getsignal(signal.SIGTSTP) not in (signal.SIG_DFL, signal.SIG_IGN)
            assert own == (handler is signal.SIG_DFL)
        assert signal.getsignal(signal.SIGTSTP) is handler
    finally:
        signal.signal(signal.SIGTSTP, before)


def test_threads_are_judged_by_this_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a run that was suspended would seem to have been kept from its cores."""
    monkeypatch.setattr(stopwatch, "now", lambda: 5.0)
    assert threads.clocks()[0] == 5
