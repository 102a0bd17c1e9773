"""Fits a job to the time there is: how large, how many streams and steps, measured on this machine."""

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any

from lstmgen import pace, planning, stopwatch
from lstmgen.cli import console
from lstmgen.cli.faults import is_lack_of_memory
from lstmgen.cli.memory import require_memory
from lstmgen.cli.options import Options, minutes
from lstmgen.config import ModelConfig, Position, TrainConfig
from lstmgen.errors import OptionError
from lstmgen.ranges import RANGES

if TYPE_CHECKING:
    import torch

    from lstmgen.checkpoint import SavedModel, SavedRun
    from lstmgen.job import Job

CLOSING_SECONDS = 0.5  # kept back from --minutes for the last save and for leaving
LITTLE_SECONDS = 2.0  # for which a run that has ended is not begun again


def take_threads(given: Options, saved: "SavedRun | None", device: "torch.device") -> int | None:
    """Have torch take as many threads as were asked for, or as serve at present.

    Returns the most that the run may take, if it is to go on adjusting them; None where the number is to
    stay, as it was given, or the run ends by steps and is to repeat bit for bit.
    """
    import torch

    from lstmgen import threads

    most: int = given.get("threads", torch.get_num_threads())
    torch.set_num_threads(most)
    if saved and not {"steps", "epochs", "minutes"} & given.keys():  # to the end that it had
        by_time = saved.position.deadline is not None
    else:
        by_time = not {"steps", "epochs"} & given.keys()
    if "threads" in given or most == 1 or not by_time or device.type != "cpu":
        return None
    threads.take_what_serves()
    return most


def sized(job: "Job", given: Options, began: float) -> "Job":
    """The job with the layers, and the streams, that its time can feed, unless they were given."""
    size_given = "hidden_size" in given or (job.model.tie and "embedding_size" in given)
    steps = _steps(job, given)
    streams_given = bool(steps or {"batch_size", "window"} & set(given))
    may_have_many = not streams_given and bool(_larger_batch(job, job.training, 0))
    if size_given and not may_have_many:
        return job
    if steps:
        tokens = float(steps * job.training.batch_size * job.training.window)
    else:
        left = minutes(given) * 60 - (stopwatch.now() - began)
        # By two layers, if one is given, as the plan derives the size of one from what two would read.
        layers = max(job.model.num_layers, 1 if size_given else ModelConfig.num_layers)
        to_measure = replace(job, model=replace(job.model, num_layers=layers))
        config, tokens = _measured(to_measure, left, may_have_many)
        job = replace(job, training=config)
    if size_given:
        return job
    model, text_tokens, level = job.model, len(job.data.train_ids), job.vocabulary.level
    layers, size = model.num_layers, None
    if not steps and given.get("num_layers", 1) == 1:
        size = planning.one_layer_size(
            tokens, text_tokens, level=level, vocab_size=model.vocab_size, cell=model.cell,
            precision=job.training.precision,
        )  # fmt: skip
        layers = 1 if size else layers
    if size is None:
        has_many = job.training.batch_size >= planning.MANY_STREAMS
        size = planning.hidden_size(tokens, text_tokens, level, many_streams=has_many)
    follows = "embedding_size" not in given and model.embedding_size == model.hidden_size
    embedding = size if follows else model.embedding_size
    model = replace(model, num_layers=layers, hidden_size=size, embedding_size=embedding)
    require_memory(model)
    return replace(job, model=model)


def _larger_batch(job: "Job", config: TrainConfig, tokens: float) -> int | None:
    """How many streams may serve a run by these numbers on so many tokens better."""
    return planning.larger_batch(
        config.batch_size, tokens, len(job.data.train_ids), level=job.vocabulary.level,
        vocab_size=job.model.vocab_size, cell=job.model.cell, cuda=job.device.type == "cuda",
    )  # fmt: skip


