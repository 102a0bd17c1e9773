"""How quick sampling is, beside what bounds it, and what it takes of memory."""

import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from .measuring import LSTMGEN, distinct_words, median, peak_memory, seconds, untrained


def sample() -> None:
    """Sampling speed: whole commands, and the loop beside what bounds it and beside torch."""
    whole_commands()
    for about in ((256,), (512,), (1024,), (256, 33_278)):
        # In a process of its own, as what one leaves of its memory makes torch quicker in the next.
        process = get_context("spawn").Process(target=loops, args=about)
        process.start()
        process.join()
        assert process.exitcode == 0
    for size, vocab_size in ((128, 65), (256, 65), (256, 33_278)):
        choices(size, vocab_size)
    memory()


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
    from torch.nn import functional

    from lstmgen import device
    from lstmgen.cells import Cells
    from lstmgen.config import DecodingConfig, ModelConfig
    from lstmgen.initialization import initialize
    from lstmgen.model import Network
    from lstmgen.sampling import Batch

    tied = vocab_size > 1024
    config = ModelConfig(
        vocab_size=vocab_size, hidden_size=size, tie=tied, embedding_size=size if tied else 64
    )
    network = Network(config)
    initialize(network, 0)
    weights = network.weights()
    network.eval()
    cells, decoding = Cells(config, weights), DecodingConfig()
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
    states: list[Any] = [None] * config.num_layers
    ids = torch.ones((1, 1), dtype=torch.int64)

    def plain() -> None:
        """Torch's own modules and nothing else of ours: (T, B) = (1, 1) ids in, the next ones out."""
        nonlocal ids
        with torch.inference_mode():
            x, outputs = functional.embedding(ids, network.embedding.weight), []
            for k, layer in enumerate(network.layers):
                x, states[k] = layer(x, states[k])
                outputs.append(x)
            logits = network.output(sum(outputs))[-1]
            ids = torch.multinomial(torch.softmax(logits / decoding.temperature, -1), 1)

    # torch comes last: its threads hold the cores for a while after each of its calls. And once more where
    # the process keeps freed memory: at each call torch takes some for its weights in another order.
    turns: list[dict[str, Callable[[], object]]] = [
        {"one": ours(1), "floor": lambda: whole @ vector},
        {"64": ours(64), "products": products},
        {"torch": plain},
        {"torch, memory kept": plain},
    ]
    times: dict[str, float] = {}
    for work in turns:
        if "torch, memory kept" in work:
            device.keep_memory()
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
    one, floor, many, bare, loop, kept = times.values()
    print(
        f"sample   2x{size}, {vocab_size:,} symbols: one text {1 / one:,.0f} tokens/s, its weights read in "
        f"{floor / one:.0%} of that time, {loop / one:.1f} times nn.LSTM's speed ({kept / one:.1f} where it "
        f"keeps memory); 64 texts {64 / many:,.0f} tokens/s, {bare / many:.0%} of the time in products",
        flush=True,
    )


def choices(size: int, vocab_size: int) -> None:
    """What it takes to choose a token, beside the network's step before it."""
    import numpy as np

    from lstmgen.cells import Cells
    from lstmgen.config import DecodingConfig, ModelConfig
    from lstmgen.drawing import draw, relative_probabilities
    from lstmgen.initialization import initialize
    from lstmgen.model import Network
    from lstmgen.reading import last_logits

    config = ModelConfig(vocab_size=vocab_size, hidden_size=size, embedding_size=size)
    network = Network(config)
    initialize(network, 0)
    cells, ids = Cells(config, network.weights()), np.ones((1, 1), np.int64)
    state, uniforms = cells.initial_state(1), np.random.default_rng(0).random(1)
    logits = np.random.default_rng(0).normal(0, 3, (1, vocab_size)).astype(np.float32)
    seen = np.arange(vocab_size)[None] % 9 == 0

    def step() -> None:
        nonlocal state
        hidden, state = cells.read(ids, state)
        last_logits(cells, hidden)

    def choosing(**how: Any) -> Callable[[], object]:
        decoding = DecodingConfig(**how)
        return lambda: draw(relative_probabilities(logits, decoding, seen), uniforms)

    some = {"top_k": 40, "top_p": 0.9}
    work: dict[str, Callable[[], object]] = {
        "the step": step,
        "choosing with nothing given": choosing(),
        "--top-k 40": choosing(top_k=40),
        "--top-p 0.9": choosing(top_p=0.9),
        "both": choosing(**some),
        "these, --min-p and a penalty": choosing(**some, min_p=0.02, repetition_penalty=1.1),
    }
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(16):
        for name, call in work.items():
            repeats = 300 if vocab_size < 1000 else 20
            began = time.perf_counter()
            for _ in range(repeats):
                call()
            taken[name].append((time.perf_counter() - began) / repeats)
    told = ", ".join(f"{name} {statistics.median(t[1:]) * 1e6:,.0f}" for name, t in taken.items())
    print(f"sample   2x{size}, {vocab_size:,} symbols, one text, microseconds: {told}", flush=True)


def memory() -> None:
    """The most that `sample` takes, beside the size of its weights."""
    for size, num_words, options in (
        (256, 0, ["-l", "200"]),
        (1024, 0, ["-l", "200"]),
        (256, 0, ["-l", "200", "-n", "1000"]),
        (256, 33_276, ["-l", "20"]),
        (256, 33_276, ["-l", "20", "-n", "1000"]),
    ):
        with tempfile.TemporaryDirectory() as folder:
            model = untrained(folder, size)
            if num_words:
                level = ("--level", "word", "--min-count", "1", "--overwrite")
                model = untrained(folder, size, distinct_words(folder, num_words), *level)
            weights = (Path(model) / "model.safetensors").stat().st_size / 1e6
            taken = peak_memory([*LSTMGEN, "sample", "-m", model, *options])
            kind = f"{num_words + 2:,} symbols, " if num_words else ""
            print(
                f"sample   2x{size}, {kind}{' '.join(options)}: peak memory {taken:.0f} MB; its model's file "
                f"has {weights:.0f} MB",
                flush=True,
            )
