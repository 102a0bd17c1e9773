"""The cache is held against itself spelled out, one place at a time, and must not see what is to come."""

from math import exp, log
from typing import Any

import numpy as np
import pytest
from engines import random_weights
from numpy.typing import NDArray

from lstmgen import cache
from lstmgen.batching import Streams
from lstmgen.cache import window_nats
from lstmgen.cells import Cells
from lstmgen.config import CacheConfig, ModelConfig
from lstmgen.scoring import cross_entropy, score_ids

CONFIG = ModelConfig(vocab_size=12, num_layers=2, hidden_size=8, embedding_size=6)


@pytest.fixture
def engine() -> Cells:
    return Cells(CONFIG, random_weights(CONFIG, scale=0.8))


def some_ids(length: int) -> NDArray[np.uint8]:
    return np.random.default_rng(length).integers(0, 12, length).astype(np.uint8)


def costs(engine: Cells, ids: NDArray[np.uint8], config: CacheConfig) -> list[float]:
    return list(window_nats(engine, Streams(ids, 1, 1, config.window), config))


def spelled_out(engine: Cells, ids: NDArray[np.uint8], config: CacheConfig) -> float:
    state, total = engine.initial_state(1), 0.0
    past: list[tuple[NDArray[np.float64], int]] = []
    for before, target in zip([1, *ids[:-1].tolist()], ids.tolist(), strict=True):
        hidden, state = engine.read(np.array([[before]]), state)
        h = np.asarray(hidden, np.float64).reshape(-1)
        p = exp(-float(cross_entropy(engine.logits(hidden.reshape(1, -1)), np.array([target]))[0]))
        if past:
            weights = [(exp(config.sharpness * float(h @ key)), word) for key, word in past]
            shown = sum(w for w, word in weights if word == target) / sum(w for w, _ in weights)
            p = (1 - config.share) * p + config.share * shown
        total -= log(p)
        past = [*past, (h, target)][-config.size :]
    return total


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 100])
@pytest.mark.parametrize("size", [1, 7, 16, 40, 1000])
def test_the_score_is_that_of_the_cache_spelled_out(engine: Cells, length: int, size: int) -> None:
    config = CacheConfig(size=size, share=0.3, sharpness=0.5, window=16)
    ids = some_ids(length)
    assert sum(costs(engine, ids, config)) == pytest.approx(
        spelled_out(engine, ids, config), rel=1e-5
    )


def test_what_is_very_much_alike_is_no_number_beyond_measure(engine: Cells) -> None:
    config = CacheConfig(size=20, share=0.3, sharpness=1e5, window=16)
    with np.errstate(all="raise", under="ignore"):
        assert np.isfinite(costs(engine, some_ids(100), config)).all()


def test_what_is_too_old_is_not_kept(engine: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    original = cache.cache_probabilities

    def watched(hidden: Any, keys: Any, *about: Any) -> Any:
        held.append(len(keys))
        return original(hidden, keys, *about)

    monkeypatch.setattr(cache, "cache_probabilities", watched)
    costs(engine, some_ids(200), CacheConfig(size=30, window=16))
    assert max(held) == 30 + 16


def test_windows_change_nothing(engine: Cells) -> None:
    configs = [CacheConfig(size=30, window=window) for window in (1, 16, 64, 1000)]
    scores = [sum(costs(engine, some_ids(150), config)) for config in configs]
    assert scores == pytest.approx([scores[0]] * 4, rel=1e-6)


def test_without_a_share_it_is_the_static_score(engine: Cells) -> None:
    ids = some_ids(100)
    expected = score_ids(engine, ids, 1)
    assert sum(costs(engine, ids, CacheConfig(size=50, share=0))) == pytest.approx(
        expected, rel=1e-6
    )


def test_it_does_not_know_what_is_to_come(engine: Cells) -> None:
    ids, config = some_ids(64), CacheConfig(size=50, window=16)
    changed = ids.copy()
    changed[40:] = (changed[40:] + 1) % 12
    assert costs(engine, changed, config)[:2] == costs(engine, ids, config)[:2]
    hidden, _ = engine.read(ids[None, :48].astype(np.int64), engine.initial_state(1))
    before, after = (
        cache.cache_probabilities(hidden[0, 32:], hidden[0], of[:48].astype(np.int64), config)
        for of in (ids, changed)
    )
    np.testing.assert_array_equal(before[:8], after[:8])  # of places 32 to 39, within a window


def test_a_text_of_few_words_is_known_soon(engine: Cells) -> None:
    ids = (3 + some_ids(200) % 2).astype(np.uint8)
    parts = costs(engine, ids, CacheConfig(size=100, share=0.5, sharpness=0, window=20))
    static = costs(engine, ids, CacheConfig(size=100, share=0, window=20))
    # Half of the probability goes to two words that are equally frequent: 2 bits at most.
    assert parts[-1] < 20 * 1.5 < 0.7 * static[-1]


def test_a_token_that_the_model_holds_for_impossible_costs_a_number(engine: Cells) -> None:
    engine.output_bias = engine.output_bias * 0
    engine.output_bias[3] = 5000.0  # every other token costs some 5,000 nats
    ids = np.array([3, 4, 5, 3, 6], np.uint8)
    total = sum(costs(engine, ids, CacheConfig(size=5, share=0.2, window=2)))
    assert 14_000 < total < 20_000
