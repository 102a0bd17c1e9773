"""The ways of `lstmgen eval` with one model: texts -> rows on standard output, as tables or JSON Lines."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any

from lstmgen.cli import again, console, models, tables
from lstmgen.cli.ahead import lines_of
from lstmgen.errors import OptionError

if TYPE_CHECKING:
    from lstmgen.checkpoint import SavedModel
    from lstmgen.corpus import Text
    from lstmgen.reading import Engine
    from lstmgen.vocabulary import Ids

CHARACTERS_A_WORD = 5  # or so
TOLD_AT_ONCE = 4096  # tokens
ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\t": "\\t"})


@dataclass(frozen=True)
class Evaluation:
    """What is scored by what, and how that is told."""

    saved: "SavedModel"
    model: str  # as it is called
    texts: list["Text"]
    device: str
    as_json: bool

    @cached_property
    def encoded(self) -> list["Ids"]:
        """The ids of each text."""
        return [self.saved.vocabulary.encode(text.text) for text in self.texts]

    @property
    def names(self) -> str:
        return ", ".join(text.name for text in self.texts)

    def engine(self, num_tokens: int | None = None) -> "Engine":
        """The engine for so many tokens; if nothing is said, for those of the texts."""
        if num_tokens is None:
            num_tokens = sum(map(len, self.encoded))
        return models.engine_to_score(self.saved, self.device, num_tokens)

    def emit(self, file: str, *found: Mapping[str, Any]) -> None:
        """JSON records of what was found in a file."""
        console.emit_json(*({"file": file, "model": self.model, **one} for one in found))

    def note_unknown(self) -> None:
        unknown = sum(map(self.saved.vocabulary.count_unknown, self.encoded))
        console.note_unknown(unknown, sum(map(len, self.encoded)))


def about_tokens(saved: "SavedModel", characters: int) -> int:
    """How many tokens so much text has, before it is encoded."""
    return characters // (1 if saved.vocabulary.level == "char" else CHARACTERS_A_WORD)


def by_corpus(asked: Evaluation, settings: again.Settings | None) -> None:
    """The score of each text, and beside it, never in its place, what it costs when it is scored again."""
    from lstmgen.scoring import Score, score_text

    saved, engine, kind = asked.saved, asked.engine(), settings.option if settings else ""
    static, other = list[tuple[str, Score]](), list[tuple[str, Score]]()
    second = {kind: settings.to_json()} if settings else {}

    def found(rows: list[tuple[str, Score]], name: str, score: Score, **more: Any) -> None:
        rows.append((name, score))
        if asked.as_json:
            asked.emit(name, {**more, **score.to_json()})

    def show() -> None:
        if not asked.as_json:
            tables.scores(static + [(f"{name} ({kind})", score) for name, score in other])

    for text, ids in zip(asked.texts, asked.encoded, strict=True):
        score = score_text(engine, saved.vocabulary, ids, len(text.text), console.watched)
        found(static, text.name, score)
        if settings:
            nats = again.nats(saved, engine, ids, asked.device, settings)
            if nats == inf:
                show()  # what it has come to by now
            again.require_found(nats, text, settings)
            found(other, text.name, replace(score, nats=nats), **second)
    num_texts = len(asked.texts)
    if num_texts > 1:
        total = sum((score for _, score in static), Score())
        found(static, "total", total, texts=num_texts)
        if settings:
            again_total = sum((score for _, score in other), Score())
            found(other, "total", again_total, texts=num_texts, **second)
    show()
    asked.note_unknown()


def by_line(asked: Evaluation, paths: list[str], encoding: str) -> None:
    """Each line's score from a fresh start, as soon as it is there; the texts are read as they come."""
    from lstmgen import corpus
    from lstmgen.breakdown import score_lines
    from lstmgen.scoring import Score

    # Of a pipe it is not known how much comes, and lines are to go out as they do: NumPy. A file is taken to
    # have a character a byte, which is near enough.
    engine = asked.engine(about_tokens(asked.saved, sum(map(corpus.size, paths))))
    total = Score()
    for path in paths:
        lines = lines_of(path, encoding)
        # A last line without an end is given one, so that all are scored alike.
        ended = (line + "\n" for line in lines)
        scored = score_lines(engine, asked.saved.vocabulary, ended, lines.ready)
        for number, (line, score) in enumerate(scored, 1):
            total += score
            text = line.removesuffix("\n")
            if asked.as_json:
                found = {"line": number, "text": text, **score.to_json()}
                asked.emit(corpus.called(path), found)
            else:
                console.emit(
                    f"{score.bits_per_character:.4f}\t{score.nats:.4f}\t{score.tokens}\t"
                    f"{score.unknown_tokens}\t{text}\n"
                )
    console.note_unknown(total.unknown_tokens, total.tokens)


