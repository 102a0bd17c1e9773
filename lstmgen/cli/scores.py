"""The ways of `lstmgen eval`: models and texts -> rows on standard output, as tables or JSON Lines."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any

from lstmgen.cli import again, console, tables
from lstmgen.errors import OptionError

if TYPE_CHECKING:
    from lstmgen.checkpoint import SavedModel
    from lstmgen.corpus import Text
    from lstmgen.vocabulary import Ids

CHARACTERS_A_WORD = 5  # or so
ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\t": "\\t"})


def by_corpus(
    saved: "SavedModel",
    model: str,
    read: list["Text"],
    device: str,
    as_json: bool,
    how: again.Again | None,
) -> None:
    """The score of each text, and beside it, never in its place, what it costs when it is scored again."""
    from lstmgen import engines
    from lstmgen.scoring import Score, streams_to_score, window_nats

    vocabulary = saved.vocabulary
    encoded = [vocabulary.encode(text.text) for text in read]
    engine = engines.choose(saved, device, sum(map(len, encoded)))
    kind = how.option if how else ""
    static, other = list[tuple[str, Score]](), list[tuple[str, Score]]()
    second = {kind: how.to_json()} if how else {}

    def found(rows: list[tuple[str, Score]], name: str, score: Score, **more: Any) -> None:
        rows.append((name, score))
        if as_json:
            console.emit_json({"file": name, "model": model, **more, **score.to_json()})

    def show() -> None:
        if not as_json:
            tables.scores(static + [(f"{name} ({kind})", score) for name, score in other])

    for text, ids in zip(read, encoded, strict=True):
        streams = streams_to_score(ids, vocabulary.start_id)
        parts = window_nats(engine, streams)
        nats = sum(console.watched(parts, streams.num_windows))
        score = Score.of(nats, vocabulary, ids, len(text.text))
        found(static, text.name, score)
        if how:
            nats = again.nats(saved, engine, ids, device, how)
            if nats == inf:
                show()  # what it has come to by now
            again.require_found(nats, text, how)
            found(other, text.name, replace(score, nats=nats), **second)
    total = sum((score for _, score in static), Score())
    if len(read) > 1:
        found(static, "total", total, texts=len(read))
        if how:
            again_total = sum((score for _, score in other), Score())
            found(other, "total", again_total, texts=len(read), **second)
    show()
    console.note_unknown(total.unknown_tokens, total.tokens)


def compare(
    models: list["SavedModel"], names: Sequence[str], read: list["Text"], device: str, as_json: bool
) -> None:
    """Each model's score of each text, and by how much it differs from the first one's."""
    import numpy as np

    from lstmgen import comparison, engines
    from lstmgen.breakdown import score_tokens
    from lstmgen.scoring import Score
    from lstmgen.vocabulary import UNKNOWN_ID

    characters = sum(len(text.text) for text in read)
    chosen = [engines.choose(saved, device, _about_tokens(saved, characters)) for saved in models]

    def show(
        text: str, scores: list[Score], blocks: list[Any], ends: Any, unknown: Any, **more: Any
    ) -> None:
        found = [
            comparison.difference(blocks[0], block, ends, int(count))
            for block, count in zip(blocks[1:], unknown[1:], strict=True)
        ]
        rows = list(zip(names, scores, strict=True))
        if not as_json:
            if len(read) > 1:
                tables.heading(text)
            tables.comparison(text, rows, found)
            return
        for name, score in rows:
            console.emit_json({"file": text, "model": name, **more, **score.to_json()})
        for name, one in zip(names[1:], found, strict=True):
            console.emit_json(
                {"file": text, "model": name, "than": names[0], **more, **one.to_json()}
            )

    all_ends, all_blocks = list[Any](), list[list[Any]]()
    totals, all_unknown = [Score()] * len(models), np.zeros(len(models), np.int64)
    for text in read:
        ends = comparison.edges(text.text)
        scores, blocks, unknown = list[Score](), list[Any](), list[Any]()
        for saved, engine, name in zip(models, chosen, names, strict=True):
            vocabulary = saved.vocabulary
            ids = vocabulary.encode(text.text)
            nats, _ = score_tokens(engine, ids, vocabulary.start_id, console.watched)
            scores.append(score := Score.of(float(nats.sum()), vocabulary, ids, len(text.text)))
            lengths = vocabulary.lengths(text.text)
            blocks.append(comparison.by_block(lengths, nats, ends))
            unknown.append(np.repeat(ids == UNKNOWN_ID, lengths))
            if score.unknown_tokens:
                console.note(
                    f"{name} does not know {score.unknown_tokens:,} of the {score.tokens:,} tokens of "
                    f"{text.name}: its bits per character do not compare with those of a model that knows "
                    "them"
                )
        known_to_one = np.array([np.count_nonzero(of_one ^ unknown[0]) for of_one in unknown])
        show(text.name, scores, blocks, ends, known_to_one)
        all_ends.append(ends)
        all_blocks.append(blocks)
        all_unknown += known_to_one
        totals = [total + score for total, score in zip(totals, scores, strict=True)]
    if len(read) > 1:
        joined = [np.concatenate(blocks) for blocks in zip(*all_blocks, strict=True)]
        show("total", totals, joined, comparison.joined(all_ends), all_unknown, texts=len(read))


def by_line(
    saved: "SavedModel", model: str, texts: list[str], encoding: str, device: str, as_json: bool
) -> None:
    """Each line's score from a fresh start, as soon as it is there."""
    from lstmgen import corpus, engines
    from lstmgen.breakdown import score_lines
    from lstmgen.cli.ahead import Ahead
    from lstmgen.scoring import Score

    # Of a pipe it is not known how much comes, and lines are to go out as they do: NumPy.
    size = sum(map(corpus.size, texts))
    engine = engines.choose(saved, device, _about_tokens(saved, size))
    total = Score()
    for path in texts:
        # A last line without an end is given one, so that all are scored alike.
        ended = corpus.lines(path, encoding, console.note)
        lines = Ahead(line.removesuffix("\n") + "\n" for line in ended)
        # Of a file all is at hand, so that the same lines are side by side whenever it is scored.
        ready = (lambda: True) if corpus.size(path) else lines.ready
        scored = score_lines(engine, saved.vocabulary, lines, ready)
        for number, (line, score) in enumerate(scored, 1):
            total += score
            text = line.removesuffix("\n")
            if as_json:
                about = {"file": corpus.called(path), "model": model, "line": number, "text": text}
                console.emit_json({**about, **score.to_json()})
            else:
                console.emit(
                    f"{score.bits_per_character:.4f}\t{score.nats:.4f}\t{score.tokens}\t"
                    f"{score.unknown_tokens}\t{text}\n"
                )
    console.note_unknown(total.unknown_tokens, total.tokens)


