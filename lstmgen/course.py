"""How a run goes: what is due after a step, whether it has diverged, and where it then goes back to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite, log
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lstmgen import optim, pace
from lstmgen.checkpoint import MAX_WEIGHT
from lstmgen.config import MAX_RETREATS, Position, TrainConfig
from lstmgen.errors import TrainingError
from lstmgen.folders import has_model
from lstmgen.job import Job
from lstmgen.run import Run, Snapshot
from lstmgen.scoring import Score
from lstmgen.step import Stepper

LOG_LINES = 100  # in a whole run at least, or one a step, so that its curve can be drawn
MARKS = 20  # in a whole run, at each of which it notes where to go back to
# Nats a token above a guess among all symbols, or above the first loss if that was more.
BLOW_UP = 1.0


def best_of(at: Position) -> Score | None:
    """The best score that `Course.position` put into a saved run, if there was one."""
    if at.best_nats is None:
        return None
    return Score(
        nats=at.best_nats,
        tokens=at.best_tokens,
        characters=at.best_characters,
        unknown_tokens=at.best_unknown_tokens,
    )


def most_from(start: float, vocab_size: int) -> float:
    """The nats a token above which a run that began with `start` has diverged."""
    return max(log(vocab_size), start) + BLOW_UP


def loss_behind(stepper: Stepper) -> float:
    """The lower of what two windows cost that were learned from already, in nats a token.

    One was read a twentieth of the text ago. The other is half way back to the text's start, or once
    all were learned from, half a text away.
    """
    step, num_windows = stepper.run.step, stepper.streams.num_windows
    far = step // 2 if step < num_windows else (step + num_windows // 2) % num_windows
    lately = max(0, step - 1 - num_windows // 20) % num_windows
    # By fmin, which gives the other where one is no number.
    return float(np.fmin(stepper.loss_of(far), stepper.loss_of(lately)))


class Diverged(Exception):  # noqa: N818  # no error yet, as the run may go back
    """A run is not well; why, in words."""


class Due(NamedTuple):
    """What is to be done after a step. Where there is a report, there is a line of the log and a mark too."""

    report: bool  # the validation part is scored
    log: bool  # there is a line of the log
    mark: bool  # where the run stands is noted, to go back to: also at the first line of each `MARKS`th of it


def rate_divisor(retreats: int) -> int:
    """What the learning rate is divided by after so many retreats: 1, 2, 2 x 4, 2 x 4 x 8, ..."""
    return 1 << retreats * (retreats + 1) // 2


@dataclass
class Course:
    """How a run has gone so far, beside what each step changes."""

    config: TrainConfig  # its number of steps follows the clock where there is a time limit
    last_good: Snapshot  # where it last was well, to go back to
    most_nats_per_token: float  # with a loss above it the run has diverged
    best: Score | None = None  # the lowest on the validation part, of the model that is kept
    best_step: int | None = None  # where it was, if that is known
    retreats: int = 0

    def due(self, step: int) -> Due:
        """What is to be done after a step, as far as the step says it."""
        interval, every = (max(1, self.config.num_steps // n) for n in (LOG_LINES, MARKS))
        report = pace.is_report(step, self.config)
        log = report or step % interval == 0
        return Due(report, log, mark=report or (log and step % every < interval))

    def learning_rate(self, step: int) -> float:
        """By the schedule, and with each retreat less."""
        return optim.schedule(step, self.config) / rate_divisor(self.retreats)

    def require_well(
        self,
        step: int,
        losses: Sequence[float],
        behind: Callable[[], float],
        score: Score | None = None,
    ) -> None:
        """`Diverged` unless all is well by the losses, in nats a token, and by the score being a number.

        A text may be of several kinds, as languages are, of which one that is met for the first time
        costs far more than all before; so may the validation part. So a high loss is nothing while
        another place is well: the validation part, or one learned from before, whose loss `behind` gives. One
        that is no finite number is never let pass.
        """
        most, validation = self.most_nats_per_token, score.nats_per_token if score else inf
        # Not `loss > most`, which is false for what is not a number.
        which, bad = "loss", [loss for loss in losses if not loss <= most]
        if bad and all(map(isfinite, bad)) and (validation <= most or behind() <= most):
            bad = []
        if not bad and score is not None and not isfinite(score.nats):
            which, bad = "validation loss", [validation]
        if bad:
            raise Diverged(f"the {which} blew up at step {step:,} ({bad[0]:.3g} nats a token)")

    def mark(self, run: Run) -> None:
        """Note where the run stands, to go back to; `Diverged` if no file of it would be read again."""
        snapshot = run.snapshot()
        if not snapshot.is_sound:
            raise Diverged(
                f"a number of the run was not finite, or a weight beyond {MAX_WEIGHT:g}, at step "
                f"{run.step:,}"
            )
        self.last_good = snapshot

    def go_back(self, run: Run, why: str, folder: Path, unwritten: str) -> str:
        """Put the run where it last was well and lower the rate; what is told of it.

        `unwritten` says why something that waits could not be written, if so. `TrainingError` when going
        back has not helped often enough.
        """
        self.retreats += 1
        if self.retreats > MAX_RETREATS:
            raise self._given_up(why, folder, unwritten)
        run.go_to(self.last_good)
        return (
            f"{why}; back to step {run.step:,}, to go on with 1/{rate_divisor(self.retreats)} of the planned "
            "learning rate" + (f"; {unwritten}" if unwritten else "")
        )

    def _given_up(self, why: str, folder: Path, unwritten: str) -> TrainingError:
        """What to say where going back has not helped often enough."""
        kept = "no model had been saved yet"
        if unwritten:
            kept = f"not all that was to be kept could be written ({unwritten})"
        elif self.best and has_model(folder):
            kept = f"the best model so far is in {folder}"
        elif has_model(folder):
            kept = f"the model in {folder} is an earlier one"
        rate, decay = self.config.learning_rate, self.config.weight_decay
        less = f"--learning-rate {rate:g}"
        if decay:
            less += f" (or than --weight-decay {decay:g}, if that is high)"
        return TrainingError(
            f"{why} and going back {MAX_RETREATS} times did not help; {kept}; train again with less than "
            f"{less}"
        )

    def position(self, step: int, seconds: float, job: Job) -> Position:
        """What of it a saved run of this job holds, at a step and after so many seconds."""
        best = self.best or Score()
        return Position(
            step=step,
            seconds=seconds,
            deadline=job.time_limit.deadline if job.time_limit else None,
            device=job.device.type,
            retreats=self.retreats,
            most_nats_per_token=self.most_nats_per_token,
            best_nats=self.best.nats if self.best else None,
            best_tokens=best.tokens,
            best_characters=best.characters,
            best_unknown_tokens=best.unknown_tokens,
            best_step=self.best_step,
        )
