"""Turns how fast this machine is, how much text there is and how much time, into a run that fits.

All of it is arithmetic; what is measured beforehand comes in as a `Speed`.
"""

import time
from dataclasses import replace
from math import ceil
from typing import NamedTuple

from lstmgen.config import SOFTMAX_SAMPLE, Level, TrainConfig

REPORT_SHARE = 0.08  # of the time given may go into validation
MAX_REPORTS = 20


class Speed(NamedTuple):
    """What was measured on this machine, in seconds."""

    step: float
    validation: float


def tokens_in(speed: Speed, seconds: float, config: TrainConfig) -> float:
    """How many tokens can be trained on in this time."""
    return config.batch_size * config.window * max(0.0, seconds) / speed.step


def hidden_size(tokens: float, text_tokens: int, level: Level) -> int:
    """How many units a layer should have, when a network of 256 could be trained on `tokens`."""
    return 256


def dropout(num_epochs: float, level: Level) -> float:
    """The more often a text is seen, the more there is to be gained from not learning it by heart."""
    return round(min(0.3, max(0.0, 0.02 * (num_epochs - 4))), 2)


def softmax_sample(vocab_size: int) -> int:
    """How many symbols are drawn a step to stand for a vocabulary; 0 takes all of them."""
    return SOFTMAX_SAMPLE if vocab_size >= 4 * SOFTMAX_SAMPLE else 0


def reports_for(num_steps: int, step_tokens: int, valid_tokens: int) -> int:
    """After how many steps to report where time is not limited: so that validation costs little."""
    share = REPORT_SHARE * num_steps * step_tokens / valid_tokens
    # A token costs three times as much to train on as to score, in bfloat16 at half the price.
    return ceil(num_steps / min(MAX_REPORTS, max(1, int(1.5 * share))))


def plan_steps(speed: Speed, seconds: float) -> tuple[int, int]:
    """How many steps fit into the time, and after how many to report, validation included."""
    num_reports = min(MAX_REPORTS, max(1, int(REPORT_SHARE * seconds / speed.validation)))
    num_steps = max(1, int((seconds - num_reports * speed.validation) / speed.step))
    return num_steps, ceil(num_steps / num_reports)


class Pace:
    """How fast a run goes, and where its end is to be moved so that it keeps to its time."""

    def __init__(self, validation_seconds: float) -> None:
        self.started = time.perf_counter()
        self.steps = 0
        self.expected = validation_seconds
        self.validations: list[float] = []  # seconds

    def replan(self, config: TrainConfig, step: int, seconds_left: float) -> TrainConfig:
        """The same run with as many steps as the time left allows; unchanged if nearly right.

        The schedule of the learning rate follows the number of steps, so it bends a little.
        """
        if self.steps < 8 and step < config.num_steps:  # the first are slower than the rest
            return config
        spent = time.perf_counter() - self.started - sum(self.validations)
        validation = max(self.validations, default=self.expected)
        reports = ceil(config.num_steps / config.report_every) - step // config.report_every
        seconds_left -= max(1, reports) * validation
        num_steps = step + max(0, int(seconds_left * self.steps / spent))
        if abs(num_steps - config.num_steps) <= 0.01 * (config.num_steps - step):
            return config
        return replace(config, num_steps=num_steps)
