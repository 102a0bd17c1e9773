"""Looks for the likeliest texts that follow a prime, where sampling draws one.

Shapes: B texts under way, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstmgen.generation import (
    LENGTH,
    MAX_LOGITS_SIDE_BY_SIDE,
    Generated,
    first_stop,
)
from lstmgen.priming import Priming
from lstmgen.reading import Engine, last_logits, logits_after, slices
from lstmgen.scoring import cross_entropy
from lstmgen.vocabulary import UNKNOWN_ID, Vocabulary


class _Text(NamedTuple):
    """A text in the beam: the row of the state that it goes on from, and its last token, still to be read."""

    nats: float = 0.0
    text: str = ""
    tokens: int = 0
    stop: str = ""  # why it ended; empty while it is under way
    row: int = 0
    last: int = 0


def search(
    engine: Engine,
    vocabulary: Vocabulary,
    prime: str,
    *,
    num_beams: int,
    length: int,
    stops: Sequence[str] = (),
) -> list[Generated]:
    """The texts of fewest nats that a beam (Lowerre, 1976) comes upon, the likeliest first.

    The beam holds the `num_beams` likeliest texts, whatever their lengths. Each round lengthens those
    that have not ended by every token but `<unk>` and keeps the likeliest of all; when all have ended,
    it is through. Of those that have ended in the same words the likeliest stays. There are fewer where
    it comes upon no more texts: where there are none, or where all that is in it ends alike. One beam is
    greedy.
    """

    priming = Priming(vocabulary, prime)

    def longer(text: _Text, total: float, row: int, i: int) -> _Text:
        """A text under way, of that row, with one more token."""
        whole, tokens = text.text + priming.piece(i, text.tokens), text.tokens + 1
        if found := first_stop(whole, stops):
            place, stop = found
            return _Text(total, whole[:place], tokens, stop, row, i)
        return _Text(total, whole, tokens, LENGTH if tokens == length else "", row, i)

    logits, state = logits_after(engine, [priming.ids])
    logits[0, priming.barred] = -np.inf
    beam = [_Text(stop="" if length else LENGTH)]
    going = [text for text in beam if not text.stop]
    while going:
        nats = [text.nats for text in going]
        ended, likeliest, count = [text for text in beam if text.stop], list[_Text](), num_beams
        while True:
            count *= 2  # as some may be the same text
            for total, row, i in _least(nats, logits, count)[len(likeliest) :]:
                likeliest.append(longer(going[row], total, row, i))
            beam = _distinct(sorted(ended + likeliest, key=lambda text: text.nats))[:num_beams]
            # What is not among them costs no less than the last of them.
            if len(likeliest) < count or (
                len(beam) == num_beams and beam[-1].nats <= likeliest[-1].nats
            ):
                break
        going = [text for text in beam if not text.stop]
        if going:
            ids: NDArray[Any] = np.array([[text.last] for text in going])
            state = engine.select(state, [text.row for text in going])
            hidden, state = engine.read(ids, state)
            logits = last_logits(engine, hidden)
    return [
        Generated(prime, text.text, text.tokens, float(text.nats), text.stop, None) for text in beam
    ]


def _distinct(texts: list[_Text]) -> list[_Text]:
    """The texts, but of those that have ended, and are the same, the first."""
    firsts = {text.text: text for text in reversed(texts) if text.stop}
    return [text for text in texts if not text.stop or text is firsts[text.text]]


def _costs(logits: NDArray[Any]) -> NDArray[np.float64]:
    """The nats of every token, (B, V) -> (B, V); infinite for `<unk>`."""
    logits = logits.astype(np.float64)
    of_likeliest = cross_entropy(logits, logits.argmax(axis=-1))
    costs: NDArray[np.float64] = of_likeliest[:, None] + (
        logits.max(axis=-1, keepdims=True) - logits
    )
    costs[:, UNKNOWN_ID] = np.inf
    return costs


def _least(nats: Sequence[float], logits: NDArray[Any], count: int) -> list[tuple[float, int, int]]:
    """The cheapest ways to lengthen texts that cost `nats`, (B,), by one token, given the logits (B, V).

    `count` of them in order: nats in all, row and id of each. Of equal ones the lower row, then the lower id,
    comes first.
    """
    least: list[tuple[float, int, int]] = []
    for rows in slices(len(logits), max(1, MAX_LOGITS_SIDE_BY_SIDE // logits.shape[1])):
        costs = np.array(nats[rows])[:, None] + _costs(logits[rows])
        flat = costs.reshape(-1)
        limit = np.partition(flat, count - 1)[count - 1] if count < flat.size else np.inf
        places = np.flatnonzero((flat <= limit) & np.isfinite(flat))
        for place in places[np.argsort(flat[places], kind="stable")][:count]:
            row, i = divmod(int(place), logits.shape[1])
            least.append((float(flat[place]), rows.start + row, i))
    return sorted(least)[:count]