def _measured(job: "Job", left: float, may_have_many: bool) -> tuple[TrainConfig, float]:
    """The numbers of the job, and how many tokens it reads in the seconds `left`.

    If it may have more streams, larger numbers of them are tried as long as each reads tokens about as fast.
    """
    from lstmgen.batching import even_window
    from lstmgen.measuring import step_seconds

    def tokens_with(*configs: TrainConfig) -> list[float]:
        seconds = step_seconds(*(replace(job, training=config) for config in configs))
        return [pace.tokens_in(one, left, c) for one, c in zip(seconds, configs, strict=True)]

    config, (tokens,) = job.training, tokens_with(job.training)
    while may_have_many and (batch_size := _larger_batch(job, config, tokens)):
        window = even_window(len(job.data.train_ids), batch_size, TrainConfig.window)
        larger = replace(config, batch_size=batch_size, window=window)
        try:
            tokens, with_more = tokens_with(config, larger)
        except RuntimeError as error:  # mostly of a GPU
            if is_lack_of_memory(error):
                break
            raise
        if with_more <= planning.TOKENS_WITH_MORE * tokens:
            break
        config, tokens = larger, with_more
    return config, tokens


def _steps(job: "Job", given: Options) -> int:
    """The number of steps that was asked for, as steps or epochs; 0 where time is to decide."""
    steps: int = given.get("steps", 0)
    if "epochs" in given:  # 1.1 times 440 is, by rounding, a little more than 484
        steps = max(1, ceil(round(given["epochs"] * job.streams.num_windows, 6)))
        most = RANGES["--steps"].high
        if steps > most:
            raise OptionError(
                f"--epochs {given['epochs']:g} is {steps:,} steps of this text; there may be {most:,} at "
                "most; give fewer"
            )
    return steps


def _require_time_to_validate(
    measured: pace.Timing, seconds: float, start: float, left: float, resumed: bool, times: int
) -> None:
    """A run needs so many validations at least; says where that leaves little time for the rest."""
    once = f"to validate once takes about {measured.validation_seconds:.1f} seconds"
    once += ", and it is done twice" * (times > 1)
    if times * measured.validation_seconds >= left and not resumed:
        raise OptionError(
            f"--minutes {seconds / 60:g} leaves no time to train: the start took {start:.1f} seconds, "
            f"{left:.1f} are left, and {once}; give more, or a smaller --valid-fraction or --valid-file"
        )
    if times * measured.validation_seconds > pace.MAX_SHARE * left:
        advice = "; a smaller --valid-fraction or --valid-file leaves more for training"
        console.note(f"{once}, of {left:.1f} that are left{'' if resumed else advice}")


def timed(job: "Job", given: Options, saved: "SavedRun | None", began: float) -> "Job":
    """The job with its number of steps, from steps, epochs, or the time that there is, and when to report.

    `OptionError` where that leaves no step, or no time for one and what must be validated.
    """
    from lstmgen.measuring import measure

    config, at = job.training, saved.position if saved else Position()
    steps = _steps(job, given)
    if steps:
        job = replace(job, training=replace(config, num_steps=steps))
    elif saved and "minutes" not in given:  # to the end that it had
        if at.deadline is not None and config.num_steps > at.step:
            job = replace(job, time_limit=pace.TimeLimit(at.deadline, measure(job)))
    else:
        job = _within_minutes(job, given, at if saved else None, began)
    steps = job.training.num_steps
    if steps <= at.step:
        raise _over(job, at, config.num_steps)
    if job.time_limit is None and (saved is None or steps != config.num_steps):
        report_every = pace.report_interval(
            steps,
            job.epochs(steps),
            step_cost=config.batch_size * config.window,
            valid_cost=len(job.data.valid_ids) * pace.score_cost(job.model, config),
        )
        job = replace(job, training=replace(job.training, report_every=report_every))
    return job


