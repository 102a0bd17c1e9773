"""Ids become streams and windows: nothing is lost, nothing is seen twice, and the order holds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstmgen.batching import IGNORED, Streams, even_window, fitting_batch
from lstmgen.vocabulary import Ids

START = 0

sizes = st.tuples(st.integers(1, 60), st.integers(1, 8), st.integers(1, 12)).filter(
    lambda size: size[0] >= size[1]
)


def numbered(num_tokens: int) -> Ids:
    """A text in which every token tells its place, from 1 on; the start id is 0."""
    return np.arange(1, num_tokens + 1, dtype=np.uint16)


def whole_pass(streams: Streams) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Inputs and targets of all windows one after the other, each (B, windows x T)."""
    windows = [streams.window(index) for index in range(streams.num_windows)]
    return (
        np.concatenate([inputs for inputs, _ in windows], axis=1),
        np.concatenate([targets for _, targets in windows], axis=1),
    )


@given(sizes, st.integers(0, 30))
def test_every_target_is_seen_exactly_once_in_the_order_of_the_text(
    size: tuple[int, int, int], warm_up: int
) -> None:
    num_tokens, batch_size, window = size
    streams = Streams(numbered(num_tokens), START, batch_size, window, warm_up)
    _, targets = whole_pass(streams)
    seen = [target for row in targets.tolist() for target in row if target != IGNORED]
    assert seen == list(range(1, num_tokens + 1))


@given(sizes, st.integers(0, 30))
def test_inputs_are_the_targets_one_step_earlier_and_the_first_is_the_start(
    size: tuple[int, int, int], warm_up: int
) -> None:
    num_tokens, batch_size, window = size
    inputs, targets = whole_pass(Streams(numbered(num_tokens), START, batch_size, window, warm_up))
    scored = targets != IGNORED
    np.testing.assert_array_equal(inputs[scored], targets[scored] - 1)
    assert (inputs[targets == 1] == START).all()


@given(sizes, st.integers(0, 30))
def test_each_stream_reads_on_where_its_last_window_ended(
    size: tuple[int, int, int], warm_up: int
) -> None:
    num_tokens, batch_size, window = size
    inputs, targets = whole_pass(Streams(numbered(num_tokens), START, batch_size, window, warm_up))
    for row, scored in zip(inputs, targets != IGNORED, strict=True):
        read = row[: np.flatnonzero(scored)[-1] + 1]  # padding comes after
        np.testing.assert_array_equal(np.diff(read), 1)


@given(sizes, st.integers(0, 30))
def test_each_stream_begins_warm_up_tokens_before_its_part_and_does_not_score_them(
    size: tuple[int, int, int], warm_up: int
) -> None:
    num_tokens, batch_size, window = size
    inputs, targets = whole_pass(Streams(numbered(num_tokens), START, batch_size, window, warm_up))
    for row, scored in zip(inputs, targets != IGNORED, strict=True):
        lead = int(np.flatnonzero(scored)[0])
        before = int(row[lead])  # tokens of the text before the first that is scored
        assert lead == min(warm_up, before)
        assert row[0] == before - lead


@given(sizes)
def test_streams_are_of_equal_length_but_for_one_token(size: tuple[int, int, int]) -> None:
    num_tokens, batch_size, window = size
    _, targets = whole_pass(Streams(numbered(num_tokens), START, batch_size, window))
    lengths = (targets != IGNORED).sum(axis=1)
    assert targets.shape[0] == batch_size
    assert lengths.max() - lengths.min() <= 1


@given(sizes)
def test_no_window_is_empty_and_all_are_of_the_size_asked_for(size: tuple[int, int, int]) -> None:
    num_tokens, batch_size, window = size
    streams = Streams(numbered(num_tokens), START, batch_size, window)
    for index in range(streams.num_windows):
        inputs, targets = streams.window(index)
        assert inputs.shape == targets.shape == (batch_size, window)
        assert inputs.dtype == targets.dtype == np.int64
        assert (targets != IGNORED).any()


@pytest.mark.parametrize(
    ("num_tokens", "batch_size", "window", "warm_up"),
    [(3, 4, 1, 0), (3, 0, 1, 0), (3, 1, 0, 0), (3, 1, 1, -1), (0, 1, 1, 0)],
)
def test_streams_that_cannot_be_are_a_bug_of_the_caller(
    num_tokens: int, batch_size: int, window: int, warm_up: int
) -> None:
    with pytest.raises(
        ValueError, match=r"\d+ tokens, -?\d+ streams, a window of -?\d+, a warm-up of -?\d+"
    ):
        Streams(numbered(num_tokens), START, batch_size, window, warm_up)


@given(st.integers(0, 5000), st.integers(1, 64), st.integers(1, 200))
def test_fitting_batch_is_the_largest_in_which_the_longest_stream_fills_a_window(
    num_tokens: int, batch_size: int, window: int
) -> None:
    fits = [
        size
        for size in range(1, batch_size + 1)
        if num_tokens >= size and -(-num_tokens // size) >= window
    ]
    assert fitting_batch(num_tokens, batch_size, window) == max(fits, default=0)


@given(st.integers(1, 5000), st.integers(1, 64), st.integers(1, 200))
def test_windows_of_short_streams_are_nearly_equal_and_near_to_what_was_asked(
    num_tokens: int, batch_size: int, window: int
) -> None:
    batch_size = fitting_batch(num_tokens, batch_size, window)
    if not batch_size:
        return
    chosen = even_window(num_tokens, batch_size, window)
    streams = Streams(np.ones(num_tokens, np.uint8), 1, batch_size, chosen)
    last = np.count_nonzero(streams.window(streams.num_windows - 1)[1][-1] != IGNORED)
    if -(-num_tokens // batch_size) > 100 * window:
        assert chosen == window
    else:
        assert last >= chosen - streams.num_windows
        assert 2 * window / 3 <= chosen <= 1.5 * window + 1


@given(st.integers(1, 5000), st.integers(1, 64), st.integers(1, 200))
def test_what_was_made_to_fit_is_left_as_it_is(
    num_tokens: int, batch_size: int, window: int
) -> None:
    if size := fitting_batch(num_tokens, batch_size, window):
        even = even_window(num_tokens, size, window)
        assert fitting_batch(num_tokens, size, even) == size


def test_windows_of_long_streams_are_what_was_asked() -> None:
    assert even_window(1_003_854, 32, 64) == 64
    assert even_window(1000, 15, 64) == 67  # not 64 and 3
    assert even_window(1285 * 32, 32, 64) == 65  # not twenty times 64 and 5
    assert [even_window(length, 1, 64) for length in (6399, 6401)] == [64, 64]
    assert even_window(6338, 1, 64) == 65
