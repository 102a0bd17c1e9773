"""A plan fills the time, keeps it as the machine slows, and grows with what there is to learn from."""

import time
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmgen import planning
from lstmgen.config import (
    LARGE_VOCABULARY,
    SOFTMAX_SAMPLE,
    CellName,
    Level,
    ModelConfig,
    TrainConfig,
)
from lstmgen.planning import Pace, Speed


@given(st.floats(1e-4, 1), st.floats(1e-3, 30), st.floats(10, 1e5))
def test_the_plan_fills_the_time_and_not_more(step: float, validation: float, time: float) -> None:
    num_steps, report_every = planning.plan_steps(Speed(step, validation), time)
    reports = -(-num_steps // report_every)
    assert 1 <= reports <= planning.MAX_REPORTS
    spent = num_steps * step + reports * validation
    if num_steps > 1:
        # A step is left over, and as many reports as rounding the interval up saves.
        assert time - 2 * step - planning.MAX_REPORTS * validation < spent <= time
    if reports > 1:
        few = reports <= planning.FEW_REPORTS
        share = planning.MOST_SHARE if few else planning.REPORT_SHARE
        assert reports * validation <= share * time


def test_an_hour_is_not_spent_without_a_look_at_the_validation_part() -> None:
    _, report_every = planning.plan_steps(Speed(0.26, 75.0), 3600)
    assert 4000 < report_every < 5000  # of some 13,000 steps


def test_a_minute_is_for_training_and_one_look_on_the_way() -> None:
    num_steps, report_every = planning.plan_steps(Speed(0.06, 1.66), 55)
    assert -(-num_steps // report_every) == 2


@pytest.mark.parametrize(
    ("tokens", "text", "level", "size"),
    [
        (4.2e6, 10**6, "char", 384),
        (13e6, 10**6, "char", 384),
        (42e6, 10**6, "char", 448),
        (4.2e6, 205_000, "char", 256),
        (4.2e6, 128_000, "char", 256),
        (12e6, 2 * 10**6, "word", 256),
        (18.6e6, 2 * 10**6, "word", 320),
        (60e6, 2 * 10**6, "word", 448),
        (120e6, 2 * 10**6, "word", 512),
    ],
)
def test_the_network_has_the_size_that_was_chosen_from_the_log(
    tokens: float, text: int, level: Level, size: int
) -> None:
    assert planning.hidden_size(tokens, text, level) == size


@pytest.mark.parametrize(
    ("epochs", "text", "many"),
    [
        (11, 1_003_854, True),  # Tiny Shakespeare: lower by 0.9, 0.5, 0.6 %
        (18, 1_003_854, True),
        (37, 1_003_854, True),
        (25, 450_000, False),  # its first half for 2 minutes: higher by 1.1 %
        (11, 300_000, False),  # its last third for 1 minute: higher by 0.5 %
        (11, 900_000, True),  # the source of Lua for 3 minutes: 0.2 % higher
        (4, 900_000, True),  # lives.txt for 1 minute: lower by 5 %
        (50, 3_000_000, False),  # beyond 40 times nothing is measured, however long a text is
    ],
)
def test_the_streams_are_as_many_as_measured_best(epochs: float, text: int, many: bool) -> None:
    tokens = epochs * text
    more = planning.more_streams(32, tokens, text, "char")
    assert more == ((64, planning.MANY_STREAMS_RATE) if many else None)
    assert planning.more_streams(64, tokens, text, "char") is None
    assert planning.more_streams(32, tokens, text, "word") is None
    more = planning.more_streams(32, tokens, text, "word", cuda=True)
    assert more == ((64, TrainConfig.learning_rate) if many else None)
    assert planning.more_streams(64, tokens, text, "word", cuda=True) is None


@pytest.mark.parametrize(
    ("epochs", "text", "cell", "ladder"),
    [
        (
            22,
            1_003_854,
            "lstm",
            [64],
        ),  # Tiny Shakespeare for 18 seconds of an H100, with 128 higher by 0.8 %
        (85, 1_003_854, "lstm", [64, 128]),  # for a minute
        (29, 2_960_000, "lstm", [64, 128]),  # War and Peace
        (85, 1_003_854, "gru", [64]),
        (500, 1_003_854, "lstm", []),
        (80, 450_000, "lstm", [64, 128]),
        (82, 450_000, "lstm", []),
        (217, 205_000, "lstm", []),  # names.txt, with 128 higher by 1.1 %
    ],
)
def test_a_gpu_takes_still_more_where_a_text_is_read_often(
    epochs: float, text: int, cell: CellName, ladder: list[int]
) -> None:
    streams, rates, taken = 32, {64: planning.MANY_STREAMS_RATE, 128: 0.08}, []
    while more := planning.more_streams(streams, epochs * text, text, "char", cell, cuda=True):
        streams, rate = more
        assert rate == rates[streams]
        taken.append(streams)
    assert taken == ladder


@given(
    st.floats(0, 1e12),
    st.floats(0, 1e12),
    st.integers(1, 10**9),
    st.integers(1, 10**9),
    st.sampled_from(get_args(Level)),
)
def test_neither_more_time_nor_more_text_to_repeat_makes_a_network_smaller(
    one: float, other: float, text: int, longer: int, level: Level
) -> None:
    text, longer = min(text, longer), max(text, longer)
    if max(one, other) < planning.FEW_EPOCHS * longer:
        longer = text
    less = planning.hidden_size(min(one, other), text, level)
    more = planning.hidden_size(max(one, other), longer, level)
    assert planning.SIZE_STEP <= less <= more <= planning.MAX_SIZE
    assert less % planning.SIZE_STEP == 0


@given(
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.integers(1, 10**9),
    st.integers(1, 10**9),
    st.sampled_from(get_args(Level)),
)
def test_dropout_grows_with_epochs_and_size_and_shrinks_with_the_text(
    epochs: float, more: float, size: int, wider: int, text: int, longer: int, level: Level
) -> None:
    least = planning.dropout(min(epochs, more), min(size, wider), max(text, longer), level)
    most = planning.dropout(max(epochs, more), max(size, wider), min(text, longer), level)
    assert 0 <= least <= most <= 0.5


def test_a_minute_of_a_long_text_is_for_reading_more_of_it() -> None:
    """War and Peace: 2 x 256 ended at 1.2581, 2 x 384 at 1.2915; Tiny Shakespeare: no difference."""
    assert planning.hidden_size(3.8e6, 2_960_000, "char") == 256
    assert planning.hidden_size(4.3e6, 1_003_000, "char") == 384
    assert planning.hidden_size(12e6, 2_960_000, "char") == 384
    assert planning.hidden_size(5.7e6, 2_960_000, "char", many_streams=True) == 320
    assert planning.hidden_size(4.5e6, 1_003_000, "char", many_streams=True) == 320
    assert planning.hidden_size(5.7e6, 4_230_000, "char", many_streams=True) == 256
    assert planning.hidden_size(5.7e6, 10_700_000, "char", many_streams=True) == 256
    assert planning.hidden_size(14e6, 4_230_000, "char", many_streams=True) == 384
    assert planning.hidden_size(13e6, 2_960_000, "char", many_streams=True) == 384
    assert planning.hidden_size(5e5, 2_960_000, "word", many_streams=True) == 128  # on CUDA
    assert planning.hidden_size(5e5, 2_960_000, "word") == 192


def test_dropout_by_word_is_that_of_the_best_runs_of_ten_minutes_and_an_hour() -> None:
    ten, hour = (
        planning.dropout(e, size, 2_088_628, "word") for e, size in ((8.4, 256), (24, 448))
    )
    assert (ten, hour) == (0.23, 0.3)


def test_a_short_text_by_word_needs_more_dropout() -> None:
    """Tiny Shakespeare, 263,157 words in 17 epochs: 0.5 ended at 3.9248 nats a word, 0.3 at 4.0045."""
    assert planning.dropout(17.1, 192, 263_157, "word") >= 0.5


@pytest.mark.parametrize(
    ("text", "epochs", "size", "low", "high"),
    [  # names.txt and Evgeny Onegin: between these ends the loss is within 1 % of the best
        (205_000, 5.0, 192, 0.03, 0.12),
        (205_000, 9.5, 256, 0.15, 0.26),
        (205_000, 20.0, 256, 0.2, 0.3),
        (144_000, 6.4, 192, 0.08, 0.22),
        (144_000, 13.3, 256, 0.2, 0.33),
    ],
)
def test_a_short_text_needs_dropout_soon(
    text: int, epochs: float, size: int, low: float, high: float
) -> None:
    assert low < planning.dropout(epochs, size, text, "char") < high


def test_a_text_that_is_hardly_repeated_needs_no_dropout() -> None:
    less, more = (planning.dropout(epochs, 256, 1_000_000, "char") for epochs in (4, 8))
    assert less == 0 < more
    assert planning.weight_decay(0.5) == planning.weight_decay(1) == 0.01
    rates = [planning.learning_rate(n, "char", "lstm") for n in (1, 9.9, 10, 100)]
    assert rates == [0.04, 0.04, 0.08, 0.08]
    assert planning.learning_rate(100, "word", "lstm") == 0.04
    assert planning.learning_rate(100, "char", "rnn") == 0.04


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_weight_drop_is_for_texts_that_are_read_very_often(one: float, other: float) -> None:
    less, more = (planning.weight_drop(epochs) for epochs in sorted((one, other)))
    assert 0 <= less <= more <= 0.5
    assert planning.weight_drop(20) == 0 < planning.weight_drop(60) < planning.weight_drop(150)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_weight_decay_grows_with_epochs(one: float, other: float) -> None:
    less, more = (planning.weight_decay(epochs) for epochs in sorted((one, other)))
    assert 0.01 <= less <= more <= 0.1


def test_all_symbols_are_taken_where_a_sample_would_save_little() -> None:
    half = LARGE_VOCABULARY // 2
    assert planning.softmax_sample(LARGE_VOCABULARY - 1, "char") == 0
    assert planning.softmax_sample(half - 1, "word") == 0
    assert planning.softmax_sample(half, "word") == SOFTMAX_SAMPLE // 2
    assert planning.softmax_sample(LARGE_VOCABULARY - 1, "word") == SOFTMAX_SAMPLE // 2
    assert planning.softmax_sample(LARGE_VOCABULARY, "word") == SOFTMAX_SAMPLE
    assert planning.softmax_sample(LARGE_VOCABULARY, "char") == SOFTMAX_SAMPLE


def test_all_symbols_are_taken_on_cuda_where_their_logits_fit() -> None:
    large, small, tokens = 80 * 2**30, 4 * 2**30, 64 * 64
    assert planning.symbols_that_fit(0, tokens) == 0
    assert 33_278 < planning.symbols_that_fit(large, tokens) < 100_000  # WikiText-2 has so many
    assert planning.symbols_that_fit(large, tokens // 2) == 2 * planning.symbols_that_fit(
        large, tokens
    )
    fitting = planning.symbols_that_fit(small, tokens)
    assert 4 * 4 * tokens * fitting == pytest.approx(small / 2, rel=1e-3)
    assert planning.softmax_sample(fitting, "word", fitting) == 0
    assert planning.softmax_sample(fitting + 1, "word", fitting) == SOFTMAX_SAMPLE


def test_reports_are_fewer_where_there_is_much_to_validate_on() -> None:
    few = planning.report_interval(1000, 0.2, step_cost=2048, valid_cost=1_000_000)
    many = planning.report_interval(1000, 0.2, step_cost=2048, valid_cost=1_000)
    assert few == 1000 > many == 1000 // planning.MAX_REPORTS
    # Passes over a text of which the usual tenth is held out, and scored at 2/3 of the price.
    for epochs, reports in ((1, 1), (3, 3), (8, 8), (60, 20)):
        steps = 1000 * epochs
        every = planning.report_interval(steps, epochs, step_cost=900, valid_cost=100_000 * 2 / 3)
        assert -(-steps // every) == reports


def test_a_score_costs_more_than_training_on_a_sample_of_many_symbols_and_less_on_all() -> None:
    letters = ModelConfig(vocab_size=65, hidden_size=384)
    config = TrainConfig(num_steps=1, report_every=1)
    assert planning.score_cost(letters, config) == pytest.approx(1 / 3)
    assert planning.score_cost(letters, replace(config, precision="bfloat16")) == pytest.approx(
        2 / 3
    )
    words = ModelConfig(vocab_size=33_278, hidden_size=512, embedding_size=512, tie=True)
    sampled = replace(config, softmax_sample=2048, precision="bfloat16")
    # 4 layers' matrices of 4 x 512 x 512, and 512 numbers a symbol.
    assert planning.score_cost(words, sampled) == pytest.approx(
        (16 * 512 + 33_278) / (16 * 512 + 2048) / 1.5
    )


def run_at(pace: Pace, seconds: float, steps: int) -> None:
    """As if `steps` steps had taken `seconds` so far."""
    pace.started, pace.steps = time.perf_counter() - seconds, steps


def test_the_end_follows_the_pace() -> None:
    config, pace = TrainConfig(num_steps=1000, report_every=1000), Pace(None)
    pace.validations = [2.0]
    run_at(pace, seconds=12.0, steps=100)
    assert pace.replan(config, 100, 92.0) is config  # just right: 90 s and a report
    slower = pace.replan(config, 100, 47.0)
    assert slower.num_steps == pytest.approx(100 + 450, abs=2)
    run_at(pace, seconds=7.0, steps=100)
    faster = pace.replan(config, 100, 92.0)
    assert faster.num_steps == pytest.approx(100 + 1760, abs=4)  # two reports now: at 1,000 too


def test_a_single_report_stays_one_when_the_end_is_moved() -> None:
    measured = Speed(step_seconds=0.1, validation_seconds=40.0)
    num_steps, report_every = planning.plan_steps(measured, 600)
    config = TrainConfig(num_steps=num_steps, report_every=report_every)
    pace = Pace(measured)
    run_at(pace, seconds=90.0, steps=1000)  # faster than measured, as validation will be
    config = pace.replan(config, 1000, 510.0)
    assert config.num_steps == pytest.approx(1000 + (510 - 36) / 0.09, abs=4)
    # Past the step at which the one report was foreseen, there is still only one to come.
    run_at(pace, seconds=180.0, steps=2000)
    assert pace.replan(config, 2000, 420.0) is config


@pytest.mark.parametrize("slower", [1 / 40, 1 / 3, 3, 40])
def test_a_run_measured_at_a_bad_moment_is_planned_anew(slower: float) -> None:
    """Measured beside other work, or before it began: what the run itself shows is believed."""
    truth, deadline = Speed(step_seconds=0.08, validation_seconds=1.0), 300.0
    measured = Speed(truth.step_seconds * slower, truth.validation_seconds * slower)
    num_steps, report_every = planning.plan_steps(measured, deadline)
    config, pace = TrainConfig(num_steps=num_steps, report_every=report_every), Pace(measured)
    seconds, step, reports = 0.0, 0, 0
    while step < config.num_steps:
        seconds, step = seconds + truth.step_seconds, step + 1
        run_at(pace, seconds, steps=step)
        config = pace.replan(config, step, deadline - seconds)
        if step % config.report_every == 0 or step == config.num_steps:
            pace.validations.append(truth.validation_seconds)
            seconds, reports = seconds + truth.validation_seconds, reports + 1
    assert seconds == pytest.approx(deadline, rel=0.02)
    assert reports * truth.validation_seconds <= 2.5 * planning.REPORT_SHARE * deadline
    assert reports >= 4


@pytest.mark.parametrize(
    ("step", "seconds", "last"),
    [(4, 8.0, 10), (4, 20.0, 20), (4, 25.0, 23), (10, 2.0, 10), (10, 16.0, 20), (11, 15.0, 22)],
)
def test_the_last_step_is_that_which_leaves_time_for_the_reports(
    step: int, seconds: float, last: int
) -> None:
    """A second a step and two a report, one each ten steps and one at the end."""
    speed = Speed(step_seconds=1.0, validation_seconds=2.0)
    assert planning.last_step(speed, 10, step, seconds) == last


def test_the_first_steps_say_nothing_of_the_pace() -> None:
    config, pace = TrainConfig(num_steps=1000, report_every=1000), Pace(Speed(0.1, 2.0))
    run_at(pace, seconds=10.0, steps=7)
    assert pace.replan(config, 7, 1.0) is config
    assert pace.replan(config, 7, -0.1).num_steps == 7  # but where they took all of the time
