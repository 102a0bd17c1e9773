"""Training from the first step to the last: streams of ids -> `Progress` records, and checkpoints as it goes.

One step is `Stepper.step`, which is to be read first: a window forward and backward, and one update.
Here is what happens between steps: looking at the clock, reporting, saving, going back.

Where a run stands is its step number: the place in the data and the random numbers of dropout follow
from it, and the learning rate from it, from how many steps there are to be, and from how often the run went
back. So a run is resumed from weights, optimizer, carried state and step, and goes back to an earlier one of
its own in the same way if its loss blows up.
"""

import time
from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from lstmgen import device, stopwatch, threads
from lstmgen.cells import Cells
from lstmgen.checkpoint import SavedModel, SavedRun
from lstmgen.config import DecodingConfig, Position
from lstmgen.course import Course, Diverged, Due, best_of, loss_behind, most_from
from lstmgen.generation import Prime, stream
from lstmgen.holding import Hold
from lstmgen.job import Job
from lstmgen.keeping import Keeper
from lstmgen.model import Network, TorchEngine
from lstmgen.pace import Pace
from lstmgen.progress import Meter, Progress
from lstmgen.run import Run, Snapshot, fresh_run
from lstmgen.scoring import Score, score_text
from lstmgen.step import Stepper

SAVE_SECONDS = 60.0  # between two saves of the run, so that a crash costs a minute at most
PATIENCE = 600.0  # seconds for which the end of a run waits until its files can be written
AGAIN_SECONDS = 1.0  # from one try to the next
SAMPLE_LENGTH = 80  # tokens
YIELD_SECONDS = 0.1  # between two records, so that a bar moves smoothly and costs nothing


def train(
    job: Job,
    saved: SavedRun | None = None,
    initial: SavedModel | None = None,
    hold: Hold | None = None,
) -> Generator[Progress, None, None]:
    """Train until the last step, yielding records; closing the generator saves the run first.

    Begins with fresh weights, with those of `initial` for the symbols that it knows, or where `saved`
    stopped. Those of `initial` are scored before the first step, and kept where training does not better
    them. A loss that blows up sends the run back to where it last was well, to go on with a lower
    learning rate; `TrainingError` when that has not helped often enough.

    The job's folder must be there. It is held by `hold`, which `holding.claimed` gives; without one nobody
    else is kept out of it, and a run that is there is replaced. `CheckpointError` if the folder has no room,
    if `saved` lacks something, or if something cannot be written for `PATIENCE` seconds after the last step;
    from closing, if it cannot be at once.
    """
    held = hold or Hold(job.folder)
    session, begins_with_a_model = _Session(job, saved, initial, held), initial is not None
    del saved, initial  # whose arrays are as large as the run, and were copied
    try:
        record = None
        if begins_with_a_model:
            yield session.score_start()
        while session.run.step < session.course.config.num_steps:
            session.step()
            record = session.after_step()
            if record is not None:
                yield record
                session.yielded_at = stopwatch.now()
        if record is not None:  # there is one of the last step, unless none was left to take
            yield from session.finish(record)
    except GeneratorExit:
        session.stop()
        raise
    finally:
        if session.threads:
            session.threads.take_all()
        if hold is None:
            held.give_back()


