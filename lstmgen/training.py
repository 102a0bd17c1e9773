"""Truncated back-propagation through time: streams of ids -> `Progress` records, and checkpoints as it goes.

Where a run stands is its step number: the place in the data, the learning rate and the random numbers
of dropout all follow from it. So a run is resumed from weights, optimizer, carried state and step,
and goes back to an earlier one of its own in the same way if its loss blows up.
"""

import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from math import isfinite, log
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lstmgen import optim
from lstmgen.cells import Cells
from lstmgen.checkpoint import SavedModel, SavedRun, Weights
from lstmgen.config import DecodingConfig, Position, TrainConfig
from lstmgen.errors import TrainingError
from lstmgen.generation import Prime, stream
from lstmgen.job import Job, Loss, present_loss, take_step, validate
from lstmgen.keeping import Keeper, Run, Snapshot
from lstmgen.model import Network
from lstmgen.planning import Pace
from lstmgen.scoring import Score

SAVE_SECONDS = 60.0  # between two saves of the run, so that a crash costs a minute at most
LOG_LINES = 100  # in a whole run at least, so that its curve can be drawn
SAMPLE_LENGTH = 80  # tokens
BLOW_UP = 1.0  # nats a token above those of a guess, or of the start if they were more
MOST_RETREATS = 4  # which take the learning rate to a thousandth
MARKS = 20  # in a whole run, at each of which it notes where to go back to
YIELD_SECONDS = 0.1  # between two records, so that a bar moves smoothly and costs nothing


@dataclass(frozen=True)
class Progress:
    """Where a run stands. `score` is there when the validation part has just been scored."""

    step: int
    num_steps: int
    epoch: float
    seconds: float
    learning_rate: float
    tokens_per_second: float
    train_nats_per_token: float  # mean since the last line of the log, dropout included
    best: Score | None  # the lowest on the validation part so far, if there is one yet
    score: Score | None = None
    sample: str | None = None  # what the network writes by now, where it was time for that
    note: str = ""  # what went wrong and what is done about it


