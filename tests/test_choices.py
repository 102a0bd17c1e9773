"""Questions: read strictly, answered by what the continuations cost, tallied by group."""

import json
from math import log
from typing import Any

import numpy as np
import pytest
from engines import random_weights, score_of
from numpy.typing import NDArray

from lstmgen import choices
from lstmgen.breakdown import score_rows
from lstmgen.cells import Cells
from lstmgen.choices import Question, Ranking, Tally, parse, rank, tally
from lstmgen.config import ModelConfig
from lstmgen.errors import CorpusError
from lstmgen.vocabulary import UNKNOWN, Vocabulary

GOOD = {"context": "ab", "choices": ["c", "de"], "answer": 1, "group": "near"}


def read(*lines: str) -> list[Question]:
    return list(parse(lines, "q.jsonl"))


def test_questions_are_read_and_empty_lines_passed_over() -> None:
    assert read(json.dumps(GOOD), "", "  ", json.dumps(GOOD | {"group": ""})) == [
        Question("ab", ("c", "de"), 1, "near", "q.jsonl", 1),
        Question("ab", ("c", "de"), 1, "", "q.jsonl", 4),
    ]
    del (without := dict(GOOD))["group"]
    assert read(json.dumps(without | {"id": 7}))[0].group == ""
    assert read(json.dumps(without | {"group": None}))[0].group == ""


def test_line_ends_are_line_feeds_as_in_every_text() -> None:
    (question,) = read(json.dumps(GOOD | {"context": "a\r\nb\rc", "choices": ["\r\nd", "e\r"]}))
    assert (question.context, question.choices) == ("a\nb\nc", ("\nd", "e\n"))


CHANGES: list[dict[str, object]] = [
    {"context": 3}, {"context": None}, {"choices": "ab"}, {"choices": ["a"]},
    {"choices": ["a", ""]}, {"choices": ["a", 1]}, {"choices": []}, {"answer": 2},
    {"choices": ["a"], "answer": 0}, {"choices": [], "answer": None},
    {"answer": -1}, {"answer": 1.0}, {"answer": True}, {"answer": "1"},
    {"group": 5}, {"context": "\ud800"}, {"choices": ["a", "\udfff"]},
]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "{", "[]", "7", "null", "NaN", "[" * 100_000,
        *(json.dumps(GOOD | change) for change in CHANGES),
    ],
)  # fmt: skip
def test_a_line_that_is_no_question_is_refused_by_its_number(line: str) -> None:
    with pytest.raises(CorpusError, match=r"line 3 of q\.jsonl is not a question"):
        read(json.dumps(GOOD), "", line)


@pytest.mark.parametrize("missing", ["context", "choices"])
def test_what_a_question_lacks_is_named(missing: str) -> None:
    line = json.dumps({name: value for name, value in GOOD.items() if name != missing})
    with pytest.raises(CorpusError, match=f"line 1 of .* is not a question: {missing} is missing;"):
        read(line)
    with pytest.raises(CorpusError, match=r"it is not JSON \(Expecting"):
        read("I speak French")


@pytest.fixture(scope="module")
def cells() -> Cells:
    config = ModelConfig(vocab_size=29, num_layers=1, hidden_size=8, embedding_size=6)
    return Cells(config, random_weights(config, scale=0.8))


def test_a_choice_costs_what_it_adds_to_the_context(
    cells: Cells, letters: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "BLOCK", 2)
    questions = [
        Question("hello wor", ("ld", "lds", "k"), 0, ""),
        Question("", ("a", "b"), 0, ""),
        Question("x" * 70, ("yz", "zy"), 1, ""),
    ]
    answers = list(rank(cells, letters, questions))
    assert [one.question for one in answers] == questions
    for one in answers:
        base = score_of(cells, letters, one.question.context).nats
        for choice, nats, tokens in zip(one.question.choices, one.nats, one.tokens, strict=True):
            whole = score_of(cells, letters, one.question.context + choice).nats
            assert nats == pytest.approx(whole - base, abs=1e-4)
            assert tokens == len(choice)


