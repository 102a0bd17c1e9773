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
    """One recurrent layer as the notes write it, W [x, h] + b: one product for all gates at once."""

    weight: Array  # (X + H, gates H), transposed so that rows multiply from the left
    bias: Array  # (gates H,)

    def __call__(self, x: Array, h: Array) -> Array:
        """x (B, X) and h (B, H) -> (gates, B, H), what each gate squashes."""
        z = np.concatenate((x, h), axis=1) @ self.weight + self.bias
        return z.reshape(len(z), -1, h.shape[1]).swapaxes(0, 1)


def sigmoid(x: Array) -> Array:
    # Equal to 1 / (1 + exp(-x)), but nothing overflows for a large negative x.
    half = x.dtype.type(0.5)
    return half * np.tanh(half * x) + half


def lstm(x: Array, state: LayerState, layer: Layer) -> LayerState:
    """One step of the long short-term memory (Hochreiter & Schmidhuber, 1997; Gers et al., 2000).

    x (B, X), state (h, C), each (B, H) -> the next (h, C). The cell state C is the conveyor belt:
    only a product and a sum touch it on its way through time.
    """
    h, C = state  # noqa: N806  # the notes' own symbols
    z_i, z_f, z_c, z_o = layer(x, h)  # (B, H) each

    f = sigmoid(z_f)  # forget gate: how much of each old value stays
    i = sigmoid(z_i)  # input gate: which values are to be written
    c_tilde = np.tanh(z_c)  # candidates: what would be written there
    C = f * C + i * c_tilde  # noqa: N806  # new cell state: forget, then add
    o = sigmoid(z_o)  # output gate: which parts of the cell state show
    h = o * np.tanh(C)  # output: a filtered version of the cell state
    return h, C


def gru(x: Array, state: LayerState, layer: Layer) -> LayerState:
    """One step of the gated recurrent unit (Cho et al., 2014, arXiv:1406.1078), as `torch.nn` has it.

    x (B, X), state (h,) -> the next (h,). Two details differ from the notes: the reset gate acts on
    the recurrent product instead of on h before it (so that one product serves all gates), and z
    weighs the old state where the notes let it weigh the new one, which only renames z and 1 - z.
    """
    (h,) = state
    z_r, z_z, x_n, h_n = layer(x, h)  # (B, H) each; of x alone and of h alone for the candidates

    r = sigmoid(z_r)  # reset gate: how much of the past the candidates may see
    z = sigmoid(z_z)  # update gate: forget and input gate in one
    h_tilde = np.tanh(x_n + r * h_n)  # candidates
    h = z * h + (1 - z) * h_tilde  # new state, which is the output as well
    return (h,)


def rnn(x: Array, state: LayerState, layer: Layer) -> LayerState:
    """One step of the plain recurrent network (Elman, 1990): a single tanh layer.

    x (B, X), state (h,) -> the next (h,).
    """
    (h,) = state
    (z,) = layer(x, h)  # (B, H)
    h = np.tanh(z)
    return (h,)


def as_layer(
    cell: CellName, weight_ih: Array, weight_hh: Array, bias_ih: Array, bias_hh: Array
) -> Layer:
    """`torch.nn`'s four arrays of a layer, (gates H, X), (gates H, H), (gates H,) twice, as one product."""
    if cell != "gru":
        return Layer(np.concatenate((weight_ih, weight_hh), axis=1).T.copy(), bias_ih + bias_hh)
    # The GRU's candidates take x and h apart, so they have two blocks, each blind to the other half.
    gates = 2 * weight_hh.shape[1]
    none_ih, none_hh = np.zeros_like(weight_ih[gates:]), np.zeros_like(weight_hh[gates:])
    of_x = np.concatenate((weight_ih, none_ih))
    of_h = np.concatenate((weight_hh[:gates], none_hh, weight_hh[gates:]))
    bias = (bias_ih[:gates] + bias_hh[:gates], bias_ih[gates:], bias_hh[gates:])
    return Layer(np.concatenate((of_x, of_h), axis=1).T.copy(), np.concatenate(bias))


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
        parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        self.layers = [
            as_layer(config.cell, *(w[f"layers.{k}.{part}"] for part in parts))
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
