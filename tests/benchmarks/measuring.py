"""What the benchmarks share: texts, an untrained model, and how long a command takes."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve()
DATA = HERE.parents[2] / "data"
LIVES = DATA / "lives.txt"
TEXTS = Path(os.environ.get("LSTMGEN_TEXTS", DATA))
SHAKESPEARE = TEXTS / "tinyshakespeare.txt"
LSTMGEN = [sys.executable, "-m", "lstmgen"]


def corpus() -> Path:
    return SHAKESPEARE if SHAKESPEARE.exists() else LIVES


def missing(*paths: Path) -> bool:
    """Whether one of the texts is not there, which is said."""
    absent = [path for path in paths if not path.exists()]
    for path in absent:
        print(f"left out, as there is no {path}")
    return bool(absent)


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def median(runs: int, *commands: list[str]) -> list[float]:
    """The median time of each command; they are run in turn, after one run that does not count."""
    times: list[list[float]] = [[] for _ in commands]
    for _ in range(runs + 1):
        for command, taken in zip(commands, times, strict=True):
            taken.append(seconds(command))
    return [statistics.median(taken[1:]) for taken in times]


def first_byte(command: list[str]) -> float:
    """From the start of a command to its first byte on standard output."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        written = process.stdout.read(1)
        taken = time.perf_counter() - began
        process.kill()
    assert written, f"{' '.join(command)} has written nothing"
    return taken


def peak_memory(command: list[str]) -> float:
    """The most memory that a command takes, in MB."""
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], capture_output=True, check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    asked = [sys.executable, "-c", script, *command]
    return int(subprocess.run(asked, capture_output=True, check=True).stdout) * 1024 / 1e6


def untrained(folder: str, size: int = 256, text: Path = LIVES, *more: str) -> str:
    """A model of two layers in a folder, for what does not depend on how good it is."""
    model = f"{folder}/m"
    options = ["--steps", "2", "--num-layers", "2", "--hidden-size", str(size)]
    subprocess.run([*LSTMGEN, "train", str(text), *options, *more, "-q", "-m", model], check=True)
    return model


def distinct_words(folder: str, number: int) -> Path:
    """A text of so many different words, each of them twice."""
    path = Path(folder) / "words.txt"
    path.write_text("\n".join(" ".join(f"w{i}" for i in range(number)) for _ in range(2)))
    return path


@contextmanager
def beside(others: int) -> Iterator[None]:
    """Beside so many programs that never rest."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(others)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