def _within_minutes(job: "Job", given: Options, at: Position | None, began: float) -> "Job":
    """The job with as many steps as the time allows; `at` is where a saved run is."""
    from lstmgen.measuring import measure

    measured, seconds = measure(job), minutes(given) * 60
    start = stopwatch.now() - began
    deadline = seconds - start - CLOSING_SECONDS
    if deadline <= 0:
        raise OptionError(
            f"--minutes {seconds / 60:g} is over before training can begin, as the start took "
            f"{start:.1f} seconds; give more"
        )
    done, left, least = 0, deadline, 0.0
    if at is not None:
        done, left = at.step, deadline - at.seconds
        if done >= job.training.num_steps:  # as its own start may have taken longer than this one
            least = max(LITTLE_SECONDS, measured.step_seconds)
    if at is not None and left <= least:
        raise OptionError(
            f"--minutes {seconds / 60:g} leaves no time to train the run in {job.folder} further, as its "
            f"training until step {at.step:,} took {at.seconds:.1f} seconds and the start now {start:.1f}; "
            "give more"
            + (", or leave it out to go on to the end" if done < job.training.num_steps else "")
        )
    begins_with_one = at is None and "init_from" in given  # as that model may be the best
    _require_time_to_validate(
        measured, seconds, start, left, resumed=at is not None, times=1 + begins_with_one
    )
    left -= begins_with_one * measured.validation_seconds
    more, report_every = pace.plan_steps(measured, left)
    training = replace(job.training, num_steps=done + more, report_every=report_every)
    return replace(job, training=training, time_limit=pace.TimeLimit(deadline, measured))


def _over(job: "Job", at: Position, planned: int) -> OptionError:
    """What to say where a saved run is asked to go no further than it has come."""
    epochs = console.count(job.epochs(at.step), "epoch")
    done = f"{epochs} and {console.count(at.seconds / 60, 'minute')} of training"
    if at.step < planned:
        return OptionError(
            f"the run in {job.folder} is at step {at.step:,} of {planned:,} already, after {done}; leave "
            "--steps, --epochs and --minutes out to go on to its end, or give more of them in all"
        )
    return OptionError(
        f"the run in {job.folder} is at step {at.step:,}, its end, after {done}; to train it further, give "
        "more --steps, --epochs or --minutes in all"
    )


def share_spared_by(initial: "SavedModel | None", job: "Job", given: Options) -> float | None:
    """`share_spared` of the model of --init-from; None without one, or where it decides nothing."""
    if initial is None or {"learning_rate", "dropout", "weight_drop"} <= given.keys():
        return None
    from lstmgen.measuring import share_spared

    return share_spared(job, initial)


def suited(job: "Job", given: Options, share_spared: float | None = None) -> "Job":
    """The job with what suits how often the text will be read, unless it was given.

    That is the learning rate, and what keeps the text from being learned by heart: the less of both, the
    better the model to begin with knows the text (see `share_spared_by`).
    """
    config, epochs = job.training, job.epochs(job.training.num_steps)
    size, text_tokens = job.model.hidden_size, len(job.data.train_ids)
    level, cell = job.vocabulary.level, job.model.cell
    usual: dict[str, Any] = {
        "learning_rate": planning.learning_rate(epochs, config.batch_size, level, cell),
        "dropout": planning.dropout(epochs, size, text_tokens, level),
        "weight_drop": planning.weight_drop(epochs),
        "weight_decay": planning.weight_decay(epochs),
    }
    if share_spared is not None:
        known = planning.how_well_known(share_spared, level)
        rate = usual["learning_rate"]
        usual["learning_rate"] = planning.fine_tuning_rate(epochs, level, known, rate)
        for name in ("dropout", "weight_drop"):
            usual[name] = round(usual[name] * (1 - known) ** 2, 2)
    chosen = {name: usual[name] for name in usual.keys() - given.keys()}
    return replace(job, training=replace(config, **chosen))
