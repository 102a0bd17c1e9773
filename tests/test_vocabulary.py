"""Text <-> ids: nothing is lost on the way, and the published counts of the published corpora come out."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmgen import vocabulary as vocabulary_module
from lstmgen.config import CorpusConfig, Level, Words
from lstmgen.errors import OptionError
from lstmgen.vocabulary import UNKNOWN, UNKNOWN_ID, Vocabulary, build

DATA = Path(__file__).resolve().parents[1] / "data"
WIKITEXT = Path(os.environ.get("LSTMGEN_TEXTS", DATA)) / "wikitext-2"
KINDS: list[tuple[Level, Words]] = [("char", "prose"), ("word", "prose"), ("word", "space")]

# Any text at all, and texts in which blanks, line ends and apostrophes meet at every turn.
texts = st.text(max_size=60) | st.text(
    "ab'’_. \t\n\x0b\x85\u00a0\u2028\u3000é中\u0301", max_size=30
)


def complete(text: str, level: Level, words: Words = "prose") -> Vocabulary:
    """The vocabulary that holds every token of a text."""
    return build(text, CorpusConfig(level=level, words=words, min_count=1))


def cut(text: str, words: Words) -> list[str]:
    vocabulary = complete(text, "word", words)
    return [vocabulary.tokens[i] for i in vocabulary.encode(text)]


@pytest.mark.parametrize(("level", "words"), KINDS)
@given(texts)
def test_decoding_what_was_encoded_gives_the_text_back(
    level: Level, words: Words, text: str
) -> None:
    vocabulary = complete(text, level, words)
    assert vocabulary.decode(vocabulary.encode(text)) == text


@pytest.mark.parametrize("words", get_args(Words))
@given(texts)
def test_a_line_end_ends_its_token_and_every_line_end_ends_one(words: Words, text: str) -> None:
    tokens = cut(text, words)
    assert [token.count("\n") for token in tokens] == [token.endswith("\n") for token in tokens]


@given(texts)
def test_space_words_are_those_of_split(text: str) -> None:
    assert [token.strip() for token in cut(text, "space") if token.strip()] == text.split()


def test_prose_sets_punctuation_apart_and_keeps_apostrophes_inside() -> None:
    text = "Don't stop,  he said: ‘it’s 3.5’ \n\n  Yes"
    assert cut(text, "prose") == [
        "Don't", " stop", ",", " ", " he", " said", ":", " ‘", "it’s", " 3", ".", "5", "’", " \n",
        "\n", " ", " Yes",
    ]  # fmt: skip


def test_space_cuts_at_white_space_only() -> None:
    text = "Don't stop,  he said.\t\n\tYes \t"
    assert cut(text, "space") == ["Don't", " stop,", " ", " he", " said.", "\t\n", "\tYes", " \t"]


def test_line_of_penn_treebank_is_its_words_and_one_line_end() -> None:
    line = " no it was n't black monday \n"
    words = [" no", " it", " was", " n't", " black", " monday", " \n"]
    assert cut(line * 2, "space") == words * 2


@pytest.mark.skipif(
    not WIKITEXT.is_dir(), reason="needs wikitext-2 in the folder that LSTMGEN_TEXTS names"
)
def test_wikitext_2_has_the_published_tokens_and_types() -> None:
    files = {
        name: (WIKITEXT / f"{name}.txt").read_text("utf-8") for name in ("train", "valid", "test")
    }
    vocabulary = complete(files["train"], "word", "space")
    ids = {name: vocabulary.encode(text) for name, text in files.items()}
    counts = {name: len(of_text) for name, of_text in ids.items()}
    assert counts == {"train": 2_088_628, "valid": 217_646, "test": 245_569}
    assert len(vocabulary) == 33_278
    for name, text in files.items():  # all that is unknown is what the corpus itself calls so
        assert vocabulary.count_unknown(ids[name]) == text.split().count("<unk>")
    assert vocabulary.decode([vocabulary.start_id]) == " \n"


@pytest.mark.parametrize(("level", "words"), KINDS)
def test_text_beyond_one_chunk_is_encoded_like_its_parts(level: Level, words: Words) -> None:
    line = "naïve, Ωμέγα 中 no\n"
    times = (1 << 20) // len(line) + 1000
    vocabulary = complete(line * times, level, words)
    assert vocabulary.tokens == complete(line, level, words).tokens
    np.testing.assert_array_equal(
        vocabulary.encode(line * times), np.tile(vocabulary.encode(line), times)
    )


@given(st.text("a.,' \t\n\u3000", max_size=60), st.sampled_from(get_args(Words)), st.integers(1, 9))
def test_words_are_the_same_wherever_chunks_end(text: str, words: Words, chunk: int) -> None:
    whole = vocabulary_module._tokenize(text, words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary_module, "_CHUNK", chunk)
        assert [one for part in vocabulary_module._chunks(text, words) for one in part] == whole


def test_a_text_of_one_line_is_cut_into_words_a_part_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vocabulary_module, "_CHUNK", 50)
    assert max(map(len, vocabulary_module._chunks("on and on " * 99, "space"))) < 30


@pytest.mark.parametrize("known", ["ac", "aé", "a中"])
@pytest.mark.parametrize("odd", "\x00bé÷ÿĀ中\uffff😀")
def test_unknown_character_becomes_unk_and_is_counted(known: str, odd: str) -> None:
    vocabulary = complete(known, "char")
    ids = vocabulary.encode("a" + odd * 2)
    expected = [known.find(odd) + 1] * 2  # 0 where it is not there
    assert ids.tolist() == [1, *expected]
    assert vocabulary.count_unknown(ids) == expected.count(0)


@pytest.mark.parametrize("words", get_args(Words))
def test_unknown_word_becomes_unk_and_is_counted(words: Words) -> None:
    vocabulary = complete("one two\n", "word", words)
    ids = vocabulary.encode("one three two three\n")
    assert vocabulary.decode(ids) == "one <unk> two <unk>\n"
    assert [i for i, token in enumerate(vocabulary.tokens) if "unk" in token] == [UNKNOWN_ID]
    assert vocabulary.count_unknown(ids) == 2


@given(
    st.text("abcdeé ", max_size=40),
    st.integers(1, 6),
    st.none() | st.integers(2, 8),
    st.integers(1, 50),
)
def test_vocabulary_is_the_most_frequent_symbols_that_are_frequent_enough(
    text: str, min_count: int, max_vocab: int | None, chunk: int
) -> None:
    config = CorpusConfig(level="char", min_count=min_count, max_vocab=max_vocab)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary_module, "_CHUNK", chunk)
        built = build(text, config)
    ranked = sorted(Counter(text).items(), key=lambda item: (-item[1], item[0]))
    frequent = [symbol for symbol, count in ranked if count >= min_count]
    kept = frequent if max_vocab is None else frequent[: max_vocab - 1]  # `<unk>` is one of them
    assert built.tokens == ("<unk>", *sorted(kept))


def test_words_are_counted_over_all_parts_of_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_module, "_CHUNK", 3)
    assert build(" a a b a b a", CorpusConfig(level="word", min_count=4)).tokens == (" <unk>", " a")


def test_of_equally_frequent_words_the_first_in_order_is_kept() -> None:
    config = CorpusConfig(level="word", min_count=1, max_vocab=3)
    assert build(" b b a a c c c", config).tokens == (" <unk>", " a", " c")


def test_words_seen_less_than_min_count_are_left_out() -> None:
    config = CorpusConfig(level="word", min_count=2)
    assert build(" a a b c c\n", config).tokens == (" <unk>", " a", " c")


def test_unk_that_the_text_itself_holds_is_the_same_unk() -> None:
    vocabulary = complete(" a <unk> b <unk>\n", "word", "space")
    assert vocabulary.tokens.count(" <unk>") == 1
    assert vocabulary.encode(" a <unk>\n").tolist() == [
        vocabulary.ids[" a"], UNKNOWN_ID, vocabulary.ids["\n"],
    ]  # fmt: skip
    begins = complete("<unk> a\n\t<unk> a\n", "word", "space")
    assert begins.tokens == (" <unk>", "\n", " a")  # else it would be sampled as a word
    assert begins.encode("<unk> a").tolist() == [UNKNOWN_ID, begins.ids[" a"]]


@pytest.mark.parametrize(
    ("size", "dtype"),
    [(2, np.uint8), (256, np.uint8), (257, np.uint16), (65_536, np.uint16), (65_537, np.uint32)],
)
def test_ids_have_the_smallest_type_that_holds_the_last_one(size: int, dtype: type) -> None:
    characters = "".join(map(chr, range(0x10000, 0x10000 + size - 1)))
    vocabulary = Vocabulary("char", "prose", (UNKNOWN["char"], *characters))
    ids = vocabulary.encode(characters[-1])
    assert ids.dtype == dtype
    assert ids.tolist() == [size - 1]


@pytest.mark.parametrize(
    ("level", "text", "start"),
    [
        ("char", "a\nb", "\n"),
        ("char", "ab", "<unk>"),
        ("word", " a \n b \n", " \n"),
        ("word", " a \n b\n", "\n"),
        ("word", " a \n b \n c\n", " \n"),  # the usual one
        ("word", " a b", " <unk>"),
    ],
)
def test_text_starts_after_a_line_end_where_there_is_one(
    level: Level, text: str, start: str
) -> None:
    vocabulary = complete(text, level)
    assert vocabulary.tokens[vocabulary.start_id] == start
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


@pytest.mark.parametrize(
    ("own", "other", "start"),
    [
        (" a \n b \n c\n", " d\n", " \n"),  # the usual one of the text itself
        (" a\n b", " c \n d \n e\n", "\n"),
        (" a b", " c \n d \n e\n", " \n"),  # it has none
        (" a b", " c d", " <unk>"),
    ],
)
def test_joined_vocabularies_have_the_symbols_of_both_and_begin_as_the_first(
    own: str, other: str, start: str
) -> None:
    first, second = complete(own, "word"), complete(other, "word")
    joined = first.joined(second)
    assert set(joined.tokens) == {*first.tokens, *second.tokens}
    assert joined.tokens[joined.start_id] == start
    assert Vocabulary.from_json(joined.to_json()) == joined


@pytest.mark.parametrize(("level", "words"), KINDS)
@given(texts)
def test_vocabulary_comes_back_equal_through_json(level: Level, words: Words, text: str) -> None:
    vocabulary = complete(text, level, words)
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary


CHARS = {"level": "char", "words": "prose", "tokens": ["<unk>", "a", "b"]}
WORDS = {"level": "word", "words": "space", "tokens": [" <unk>", " one", " two"]}


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {},
        {"level": "char", "words": "prose"},
        CHARS | {"more": 1},
        CHARS | {"level": "byte"},
        CHARS | {"level": ["char"]},
        CHARS | {"words": "poetry"},
        CHARS | {"tokens": "<unk>"},
        CHARS | {"tokens": {"<unk>": 0}},
        CHARS | {"tokens": []},
        CHARS | {"tokens": ["a", "b"]},
        CHARS | {"tokens": ["a", "<unk>", "b"]},
        CHARS | {"tokens": ["<unk>", "a", "a"]},
        CHARS | {"tokens": ["<unk>", "b", "a"]},
        CHARS | {"tokens": ["<unk>", "a", 3]},
        CHARS | {"tokens": ["<unk>", "a", None]},
        CHARS | {"tokens": ["<unk>", "", "a"]},
        CHARS | {"tokens": ["<unk>", "a", "bc"]},
        CHARS | {"tokens": ["<unk>", "a", "\ud800"]},
        WORDS | {"tokens": ["<unk>", " one"]},
        WORDS | {"tokens": [" <unk>", " one", " one"]},
        WORDS | {"tokens": [" <unk>", " one", " two\udfff"]},
    ],
    ids=repr,
)
def test_vocabulary_of_a_bad_form_is_refused(bad: Any) -> None:
    with pytest.raises(OptionError, match="the vocabulary"):
        Vocabulary.from_json(bad)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("I don't,\n", ["I", " don't", ",", "\n"]),
        ("हिन्दी है।", ["हिन्दी", " है", "।"]),
        ("«oui» (x_1)", ["«", "oui", "»", " (", "x_1", ")"]),
        ("東京、京都。", ["東京", "、", "京都", "。"]),
        ("「はい」『x』《中》〈a〉【b】", [*"「", "はい", *"」『x』《中》〈a〉【b】"]),
        ("{a} b|c~", ["{", "a", "}", " b", "|", "c", "~"]),
        ("یہ ہے۔", ["یہ", " ہے", "۔"]),
        ("ես։ ሰላም።", ["ես", "։", " ሰላም", "።"]),
        ("¿Qué? ¡No!", ["¿", "Qué", "?", " ¡", "No", "!"]),
        ("a—b، c，d…？", ["a", "—", "b", "،", " c", "，", "d", "…", "？"]),
        ("e\u0301te\u0301 3%", ["e\u0301te\u0301", " 3", "%"]),
        ("co\u00adop®", ["co\u00adop", "®"]),  # a hyphen that is seen only at the end of a line
    ],
)
def test_prose_sets_punctuation_apart_and_keeps_words_whole(text: str, tokens: list[str]) -> None:
    known = Vocabulary("word", "prose", (UNKNOWN["word"], *sorted(set(tokens))))
    assert [known.tokens[i] for i in known.encode(text)] == tokens


def test_a_token_has_so_many_characters_at_most() -> None:
    """Each that is drawn takes as much room: a forged one of a megabyte would take that for each token."""
    text = ("a" * 10_000 + "\n" + "b" * 10_001 + "\n") * 2
    known = build(text, CorpusConfig(level="word", words="space"))
    assert known.tokens[1:] == ("\n", "a" * 10_000)
    data = {"level": "word", "words": "space", "tokens": [" <unk>", "b" * 10_001]}
    with pytest.raises(OptionError, match="a token of more than 10,000 characters"):
        Vocabulary.from_json(data)
    assert len(Vocabulary.from_json(data | {"tokens": [" <unk>", "b" * 10_000]})) == 2


@pytest.mark.parametrize("chunk", [5, 1000])
@pytest.mark.parametrize("level", ["char", "word"])
def test_lengths_are_those_of_the_tokens(
    level: Level, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary_module, "_CHUNK", chunk)
    text = "I am  ill, said Zoë.\n\n"
    vocabulary = build(text, CorpusConfig(level=level, min_count=1))
    assert vocabulary.lengths(text).tolist() == [len(token) for token in vocabulary.tokenize(text)]
    assert vocabulary.lengths("").tolist() == []


def test_lengths_of_characters_take_no_memory() -> None:
    assert build("ab", CorpusConfig(min_count=1)).lengths("ab" * 50).strides == (0,)


def test_a_second_unk_is_refused() -> None:
    data = {"level": "word", "words": "prose", "tokens": [" <unk>", " <unk>", " a"]}
    with pytest.raises(OptionError, match="distinct tokens"):
        Vocabulary.from_json(data)


def test_what_no_token_can_write_is_told_once_each() -> None:
    known = complete("abc", "char")
    assert known.cannot_write("a<u>bu") == ["<", "u", ">"]  # though <unk> has them
