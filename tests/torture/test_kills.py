"""A run that is ended at any moment, as often as one likes, comes to the same bits as one that is not."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import SMALL
from jobs import payload

from lstmgen import checkpoint, folders

TEXT = "".join(f"{i} sheep and {i * 7 % 10} goats went up the hill.\n" for i in range(400))
ENDINGS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


def start(folder: Path, steps: int, *more: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "lstmgen",
        "train",
        str(folder / "text"),
        "-m",
        str(folder / "m"),
    ]
    return subprocess.Popen(
        [*command, "--steps", str(steps), *more], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )


def wait_for(process: subprocess.Popen[bytes], happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and not happened() and time.monotonic() < deadline:
        time.sleep(0.0005)


def moments(folder: Path, luck: random.Random) -> Callable[[], bool]:
    """What to wait for before the end comes: a file half written, or some time of training."""
    half = folder / f".{luck.choice([folders.MODEL_FILE, folders.RUN_FILE])}.new"
    log, seen = folder / folders.LOG_FILE, time.monotonic()
    before = log.stat().st_mtime_ns if log.exists() else 0
    if luck.random() < 0.6:
        return half.exists
    after = luck.random()

    def passed() -> bool:
        nonlocal seen
        if not log.exists() or log.stat().st_mtime_ns == before:
            seen = time.monotonic()
        return time.monotonic() - seen > after

    return passed


@pytest.mark.parametrize(
    "ending",
    ENDINGS if "LSTMGEN_TORTURE" in os.environ else ENDINGS[:1],
    ids=lambda ending: ending.name,
)
def test_no_ending_changes_what_a_run_comes_to(
    tmp_path: Path,
    ending: signal.Signals,
    times: Callable[[int, int], int],
    tally: Callable[[str, int], None],
) -> None:
    rounds, steps = times(2, 50 if ending == signal.SIGKILL else 15), 400
    for name in ("through", "parts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text").write_text(TEXT)
    finish(start(tmp_path / "through", steps, *SMALL))
    luck, ended = random.Random(int(ending)), 0
    while ended < rounds:
        ended += ended_often(tmp_path / "parts", steps, ending, rounds - ended, luck)
        for name in (folders.MODEL_FILE, folders.RUN_FILE):
            parts = [payload(tmp_path / which / "m" / name) for which in ("through", "parts")]
            assert parts[0] == parts[1]
        names = [
            {path.name for path in (tmp_path / which / "m").iterdir()} - {folders.CURVES_FILE}
            for which in ("through", "parts")
        ]
        assert names[0] == names[1]
        shutil.rmtree(tmp_path / "parts" / "m")
    tally(f"runs ended by {ending.name}, resumed, compared bit for bit", ended)


def ended_often(
    where: Path, steps: int, ending: signal.Signals, most: int, luck: random.Random
) -> int:
    """Begin a run, end it and go on with it until it is through: how often it was ended."""
    folder, ended, last = where / "m", 0, 0
    more: tuple[str, ...] = SMALL
    while ended < most:
        with start(where, steps, *more) as process:
            wait_for(process, moments(folder, luck))
            if luck.random() < 0.2:
                process.send_signal(ending)  # and once more while the first is being obeyed
            process.send_signal(ending)
            code = process.wait(60)
            told = process.stderr.read().decode() if process.stderr else ""
        # As Python leaves it meets no signal any more, which then ends the process by itself.
        if code == 0 or (code == -ending and "\ndone " in told):
            return ended
        assert "Traceback" not in told, told
        assert code == -ending if ending == signal.SIGKILL else code == 128 + ending, told
        ended += 1
        if (folder / folders.RUN_FILE).exists():  # else it had no time to save anything
            step = checkpoint.load_run(folder).position.step
            assert step >= last, "work was lost that had been saved"
            last, more = step, ("--resume",)
            if step == steps:  # all was saved, and only its end had to be told
                return ended
        elif folder.exists():
            more = (*SMALL, "--overwrite")
    finish(start(where, steps, *more))
    return ended


def finish(process: subprocess.Popen[bytes]) -> None:
    with process:
        _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told.decode()
