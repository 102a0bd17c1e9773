"""Turns the ids of a text into parallel streams, and those into consecutive windows.

Shapes: B streams, T tokens of each in a window, N tokens of the text. Others call B the batch size, and T
the length of a sequence, or of truncated back-propagation through time. A window holds the inputs and,
one token later in the text, the targets. The state of stream b at the end of one window is its state at
the start of the next, and every token of the text is a target exactly once.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstmgen.vocabulary import Ids

IGNORED = -1  # a target that is not scored: padding, or text read only to warm up a stream
MANY_WINDOWS = 100  # of a stream, from which on a short last one counts for little


class Window(NamedTuple):
    """What a step reads, and what it is to guess."""

    inputs: NDArray[np.int64]  # (B, T)
    targets: NDArray[np.int64]  # (B, T), one token later in the text


class Streams:
    """A text, `ids` (N,), cut into B contiguous parts of nearly equal length that are read side by side.

    Part b holds the targets from b N / B to (b + 1) N / B, rounded down. `window` is T. `warm_up` lets each
    stream begin that many tokens before its part, with targets that are ignored, so that its state knows
    what comes before. The first token of the text is a target too, with `start_id` as its input.
    `ValueError` for fewer tokens than streams, or a number below its least.
    """

    def __init__(
        self, ids: Ids, start_id: int, batch_size: int, window: int, warm_up: int = 0
    ) -> None:
        if not len(ids) >= batch_size >= 1 or window < 1 or warm_up < 0:
            raise ValueError(
                f"{len(ids)} tokens, {batch_size} streams, a window of {window}, a warm-up of {warm_up}"
            )
        edges = np.arange(batch_size + 1) * len(ids) // batch_size
        self.ids = ids
        self.start_id = start_id
        self.batch_size = batch_size
        self._window = window
        self._first_targets = edges[:-1]
        self._starts = np.maximum(edges[:-1] - warm_up, 0)
        self._ends = edges[1:]
        self.num_windows = -(-int((self._ends - self._starts).max()) // window)  # rounded up

    def places(self, index: int) -> NDArray[np.int64]:
        """Where in the text the targets of window `index` stand, (B, T); padding is past a stream's part."""
        offsets = np.arange(index * self._window, (index + 1) * self._window)
        return np.asarray(self._starts[:, None] + offsets, np.int64)

    def window(self, index: int) -> Window:
        """Inputs and targets of window `index`, each (B, T); `IGNORED` marks what is not scored."""
        places = self.places(index)
        inside = places < self._ends[:, None]
        places = np.minimum(places, len(self.ids) - 1)  # where padding has something to look up
        targets = self.ids[places].astype(np.int64)
        inputs = self.ids[np.maximum(places - 1, 0)].astype(np.int64)
        inputs[places == 0] = self.start_id
        targets[~inside | (places < self._first_targets[:, None])] = IGNORED
        return Window(inputs, targets)


def even_window(num_tokens: int, batch_size: int, window: int) -> int:
    """A window near the one asked for, at most half as long again, that cuts a short stream nearly evenly.

    Else the last window might hold a few tokens only, and a step from these would move the weights as far as
    one from a whole window. A stream of over `MANY_WINDOWS` keeps the window asked for, as one short window
    counts for little there.
    """
    stream_length = -(-num_tokens // batch_size)
    if stream_length > MANY_WINDOWS * window:
        return window
    return -(-stream_length // max(1, round(stream_length / window)))


def fitting_batch(num_tokens: int, batch_size: int, window: int) -> int:
    """The number of streams, at most `batch_size`, the longest of which fills a window of text.

    0 where the text does not fill a single window. Called again with that number and its `even_window`, it
    returns the same number.
    """
    # The most streams of which the longest, num_tokens / most rounded up, has a window.
    most = num_tokens if window == 1 else (num_tokens - 1) // (window - 1)
    return max(0, min(batch_size, most))
