"""Turns logits into the next token: what it is drawn in proportion to, and the draw.

Knows one step of texts side by side, nothing of what came before or comes after. Shapes: B texts, V
vocabulary, N of its tokens.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmgen.config import DecodingConfig
from lstmgen.vocabulary import UNKNOWN_ID

Logits = NDArray[Any]  # (B, V)
Array = NDArray[Any]
IdRow = NDArray[np.int64]

LEAST_TEMPERATURE = 1e-30  # below it, what is not likeliest has probability 0 in any case
_BLOCK = 512  # tokens whose weights are cumulated together
_AHEAD = 64  # random numbers of a text that are made together


def relative_probabilities(
    logits: Logits, decoding: DecodingConfig, seen: NDArray[np.bool_]
) -> Array:
    """What tokens are drawn in proportion to: logits (B, V) -> (B, V), the likeliest of a row has 1.

    In order: the repetition penalty on tokens `seen` before, (B, V), not used without one (Keskar et al.,
    2019, arXiv:1909.05858; but a logit below 0 is multiplied, as to divide it would make the token likelier),
    temperature, top-k (Fan et al., 2018, arXiv:1805.04833), top-p (Holtzman et al., 2019, arXiv:1904.09751),
    min-p (Nguyen et al., 2024, arXiv:2407.01082). Of equally likely tokens the one with the lower id counts
    as the likelier, so that top-k keeps k. `<unk>` is never drawn. Temperature 0 leaves one token.
    """
    x = logits.copy()
    x[:, UNKNOWN_ID] = -np.inf
    if decoding.repetition_penalty is not None:
        penalty = float(decoding.repetition_penalty)  # NumPy cannot divide by a `Fraction`
        x = np.where(seen, np.where(x > 0, x / penalty, x * penalty), x)
    if decoding.temperature == 0:
        only = np.zeros_like(x)
        only[np.arange(len(x)), x.argmax(axis=-1)] = 1
        return only
    if decoding.top_k is not None and decoding.top_k < x.shape[-1]:
        # Before the temperature, by which rounding may make unequal ones equal; else it would keep the same.
        place = x.shape[-1] - int(decoding.top_k)  # a short integer of NumPy's could overflow here
        least = np.partition(x, place, axis=-1)[:, place, None]
        x = _likeliest(x, least, decoding.top_k, -np.inf)
    # softmax(x / temperature), but for the division by each row's sum, which `draw` does not need.
    x -= x.max(axis=-1, keepdims=True)  # so that nothing overflows
    x /= max(float(decoding.temperature), LEAST_TEMPERATURE)
    weights = np.exp(x, out=x)
    if decoding.top_p is not None:
        descending = np.sort(weights, axis=-1)[:, ::-1]
        cumulative = _cumulative(descending)
        # Where the sum first comes up to the share: this token stays, and those that are likelier.
        last = (cumulative < decoding.top_p * cumulative[:, -1:]).sum(axis=-1)
        least = descending[np.arange(len(x)), last, None]
        weights = _likeliest(weights, least, 1 + last[:, None])
    if decoding.min_p is not None:
        weights = np.where(weights >= decoding.min_p, weights, 0)
    return weights


def _likeliest(weights: Array, least: Array, num_kept: IdRow | int, rest: float = 0.0) -> Array:
    """Only the likeliest tokens of each row, `num_kept` of them, down to the weight `least` (B, 1).

    Of those that weigh just that, the lower ids are kept. All others become `rest`.
    """
    kept = weights >= least
    if (kept.sum(axis=-1, keepdims=True) > num_kept).any():
        above, ties = weights > least, weights == least
        room = num_kept - above.sum(axis=-1, keepdims=True)
        kept = above | (ties & (np.cumsum(ties, axis=-1) <= room))
    return np.where(kept, weights, rest)


def draw(weights: Array, uniforms: NDArray[np.float64]) -> IdRow:
    """One id a row, (B, V) -> (B,), each by a random number of its own, at least 0 and below 1, (B,).

    A token is drawn as often as its weight is of the sum of its row's: weights lie side by side on a
    line, and where a random point falls on it says which (inverse transform sampling).
    """
    if weights.shape[1] <= _BLOCK:
        cumulative = _cumulative(weights)
        return _first_above(cumulative, uniforms * cumulative[:, -1])
    # First a block of tokens, by its sum, then one of them: a sum is quicker than sums of all beginnings.
    starts, rows = np.arange(0, weights.shape[1], _BLOCK), np.arange(len(weights))
    sums = np.add.reduceat(weights, starts, axis=1, dtype=np.float64)
    cumulative = _cumulative(sums)
    points = uniforms * cumulative[:, -1]
    blocks = _first_above(cumulative, points)
    ids: IdRow = starts[blocks]
    # Never 1, as the point lies below the end of its block; but a sum may be rounded to less than its share.
    uniforms = np.maximum(0, 1 - (cumulative[rows, blocks] - points) / sums[rows, blocks])
    for row, begin in enumerate(ids):
        of_block = weights[row : row + 1, begin : begin + _BLOCK]
        ids[row] += draw(of_block, uniforms[row : row + 1])[0]
    return ids


def _cumulative(weights: Array) -> Array:
    """Where on its row's line each of the weights (B, N) ends, (B, N)."""
    return np.add.accumulate(weights, axis=-1, dtype=np.float64)


def _first_above(cumulative: Array, points: Array) -> IdRow:
    """On which of the weights each point (B,) of their line falls, (B,), never on one of weight 0."""
    chosen: IdRow = (cumulative > points[:, None]).argmax(axis=-1)
    return chosen


class Uniforms:
    """Random numbers, at least 0 and below 1, for each of the texts side by side, none at first.

    Each text has a generator of its own, so that nothing but its seed decides them. They are made some at a
    time, which is quicker and changes none of them.
    """

    def __init__(self) -> None:
        self._generators: list[np.random.Generator] = []
        self._made: NDArray[np.float64] = np.empty((0, _AHEAD))
        self._taken = _AHEAD  # of those in a row

    def add(self, seeds: Sequence[int]) -> None:
        """One more text for each seed."""
        new = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
        made: NDArray[np.float64] = np.zeros((len(new), _AHEAD))
        for row, generator in zip(made, new, strict=True):
            generator.random(out=row[self._taken :])  # what is before was the others' alone
        self._generators += new
        self._made = np.concatenate((self._made, made))

    def keep(self, rows: list[int]) -> None:
        """Go on with these texts only, in this order."""
        self._generators = [self._generators[row] for row in rows]
        self._made = self._made[rows]

    def take(self) -> NDArray[np.float64]:
        """The next one of each text, (B,)."""
        if self._taken == _AHEAD:
            for row, generator in zip(self._made, self._generators, strict=True):
                generator.random(out=row)
            self._taken = 0
        self._taken += 1
        return self._made[:, self._taken - 1]
