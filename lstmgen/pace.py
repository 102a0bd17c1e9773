"""Turns how fast this machine is, and how much time there is, into steps and when to report."""

from dataclasses import replace
from math import ceil, prod
from typing import NamedTuple

from lstmgen import stopwatch
from lstmgen.config import ModelConfig, TrainConfig, is_layer_matrix
from lstmgen.ranges import RANGES

REPORT_SHARE = 0.04  # of the time given may go into validation
MAX_REPORTS = 20
FEW_REPORTS, MAX_SHARE = 3, 0.07  # so many may take more, for a model on the way and its curve
EPOCHS_SHARE = 0.1  # and more still where time is not limited, and there is one an epoch
# Steps between reports, so that there is but one, at the end.
AT_THE_END = int(RANGES["--steps"].high)


class Timing(NamedTuple):
    """What a step and a validation were measured to take on this machine."""

    step_seconds: float
    validation_seconds: float


class TimeLimit(NamedTuple):
    """For a run that is to end by time: when, and what was measured before it, perhaps in a busy moment."""

    deadline: float  # seconds of training
    measured: Timing


def tokens_in(step_seconds: float, seconds: float, config: TrainConfig) -> float:
    """How many tokens can be trained on in this time, in steps of so many seconds."""
    return config.batch_size * config.window * max(0.0, seconds) / step_seconds


def score_cost(model: ModelConfig, config: TrainConfig) -> float:
    """The time to score a token, as a multiple of the time to train on one.

    Training goes forward, backward and to the weights, with a sample of a large vocabulary, in bfloat16
    at half the price; a score takes all symbols, in float32.
    """
    layers = sum(prod(s) for n, s in model.weight_shapes().items() if is_layer_matrix(n))
    drawn = min(config.softmax_sample or model.vocab_size, model.vocab_size)
    price = 3 if config.precision == "float32" else 1.5
    return (layers + model.vocab_size * model.hidden_size) / (
        price * (layers + drawn * model.hidden_size)
    )


def report_interval(num_steps: int, num_epochs: float, step_cost: float, valid_cost: float) -> int:
    """Every how many steps to report, where time is not limited; costs in whatever unit.

    So that validation costs little; once an epoch, or three times in all, it may cost more.
    """
    fitting = num_steps * step_cost / valid_cost
    few = max(FEW_REPORTS, round(num_epochs))
    return ceil(num_steps / num_reports(fitting, few, EPOCHS_SHARE))


def num_reports(fitting: float, few: int = FEW_REPORTS, most_share: float = MAX_SHARE) -> int:
    """How many validations there are to be in a run that takes as long as `fitting` of them.

    They may take `REPORT_SHARE` of its time, and the first `few` of them `most_share`.
    """
    wanted = max(int(REPORT_SHARE * fitting), min(few, int(most_share * fitting)))
    return min(MAX_REPORTS, max(1, wanted))


def plan_steps(timing: Timing, seconds: float) -> tuple[int, int]:
    """How many steps fit into the time, and after how many to report, validation included."""
    count = num_reports(seconds / timing.validation_seconds)
    num_steps = max(1, int((seconds - count * timing.validation_seconds) / timing.step_seconds))
    return num_steps, ceil(num_steps / count) if count > 1 else AT_THE_END


def is_report(step: int, config: TrainConfig) -> bool:
    """Whether the validation part is scored after a step: every so often, and after the last.

    Not within half of the interval before that one, which would tell next to nothing more.
    """
    left = config.num_steps - step
    return left == 0 or (step % config.report_every == 0 and 2 * left >= config.report_every)


def last_step(timing: Timing, report_every: int, step: int, seconds_left: float) -> int:
    """The step that a run can come to, with a report every so often and at the end.

    It is at `step`, the report due there, if one is, still to come. So at step 250, with a report every 100,
    steps of 0.1 s, reports of 2 s, and 30 s left: 5 s and a report to step 300, 12 s to 400, and in the 11 s
    that remain 90 steps and the last report, which comes to 490. With 24 s left 5 s would remain, of which
    the last report leaves 30 steps, less than half of the interval: so that at 400 is left out, and it comes
    to 449.
    """
    since_report = (step - 1) % report_every + 1
    periods, rest = divmod(
        seconds_left + since_report * timing.step_seconds,
        report_every * timing.step_seconds + timing.validation_seconds,
    )
    rest_steps = max(0, int((rest - timing.validation_seconds) / timing.step_seconds))
    half = ceil(report_every / 2)
    if periods and rest_steps < half:  # the report before is left out: see `is_report`
        rest_steps = min(half - 1, int(rest / timing.step_seconds))
    return step - since_report + int(periods) * report_every + rest_steps


class Pace:
    """How fast a run goes, and where its end is to be moved so that it keeps to its time."""

    def __init__(self, limit: TimeLimit) -> None:
        self.started = stopwatch.now()
        self.steps = 0
        self.limit = limit
        self.validations: list[float] = []  # seconds

    def begin(self) -> None:
        """Count from now on, as what came before was no step; validations that there were are kept."""
        self.started = stopwatch.now() - sum(self.validations)

    def timing(self) -> Timing:
        """As it is by now. Until a validation has been seen, it is taken to be as far off as a step was."""
        step = (stopwatch.now() - self.started - sum(self.validations)) / self.steps
        if self.validations:
            return Timing(step, sum(self.validations) / len(self.validations))
        measured = self.limit.measured
        return Timing(step, measured.validation_seconds * step / measured.step_seconds)

    def replan(self, config: TrainConfig, step: int, seconds: float) -> TrainConfig:
        """The same run with as many steps as the time left after `seconds` allows; unchanged if nearly right.

        The schedule of the learning rate follows the number of steps, so it bends a little. Where reports
        come twice as often as they should, or half as often, their interval changes too.
        """
        seconds_left = self.limit.deadline - seconds
        few = self.steps < 8 and step < config.num_steps  # the first are slower than the rest
        if few and seconds_left > 0:
            return config
        timing = self.timing()
        _, every = plan_steps(timing, stopwatch.now() - self.started + seconds_left)
        if not 1 / 2 <= every / config.report_every <= 2:
            config = replace(config, report_every=every)
        num_steps = max(step, last_step(timing, config.report_every, step, seconds_left))
        if abs(num_steps - config.num_steps) <= 0.01 * (config.num_steps - step):
            return config
        return replace(config, num_steps=num_steps)
