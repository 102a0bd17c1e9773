"""The next id, by logits and a random number: the distribution asked for, and draws that follow it."""

from math import log

import numpy as np
import pytest
from distributions import LOGITS, OPTIONS, assert_drawn_from, by_definition, distribution
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstmgen.config import DecodingConfig
from lstmgen.drawing import Uniforms, draw, relative_probabilities
from lstmgen.vocabulary import UNKNOWN_ID


def row(logits: list[float], decoding: DecodingConfig, seen: set[int]) -> NDArray[np.float64]:
    """`distribution` of a single text."""
    marked = np.array([[token in seen for token in range(len(logits))]])
    result: NDArray[np.float64] = distribution(np.array([logits]), decoding, marked)[0]
    return result


decodings = st.builds(
    DecodingConfig,
    temperature=st.sampled_from([0, 0.1, 0.7, 1, 3.0]),
    top_k=st.none() | st.integers(1, 12),
    top_p=st.none() | st.sampled_from([5e-324, 0.013, 0.31, 0.57, 0.871, 0.9973, 1]),
    min_p=st.none() | st.sampled_from([0, 0.017, 0.23, 0.61, 1]),
    repetition_penalty=st.none() | st.sampled_from([0.5, 1, 1.3, 4]),
)


logit_lists = st.lists(
    # Steps of 1/8 make ties likely, and no share falls on the edge of a limit above but by a tie.
    st.integers(-40, 40).map(lambda n: n / 8),
    min_size=2,
    max_size=10,
)


# In another order they would keep one token fewer, or one more.
@example(
    [0, log(0.5), log(0.3), log(0.15), log(0.05)],
    DecodingConfig(temperature=1, top_p=0.82, min_p=0.2),
    set(),
)
@example(
    [0, log(0.4), log(0.3), log(0.2), log(0.1)],
    DecodingConfig(temperature=1, top_k=2, top_p=0.5),
    set(),
)
@example(
    [0, log(0.4), log(0.3), log(0.2), log(0.1)], DecodingConfig(temperature=0.5, top_p=0.5), set()
)
@given(logit_lists, decodings, st.sets(st.integers(0, 9)))
def test_distribution_is_the_one_defined(
    logits: list[float], decoding: DecodingConfig, seen: set[int]
) -> None:
    p = by_definition(logits, decoding, seen)
    expected = [p.get(token, 0.0) for token in range(len(logits))]
    np.testing.assert_allclose(row(logits, decoding, seen), expected, rtol=1e-9, atol=1e-12)


def test_a_temperature_that_is_next_to_nothing_takes_the_likeliest() -> None:
    logits = np.array([[9.0, 1.0, 3.0, 2.9999]], np.float32)
    for temperature in (1e-40, 1e-320):
        kept = relative_probabilities(
            logits, DecodingConfig(temperature=temperature), np.zeros(logits.shape, np.bool_)
        )
        assert kept.tolist() == [[0, 0, 1, 0]]


def test_top_k_is_by_the_logits_whatever_the_temperature() -> None:
    """Divided by so much, two of them are the same number in float32."""
    logits = np.array([[-5.0, 4.99, 5.0, -9.0]], np.float32)
    decoding = DecodingConfig(temperature=1e6, top_k=1)
    kept = relative_probabilities(logits, decoding, np.zeros(logits.shape, np.bool_))
    assert kept.tolist() == [[0, 0, 1, 0]]


def test_top_k_is_by_the_logits_also_where_they_are_far_below_the_highest() -> None:
    """Beside 10, two of them are the same number in float32."""
    logits = np.array([[-5.0, 10.0, 1e-8, 2e-8]], np.float32)
    decoding = DecodingConfig(temperature=1, top_k=2)
    kept = relative_probabilities(logits, decoding, np.zeros(logits.shape, np.bool_))
    assert (kept > 0).tolist() == [[False, True, False, True]]


def test_top_k_may_be_a_short_number_of_numpy() -> None:
    logits = np.arange(300, dtype=np.float32)[None] / 100
    decoding = DecodingConfig(temperature=1, top_k=np.uint8(40))  # type: ignore[arg-type]
    kept = relative_probabilities(logits, decoding, np.zeros(logits.shape, np.bool_))
    assert np.flatnonzero(kept).tolist() == list(range(260, 300))


def test_top_p_counts_tokens_that_weigh_something_only_together() -> None:
    """Added to the first in float32, each of the others would be lost."""
    logits = np.full((1, 200_002), log(1e-8), np.float32)
    logits[0, 1] = 0  # of all, which weigh 1.002, 0.999 are 1.000998
    decoding = DecodingConfig(temperature=1, top_p=0.999)
    kept = relative_probabilities(logits, decoding, np.zeros(logits.shape, np.bool_))
    assert np.count_nonzero(kept) == pytest.approx(1 + 99_800, abs=20)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 7, 8, 100])
