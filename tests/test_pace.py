"""A plan fills the time, and keeps it as the machine slows."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmgen import stopwatch
from lstmgen.config import ModelConfig, TrainConfig
from lstmgen.pace import (
    AT_THE_END,
    FEW_REPORTS,
    MAX_REPORTS,
    MAX_SHARE,
    REPORT_SHARE,
    Pace,
    TimeLimit,
    Timing,
    is_report,
    last_step,
    plan_steps,
    report_interval,
    score_cost,
    tokens_in,
)

NOW = 1000.0  # seconds
END = 2000.0  # of training, where a run is to end by time


@given(st.floats(1e-4, 1), st.floats(1e-3, 30), st.floats(10, 1e5))
def test_the_plan_fills_the_time_and_not_more(step: float, validation: float, time: float) -> None:
    num_steps, report_every = plan_steps(Timing(step, validation), time)
    reports = -(-num_steps // report_every)
    assert 1 <= reports <= MAX_REPORTS
    spent = num_steps * step + reports * validation
    if num_steps > 1:
        # A step is left over, and as many reports as rounding the interval up saves.
        assert time - 2 * step - MAX_REPORTS * validation < spent <= time
    if reports > 1:
        few = reports <= FEW_REPORTS
        share = MAX_SHARE if few else REPORT_SHARE
        assert reports * validation <= share * time


def test_an_hour_is_not_spent_without_a_look_at_the_validation_part() -> None:
    _, report_every = plan_steps(Timing(0.26, 75.0), 3600)
    assert 4000 < report_every < 5000  # of some 13,000 steps


def test_a_minute_is_for_training_and_one_look_on_the_way() -> None:
    num_steps, report_every = plan_steps(Timing(0.06, 1.66), 55)
    assert -(-num_steps // report_every) == 2


def test_reports_are_fewer_where_there_is_much_to_validate_on() -> None:
    few = report_interval(1000, 0.2, step_cost=2048, valid_cost=1_000_000)
    many = report_interval(1000, 0.2, step_cost=2048, valid_cost=1_000)
    assert few == 1000 > many == 1000 // MAX_REPORTS
    # Passes over a text of which the usual tenth is held out, and scored at 2/3 of the price.
    for epochs, reports in ((1, 1), (3, 3), (8, 8), (60, 20)):
        steps = 1000 * epochs
        every = report_interval(steps, epochs, step_cost=900, valid_cost=100_000 * 2 / 3)
        assert -(-steps // every) == reports


def test_a_score_costs_more_than_training_on_a_sample_of_many_symbols_and_less_on_all() -> None:
    letters = ModelConfig(vocab_size=65, hidden_size=384)
    config = TrainConfig(num_steps=1, report_every=1)
    assert score_cost(letters, config) == pytest.approx(1 / 3)
    assert score_cost(letters, replace(config, precision="bfloat16")) == pytest.approx(2 / 3)
    words = ModelConfig(vocab_size=33_278, hidden_size=512, embedding_size=512, tie=True)
    sampled = replace(config, softmax_sample=2048, precision="bfloat16")
    # 4 layers' matrices of 4 x 512 x 512, and 512 numbers a symbol.
    assert score_cost(words, sampled) == pytest.approx(
        (16 * 512 + 33_278) / (16 * 512 + 2048) / 1.5
    )
    # No more are drawn than there are.
    assert score_cost(letters, replace(config, softmax_sample=10**7)) == pytest.approx(1 / 3)


@pytest.fixture(autouse=True)
def a_clock_that_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nothing depends on how long a test takes."""
    monkeypatch.setattr(stopwatch, "now", lambda: NOW)


def timed(measured: Timing) -> Pace:
    """The pace of a run that is to end after `END` seconds."""
    return Pace(TimeLimit(END, measured))


def run_at(pace: Pace, seconds: float, steps: int) -> None:
    """As if `steps` steps had taken `seconds` so far."""
    pace.started, pace.steps = NOW - seconds, steps


def test_the_end_follows_the_pace() -> None:
    config = TrainConfig(num_steps=1000, report_every=AT_THE_END)
    pace = timed(Timing(9.0, 9.0))
    pace.validations = [40.0]
    run_at(pace, seconds=50.0, steps=100)
    assert pace.replan(config, 100, END - 130.0) is config  # just right: 90 s and a report
    slower = pace.replan(config, 100, END - 85.0)
    assert slower.num_steps == pytest.approx(100 + 450, abs=2)
    run_at(pace, seconds=45.0, steps=100)
    faster = pace.replan(config, 100, END - 130.0)
    assert faster.num_steps == pytest.approx(100 + 1800, abs=2)


