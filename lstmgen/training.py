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


def train(
    job: Job, saved: SavedRun | None = None, initial: Weights | None = None
) -> Generator[Progress, None, None]:
    """Train until the last step, yielding records; closing the generator saves the run first.

    Begins with fresh weights, with those of `initial`, or where `saved` stopped. A loss that blows
    up sends the run back to where it last was well, to go on with a lower learning rate;
    `TrainingError` when that has not helped often enough. `CheckpointError` if the folder has no
    room, or at the end what could not be written before still cannot.
    """
    config, at = job.training, Position(step=0, seconds=0.0)
    network = Network(job.model, config.dropout)
    network.initialize(config.seed, config.memory)
    if initial is not None:
        network.load_weights(initial)
    network.to(job.device)
    loss, streams = Loss(network, job), job.streams()
    run = Run(network, optim.Optimizer(network, config), network.initial_state(config.batch_size))
    best: Score | None = None
    if saved is not None:
        at = run.resume(saved, job.folder)
        if at.best_nats is not None:
            best = Score(at.best_nats, at.best_tokens, at.best_characters, at.best_unknown_tokens)
    keeper, retreats, well = Keeper(job.folder, new=saved is None), at.retreats, run.snapshot()
    facts = {"corpus": job.data.facts}
    model = SavedModel(job.model, job.vocabulary, well.weights, facts)
    keeper.require_room(model, well.tensors)
    start = present_loss(run, loss, config, streams)  # high where --init-from knew other texts
    most = max(log(job.model.vocab_size), start) + BLOW_UP

    started = saved_at = yielded_at = sampled_at = time.perf_counter()
    meter, pace = _Meter(job.device), Pace(job.measured)

    def seconds() -> float:
        return at.seconds + time.perf_counter() - started

    def keep(snapshot: Snapshot) -> None:
        position = Position(
            step=snapshot.step,
            seconds=seconds(),
            deadline=job.deadline,
            retreats=retreats,
            device=job.device.type,
            **{f"best_{name}": value for name, value in asdict(best).items()} if best else {},
        )
        model = SavedModel(job.model, job.vocabulary, snapshot.weights, facts)
        keeper.run(SavedRun(model, config, snapshot.tensors, position.to_json()))

    def keep_best(record: Progress) -> None:
        results = log_record(record) | facts
        keeper.model(SavedModel(job.model, job.vocabulary, network.weights(), results))

    def progress() -> Progress:
        return Progress(
            step=run.step,
            num_steps=config.num_steps,
            epoch=run.step / streams.num_windows,
            seconds=seconds(),
            learning_rate=learning_rate(config, run.step - 1, retreats),
            tokens_per_second=meter.tokens_per_second(),
            train_nats_per_token=meter.nats_per_token(),
            best=best,
        )

    try:
        while run.step < config.num_steps:
            if run.step % streams.num_windows == 0:
                run.state = network.initial_state(config.batch_size)
            rate = learning_rate(config, run.step, retreats)
            meter.add(*take_step(run, loss, config, streams, rate))
            pace.steps += 1
            now = time.perf_counter()
            logging = run.step % max(1, config.num_steps // LOG_LINES) == 0
            reporting = run.step % config.report_every == 0 or run.step == config.num_steps
            if not (logging or reporting) and now - yielded_at < YIELD_SECONDS:
                continue
            if job.deadline is not None:
                left = job.deadline - at.seconds - (now - started)
                config = pace.replan(config, run.step, left)
                reporting = run.step % config.report_every == 0 or run.step == config.num_steps
            record = progress()
            score = validate(network, job) if reporting else None
            if why := _blow_up(record, score, most):
                retreats += 1
                if retreats > MOST_RETREATS:
                    raise TrainingError(_given_up(why, record, job.folder))
                run.go_to(well)
                meter = _Meter(job.device)
                yield replace(record, step=well.step, note=_retreating(why, well.step, retreats))
                continue
            if score is not None:
                improved = best is None or score.nats < best.nats
                best = score if improved else best
                record = replace(record, score=score, best=best)
                if improved:
                    keep_best(record)
                pace.validations.append(time.perf_counter() - now)
                well = run.snapshot()
            if logging or reporting:
                keeper.log(log_record(record))
                meter = _Meter(job.device)
            if job.sample_seconds is not None and now - sampled_at >= job.sample_seconds:
                record = replace(record, sample=_sample(job, network, run.step))
                sampled_at = now
            saving = reporting or now - saved_at > SAVE_SECONDS
            if saving:
                keep(well if reporting else run.snapshot())
                saved_at = time.perf_counter()
            if logging or saving:
                record = replace(record, note=keeper.try_to_write())
            yield record
            yielded_at = time.perf_counter()
        keeper.write()
    except GeneratorExit:
        snapshot = run.snapshot()
        if not (meter.nats_per_token() <= most and snapshot.is_finite):
            snapshot = well
        keep(snapshot)
        if best is None:  # so that there is a model to sample from, and it is this run's
            run.go_to(snapshot)
            keep_best(progress())
        keeper.write()
        raise


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
    """Nats, tokens and time since the last report; the sum stays on the device until it is asked for."""

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
