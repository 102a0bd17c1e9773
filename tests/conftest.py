"""What the tests share: how hard they try, a small model, random weights, the cells spelled out once more."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from math import exp, tanh
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import SMALL, TEXT, Ran, run
from hypothesis import settings
from numpy.typing import NDArray

from lstmgen import matrix
from lstmgen.cli import main
from lstmgen.config import NUM_GATES, ModelConfig
from lstmgen.vocabulary import UNKNOWN, Vocabulary

settings.register_profile(
    "lstmgen", deadline=None, derandomize=True, database=None, max_examples=50
)
settings.load_profile("lstmgen")


def pytest_configure() -> None:
    # Before torch is imported: networks as small as the tests' are up to a thousand times slower on
    # two threads than on one where other work wants the same cores, and no faster where none does.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # As users have it, whose streams are buffered: what is held back is part of what may go wrong.
    os.environ.pop("PYTHONUNBUFFERED", None)
    # A shell that runs the tests in the background has them ignore Ctrl-C, and what they start too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


Weights = dict[str, NDArray[np.float32]]
TORTURE = float(os.environ.get("LSTMGEN_TORTURE", 0))  # 1 in `make torture`
ROWS = pytest.StashKey[list[tuple[str, int]]]()


@pytest.fixture
def pairing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single column is multiplied by pairs of rows, however small a matrix is, and on one core too."""
    monkeypatch.setattr(matrix, "PAIRED", 1)
    monkeypatch.setattr(matrix, "num_threads", lambda: 2)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "trips.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="session")
def model(corpus: Path) -> Path:
    folder = corpus.parent / "model"
    done = run("train", corpus, "--model", folder, "--steps", "150", "--learning-rate", "0.02",
               "--dropout", "0", *SMALL)  # fmt: skip
    assert done.code == 0, done.err
    assert done.out == ""
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Any:
    """The command inside this process, which has torch already."""

    def call(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["lstmgen", *map(str, arguments)])
        capfdbinary.readouterr()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        with pytest.raises(SystemExit) as left:
            main()
        for number, handler in before.items():
            signal.signal(number, handler)
        out, err = capfdbinary.readouterr()
        return Ran(int(left.value.code or 0), out, err)

    return call


@pytest.fixture(scope="session")
def random_weights() -> Callable[..., Weights]:
    """A function from a configuration (and seed, scale) to weights of which none is zero."""

    def make(config: ModelConfig, seed: int = 0, scale: float = 0.4) -> Weights:
        generator = np.random.default_rng(seed)
        return {
            name: (generator.standard_normal(shape) * scale).astype(np.float32)
            for name, shape in config.weight_shapes().items()
        }

    return make


@pytest.fixture(scope="session")
def letters() -> Vocabulary:
    """By character: `<unk>`, the line end, the blank, a to z."""
    tokens = (UNKNOWN["char"], "\n", " ", *map(chr, range(ord("a"), ord("z") + 1)))
    return Vocabulary("char", "prose", tokens)


@pytest.fixture(scope="session")
def spelled_out() -> Callable[[ModelConfig, Weights, Sequence[int]], list[list[float]]]:
    """A function from ids to the logits after each of them, one number at a time in Python floats.

    Written from the equations in the documentation of `torch.nn`, with nothing of `lstmgen.cells`.
    """

    def sigmoid(x: float) -> float:
        return 1 / (1 + exp(-x))

    def product(matrix: list[list[float]], x: list[float], bias: list[float]) -> list[float]:
        return [
            sum(a * b for a, b in zip(row, x, strict=True)) + b0
            for row, b0 in zip(matrix, bias, strict=True)
        ]

    def run(config: ModelConfig, weights: Weights, ids: Sequence[int]) -> list[list[float]]:
        w = {name: array.astype(np.float64).tolist() for name, array in weights.items()}
        size = config.hidden_size
        hidden = [[0.0] * size for _ in range(config.num_layers)]
        cell = [[0.0] * size for _ in range(config.num_layers)]
        logits = []
        for i in ids:
            x = w["embedding.weight"][i]
            for k in range(config.num_layers):
                of_x = product(w[f"layers.{k}.weight_ih"], x, w[f"layers.{k}.bias_ih"])
                of_h = product(w[f"layers.{k}.weight_hh"], hidden[k], w[f"layers.{k}.bias_hh"])
                assert len(of_x) == NUM_GATES[config.cell] * size
                new = []
                for u in range(size):
                    a, b = of_x[u::size], of_h[u::size]  # what each gate of unit u is told
                    if config.cell == "lstm":
                        i_t, f_t = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
                        g_t, o_t = tanh(a[2] + b[2]), sigmoid(a[3] + b[3])
                        cell[k][u] = f_t * cell[k][u] + i_t * g_t
                        new.append(o_t * tanh(cell[k][u]))
                    elif config.cell == "gru":
                        r_t, z_t = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
                        n_t = tanh(a[2] + r_t * b[2])
                        new.append((1 - z_t) * n_t + z_t * hidden[k][u])
                    else:
                        new.append(tanh(a[0] + b[0]))
                hidden[k] = x = new
            shown = [sum(h) for h in zip(*hidden, strict=True)] if config.skip else hidden[-1]
            last = w["embedding.weight" if config.tie else "output.weight"]
            logits.append(product(last, shown, w["output.bias"]))
        return logits

    return run


@pytest.fixture
def times() -> Callable[[int, int], int]:
    """A function from how often in `make test`, and how often in `make torture`, to how often now."""
    return lambda quick, long: max(quick, round(long * TORTURE))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Callable[[str, int], None]:
    """A function for the end of a test, to note how many cases of a kind were tried and passed."""
    rows = request.config.stash.setdefault(ROWS, [])
    return lambda what, cases: rows.append((what, cases))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if not TORTURE:
        return
    terminalreporter.write_line("| tried | cases |")
    terminalreporter.write_line("|---|---|")
    for what, cases in config.stash.get(ROWS, []):
        terminalreporter.write_line(f"| {what} | {cases:,} |")