def test_a_single_report_stays_one_when_the_end_is_moved() -> None:
    measured = Timing(step_seconds=0.1, validation_seconds=40.0)
    num_steps, report_every = plan_steps(measured, 600)
    config = TrainConfig(num_steps=num_steps, report_every=report_every)
    pace = timed(measured)
    run_at(pace, seconds=90.0, steps=1000)  # faster than measured, as validation will be
    config = pace.replan(config, 1000, END - 510.0)
    assert config.num_steps == pytest.approx(1000 + (510 - 36) / 0.09, abs=4)
    # Past the step at which the one report was foreseen, there is still only one to come.
    run_at(pace, seconds=180.0, steps=2000)
    assert pace.replan(config, 2000, END - 420.0) is config


@pytest.mark.parametrize("slower", [1 / 40, 1 / 3, 3, 40])
def test_a_run_measured_at_a_bad_moment_is_planned_anew(slower: float) -> None:
    """Measured beside other work, or before it began: what the run itself shows is believed."""
    truth, deadline = Timing(step_seconds=0.08, validation_seconds=1.0), 300.0
    measured = Timing(truth.step_seconds * slower, truth.validation_seconds * slower)
    num_steps, report_every = plan_steps(measured, deadline)
    config = TrainConfig(num_steps=num_steps, report_every=report_every)
    pace = Pace(TimeLimit(deadline, measured))
    seconds, step, reports = 0.0, 0, 0
    while step < config.num_steps:
        seconds, step = seconds + truth.step_seconds, step + 1
        run_at(pace, seconds, steps=step)
        config = pace.replan(config, step, seconds)
        if is_report(step, config):
            pace.validations.append(truth.validation_seconds)
            seconds, reports = seconds + truth.validation_seconds, reports + 1
    assert seconds == pytest.approx(deadline, rel=0.02)
    assert reports * truth.validation_seconds <= 2.5 * REPORT_SHARE * deadline
    assert reports >= 4


@pytest.mark.parametrize(
    ("step", "seconds", "last"),
    [
        (4, 8.0, 10),
        (4, 20.0, 20),
        (4, 25.0, 24),
        (4, 26.9, 24),
        (4, 27.0, 25),
        (10, 2.0, 10),
        (10, 15.9, 21),
        (10, 19.0, 24),
        (10, 20.0, 24),
        (10, 21.0, 25),
        (11, 15.0, 24),
    ],
)
def test_the_last_step_is_that_which_leaves_time_for_the_reports(
    step: int, seconds: float, last: int
) -> None:
    """A second a step and two a report, one each ten steps and one at the end."""
    timing = Timing(step_seconds=1.0, validation_seconds=2.0)
    assert last_step(timing, 10, step, seconds) == last


@given(
    st.integers(1, 30), st.integers(1, 100), st.floats(0.0, 200.0), st.sampled_from([0.3, 2.0, 9.0])
)
def test_up_to_the_last_step_there_is_time_for_all_steps_and_reports(
    every: int, step: int, seconds: float, validation: float
) -> None:
    last = last_step(Timing(1.0, validation), every, step, seconds)

    def taken(last: int) -> float:
        config = TrainConfig(num_steps=last, report_every=every)
        return sum((i > step) + validation * is_report(i, config) for i in range(step, last + 1))

    if last > step:
        assert taken(last) <= seconds + 1e-6
    assert taken(max(last, step) + 1) > seconds - 1e-6  # and not for one more


def test_no_report_comes_shortly_before_the_last() -> None:
    def reports(num_steps: int, every: int) -> list[int]:
        config = TrainConfig(num_steps=num_steps, report_every=every)
        return [step for step in range(1, num_steps + 1) if is_report(step, config)]

    assert reports(20, 10) == [10, 20]
    assert reports(24, 10) == [10, 24]
    assert reports(25, 10) == [10, 20, 25]
    assert reports(4, 10) == [4]
    assert reports(3, 1) == [1, 2, 3]


def test_without_time_no_token_is_read() -> None:
    config = TrainConfig(num_steps=1, report_every=1, batch_size=4, window=8)
    assert tokens_in(2.0, 3.0, config) == 48
    assert tokens_in(1.0, -5.0, config) == 0


def test_how_often_to_report_follows_from_the_whole_time() -> None:
    measured = Timing(1.0, 20.0)
    num_steps, report_every = plan_steps(measured, 600)
    config = TrainConfig(num_steps=num_steps, report_every=report_every)
    pace = timed(measured)
    run_at(pace, seconds=100.0, steps=100)
    assert pace.replan(config, 100, END - 500.0) is config


def test_a_run_planned_too_short_goes_on_from_its_last_step() -> None:
    config, pace = TrainConfig(num_steps=5, report_every=1000), timed(Timing(10.0, 2.0))
    run_at(pace, seconds=1.0, steps=5)
    assert pace.replan(config, 5, END - 60.0).num_steps > 100


def test_the_first_steps_say_nothing_of_the_pace() -> None:
    config, pace = TrainConfig(num_steps=1000, report_every=1000), timed(Timing(0.1, 2.0))
    run_at(pace, seconds=10.0, steps=7)
    assert pace.replan(config, 7, END - 1.0) is config
    assert pace.replan(config, 7, END + 0.1).num_steps == 7  # but where they took all of the time
