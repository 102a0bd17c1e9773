"""What is said of a run: its corpus, its numbers, the flags that repeat it or go on with it, how it ended."""

import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lstmgen.cli import console
from lstmgen.cli.options import Options, minutes, usual_valid_fraction
from lstmgen.config import DEFAULT_ENCODING, DEFAULT_MODEL_FOLDER, MODEL_VARIABLE, CorpusConfig

if TYPE_CHECKING:
    from lstmgen.checkpoint import SavedModel, SavedRun
    from lstmgen.dataset import Dataset
    from lstmgen.job import Job
    from lstmgen.progress import Progress

RISEN = 1.005  # of the lowest validation loss, from which on it is worth a word
NOT_OPTIONS = {"vocab_size", "report_every", "warmup_fraction", "clip_norm"}  # of a plan's numbers

# Options that are told beside the numbers of a plan, unless they have these values.
AS_GIVEN = {
    "valid_file": None,
    "init_from": None,
    "encoding": DEFAULT_ENCODING,
    "device": "auto",
    "threads": None,
}


def of_data(data: "Dataset") -> str:
    """What there is to learn from, in two lines."""
    vocabulary, facts = data.vocabulary, data.facts
    by_char = vocabulary.level == "char"
    kind, kinds = ("character", "characters") if by_char else ("word or mark", "words and marks")
    characters, whose = data.train_characters + data.valid_characters, ""
    if not data.validates_on_tail:
        characters, whose = data.train_characters, " of --valid-file"
    rare = data.vocabulary.count_unknown(data.train_ids) - data.placed_unknown
    replaced = [f"{console.count(rare, kind, kinds)} not kept"] if rare else []
    if data.placed_unknown:
        replaced.append(f"{console.count(data.placed_unknown, kind, kinds)} drawn at random")
    name = console.one_line(facts["name"])
    unknown = vocabulary.count_unknown(data.valid_ids)
    odd = f", {unknown:,} of them unknown" if unknown else ""
    return (
        f"corpus      {name}: {characters:,} characters; {len(data.train_ids):,} {kinds} to train "
        f"on, {len(data.valid_ids):,}{whose} to validate on{odd}\n"
        f"vocabulary  {len(vocabulary):,} symbols, <unk> among them, which replaces "
        f"{' and '.join(replaced)}"
    )


def of_start(other: "SavedModel", data: "Dataset") -> str:
    """How many of the symbols a model to begin with knows, and how many of its own are of no more use."""
    theirs, ours = set(other.vocabulary.tokens), set(data.vocabulary.tokens)
    new, left = len(ours - theirs), len(theirs - ours)
    share = data.share_known(other.vocabulary)
    both = f"{len(theirs & ours):,} of {len(ours):,} symbols, {100 * share:.3g} % of the text"
    told = [f"{both}, are known to that model"]
    told += [f"{new:,} begin afresh"] * bool(new)
    told += [f"{left:,} of the model's own are left out by --max-vocab"] * bool(left)
    return f"init-from   {'; '.join(told)}"


def of_knowledge(share_spared: float) -> str:
    """How well a model to begin with knows the text."""
    if share_spared <= 0:
        return "            it predicts the text no better than a guess by frequencies would"
    return f"            it saves {100 * share_spared:.3g} % of the nats that a guess by frequencies takes"


def of_job(job: "Job", given: Options, saved: "SavedRun | None") -> str:
    """The plan: network, device and numbers."""
    from lstmgen import device as devices
    from lstmgen.course import rate_divisor

    model, config = job.model, job.training
    size = f"{model.num_layers} x {model.hidden_size}, embedding {model.embedding_size}"
    tied = ", tied" if model.tie else ""
    epochs = job.epochs(config.num_steps)
    about = ""
    if job.time_limit:
        chosen = "" if "minutes" in given else " (the default)"
        asked = saved is None or "minutes" in given
        about = f"--minutes {minutes(given):g}{chosen}: about " if asked else "about "
    start, retreats = "", 0
    if saved:
        start, retreats = f", from step {saved.position.step:,}", saved.position.retreats
    rest = f" (1/{rate_divisor(retreats)} of that, as the loss blew up)" if retreats else ""
    return (
        f"model       {model.cell.upper()} {size}{tied}: {model.num_parameters:,} parameters\n"
        f"device      {devices.describe(job.device, job.most_threads)}, "
        f"{devices.describe_precision(job.device, config.precision)}\n"
        f"training    {about}{console.count(config.num_steps, 'step')} of "
        f"{config.batch_size} x {config.window} tokens ({console.count(epochs, 'epoch')}){start}; "
        f"learning rate {config.learning_rate:g}{rest}, weight decay {config.weight_decay:g}, "
        f"dropout {config.dropout:g}, weight drop {config.weight_drop:g}, seed {config.seed}"
    )


