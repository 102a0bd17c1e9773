"""The ways of `lstmgen eval`: models and texts -> rows on standard output, as tables or JSON Lines."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any

from lstmgen.cli import console, tables
from lstmgen.config import CacheConfig, DynamicConfig
from lstmgen.errors import OptionError

if TYPE_CHECKING:
    from lstmgen.checkpoint import SavedModel
    from lstmgen.corpus import Text
    from lstmgen.scoring import Engine
    from lstmgen.tuning import Axes
    from lstmgen.vocabulary import Ids

CHARACTERS_A_WORD = 5  # or so
USUAL_TRIALS = 8  # of settings, or so
LONG_WORK = 50  # windows, from which on a bar may be worth drawing
Again = DynamicConfig | CacheConfig  # a second way to score, beside the first
ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"})


def by_corpus(
    saved: "SavedModel", read: list["Text"], device: str, as_json: bool, again: Again | None
) -> None:
    """The score of each text, and beside it, never in its place, that of a model with a memory."""
    from lstmgen import trained
    from lstmgen.scoring import Score, streams_to_score, window_nats

    vocabulary = saved.vocabulary
    encoded = [vocabulary.encode(text.text) for text in read]
    engine = trained.choose_engine(saved, device, sum(map(len, encoded)))
    kind = "dynamic" if isinstance(again, DynamicConfig) else "cache"
    static, other = list[tuple[str, Score]](), list[tuple[str, Score]]()

    def found(name: str, score: Score, how: Again | None = None) -> None:
        (other if how else static).append((f"{name} ({kind})" if how else name, score))
        if as_json:
            told = {kind: how.to_json()} if how else {}
            _emit_json({"file": name, **told, **score.to_json()})

    for text, ids in zip(read, encoded, strict=True):
        streams = streams_to_score(ids, vocabulary.start_id)
        parts = window_nats(engine, streams, len(vocabulary))
        nats = sum(_watched(parts, streams.num_windows))
        score = Score(nats, len(ids), len(text.text), vocabulary.count_unknown(ids))
        found(text.name, score)
        if again:
            windows = -(-len(ids) // again.window)
            nats = sum(_watched(_nats_again(saved, engine, ids, device, again), windows))
            found(text.name, replace(score, nats=nats), again)
    total = sum((score for _, score in static), Score())
    if len(read) > 1:
        found("total", total)
        if again:
            found("total", sum((score for _, score in other), Score()), again)
    if not as_json:
        tables.scores(static + other)
    _note_unknown(total.unknown_tokens, total.tokens)


def tuned(
    saved: "SavedModel", text: "Text", scored: list["Text"], device: str, start: Again, axes: "Axes"
) -> Again:
    """The settings under which the text costs least; says what it tries.

    `scored` are the texts that they are for, of which the text should not be one.
    """
    from lstmgen import trained, tuning

    ids = saved.vocabulary.encode(text.text)
    engine = None
    if isinstance(start, CacheConfig):
        engine = trained.choose_engine(saved, device, USUAL_TRIALS * len(ids))
    windows = -(-len(ids) // start.window)
    console.note(f"tuning on {text.name}, tokens: {len(ids):,}")
    if text.digest in {other.digest for other in scored}:
        console.note(f"{text.name} is scored too, and what is chosen on it will flatter its score")
    _note_unknown(saved.vocabulary.count_unknown(ids), len(ids))

    def cost(settings: Again) -> float:
        parts = _nats_again(saved, engine, ids, device, settings)
        return sum(_watched(parts, windows, f"{_flags(settings)}:"))

    costs, best, least = set[float](), start, inf
    for settings, nats in tuning.trials(cost, start, axes):
        costs.add(nats)
        if nats < least:
            best, least = settings, nats
            console.note(f"{_flags(settings)}: {nats / len(ids):.4f} nats/token")
    if len(costs) == 1:
        raise OptionError(
            f"--tune-on {text.name}: its {len(ids):,} tokens cost the same whatever is tried; give a "
            "longer text, or leave it out"
        )
    return best


def _flags(settings: Again) -> str:
    kind, names = "dynamic", ("rate", "decay")
    if isinstance(settings, CacheConfig):
        kind, names = "cache", ("share", "sharpness")
    return " ".join(f"--{kind}-{name} {getattr(settings, name):g}" for name in names)


def _nats_again(
    saved: "SavedModel", engine: "Engine | None", ids: "Ids", device: str, again: Again
) -> Iterator[float]:
    """The nats of one window after the other; the engine is for a cache only."""
    start_id = saved.vocabulary.start_id
    if isinstance(again, CacheConfig):
        from lstmgen import cache

        assert engine is not None
        return cache.window_nats(engine, ids, start_id, len(saved.vocabulary), again)
    from lstmgen import device as devices
    from lstmgen import dynamic
    from lstmgen.model import load_network

    network = load_network(saved.config, saved.weights, devices.choose(device))
    return dynamic.window_nats(network, ids, start_id, again)


def _watched(parts: Iterator[float], num_parts: int, what: str = "scored") -> Iterator[float]:
    """The parts of a long work, with a bar where a person waits for them."""
    if num_parts < LONG_WORK or not console.talk.isatty():
        return parts
    from tqdm import tqdm

    return iter(
        tqdm(
            parts, total=num_parts, file=console.talk, leave=False, delay=1.0, dynamic_ncols=True,
            bar_format=what + " {percentage:3.0f}% {bar} {remaining} left",
        )
    )  # fmt: skip


def compare(
    models: list["SavedModel"], names: Sequence[str | None], read: list["Text"], device: str,
    as_json: bool,
) -> None:  # fmt: skip
    from lstmgen import comparison, trained
    from lstmgen.breakdown import score_tokens
    from lstmgen.scoring import Score

    characters = sum(len(text.text) for text in read)
    engines = [
        trained.choose_engine(saved, device, _about_tokens(saved, characters)) for saved in models
    ]
    for text in read:
        ends = comparison.edges(text.text)
        scores, blocks = list[tuple[str, Score]](), list[Any]()
        for saved, engine, name in zip(models, engines, names, strict=True):
            vocabulary = saved.vocabulary
            ids = vocabulary.encode(text.text)
            nats, _ = score_tokens(engine, ids, vocabulary.start_id, vocab_size=len(vocabulary))
            unknown = vocabulary.count_unknown(ids)
            scores.append((str(name), Score(float(nats.sum()), len(ids), len(text.text), unknown)))
            blocks.append(comparison.by_block(vocabulary.cut(text.text), nats, ends))
        found = [comparison.difference(blocks[0], block, ends) for block in blocks[1:]]
        for name, score in scores:
            if score.unknown_tokens:
                console.note(
                    f"{name} does not know {score.unknown_tokens:,} of the {score.tokens:,} tokens of "
                    f"{text.name}, which cost it little: its bits per character are too low to compare"
                )
        if not as_json:
            if len(read) > 1:
                tables.heading(text.name)
            tables.comparison(text.name, scores, found)
            continue
        for name, score in scores:
            _emit_json({"file": text.name, "model": name, **score.to_json()})
        for (name, _), one in zip(scores[1:], found, strict=True):
            _emit_json({"file": text.name, "model": name, "than": scores[0][0], **one.to_json()})


def by_line(
    saved: "SavedModel", texts: list[str], encoding: str, device: str, as_json: bool
) -> None:
    from lstmgen import corpus, trained
    from lstmgen.breakdown import score_lines
    from lstmgen.cli.ahead import Ahead
    from lstmgen.scoring import Score

    # Of a pipe it is not known how much comes, and lines are to go out as they do: NumPy.
    size = sum(map(corpus.size, texts))
    engine = trained.choose_engine(saved, device, _about_tokens(saved, size))
    total = Score()
    for path in texts:
        # A last line without an end is given one, so that all are scored alike.
        lines = Ahead(line.removesuffix("\n") + "\n" for line in corpus.lines(path, encoding))
        scored = score_lines(engine, saved.vocabulary, lines, lines.ready)
        for number, (line, score) in enumerate(scored, 1):
            total += score
            text = line.removesuffix("\n")
            if as_json:
                _emit_json(
                    {"file": corpus.called(path), "line": number, "text": text, **score.to_json()}
                )
            else:
                console.emit(
                    f"{score.bits_per_character:.4f}\t{score.nats:.4f}\t{score.tokens}\t"
                    f"{score.unknown_tokens}\t{text}\n"
                )
    _note_unknown(total.unknown_tokens, total.tokens)


def _about_tokens(saved: "SavedModel", characters: int) -> int:
    return characters // (1 if saved.vocabulary.level == "char" else CHARACTERS_A_WORD)


def by_token(saved: "SavedModel", read: list["Text"], device: str, as_json: bool) -> None:
    from lstmgen import trained
    from lstmgen.breakdown import score_tokens

    vocabulary, unknown, total = saved.vocabulary, 0, 0
    encoded = [vocabulary.encode(text.text) for text in read]
    engine = trained.choose_engine(saved, device, sum(map(len, encoded)))
    for text, ids in zip(read, encoded, strict=True):
        nats, ranks = score_tokens(engine, ids, vocabulary.start_id, vocab_size=len(vocabulary))
        unknown, total = unknown + vocabulary.count_unknown(ids), total + len(ids)
        tokens = vocabulary.cut(text.text)
        for token, cost, rank in zip(tokens, nats.tolist(), ranks.tolist(), strict=True):
            if as_json:
                _emit_json({"file": text.name, "text": token, "nats": cost, "rank": rank})
            else:
                console.emit(f"{cost:.6f}\t{rank}\t{token.translate(ESCAPES)}\n")
    _note_unknown(unknown, total)


def by_context(
    saved: "SavedModel", read: list["Text"], device: str, as_json: bool, contexts: list[int]
) -> None:
    from lstmgen import context, trained

    unknown = total = 0
    encoded = [saved.vocabulary.encode(text.text) for text in read]
    asked = [contexts or context.doublings(len(ids)) for ids in encoded]
    work = (
        sum(numbers) * min(len(ids), context.MAX_PLACES)
        for ids, numbers in zip(encoded, asked, strict=True)
    )
    engine = trained.choose_engine(saved, device, sum(work))
    for text, ids, numbers in zip(read, encoded, asked, strict=True):
        lengths = saved.vocabulary.lengths(text.text)
        found = list[context.ContextScore]()
        for score in context.scores(engine, ids, numbers, lengths, until_no_gain=not contexts):
            found.append(score)
            if as_json:
                _emit_json({"file": text.name, **score.to_json()})
        if not as_json:
            if len(read) > 1:
                tables.heading(text.name)
            tables.contexts(text.name, found, len(ids))
        unknown, total = unknown + saved.vocabulary.count_unknown(ids), total + len(ids)
    _note_unknown(unknown, total)


def by_choices(saved: "SavedModel", read: list["Text"], device: str, as_json: bool) -> None:
    from lstmgen import choices, trained

    questions = [
        question for text in read for question in choices.parse(text.text.split("\n"), text.name)
    ]
    if not questions:
        raise OptionError(f"--choices: there is no question in {_names(read)}; see --help")
    answered = any(question.answer is not None for question in questions)
    if not answered and not as_json:
        raise OptionError(
            f"--choices: no question in {_names(read)} has an answer; with --json there is what each "
            "choice costs"
        )
    encode = saved.vocabulary.encode
    lengths = (len(encode(q.context + choice)) for q in questions for choice in q.choices)
    engine = trained.choose_engine(saved, device, sum(lengths))
    answers = list[choices.Answer]()
    for answer in choices.answer(engine, saved.vocabulary, questions):
        answers.append(answer)
        if as_json:
            _emit_json(answer.to_json())
    tally = choices.tally(answers) if answered else []
    if as_json:
        for group in tally:
            _emit_json(group.to_json())
    else:
        tables.tallies(tally)
    open_ = sum(question.answer is None for question in questions)
    if open_ and answered:
        console.note(f"questions without an answer, which are not counted: {open_:,}")
    if unknown := sum(answer.unknown_tokens for answer in answers):
        console.note(f"unknown tokens of the questions, scored as <unk>: {unknown:,}")


def _names(read: list["Text"]) -> str:
    return ", ".join(text.name for text in read)


def _note_unknown(unknown: int, tokens: int) -> None:
    if unknown:
        console.note(
            f"unknown tokens, scored as <unk>: {unknown:,} of {tokens:,} ({unknown / tokens:.2%})"
        )


def _emit_json(record: dict[str, Any]) -> None:
    console.emit(json.dumps(record, ensure_ascii=False) + "\n")
