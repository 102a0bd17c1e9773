"""Turns the options of `lstmgen train` into a job: corpus, network, numbers, and how long it takes."""

import time
from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any

from lstmgen import planning
from lstmgen.cli import console
from lstmgen.config import (
    DEFAULT_MINUTES,
    FINE_TUNING_RATE,
    MOST_HELD_OUT,
    CorpusConfig,
    ModelConfig,
    Position,
    TrainConfig,
    require,
)
from lstmgen.errors import OptionError

if TYPE_CHECKING:
    from lstmgen.checkpoint import SavedModel, SavedRun
    from lstmgen.corpus import Text
    from lstmgen.dataset import Dataset
    from lstmgen.job import Job

CLOSING_SECONDS = 0.5  # kept back from --minutes for the last save and for leaving

Options = Mapping[str, Any]


def require_sense(given: Options) -> None:
    """What no corpus can make right is refused before one is read."""
    from lstmgen import corpus

    if not given["model"]:
        raise OptionError("--model is empty; name the folder to write")
    if given.get("init_from") == "":
        raise OptionError("--init-from is empty; name the model to begin with")
    if sum(name in given for name in ("minutes", "epochs", "steps")) > 1:
        raise OptionError("give only one of --minutes, --epochs and --steps")
    for name in {"minutes", "epochs"} & set(given):
        require(f"--{name}", given[name])
    if given["resume"] and (given["overwrite"] or "init_from" in given):
        raise OptionError("--resume goes on with a run; leave out --overwrite and --init-from")
    corpus.require_one_stdin([*given["corpus"], given.get("valid_file", "")])
    if "valid_file" in given and "valid_fraction" in given:
        raise OptionError("--valid-file is validated on whole; leave out --valid-fraction")
    by_word = given.get("level", CorpusConfig.level) == "word"
    if "words" in given and not (by_word or given["resume"] or "init_from" in given):
        raise OptionError(f"--words {given['words']} is for words; add --level word")
    if given.get("memory"):
        if given.get("cell") == "rnn":
            raise OptionError(
                f"--memory {given['memory']} is for gates, a plain RNN has none; leave it out"
            )
        if "init_from" in given:
            raise OptionError(
                f"--memory {given['memory']} is for fresh gates, not those of --init-from; leave it out"
            )
    CorpusConfig(**_part(given, CorpusConfig))
    TrainConfig(**{"num_steps": 1, "report_every": 1} | _part(given, TrainConfig, "precision"))
    if "steps" in given:
        TrainConfig(num_steps=given["steps"], report_every=1)
    ModelConfig(vocab_size=2, **_part(given, ModelConfig, "tie"))


def _part(given: Options, config: type, *without: str) -> dict[str, Any]:
    """The given options that are fields of a configuration."""
    names = set(config.__dataclass_fields__) - set(without)  # type: ignore[attr-defined]
    return {name: value for name, value in given.items() if name in names}


def data(
    given: Options, text: "Text", held_out: "Text | None", other: "SavedModel | None"
) -> "Dataset":
    from lstmgen import dataset

    config = CorpusConfig(**_part(given, CorpusConfig))
    if other:
        theirs = other.vocabulary
        for name, value in (("level", theirs.level), ("words", theirs.words)):
            if given.get(name, value) != value:
                kind = value if theirs.level == "word" else "char"
                raise OptionError(f"the model of --init-from is by {kind}; leave out --{name}")
        if theirs.level == "char" and "words" in given:
            raise OptionError("the model of --init-from is by char; leave out --words")
        config = replace(config, level=theirs.level, words=theirs.words)
    if held_out is None and "valid_fraction" not in given:
        config = replace(config, valid_fraction=usual_valid_fraction(len(text.text)))
    seed = given.get("seed", TrainConfig.seed)
    data = dataset.prepare(text, config, seed=seed, held_out=held_out)
    window = given.get("window", TrainConfig.window)
    dataset.require_enough(data, window)
    return data


def usual_valid_fraction(characters: int) -> float:
    """The share of a text that is held out where none is given."""
    return min(CorpusConfig.valid_fraction, MOST_HELD_OUT / max(1, characters))


