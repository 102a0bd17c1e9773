"""Two models on one text: the difference is that of their scores, and its interval holds what it says."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmgen import comparison
from lstmgen.comparison import BLOCK_LENGTH, by_block, difference, edges, t_95
from lstmgen.scoring import LN2


@given(st.text("ab\n", min_size=1, max_size=400))
def test_blocks_cover_the_text(text: str) -> None:
    ends = edges(text)
    assert ends[-1] == len(text)
    assert (np.diff(ends, prepend=0) > 0).all()


def test_blocks_are_lines_where_there_are_many() -> None:
    text = "one\n\ntwo!\n" * 30 + "rest"
    assert edges("\n" + text).tolist()[0] == 5
    ends = edges(text).tolist()
    assert ends[:4] == [4, 10, 14, 20]  # an empty line goes with the next one
    assert ends[-1] == len(text)
    assert len(edges("x" * 5000)) == len(edges("x" * 10_000)) == 100
    assert edges("x" * 199).tolist() == [49, 99, 149, 199]
    assert edges("x" * 20).tolist() == [20]


def test_a_few_lines_are_blocks_where_stretches_would_be_fewer() -> None:
    assert len(edges("ab\n" * 20)) == 20
    assert len(edges("He was born in a village by the sea, in spring.\n" * 20)) == 20
    assert len(edges(("x" * 999 + "\n") * 20)) == 100


def test_a_line_that_is_most_of_the_text_is_no_single_block() -> None:
    """Its own part of the residuals would be what is left over of the others', next to nothing."""
    text = "short\n" * 40 + "x" * 100_000 + "\n" + "short\n" * 40
    ends, generator = edges(text), np.random.default_rng(0)
    assert np.diff(ends, prepend=0).max() <= np.ceil(len(text) / 100)
    sizes, called = np.diff(ends, prepend=0), 0
    for _ in range(400):
        first, second = sizes + generator.normal(0, 1, (2, len(sizes))) * np.sqrt(sizes)
        called += bool(difference(first, second, ends).is_more_than_chance)
    assert called < 28  # one in twenty, and what chance adds to that


def test_a_long_line_is_cut_evenly() -> None:
    ends = edges("ab\n" + "x" * 3 * BLOCK_LENGTH + "\n" + "cd\n")
    assert ends.tolist() == [3, 40, 78, 116, 154, 157]


def test_a_text_of_line_ends_alone_is_cut_at_equal_distances() -> None:
    assert len(edges("\n" * 1_000_000)) == 100  # and soon


def test_empty_lines_at_the_end_are_no_block_of_their_own() -> None:
    for count in (5, 30):
        assert edges("a\n" * count + "\n\n").tolist()[-2:] == [2 * count - 2, 2 * count + 2]


def test_the_blocks_of_several_texts_are_those_of_each() -> None:
    ends = [np.array([2, 5]), np.array([4]), np.array([1, 3])]
    assert comparison.joined(ends).tolist() == [2, 5, 9, 10, 12]


@pytest.mark.parametrize("at_once", [2, 1 << 20])
def test_each_token_counts_in_the_block_in_which_it_ends(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(comparison, "TOKENS_AT_ONCE", at_once)
    sums = by_block(np.array([2, 1, 3, 1]), np.array([1.0, 2.0, 4.0, 8.0]), np.array([3, 5, 7]))
    assert sums.tolist() == [3, 0, 12]


def test_the_difference_is_that_of_the_scores_and_its_error_is_by_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparison, "FEW_BLOCKS", 4)
    ends = np.array([2, 5, 9, 10])
    first, second = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 5.0, 4.5])
    one = difference(first, second, ends)
    ratio = 3.5 / 10
    rest = [1 - 2 * ratio, 0 - 3 * ratio, 2 - 4 * ratio, 0.5 - ratio]
    assert one.bits_per_character == pytest.approx(ratio / LN2)
    error = (4 / 3 * sum(value**2 for value in rest)) ** 0.5 / 10
    assert one.standard_error == pytest.approx(error / LN2)
    assert one.num_blocks == 4
    assert one.interval is not None
    low, high = one.interval
    assert high - low == pytest.approx(2 * 3.182446 * one.standard_error, rel=0.01)
    assert (low + high) / 2 == pytest.approx(one.bits_per_character)
    assert one.to_json()["interval"] == [low, high]
    assert low < high
    assert difference(second, first, ends).bits_per_character == -one.bits_per_character