@pytest.mark.parametrize("logits", [LOGITS, [0.0] * 8, [9.0, 1, 1, 1, 1, 1, 2, 2]], ids=str)
def test_top_k_keeps_exactly_k_even_where_they_are_equally_likely(
    logits: list[float], k: int
) -> None:
    decoding = DecodingConfig(temperature=1, top_k=k)
    kept = np.flatnonzero(row(logits, decoding, set())).tolist()
    assert len(kept) == min(k, 7)
    assert kept == sorted(by_definition(logits, decoding, set()))


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=10), decodings)
def test_unk_is_never_drawn_and_shares_add_up_to_one(
    logits: list[float], decoding: DecodingConfig
) -> None:
    p = row([100.0, *logits], decoding, {0, 1})
    assert p[UNKNOWN_ID] == 0
    assert p.min() >= 0
    assert p.sum() == pytest.approx(1)


def test_rows_of_a_batch_do_not_touch_each_other() -> None:
    generator = np.random.default_rng(0)
    logits, seen = generator.normal(0, 3, (6, 9)), generator.random((6, 9)) < 0.5
    decoding = OPTIONS[-1]
    together = distribution(logits, decoding, seen)
    for b in range(6):
        np.testing.assert_array_equal(
            together[b], distribution(logits[b : b + 1], decoding, seen[b : b + 1])[0]
        )


def test_distribution_leaves_the_logits_as_they_were() -> None:
    logits = np.array([LOGITS])
    distribution(logits, OPTIONS[-1], np.ones((1, 8), np.bool_))
    assert logits.tolist() == [LOGITS]


@pytest.mark.parametrize("decoding", OPTIONS, ids=str)
def test_frequencies_of_100_000_draws_match_the_distribution(decoding: DecodingConfig) -> None:
    seen = {2, 4, 6}
    p = row(LOGITS, decoding, seen)
    ids = draw(np.tile(p, (100_000, 1)), np.random.default_rng(20).random(100_000))
    counts = np.bincount(ids, minlength=len(LOGITS))
    assert_drawn_from(counts, by_definition(LOGITS, decoding, seen))


def test_a_large_vocabulary_is_drawn_from_as_a_small_one_is() -> None:
    # Weights in a few places far apart, so that some blocks of tokens have none and others many.
    weights = np.zeros((1, 40_000), np.float32)
    places = [0, 1, 511, 512, 513, 5_000, 20_480, 39_999]
    weights[0, places] = [1, 2, 30, 1, 5, 10, 4, 47]
    generator = np.random.default_rng(3)
    ids = np.concatenate(
        [draw(np.tile(weights, (50, 1)), generator.random(50)) for _ in range(400)]
    )
    counts = np.bincount(ids, minlength=40_000)
    assert_drawn_from(counts, {place: float(weights[0, place]) / 100 for place in places})


@pytest.mark.parametrize("seed", range(20))
def test_what_has_no_weight_is_not_drawn_at_the_edge_of_a_block_either(seed: int) -> None:
    # Of very different sizes, so that their sums are rounded.
    sizes = np.random.default_rng(seed).random((1, 20 * 512))
    weights = np.exp(-25 * sizes).astype(np.float32)
    weights[0, ::512] = 0  # the first of each block
    edges = np.cumsum(np.add.reduceat(weights, np.arange(0, 20 * 512, 512), 1, np.float64))
    for share in edges[:-1] / edges[-1]:
        for near in (np.nextafter(share, 0), share, np.nextafter(share, 1)):
            (drawn,) = draw(weights, np.array([near]))
            assert weights[0, drawn] > 0


@pytest.mark.parametrize("value", [0.0, 0.5, 1 - 2**-53])
def test_draw_never_takes_a_token_of_no_probability(value: float) -> None:
    third = 1 / 3  # three of which round to a little under 1 or to 1
    for shares_of_row in ([0, 1, 0], [0, third, 0, third, third, 0], [0.1] * 10 + [0.0], [0, 0, 1]):
        p = np.array([shares_of_row])
        assert p[0, draw(p, np.array([value]))[0]] > 0
        wide = np.zeros((2, 3_000))
        wide[:, 700 : 700 + p.size] = p
        assert wide[0, draw(wide, np.array([value] * 2))].all()


def test_random_numbers_of_a_text_are_its_generators_one_by_one() -> None:
    uniforms, taken = Uniforms(), list[list[float]]()
    uniforms.add([3, 4])
    taken += [uniforms.take().tolist() for _ in range(100)]
    uniforms.add([5])
    taken += [uniforms.take().tolist() for _ in range(50)]
    uniforms.keep([2, 0])
    taken += [uniforms.take().tolist() for _ in range(200)]
    uniforms.keep([])
    uniforms.add([6])
    taken += [uniforms.take().tolist()]
    by_seed = {seed: np.random.default_rng(seed) for seed in (3, 4, 5, 6)}
    for seeds, count in (((3, 4), 100), ((3, 4, 5), 50), ((5, 3), 200), ((6,), 1)):
        expected = [[by_seed[seed].random() for seed in seeds] for _ in range(count)]
        assert taken[:count] == expected
        del taken[:count]