def to_repeat(job: "Job", given: Options) -> str:
    """The options that give this plan again, whatever the time and the machine."""
    usual = CorpusConfig().to_json()
    if job.data.validates_on_tail:
        characters = job.data.train_characters + job.data.valid_characters
        usual["valid_fraction"] = usual_valid_fraction(characters)
    settings = {n: job.data.facts[n] for n, value in usual.items() if job.data.facts[n] != value}
    every = job.model.to_json() | job.training.to_json()
    settings |= {name: value for name, value in every.items() if name not in NOT_OPTIONS}
    settings |= _as_given(given)
    options = [console.option(n.replace("num_steps", "steps"), settings[n]) for n in settings]
    return f"repeat      {' '.join(options)}"


def _as_given(given: Options) -> dict[str, object]:
    return {n: given[n] for n, usual in AS_GIVEN.items() if given.get(n, usual) != usual}


def to_resume(given: Options) -> str:
    """The command that goes on with a run: what it has to be told again."""
    again = [
        console.option(name, value)
        for name, value in _as_given(given).items()
        if name != "init_from"
    ]
    again += ["--resume", *model_flags(given)]
    corpus = [shlex.quote(name) for name in given["corpus"]]
    if any(name.startswith("-") and name != "-" for name in given["corpus"]):
        corpus, again = [*again, "--"], corpus  # else they would be taken for options
    return console.one_line(" ".join([console.program(), "train", *corpus, *again]))


def from_pipes(names: Sequence[str]) -> list[str]:
    """Those of the texts that are read from a pipe, and are gone once they have been read."""
    from lstmgen import corpus

    return [corpus.called(name) for name in names if corpus.is_pipe(name)]


def model_flags(given: Options) -> list[str]:
    """The option that names the model's folder, as it is typed, if a command has to be told."""
    told = given["model"] != DEFAULT_MODEL_FOLDER or MODEL_VARIABLE in os.environ
    return [console.option("model", given["model"])] if told else []


def title(job: "Job") -> str:
    """What stands above a run's curves."""
    model, name = job.model, job.data.facts["name"]
    return f"{model.cell.upper()} {model.num_layers} x {model.hidden_size} on {name}"


def what_is_odd(last: "Progress", raised_at: int | None = None) -> str:
    """What somebody should know of how a run ended, by its last record, even if nothing else is told.

    `raised_at` is the step at which a later end raised its learning rate, if one did.
    """
    assert last.score is not None  # the last step is always scored
    assert last.best is not None
    if last.best_step == 0:
        return (
            "the model that is kept is that of --init-from as it began: no later report came below its "
            "validation loss; a lower --learning-rate, or more text, may help"
        )
    if last.best_step is None or last.score.nats <= RISEN * last.best.nats:
        return ""
    why = (
        "the validation loss has risen since; more text, more --dropout, or after --init-from fewer "
        "--epochs, may help"
    )
    if raised_at is not None and last.best_step <= raised_at:
        why = (
            "with its later end the run has not come down to that loss again, as its learning rate rose; "
            "--overwrite begins anew, with a plan for the whole time"
        )
    return f"the model that is kept is that of step {last.best_step:,} of {last.num_steps:,}: {why}"


def of_end(last: "Progress", model: str) -> str:
    """What came of a run, by its last record."""
    best = last.best
    assert best is not None  # the last step is always scored
    name, steps = console.one_line(model), console.count(last.step, "step")
    return (
        f"done        {name}: best validation {best.nats_per_token:.4f} nats a token "
        f"({best.bits_per_character:.3f} bits/character, perplexity {best.perplexity:.4g}) "
        f"after {steps} and {console.count(round(last.seconds), 'second')} of training"
    )


def to_try(flags: list[str]) -> str:
    """What to type next, after a run."""
    sample = " ".join([console.program(), "sample", *flags])
    score = " ".join([console.program(), "eval other.txt", *flags])
    return f"try         {sample}\n            {score}"