def _about_tokens(saved: "SavedModel", characters: int) -> int:
    return characters // (1 if saved.vocabulary.level == "char" else CHARACTERS_A_WORD)


def by_token(
    saved: "SavedModel", model: str, read: list["Text"], device: str, as_json: bool
) -> None:
    """What each token costs, and its rank."""
    from lstmgen import engines
    from lstmgen.breakdown import score_tokens
    from lstmgen.vocabulary import UNKNOWN_ID

    vocabulary = saved.vocabulary
    encoded = [vocabulary.encode(text.text) for text in read]
    engine = engines.choose(saved, device, sum(map(len, encoded)))
    for text, ids in zip(read, encoded, strict=True):
        nats, ranks = score_tokens(engine, ids, vocabulary.start_id, console.watched)
        tokens, unknown = vocabulary.tokenize(text.text), ids == UNKNOWN_ID
        of_each = zip(tokens, nats.tolist(), ranks.tolist(), unknown.tolist(), strict=True)
        for token, cost, rank, is_unknown in of_each:
            if as_json:
                found = {"nats": cost, "rank": rank, "unknown": is_unknown}
                console.emit_json({"file": text.name, "model": model, "text": token, **found})
            else:
                console.emit(f"{cost:.6f}\t{rank}\t{token.translate(ESCAPES)}\n")
    _note_unknown(saved, encoded)


def by_context(
    saved: "SavedModel",
    model: str,
    read: list["Text"],
    device: str,
    as_json: bool,
    contexts: list[int],
) -> None:
    """What the texts cost with only so many tokens before each place; of no contexts, as many as pay."""
    from lstmgen import context, engines

    encoded = [saved.vocabulary.encode(text.text) for text in read]
    asked = [contexts or context.doublings(len(ids)) for ids in encoded]
    for text, ids, numbers in zip(read, encoded, asked, strict=True):
        context.require_places(len(ids), max(numbers), text.name)
    work = (
        sum(numbers) * min(len(ids), context.MAX_PLACES)
        for ids, numbers in zip(encoded, asked, strict=True)
    )
    engine = engines.choose(saved, device, sum(work))
    for text, ids, numbers in zip(read, encoded, asked, strict=True):
        lengths = saved.vocabulary.lengths(text.text)
        found = list[context.ContextScore]()
        for score in context.scores(engine, ids, numbers, lengths, until_no_gain=not contexts):
            found.append(score)
            if as_json:
                console.emit_json({"file": text.name, "model": model, **score.to_json()})
        if not as_json:
            if len(read) > 1:
                tables.heading(text.name)
            tables.contexts(text.name, found, len(ids))
    _note_unknown(saved, encoded)


def by_choices(
    saved: "SavedModel", model: str, read: list["Text"], device: str, as_json: bool
) -> None:
    """How often the right choice of a question costs least, by group."""
    from lstmgen import choices, engines

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
    engine = engines.choose(saved, device, sum(lengths))
    answers = list[choices.Answer]()
    answering = choices.answer(engine, saved.vocabulary, questions)
    if answered:  # else each is told as soon as it is known
        answering = console.watched(answering, len(questions), "answered")
    for answer in answering:
        answers.append(answer)
        if as_json and not answered:
            console.emit_json({"model": model, **answer.to_json()})
    tally = choices.tally(answers) if answered else []
    if as_json and answered:  # the group "all" goes first
        for record in [one.to_json() for one in tally] + [one.to_json() for one in answers]:
            console.emit_json({"model": model, **record})
    elif not as_json:
        tables.tallies(tally)
    unanswered = sum(question.answer is None for question in questions)
    if unanswered and answered:
        console.note(f"questions without an answer, which are not counted: {unanswered:,}")
    if alike := sum(one.is_undecided and one.question.answer is not None for one in answers):
        console.note(f"questions between whose likeliest choices the model cannot tell: {alike:,}")
    if unknown := sum(answer.unknown_tokens for answer in answers):
        console.note(f"unknown tokens of the questions, scored as <unk>: {unknown:,}")


def _note_unknown(saved: "SavedModel", encoded: list["Ids"]) -> None:
    unknown = sum(map(saved.vocabulary.count_unknown, encoded))
    console.note_unknown(unknown, sum(map(len, encoded)))


def _names(read: list["Text"]) -> str:
    return ", ".join(text.name for text in read)