class _Session:
    """A run while it is trained: what is to be done after each step, and what that takes."""

    def __init__(
        self, job: Job, saved: SavedRun | None, initial: SavedModel | None, hold: Hold
    ) -> None:
        self.started = self.saved_at = self.yielded_at = self.sampled_at = stopwatch.now()
        self.job, self.resumed = job, saved is not None
        self.seconds_before = saved.position.seconds if saved else 0.0
        self.stepper, self.course = _begin(job, saved, initial)
        common = SavedModel(job.model, job.vocabulary, {}, {"corpus": job.data.facts})
        self.keeper = Keeper(hold, saved.position if saved else None, common)
        self.keeper.require_room(self.course.last_good)
        self.unwritten = ""  # what keeps files from being written, if anything does
        self.meter = Meter(job.device)
        self.pace = Pace(job.time_limit) if job.time_limit else None
        self.threads = threads.watched(job.device, job.most_threads)
        self.told_of_cores = False

    @property
    def run(self) -> Run:
        return self.stepper.run

    def score_start(self) -> Progress:
        """Report on what it begins with, of which nothing has been learned yet."""
        present, score = self.stepper.loss_ahead(), self._validate()
        record = replace(self._progress(), train_nats_per_token=present)
        record = self._report(record, score)
        self.keeper.keep_line(record.to_json())
        record = self._saved(record, Due(report=True, log=True, mark=True), stopwatch.now())
        self.meter = Meter(self.job.device)
        if self.pace:
            self.pace.begin()
        return record

    def step(self) -> None:
        with self.threads.at_work() if self.threads else nullcontext():
            self.meter.add(*self.stepper.step(self.course.learning_rate(self.run.step)))
        if self.pace:
            self.pace.steps += 1

    def after_step(self) -> Progress | None:
        """Do what is due after a step; the record of it, if there is to be one."""
        step, waits = self.run.step, stopwatch.now() - self.yielded_at < YIELD_SECONDS
        if waits and not self.course.due(step).log:
            return None
        device.wait(self.job.device)
        now = stopwatch.now()
        if self.pace:
            self.course.config = self.pace.replan(self.course.config, step, self._seconds(now))
        due = self.course.due(step)  # asked again, as reports may have moved
        record = self._progress()
        if due.log:
            try:
                record = self._logged(record, due)
            except Diverged as why:
                return self._go_back(record, str(why))
        record = self._saved(self._sampled(record, now), due, now)
        if self.threads and self.threads.advice and not (record.note or self.told_of_cores):
            record, self.told_of_cores = replace(record, note=self.threads.advice), True
        if due.log:
            self.meter = Meter(self.job.device)
        return record

    def stop(self) -> None:
        """Save the run as it is, or last was well, to be resumed.

        And a model, where the folder has none, or where a resumed run without a score so far finds one that
        was never validated.
        """
        snapshot = self._latest()
        unscored = self.resumed and self.course.best is None and self.keeper.has_unscored_model()
        renewed = self.keeper.lacks_model or unscored
        if renewed:  # if there was a best model, somebody has taken its file away
            self.course.best, self.course.best_step = None, None
        self._keep(snapshot)
        if renewed:  # so that there is a model to sample from, and it is this run's as it is now
            self.run.go_to(snapshot)
            present = self.stepper.loss_ahead()
            self._keep_model(replace(self._progress(), train_nats_per_token=present))
        if unwritten := self.keeper.try_to_write():
            raise self.keeper.what_is_lost(unwritten)

    def finish(self, last: Progress) -> Generator[Progress, None, None]:
        """Write what still waits; where that fails, wait for somebody to help, with a record at each try."""
        until, told = stopwatch.now() + PATIENCE, ""
        while unwritten := self.keeper.try_to_write():
            if stopwatch.now() >= until:
                raise self.keeper.what_is_lost(unwritten)
            note = f"{unwritten}; training is through, and it is tried again for {PATIENCE / 60:g} minutes"
            yield replace(last, sample=None, note=note if unwritten != told else "")
            told = unwritten
            time.sleep(AGAIN_SECONDS)

    def _logged(self, record: Progress, due: Due) -> Progress:
        """The record as the log has it, with a score if that is due. `Diverged` if the run is not well."""
        losses = [record.train_nats_per_token]
        score = self._validate() if due.report else None
        if due.mark:
            losses.append(self.stepper.loss_ahead())
        # Asked at places that follow from the step alone, so that the clock changes no bit.
        self.course.require_well(self.run.step, losses, partial(loss_behind, self.stepper), score)
        if due.mark:
            self.course.mark(self.run)
        if score is not None:
            seconds = self._seconds(stopwatch.now())  # with what the score took
            record = self._report(replace(record, seconds=seconds), score)
        self.keeper.keep_line(record.to_json())
        return record

    def _validate(self) -> Score:
        began = stopwatch.now()
        score = validate(self.run.network, self.job)
        if self.pace:
            self.pace.validations.append(stopwatch.now() - began)
        return score

    def _go_back(self, record: Progress, why: str) -> Progress:
        unwritten = self.keeper.try_to_write()  # what still waits, in case it gives up
        note = self.course.go_back(self.run, why, self.job.folder, unwritten)
        self.meter = Meter(self.job.device)
        step = self.run.step
        rate = self.course.learning_rate(step - 1)
        epoch = self.job.epochs(step)
        return replace(record, step=step, epoch=epoch, learning_rate=rate, note=note)

    def _report(self, record: Progress, score: Score) -> Progress:
        """The record with a score; the model is kept if it is the best so far, or there is none."""
        course = self.course
        if course.best is None or score.nats < course.best.nats or self.keeper.lacks_model:
            course.best, course.best_step = score, self.run.step
        record = replace(record, score=score, best=course.best, best_step=course.best_step)
        if course.best is score:
            self._keep_model(record)
        return record

    def _sampled(self, record: Progress, now: float) -> Progress:
        """The record, with a sample where it is time for one and the run is well."""
        every = self.job.sample_seconds
        due = every is not None and now - self.sampled_at >= every
        if due and record.train_nats_per_token <= self.course.most_nats_per_token:
            self.sampled_at = now
            record = replace(record, sample=_sample(self.job, self.run.network, self.run.step))
        return record

    def _saved(self, record: Progress, due: Due, now: float) -> Progress:
        """Save what is to be saved by now; the record, with a note if that cannot be written."""
        saving = due.report or now - self.saved_at > SAVE_SECONDS
        if saving:
            self._keep(self._latest())
            self.saved_at = stopwatch.now()
        if due.log or saving:
            unwritten = self.keeper.try_to_write()
            news = due.report or unwritten != self.unwritten  # not as often as it is tried
            if news and record.step < record.num_steps:  # of whose end `finish` tells
                self.unwritten = unwritten
                note = f"{unwritten}; it is tried again" if unwritten else ""
                record = replace(record, note=note)
        return record

    def _keep(self, snapshot: Snapshot) -> None:
        position = self.course.position(snapshot.step, self._seconds(stopwatch.now()), self.job)
        self.keeper.keep_run(snapshot, self.course.config, position)

    def _keep_model(self, record: Progress) -> None:
        self.keeper.keep_model(self.run.network.weights(), record.to_json())

    def _latest(self) -> Snapshot:
        """The run as it is now, or where it last was well if it is not."""
        course = self.course
        if self.run.step == course.last_good.step:
            return course.last_good
        # The meter's mean may be from before a step that was bad.
        losses = [self.meter.nats_per_token(), self.stepper.loss_ahead()]
        try:
            course.require_well(self.run.step, losses, partial(loss_behind, self.stepper))
        except Diverged:
            return course.last_good
        snapshot = self.run.snapshot()
        return snapshot if snapshot.is_sound else course.last_good

    def _seconds(self, now: float) -> float:
        """Seconds that the run has taken in all, when the clock stands at `now`."""
        return self.seconds_before + now - self.started

    def _progress(self) -> Progress:
        step, course = self.run.step, self.course
        return Progress(
            step=step,
            num_steps=course.config.num_steps,
            epoch=self.job.epochs(step),
            seconds=self._seconds(stopwatch.now()),
            learning_rate=course.learning_rate(step - 1),
            tokens_per_second=self.meter.tokens_per_second(),
            train_nats_per_token=self.meter.nats_per_token(),
            best=course.best,
            best_step=course.best_step,
        )


def _begin(job: Job, saved: SavedRun | None, initial: SavedModel | None) -> tuple[Stepper, Course]:
    """A run that stands where it is to go on, ready for its next step, and how it went before."""
    config, at = job.training, saved.position if saved else Position()
    run = fresh_run(job, initial)
    if saved is not None:
        run.resume(saved, job.folder)
    stepper, most = Stepper(run, job), at.most_nats_per_token
    if most is None:  # the start costs much where --init-from knew other texts
        most = most_from(stepper.loss_ahead(), job.model.vocab_size)
    return stepper, Course(config, run.snapshot(), most, best_of(at), at.best_step, at.retreats)


def validate(network: Network, job: Job) -> Score:
    """The score of the validation part, in float32: what `eval` says of the same text."""
    ids = job.data.valid_ids
    return score_text(TorchEngine(network), job.vocabulary, ids, job.data.valid_characters)


def _sample(job: Job, network: Network, step: int) -> str:
    """A short text by the network as it is now, another one at each step."""
    engine = Cells(job.model, network.weights())
    decoding, prime = DecodingConfig(), Prime("", seed=step)
    return "".join(stream(engine, job.vocabulary, prime, decoding=decoding, length=SAMPLE_LENGTH))
