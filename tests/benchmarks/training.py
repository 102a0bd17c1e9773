"""What `lstmgen train` reaches in a given time, and how quick its steps are."""

import json
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, Literal, NamedTuple

from .measuring import (
    LSTMGEN,
    SHAKESPEARE,
    TEXTS,
    corpus,
    distinct_words,
    missing,
    peak_memory,
    seconds,
)

SEEDS = (0, 1, 2)
LONG = 10  # minutes, of which a run beside all neighbours would take too many
# The command with all weights left to AdamW.
BY_ADAMW = [sys.executable, "-c", "from lstmgen import optim; optim.is_layer_matrix = lambda name: False; "
            "from lstmgen.__main__ import main; main()"]  # fmt: skip


def step() -> None:
    """Forward and backward as a share of what a matrix product of 1024 x 1024 reaches, in turn.

    The time is of all, the operations those of the layers' products alone: not of the output layer's.
    """
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


class Trained(NamedTuple):
    """What a run came to, in bits a character, and the settings that it had, as flags."""

    bits: float
    settings: dict[str, Any]


def train(
    minutes: float,
    text: Path,
    *options: str,
    seeds: Sequence[int] = SEEDS,
    by: Sequence[str] = LSTMGEN,
    told: str = "",
) -> list[Trained]:
    """The loss that `lstmgen train` reaches in a given time, all settings its own but those named."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "m"
        command = [*by, "train", str(text), "--minutes", str(minutes), "-m", str(model)]
        for seed in seeds:
            taken = seconds([*command, *options, "--overwrite", "--seed", str(seed)])
            log = [json.loads(line) for line in (model / "log.jsonl").read_text().splitlines()]
            reports = [r for r in log if "nats" in r]
            best, last = min(reports, key=lambda r: r["nats_per_token"]), reports[-1]
            ended = "" if best is last else f" ({last['nats_per_token']:.4f} at the last report)"
            print(
                f"train    {told or ' '.join([text.name, *options])}, {minutes:g} minutes, seed {seed}: "
                f"{best['nats_per_token']:.4f} nats a token{ended}, {best['bits_per_character']:.4f} bits a "
                f"character; {log[-1]['step']:,} steps, {taken:.0f} s",
                flush=True,
            )
            runs.append(Trained(best["bits_per_character"], settings(model)))
    return runs


def settings(model: Path) -> dict[str, Any]:
    """What the plan may choose for a text by character, as a run has it."""
    from lstmgen.checkpoint import load_run

    run = load_run(model)
    return {
        "--num-layers": run.model.config.num_layers,
        "--hidden-size": run.model.config.hidden_size,
        "--batch-size": run.training.batch_size,
        "--learning-rate": run.training.learning_rate,
        "--dropout": run.training.dropout,
        "--weight-drop": run.training.weight_drop,
        "--weight-decay": run.training.weight_decay,
    }


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
        last = json.loads((Path(folder) / "log.jsonl").read_text().splitlines()[-1])
        layers, size = map(settings(Path(folder)).get, ("--num-layers", "--hidden-size"))
    print(
        f"words    WikiText-2, {minutes:g} minutes ({taken:.0f} s), {layers} x {size}, "
        f"{last['step']:,} steps: perplexity {perplexity:.3f} on test",
        flush=True,
    )


def others() -> None:
    """The plan on texts of other kinds, beside other widths."""
    for text in ("names.txt", "war-and-peace.txt", "lua-source.txt", "evgeny-onegin.txt",
                 "tang-poems.txt"):  # fmt: skip
        if missing(TEXTS / text):
            continue
        for minutes in (1, 3):
            train(minutes, TEXTS / text, seeds=(0,))
            for size in (128, 256, 384, 512):
                train(minutes, TEXTS / text, "--hidden-size", str(size), seeds=(0,))


def plan(minutes: float = 1) -> None:
    """The plan beside settings that differ from it in one thing: how far it is from the best of them.

    On three texts that its first rules were fitted on, and on Python's help and headers of torch (C++), by
    which some rates were chosen later. In ten minutes on the first three alone.
    """
    with tempfile.TemporaryDirectory() as folder:
        help_text, headers = Path(folder) / "python-help.txt", Path(folder) / "torch-headers.txt"
        help_text.write_text("\n".join(topics.values()))
        included = sorted(
            (Path(sysconfig.get_path("purelib")) / "torch" / "include" / "c10").rglob("*.h")
        )
        headers.write_bytes(b"".join(header.read_bytes() for header in included))
        fitted = (SHAKESPEARE, TEXTS / "names.txt", TEXTS / "war-and-peace.txt")
        for text in fitted if minutes >= LONG else (*fitted, help_text, headers):
            if not missing(text):
                beside_neighbours(minutes, text)


def beside_neighbours(minutes: float, text: Path) -> None:
    """The plan on one text, then each of its neighbours, seed 0; and with seed 1 it and the best of them.

    The number of streams changes together with the rate that is planned for it. With ten minutes a run, only
    those neighbours that so much time might ask for.
    """
    own, again = train(minutes, text, seeds=(0, 1))
    chosen = own.settings
    layers, size, rate = (chosen[k] for k in ("--num-layers", "--hidden-size", "--learning-rate"))
    neighbours: list[dict[str, Any]] = [
        {"--hidden-size": size + 64},
        {"--batch-size": 32 if chosen["--batch-size"] > 32 else 64, "--learning-rate": None},
        {"--learning-rate": round(rate * 1.4, 3)},
        {"--dropout": round(chosen["--dropout"] + 0.05, 2)},
    ]
    if minutes < LONG:
        neighbours += [
            {"--num-layers": 2 if layers == 1 else 1},
            {"--hidden-size": size - 64},
            {"--learning-rate": round(rate / 1.4, 3)},
        ]

    def changed(neighbour: dict[str, Any], seed: int) -> float:
        given = {k: value for k, value in (chosen | neighbour).items() if value is not None}
        options = [str(word) for pair in given.items() for word in pair]
        told = f"{text.name} {shown(neighbour)}"
        return train(minutes, text, *options, seeds=(seed,), told=told)[0].bits

    bits = [changed(neighbour, 0) for neighbour in neighbours]
    least = min(bits)
    best = neighbours[bits.index(least)]
    # The least of many is so by chance too; with another seed it is not.
    least_again = changed(best, 1)
    if again.settings != chosen:
        print(f"plan     {text.name}, seed 1, was planned otherwise: {shown(again.settings)}")
    print(
        f"plan     {text.name}, {minutes:g} minutes: {shown(chosen)}: {own.bits:.4f} bits a character, the "
        f"best of {len(bits)} neighbours ({shown(best)}) {least:.4f}: {own.bits / least - 1:+.1%}; seed 1 "
        f"{again.bits:.4f}, {least_again:.4f}: {again.bits / least_again - 1:+.1%}",
        flush=True,
    )


def shown(options: dict[str, Any]) -> str:
    return " ".join(f"{option} {value:g}" for option, value in options.items() if value is not None)


def library() -> None:
    """The plan on a text that everyone has: the modules of Python's own library, one after the other."""
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "library.txt"
        text.write_bytes(b"".join(module.read_bytes() for module in modules))
        print(f"library  {len(modules)} modules, {text.stat().st_size:,} bytes", flush=True)
        for minutes in (1, 3, 10):
            train(minutes, text, seeds=(0,))


