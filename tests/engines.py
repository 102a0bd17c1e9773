"""Networks that tests make up, the cells spelled out once more, and what a text costs by an engine."""

from collections.abc import Sequence
from math import exp, tanh
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmgen.config import NUM_BLOCKS, CellName, ModelConfig
from lstmgen.reading import Engine
from lstmgen.scoring import Score, score_text
from lstmgen.vocabulary import Vocabulary

Weights = dict[str, NDArray[np.float32]]


class Stateless:
    """It remembers nothing, and what it reads becomes its logits at once."""

    vocab_size: int

    def initial_state(self, batch_size: int) -> Any:
        return ()

    def logits(self, hidden: Any, symbols: slice = slice(None)) -> Any:
        return hidden[..., symbols].copy()

    def select(self, state: Any, streams: slice | Sequence[int]) -> Any:
        assert state == ()
        return state

    def concatenate(self, states: Sequence[Any]) -> Any:
        assert not any(states)
        return states[0]


def score_of(engine: Engine, vocabulary: Vocabulary, text: str) -> Score:
    """The score of a text by itself, read as if a line end stood before it."""
    return score_text(engine, vocabulary, vocabulary.encode(text), len(text))


def sized(
    cell: CellName, num_layers: int = 2, tie: bool = False, skip: bool = False
) -> ModelConfig:
    return ModelConfig(
        vocab_size=9, cell=cell, num_layers=num_layers, hidden_size=6, embedding_size=6 if tie else 5,
        tie=tie, skip=skip,
    )  # fmt: skip


def random_weights(config: ModelConfig, seed: int = 0, scale: float = 0.4) -> Weights:
    """Weights of which none is zero."""
    generator = np.random.default_rng(seed)
    return {
        name: (generator.standard_normal(shape) * scale).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }


def spelled_out(config: ModelConfig, weights: Weights, ids: Sequence[int]) -> list[list[float]]:
    """The logits after each of some ids, one number at a time in Python floats.

    Written from the equations in the documentation of `torch.nn`, with nothing of `lstmgen.cells`.
    """

    def sigmoid(x: float) -> float:
        return 1 / (1 + exp(-x))

    def product(matrix: list[list[float]], x: list[float], bias: list[float]) -> list[float]:
        return [
            sum(a * b for a, b in zip(row, x, strict=True)) + b0
            for row, b0 in zip(matrix, bias, strict=True)
        ]

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
            assert len(of_x) == NUM_BLOCKS[config.cell] * size
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
