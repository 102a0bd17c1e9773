"""What is said of a run before it begins: its corpus, its numbers, and the flags that repeat it."""

from typing import TYPE_CHECKING

from lstmgen.cli import console
from lstmgen.cli.plan import Options, minutes
from lstmgen.config import CorpusConfig

if TYPE_CHECKING:
    from lstmgen.checkpoint import SavedRun
    from lstmgen.dataset import Dataset
    from lstmgen.job import Job

REPEATING = (
    *("cell", "num_layers", "hidden_size", "embedding_size", "tie", "skip", "num_steps"),
    *("batch_size", "window", "learning_rate", "adamw_share", "weight_decay"),
    *("dropout", "weight_drop", "memory", "softmax_sample", "seed", "precision"),
)

AS_GIVEN, USUAL = ("valid_file", "init_from", "encoding", "device", "threads"), ("utf-8", "auto")


def of_data(data: "Dataset") -> str:
    vocabulary, facts = data.vocabulary, data.facts
    kind = "characters" if vocabulary.level == "char" else "words and marks"
    characters = data.train_characters + data.valid_characters
    rare = data.vocabulary.count_unknown(data.train_ids) - data.placed_unknown
    places = [(rare, "rare"), (data.placed_unknown, "drawn at random")]
    replaced = " and ".join(f"{count:,} {which}" for count, which in places if count)
    name = console.visible(facts["name"], keep_newlines=False)
    return (
        f"corpus      {name}: {characters:,} characters; {len(data.train_ids):,} {kind} to train "
        f"on, {len(data.valid_ids):,} to validate on\n"
        f"vocabulary  {len(vocabulary):,} {kind}; <unk> takes the place of {replaced}"
    )


def of_job(job: "Job", given: Options, saved: "SavedRun | None") -> str:
    from lstmgen import device as devices

    model, config = job.model, job.training
    size = f"{model.num_layers} x {model.hidden_size}, embedding {model.embedding_size}"
    tied = ", tied" if model.tie else ""
    epochs = config.num_steps / job.streams().num_windows
    about = ""
    if job.deadline is not None and (saved is None or "minutes" in given):
        chosen = "" if "minutes" in given else " (as nothing else is asked)"
        about = f"--minutes {minutes(given):g}{chosen}: about "
    start = f", from step {saved.progress['step']:,}" if saved else ""
    return (
        f"model       {model.cell.upper()} {size}{tied}: {model.num_parameters:,} parameters\n"
        f"device      {devices.describe(job.device)}, {config.precision}\n"
        f"training    {about}{config.num_steps:,} steps of {config.batch_size} x {config.window} "
        f"tokens ({epochs:.3g} epochs){start}; learning rate {config.learning_rate:g}, "
        f"weight decay {config.weight_decay:g}, dropout {config.dropout:g}, "
        f"weight drop {config.weight_drop:g}, seed {config.seed}"
        + ("" if saved else f"\nrepeat      {_flags(job, given)}")
    )


def _flags(job: "Job", given: Options) -> str:
    """The options that give this plan again, whatever the time and the machine."""
    usual = CorpusConfig().to_json()
    settings = {n: job.data.facts[n] for n, value in usual.items() if job.data.facts[n] != value}
    every = job.model.to_json() | job.training.to_json()
    settings |= {name: every[name] for name in REPEATING}
    settings |= {name: given[name] for name in AS_GIVEN if given.get(name) not in (None, *USUAL)}
    return " ".join(
        console.option(name.replace("num_steps", "steps"), value)
        for name, value in settings.items()
    )