def test_a_context_is_read_once_for_all_its_choices(
    cells: Cells, letters: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[int]()

    def watched(ids: NDArray[Any], state: Any) -> Any:
        read.append(ids.size)
        return Cells.read(cells, ids, state)

    monkeypatch.setattr(cells, "read", watched)
    list(rank(cells, letters, [Question("x" * 100, ("a", "b", "c", "d"), 0, "")]))
    assert sum(read) == 100 + 4


def test_where_a_choice_changes_the_last_word_all_are_scored_from_there() -> None:
    vocabulary = Vocabulary("word", "space", (UNKNOWN["word"], " an", " old", " older", " one"))
    config = ModelConfig(vocab_size=5, num_layers=1, hidden_size=8, embedding_size=6)
    engine = Cells(config, random_weights(config, scale=0.8))
    (one,) = rank(engine, vocabulary, [Question(" an old", ("er", " one"), 0, "")])
    base = score_of(engine, vocabulary, " an").nats
    for choice, nats, tokens in zip(one.question.choices, one.nats, (1, 2), strict=True):
        whole = score_of(engine, vocabulary, " an old" + choice).nats
        assert nats == pytest.approx(whole - base, abs=1e-4)
        assert one.tokens[one.question.choices.index(choice)] == tokens


def test_words_that_are_not_known_are_told_apart_all_the_same() -> None:
    vocabulary = Vocabulary("word", "space", (UNKNOWN["word"], " an", " one"))
    config = ModelConfig(vocab_size=3, num_layers=1, hidden_size=8, embedding_size=6)
    engine = Cells(config, random_weights(config, scale=0.8))
    (one,) = rank(engine, vocabulary, [Question(" an old", ("er", " one"), 0, "")])
    assert one.tokens == (1, 2)
    unknown = (
        score_of(engine, vocabulary, " an old").nats - score_of(engine, vocabulary, " an").nats
    )
    assert one.nats[0] == pytest.approx(unknown, abs=1e-4)


def made(nats: tuple[float, ...], tokens: tuple[int, ...], right: int, group: str = "") -> Ranking:
    return Ranking(Question("", ("x",) * len(nats), right, group), nats, tokens)


def test_the_likeliest_is_chosen_in_all_and_per_token() -> None:
    one = made((3.0, 2.0, 4.0), (1, 1, 4), 0)
    assert (one.chosen, one.chosen_per_token) == (1, 2)
    told = one.to_json()
    assert (told["chosen"], told["chosen_per_token"]) == (1, 2)
    assert told["answer"] == 0
    assert (told["nats"], told["tokens"]) == ([3.0, 2.0, 4.0], [1, 1, 4])
    assert made((1.0, 1.0), (1, 1), 0).chosen == 0


def test_a_choice_that_begins_another_is_noted_as_that_costs_no_less(letters: Vocabulary) -> None:
    config = ModelConfig(vocab_size=len(letters), hidden_size=8, embedding_size=6)
    engine = Cells(config, random_weights(config, scale=0.8))
    asked = [
        (" he", " her"),
        (" her", " he"),
        (" he ", " her "),
        (" he", " he"),
        (" a", " b", " ab"),
    ]
    questions = [Question("i saw", ends, 0, "") for ends in asked]
    found = list(rank(engine, letters, questions))
    assert [one.is_nested for one in found] == [True, True, False, False, True]
    assert [one.chosen for one in found[:2]] == [0, 1]  # always the shorter
    words = Vocabulary("word", "prose", (UNKNOWN["word"], " New", " York", " he", " her"))
    config = ModelConfig(vocab_size=5, hidden_size=8, embedding_size=6)
    engine = Cells(config, random_weights(config, scale=0.8))
    asked = [(" he", " her"), (" New", " New York")]
    found = list(rank(engine, words, [Question(" he", ends, 0, "") for ends in asked]))
    assert [one.is_nested for one in found] == [False, True]


def test_choices_that_are_the_same_to_the_model_count_as_guessed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The right one may always stand first, as in pairs of a good and a bad sentence."""
    vocabulary = Vocabulary("word", "space", (UNKNOWN["word"], " an", " one"))
    config = ModelConfig(vocab_size=3, num_layers=1, hidden_size=8, embedding_size=6)
    engine = Cells(config, random_weights(config, scale=0.8))

    def rounded(*about: Any, **options: Any) -> NDArray[np.float64]:
        nats = score_rows(*about, **options)
        return nats * (1 - 1e-9 * np.arange(len(nats)))

    monkeypatch.setattr(choices, "score_rows", rounded)
    pairs = [Question(" an" * n, (" walks", " walk"), 0, "") for n in range(70)]
    answers = list(rank(engine, vocabulary, [*pairs, Question(" an", (" x", " one", " y"), 1, "")]))
    assert [one.is_undecided for one in answers[:70]] == [True] * 70
    assert {one.chosen for one in answers[:70]} == {0}
    (row,) = tally(answers[:70])
    assert (row.accuracy, row.accuracy_per_token, row.chance) == (0.5, 0.5, 0.5)
    assert str(row.to_json()["correct"]) == "35"  # a whole number is told as one
    assert answers[70].nats[0] == answers[70].nats[2]
    three = tally([made((2.0, 1.0, 1.0), (1, 1, 1), 2), made((2.0, 1.0, 1.0), (1, 1, 1), 0)])[0]
    assert three.to_json()["correct"] == 0.5
    thirds = tally([made((1.0, 1.0, 1.0), (1, 1, 1), 0)] * 6)[0]
    assert str(thirds.to_json()["correct"]) == "2"
    assert thirds.accuracy == thirds.accuracy_per_token == thirds.chance == 1 / 3


def test_groups_are_tallied_in_natural_order_after_all() -> None:
    answers = [
        made((1.0, 2.0), (1, 1), 0, "b 100-200"),
        made((1.0, 2.0), (1, 4), 1, "b 50-100"),
        made((1.0, 2.0, 3.0, 4.0), (1, 1, 1, 1), 3, "b 100-200"),
        made((1.0, 2.0), (1, 1), 1),
    ]
    rows = tally(answers)
    assert [row.group for row in rows] == ["all", "b 50-100", "b 100-200"]
    assert [row.questions for row in rows] == [4, 1, 2]
    assert [row.correct for row in rows] == [1, 0, 1]
    assert [row.correct_per_token for row in rows] == [2, 1, 1]
    assert [row.chance for row in rows] == [(0.5 * 3 + 0.25) / 4, 0.5, 0.375]


@pytest.mark.parametrize(
    ("correct", "questions", "low", "high"),
    # From Newcombe (1998), table I, method 3, and by hand for the ends.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)  # fmt: skip
def test_the_interval_is_wilsons(correct: int, questions: int, low: float, high: float) -> None:
    one = Tally("all", questions, correct, correct, 0.0)
    assert one.interval == pytest.approx((low, high), abs=1e-4)
    assert one.to_json()["interval"] == list(one.interval)


def test_a_tally_as_json_keeps_the_two_ways_to_choose_and_guessing_apart() -> None:
    told = Tally("all", questions=4, correct=1, correct_per_token=2, guessed=1.6).to_json()
    assert (told["accuracy"], told["accuracy_per_token"], told["chance"]) == (0.25, 0.5, 0.4)
    assert (told["questions"], told["correct"]) == (4, 1)


def test_a_model_that_knows_nothing_is_at_chance_and_says_so(letters: Vocabulary) -> None:
    config = ModelConfig(vocab_size=29, num_layers=1, hidden_size=4, embedding_size=4)
    zeros = {name: np.zeros(shape, np.float32) for name, shape in config.weight_shapes().items()}
    questions = [Question("a", ("b", "c"), i % 2, "") for i in range(10)]
    answers = list(rank(Cells(config, zeros), letters, questions))
    assert all(nats == pytest.approx(log(29)) for one in answers for nats in one.nats)
    assert tally(answers)[0].accuracy == tally(answers)[0].chance == 0.5


def test_choices_without_an_answer_are_ranked_and_not_counted(
    cells: Cells, letters: Vocabulary
) -> None:
    bare = {"context": "ab", "choices": ["c", "de"]}
    questions = list(parse([json.dumps(bare), json.dumps(GOOD)], "q"))
    assert questions[0].answer is None
    answers = list(rank(cells, letters, questions))
    assert answers[0].nats == pytest.approx(answers[1].nats)
    assert answers[0].to_json()["answer"] is None
    assert [(row.group, row.questions) for row in tally(answers)] == [("all", 1), ("near", 1)]


def test_unknown_tokens_of_context_and_choices_are_counted(
    cells: Cells, letters: Vocabulary
) -> None:
    (one,) = rank(cells, letters, [Question("Añb", ("ñ", "cÑñ"), 0, "")])
    assert (one.unknown_in_context, one.unknown_tokens) == (2, (1, 2))
    assert one.to_json()["unknown_tokens"] == [1, 2]
    assert one.to_json()["unknown_in_context"] == 2


def test_a_question_that_says_something_twice_is_refused() -> None:
    twice = '{"context": "I", "context": "J", "choices": ["a", "b"]}'
    with pytest.raises(CorpusError, match=r"line 2 of q .*a name occurs twice"):
        list(parse([json.dumps(GOOD), twice], "q"))


def test_a_group_may_not_take_the_name_of_the_whole() -> None:
    with pytest.raises(CorpusError, match='the group "all" is that of all questions'):
        list(parse([json.dumps(GOOD | {"group": "all"})], "q"))


def test_groups_with_numbers_of_any_length_are_sorted() -> None:
    names = ["8-16", "16-32", "007", "1" * 5000, "2" * 4999, "x"]
    answers = [Ranking(Question("", ("a", "b"), 0, name), (0.0, 1.0), (1, 1)) for name in names]
    wanted = ["x", "007", "8-16", "16-32", "2" * 4999, "1" * 5000]
    assert [row.group for row in tally(answers)[1:]] == wanted
