"""Turns the options of `lstmgen train` into what a job is of: corpus, network and numbers."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from lstmgen import planning
from lstmgen.cli import console
from lstmgen.cli.memory import require_memory
from lstmgen.config import (
    DEFAULT_MINUTES,
    MAX_HELD_OUT,
    CorpusConfig,
    JsonConfig,
    ModelConfig,
    TrainConfig,
)
from lstmgen.errors import OptionError
from lstmgen.ranges import require, require_device

if TYPE_CHECKING:
    import torch

    from lstmgen.checkpoint import SavedModel
    from lstmgen.corpus import Text
    from lstmgen.dataset import Dataset

Options = Mapping[str, Any]


def require_sense(given: Options) -> None:
    """What no corpus can make right is refused before one is read."""
    from lstmgen import corpus

    if not given["model"]:
        raise OptionError("--model is empty; name the folder to write")
    if given.get("init_from") == "":
        raise OptionError("--init-from is empty; name the model to begin with")
    if given.get("quiet") and "sample_every" in given:
        raise OptionError("--quiet shows no samples; leave out --quiet or --sample-every")
    if sum(name in given for name in ("minutes", "epochs", "steps")) > 1:
        raise OptionError("give only one of --minutes, --epochs and --steps")
    for name in {"minutes", "epochs", "threads", "sample_every"} & set(given):
        require(f"--{name.replace('_', '-')}", given[name])
    require_device(given["device"])
    anew = ["--overwrite"] * given["overwrite"] + ["--init-from"] * ("init_from" in given)
    if given["resume"] and anew:
        raise OptionError(f"--resume goes on with a run; leave out {' and '.join(anew)}")
    corpus.require_one_stdin(paths(given))
    for path in paths(given):
        if path != corpus.STDIN:  # what is not there is told before anything is said of the folder
            corpus.size(path)
    if "valid_file" in given and "valid_fraction" in given:
        fraction = given["valid_fraction"]
        raise OptionError(f"--valid-file is used whole; leave out --valid-fraction {fraction:g}")
    by_word = given.get("level", CorpusConfig.level) == "word"
    if "words" in given and not (by_word or given["resume"] or "init_from" in given):
        raise OptionError(f"--words {given['words']} is for words; add --level word")
    if given.get("memory"):
        if given.get("cell") == "rnn":
            raise OptionError(
                f"--memory {given['memory']} is for gates, and a plain RNN has none; leave it out"
            )
        if "init_from" in given:
            raise OptionError(
                f"--memory {given['memory']} is for fresh gates, not those of --init-from; leave it out"
            )
    # Built only to refuse wrong values. Steps, an "auto" and a size that --tie copies are settled later.
    CorpusConfig(**_part(given, CorpusConfig))
    TrainConfig(**{"num_steps": 1, "report_every": 1} | _part(given, TrainConfig, "precision"))
    if "steps" in given:
        TrainConfig(num_steps=given["steps"], report_every=1)
    sized = {"embedding_size", "hidden_size"} <= set(given)
    ModelConfig(vocab_size=2, **_part(given, ModelConfig, *([] if sized else ["tie"])))


def paths(given: Options) -> list[str]:
    """The files that are read: the corpus, and what it is validated on if that is a file of its own."""
    return [*given["corpus"], *([given["valid_file"]] if "valid_file" in given else [])]


def minutes(given: Options) -> float:
    """The time that was asked for, or is usual."""
    return float(given.get("minutes", DEFAULT_MINUTES))


def _part(given: Options, config: type[JsonConfig], *without: str) -> dict[str, Any]:
    """The given options that are fields of a configuration."""
    names = {field.name for field in fields(config)} - set(without)
    return {name: value for name, value in given.items() if name in names}


def data(
    given: Options, text: "Text", held_out: "Text | None", other: "SavedModel | None"
) -> "Dataset":
    """The text cut into tokens and parts, with a vocabulary of its own.

    If there is `other`, the model of --init-from, the text is cut as that one's was, and what it knows is
    known too, unless the size of the vocabulary is given.
    """
    from lstmgen import dataset

    config = CorpusConfig(**_part(given, CorpusConfig))
    if other:
        theirs = other.vocabulary
        if given.get("level", theirs.level) != theirs.level:
            raise OptionError(
                f"--level {given['level']}: the model of --init-from is by {theirs.level}; leave out --level"
            )
        words = given.get("words", theirs.words)
        if "words" in given and theirs.level == "char":
            raise OptionError(
                f"--words {words}: the model of --init-from is by char; leave out --words"
            )
        if words != theirs.words:
            raise OptionError(
                f"--words {words}: the model of --init-from has --words {theirs.words}; leave out --words"
            )
        config = replace(config, level=theirs.level, words=theirs.words)
    if held_out is None and "valid_fraction" not in given:
        config = replace(config, valid_fraction=usual_valid_fraction(len(text.text)))
    seed = given.get("seed", TrainConfig.seed)
    besides = other.vocabulary if other and config.max_vocab is None else None
    data = dataset.prepare(text, config, seed=seed, held_out=held_out, besides=besides)
    window = given.get("window", TrainConfig.window)
    dataset.require_enough(data, window)
    return data


def usual_valid_fraction(characters: int) -> float:
    """The share of a text that is held out where none is given."""
    return min(CorpusConfig.valid_fraction, MAX_HELD_OUT / characters)


def model(given: Options, data: "Dataset", other: "SavedModel | None") -> ModelConfig:
    """The network that is asked for, or that of `other` for all symbols that are known now."""
    options = _part(given, ModelConfig)
    if other:
        theirs = other.config.to_json()
        odd = [name for name, value in options.items() if value != theirs[name]]
        if odd:
            typed, has = (
                " ".join(console.option(name, of[name]) for name in odd) for of in (options, theirs)
            )
            raise OptionError(f"the model of --init-from has {has}; leave out {typed}")
        config = replace(other.config, vocab_size=len(data.vocabulary))
        require_memory(config, "begin with a smaller model, or give a lower --max-vocab")
        return config
    sizes = {options[name] for name in ("embedding_size", "hidden_size") if name in options}
    many = planning.has_many_symbols(data.vocabulary.level, len(data.vocabulary))
    options.setdefault("tie", many and len(sizes) < 2)
    if options["tie"] and "embedding_size" in options:
        options.setdefault("hidden_size", options["embedding_size"])
    if options["tie"] or many:
        hidden_size = options.get("hidden_size", ModelConfig.hidden_size)
        options.setdefault("embedding_size", hidden_size)
    config = ModelConfig(vocab_size=len(data.vocabulary), **options)
    require_memory(config)
    return config


def training(given: Options, data: "Dataset", where: "torch.device") -> TrainConfig:
    """Everything but the number of steps, for which 1 stands."""
    from lstmgen import device as devices
    from lstmgen.batching import even_window, fitting_batch

    options = _part(given, TrainConfig)
    vocab_size, level = len(data.vocabulary), data.vocabulary.level
    most_streams = given.get("batch_size", planning.MANY_STREAMS)
    tokens = most_streams * given.get("window", TrainConfig.window)
    fitting = planning.symbols_that_fit(devices.free_memory(where), tokens)
    options.setdefault(
        "softmax_sample", planning.softmax_sample(vocab_size, level, fitting=fitting)
    )
    if options["softmax_sample"] >= vocab_size:
        console.note(
            f"--softmax-sample {options['softmax_sample']} is no less than the {vocab_size:,} symbols there "
            "are; so all are trained against"
        )
    options["precision"] = devices.choose_precision(given.get("precision", "auto"), where)
    config = TrainConfig(num_steps=1, report_every=1, **options)
    batch_size = fitting_batch(len(data.train_ids), config.batch_size, config.window)
    if batch_size < config.batch_size:
        console.note(
            f"{data.facts['name']} is short: it fills a window of {config.window} tokens in {batch_size} of "
            f"{config.batch_size} streams; so {batch_size} are read"
        )
    window = config.window
    if "window" not in given:
        window = even_window(len(data.train_ids), batch_size, window)
    return replace(config, batch_size=batch_size, window=window)
