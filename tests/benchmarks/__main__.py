"""`python -m tests.benchmarks [NAME...]`: measures, and prints a line a figure with its conditions.

Timings are medians over runs taken in turn. Texts of the field are looked for in the folder that the
variable LSTMGEN_TEXTS names; without them `data/lives.txt` stands in, and the lines say so.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

HERE = Path(__file__).resolve()
DATA = HERE.parents[2] / "data"
TEXTS = Path(os.environ.get("LSTMGEN_TEXTS", DATA))
SHAKESPEARE = TEXTS / "tinyshakespeare.txt"
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


def untrained(folder: str, size: int = 256) -> str:
    """A model of two layers in a folder, for what does not depend on how good it is."""
    model, text = f"{folder}/m", str(DATA / "lives.txt")
    options = ["--steps", "2", "--hidden-size", str(size)]
    subprocess.run([*LSTMGEN, "train", text, *options, "-q", "--model", model], check=True)
    return model


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


def sample() -> None:
    """Sampling speed: whole commands, and the loop beside what bounds it and beside torch."""
    whole_commands()
    for size in (256, 512, 1024):
        loops(size)
    loops(256, vocab_size=33_278)
    peak_memory()


def whole_commands() -> None:
    """Characters a second, start-up taken off by a shorter run of the same command."""
    with tempfile.TemporaryDirectory() as folder:
        model = untrained(folder)
        sample = [*LSTMGEN, "sample", "-m", model, "--seed", "1"]
        for name, options, count in (("one text", [], 1), ("64 texts", ["-n", "64"], 64)):
            short, long = median(
                5, [*sample, *options, "-l", "1"], [*sample, *options, "-l", "2001"]
            )
            rate = 2000 * count / (long - short)
            print(f"sample   2x256, {name}, whole commands: {rate:,.0f} characters/s", flush=True)
        names = ["-n", "10000", "--stop", ".", "--no-echo"]
        print(f"sample   2x256, 10,000 texts, to the first full stop: "
              f"{seconds([*sample, *names, '-l', '8']):.1f} s", flush=True)  # fmt: skip


def loops(size: int, vocab_size: int = 65) -> None:
    """A sampled token's time beside that of reading the weights once, and of torch's `nn.LSTM`."""
    import numpy as np
    import torch

    from lstmgen.cells import Cells
    from lstmgen.config import DecodingConfig, ModelConfig
    from lstmgen.initialization import initialize
    from lstmgen.model import Network, TorchEngine
    from lstmgen.sampling import Batch

    tied = vocab_size > 1024
    config = ModelConfig(
        vocab_size=vocab_size, hidden_size=size, tie=tied, embedding_size=size if tied else 64
    )
    network = Network(config)
    initialize(network, 0)
    weights = network.weights()
    cells, engine, decoding = Cells(config, weights), TorchEngine(network), DecodingConfig()
    read = [part for layer in cells.layers for part in layer.weight.parts] + [cells.output]
    whole = np.random.default_rng(0).random((sum(w.size for w in read) // size, size), np.float32)
    vector = np.ones(size, np.float32)

    def ours(num_texts: int) -> Callable[[], object]:
        batch = Batch(cells, decoding)
        batch.add([np.array([1])] * num_texts, range(num_texts))
        return batch.advance

    def products() -> None:
        for weight in read:
            weight @ inputs[weight.shape[1]]

    inputs = {w.shape[1]: np.ones((w.shape[1], 64), np.float32) for w in read}
    state, ids = engine.initial_state(1), np.ones((1, 1), np.int64)

    def plain() -> None:
        nonlocal state, ids
        with torch.inference_mode():
            hidden, state = engine.read(ids, state)
            shares = torch.softmax(engine.logits(hidden[:, -1]) / decoding.temperature, -1)
            ids = torch.multinomial(shares, 1).numpy()

    # torch comes last: its threads hold the cores for a while after each of its calls.
    turns: list[dict[str, Callable[[], object]]] = [
        {"one": ours(1), "floor": lambda: whole @ vector},
        {"64": ours(64), "products": products},
        {"torch": plain},
    ]
    times: dict[str, float] = {}
    for work in turns:
        taken: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(9):
            for name, call in work.items():
                rows = 64 if name in ("64", "products") else 1
                repeats = min(1000, max(5, int(3e8 / (config.num_parameters * rows))))
                began = time.perf_counter()
                for _ in range(repeats):
                    call()
                taken[name].append((time.perf_counter() - began) / repeats)
        times |= {name: statistics.median(runs[1:]) for name, runs in taken.items()}
    one, floor, many, bare, loop = times.values()
    print(
        f"sample   2x{size}, {vocab_size:,} symbols: one text {1 / one:,.0f} tokens/s, its weights read in "
        f"{floor / one:.0%} of that time, {loop / one:.1f} times nn.LSTM's speed; 64 texts "
        f"{64 / many:,.0f} tokens/s, {bare / many:.0%} of the time in matrix products",
        flush=True,
    )


def peak_memory() -> None:
    """Of `sample`, beside the size of its weights."""
    for size in (256, 1024):
        with tempfile.TemporaryDirectory() as folder:
            model = untrained(folder, size)
            weights = (Path(model) / "model.safetensors").stat().st_size / 1e6
            run = [*LSTMGEN, "sample", "-m", model, "-l", "200"]
            script = (
                "import resource, subprocess, sys; subprocess.run(sys.argv[1:], capture_output=True);"
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
            )
            done = subprocess.run(
                [sys.executable, "-c", script, *run], capture_output=True, check=True
            )
            print(
                f"sample   2x{size}, peak memory {int(done.stdout) * 1024 / 1e6:.0f} MB; "
                f"its weights are {weights:.0f} MB",
                flush=True,
            )


def step() -> None:
    """Forward and backward as a share of what a matrix product of 1024 x 1024 reaches, in turn."""
    import torch

    from lstmgen import device, optim
    from lstmgen.config import ModelConfig, TrainConfig
    from lstmgen.initialization import initialize
    from lstmgen.model import Network
    from lstmgen.scoring import cross_entropy

    device.keep_memory()
    ids = torch.randint(65, (64, 64))
    precision: Literal["bfloat16", "float32"]
    for precision in ("bfloat16", "float32"):
        if precision == "bfloat16" and not device.can_bfloat16(torch.device("cpu")):
            print("step     bfloat16: this processor cannot train in it", flush=True)
            continue
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        square = torch.randn(1024, 1024, dtype=dtype)
        for size in (128, 256, 512, 1024):
            network = Network(ModelConfig(vocab_size=65, hidden_size=size))
            initialize(network, 0)
            config = TrainConfig(num_steps=1, report_every=1, precision=precision)
            optimizer, state = optim.Optimizer(network, config), network.initial_state(64)
            times: dict[str, list[float]] = {"product": [], "backward": [], "optimizer": []}
            for _ in range(7 if size < 1024 else 4):
                began = time.perf_counter()
                for _ in range(10):
                    square @ square
                times["product"].append((time.perf_counter() - began) / 10)
                began = time.perf_counter()
                with device.autocast(torch.device("cpu"), precision):
                    hidden, _ = network.read(ids, state)
                    logits = network.output(hidden.transpose(0, 1))  # as `Loss` does
                    loss = cross_entropy(logits, ids.t()).mean()
                loss.backward()
                times["backward"].append(time.perf_counter() - began)
                began = time.perf_counter()
                optimizer.step(0.01)
                times["optimizer"].append(time.perf_counter() - began)
            product, backward, moved = (statistics.median(taken[1:]) for taken in times.values())
            weights = sum(w.numel() for n, w in network.named_weights().items() if "weight_" in n)
            rate, most = 6 * ids.numel() * weights / backward / 1e9, 2 * 1024**3 / product / 1e9
            print(
                f"step     2x{size}, 64 x 64, {precision}: forward and backward {backward * 1e3:.0f} ms, "
                f"{rate:.0f} of {most:.0f} GFLOP/s ({rate / most:.0%}); optimizer "
                f"{moved * 1e3:.1f} ms ({moved / (moved + backward):.0%} of a step)",
                flush=True,
            )


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


def train(minutes: float, text: Path, *options: str, seeds: int = 3) -> None:
    """The loss that `lstmgen train` reaches in a given time, all settings its own but those named."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "m"
        command = [*LSTMGEN, "train", str(text), "--minutes", str(minutes), "-m", str(model)]
        for seed in range(seeds):
            taken = seconds([*command, *options, "--overwrite", "--seed", str(seed)])
            log = [json.loads(line) for line in (model / "log.jsonl").read_text().splitlines()]
            best = min((r for r in log if "nats" in r), key=lambda r: r["nats_per_token"])
            print(
                f"train    {' '.join([text.name, *options])}, {minutes:g} minutes, seed {seed}: "
                f"{best['nats_per_token']:.4f} nats a token, {best['bits_per_character']:.4f} bits a "
                f"character; {log[-1]['step']:,} steps, {taken:.0f} s",
                flush=True,
            )