def network(given: Options, data: "Dataset", other: "SavedModel | None") -> ModelConfig:
    options = _part(given, ModelConfig)
    if other:
        theirs = other.config.to_json()
        odd = [name for name, value in options.items() if value != theirs[name]]
        if odd:
            told = ", ".join(f"{name.replace('_', ' ')} {theirs[name]}" for name in odd)
            raise OptionError(f"the model of --init-from has {told}; leave these options out")
        return replace(other.config, vocab_size=len(data.vocabulary))
    sizes = {options[name] for name in ("embedding_size", "hidden_size") if name in options}
    many = planning.tie(data.vocabulary.level, len(data.vocabulary))
    options.setdefault("tie", many and len(sizes) < 2)
    if options["tie"] and "embedding_size" in options:
        options.setdefault("hidden_size", options["embedding_size"])
    if options["tie"] or many:
        hidden_size = options.get("hidden_size", ModelConfig.hidden_size)
        options.setdefault("embedding_size", hidden_size)
    return ModelConfig(vocab_size=len(data.vocabulary), **options)


def training(
    given: Options, data: "Dataset", where: Any, other: "SavedModel | None"
) -> TrainConfig:
    """Everything but the number of steps, for which 1 stands."""
    from lstmgen import device as devices
    from lstmgen.batching import even_window, fitting_batch

    options = _part(given, TrainConfig)
    vocab_size, level = len(data.vocabulary), data.vocabulary.level
    streams = given.get("batch_size", planning.MANY_STREAMS)
    tokens = streams * given.get("window", TrainConfig.window)
    fitting = planning.symbols_that_fit(devices.free_memory(where), tokens)
    options.setdefault("softmax_sample", planning.softmax_sample(vocab_size, level, fitting))
    if other:
        options.setdefault("learning_rate", FINE_TUNING_RATE)
    options["precision"] = devices.choose_precision(given.get("precision", "auto"), where)
    config = TrainConfig(num_steps=1, report_every=1, **options)
    streams = fitting_batch(len(data.train_ids), config.batch_size, config.window)
    if streams < config.batch_size:
        console.note(
            f"{data.facts['name']} is short: {streams} streams instead of {config.batch_size} fill a window "
            f"of {config.window} tokens"
        )
    window = config.window
    if "window" not in given and streams:
        window = even_window(len(data.train_ids), streams, window)
    return replace(config, batch_size=streams, window=window)


def sized(job: "Job", given: Options, began: float) -> "Job":
    """The job with the layers, and the streams, that its time can feed, unless they were given."""
    from lstmgen.step import measure

    size_given = "hidden_size" in given or (job.model.tie and "embedding_size" in given)
    steps = _steps(job, given)
    may_widen = not {"batch_size", "window"} & set(given) and _may_widen(job, 0)
    if size_given and not may_widen:
        return job
    tokens, wide = float(steps * job.training.batch_size * job.training.window), False
    if not steps:
        left = minutes(given) * 60 - (time.perf_counter() - began)
        tokens = planning.tokens_in(measure(job), left, job.training)
        if may_widen and _may_widen(job, tokens):
            job, tokens, wide = _widened_if_faster(job, given, tokens, left)
    if size_given:
        return job
    size = planning.hidden_size(tokens, len(job.data.train_ids), job.vocabulary.level, wide)
    tied = "embedding_size" not in given and job.model.embedding_size == job.model.hidden_size
    model = replace(
        job.model, hidden_size=size, embedding_size=size if tied else job.model.embedding_size
    )
    return replace(job, model=model)


def _may_widen(job: "Job", tokens: float) -> bool:
    """Whether more streams may serve a run on so many tokens better, if they are read much faster."""
    text_tokens, cuda = len(job.data.train_ids), job.device.type == "cuda"
    return planning.may_widen(tokens, text_tokens, job.vocabulary.level, cuda)


def _widened_if_faster(
    job: "Job", given: Options, tokens: float, left: float
) -> tuple["Job", float, bool]:
    """The job with more streams, the tokens that it can read, and whether they are enough more for that.

    `tokens` is how many the job as it is can read in the seconds that are left.
    """
    import torch

    from lstmgen.step import measure

    usual = planning.WIDE_RATE if job.vocabulary.level == "char" else TrainConfig.learning_rate
    rate = given.get("learning_rate", usual)
    config = replace(job.training, batch_size=planning.MANY_STREAMS, learning_rate=rate)
    widened = replace(job, training=config)
    try:
        more = planning.tokens_in(measure(widened), left, config)
    except torch.OutOfMemoryError:  # of a GPU
        more = 0.0
    wide = more > planning.MORE_TOKENS * tokens
    return (widened, more, True) if wide else (job, tokens, False)


