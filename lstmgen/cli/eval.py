"""`lstmgen eval`: texts in, scores out."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lstmgen.cli import again, comparing, console, models, scores
from lstmgen.config import DEFAULT_ENCODING, MODEL_VARIABLE, CacheConfig, DynamicConfig
from lstmgen.errors import OptionError
from lstmgen.ranges import require_device

if TYPE_CHECKING:
    from lstmgen.corpus import Text

By = Literal["corpus", "line", "token"]
LONGEST_CONTEXT = 1_000_000  # tokens


def evaluate(
    texts: Annotated[
        list[str],
        typer.Argument(help="Files to score, gzip too; - is standard input."),
    ],
    by: Annotated[
        By | None,
        typer.Option(
            help="corpus: one score a text; line: bits per character, nats, tokens, unknown tokens and text "
            "of each line; token: nats, rank and text of each token; both tab-separated.",
            show_default="corpus",
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...|auto",
            help="Score the tokens, or a sample of 4,096, with only the last N before each as context, for "
            f"each N that is given, {LONGEST_CONTEXT:,} at most; auto tries 1, 2, 4 and so on while it "
            "helps.",
        ),
    ] = None,
    choices: Annotated[
        bool,
        typer.Option(
            "--choices",
            help='TEXT is JSON Lines like {"context": "I grew up in", "choices": [" France", " Peru"], '
            '"answer": 0}, each choice with its own space, answers counted from 0: which is likeliest?',
        ),
    ] = False,
    dynamic: Annotated[
        bool,
        typer.Option(
            "--dynamic", help="Score also with a model that goes on learning from the text (slow)."
        ),
    ] = False,
    dynamic_rate: Annotated[
        float | None,
        typer.Option(
            help=f"How much it learns from each window of {DynamicConfig.window} tokens.",
            show_default=f"{DynamicConfig.rate:g}",
        ),
    ] = None,
    dynamic_decay: Annotated[
        float | None,
        typer.Option(
            help="How soon it forgets: share of the way back to the trained weights, each window.",
            show_default=f"{DynamicConfig.decay:g}",
        ),
    ] = None,
    cache: Annotated[
        int | None,
        typer.Option(
            metavar="TOKENS",
            help="Score also with a neural cache of so many tokens: what followed states like the present "
            "one becomes likelier. Meant for words.",
        ),
    ] = None,
    cache_share: Annotated[
        float | None,
        typer.Option(
            help="How much of the probability is the cache's.",
            show_default=f"{CacheConfig.share:g}",
        ),
    ] = None,
    cache_sharpness: Annotated[
        float | None,
        typer.Option(
            help="How much more the most similar states count; at 0 all count alike.",
            show_default=f"{CacheConfig.sharpness:g}",
        ),
    ] = None,
    tune_on: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Choose the settings of --dynamic or --cache on this text first, reading it some ten times: "
            "one not trained on, about as long as what is scored. Those that are given are kept.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON Lines instead of a table or tabs.")
    ] = False,
    encoding: Annotated[str, typer.Option(help="Encoding of what is read.")] = DEFAULT_ENCODING,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="Model folder, or a .safetensors file; with several, each is compared with the first. "
            rf"\[env var: {MODEL_VARIABLE}]",
            show_default=models.MODEL_DEFAULT,
        ),
    ] = None,
    device: Annotated[
        str,
        models.device_option("an accelerator for long texts and --dynamic, where there is one"),
    ] = "auto",
) -> None:
    """Score text: how well does a trained model predict it?

    Each file is a text of its own, read as if a line end stood before it; with --by line each line
    is scored as a text of its own, its line end included. Lower is better: bits per character compare
    across models of every kind that know all symbols, perplexity across models with the same tokens.

    Give at most one of --by, --context, --choices, --dynamic and --cache; none with several models.
    """
    if sum((by is not None, context is not None, choices, dynamic, cache is not None)) > 1:
        raise OptionError("give only one of --by, --context, --choices, --dynamic and --cache")
    require_device(device)
    several = model if model and len(model) > 1 else []
    given = (context, cache, tune_on)
    if several and (
        by not in (None, "corpus") or choices or dynamic or given != (None, None, None)
    ):
        raise OptionError(
            "several models are compared on whole texts; leave out --by, --context, --choices, --dynamic, "
            "--cache and --tune-on"
        )
    settings: again.Settings | None = None
    of_dynamic = _given("dynamic", dynamic, rate=dynamic_rate, decay=dynamic_decay)
    of_cache = _given("cache", cache is not None, share=cache_share, sharpness=cache_sharpness)
    if dynamic:
        settings = DynamicConfig(**of_dynamic)
    elif cache is not None:
        settings = CacheConfig(size=cache, **of_cache)
    axes = again.axes(tune_on, settings, {**of_dynamic, **of_cache})
    contexts = _contexts(context)
    from lstmgen import corpus

    corpus.require_one_stdin(texts if tune_on is None else [*texts, tune_on])
    if several:
        loaded = [models.load(name) for name in several]
        comparing.compare(loaded, several, _read(texts, encoding), device, as_json)
        return
    named = model[0] if model else None
    saved, name = models.load(named), models.called(named)
    tuning_texts = [] if tune_on is None else _read([tune_on], encoding)
    read = [] if by == "line" else _read(texts, encoding)  # lines are scored as they are read
    asked = scores.Evaluation(saved, name, read, device, as_json)
    if by == "line":
        console.note_typing(texts)
        scores.by_line(asked, texts, encoding)
    elif choices:
        scores.by_choices(asked)
    elif contexts is not None:
        scores.by_context(asked, contexts)
    elif by == "token":
        scores.by_token(asked)
    else:
        if dynamic:
            models.settle_threads(device)
        if settings and tuning_texts:
            settings = again.tuned(saved, tuning_texts[0], read, device, settings, axes)
        scores.by_corpus(asked, settings)


def _given(option: str, is_given: bool, **values: float | None) -> dict[str, Any]:
    """The values that were given, which need the option that they belong to."""
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if not is_given:
            typed = console.option(f"{option}_{name}", value)
            raise OptionError(f"{typed} is for --{option}; add that, or leave it out")
    return given


def _read(paths: list[str], encoding: str) -> list["Text"]:
    """The texts; files without any are left out, with a note, if there are others."""
    from lstmgen import corpus

    console.note_typing(paths)
    read, notes = corpus.read_each(paths, encoding)
    console.note(*notes)
    return read


def _contexts(option: str | None) -> list[int] | None:
    """The numbers of --context in order, none for auto; None where there is no such option."""
    if option is None:
        return None
    if option == "auto":
        return []
    try:
        numbers = sorted({int(part) for part in option.split(",")})
    except ValueError:
        numbers = [0]
    if not 1 <= numbers[0] <= numbers[-1] <= LONGEST_CONTEXT:
        raise OptionError(
            f"--context is {option!r:.60}; it must be auto, or numbers of tokens from 1 to "
            f"{LONGEST_CONTEXT:,}, like 1,10,100"
        )
    return numbers
