"""The RNN, GRU and LSTM equations, longhand in NumPy: ids and a state -> logits and the next state.

Read this file beside *Understanding LSTM Networks* (C. Olah, 2015): one line an equation, in the order
in which the notes tell them. It is also the engine that samples on the CPU, and the independent
truth that the torch model is tested against.

Shapes: B streams, T tokens, V vocabulary, E embedding, H hidden; X is the width of a layer's input:
E for the first layer, H above it; Z the number of a cell's pre-activations, the sums that its equations
begin with: 4H for LSTM and GRU, H for the plain RNN.
Weights have `torch.nn`'s names and layout. As in the notes, what is multiplied by a weight is a column, and
streams are columns side by side: h (H, B). It is quicker than rows, too.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstmgen.config import STATE_PARTS, CellName, ModelConfig
from lstmgen.matrix import Array, Matrix

LayerState = tuple[Array, ...]  # (h, C) for the LSTM, (h,) for the others; each (H, B)
State = tuple[LayerState, ...]  # one a layer


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), of any shape.

    As (1 + tanh(x / 2)) / 2, which is the same, to 6e-8 in float32: nothing overflows for a large negative x.
    """
    half = x.dtype.type(0.5)
    y = half * x
    np.tanh(y, out=y)
    y *= half
    y += half
    return y


def lstm(z: Array, state: LayerState) -> LayerState:
    """One step of the long short-term memory (Hochreiter & Schmidhuber, 1997; Gers et al., 2000).

    z (4H, B) and the state (h, C), each (H, B) -> the next (h, C). z is W [x, h] + b, which `Affine` makes
    (the notes write [h, x]), four blocks one below the other: W_i [x, h] + b_i, then W_f, W_C and W_o
    likewise, so that one product serves all. The cell state C is the conveyor belt: on its way through time
    it is only multiplied and added to, each value by itself.
    """
    h, C = state  # noqa: N806  # the notes' own symbols
    H = len(h)  # noqa: N806
    # A gate is between 0, let nothing through, and 1, let everything through. The third block of z is the
    # candidates', and its sigmoid is not used; but one call for all is quicker than two around that block.
    gates = sigmoid(z)

    # In the order of the notes; the blocks lie in torch's, i f C~ o.
    f = gates[H : 2 * H]  # forget gate, sigmoid(W_f [x, h] + b_f): how much of each old value stays
    i = gates[:H]  # input gate, sigmoid(W_i [x, h] + b_i): which values are to be written
    c_tilde = np.tanh(z[2 * H : 3 * H])  # candidates, tanh(W_C [x, h] + b_C): what is written there
    C = f * C + i * c_tilde  # noqa: N806  # new cell state: forget, then add
    o = gates[3 * H :]  # output gate, sigmoid(W_o [x, h] + b_o): which parts of the cell state show
    h = o * np.tanh(C)  # output: a filtered version of the cell state
    return h, C


def gru(z: Array, state: LayerState) -> LayerState:
    """One step of the gated recurrent unit (Cho et al., 2014, arXiv:1406.1078), as `torch.nn` has it.

    z (4H, B) is W [x, h] + b, state (h,) -> the next (h,). Three details differ from the notes: there
    are biases; the reset gate acts on the recurrent product instead of on h before it, so that one
    product serves all (in four blocks, as the candidates need W_x x and W_h h apart); and the update
    gate u weighs the old state, where the notes' update gate z_t (not the z here) weighs the new one: u is
    1 - z_t.
    """
    (h,) = state
    H = len(h)  # noqa: N806
    gates = sigmoid(z[: 2 * H])
    from_x, from_h = z[2 * H : 3 * H], z[3 * H :]  # for the candidates: W_x x + b_x, W_h h + b_h

    # In the order of the notes; the blocks lie in torch's, r u.
    u = gates[H:]  # update gate, sigmoid(W_u [x, h] + b_u): forget and input gate in one
    r = gates[:H]  # reset gate, sigmoid(W_r [x, h] + b_r): how much of h the candidates see
    h_tilde = np.tanh(from_x + r * from_h)  # candidates, tanh(W_x x + b_x + r (W_h h + b_h))
    h = u * h + (1 - u) * h_tilde  # new state, which is the output as well
    return (h,)


def rnn(z: Array, state: LayerState) -> LayerState:
    """One step of the plain recurrent network (Elman, 1990): a single tanh layer.

    z (H, B) is W [x, h] + b, state (h,) -> the next (h,).
    """
    return (np.tanh(z),)


EQUATIONS = {"lstm": lstm, "gru": gru, "rnn": rnn}


def affine_parts(
    cell: CellName, weight_ih: Array, weight_hh: Array, bias_ih: Array, bias_hh: Array
) -> tuple[Array, Array, Array]:
    """`torch.nn`'s four arrays of a layer as what z is made of: (Z, X) for x, (Z, H) for h, and b (Z,).

    Their rows are in the order in which the functions above read z. Large arrays are not copied, except
    a GRU's: its candidates take x and h apart, so they have two blocks, each blind to the other half.
    """
    if cell != "gru":
        return weight_ih, weight_hh, bias_ih + bias_hh
    gates = 2 * weight_hh.shape[1]
    none_ih, none_hh = np.zeros_like(weight_ih[gates:]), np.zeros_like(weight_hh[gates:])
    return (
        np.concatenate((weight_ih, none_ih)),
        np.concatenate((weight_hh[:gates], none_hh, weight_hh[gates:])),
        np.concatenate((bias_ih[:gates] + bias_hh[:gates], bias_ih[gates:], bias_hh[gates:])),
    )


