"""Context: the same places, each with exactly so many tokens before it from a fresh start."""

import json
from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np
import pytest
from engines import Stateless, random_weights
from numpy.typing import NDArray

from lstmgen import context, reading, scoring
from lstmgen.cells import Cells
from lstmgen.comparison import t_95
from lstmgen.config import ModelConfig
from lstmgen.context import MAX_PLACES, doublings, places, scores
from lstmgen.errors import OptionError
from lstmgen.reading import TOKENS_READ
from lstmgen.scoring import LN2, WINDOW, cross_entropy

CONFIG = ModelConfig(vocab_size=12, num_layers=2, hidden_size=8, embedding_size=6)


@pytest.fixture(scope="module")
def cells() -> Cells:
    return Cells(CONFIG, random_weights(CONFIG, scale=0.8))


def some_ids(length: int) -> NDArray[np.uint8]:
    return np.random.default_rng(length).integers(0, 12, length).astype(np.uint8)


def ones(count: int) -> NDArray[np.int64]:
    return np.ones(count, np.int64)


def test_places_side_by_side_have_no_more_logits_than_other_scores(
    cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, sizes = some_ids(60), list[int]()
    (whole,) = scores(cells, ids, [3], ones(60))
    made = Cells.logits

    def noted(engine: Cells, *about: Any) -> Any:
        logits = made(engine, *about)
        sizes.append(logits.size)
        return logits

    monkeypatch.setattr(Cells, "logits", noted)
    monkeypatch.setattr(scoring, "MAX_LOGITS_IN_CACHE", 120)  # of 56 places times 12 symbols
    monkeypatch.setattr(scoring, "MANY_ROWS", 1)
    (parted,) = scores(cells, ids, [3], ones(60))
    assert max(sizes) <= 120
    assert parted.nats_per_token == pytest.approx(whole.nats_per_token, rel=1e-6)


def test_a_place_sees_its_context_and_nothing_else(
    cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "ROWS", 7)
    monkeypatch.setattr(reading, "TOKENS_READ", 40)
    ids = some_ids(60)
    lengths = np.repeat((7, 2), (20, 40))  # characters; those of the first 20 tokens are not scored
    found = list(scores(cells, ids, [1, 3, 20], lengths))
    before: list[float] = []
    for score, num_tokens in zip(found, (1, 3, 20), strict=True):
        costs = []
        for place in range(20, 60):  # all rows have the same places
            read = ids[None, place - num_tokens : place]
            logits, _ = cells(read, cells.initial_state(1))
            costs.append(float(cross_entropy(logits[0, -1], np.array(ids[place], np.int64))))
        mean = float(np.mean(costs))
        assert score.context == num_tokens
        assert score.places == 40
        assert score.standard_error == 0  # nothing was left to chance
        assert score.nats_per_token == pytest.approx(mean, rel=1e-5)
        assert score.bits_per_character == pytest.approx(mean / LN2 / 2, rel=1e-5)
        if before:
            gains = np.array(before) - costs
            assert score.gain == pytest.approx(gains.mean(), abs=1e-5)
            means = [gains.reshape(-1, alike).mean(1) for alike in (1, 2, 4)]
            errors = [m.std(ddof=1) / len(m) ** 0.5 for m in means]
            widest = max(range(3), key=lambda k: t_95(len(means[k]) - 1) * errors[k])
            assert score.gain_error == pytest.approx(errors[widest], rel=1e-3)
        before = costs


def test_a_long_context_takes_no_more_memory_than_a_short_one(
    cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, shapes = cells.read, list[tuple[int, ...]]()

    def watched(ids: NDArray[Any], state: Any) -> Any:
        shapes.append(ids.shape)
        return read(ids, state)

    monkeypatch.setattr(cells, "read", watched)
    list(scores(cells, some_ids(500), [300], ones(500)))
    assert sum(rows * steps for rows, steps in shapes) == 300 * 200
    assert max(rows * steps for rows, steps in shapes) == context.ROWS * WINDOW == TOKENS_READ


def test_a_sample_of_places_is_told_with_its_standard_error(
    cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = some_ids(3000)
    (whole,) = scores(cells, ids, [4], ones(3000))
    monkeypatch.setattr(context, "MAX_PLACES", 500)
    (sample,) = scores(cells, ids, [4], ones(3000))
    assert (whole.places, sample.places) == (3000 - 256, 500)
    assert 0 < sample.standard_error < 0.2
    assert abs(sample.nats_per_token - whole.nats_per_token) < 4 * sample.standard_error


def test_the_standard_error_is_how_much_samples_of_so_many_places_differ(
    cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = some_ids(700)
    monkeypatch.setattr(context, "MAX_PLACES", 600)  # of 636, so that any two share most
    found: list[context.ContextScore] = []
    for seed in range(40):
        monkeypatch.setattr(context, "SEED", seed)
        found += scores(cells, ids, [4], ones(700))
    spread = np.std([score.nats_per_token for score in found], ddof=1)
    assert np.mean([score.standard_error for score in found]) == pytest.approx(spread, rel=0.3)


def test_contexts_that_are_tried_in_different_runs_are_scored_at_the_same_places(
    cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, lengths = some_ids(1000), ones(1000)
    together = list(scores(cells, ids, doublings(1000), lengths))
    for alone in together:  # up to the 64 that `auto` would come to
        (found,) = scores(cells, ids, [alone.context], lengths)
        assert (found.places, found.nats_per_token) == (1000 - 64, alone.nats_per_token)
    monkeypatch.setattr(context, "MAX_PLACES", 100)
    some, others = (next(iter(scores(cells, ids, [1, n], lengths))) for n in (2, 64))
    assert some.nats_per_token == others.nats_per_token
    assert next(iter(scores(cells, ids, [1, 200], lengths))).nats_per_token != some.nats_per_token


def test_places_are_distinct_in_order_and_have_the_context() -> None:
    chosen = places(100_000, 50)
    assert len(chosen) == context.MAX_PLACES
    assert (np.diff(chosen) > 0).all()
    assert chosen.min() >= 50
    assert chosen.max() < 100_000
    assert (places(100_000, 50) == chosen).all()
    assert places(10, 7).tolist() == [7, 8, 9]
    assert len(places(1 << 50, 50)) == MAX_PLACES  # of a text for which no memory would do


def test_more_context_than_there_is_text_is_refused(cells: Cells) -> None:
    with pytest.raises(OptionError, match="--context 60 is too long: the text has 60 tokens"):
        list(scores(cells, some_ids(60), [1, 60], ones(60)))


def test_there_is_no_gain_on_nothing(cells: Cells) -> None:
    first, second = (one.to_json() for one in scores(cells, some_ids(60), [1, 4], ones(60)))
    assert first["gain"] is first["gain_error"] is None
    assert second["gain_error"] > 0


def test_a_single_place_says_nothing_of_how_sure_a_gain_is(cells: Cells) -> None:
    _, second = scores(cells, some_ids(9), [4, 8], ones(9))
    assert second.places == 1
    told = second.to_json()
    assert told["gain_error"] is None
    assert told["gain"] == second.gain != 0
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_a_text_of_one_token_is_told_to_be_too_short(cells: Cells) -> None:
    with pytest.raises(OptionError, match=r"the text has 1 token; give a text of two"):
        list(scores(cells, some_ids(1), [1], ones(1)))


def test_doublings_leave_places_enough() -> None:
    assert doublings(1) == doublings(15) == [1]
    assert doublings(64) == [1, 2, 4, 8]
    assert doublings(10**9)[-1] == context.MAX_CONTEXT


class Looker(Stateless):
    """An engine that knows the token that was read so many steps ago, and guesses otherwise.

    Its state is what it has read, (B, T).
    """

    vocab_size = 12

    def __init__(self, distance: int) -> None:
        self.distance = distance

    def initial_state(self, batch_size: int) -> Any:
        return np.empty((batch_size, 0), np.int64)

    def read(self, ids: NDArray[Any], state: Any) -> tuple[Any, Any]:
        read = np.concatenate((state, ids), axis=1)
        hidden = np.zeros((*ids.shape, 12), np.float32)
        if read.shape[1] >= self.distance:
            hidden[np.arange(len(ids)), -1, read[:, -self.distance]] = 20
        return hidden, read

    def select(self, state: Any, streams: slice | Sequence[int]) -> Any:
        return state[streams]

    def concatenate(self, states: Sequence[Any]) -> Any:
        (state,) = states  # all contexts are as long
        return state


def test_context_grows_until_nothing_more_is_gained() -> None:
    period = some_ids(8)  # what comes next is what came eight tokens ago
    ids = np.tile(period, 200)
    contexts = doublings(len(ids))
    found = list(scores(Looker(8), ids, contexts, ones(1600), until_no_gain=True))
    assert [score.context for score in found] == [1, 2, 4]  # nothing is gained by 2 and by 4
    found = list(scores(Looker(8), ids, contexts, ones(1600)))
    assert [score.context for score in found] == contexts
    for score in found:
        expected = log(12) if score.context < 8 else 0.0
        assert score.nats_per_token == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("distance", [2, 4])
def test_context_goes_on_where_it_helps_after_all(distance: int) -> None:
    """One doubling in vain is not the end: a gain after it is looked for, and counted from anew."""
    ids = np.tile(some_ids(distance), 1600 // distance)
    found = list(scores(Looker(distance), ids, doublings(1600), ones(1600), until_no_gain=True))
    assert [score.context for score in found] == [1, 2, 4, 8, 16][: 4 if distance == 2 else 5]


def test_context_ends_after_two_gains_below_twice_their_error(cells: Cells) -> None:
    seen = set()
    for length in range(300, 1500, 100):
        ids, contexts = some_ids(length), doublings(length)
        every = list(scores(cells, ids, contexts, ones(length)))
        vain = [False] + [score.gain <= 2 * score.gain_error for score in every[1:]]
        seen |= {0 < score.gain <= 2 * score.gain_error for score in every}
        ends = [k for k in range(1, len(every)) if vain[k - 1] and vain[k]]
        found = list(scores(cells, ids, contexts, ones(length), until_no_gain=True))
        assert len(found) == min(ends, default=len(every) - 1) + 1
    assert seen == {True, False}  # some gains are there, and may be chance