def missing(*paths: Path) -> bool:
    """Whether one of the texts is not there, which is said."""
    absent = [path for path in paths if not path.exists()]
    for path in absent:
        print(f"left out, as there is no {path}")
    return bool(absent)


def words(minutes: float = 10) -> None:
    """Test perplexity on WikiText-2 as it is tokenised, after ten minutes of training."""
    wikitext = TEXTS / "wikitext-2"
    if missing(*(wikitext / f"{part}.txt" for part in ("train", "valid", "test"))):
        return
    with tempfile.TemporaryDirectory() as folder:
        level = ["--level", "word", "--words", "space", "--min-count", "1"]
        valid, model = ["--valid-file", str(wikitext / "valid.txt")], ["-m", folder]
        command = [*LSTMGEN, "train", str(wikitext / "train.txt"), *valid, *level, *model]
        taken = seconds([*command, "--minutes", str(minutes)])
        scored = subprocess.run(
            [*LSTMGEN, "eval", str(wikitext / "test.txt"), *model, "--json"],
            check=True, capture_output=True,
        )  # fmt: skip
        perplexity = json.loads(scored.stdout)["perplexity"]
    print(f"words    WikiText-2, {minutes:g} minutes ({taken:.0f} s): {perplexity:.2f} on test")


def others() -> None:
    """The plan on texts of other kinds, with neighbours of the size that it takes."""
    for text in ("names.txt", "war-and-peace.txt", "lua-source.txt", "evgeny-onegin.txt",
                 "tang-poems.txt"):  # fmt: skip
        if missing(TEXTS / text):
            continue
        for minutes in (1, 3):
            train(minutes, TEXTS / text, seeds=1)
            for size in (128, 256, 384, 512):
                train(minutes, TEXTS / text, "--hidden-size", str(size), seeds=1)


