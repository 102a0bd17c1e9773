"""How a model reads a prime, and how what follows joins on to it."""

import pytest

from lstmgen.config import CorpusConfig, Level
from lstmgen.priming import Priming
from lstmgen.vocabulary import Ids, Vocabulary, build


def complete(text: str, level: Level) -> Vocabulary:
    """The vocabulary that holds every token of a text."""
    return build(text, CorpusConfig(level=level, min_count=1))


@pytest.mark.parametrize(
    ("prime", "read", "unknown"),
    [
        (" cat sat", " cat sat", []),
        ("cat sat", " cat sat", []),  # as it would stand in running text
        (" The cat", "The cat", []),  # as it stood at the start of a line
        ("dog sat", " <unk> sat", ["dog"]),
        ("The cat The dog dog", "The cat <unk> <unk> <unk>", [" The", " dog"]),
        ("", "", []),
    ],
)
def test_first_word_of_a_prime_is_taken_with_or_without_its_blank(
    prime: str, read: str, unknown: list[str]
) -> None:
    vocabulary = complete("The cat sat\n", "word")
    assert vocabulary.decode(Priming(vocabulary, prime).ids[1:]) == read
    assert Priming(vocabulary, prime).unknown == unknown


def test_unknown_characters_of_a_prime_are_told_once_each_in_order() -> None:
    vocabulary = complete("abc", "char")
    assert Priming(vocabulary, "zaybz").ids[1:].tolist() == [0, 1, 0, 2, 0]
    assert Priming(vocabulary, "zaybz").unknown == ["z", "y"]


def test_by_word_a_blank_at_the_end_of_a_prime_is_that_of_the_next_word() -> None:
    words = Vocabulary("word", "prose", (" <unk>", "\n", " I", " am", " ill", "."))
    assert Priming(words, "I am ").ids[1:].tolist() == Priming(words, "I am").ids[1:].tolist()
    assert Priming(words, "I am ").unknown == []
    assert Priming(words, " ").ids[1:].tolist() == []
    assert [Priming(words, "I am ").piece(i, 0) for i in (1, 4, 5)] == ["\n", "ill", "."]
    assert Priming(words, "I am ").piece(4, 1) == " ill"
    assert [Priming(words, "I am").piece(i, 0) for i in (1, 4, 5)] == ["\n", " ill", "."]
    letters = Vocabulary("char", "prose", ("<unk>", " ", "a"))
    assert Priming(letters, "a ").ids[1:].tolist() == [2, 1]
    assert Priming(letters, "a ").piece(1, 0) == " "


def test_a_vocabulary_without_blanks_bars_nothing() -> None:
    names = Vocabulary("word", "space", (" <unk>", "\n", "Ann", "Ben"))
    assert len(Priming(names, "Ann ").barred) == 0
    # Some of which end in a blank.
    lines = Vocabulary("word", "space", (" <unk>", " ", " \n", "Ann"))
    assert len(Priming(lines, "Ann ").barred) == 0
    some = Vocabulary("word", "space", (" <unk>", " ", " \n", " Ben", "Ann"))
    assert Priming(some, "Ann ").barred.tolist() == [1, 2, 4]
    for line_begins in (" ", "Ann\n "):
        assert len(Priming(some, line_begins).barred) == 0
    words = Vocabulary("word", "space", (" <unk>", " a", "b"))
    assert Priming(words, "a ").barred.tolist() == [2]
    assert len(Priming(words, "a").barred) == 0


def test_a_prime_is_read_after_the_start_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = complete("a b\n", "word")
    encoded, encode = list[str](), Vocabulary.encode

    def counted(known: Vocabulary, text: str) -> Ids:
        encoded.append(text)
        return encode(known, text)

    monkeypatch.setattr(Vocabulary, "encode", counted)
    for prime in ("", "a b "):
        priming = Priming(vocabulary, prime)
        assert priming.ids[0] == vocabulary.start_id == vocabulary.ids["\n"]
        assert priming.ids.dtype == vocabulary.dtype
        assert priming.unknown == []
    assert encoded == ["", "a b"]
