"""Breaks a score down: the nats of each token, of each line, of the ends of many short texts.

Shapes: B texts side by side, T tokens of each, N tokens of one text, V vocabulary.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstmgen.batching import IGNORED
from lstmgen.errors import CorpusError
from lstmgen.reading import Engine, as_array, read_windows, slices, states_after
from lstmgen.scoring import (
    MAX_LOGITS_IN_CACHE,
    WARM_UP,
    WINDOW,
    Score,
    Watched,
    cross_entropy,
    score_ids,
    streams_to_score,
    token_nats,
    unwatched,
)
from lstmgen.vocabulary import Ids, Vocabulary

LONG_LINE = 4 * WARM_UP  # tokens; a longer one is scored by itself
POOL_LINES, POOL_CHARACTERS = 2048, 1 << 20  # sorted by length together
ROWS = 128  # read side by side
MIN_ROWS = 64  # whose logits are made together: fewer, and reading the weights takes longer
MAX_RANKED_LOGITS = 1 << 24  # floats held at once, 64 MB, for which there may be fewer rows


def token_costs(
    engine: Engine, ids: Ids, start_id: int, watched: Watched = unwatched
) -> NDArray[np.float64]:
    """What `score_ids` adds up: the nats of each token, (N,)."""
    costs: NDArray[np.float64] = np.zeros(len(ids))
    for hidden, targets, places in _scored(engine, ids, start_id, watched):
        costs[places] = token_nats(engine, hidden, targets)
    return costs


def costs_and_ranks(
    engine: Engine, ids: Ids, start_id: int, watched: Watched = unwatched
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The nats of each token, (N,), and its rank by probability, (N,), for which it takes all logits.

    Rank 1 is the likeliest token; of equally likely ones the lower id comes first.
    """
    costs: NDArray[np.float64] = np.zeros(len(ids))
    ranks: NDArray[np.int64] = np.ones(len(ids), np.int64)
    fitting, most = (size // engine.vocab_size for size in (MAX_LOGITS_IN_CACHE, MAX_RANKED_LOGITS))
    rows = max(1, fitting, min(MIN_ROWS, most))
    for hidden, targets, places in _scored(engine, ids, start_id, watched):
        for part in slices(len(targets), rows):
            logits = as_array(engine.logits(hidden[part]))
            costs[places[part]] = cross_entropy(logits, targets[part])
            ranks[places[part]] = _ranks(logits, targets[part])
    return costs, ranks


def _scored(
    engine: Engine, ids: Ids, start_id: int, watched: Watched
) -> Iterator[tuple[Any, NDArray[np.int64], NDArray[np.int64]]]:
    """`read_windows` of a text, perhaps an empty one."""
    if not len(ids):
        return iter(())
    streams = streams_to_score(ids, start_id)
    return watched(read_windows(engine, streams), streams.num_windows)


def _ranks(logits: NDArray[Any], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    chosen = np.take_along_axis(logits, targets[:, None], axis=-1)
    before = np.arange(logits.shape[-1]) < targets[:, None]
    ranks: NDArray[np.int64] = 1 + ((logits > chosen) | ((logits == chosen) & before)).sum(axis=-1)
    return ranks


class Beginnings(NamedTuple):
    """What may be gone on from: a state of B streams, and the token that each reads next, (B,)."""

    state: Any
    next_ids: Sequence[int]


def afresh(engine: Engine, start_id: int) -> Beginnings:
    """The beginning of a text before which there is nothing."""
    return Beginnings(engine.initial_state(1), [start_id])


def begin_with(engine: Engine, texts: Sequence[Ids], start_id: int) -> Beginnings:
    """B texts, each read from a fresh start up to its last token, which is to be read next."""
    started = [np.concatenate(([start_id], ids)) for ids in texts]
    state = states_after(engine, [ids[:-1] for ids in started])
    return Beginnings(state, [int(ids[-1]) for ids in started])


def score_rows(
    engine: Engine,
    rows: Sequence[Ids],
    beginnings: Beginnings,
    begun: Sequence[int],
) -> NDArray[np.float64]:
    """The nats of short texts, (B,), of which row b goes on from beginning number `begun[b]`.

    Texts of similar length are read side by side.
    """
    totals: NDArray[np.float64] = np.zeros(len(rows))
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    for begin in range(0, len(order), ROWS):
        group = order[begin : begin + ROWS]
        state = engine.select(beginnings.state, [begun[row] for row in group])
        before = [beginnings.next_ids[begun[row]] for row in group]
        for part in slices(len(rows[group[-1]]), WINDOW):
            inputs, targets = _side_by_side(rows, group, part, before)
            hidden, state = engine.read(inputs, state)
            b, t = np.nonzero(targets != IGNORED)
            costs: NDArray[np.float64] = np.zeros(targets.shape)
            costs[b, t] = token_nats(engine, hidden[b, t], targets[b, t])
            totals[group] += costs.sum(axis=-1)
    return totals


def _side_by_side(
    rows: Sequence[Ids], group: Sequence[int], part: slice, before: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A part of some rows as inputs and targets, (B, T); where a row has ended, that is IGNORED."""
    shape = len(group), min(WINDOW, len(rows[group[-1]]) - part.start)
    inputs: NDArray[np.int64] = np.zeros(shape, np.int64)
    targets: NDArray[np.int64] = np.full(shape, IGNORED, np.int64)
    for place, row in enumerate(group):
        ids = rows[row][part]
        if len(ids):
            inputs[place, 1 : len(ids)] = ids[:-1]
            inputs[place, 0] = rows[row][part.start - 1] if part.start else before[place]
            targets[place, : len(ids)] = ids
    return inputs, targets


def score_lines(
    engine: Engine,
    vocabulary: Vocabulary,
    lines: Iterable[str],
    ready: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[str, Score]]:
    """Each line with its score from a fresh start, in order; a line end counts as its last token.

    So many lines as are at hand, some two thousand at most, are sorted by length and scored side by side;
    `ready` says whether the next is at hand. A long line is scored as a text of its own. `CorpusError` of
    `lines` comes after the scores of all lines before.
    """
    for pool in _pools(lines, ready):
        yield from zip(pool, _score_pool(engine, vocabulary, pool), strict=True)


def _pools(lines: Iterable[str], ready: Callable[[], bool]) -> Iterator[list[str]]:
    pool, size = list[str](), 0
    try:
        for line in lines:
            pool.append(line)
            size += len(line)
            if len(pool) == POOL_LINES or size > POOL_CHARACTERS or not ready():
                yield pool
                pool, size = [], 0
    except CorpusError:
        yield pool
        raise
    yield pool


def _score_pool(engine: Engine, vocabulary: Vocabulary, texts: list[str]) -> list[Score]:
    encoded = [vocabulary.encode(text) for text in texts]
    start_id = vocabulary.start_id
    short = [ids if len(ids) <= LONG_LINE else ids[:0] for ids in encoded]
    totals = score_rows(engine, short, afresh(engine, start_id), [0] * len(short))
    for row, ids in enumerate(encoded):
        if len(ids) > LONG_LINE:
            totals[row] = score_ids(engine, ids, start_id)
    return [
        Score.of(float(total), vocabulary, ids, len(text))
        for total, ids, text in zip(totals, encoded, texts, strict=True)
    ]