def _steps(job: "Job", given: Options) -> int:
    """The number of steps that was asked for, as steps or epochs; 0 where time is to decide."""
    steps: int = given.get("steps", 0)
    return steps or ceil(given.get("epochs", 0) * job.streams().num_windows)


def _require_time_to_validate(measured: planning.Speed, seconds: float, left: float) -> None:
    """A run needs one validation at its end; says where that leaves little time for the rest."""
    once = f"to validate once takes about {measured.validation_seconds:.1f} seconds"
    if measured.validation_seconds >= left:
        raise OptionError(
            f"--minutes {seconds / 60:g} leaves no time to train: {once}, and after the start {left:.1f} are "
            "left; give more, or a smaller --valid-fraction or --valid-file"
        )
    if measured.validation_seconds > planning.MOST_SHARE * left:
        console.note(
            f"{once}, of {left:.1f} that are left; a smaller --valid-fraction or --valid-file leaves more "
            "for training"
        )


def minutes(given: Options) -> float:
    """The time that was asked for, or is usual."""
    return float(given.get("minutes", DEFAULT_MINUTES))


def timed(job: "Job", given: Options, saved: "SavedRun | None", began: float) -> "Job":
    """The job with its number of steps, from steps, epochs, or the time that there is."""
    from lstmgen.step import measure

    config, measured = job.training, None
    at = saved.position if saved else Position()
    if at.device not in ("", job.device.type):
        console.note(
            f"the run was on {at.device} and goes on on {job.device.type}: its bits may differ from "
            "those of a run that stays"
        )
    done, steps = at.step, _steps(job, given)
    if steps:
        deadline = None
    elif saved and "minutes" not in given:
        steps, deadline = config.num_steps, at.deadline
        measured = measure(job) if deadline is not None else None
    else:
        measured = measure(job)
        used, seconds = at.seconds, minutes(given) * 60
        start = time.perf_counter() - began
        deadline = seconds - start - CLOSING_SECONDS
        if deadline <= 0:
            raise OptionError(
                f"--minutes {seconds / 60:g} is over before training can begin, as the start took "
                f"{start:.1f} seconds; give more"
            )
        left = max(deadline - used, 0.0)
        if not saved:
            _require_time_to_validate(measured, seconds, left)
        more, report_every = planning.plan_steps(measured, left)
        steps = done + more if deadline > used else done
        config = replace(config, report_every=report_every)
    if steps <= done:
        raise OptionError(
            f"the run in {job.folder} is at step {done:,}, its end; to train it further, give more --steps, "
            "--epochs or --minutes in all"
        )
    if deadline is None and (saved is None or steps != config.num_steps):
        report_every = planning.reports_for(
            steps,
            job.epochs(steps),
            step_cost=config.batch_size * config.window,
            valid_cost=len(job.data.valid_ids) * planning.score_cost(job.model, config),
        )
        config = replace(config, report_every=report_every)
    if not saved:
        config = _suited(config, job, given, job.epochs(steps))
    return replace(
        job,
        training=replace(config, num_steps=steps),
        deadline=deadline,
        measured=measured,
    )


def _suited(config: TrainConfig, job: "Job", given: Options, epochs: float) -> TrainConfig:
    """The numbers as they suit how often the text will be read, unless they were given.

    That is what keeps it from being learned by heart, and the learning rate where it is still the usual one.
    """
    size, text_tokens = job.model.hidden_size, len(job.data.train_ids)
    level, rate = job.vocabulary.level, config.learning_rate
    if rate == TrainConfig.learning_rate:
        rate = planning.learning_rate(epochs, level, job.model.cell)
    usual: dict[str, Any] = {
        "learning_rate": rate,
        "dropout": planning.dropout(epochs, size, text_tokens, level),
        "weight_drop": planning.weight_drop(epochs),
        "weight_decay": planning.weight_decay(epochs),
    }
    return replace(config, **{name: usual[name] for name in usual.keys() - given.keys()})