def test_a_single_block_tells_nothing() -> None:
    one = difference(np.array([1.0]), np.array([9.0]), np.array([4]))
    assert one.is_more_than_chance is None
    told = one.to_json()
    assert told["standard_error"] is told["interval"] is None  # as JSON has no infinity
    assert json.loads(json.dumps(told, allow_nan=False)) == told


@pytest.mark.parametrize(("count", "least"), [(10, 150), (30, 100), (200, 80)])
def test_chance_alone_is_called_more_than_chance_one_time_in_twenty_at_most(
    count: int, least: int
) -> None:
    generator = np.random.default_rng(0)
    ends = np.arange(1, count + 1) * 50
    called = 0
    for _ in range(4000):
        first, second = generator.normal(100, 20, (2, count))
        called += bool(difference(first, second, ends).is_more_than_chance)
    assert least < called < 250


def test_neighbours_that_are_alike_make_the_interval_wider() -> None:
    """As in a text that has a part on this and a part on that."""
    generator = np.random.default_rng(0)
    ends, called = np.arange(1, 1001) * 50, 0
    for _ in range(400):
        first = generator.normal(100, 20, 1000)
        second = first + np.repeat(generator.normal(0, 5, 100), 10)
        one = difference(first, second, ends)
        assert one.num_blocks < 1000
        called += bool(one.is_more_than_chance)
    assert 5 < called < 25
    alone = 1000**0.5 * 5 / 50_000 / LN2  # were the thousand independent
    assert one.standard_error > 2.5 * alone


def test_neighbours_are_taken_together_by_twos_until_few_blocks_are_left() -> None:
    values = np.array([0.0, 0.0, 1.0, 1.0] * 10)  # of 40, 20 and 10 blocks
    error, blocks = comparison.blocked_error(values, np.ones(40))
    assert blocks == 20
    assert error == pytest.approx((20 / 19 * 20 * 1.0) ** 0.5 / 40)
    error, blocks = comparison.blocked_error(np.array([0.0, 1.0] * 4), np.ones(8))
    assert blocks == 8


@pytest.mark.parametrize(("unknown", "told"), [(0, True), (3, True), (5, None), (300, None)])
def test_what_only_one_model_knows_may_make_the_difference(unknown: int, told: bool | None) -> None:
    ends = np.arange(1, 101) * 100
    first = np.full(100, 150.0)
    # 0.01 bits a character are 100 bits, of which the interval takes 18, and five characters could be 100.
    second = first + LN2 * (1 + 0.9 * np.tile([1.0, -1.0], 50) * np.repeat([1, -1], 50))
    for one in (difference(first, second, ends, unknown), difference(second, first, ends, unknown)):
        assert one.is_more_than_chance is told
        assert one.to_json()["unknown_characters"] == unknown
    close = first + (second - second.mean())
    assert difference(first, close, ends, unknown).is_more_than_chance is (
        False if unknown == 0 else None
    )


@pytest.mark.parametrize(("freedom", "t"), [(9, 2.262157), (29, 2.045230), (99, 1.984217)])
def test_few_blocks_take_a_wider_interval(freedom: int, t: float) -> None:
    assert t_95(freedom) == pytest.approx(t, abs=1e-3)


def test_a_real_difference_is_seen_though_texts_vary_more() -> None:
    generator = np.random.default_rng(0)
    ends = np.arange(50, 10_050, 50)
    first = generator.normal(100, 40, 200)
    one = difference(first, first + generator.normal(2, 5, 200), ends)
    assert one.is_more_than_chance
    assert difference(first + 2, first, ends).is_more_than_chance
    assert one.bits_per_character == pytest.approx(2 / 50 / LN2, rel=0.5)


def test_a_few_blocks_say_nothing_of_chance() -> None:
    for count in (9, 10):
        ends = np.arange(1, count + 1) * 50
        first = np.full(count, 100.0)
        one = difference(first, first + 5 + np.arange(count) / 100, ends)
        assert one.is_more_than_chance is (None if count == 9 else True)
        assert (one.interval is None) == (one.to_json()["interval"] is None) == (count == 9)
