"""`python -m tests.benchmarks [NAME...]`: measures, and prints a line a figure with its conditions.

Timings are medians over runs taken in turn, but for what takes many seconds, which is run once. Texts of
the field are looked for in the folder that the variable LSTMGEN_TEXTS names; without them `data/lives.txt`
stands in, and the lines say so.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from lstmgen.__main__ import WAITING

from .measuring import (
    DATA,
    LSTMGEN,
    beside,
    corpus,
    first_byte,
    median,
    seconds,
    untrained,
)
from .sampling import sample
from .training import (
    fine_tuning,
    library,
    many_types,
    optimizers,
    others,
    plan,
    step,
    train,
    words,
)


def start() -> None:
    """How long a person waits for the first sign of life."""
    with tempfile.TemporaryDirectory() as folder:
        model = untrained(folder)
        line = Path(folder) / "line.txt"
        line.write_text("one line\n")
        torch, shown, scored = median(
            7,
            [sys.executable, "-c", "import torch"],
            [*LSTMGEN, "--help"],
            [*LSTMGEN, "eval", "-m", model, str(line)],
        )
        sample = [*LSTMGEN, "sample", "-m", model, "--no-echo", "-l", "1000"]
        first = statistics.median([first_byte(sample) for _ in range(8)][1:])
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


def score() -> None:
    """A long text and many short lines, beside torch's float32 matrix product in the same run."""
    import torch

    from lstmgen.config import ModelConfig

    text = (DATA / "lives.txt").read_text()
    flat = text.replace("\n", " ")
    starts = [50 * number for number in range(len(flat) // 50 - 2)] * 3
    square = torch.randn(1024, 1024)
    with tempfile.TemporaryDirectory() as folder:
        model = untrained(folder)
        ten, lines = Path(folder) / "ten.txt", Path(folder) / "lines.txt"
        ten.write_text(text * 10)
        lines.write_text("".join(flat[i : i + 20 + i // 50 % 61] + "\n" for i in starts[:50_000]))
        shapes = ModelConfig(vocab_size=61, hidden_size=256).weight_shapes()
        weights = sum(
            s[0] * s[1] for n, s in shapes.items() if ".weight_" in n or n == "output.weight"
        )
        for path, options in ((ten, []), (lines, ["--by", "line"])):
            for _ in range(20):  # before they are timed
                square @ square
            began = time.perf_counter()
            for _ in range(100):
                square @ square
            most = 2 * 1024**3 * 100 / (time.perf_counter() - began) / 1e9
            taken = seconds([*LSTMGEN, "eval", str(path), "-m", model, *options])
            size = path.stat().st_size
            print(
                f"score    2x256, {' '.join([path.name, *options])}: {taken:.1f} s, {size / taken:,.0f} "
                f"characters/s, {2 * weights * size / taken / 1e9:.0f} GFLOP/s where a product of "
                f"1024 x 1024 reaches {most:.0f}",
                flush=True,
            )


def busy() -> None:
    """What other programs on the same cores cost, with threads that soon sleep and with those that wait."""
    with tempfile.TemporaryDirectory() as folder:
        model, text = untrained(folder), Path(folder) / "text.txt"
        text.write_text(corpus().read_text("utf-8")[:30_000])
        commands = {
            "sample -l 2000": ["sample", "-m", model, "-l", "2000", "--seed", "1"],
            "sample -n 64 -l 200": ["sample", "-m", model, "-n", "64", "-l", "200", "--seed", "1"],
            "eval of 30,000 characters": ["eval", str(text), "-m", model],
        }
        for programs in range((os.cpu_count() or 1) + 1):
            for name, command in commands.items():
                waiting = ["env", "OPENBLAS_THREAD_TIMEOUT=26", *LSTMGEN, *command]
                with beside(programs):
                    soon, late = median(3, [*LSTMGEN, *command], waiting)
                told = f"beside {programs}, {name}"
                print(f"busy     {told:36} {soon:6.2f} s, or {late:.2f} s", flush=True)


def busy_train() -> None:
    """The same of training, with as many threads as it finds are the quickest, and with one a core."""
    cores = os.cpu_count() or 1
    for programs in range(cores + 1):
        print(f"busy     beside {programs}:", flush=True)
        with beside(programs):
            train(1, corpus(), seeds=(0,))
            try:
                train(1, corpus(), "--threads", str(cores), seeds=(0,))
            except subprocess.CalledProcessError as refused:
                why = refused.stderr.decode().splitlines()[-1]
                if "leaves no time to train" not in why:
                    raise
                print(f"train    --threads {cores}: {why}", flush=True)


OF_PRODUCTS = ("OPENBLAS_", "OMP_", "MKL_", "DNNL_", "ONEDNN_")

BENCHMARKS: dict[str, Callable[[], object]] = {
    "start": start,
    "busy": busy,
    "busy_train": busy_train,
    "encode": encode,
    "sample": sample,
    "score": score,
    "step": step,
    "train1": lambda: train(1, corpus()),
    "train3": lambda: train(3, corpus()),
    "train10": lambda: train(10, corpus()),
    "words": words,
    "words60": lambda: words(60),
    "others": others,
    "library": library,
    "plan": plan,
    "plan3": lambda: plan(3),
    "plan10": lambda: plan(10),
    "optimizers": optimizers,
    "fine_tuning": fine_tuning,
    "many_types": many_types,
}


def processor() -> str:
    """What the system calls it, with its family and model where the name leaves that open."""
    about = Path("/proc/cpuinfo")
    if not about.exists():
        return platform.processor() or platform.machine()
    lines = (line.split(":", 1) for line in about.read_text().splitlines() if ":" in line)
    known = {name.strip(): value.strip() for name, value in reversed(list(lines))}
    name = known.get("model name", platform.machine())
    if not {"cpu family", "model"} <= known.keys():
        return name
    return f"{name} of family {known['cpu family']}, model {known['model']}"


def main() -> None:
    names = sys.argv[1:] or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        sys.exit(f"no benchmark is called {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    # What changes how quick products are, without a word, if the environment holds it.
    given = [f"{n}={v}" for n, v in sorted(os.environ.items()) if n.startswith(OF_PRODUCTS)]
    with_what = [f"Python {platform.python_version()}"]
    with_what += [f"{name} {version(name)}" for name in ("torch", "numpy")]
    told = [processor(), f"{os.cpu_count()} cores", *with_what, *given]
    print("on      ", ", ".join(told), flush=True)
    os.environ.setdefault(*WAITING)  # as the command does
    # As users have it: not every start compiles the package anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for name in names:
        BENCHMARKS[name]()


if __name__ == "__main__":
    main()
