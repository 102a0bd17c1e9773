"""Two models on one text: the difference is that of their scores, and its interval holds what it says."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmgen import comparison
from lstmgen.comparison import MIN_LINES, NUM_BLOCKS, by_block, difference, edges, t_95
from lstmgen.scoring import LN2


@given(st.text("ab\n", min_size=1, max_size=400))
def test_blocks_cover_the_text(text: str) -> None:
    ends = edges(text)
    assert ends[-1] == len(text)
    assert (np.diff(ends, prepend=0) > 0).all()


def test_blocks_are_lines_where_there_are_many() -> None:
    text = "one\n\ntwo!\n" * MIN_LINES + "rest"
    assert edges("\n" + text).tolist()[0] == 5
    ends = edges(text).tolist()
    assert ends[:4] == [4, 10, 14, 20]  # an empty line goes with the next one
    assert ends[-1] == len(text)
    assert len(edges("x" * 5000)) == len(edges("x" * 9999)) == NUM_BLOCKS
    assert edges("x" * 199).tolist() == [66, 132, 199]  # a block of a few characters says nothing
    assert edges("x" * 20).tolist() == [20]


def test_a_few_lines_are_blocks_where_stretches_would_be_fewer() -> None:
    assert len(edges("ab\n" * 20)) == 20
    assert len(edges("He was born in a village by the sea, in spring.\n" * 20)) == 20
    assert len(edges(("x" * 999 + "\n") * 20)) == NUM_BLOCKS


def test_a_text_of_line_ends_alone_is_cut_at_equal_distances() -> None:
    assert len(edges("\n" * 1_000_000)) == NUM_BLOCKS  # and soon


def test_empty_lines_at_the_end_are_no_block_of_their_own() -> None:
    for count in (5, MIN_LINES):
        assert edges("a\n" * count + "\n\n").tolist()[-2:] == [2 * count - 2, 2 * count + 2]


def test_the_blocks_of_several_texts_are_those_of_each() -> None:
    ends = [np.array([2, 5]), np.array([4]), np.array([1, 3])]
    assert comparison.joined(ends).tolist() == [2, 5, 9, 10, 12]


def test_each_token_counts_in_the_block_in_which_it_ends() -> None:
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
    assert one.blocks == 4
    assert one.interval is not None
    low, high = one.interval
    assert high - low == pytest.approx(2 * 3.182446 * one.standard_error, rel=0.01)
    assert (low + high) / 2 == pytest.approx(one.bits_per_character)
    assert difference(second, first, ends).bits_per_character == -one.bits_per_character


def test_a_single_block_tells_nothing() -> None:
    one = difference(np.array([1.0]), np.array([9.0]), np.array([4]))
    assert one.is_more_than_chance is None
    told = one.to_json()
    assert told["standard_error"] is told["interval"] is None  # as JSON has no infinity
    assert json.loads(json.dumps(told, allow_nan=False)) == told


@pytest.mark.parametrize("count", [10, 30, 200])
def test_chance_alone_is_called_more_than_chance_one_time_in_twenty(count: int) -> None:
    generator = np.random.default_rng(0)
    ends = np.arange(1, count + 1) * 50
    called = 0
    for _ in range(4000):
        first, second = generator.normal(100, 20, (2, count))
        called += bool(difference(first, second, ends).is_more_than_chance)
    assert 150 < called < 250


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