def optimizers() -> None:
    """The optimizer beside AdamW alone, at several of its learning rates, all else as it is planned."""
    for text in (SHAKESPEARE, TEXTS / "war-and-peace.txt", TEXTS / "names.txt"):
        if missing(text):
            continue
        seeds = SEEDS if text == SHAKESPEARE else (0,)
        train(1, text, seeds=seeds)
        for rate in ("0.008", "0.016", "0.032", "0.064"):
            options = ("--learning-rate", rate, "--adamw-share", "1")
            told = f"{text.name} by AdamW at {rate}"
            train(1, text, *options, seeds=seeds, by=BY_ADAMW, told=told)


def fine_tuning() -> None:
    """A small text learned in a minute from scratch, and from a model of another text of its kind."""
    whole = corpus().read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        large, small, model = (Path(folder) / name for name in ("large.txt", "small.txt", "large"))
        large.write_text(whole[:-60_000])
        small.write_text(whole[-60_000:])
        seconds([*LSTMGEN, "train", str(large), "--minutes", "1", "--seed", "0", "-m", str(model)])
        told = f"the last 60,000 characters of {corpus().name}"
        train(1, small, told=told)
        train(1, small, "--init-from", str(model), told=f"{told} after a minute of the others")


def many_types() -> None:
    """The memory that a network of the plan's own size takes to learn a quarter of a million words."""
    with tempfile.TemporaryDirectory() as folder:
        text = distinct_words(folder, 250_000)
        level = ["--level", "word", "--min-count", "1", "--valid-fraction", "0.01"]
        command = [*LSTMGEN, "train", str(text), *level, "--minutes", "1", "-m", f"{folder}/m"]
        taken = peak_memory(command)
        print(f"train    250,000 words, a minute: peak memory {taken:,.0f} MB", flush=True)