@dataclass
class Course:
    """How a run has gone so far, beside what each step changes."""

    config: TrainConfig  # its number of steps follows the clock where there is a deadline
    well: Snapshot  # where it last was well, to go back to
    most: float  # nats a token that a run which is well does not cost
    best: Score | None = None  # the lowest on the validation part
    retreats: int = 0

    def due(self, step: int) -> tuple[bool, bool]:
        """Whether there is a line of the log after a step, and whether there is a report."""
        config = self.config
        logging = step % max(1, config.num_steps // LOG_LINES) == 0
        return logging, step % config.report_every == 0 or step == config.num_steps

    def position(self, step: int, seconds: float, job: Job) -> Position:
        """What of it a saved run holds."""
        best = {f"best_{n}": value for n, value in asdict(self.best).items()} if self.best else {}
        return Position(
            step=step,
            seconds=seconds,
            deadline=job.deadline,
            retreats=self.retreats,
            most_nats_per_token=self.most,
            device=job.device.type,
            **best,
        )


def train(
    job: Job, saved: SavedRun | None = None, initial: Weights | None = None
) -> Generator[Progress, None, None]:
    """Train until the last step, yielding records; closing the generator saves the run first.

    Begins with fresh weights, with those of `initial`, or where `saved` stopped. A loss that blows
    up sends the run back to where it last was well, to go on with a lower learning rate;
    `TrainingError` when that has not helped often enough. `CheckpointError` if the folder has no
    room, or at the end what could not be written before still cannot.
    """
    run, course, before = _begin(job, saved, initial)
    network, loss, streams = run.network, Loss(run.network, job), job.streams()
    keeper, facts = Keeper(job.folder, new=saved is None), {"corpus": job.data.facts}
    keeper.require_room(
        SavedModel(job.model, job.vocabulary, course.well.weights, facts), course.well.tensors
    )
    started = saved_at = yielded_at = sampled_at = time.perf_counter()
    meter, pace = _Meter(job.device), Pace(job.measured)

    def seconds() -> float:
        return before + time.perf_counter() - started

    def keep(snapshot: Snapshot) -> None:
        model = SavedModel(job.model, job.vocabulary, snapshot.weights, facts)
        position = course.position(snapshot.step, seconds(), job).to_json()
        keeper.run(SavedRun(model, course.config, snapshot.tensors, position))

    def keep_best(record: Progress) -> None:
        results = log_record(record) | facts
        keeper.model(SavedModel(job.model, job.vocabulary, network.weights(), results))

    def progress() -> Progress:
        return Progress(
            step=run.step,
            num_steps=course.config.num_steps,
            epoch=run.step / streams.num_windows,
            seconds=seconds(),
            learning_rate=learning_rate(course.config, run.step - 1, course.retreats),
            tokens_per_second=meter.tokens_per_second(),
            train_nats_per_token=meter.nats_per_token(),
            best=course.best,
        )

    try:
        while run.step < course.config.num_steps:
            if run.step % streams.num_windows == 0:
                run.state = network.initial_state(course.config.batch_size)
            rate = learning_rate(course.config, run.step, course.retreats)
            meter.add(*take_step(run, loss, course.config, streams, rate))
            pace.steps += 1
            now = time.perf_counter()
            logging, reporting = course.due(run.step)
            if not (logging or reporting) and now - yielded_at < YIELD_SECONDS:
                continue
            if job.deadline is not None:
                left = job.deadline - before - (now - started)
                course.config = pace.replan(course.config, run.step, left)
                logging, reporting = course.due(run.step)
            record = progress()
            score = validate(network, job) if reporting else None
            # Asked at places that follow from the step alone, so that the clock changes no bit.
            why = _blow_up(record, score, course.most) if logging or reporting else ""
            if why:
                course.retreats += 1
                if course.retreats > MOST_RETREATS:
                    raise TrainingError(_given_up(why, record, job.folder))
                run.go_to(course.well)
                meter = _Meter(job.device)
                note = _retreating(why, run.step, course.retreats)
                yield replace(record, step=run.step, note=note)
                continue
            if score is not None:
                improved = course.best is None or score.nats < course.best.nats
                if improved or keeper.lacks_model:
                    course.best = score
                    keep_best(replace(record, score=score, best=score))
                record = replace(record, score=score, best=course.best)
                pace.validations.append(time.perf_counter() - now)
            marks = run.step - course.well.step >= course.config.num_steps // MARKS
            if reporting or (logging and marks):
                course.well = run.snapshot()
            if logging or reporting:
                keeper.log(log_record(record))
            sampling = job.sample_seconds is not None and now - sampled_at >= job.sample_seconds
            if sampling and record.train_nats_per_token <= course.most:
                record = replace(record, sample=_sample(job, network, run.step))
                sampled_at = now
            saving = reporting or now - saved_at > SAVE_SECONDS
            if saving:
                keep(_latest(run, course, meter))
                saved_at = time.perf_counter()
            if logging or saving:
                record = replace(record, note=keeper.try_to_write())
            if logging or reporting:
                meter = _Meter(job.device)
            yield record
            yielded_at = time.perf_counter()
        keeper.write()
    except GeneratorExit:
        snapshot = _latest(run, course, meter)
        keep(snapshot)
        if keeper.lacks_model:  # so that there is a model to sample from, and it is this run's
            run.go_to(snapshot)
            keep_best(progress())
        keeper.write()
        raise


def _begin(job: Job, saved: SavedRun | None, initial: Weights | None) -> tuple[Run, Course, float]:
    """A run that stands where it is to go on, how it went before, and the seconds that took."""
    config, at = job.training, Position(step=0, seconds=0.0)
    network = Network(job.model, config.dropout)
    network.initialize(config.seed, config.memory)
    if initial is not None:
        network.load_weights(initial)
    network.to(job.device)
    run = Run(network, optim.Optimizer(network, config), network.initial_state(config.batch_size))
    best: Score | None = None
    if saved is not None:
        at = run.resume(saved, job.folder)
        if at.best_nats is not None:
            best = Score(at.best_nats, at.best_tokens, at.best_characters, at.best_unknown_tokens)
    most = at.most_nats_per_token
    if most is None:  # the start costs much where --init-from knew other texts
        start = present_loss(run, Loss(network, job), config, job.streams())
        most = max(log(job.model.vocab_size), start) + BLOW_UP
    return run, Course(config, run.snapshot(), most, best, at.retreats), at.seconds


def _latest(run: Run, course: Course, meter: "_Meter") -> Snapshot:
    """The run as it is now, or where it last was well if it is not."""
    snapshot = run.snapshot() if run.step != course.well.step else course.well
    fine = meter.nats_per_token() <= course.most and snapshot.is_finite
    return snapshot if fine else course.well


def learning_rate(config: TrainConfig, step: int, retreats: int) -> float:
    """By the schedule, halved at the first retreat, quartered at the next one, and so on."""
    return optim.schedule(step, config) / _divisor(retreats)


def _divisor(retreats: int) -> float:
    """1, 2, 2 x 4, 2 x 4 x 8, ..."""
    return float(2 ** (retreats * (retreats + 1) // 2))


def _blow_up(record: Progress, score: Score | None, most: float) -> str:
    """What tells that a run has gone astray; nothing if it has not.

    A loss that is not a number is no more than anything, so it is asked whether it is less. The
    validation part may be of another kind than the rest, and cost what it will.
    """
    nats, which = record.train_nats_per_token, "loss"
    if nats <= most:
        if score is None or isfinite(score.nats):
            return ""
        nats, which = score.nats_per_token, "validation loss"
    return f"the {which} blew up at step {record.step:,} ({nats:.3g} nats a token)"


def _retreating(why: str, step: int, retreats: int) -> str:
    return (
        f"{why}; back to step {step:,}, to go on with 1/{_divisor(retreats):.0f} of the planned "
        "learning rate"
    )


def _given_up(why: str, record: Progress, folder: Path) -> str:
    kept = f"the best model so far is in {folder}" if record.best else "no model had been saved yet"
    return (
        f"{why} and going back {MOST_RETREATS} times did not help; {kept}; "
        "train again with a lower --learning-rate"
    )


class _Meter:
    """Nats, tokens and time since the last line of the log.

    The sum stays on the device until it is asked for.
    """

    def __init__(self, where: torch.device) -> None:
        self.total = torch.zeros((), device=where)
        self.tokens = 0
        self.started = time.perf_counter()

    def add(self, total: Tensor, tokens: int) -> None:
        self.total += total
        self.tokens += tokens

    def nats_per_token(self) -> float:
        return float(self.total) / max(1, self.tokens)

    def tokens_per_second(self) -> float:
        return self.tokens / (time.perf_counter() - self.started)


def _sample(job: Job, network: Network, step: int) -> str:
    """A short text by the network as it is now, another one at each step."""
    engine = Cells(job.model, network.weights())
    decoding, prime = DecodingConfig(), Prime("", seed=step)
    return "".join(stream(engine, job.vocabulary, prime, decoding=decoding, length=SAMPLE_LENGTH))


def log_record(record: Progress) -> dict[str, Any]:
    """One line of the log; `nats` to `perplexity` are those of the validation part, where it was scored."""
    values = {
        "step": record.step,
        "num_steps": record.num_steps,
        "epoch": round(record.epoch, 4),
        "seconds": round(record.seconds, 2),
        "learning_rate": record.learning_rate,
        "tokens_per_second": round(record.tokens_per_second),
        "train_nats_per_token": record.train_nats_per_token,
    }
    return values | (record.score.to_json() if record.score else {})
