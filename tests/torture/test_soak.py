"""Long work takes no more memory, and no more open files, at its end than near its beginning."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import pytest

from lstmgen.folders import BUILT_IN, MODEL_FILE

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="a process is watched through /proc"
)

LIVES = Path(__file__).parents[2] / "data" / "lives.txt"


def resident(pid: int) -> int:
    """Kilobytes of a process in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def num_open(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


class Watch:
    """Memory and open files of a process, now and then, some time after the first look at it."""

    def __init__(self, pid: int, warm_up: float, every: float = 0.2) -> None:
        self.pid, self.warm_up, self.every, self.next = pid, warm_up, every, 0.0
        self.sizes: list[int] = []
        self.files: list[int] = []

    def look(self) -> None:
        self.next = self.next or time.monotonic() + self.warm_up
        if time.monotonic() >= self.next:
            self.sizes.append(resident(self.pid))
            self.files.append(num_open(self.pid))
            self.next = time.monotonic() + self.every

    def require_flat(self, within: float = 0.025) -> str:
        assert len(self.sizes) >= 5
        third = max(1, len(self.sizes) // 3)
        # The least of each: work in hand, a batch of a few MB, is there at one look and not at the next.
        first, last = min(self.sizes[:third]), min(self.sizes[-third:])
        between = min(self.sizes[third:-third])
        # What leaks grows all the time; what is kept for later grows when more comes in at once than before.
        flat = 1 + within
        assert between <= flat * first or last <= flat * between, (first, between, last)
        assert min(self.files[-third:]) <= max(self.files[:third])  # one may be open at a look
        return f"{first / 1000:.0f} MB near the beginning, {last / 1000:.0f} at the end"


def test_training(
    tmp_path: Path, times: Callable[[int, int], int], tally: Callable[[str, int], None]
) -> None:
    seconds = times(12, 3600)
    command = [sys.executable, "-m", "lstmgen", "train", str(LIVES), "-m", "m"]
    more = ["--minutes", f"{seconds / 60}", "--hidden-size", "32", "--threads", "1"]
    more += ["--device", "cpu", "--valid-fraction", "0.002"]  # so that reports come early
    with subprocess.Popen([*command, *more], cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        watch = Watch(process.pid, warm_up=0.5)
        while process.poll() is None:
            if (tmp_path / "m" / MODEL_FILE).exists():  # it has done everything once
                watch.look()
            time.sleep(0.1)
            if watch.sizes and watch.sizes[-1] == 0:  # it has ended between the two
                watch.sizes.pop()
                watch.files.pop()
        assert process.returncode == 0
    tally(f"seconds of training: {watch.require_flat()}", seconds)


def test_a_long_text(times: Callable[[int, int], int], tally: Callable[[str, int], None]) -> None:
    length = times(15_000, 10_000_000)
    command = [sys.executable, "-m", "lstmgen", "sample", "-m", str(BUILT_IN), "--seed", "1"]
    with subprocess.Popen([*command, "-l", str(length)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        watch, read = Watch(process.pid, warm_up=0.4, every=0.05), 0
        while part := os.read(process.stdout.fileno(), 1 << 16):
            read += len(part)
            watch.look()
    assert process.returncode == 0
    assert read >= length
    tally(f"characters sampled in one text: {watch.require_flat()}", length)


def test_many_lines(times: Callable[[int, int], int], tally: Callable[[str, int], None]) -> None:
    count, warm = times(9_000, 10_000_000), 6_000
    stories = [line.encode()[:20] + b"\n" for line in LIVES.read_text().splitlines() if line]
    command = [sys.executable, "-m", "lstmgen", "eval", "-", "--by", "line", "-m", str(BUILT_IN)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        watch, answers, lines = None, 0, islice(cycle(stories), count)
        # The first parts are as much as a pipe holds, so that no later one comes in with more at once; and
        # there are some, as a busy machine may meet one of them in pieces.
        while part := list(islice(lines, 3000 if answers < warm else 100)):
            process.stdin.write(b"".join(part))
            process.stdin.flush()
            for _ in part:
                assert process.stdout.readline().count(b"\t") == 4
                answers += 1
            if answers >= warm:
                watch = watch or Watch(process.pid, warm_up=0, every=0)
                watch.look()
        process.stdin.close()
    assert process.returncode == 0
    assert answers == count
    assert watch is not None
    tally(f"lines scored in one stream: {watch.require_flat(within=0.01)}", count)
