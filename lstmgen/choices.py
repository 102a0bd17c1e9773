"""Turns questions, a context and choices of how it goes on, into which of them the model finds likeliest."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from math import fsum, sqrt
from string import digits
from typing import Any

from lstmgen.breakdown import begin_with, score_rows
from lstmgen.comparison import Z_95
from lstmgen.container import unique
from lstmgen.encoding import with_line_feeds
from lstmgen.errors import CorpusError
from lstmgen.reading import Engine
from lstmgen.vocabulary import Ids, Vocabulary

BLOCK = 64  # questions scored together
ALL = "all"  # the group of every question
FIELDS = ("context", "choices")  # those without which there is no question


@dataclass(frozen=True)
class Question:
    """What is to be gone on from, the choices there are, and which one is right."""

    context: str
    choices: tuple[str, ...]
    answer: int | None  # the right one's place; none where the choices are only to be ranked
    group: str
    file: str = ""
    line: int = 0  # of the file, counted from 1


@dataclass(frozen=True)
class Ranking:
    """What a model makes of a question: what each choice costs it after the context."""

    question: Question
    nats: tuple[float, ...]
    tokens: tuple[int, ...]
    unknown_tokens: tuple[int, ...] = ()  # among them
    unknown_in_context: int = 0
    # Whether one choice begins another, and so costs no more than that under any model.
    is_nested: bool = False

    @property
    def nats_per_token(self) -> tuple[float, ...]:
        """What they cost per token, which does not favour the short ones."""
        return tuple(cost / max(1, n) for cost, n in zip(self.nats, self.tokens, strict=True))

    @property
    def chosen(self) -> int:
        """The likeliest choice; of equally likely ones the first."""
        return _least(self.nats)[0]

    @property
    def chosen_per_token(self) -> int:
        """The one that costs least per token."""
        return _least(self.nats_per_token)[0]

    @property
    def is_undecided(self) -> bool:
        """Whether several are the likeliest, as where they differ in symbols that the model does not know."""
        return len(_least(self.nats)) > 1

    def to_json(self) -> dict[str, Any]:
        question = self.question
        return {
            "file": question.file,
            "line": question.line,
            "group": question.group,
            "context": question.context,
            "choices": list(question.choices),
            "answer": question.answer,
            "chosen": self.chosen,
            "chosen_per_token": self.chosen_per_token,
            "nats": list(self.nats),
            "tokens": list(self.tokens),
            "unknown_tokens": list(self.unknown_tokens),
            "unknown_in_context": self.unknown_in_context,
        }


@dataclass(frozen=True)
class Tally:
    """How many questions of a group were answered rightly, and what guessing would give.

    Where the k likeliest choices cost the same and the right one is among them, that is 1 / k of a right
    answer: what guessing among them would give.
    """

    group: str
    questions: int
    correct: float
    correct_per_token: float
    guessed: float

    @classmethod
    def of(cls, group: str, rankings: Sequence[Ranking]) -> "Tally":
        return cls(
            group,
            questions=len(rankings),
            # By `fsum`, so that three thirds are 1.
            correct=fsum(_credit(one.nats, one.question.answer) for one in rankings),
            correct_per_token=fsum(
                _credit(one.nats_per_token, one.question.answer) for one in rankings
            ),
            guessed=fsum(1 / len(one.nats) for one in rankings),
        )

    @property
    def accuracy(self) -> float:
        return self.correct / self.questions

    @property
    def accuracy_per_token(self) -> float:
        return self.correct_per_token / self.questions

    @property
    def chance(self) -> float:
        return self.guessed / self.questions

    @property
    def interval(self) -> tuple[float, float]:
        """Where the accuracy lies with 95 % confidence (Wilson, 1927)."""
        n, p, z = self.questions, self.accuracy, Z_95
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        reach = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, middle - reach), min(1.0, middle + reach)

    def to_json(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "questions": self.questions,
            "correct": int(self.correct) if self.correct == int(self.correct) else self.correct,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "accuracy_per_token": self.accuracy_per_token,
            "chance": self.chance,
        }


def _least(costs: Sequence[float]) -> list[int]:
    """The places of the lowest."""
    lowest = min(costs)
    return [place for place, cost in enumerate(costs) if cost == lowest]


def _credit(costs: Sequence[float], answer: int | None) -> float:
    least = _least(costs)
    return (answer in least) / len(least)


def parse(lines: Iterable[str], name: str) -> Iterator[Question]:
    """JSON Lines of context, choices and, where wanted, answer (counted from 0) and group.

    Empty lines are passed over. `CorpusError` names the line that is not a question.
    """
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield replace(_question(line), file=name, line=number)
            except ValueError as error:
                raise CorpusError(
                    f"line {number:,} of {name} is not a question: {error!s:.100}; it must be like "
                    '{"context": "I grew up in", "choices": [" France", " Peru"], "answer": 0}'
                ) from None


def _question(line: str) -> Question:
    """`ValueError` says what does not fit."""
    try:
        data = json.loads(line, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON ({error})") from None
    if not isinstance(data, dict):
        raise ValueError("it is not a JSON object")
    for name in FIELDS:
        if name not in data:
            raise ValueError(f"{name} is missing")
    context, choices = map(data.get, FIELDS)
    answer, group = data.get("answer"), data.get("group")
    group = "" if group is None else group
    if not isinstance(context, str) or not isinstance(group, str):
        raise ValueError("context and group are to be strings")
    if group == ALL:
        raise ValueError(f'the group "{ALL}" is that of all questions; name this one otherwise')
    if not isinstance(choices, list) or len(choices) < 2:
        raise ValueError("choices is to be a list of two strings or more")
    if not all(isinstance(choice, str) and choice for choice in choices):
        raise ValueError("a choice is to be a string, and not an empty one")
    if answer is not None and (type(answer) is not int or not 0 <= answer < len(choices)):
        raise ValueError(f"answer is {answer!r:.40}, not the place of a choice, counted from 0")
    try:
        "".join((context, group, *choices)).encode()
    except UnicodeEncodeError:
        raise ValueError("it holds half a surrogate pair, which is no text") from None
    return Question(with_line_feeds(context), tuple(map(with_line_feeds, choices)), answer, group)


def rank(
    engine: Engine, vocabulary: Vocabulary, questions: Sequence[Question]
) -> Iterator[Ranking]:
    """Each question with what its choices cost, in order: nats of the tokens that follow the context."""
    for start in range(0, len(questions), BLOCK):
        block = questions[start : start + BLOCK]
        contexts, ends = zip(*(_encoded(vocabulary, question) for question in block), strict=True)
        beginnings = begin_with(engine, contexts, vocabulary.start_id)
        begun = [number for number, choices in enumerate(ends) for _ in choices]
        rows = [ids for choices in ends for ids in choices]
        nats = iter(score_rows(engine, rows, beginnings, begun).tolist())
        for question, context, choices in zip(block, contexts, ends, strict=True):
            # The same ids cost the same, whatever rounding does beside others.
            keys = [ids.tobytes() for ids in choices]
            costs = dict(zip(keys, islice(nats, len(keys)), strict=True))
            yield Ranking(
                question,
                nats=tuple(costs[key] for key in keys),
                tokens=tuple(map(len, choices)),
                unknown_tokens=tuple(map(vocabulary.count_unknown, choices)),
                unknown_in_context=vocabulary.count_unknown(context),
                # In order a choice is followed at once by one that begins with it, if there is any.
                is_nested=any(long.startswith(short) for short, long in pairwise(sorted(costs))),
            )


def _encoded(vocabulary: Vocabulary, question: Question) -> tuple[Ids, list[Ids]]:
    """The ids of a question's context, and those that follow with each choice."""
    context = vocabulary.tokenize(question.context)
    whole = [question.context + choice for choice in question.choices]
    begin = min(_shared(context, vocabulary.tokenize(text)) for text in whole)
    ids = [vocabulary.encode(text) for text in whole]
    return ids[0][:begin], [row[begin:] for row in ids]


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many tokens two texts have in common at their beginning.

    By word a choice may change the last token of the context: "old" and "er" make "older". Then
    that token is scored with all choices.
    """
    length = min(len(one), len(other))
    return next((place for place in range(length) if one[place] != other[place]), length)


def tally(rankings: Iterable[Ranking]) -> list[Tally]:
    """The results in all, under the group `ALL`, and then of each group in the order of its name.

    They are of the questions whose answer is known.
    """
    known = [one for one in rankings if one.question.answer is not None]
    groups: defaultdict[str, list[Ranking]] = defaultdict(list)
    for one in known:
        if one.question.group:
            groups[one.question.group].append(one)
    of_groups = [Tally.of(name, groups[name]) for name in sorted(groups, key=_natural)]
    return [Tally.of(ALL, known), *of_groups]


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts "8-16" before "16-32": of two numbers that with more digits is the larger one."""

    def key(part: str) -> tuple[int, str]:
        bare = part.lstrip("0")
        return (len(bare), bare) if part[0] in digits else (-1, part)

    return [key(part) for part in re.findall(r"[0-9]+|[^0-9]", name)]