class Affine(NamedTuple):
    """What a layer's equations begin with, W [x, h] + b: the notes' W [h, x] + b, for all gates at once."""

    weight: Matrix  # (Z, X + H + 1), its last column is b

    def __call__(self, x: Array, h: Array) -> Array:
        """x (X, B) and h (H, B) -> z (Z, B), the cell's pre-activations.

        As one product, [W, b] [x, h, 1]: to add b to all columns afterwards takes longer.
        """
        return self.weight @ np.concatenate((x, h, _ones(x.shape[1], x.dtype)))


@lru_cache(maxsize=1)  # of many products in turn, all have as many columns
def _ones(batch_size: int, dtype: np.dtype[Any]) -> Array:
    ones: Array = np.ones((1, batch_size), dtype)
    ones.flags.writeable = False
    return ones


MAX_TABLE = 1024  # symbols: with more, a row of z for each takes much memory, and long to make


class FoldedAffine(NamedTuple):
    """W [x, h] + b of the first layer where symbols are few: W x + b of each is looked up."""

    table: Array  # (V, Z), its rows padded, see `folded`
    weight: Matrix  # (Z, H)

    def __call__(self, ids: NDArray[Any], h: Array) -> Array:
        """ids (B,) and h (H, B) -> z (Z, B)."""
        z = self.weight @ h
        z += self.table[ids][:, : len(z)].T
        return z


def folded(embedding: Array, weight_x: Array, weight_h: Array, bias: Array) -> FoldedAffine:
    """The first layer's `affine_parts` with W x + b done for each symbol: embedding (V, E)."""
    size = len(weight_x)
    # Rows are transposed when they have been looked up. If a row is a power of two long, the numbers of a
    # column lie in a few sets of the processor's cache and drive each other out; so 1,024 become 1,040.
    table: Array = np.empty((len(embedding), size | 16), weight_x.dtype)
    np.matmul(embedding, weight_x.T, out=table[:, :size])
    table[:, :size] += bias
    return FoldedAffine(table, Matrix(weight_h))


class Cells:
    """A whole network on NumPy: embedding, layers one above the other, output layer.

    It has the same interface as the torch engine, `reading.Engine`. `dtype` is float32, or float64
    where a test wants the truth. Weights that have this dtype are kept where they can be and not copied;
    they must not change afterwards.
    """

    def __init__(
        self, config: ModelConfig, weights: Mapping[str, Array], dtype: type = np.float32
    ) -> None:
        self.config = config
        self.vocab_size = config.vocab_size
        self.dtype = dtype
        w: dict[str, Array] = {name: np.asarray(array, dtype) for name, array in weights.items()}
        self.embedding = w["embedding.weight"]  # (V, E)
        self.output = self.embedding if config.tie else w["output.weight"]  # (V, H)
        self.output_bias = w["output.bias"]  # (V,)
        self.equations = EQUATIONS[config.cell]
        self.looks_up = config.vocab_size <= MAX_TABLE
        self.layers = [self._layer(k, w) for k in range(config.num_layers)]

    def _layer(self, k: int, w: Mapping[str, Array]) -> Affine | FoldedAffine:
        parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weight_x, weight_h, bias = affine_parts(
            self.config.cell, *(w[f"layers.{k}.{part}"] for part in parts)
        )
        if self.looks_up and k == 0:
            return folded(self.embedding, weight_x, weight_h, bias)
        return Affine(Matrix(weight_x, weight_h, bias[:, None]))

    def initial_state(self, batch_size: int) -> State:
        """Zeros: nothing has been read yet."""
        zeros: Array = np.zeros((self.config.hidden_size, batch_size), self.dtype)
        return ((zeros,) * STATE_PARTS[self.config.cell],) * self.config.num_layers

    def read(self, ids: NDArray[Any], state: State) -> tuple[Array, State]:
        """ids (B, T) and a state -> hidden (B, T, H), which the output layer reads, and the state after."""
        batch_size, num_tokens = ids.shape
        hidden: Array = np.empty((batch_size, num_tokens, self.config.hidden_size), self.dtype)
        for t in range(num_tokens):
            state = self._advance(ids[:, t], state)
            hidden[:, t] = self._hidden(state).T
        return hidden, state

    def _advance(self, ids: NDArray[Any], state: State) -> State:
        """One step of every layer: ids (B,), state -> the next state."""
        x = ids if self.looks_up else self.embedding[ids].T
        next_state = []
        for affine, layer_state in zip(self.layers, state, strict=True):
            z = affine(x, layer_state[0])  # W [x, h] + b
            new = self.equations(z, layer_state)
            next_state.append(new)
            x = new[0]  # its h is what the layer above reads
        return tuple(next_state)

    def _hidden(self, state: State) -> Array:
        """For the output layer, (H, B): h of the last layer, or with `skip` the sum of all h."""
        outputs = [h for h, *_ in state]
        return sum(outputs[1:], outputs[0]) if self.config.skip else outputs[-1]

    def select(self, state: State, streams: slice | list[int]) -> State:
        """The state of some of the streams."""
        return tuple(
            tuple(np.ascontiguousarray(part[:, streams]) for part in layer) for layer in state
        )

    def concatenate(self, states: Sequence[State]) -> State:
        """The states of several batches as that of one, their streams in order."""
        return tuple(
            tuple(np.concatenate(parts, axis=1) for parts in zip(*layers, strict=True))
            for layers in zip(*states, strict=True)
        )

    def logits(self, hidden: Array, symbols: slice = slice(None)) -> Array:
        """The output layer: (..., H) -> (..., V), or those of some of the symbols."""
        logits: Array = hidden @ self.output[symbols].T
        logits += self.output_bias[symbols]
        return logits

    def __call__(self, ids: NDArray[Any], state: State) -> tuple[Array, State]:
        """ids (B, T) and a state -> logits (B, T, V) and the state after the last of them."""
        hidden, state = self.read(ids, state)
        return self.logits(hidden), state
