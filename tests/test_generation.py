"""Primes become texts: in order, ended by length or at a stop string, and the same streamed or not."""

from collections.abc import Iterator, Sequence
from itertools import count, islice
from math import exp, isnan, log
from typing import Any

import numpy as np
import pytest
from engines import Stateless, Weights, random_weights, spelled_out
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstmgen import generation
from lstmgen.beam_search import search
from lstmgen.cells import Cells
from lstmgen.config import DecodingConfig, ModelConfig
from lstmgen.generation import BATCH_SIZE, MAX_HELD, Generated, Prime, generate, stream
from lstmgen.vocabulary import UNKNOWN, Vocabulary

CONFIG = ModelConfig(vocab_size=29, num_layers=2, hidden_size=8, embedding_size=6)
GREEDY = DecodingConfig(temperature=0)
FREE = DecodingConfig(temperature=1.5)


class Successor(Stateless):
    """An engine that is certain: after each token comes the one with the next id, round and round."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocab_size = len(vocabulary)
        self.tokens_read = 0

    def read(self, ids: NDArray[Any], state: Any) -> tuple[NDArray[Any], Any]:
        self.tokens_read += ids.size
        following = np.maximum((ids.astype(int) + 1) % self.vocab_size, 1)
        return 50.0 * np.eye(self.vocab_size, dtype=np.float32)[following], state


@pytest.fixture
def weights() -> Weights:
    return random_weights(CONFIG, scale=0.8)


@pytest.fixture
def cells(weights: Weights) -> Cells:
    return Cells(CONFIG, weights)


def words(*tokens: str) -> Vocabulary:
    """A vocabulary by word whose `Successor` writes the tokens in sorted order."""
    return Vocabulary("word", "space", (UNKNOWN["word"], *sorted(tokens)))


def after(vocabulary: Vocabulary, prime: str, length: int, *stops: str) -> Generated:
    """What the `Successor` writes after a prime."""
    (text,) = generate(
        Successor(vocabulary), vocabulary, [Prime(prime, 0)],
        decoding=GREEDY, length=length, stops=stops,
    )  # fmt: skip
    return text


def test_text_goes_on_from_its_prime_for_the_length_asked(letters: Vocabulary) -> None:
    text = after(letters, "abc", 5)
    assert (text.prime, text.text, text.tokens, text.stop) == ("abc", "defgh", 5, "length")


def test_text_without_a_prime_goes_on_from_a_line_end(letters: Vocabulary) -> None:
    assert after(letters, "", 3).text == " ab"  # the blank follows the line end in `letters`


def test_length_0_writes_nothing(letters: Vocabulary) -> None:
    text = after(letters, "abc", 0)
    assert (text.text, text.tokens, text.nats, text.stop) == ("", 0, 0.0, "length")


@pytest.mark.parametrize("stop", ["g", "fg", "efg", "defg"])
def test_stop_string_ends_the_text_and_is_left_out_however_many_tokens_it_spans(
    letters: Vocabulary, stop: str
) -> None:
    text = after(letters, "c", 20, stop)
    assert text.text + stop == "defg"
    assert (text.tokens, text.stop) == (4, stop)


def test_stop_string_in_the_prime_or_across_its_end_is_none(letters: Vocabulary) -> None:
    assert after(letters, "abc", 4, "bc", "cd").text == "defg"


@pytest.mark.parametrize("stops", [("efg", "f"), ("f", "efg")])
def test_stop_string_that_is_complete_first_ends_the_text(
    letters: Vocabulary, stops: tuple[str, str]
) -> None:
    text = after(letters, "c", 20, *stops)
    assert (text.text, text.stop) == ("de", "f")


@pytest.mark.parametrize("stops", [("xy", "wxyz", "wx"), ("wx", "wxyz", "y"), ("xyz", "wx")])
def test_of_stop_strings_in_one_token_the_earliest_and_then_the_longest_wins(
    stops: tuple[str, ...],
) -> None:
    vocabulary = words(" a", " bvwxyz", " c")
    text = after(vocabulary, " a", 20, *stops)
    assert (text.text, text.stop) == (" bv", "wxyz" if "wxyz" in stops else "wx")


def test_stop_string_may_begin_and_end_inside_tokens() -> None:
    text = after(words(" one", " pane", " quit"), " one", 20, "ne qu")
    assert (text.text, text.tokens, text.stop) == (" pa", 2, "ne qu")


@pytest.mark.parametrize(("token", "text"), [(" aa", " "), (" aaa", " a"), (" baa", " b")])
def test_stop_string_that_begins_again_inside_itself_is_found(token: str, text: str) -> None:
    # All of the last two `a` may belong to it, not the last alone.
    assert after(words(" a", token, "b"), " a", 2, "aab").text == text


def test_stop_at_the_very_last_token_counts_as_a_stop(letters: Vocabulary) -> None:
    assert after(letters, "c", 4, "fg").stop == "fg"


@pytest.mark.parametrize("stop", ["fgz", "gfedcba", "g" * 99])
def test_what_was_held_back_for_a_stop_that_never_came_is_given_out_at_the_end(
    letters: Vocabulary, stop: str
) -> None:
    text = after(letters, "c", 4, stop)
    assert (text.text, text.stop) == ("defg", "length")


def pieces(
    letters: Vocabulary, length: int, stops: Sequence[str], prime: str = "c"
) -> Iterator[str]:
    return stream(
        Successor(letters), letters, Prime(prime, 0), decoding=GREEDY, length=length, stops=stops
    )


def test_stream_gives_each_piece_as_soon_as_it_is_certain(letters: Vocabulary) -> None:
    assert list(pieces(letters, 4, [])) == ["d", "e", "f", "g"]
    assert list(pieces(letters, 6, ["fgx"])) == ["d", "e", "fgh", "i"]
    assert list(pieces(letters, 4, ["fgx"])) == ["d", "e", "fg"]
    assert list(pieces(letters, 9, ["gh", "hi"])) == ["d", "e", "f"]


def test_stream_reads_no_further_than_it_must(letters: Vocabulary) -> None:
    engine = Successor(letters)
    flow = stream(engine, letters, Prime("c", 0), decoding=GREEDY, length=10**9)
    assert list(islice(flow, 3)) == ["d", "e", "f"]
    assert engine.tokens_read == 2 + 2  # the line end and the prime; then each piece but the last


def test_stream_of_length_0_is_empty(letters: Vocabulary) -> None:
    assert list(pieces(letters, 0, [])) == []


@given(st.integers(0, 2**32), st.lists(st.text("abcde \n", min_size=1, max_size=3), max_size=4))
def test_streamed_pieces_joined_are_the_text_generated_with_the_same_seed(
    letters: Vocabulary, seed: int, stops: list[str]
) -> None:
    engine = Cells(CONFIG, random_weights(CONFIG, scale=0.8))
    prime = Prime("qu", seed)
    (text,) = generate(engine, letters, [prime], decoding=FREE, length=30, stops=stops)
    flow = list(stream(engine, letters, prime, decoding=FREE, length=30, stops=stops))
    assert "".join(flow) == text.text
    assert "" not in flow
    assert not any(stop in text.text for stop in stops)


def test_texts_keep_the_order_of_their_primes_whichever_ends_first(letters: Vocabulary) -> None:
    primes = [Prime(prime, 0) for prime in ("a", "x", "m", "y", "n", "b")]
    texts = list(
        generate(Successor(letters), letters, primes, decoding=GREEDY, length=18, stops=["z"])
    )
    assert [text.prime for text in texts] == ["a", "x", "m", "y", "n", "b"]
    assert [text.text for text in texts] == [
        "bcdefghijklmnopqrs", "y", "nopqrstuvwxy", "", "opqrstuvwxy", "cdefghijklmnopqrst",
    ]  # fmt: skip
    assert [text.stop for text in texts] == ["length", "z", "z", "z", "z", "length"]


def test_what_goes_wrong_with_a_prime_comes_after_the_texts_before_it(
    letters: Vocabulary,
) -> None:
    def primes() -> Iterator[Prime]:
        yield from (Prime("a", 0), Prime("b", 1))
        raise UnicodeError("no text")

    texts = generate(Successor(letters), letters, primes(), decoding=GREEDY, length=3)
    assert [next(texts).text, next(texts).text] == ["bcd", "cde"]
    with pytest.raises(UnicodeError, match="no text"):
        next(texts)


def test_texts_that_have_ended_cost_nothing_more(letters: Vocabulary) -> None:
    engine = Successor(letters)
    primes = [Prime("a", 0), *[Prime("y", 0)] * 9]
    list(generate(engine, letters, primes, decoding=GREEDY, length=18, stops=["z"]))
    assert engine.tokens_read == 4 + 17  # two primes with their line ends; then the long text alone


def test_more_texts_than_a_batch_come_each_as_if_alone(cells: Cells, letters: Vocabulary) -> None:
    primes = [Prime("ab"[i % 2], i) for i in range(2 * BATCH_SIZE + 5)]
    texts = list(generate(cells, letters, primes, decoding=FREE, length=8, stops=["e"]))
    assert [(text.prime, text.seed) for text in texts] == [(p.text, p.seed) for p in primes]
    for i in (0, 1, BATCH_SIZE - 1, BATCH_SIZE, 2 * BATCH_SIZE + 4):
        (alone,) = generate(cells, letters, [primes[i]], decoding=FREE, length=8, stops=["e"])
        assert (alone.text, alone.stop, alone.tokens) == (
            texts[i].text, texts[i].stop, texts[i].tokens,
        )  # fmt: skip
        assert alone.nats == pytest.approx(texts[i].nats, rel=1e-5)


def test_texts_are_the_same_where_nobody_wants_to_know_their_nats(
    cells: Cells, letters: Vocabulary
) -> None:
    primes = [Prime("a", seed) for seed in range(5)]
    known, unknown = (
        list(generate(cells, letters, primes, decoding=FREE, length=8, with_nats=with_nats))
        for with_nats in (True, False)
    )
    assert [text.text for text in known] == [text.text for text in unknown]
    assert all(isnan(text.nats) for text in unknown)


def test_primes_are_taken_a_batch_at_a_time_from_a_source_without_end(letters: Vocabulary) -> None:
    taken: list[int] = []

    def source() -> Iterator[Prime]:
        for seed in count():
            taken.append(seed)
            yield Prime("a", seed)

    texts = generate(Successor(letters), letters, source(), decoding=GREEDY, length=2)
    assert [text.seed for text in islice(texts, BATCH_SIZE)] == list(range(BATCH_SIZE))
    assert len(taken) == BATCH_SIZE


def test_texts_that_end_make_room_for_others(letters: Vocabulary) -> None:
    # One long text and many short ones: the short ones must not wait until the long one has ended.
    engine = Successor(letters)
    primes = [Prime("a", 0), *[Prime("y", i) for i in range(1, 5 * BATCH_SIZE)]]
    taken: list[str] = []

    def source() -> Iterator[Prime]:
        for prime in primes:
            taken.append(prime.text)
            yield prime

    texts = generate(engine, letters, source(), decoding=GREEDY, length=18, stops=["z"])
    assert next(texts).tokens == 18
    assert len(taken) == len(primes)
    assert [text.seed for text in texts] == list(range(1, 5 * BATCH_SIZE))


def test_finished_texts_that_wait_for_a_long_one_are_limited(letters: Vocabulary) -> None:
    taken = 0

    def source() -> Iterator[Prime]:
        nonlocal taken
        yield Prime("z", 0)  # takes 28 tokens to come to the next z
        for seed in count(1):
            taken += 1
            yield Prime("y", seed)  # takes one

    texts = generate(Successor(letters), letters, source(), decoding=GREEDY, length=99, stops=["z"])
    assert next(texts).tokens == 28
    assert BATCH_SIZE < taken <= MAX_HELD


def test_texts_under_way_do_not_wait_for_a_prime_that_is_not_there_yet(
    letters: Vocabulary,
) -> None:
    events: list[str] = []

    def source() -> Iterator[Prime]:
        for name in "ab":
            events.append(f"take {name}")
            yield Prime(name, 0)
        events.append("end")

    texts = generate(
        Successor(letters), letters, source(), decoding=GREEDY, length=3, ready=lambda: False
    )
    for text in texts:
        events.append(f"give {text.prime}")  # noqa: PERF401  # the source appends in between
    assert events == ["take a", "give a", "take b", "give b", "end"]


def test_a_prime_that_texts_in_turn_share_is_encoded_once(
    letters: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    encode = Vocabulary.encode

    def counted(vocabulary: Vocabulary, text: str) -> Any:
        encoded.append(text)
        return encode(vocabulary, text)

    monkeypatch.setattr(Vocabulary, "encode", counted)
    primes = [Prime("ab", seed) for seed in range(BATCH_SIZE + 9)] + [Prime("b", 2), Prime("", 3)]
    texts = list(generate(Successor(letters), letters, primes, decoding=GREEDY, length=2))
    assert [text.prime for text in texts] == [prime.text for prime in primes]
    assert encoded == ["ab", "b", ""]


def test_no_primes_give_no_texts(letters: Vocabulary) -> None:
    assert list(generate(Successor(letters), letters, [], decoding=GREEDY, length=9)) == []


@pytest.mark.parametrize("stops", [[], ["q"]])
def test_nats_are_what_the_drawn_tokens_cost_the_model_by_hand(
    cells: Cells, weights: Weights, letters: Vocabulary, stops: list[str]
) -> None:
    decoding = DecodingConfig(temperature=0.7, top_k=9, repetition_penalty=1.2)
    (text,) = generate(cells, letters, [Prime("hi ", 1)], decoding=decoding, length=40, stops=stops)
    assert text.stop == (stops[0] if stops else "length")
    drawn = [letters.ids[c] for c in text.text + "".join(stops)]
    assert text.tokens == len(drawn)
    read = [letters.ids[c] for c in "\nhi "] + drawn
    logits = spelled_out(CONFIG, weights, read)
    expected = sum(
        log(sum(map(exp, row))) - row[following]
        for row, following in zip(logits[3:-1], drawn, strict=True)
    )
    assert text.nats == pytest.approx(expected, rel=1e-5)


def test_json_holds_every_fact_under_its_name(letters: Vocabulary) -> None:
    (text,) = generate(
        Successor(letters), letters, [Prime("c", 17)], decoding=GREEDY, length=9, stops=["f"]
    )
    assert text.to_json() == {
        "prime": "c",
        "text": "de",
        "tokens": 3,
        "nats": pytest.approx(0, abs=1e-6),
        "stop": "f",
        "seed": 17,
    }


class Words(Stateless):
    """A network that finds one token after the other the likeliest, whatever it reads."""

    vocab_size = 3

    def read(self, ids: NDArray[Any], state: Any) -> tuple[Any, Any]:
        hidden = np.zeros((*ids.shape, 3))
        hidden[..., 1] = 9.0
        return hidden, state


@pytest.mark.parametrize(("prime", "text"), [("I am ", "ill ill"), ("I am", " ill ill")])
def test_by_word_no_blank_comes_twice_after_a_prime(prime: str, text: str) -> None:
    words = Vocabulary("word", "prose", (" <unk>", " ill", " well"))
    how: Any = {"decoding": DecodingConfig(temperature=0), "length": 2}
    assert "".join(stream(Words(), words, Prime(prime, 0), **how)) == text
    assert [one.text for one in generate(Words(), words, [Prime(prime, 0)], **how)] == [text]
    assert search(Words(), words, prime, num_beams=1, length=2)[0].text == text


def test_by_word_a_blank_that_was_typed_is_followed_by_a_word_that_has_one() -> None:
    """The likeliest token here is the full stop, which would have stood right after the word."""
    vocabulary = Vocabulary("word", "prose", (" <unk>", " ill", " well", "."))

    class Ending(Stateless):
        vocab_size = 4

        def read(self, ids: NDArray[Any], state: Any) -> tuple[Any, Any]:
            hidden = np.zeros((*ids.shape, 4))
            hidden[..., 1:] = 2.0, 1.0, 9.0
            return hidden, state

    how: Any = {"decoding": DecodingConfig(temperature=0), "length": 2}
    for prime, text in (("I am", ".."), ("I am ", "ill.")):
        assert "".join(stream(Ending(), vocabulary, Prime(prime, 0), **how)) == text
        primes = [Prime("I am", 0), Prime(prime, 1), Prime("I am", 2)]
        found = list(generate(Ending(), vocabulary, primes, **how))
        assert [one.text for one in found] == ["..", text, ".."]
        assert search(Ending(), vocabulary, prime, num_beams=1, length=2)[0].text == text
    of_words = log(1 + exp(-1.0) + exp(-2.0))  # between those that it may be, and the unknown ones
    of_all = log(1 + exp(-7.0) + exp(-8.0) + exp(-9.0))
    (one,) = generate(Ending(), vocabulary, [Prime("I am ", 0)], **how)
    assert one.nats == pytest.approx(of_words + of_all)


def test_by_word_a_prime_is_read_as_its_words_however_it_begins_and_ends() -> None:
    vocabulary = words(" a", " b", " c")
    for prime in ("a", " a", "a "):
        assert after(vocabulary, prime, 1).text.strip() == "b"


@pytest.mark.parametrize(("rows", "most"), [(7.0, 7), (0.5, 1)])
def test_texts_whose_logits_would_fill_the_memory_are_fewer_side_by_side(
    rows: float, most: int, letters: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []

    class Watched(Successor):
        def read(self, ids: NDArray[Any], state: Any) -> Any:
            widths.append(len(ids))
            return super().read(ids, state)

    engine = Watched(letters)
    primes = [Prime("ab"[i % 2], i) for i in range(20)]
    expected = list(generate(engine, letters, primes, decoding=GREEDY, length=5))
    assert max(widths) == 20
    widths.clear()
    limit = int(rows * engine.vocab_size)
    monkeypatch.setattr(generation, "MAX_LOGITS_SIDE_BY_SIDE", limit)
    assert list(generate(engine, letters, primes, decoding=GREEDY, length=5)) == expected
    assert max(widths) == most
