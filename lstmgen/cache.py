"""Scores a text with a model that also looks up what came after states like the present one in it.

Neural cache (Grave et al., 2017, arXiv:1612.04426): the last tokens of the text are kept, each with
the output h that stood before it. What followed an output like the present one is likelier to come again.
Nothing is learned; the model stays as it is.

Shapes: T tokens of a window, N places that are looked at, those of the window among them, H hidden.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lstmgen.batching import Streams
from lstmgen.config import CacheConfig
from lstmgen.reading import Engine, as_array, read_windows
from lstmgen.scoring import token_nats


def window_nats(engine: Engine, streams: Streams, config: CacheConfig) -> Iterator[float]:
    """The nats of one window of a text after the other; the text is a single stream.

    p(w) = (1 - share) p_model(w) + share p_cache(w), where p_cache(w) is the softmax of sharpness h . h_i
    over the last `size` places i, added up over those after which w came.
    """
    # Of the last `size` places at most.
    keys, values = np.empty((0, 0), np.float32), np.empty(0, np.int64)
    for hidden, targets, _ in read_windows(engine, streams):
        here, costs = as_array(hidden), token_nats(engine, hidden, targets)
        keys = np.concatenate((keys, here)) if len(keys) else here
        values = np.concatenate((values, targets))
        probabilities = cache_probabilities(here, keys, values, config)
        with np.errstate(divide="ignore"):  # log(0), where the cache does not hold the token
            looked_up = np.log(config.share * probabilities)
        seen = ~np.isnan(probabilities)
        mixed = np.logaddexp(np.log1p(-config.share) - costs[seen], looked_up[seen])
        yield float(costs[~seen].sum() - mixed.sum())
        keys, values = keys[-config.size :], values[-config.size :]


def cache_probabilities(
    hidden: NDArray[np.float32],
    keys: NDArray[np.float32],
    values: NDArray[np.int64],
    config: CacheConfig,
) -> NDArray[np.float64]:
    """p_cache of each of the last T values, (T,), before which `hidden` (T, H) stood; NaN with no past.

    `keys` (N, H) and `values` (N,) end with these T places themselves, of which each sees those before it.
    """
    steps, places = len(hidden), len(keys)
    age = np.arange(places - steps, places)[:, None] - np.arange(places)  # (T, N), in tokens
    seen = (age > 0) & (age <= config.size)
    likeness = np.where(seen, config.sharpness * (hidden @ keys.T), -np.inf)
    # -inf less -inf: the first token of a text has nothing before it
    with np.errstate(invalid="ignore"):
        weight = np.exp(likeness - likeness.max(axis=1, keepdims=True), dtype=np.float64)
    same = values == values[-steps:, None]  # (T, N)
    probabilities: NDArray[np.float64] = (weight * same).sum(axis=1) / weight.sum(axis=1)
    return probabilities
