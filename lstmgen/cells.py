"""The RNN, GRU and LSTM equations, longhand in NumPy: ids and a state -> logits and the next state.

Read this file beside *Understanding LSTM Networks* (C. Olah, 2015): one line an equation, in the order
in which the notes tell them. It is also the engine that samples on the CPU, and the independent
truth that the torch model is tested against.

Shapes: B streams, T steps, V vocabulary, E embedding, H hidden; X is the width of a layer's input:
E for the first layer, H above it. Weights have `torch.nn`'s names and layout.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstmgen.config import CellName, ModelConfig

Array = NDArray[np.floating[Any]]
LayerState = tuple[Array, ...]  # (h, C) for the LSTM, (h,) for the others; each (B, H)
State = tuple[LayerState, ...]  # one a layer


class Layer(NamedTuple):
    """The weights of one recurrent layer, the matrices transposed so that rows multiply from the left."""

    weight_ih: Array  # (X, gates H)
    weight_hh: Array  # (H, gates H)
    bias_ih: Array  # (gates H,)
    bias_hh: Array  # (gates H,)


def sigmoid(x: Array) -> Array:
    # Equal to 1 / (1 + exp(-x)), but nothing overflows for a large negative x.
    half = x.dtype.type(0.5)
    return half * np.tanh(half * x) + half


def lstm(x: Array, state: LayerState, weights: Layer) -> LayerState:
    """One step of the long short-term memory (Hochreiter & Schmidhuber, 1997; Gers et al., 2000).

    x (B, X), state (h, C), each (B, H) -> the next (h, C). The cell state C is the conveyor belt:
    only a product and a sum touch it on its way through time.
    """
    h, C = state  # noqa: N806  # the notes' own symbols
    # Every gate looks at the input and at the last output: W [h, x] + b, for all four at once.
    gates = x @ weights.weight_ih + h @ weights.weight_hh + (weights.bias_ih + weights.bias_hh)
    z_i, z_f, z_c, z_o = np.split(gates, 4, axis=-1)  # (B, H) each

    f = sigmoid(z_f)  # forget gate: how much of each old value stays
    i = sigmoid(z_i)  # input gate: which values are to be written
    c_tilde = np.tanh(z_c)  # candidates: what would be written there
    C = f * C + i * c_tilde  # noqa: N806  # new cell state: forget, then add
    o = sigmoid(z_o)  # output gate: which parts of the cell state show
    h = o * np.tanh(C)  # output: a filtered version of the cell state
    return h, C


def gru(x: Array, state: LayerState, weights: Layer) -> LayerState:
    """One step of the gated recurrent unit (Cho et al., 2014, arXiv:1406.1078), as `torch.nn` has it.

    x (B, X), state (h,) -> the next (h,). Two details differ from the notes: the reset gate acts on
    the recurrent product instead of on h before it (so that one product serves all gates), and z
    weighs the old state where the notes let it weigh the new one, which only renames z and 1 - z.
    """
    (h,) = state
    x_r, x_z, x_n = np.split(x @ weights.weight_ih + weights.bias_ih, 3, axis=-1)  # (B, H) each
    h_r, h_z, h_n = np.split(h @ weights.weight_hh + weights.bias_hh, 3, axis=-1)  # (B, H) each

    r = sigmoid(x_r + h_r)  # reset gate: how much of the past the candidates may see
    z = sigmoid(x_z + h_z)  # update gate: forget and input gate in one
    h_tilde = np.tanh(x_n + r * h_n)  # candidates
    h = z * h + (1 - z) * h_tilde  # new state, which is the output as well
    return (h,)


def rnn(x: Array, state: LayerState, weights: Layer) -> LayerState:
    """One step of the plain recurrent network (Elman, 1990): a single tanh layer.

    x (B, X), state (h,) -> the next (h,).
    """
    (h,) = state
    h = np.tanh(x @ weights.weight_ih + weights.bias_ih + h @ weights.weight_hh + weights.bias_hh)
    return (h,)


STEPS = {"lstm": lstm, "gru": gru, "rnn": rnn}


def state_parts(cell: CellName) -> int:
    """How many (B, H) arrays a layer's state is made of."""
    return 2 if cell == "lstm" else 1


class Cells:
    """A whole network on NumPy: embedding, layers one above the other, output layer.

    It has the same interface as the torch engine, `scoring.Engine`. `dtype` is float32, or float64
    where a test wants the truth.
    """

    def __init__(
        self, config: ModelConfig, weights: Mapping[str, Array], dtype: type = np.float32
    ) -> None:
        self.config = config
        self.dtype = dtype
        w: dict[str, Array] = {name: np.asarray(array, dtype) for name, array in weights.items()}
        self.embedding = w["embedding.weight"]  # (V, E)
        self.output = self.embedding if config.tie else w["output.weight"]  # (V, H)
        self.output_bias = w["output.bias"]  # (V,)
        self.step = STEPS[config.cell]
        self.layers = [
            Layer(
                np.ascontiguousarray(w[f"layers.{k}.weight_ih"].T),
                np.ascontiguousarray(w[f"layers.{k}.weight_hh"].T),
                w[f"layers.{k}.bias_ih"],
                w[f"layers.{k}.bias_hh"],
            )
            for k in range(config.num_layers)
        ]

    def initial_state(self, batch_size: int) -> State:
        """Zeros: nothing has been read yet."""
        zeros: Array = np.zeros((batch_size, self.config.hidden_size), self.dtype)
        return ((zeros,) * state_parts(self.config.cell),) * self.config.num_layers

    def read(self, ids: NDArray[Any], state: State) -> tuple[Array, State]:
        """ids (B, T) and a state -> what the output layer reads (B, T, H), and the state after."""
        batch_size, num_steps = ids.shape
        tops: Array = np.empty((batch_size, num_steps, self.config.hidden_size), self.dtype)
        for t in range(num_steps):
            state = self._advance(ids[:, t], state)
            tops[:, t] = self._top(state)
        return tops, state

    def logits(self, tops: Array) -> Array:
        """The output layer: (..., H) -> (..., V)."""
        return tops @ self.output.T + self.output_bias

    def __call__(self, ids: NDArray[Any], state: State) -> tuple[Array, State]:
        """ids (B, T) and a state -> logits (B, T, V) and the state after the last of them."""
        tops, state = self.read(ids, state)
        return self.logits(tops), state

    def _advance(self, ids: NDArray[Any], state: State) -> State:
        """One step of every layer: ids (B,), state -> the next state."""
        x, following = self.embedding[ids], []
        for layer, layer_state in zip(self.layers, state, strict=True):
            following.append(self.step(x, layer_state, layer))
            x = following[-1][0]
        return tuple(following)

    def _top(self, state: State) -> Array:
        """What the output layer reads, (B, H): h of the last layer, or with `skip` the sum of all h."""
        return sum((h for h, *_ in state[1:]), state[0][0]) if self.config.skip else state[-1][0]
