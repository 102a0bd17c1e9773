"""`python -m tests.benchmarks [NAME...]`: measures, and prints a line a figure with its conditions.

Timings are medians over runs taken in turn. The corpora in `../shared/data` are used where they are;
elsewhere `data/lives.txt` stands in, and the lines say so.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve()
DATA = HERE.parents[2] / "data"
SHARED = HERE.parents[3] / "shared" / "data"
SHAKESPEARE = SHARED / "tinyshakespeare.txt"
LSTMGEN = [sys.executable, "-m", "lstmgen"]


def corpus() -> Path:
    return SHAKESPEARE if SHAKESPEARE.exists() else DATA / "lives.txt"


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
        process.stdout.read(1)
        taken = time.perf_counter() - began
        process.kill()
    return taken


def start() -> None:
    """How long a person waits for the first sign of life."""
    with tempfile.TemporaryDirectory() as folder:
        model = f"{folder}/m"
        train = ["train", str(DATA / "lives.txt"), "--steps", "2", "-q", "--model", model]
        subprocess.run([*LSTMGEN, *train], check=True)
        line = Path(folder) / "line.txt"
        line.write_text("one line\n")
        torch, shown, scored = median(
            7,
            [sys.executable, "-c", "import torch"],
            [*LSTMGEN, "--help"],
            [*LSTMGEN, "eval", "-m", model, str(line)],
        )
        sample = [*LSTMGEN, "sample", "-m", model, "--no-echo", "-l", "1000"]
        first = statistics.median(first_byte(sample) for _ in range(7))
    print(f"start    import torch                            {torch:.2f} s")
    print(f"start    lstmgen --help                          {shown:.2f} s")
    print(f"start    sample, 2x256, to the first character   {first:.2f} s")
    print(f"start    eval of one line, 2x256                 {scored:.2f} s")


def encode() -> None:
    """Text to ids, on one core."""
    from lstmgen import vocabulary
    from lstmgen.config import CorpusConfig

    text = corpus().read_text()
    for name, config in (
        ("char", CorpusConfig()),
        ("word, prose", CorpusConfig(level="word")),
        ("word, space", CorpusConfig(level="word", words="space")),
    ):
        tokens = vocabulary.build(text, config)
        tokens.encode(text)
        times = []
        for _ in range(7):
            began = time.perf_counter()
            tokens.encode(text)
            times.append(time.perf_counter() - began)
        speed = len(text.encode()) / statistics.median(times) / 1e6
        print(f"encode   {name:12} {corpus().name}       {speed:8.0f} MB/s")


def one_text() -> None:
    """Sampling speed of the NumPy engine, start-up taken off by a shorter run of the same command."""
    with tempfile.TemporaryDirectory() as folder:
        model = f"{folder}/m"
        train = ["train", str(DATA / "lives.txt"), "--steps", "2", "-q", "--model", model]
        subprocess.run([*LSTMGEN, *train], check=True)
        sample = [*LSTMGEN, "sample", "-m", model, "--seed", "1"]
        for name, options, count in (("one text", [], 1), ("64 texts", ["-n", "64"], 64)):
            short, long = median(
                5, [*sample, *options, "-l", "1"], [*sample, *options, "-l", "2001"]
            )
            print(
                f"sample   2x256, {name}            {2000 * count / (long - short):8,.0f} characters/s"
            )


def train(minutes: float) -> None:
    """The loss that `lstmgen train` reaches in a given time, all settings its own."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "m"
        command = [*LSTMGEN, "train", str(corpus()), "--minutes", str(minutes), "-m", str(model)]
        for seed in range(3):
            taken = seconds([*command, "--overwrite", "--seed", str(seed)])
            log = [json.loads(line) for line in (model / "log.jsonl").read_text().splitlines()]
            best = min(log, key=lambda record: record["nats"])
            print(
                f"train    {corpus().name}, {minutes:g} minutes, seed {seed}: "
                f"{best['nats_per_token']:.4f} nats, {best['bits_per_character']:.4f} bits a "
                f"character; {log[-1]['step']:,} steps, {taken:.0f} s",
                flush=True,
            )


BENCHMARKS: dict[str, Callable[[], None]] = {
    "start": start,
    "encode": encode,
    "sample": one_text,
    "train1": lambda: train(1),
    "train3": lambda: train(3),
}


def main() -> None:
    names = sys.argv[1:] or list(BENCHMARKS)
    print(
        f"on       {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    for name in names:
        BENCHMARKS[name]()


main()
