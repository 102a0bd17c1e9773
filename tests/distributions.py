"""The tokens that decoding may draw and how likely each is, by definition, and whether draws follow that."""

from math import exp, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmgen.config import DecodingConfig
from lstmgen.drawing import relative_probabilities
from lstmgen.vocabulary import UNKNOWN_ID

LOGITS = [5.0, 2.0, 1.5, 0.2, 0.0, -0.4, -1.0, -3.0]
OPTIONS = [
    DecodingConfig(temperature=1.0),
    DecodingConfig(temperature=0.5),
    DecodingConfig(temperature=2.0),
    DecodingConfig(temperature=1.0, top_k=3),
    DecodingConfig(temperature=1.0, top_p=0.8),
    DecodingConfig(temperature=1.0, min_p=0.15),
    DecodingConfig(temperature=1.0, repetition_penalty=1.7),
    DecodingConfig(temperature=1.3, top_k=5, top_p=0.9, min_p=0.2, repetition_penalty=0.6),
]


def by_definition(
    logits: list[float], decoding: DecodingConfig, seen: set[int]
) -> dict[int, float]:
    """The tokens that can be drawn and how likely each is, step by step over lists of tokens."""
    x = {token: logit for token, logit in enumerate(logits) if token != UNKNOWN_ID}
    if decoding.repetition_penalty is not None:
        for token in seen & set(x):
            if x[token] > 0:
                x[token] /= decoding.repetition_penalty
            else:
                x[token] *= decoding.repetition_penalty
    ranking = sorted(x, key=lambda token: (-x[token], token))  # the likeliest first
    if decoding.temperature == 0:
        return {ranking[0]: 1.0}
    p = {token: exp((x[token] - x[ranking[0]]) / decoding.temperature) for token in ranking}
    p = shares(p)
    if decoding.top_k is not None:
        p = shares({token: p[token] for token in ranking[: decoding.top_k]})
    if decoding.top_p is not None:
        kept: dict[int, float] = {}
        for token in p:  # the fewest that together reach top-p
            kept[token] = p[token]
            if sum(kept.values()) >= decoding.top_p:
                break
        p = shares(kept)
    if decoding.min_p is not None:
        least = decoding.min_p * max(p.values())
        p = shares({token: share for token, share in p.items() if share >= least})
    return p


def shares(weights: dict[int, float]) -> dict[int, float]:
    total = sum(weights.values())
    return {token: weight / total for token, weight in weights.items()}


def assert_drawn_from(counts: NDArray[np.int64], p: dict[int, float]) -> None:
    """A chi-square test: counts this far from their expectation come up once in 10,000 times."""
    total = int(counts.sum())
    assert {int(token) for token in np.flatnonzero(counts)} <= set(p)
    degrees = len(p) - 1
    chi_square = sum((counts[token] - total * q) ** 2 / (total * q) for token, q in p.items())
    if degrees == 0:
        return
    # Wilson and Hilferty (1931): the cube root of chi-square / degrees is close to normal.
    spread = 2 / (9 * degrees)
    z = ((chi_square / degrees) ** (1 / 3) - (1 - spread)) / sqrt(spread)
    assert z < 3.72


def distribution(
    logits: NDArray[Any], decoding: DecodingConfig, seen: NDArray[np.bool_]
) -> NDArray[Any]:
    """The probabilities that tokens are drawn with, (B, V)."""
    weights = relative_probabilities(logits, decoding, seen)
    result: NDArray[Any] = weights / weights.sum(axis=-1, keepdims=True)
    return result
