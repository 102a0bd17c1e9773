"""Training from the first step to the last: streams of ids -> `Progress` records, and checkpoints as it goes.

One step is `step.take_step`, which is to be read first: a window forward and backward, and one update.
Here is what happens between steps: looking at the clock, reporting, saving, going back.

Where a run stands is its step number: the place in the data, the learning rate and the random numbers
of dropout all follow from it. So a run is resumed from weights, optimizer, carried state and step,
and goes back to an earlier one of its own in the same way if its loss blows up.
"""

import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lstmgen import optim
from lstmgen.cells import Cells
from lstmgen.checkpoint import SavedModel, SavedRun
from lstmgen.config import DecodingConfig, Position
from lstmgen.course import Course, best_of, most_from
from lstmgen.generation import Prime, stream
from lstmgen.job import Job
from lstmgen.keeping import Keeper, Run, Snapshot
from lstmgen.model import Network, TorchEngine
from lstmgen.planning import Pace
from lstmgen.scoring import Score, score_ids
from lstmgen.step import Loss, present_loss, take_step

SAVE_SECONDS = 60.0  # between two saves of the run, so that a crash costs a minute at most
SAMPLE_LENGTH = 80  # tokens
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
    best_step: int = 0  # where that was
    score: Score | None = None
    sample: str | None = None  # what the network writes by now, where it was time for that
    note: str = ""  # what went wrong and what is done about it


def train(
    job: Job, saved: SavedRun | None = None, initial: SavedModel | None = None
) -> Generator[Progress, None, None]:
    """Train until the last step, yielding records; closing the generator saves the run first.

    Begins with fresh weights, with those of `initial` for the symbols that it knows, or where `saved`
    stopped. A loss that blows up sends the run back to where it last was well, to go on with a lower
    learning rate; `TrainingError` when that has not helped often enough. `CheckpointError` if the
    folder has no room, if `saved` lacks something, or if at the end what could not be written before
    still cannot.
    """
    started = saved_at = yielded_at = sampled_at = time.perf_counter()
    run, course, before = _begin(job, saved, initial)
    network, loss, streams = run.network, Loss(run.network, job), job.streams()
    facts = {"corpus": job.data.facts}
    keeper = Keeper(job.folder, saved is None, SavedModel(job.model, job.vocabulary, {}, facts))
    keeper.require_room(course.well)
    meter, pace = _Meter(job.device), Pace(job.measured)

    def seconds() -> float:
        return before + time.perf_counter() - started

    def keep(snapshot: Snapshot) -> None:
        keeper.run(snapshot, course.config, course.position(snapshot.step, seconds(), job))

    def keep_best(record: Progress) -> None:
        keeper.model(network.weights(), log_record(record))

    def latest() -> Snapshot:
        """The run as it is now, if it is well. The loss of late may be from before a step that was bad."""
        return course.latest(run, [meter.nats_per_token(), present_loss(run, loss, streams)])

    def progress() -> Progress:
        return Progress(
            step=run.step,
            num_steps=course.config.num_steps,
            epoch=run.step / streams.num_windows,
            seconds=seconds(),
            learning_rate=course.learning_rate(run.step - 1),
            tokens_per_second=meter.tokens_per_second(),
            train_nats_per_token=meter.nats_per_token(),
            best=course.best,
            best_step=course.best_step,
        )

    try:
        while run.step < course.config.num_steps:
            rate = course.learning_rate(run.step)
            meter.add(*take_step(run, loss, streams, rate))
            pace.steps += 1
            now = time.perf_counter()
            logging, reporting = course.due(run.step)
            if not logging and now - yielded_at < YIELD_SECONDS:
                continue
            if job.deadline is not None:
                left = job.deadline - before - (now - started)
                course.config = pace.replan(course.config, run.step, left)
                logging, reporting = course.due(run.step)
            record = progress()
            marking = reporting or (logging and course.to_be_marked(run.step))
            late = record.train_nats_per_token
            present = present_loss(run, loss, streams) if marking else 0.0
            score = None
            if reporting:
                score = validate(network, job)
                present = min(present, score.nats_per_token)  # one window alone may be odd
            # Asked at places that follow from the step alone, so that the clock changes no bit.
            asked = [late, present] if reporting else [late]
            why = course.astray(run.step, asked, score) if logging else ""
            if not why and marking and present <= course.most:
                why = course.mark(run)
            if why:
                unwritten = keeper.try_to_write()  # what still waits, in case it gives up
                note = course.go_back(run, why, job.folder, unwritten)
                meter = _Meter(job.device)
                yield replace(record, step=run.step, note=note)
                continue
            if score is not None:
                if course.best is None or score.nats < course.best.nats or keeper.lacks_model:
                    course.best, course.best_step = score, run.step
                record = replace(record, score=score, best=course.best, best_step=course.best_step)
                if course.best is score:
                    keep_best(record)
                pace.validations.append(time.perf_counter() - now)
            if logging:
                keeper.log(log_record(record))
            sampling = job.sample_seconds is not None and now - sampled_at >= job.sample_seconds
            if sampling and late <= course.most:
                record = replace(record, sample=_sample(job, network, run.step))
                sampled_at = now
            saving = reporting or now - saved_at > SAVE_SECONDS
            if saving:
                keep(course.well if marking else latest())
                saved_at = time.perf_counter()
            if logging or saving:
                if unwritten := keeper.try_to_write():
                    unwritten += "; training goes on, and it is tried again"
                record = replace(record, note=unwritten)
            if logging:
                meter = _Meter(job.device)
            yield record
            yielded_at = time.perf_counter()
        keeper.write()
    except GeneratorExit:
        snapshot = latest()
        unscored = saved is not None and course.best is None and keeper.has_unscored_model()
        renewed = keeper.lacks_model or unscored
        if renewed:  # if there was a best model, it has been taken away
            course.best, course.best_step = None, 0
        keep(snapshot)
        if renewed:  # so that there is a model to sample from, and it is this run's as it is now
            run.go_to(snapshot)
            present = present_loss(run, loss, streams)
            keep_best(replace(progress(), train_nats_per_token=present))
        keeper.write()
        raise


def _begin(
    job: Job, saved: SavedRun | None, initial: SavedModel | None
) -> tuple[Run, Course, float]:
    """A run that stands where it is to go on, how it went before, and the seconds that took."""
    config, at = job.training, saved.position if saved else Position()
    network = Network(job.model, config.dropout)
    network.initialize(config.seed, config.memory, job.data.counts)
    if initial is not None:
        network.load_weights(initial.weights_for(job.vocabulary, network.weights()))
    network.to(job.device)
    run = Run(network, optim.Optimizer(network, config), network.initial_state(config.batch_size))
    if saved is not None:
        run.resume(saved, job.folder)
    most = at.most_nats_per_token
    if most is None:  # the start costs much where --init-from knew other texts
        start = present_loss(run, Loss(network, job), job.streams())
        most = most_from(start, job.model.vocab_size)
    course = Course(config, run.snapshot(), most, best_of(at), at.best_step, at.retreats)
    return run, course, at.seconds


def validate(network: Network, job: Job) -> Score:
    """The score of the validation part, in float32: what `eval` says of the same text."""
    total = score_ids(TorchEngine(network), job.data.valid_ids, job.vocabulary.start_id)
    unknown = job.vocabulary.count_unknown(job.data.valid_ids)
    return Score(total, len(job.data.valid_ids), job.data.valid_characters, unknown)


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
