"""`lstmgen eval`: texts in, scores out."""

import json
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lstmgen.cli import console, engines, tables
from lstmgen.config import CacheConfig, DynamicConfig
from lstmgen.errors import OptionError

if TYPE_CHECKING:
    from lstmgen.checkpoint import SavedModel
    from lstmgen.corpus import Text
    from lstmgen.scoring import Engine, Score
    from lstmgen.vocabulary import Ids

By = Literal["corpus", "line", "token"]
DYNAMIC = DynamicConfig()
Again = DynamicConfig | CacheConfig  # a second way to score, beside the first
ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"})


def evaluate(
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="Files to score; - is standard input.")
    ],
    by: Annotated[
        By,
        typer.Option(
            help="One score a text, or one for each line or token, tab-separated, score first."
        ),
    ] = "corpus",
    context: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...|auto",
            help="Score with only the last N tokens of context, for each N; auto doubles N while it helps.",
        ),
    ] = None,
    choices: Annotated[
        bool,
        typer.Option(
            "--choices",
            help="TEXT is JSON Lines of context, choices, answer, group: which choice is likeliest?",
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
            help="How much it learns from each window of 32 tokens.",
            show_default=f"{DYNAMIC.rate:g}",
        ),
    ] = None,
    dynamic_decay: Annotated[
        float | None,
        typer.Option(
            help="Share by which it goes back to what it was, each window.",
            show_default=f"{DYNAMIC.decay:g}",
        ),
    ] = None,
    cache: Annotated[
        int | None,
        typer.Option(
            metavar="TOKENS",
            help="Score also with a cache of what came after so many of the last states (words).",
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
            help="How alike a state must be to count.", show_default=f"{CacheConfig.sharpness:g}"
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON Lines instead of a table or tabs.")
    ] = False,
    encoding: Annotated[str, typer.Option(help="Encoding of the files.")] = "utf-8",
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="Model folder, or a .safetensors file; with several, each is compared with the first. "
            f"[env var: {engines.MODEL_VARIABLE}]",
            show_default=engines.MODEL_DEFAULT,
        ),
    ] = None,
    device: engines.DeviceOption = "auto",
) -> None:
    """Score text: how well does a trained model predict it?

    Each file is a text of its own, read as if a line end stood before it; with --by line each line
    is, its line end included. Lower is better: bits per character compare across models of every
    kind, perplexity across models with the same tokens.
    """
    if sum((by != "corpus", context is not None, choices, dynamic, cache is not None)) > 1:
        raise OptionError("give only one of --by, --context, --choices, --dynamic and --cache")
    again: Again | None = None
    of_dynamic = _given("dynamic", dynamic, rate=dynamic_rate, decay=dynamic_decay)
    of_cache = _given("cache", cache is not None, share=cache_share, sharpness=cache_sharpness)
    if dynamic:
        again = DynamicConfig(**of_dynamic)
    elif cache is not None:
        again = CacheConfig(size=cache, **of_cache)
    contexts = _contexts(context)
    names: list[str | None] = (
        [*model] if model else [os.environ.get(engines.MODEL_VARIABLE) or None]
    )
    if len(names) > 1:
        if by != "corpus" or context is not None or choices or again:
            raise OptionError(
                "several models are compared by corpus; leave out --by, --context, --choices, "
                "--dynamic and --cache"
            )
        _compare(
            [engines.load(name) for name in names], names, _read(texts, encoding), device, as_json
        )
        return
    saved = engines.load(names[0])
    if by == "line":
        _by_line(saved, texts, encoding, device, as_json)
        return
    read = _read(texts, encoding)
    if choices:
        _choices(saved, read, device, as_json)
    elif contexts is not None:
        _by_context(saved, read, device, as_json, contexts)
    elif by == "token":
        _by_token(saved, read, device, as_json)
    else:
        _by_corpus(saved, read, device, as_json, again)


def _given(option: str, is_given: bool, **values: float | None) -> dict[str, Any]:
    """The values that were given, which need the option that they belong to."""
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if not is_given:
            raise OptionError(
                f"--{option}-{name} {value} is for --{option}; add that, or leave it out"
            )
    return given


def _read(texts: list[str], encoding: str) -> list["Text"]:
    from lstmgen import corpus

    read = [corpus.read(path, encoding) for path in texts]
    for text in read:
        for line in text.notes:
            console.note(line)
    return read