def by_token(asked: Evaluation) -> None:
    """What each token costs, and its rank."""
    from lstmgen.breakdown import costs_and_ranks
    from lstmgen.reading import slices
    from lstmgen.vocabulary import UNKNOWN_ID

    engine, vocabulary = asked.engine(), asked.saved.vocabulary
    for text, ids in zip(asked.texts, asked.encoded, strict=True):
        nats, ranks = costs_and_ranks(engine, ids, vocabulary.start_id, console.watched)
        tokens = vocabulary.tokenize(text.text)
        for part in slices(len(ids), TOLD_AT_ONCE):
            columns = nats[part].tolist(), ranks[part].tolist(), (ids[part] == UNKNOWN_ID).tolist()
            of_each = zip(tokens[part], *columns, strict=True)
            if asked.as_json:
                found = [
                    {"text": token, "nats": cost, "rank": rank, "unknown": is_unknown}
                    for token, cost, rank, is_unknown in of_each
                ]
                asked.emit(text.name, *found)
            else:
                rows = [
                    f"{cost:.6f}\t{rank}\t{token.translate(ESCAPES)}\n"
                    for token, cost, rank, _ in of_each
                ]
                console.emit("".join(rows))
    asked.note_unknown()


def by_context(asked: Evaluation, contexts: list[int]) -> None:
    """What the texts cost with only so many tokens before each place; of no contexts, as many as pay."""
    from lstmgen import context

    numbers = [contexts or context.doublings(len(ids)) for ids in asked.encoded]
    of_each = list(zip(asked.texts, asked.encoded, numbers, strict=True))
    for text, ids, tried in of_each:
        context.require_places(len(ids), max(tried), text.name)
    engine = asked.engine(
        sum(sum(tried) * min(len(ids), context.MAX_PLACES) for _, ids, tried in of_each)
    )
    for text, ids, tried in of_each:
        lengths = asked.saved.vocabulary.lengths(text.text)
        found = list[context.ContextScore]()
        for score in context.scores(
            engine, ids, tried, lengths, until_no_gain=not contexts, watched=console.watched
        ):
            found.append(score)
            if asked.as_json:
                asked.emit(text.name, score.to_json())
        if not asked.as_json:
            if len(of_each) > 1:
                tables.heading(text.name)
            tables.contexts(text.name, found, len(ids))
    asked.note_unknown()


def by_choices(asked: Evaluation) -> None:
    """How often the right choice of a question costs least, by group."""
    from lstmgen import choices

    questions = [
        question
        for text in asked.texts
        for question in choices.parse(text.text.split("\n"), text.name)
    ]
    if not questions:
        raise OptionError(f"--choices: there is no question in {asked.names}; see --help")
    answered = any(question.answer is not None for question in questions)
    if not answered and not asked.as_json:
        raise OptionError(
            f"--choices: no question in {asked.names} has an answer; with --json there is what each "
            "choice costs"
        )
    vocabulary = asked.saved.vocabulary
    texts = (text for question in questions for text in (question.context, *question.choices))
    engine = asked.engine(sum(len(vocabulary.encode(text)) for text in texts))
    rankings = list[choices.Ranking]()
    coming = choices.rank(engine, vocabulary, questions)
    if answered:  # else each is told as soon as it is known
        coming = console.watched(coming, len(questions), "answered")
    for ranking in coming:
        rankings.append(ranking)
        if asked.as_json and not answered:
            console.emit_json({"model": asked.model, **ranking.to_json()})
    tally = choices.tally(rankings) if answered else []
    if asked.as_json and answered:  # the group "all" goes first
        for record in [one.to_json() for one in tally] + [one.to_json() for one in rankings]:
            console.emit_json({"model": asked.model, **record})
    elif not asked.as_json:
        tables.tallies(tally)
    unanswered = sum(question.answer is None for question in questions)
    if unanswered and answered:
        console.note(f"questions without an answer, which are not counted: {unanswered:,}")
    if alike := sum(one.is_undecided and one.question.answer is not None for one in rankings):
        console.note(f"questions between whose likeliest choices the model cannot tell: {alike:,}")
    if nested := sum(one.is_nested for one in rankings):
        console.note(
            f"questions with a choice that begins another, which then costs more under any model: {nested:,}"
            "; let each choice end with what ends it"
        )
    if unknown := sum(one.unknown_in_context + sum(one.unknown_tokens) for one in rankings):
        console.note(f"unknown tokens of the questions, scored as <unk>: {unknown:,}")
