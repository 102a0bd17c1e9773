"""How a run goes: what is due after a step, whether it has diverged, and where it then goes back to."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, log
from pathlib import Path

from lstmgen import optim, pace
from lstmgen.config import MAX_RETREATS, Position, TrainConfig
from lstmgen.errors import TrainingError
from lstmgen.folders import has_model
from lstmgen.job import Job
from lstmgen.keeping import Run, Snapshot
from lstmgen.scoring import Score

LOG_LINES = 100  # in a whole run at least, so that its curve can be drawn
MARKS = 20  # in a whole run, at each of which it notes where to go back to
BLOW_UP = 1.0  # nats a token above those of a guess, or of the start if they were more


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


@dataclass
class Course:
    """How a run has gone so far, beside what each step changes."""

    config: TrainConfig  # its number of steps follows the clock where there is a deadline
    last_good: Snapshot  # where it last was well, to go back to
    most_nats_per_token: float  # with a loss above it the run has diverged
    best: Score | None = None  # the lowest on the validation part
    best_step: int = 0  # where it was
    retreats: int = 0

    def is_report(self, step: int) -> bool:
        """Whether the validation part is scored after a step."""
        return pace.is_report(step, self.config)

    def is_logged(self, step: int) -> bool:
        """Whether there is a line of the log after a step, as after every report."""
        return self.is_report(step) or step % max(1, self.config.num_steps // LOG_LINES) == 0

    def to_be_marked(self, step: int) -> bool:
        """Whether the place where it last was well lies so far back that a new one is wanted."""
        return step - self.last_good.step >= self.config.num_steps // MARKS

    def learning_rate(self, step: int) -> float:
        """By the schedule, and with each retreat less."""
        return optim.schedule(step, self.config) / self._divisor

    @property
    def _divisor(self) -> float:
        """By retreats: 1, 2, 2 x 4, 2 x 4 x 8, ..."""
        return float(2 ** (self.retreats * (self.retreats + 1) // 2))

    def why_diverged(self, step: int, losses: Sequence[float], score: Score | None) -> str:
        """Why it counts as diverged, by its losses in nats a token; empty if it does not.

        The validation part may be of another kind than the rest, and cost what it will.
        """
        most = self.most_nats_per_token
        # Not `loss > most`, which is false for what is not a number.
        which, nats = "loss", next((loss for loss in losses if not loss <= most), None)
        if nats is None:
            if score is None or isfinite(score.nats):
                return ""
            which, nats = "validation loss", score.nats_per_token
        return f"the {which} blew up at step {step:,} ({nats:.3g} nats a token)"

    def mark(self, run: Run) -> str:
        """Take it that the run is well as it stands; what tells otherwise, if not all of it is finite."""
        snapshot = run.snapshot()
        if not snapshot.is_finite:
            return f"not all numbers of the run were finite at step {run.step:,}"
        self.last_good = snapshot
        return ""

    def go_back(self, run: Run, why: str, folder: Path, unwritten: str) -> str:
        """Put the run where it last was well and lower the rate; what is told of it.

        `unwritten` says why something that waits could not be written, if so. `TrainingError` when going
        back has not helped often enough.
        """
        self.retreats += 1
        if self.retreats > MAX_RETREATS:
            kept = "no model had been saved yet"
            if unwritten:
                kept = f"not all that was to be kept could be written ({unwritten})"
            elif self.best and has_model(folder):
                kept = f"the best model so far is in {folder}"
            elif has_model(folder):
                kept = f"the model in {folder} is an earlier one"
            raise TrainingError(
                f"{why} and going back {MAX_RETREATS} times did not help; {kept}; "
                "train again with a lower --learning-rate"
            )
        run.go_to(self.last_good)
        return (
            f"{why}; back to step {run.step:,}, to go on with 1/{self._divisor:.0f} of the planned "
            "learning rate" + (f"; {unwritten}" if unwritten else "")
        )

    def latest(self, run: Run, losses: Sequence[float]) -> Snapshot:
        """The run as it is now, or where it last was well if it is not, by its losses."""
        if run.step == self.last_good.step or self.why_diverged(run.step, losses, None):
            return self.last_good
        snapshot = run.snapshot()
        return snapshot if snapshot.is_finite else self.last_good

    def position(self, step: int, seconds: float, job: Job) -> Position:
        """What of it a saved run of this job holds, at a step and after so many seconds."""
        best = self.best or Score()
        return Position(
            step=step,
            seconds=seconds,
            deadline=job.deadline,
            device=job.device.type,
            retreats=self.retreats,
            most_nats_per_token=self.most_nats_per_token,
            best_nats=self.best.nats if self.best else None,
            best_tokens=best.tokens,
            best_characters=best.characters,
            best_unknown_tokens=best.unknown_tokens,
            best_step=self.best_step,
        )
