"""Turns a text into what it costs when the model sees only the last N tokens: how far back it remembers.

Shapes: P places in the text, N tokens of context, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmgen.comparison import blocked_error
from lstmgen.errors import OptionError
from lstmgen.reading import Engine, hidden_after
from lstmgen.scoring import LN2, Watched, token_nats, unwatched
from lstmgen.vocabulary import Ids

MAX_PLACES = 4096
MAX_CONTEXT = 1 << 14  # tokens
ROWS = 64  # places read side by side
SEED = 0


@dataclass(frozen=True)
class ContextScore:
    """What a token costs, on average over places, after `context` tokens from a fresh start."""

    context: int  # tokens
    places: int
    nats_per_token: float
    standard_error: float  # of nats_per_token, as some places stand for all; 0 where all are scored
    bits_per_character: float
    gain: float  # nats a token below the context before it; nan for the first
    gain_error: float  # its standard error, for texts of the kind; nan for the first, inf for a single place

    def to_json(self) -> dict[str, Any]:
        gains = {"gain": self.gain, "gain_error": self.gain_error}
        return vars(self) | {name: one if isfinite(one) else None for name, one in gains.items()}


def require_places(num_tokens: int, longest: int, name: str = "the text") -> None:
    """`OptionError` if a text has no place with so many tokens before it."""
    if num_tokens < 2:
        raise OptionError(f"--context: {name} has {num_tokens:,} token; give a text of two or more")
    if longest >= num_tokens:
        raise OptionError(
            f"--context {longest} is too long: {name} has {num_tokens} tokens; give fewer than that"
        )


def places(num_tokens: int, least: int) -> NDArray[np.int64]:
    """The places to score, in order: those with at least so many tokens before them, or a sample of these.

    `OptionError` if there is none.
    """
    require_places(num_tokens, least)
    number = num_tokens - least
    if number <= MAX_PLACES:
        return np.arange(least, num_tokens)
    generator = np.random.default_rng(SEED)
    # Of a number, not of an array: that would be far larger than the text.
    return least + np.sort(generator.choice(number, MAX_PLACES, replace=False))


def doublings(num_tokens: int) -> list[int]:
    """1, 2, 4, ... as far as the text leaves places enough to tell a difference."""
    return [1 << k for k in range(MAX_CONTEXT.bit_length()) if 1 << k <= num_tokens // 8] or [1]


def scores(
    engine: Engine,
    ids: Ids,
    contexts: Sequence[int],
    lengths: NDArray[np.int64],
    *,
    until_no_gain: bool = False,
    watched: Watched = unwatched,
) -> Iterator[ContextScore]:
    """One score for each number of tokens of context, all over the same places of the text.

    `lengths` are the characters of each token of the text, so that bits per character are those of the
    places. The network starts afresh before the first token of each context. With `until_no_gain` it ends
    after two contexts in a row whose `gain` is less than twice its `gain_error`. The places of each are
    `watched`.
    """
    # As many before each as `doublings` come to, so that contexts up to that have the same places in any run.
    least = max(*contexts, doublings(len(ids))[-1])
    chosen = places(len(ids), least)
    left_out = 1 - len(chosen) / (len(ids) - least)  # the share of all places
    before: NDArray[np.float64] | None = None
    in_vain = 0
    characters_per_token = float(lengths[chosen].mean())
    for context in contexts:
        costs = _costs(engine, ids, chosen, context, watched)
        mean, gain, gain_error = float(costs.mean()), nan, nan
        if before is not None:
            gain = float((before - costs).mean())
            gain_error, _ = blocked_error(before - costs, np.ones(len(costs)))
        yield ContextScore(
            context=context,
            places=len(chosen),
            nats_per_token=mean,
            # With the correction for a population that is not endless (Cochran, 1977).
            standard_error=_standard_error(costs) * sqrt(left_out) if left_out else 0.0,
            bits_per_character=mean / LN2 / characters_per_token,
            gain=gain,
            gain_error=gain_error,
        )
        gained = before is None or gain > 2 * gain_error
        in_vain = 0 if gained else in_vain + 1
        if until_no_gain and in_vain == 2:
            return
        before = costs


def _standard_error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) / sqrt(len(values)) if len(values) > 1 else inf


def _costs(
    engine: Engine, ids: Ids, chosen: NDArray[np.int64], context: int, watched: Watched
) -> NDArray[np.float64]:
    """The nats of the token at each place (P,) after the `context` tokens before it, (P,)."""
    costs: NDArray[np.float64] = np.empty(len(chosen))
    starts = range(0, len(chosen), ROWS)
    for start in watched(iter(starts), len(starts)):
        part = chosen[start : start + ROWS]
        hidden, _ = hidden_after(engine, [ids[place - context : place] for place in part])
        costs[start : start + ROWS] = token_nats(engine, hidden[:, -1], ids[part].astype(np.int64))
    return costs