def _contexts(option: str | None) -> list[int] | None:
    """The numbers of --context in order, none for auto; None where there is no such option."""
    if option is None or option == "auto":
        return None if option is None else []
    try:
        numbers = sorted({int(part) for part in option.split(",")})
    except ValueError:
        numbers = [0]
    if not 1 <= numbers[0] <= numbers[-1] <= 1_000_000:
        raise OptionError(
            f"--context is {option!r:.60}; it must be auto or numbers of tokens from 1 to 1,000,000 "
            "like 1,10,100"
        )
    return numbers


def _emit_json(record: dict[str, Any]) -> None:
    console.emit(json.dumps(record, ensure_ascii=False) + "\n")


def _by_corpus(
    saved: "SavedModel", read: list["Text"], device: str, as_json: bool, again: Again | None
) -> None:
    """The score of each text, and beside it, never in its place, that of a model with a memory."""
    from lstmgen import trained
    from lstmgen.scoring import Score, streams_to_score, window_nats

    vocabulary = saved.vocabulary
    encoded = [vocabulary.encode(text.text) for text in read]
    engine = trained.choose_engine(saved, device, sum(map(len, encoded)))
    static, other = list[Score](), list[Score]()
    for text, ids in zip(read, encoded, strict=True):
        unknown = vocabulary.count_unknown(ids)
        streams = streams_to_score(ids, vocabulary.start_id)
        parts = window_nats(engine, streams, len(vocabulary))
        nats = sum(_watched(parts, streams.num_windows))
        static.append(Score(nats, len(ids), len(text.text), unknown))
        if again:
            windows = -(-len(ids) // again.window)
            nats = sum(_watched(_nats_again(saved, engine, ids, device, again), windows))
            other.append(Score(nats, len(ids), len(text.text), unknown))
    names, rows = [text.name for text in read], list[tuple[str, Score]]()
    kind = "dynamic" if isinstance(again, DynamicConfig) else "cache"
    for scores, how in ((static, ""), (other, f" ({kind})")):
        found = list(zip(names, scores, strict=False))
        if len(found) > 1:
            found.append(("total", sum(scores, Score())))
        for name, score in found:
            rows.append((name + how, score))
            if as_json:
                told = {kind: again.to_json()} if how and again else {}
                _emit_json({"file": name, **told, **score.to_json()})
    if not as_json:
        tables.scores(rows)
    _note_unknown(sum(static, Score()))


def _nats_again(
    saved: "SavedModel", engine: "Engine", ids: "Ids", device: str, again: Again
) -> Iterator[float]:
    start_id = saved.vocabulary.start_id
    if isinstance(again, CacheConfig):
        from lstmgen import cache

        return cache.window_nats(engine, ids, start_id, len(saved.vocabulary), again)
    from lstmgen import device as devices
    from lstmgen import dynamic
    from lstmgen.model import load_network

    network = load_network(saved.config, saved.weights, devices.choose(device))
    return dynamic.window_nats(network, ids, start_id, again)


def _compare(
    models: list["SavedModel"], names: Sequence[str | None], read: list["Text"], device: str,
    as_json: bool,
) -> None:  # fmt: skip
    from lstmgen import comparison, trained
    from lstmgen.breakdown import score_tokens
    from lstmgen.scoring import Score

    for text in read:
        ends = comparison.edges(text.text)
        scores, blocks = list[tuple[str, Score]](), list[Any]()
        for saved, name in zip(models, names, strict=True):
            vocabulary = saved.vocabulary
            ids = vocabulary.encode(text.text)
            engine = trained.choose_engine(saved, device, len(ids))
            nats, _ = score_tokens(engine, ids, vocabulary.start_id, vocab_size=len(vocabulary))
            unknown = vocabulary.count_unknown(ids)
            scores.append((str(name), Score(float(nats.sum()), len(ids), len(text.text), unknown)))
            blocks.append(comparison.by_block(vocabulary.cut(text.text), nats, ends))
        found = [comparison.difference(blocks[0], block, ends) for block in blocks[1:]]
        if not as_json:
            tables.comparison(text.name, scores, found)
            continue
        for name, score in scores:
            _emit_json({"file": text.name, "model": name, **score.to_json()})
        for (name, _), one in zip(scores[1:], found, strict=True):
            _emit_json({"file": text.name, "model": name, "than": scores[0][0], **one.to_json()})


def _watched(parts: Iterator[float], num_parts: int) -> Iterator[float]:
    """The parts of a long work, with a bar where a person waits for them."""
    if num_parts < tables.LONG_WORK or not console.talk.isatty():
        return parts
    from tqdm import tqdm

    return iter(tqdm(parts, total=num_parts, file=console.talk, leave=False, delay=1.0))


def _note_unknown(score: "Score") -> None:
    if score.unknown_tokens:
        share = score.unknown_tokens / score.tokens
        console.note(
            f"{score.unknown_tokens:,} tokens ({share:.2%}) are unknown to the model, scored as <unk>"
        )


def _by_line(
    saved: "SavedModel", texts: list[str], encoding: str, device: str, as_json: bool
) -> None:
    from lstmgen import corpus, trained
    from lstmgen.breakdown import score_lines
    from lstmgen.cli.ahead import Ahead
    from lstmgen.scoring import Score

    # How much comes is not known beforehand, and lines are to go out as they come: NumPy.
    engine = trained.choose_engine(saved, device, 0)
    total = Score()
    for path in texts:
        lines = Ahead(corpus.lines(path, encoding))
        scored = score_lines(engine, saved.vocabulary, lines, lines.ready)
        for number, (line, score) in enumerate(scored, 1):
            total += score
            text = line.removesuffix("\n")
            if as_json:
                name = "standard input" if path == corpus.STDIN else path
                _emit_json({"file": name, "line": number, "text": text, **score.to_json()})
            else:
                console.emit(
                    f"{score.bits_per_character:.4f}\t{score.nats:.4f}\t{score.tokens}\t"
                    f"{score.unknown_tokens}\t{text}\n"
                )
    _note_unknown(total)


def _by_token(saved: "SavedModel", read: list["Text"], device: str, as_json: bool) -> None:
    from lstmgen import trained
    from lstmgen.breakdown import score_tokens

    vocabulary, unknown = saved.vocabulary, 0
    for text in read:
        ids = vocabulary.encode(text.text)
        engine = trained.choose_engine(saved, device, len(ids))
        nats, ranks = score_tokens(engine, ids, vocabulary.start_id, vocab_size=len(vocabulary))
        unknown += vocabulary.count_unknown(ids)
        tokens = vocabulary.cut(text.text)
        for token, cost, rank in zip(tokens, nats.tolist(), ranks.tolist(), strict=True):
            if as_json:
                _emit_json({"file": text.name, "text": token, "nats": cost, "rank": rank})
            else:
                console.emit(f"{cost:.6f}\t{rank}\t{token.translate(ESCAPES)}\n")
    if unknown:
        console.note(f"{unknown:,} tokens are unknown to the model, scored as <unk>")


def _by_context(
    saved: "SavedModel", read: list["Text"], device: str, as_json: bool, contexts: list[int]
) -> None:
    from lstmgen import context, trained

    for text in read:
        ids = saved.vocabulary.encode(text.text)
        numbers = contexts or context.doublings(len(ids))
        work = sum(numbers) * min(len(ids), context.MAX_PLACES)
        engine = trained.choose_engine(saved, device, work)
        found = list[context.ContextScore]()
        for score in context.scores(
            engine, ids, numbers, len(text.text) / len(ids), until_no_gain=not contexts
        ):
            found.append(score)
            if as_json:
                _emit_json({"file": text.name, **score.to_json()})
        if not as_json:
            tables.contexts(text.name, found, len(ids))


def _choices(saved: "SavedModel", read: list["Text"], device: str, as_json: bool) -> None:
    from lstmgen import choices, trained

    questions = [
        question for text in read for question in choices.parse(text.text.split("\n"), text.name)
    ]
    if not questions:
        raise OptionError(f"--choices: there is no question in {read[0].name}; see --help")
    lengths = (len(q.context) * len(q.choices) for q in questions)
    engine = trained.choose_engine(saved, device, sum(lengths))
    answers = list[choices.Answer]()
    for answer in choices.answer(engine, saved.vocabulary, questions):
        answers.append(answer)
        if as_json:
            _emit_json(answer.to_json())
    tally = choices.tally(answers)
    if as_json:
        for group in tally:
            _emit_json(group.to_json())
    else:
        tables.tallies(tally)
