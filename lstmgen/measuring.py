"""A job -> what is known only once it is tried: how long its steps take, how well a model knows its text."""

from collections.abc import Sequence
from dataclasses import replace

from lstmgen import optim, stopwatch
from lstmgen.batching import Streams, fitting_batch
from lstmgen.checkpoint import SavedModel
from lstmgen.config import TrainConfig
from lstmgen.job import Job
from lstmgen.model import Network, TorchEngine
from lstmgen.pace import Timing
from lstmgen.recording import PLAIN_CALLS
from lstmgen.run import fresh_run
from lstmgen.scoring import WINDOW, streams_to_score, window_nats
from lstmgen.step import Stepper

MAX_STEPS = 50


def measure(job: Job, seconds: float = 0.7, most: float = 5.0) -> Timing:
    """Times steps for about so many seconds, and then windows of a validation for a quarter of that.

    On a network that is then thrown away. Five steps are timed at least, but where they are slow none
    begins after `most` seconds.
    """
    stepper = Stepper(fresh_run(job), job)
    (of_step,) = _time_steps([stepper], seconds, most)
    return Timing(of_step, _time_validation(stepper.run.network, job, seconds / 4))


def step_seconds(*jobs: Job, seconds: float = 0.25, most: float = 1.0) -> list[float]:
    """What a step of each takes, as in `measure`, and no validation; sooner, as only sizes follow from it.

    Of several they are timed in turn, so that a slower moment of the machine is one for all of them.
    """
    return _time_steps([Stepper(fresh_run(job), job) for job in jobs], seconds, most)


def share_spared(job: Job, initial: SavedModel) -> float:
    """How well a model knows the text: by what share it costs less than by a guess from frequencies.

    By the first window of the usual size, in which fresh weights make that guess. Below 0 if it costs
    more.
    """
    tokens = len(job.data.train_ids)
    window = min(tokens, TrainConfig.window)
    batch_size = fitting_batch(tokens, TrainConfig.batch_size, window)
    usual = replace(job.training, batch_size=batch_size, window=window)
    job = replace(job, training=usual)
    stepper = Stepper(fresh_run(job), job)
    network, by_guess = stepper.run.network, stepper.loss_ahead()
    network.load_weights(initial.weights_for(job.vocabulary, network.weights()))
    return 1 - stepper.loss_ahead() / by_guess


def _time_steps(steppers: Sequence[Stepper], seconds: float, most: float) -> list[float]:
    """Seconds a step of each, timed for `seconds` each in the mean.

    On CUDA the first ones, which load what they use and are then recorded, do not count, and then it is ten
    at a time, as one is asked for while another is done.
    """
    on_cuda = steppers[0].run.network.device.type == "cuda"
    first, together = (PLAIN_CALLS + 1, 10) if on_cuda else (0, 1)

    def steps(stepper: Stepper, number: int) -> float:
        """Seconds that so many first steps take."""
        began, rate = stopwatch.now(), optim.schedule(0, stepper.config)
        for _ in range(number):
            stepper.run.step = 0
            nats, _ = stepper.step(rate)
        nats.item()
        return stopwatch.now() - began

    if first:
        for stepper in steppers:
            steps(stepper, first)
    rounds: list[list[float]] = []
    while len(rounds) < MAX_STEPS:
        spent = sum(map(sum, rounds)) * together / len(steppers)
        if spent >= (seconds if len(rounds) >= 5 else most):
            break
        rounds.append([steps(stepper, together) / together for stepper in steppers])
    return [_quick(list(times)) for times in zip(*rounds, strict=True)]


def _time_validation(network: Network, job: Job, seconds: float) -> float:
    """Seconds that a validation would take, from one to five of its windows, as many as fit.

    The window before them, which loads what they use, counts only if it is all. They are timed without a
    warm-up, in which little is scored; so where symbols are many it may be up to a fifth too much.
    """
    ids, start_id = job.data.valid_ids, job.vocabulary.start_id
    to_score = streams_to_score(ids, start_id)
    timed = Streams(ids, start_id, to_score.batch_size, WINDOW)
    scoring = window_nats(TorchEngine(network), timed)
    windows: list[float] = []
    few = min(6, timed.num_windows)
    while len(windows) < few and (len(windows) < 2 or sum(windows[1:]) < seconds):
        began = stopwatch.now()
        next(scoring)
        windows.append(stopwatch.now() - began)
    return _quick(windows[1:] or windows) * to_score.num_windows


def _quick(times: list[float]) -> float:
    """The first quartile, so that it does not count where another program held one up."""
    return sorted(times)[len(times) // 4]