def library() -> None:
    """The plan on a text that everyone has: the modules of Python's own library, one after the other."""
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "library.txt"
        text.write_bytes(b"".join(module.read_bytes() for module in modules))
        print(f"library  {len(modules)} modules, {text.stat().st_size:,} bytes", flush=True)
        for minutes in (1, 3, 10):
            train(minutes, text, seeds=1)


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
        for others in range((os.cpu_count() or 1) + 1):
            for name, command in commands.items():
                waiting = ["env", "OPENBLAS_THREAD_TIMEOUT=26", *LSTMGEN, *command]
                with beside(others):
                    soon, late = median(3, [*LSTMGEN, *command], waiting)
                told = f"beside {others}, {name}"
                print(f"busy     {told:36} {soon:6.2f} s, or {late:.2f} s", flush=True)


def busy_train() -> None:
    """The same of training, with as many threads as it finds are the quickest, and with one a core."""
    cores = os.cpu_count() or 1
    for others in range(cores + 1):
        print(f"busy     beside {others}:", flush=True)
        with beside(others):
            train(1, corpus(), seeds=1)
            try:
                train(1, corpus(), "--threads", str(cores), seeds=1)
            except subprocess.CalledProcessError as refused:  # if validation is so slow, for one
                why = refused.stderr.decode().splitlines()[-1]
                print(f"train    --threads {cores}: {why}", flush=True)


BENCHMARKS: dict[str, Callable[[], None]] = {
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
    "others": others,
    "library": library,
}


def main() -> None:
    names = sys.argv[1:] or list(BENCHMARKS)
    print(
        f"on       {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    for name in names:
        BENCHMARKS[name]()


if __name__ == "__main__":
    main()
