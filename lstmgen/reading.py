"""An engine and ids -> what the network makes of them: hidden, logits, and the state after.

Shapes: B streams or texts, T tokens, N targets, H hidden, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lstmgen.batching import IGNORED, Streams

TOKENS_READ = 4096  # in one call, of texts of different lengths side by side


class Engine(Protocol):
    """A network that can be scored and sampled from, on NumPy or on torch."""

    vocab_size: int

    def initial_state(self, batch_size: int) -> Any:
        """Nothing has been read yet, in so many streams."""

    def read(self, ids: NDArray[Any], state: Any) -> tuple[Any, Any]:
        """ids (B, T) and a state -> hidden (B, T, H), which the output layer reads, and the next state."""

    def logits(self, hidden: Any, symbols: slice = slice(None)) -> Any:
        """The output layer: (..., H) -> (..., V), or those of some of the symbols.

        They are the caller's own, who may write over them.
        """

    def select(self, state: Any, streams: slice | list[int]) -> Any:
        """The state of some of the streams."""

    def concatenate(self, states: Sequence[Any]) -> Any:
        """The states of several batches as that of one, their streams in order."""


def read_windows(
    engine: Engine, streams: Streams
) -> Iterator[tuple[Any, NDArray[np.int64], NDArray[np.int64]]]:
    """Of each window the N targets that are scored: hidden (N, H), targets (N,), and places (N,).

    Each target is predicted from its row of hidden; its place is where it stands in the text. The state is
    carried on from window to window.
    """
    state = engine.initial_state(streams.batch_size)
    for index in range(streams.num_windows):
        inputs, targets = streams.window(index)
        hidden, state = engine.read(inputs, state)
        hidden, targets = hidden.reshape(targets.size, -1), targets.reshape(-1)
        places, scored = streams.places(index).reshape(-1), np.flatnonzero(targets != IGNORED)
        if len(scored) < len(targets):
            hidden, targets, places = hidden[scored], targets[scored], places[scored]
        yield hidden, targets, places


def states_after(engine: Engine, rows: Sequence[NDArray[Any]]) -> Any:
    """The state after each of B texts, which may be empty, as that of B streams.

    They are read side by side, the shorter ones leaving when they end.
    """
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    going = [rows[row] for row in order]
    state, states, start = engine.initial_state(len(going)), [], 0
    while going:
        end, size = len(going[0]), max(1, TOKENS_READ // len(going))
        for begin in range(start, end, size):
            ids = np.stack([row[begin : min(begin + size, end)] for row in going])
            _, state = engine.read(ids, state)
        num_done = sum(len(row) == end for row in going)
        states.append(engine.select(state, slice(num_done)))
        state, start = engine.select(state, slice(num_done, None)), end
        going = going[num_done:]
    return engine.select(engine.concatenate(states), np.argsort(order).tolist())


def hidden_after(engine: Engine, rows: Sequence[NDArray[Any]]) -> tuple[Any, Any]:
    """Hidden (B, 1, H) and the state after each of B texts, none of them empty."""
    before = states_after(engine, [row[:-1] for row in rows])
    return engine.read(np.stack([row[-1:] for row in rows]), before)


def logits_after(engine: Engine, rows: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], Any]:
    """The logits (B, V) and the state after each of B texts, none of them empty."""
    hidden, state = hidden_after(engine, rows)
    return last_logits(engine, hidden), state


def last_logits(engine: Engine, hidden: Any) -> NDArray[Any]:
    """The logits (B, V) of the last of some steps, hidden (B, T, H), as a NumPy array wherever it is."""
    return as_array(engine.logits(hidden[:, -1]))


def as_array(values: Any) -> NDArray[Any]:
    """Values as a NumPy array, wherever the engine keeps them."""
    return values if isinstance(values, np.ndarray) else np.asarray(values.float().cpu())


def slices(number: int, size: int) -> list[slice]:
    """0 to `number` in slices of `size`; the last may reach beyond."""
    return [slice(start, start + size) for start in range(0, number, size)]
