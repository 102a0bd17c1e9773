"""A beam finds the likeliest texts: all of them where it is wide enough."""

from itertools import product
from math import log
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from engines import Stateless, random_weights
from numpy.typing import NDArray

from lstmgen import beam_search
from lstmgen.beam_search import _costs, _least, search
from lstmgen.cells import Cells
from lstmgen.config import DecodingConfig, ModelConfig
from lstmgen.generation import Prime, generate
from lstmgen.model import TorchEngine, load_network
from lstmgen.scoring import cross_entropy
from lstmgen.vocabulary import UNKNOWN, Vocabulary

SMALL = Vocabulary("char", "prose", (UNKNOWN["char"], "\n", "a", "b"))


class Fork(Stateless):
    """An engine that leads astray: `a` is likelier than `b`, but after `a` all is open, after `b` sure."""

    following: ClassVar = {
        1: (1e-9, 1e-9, 0.6, 0.4),
        2: (0.1, 0.3, 0.3, 0.3),
        3: (1e-9, 1e-9, 0.01, 0.99),
    }

    def read(self, ids: NDArray[Any], state: Any) -> tuple[NDArray[Any], Any]:
        return np.log([[self.following[int(i)] for i in row] for row in ids]), state


def cells(vocabulary: Vocabulary) -> Cells:
    config = ModelConfig(vocab_size=len(vocabulary), hidden_size=8, embedding_size=6)
    return Cells(config, random_weights(config, scale=0.8), np.float64)


def cost(engine: Cells, vocabulary: Vocabulary, prime: str, text: str) -> float:
    """What a text costs after a prime, read in one piece."""
    ids = np.concatenate([[vocabulary.start_id], vocabulary.encode(prime + text)])[None]
    logits, _ = engine(ids[:, :-1], engine.initial_state(1))
    return float(cross_entropy(logits, ids[:, 1:])[0, len(vocabulary.encode(prime)) :].sum())


def test_a_likelier_text_behind_a_less_likely_token_is_found() -> None:
    (greedy,) = search(Fork(), SMALL, "", num_beams=1, length=2)
    best, second = search(Fork(), SMALL, "", num_beams=2, length=2)
    assert (greedy.text, best.text) == ("a\n", "bb")
    assert greedy.nats == pytest.approx(-log(0.6 * 0.3))
    assert best.nats == pytest.approx(-log(0.4 * 0.99))
    assert second == greedy


class Ending(Stateless):
    """An engine after whose `a` four tokens are likely that end a text, and then `b`."""

    following: ClassVar = {
        1: (1e-9, 1e-9, 1e-9, 1e-9, 1e-4, 1e-9, 0.9, 1e-9),
        6: (1e-9, 1e-9, 0.245, 0.245, 0.245, 0.245, 1e-9, 0.02),
    }

    def read(self, ids: NDArray[Any], state: Any) -> tuple[NDArray[Any], Any]:
        return np.log([[self.following[int(i)] for i in row] for row in ids]), state


def test_texts_that_end_alike_keep_no_likelier_one_from_being_found() -> None:
    marks = Vocabulary("char", "prose", (UNKNOWN["char"], *"\n!,.?ab"))
    texts = search(Ending(), marks, "", num_beams=2, length=2, stops=tuple("!,.?"))
    assert [text.text for text in texts] == ["a", "ab"]


def test_a_beam_as_wide_as_all_texts_finds_them_all_in_order() -> None:
    engine = cells(SMALL)
    found = search(engine, SMALL, "ab", num_beams=3**4, length=4)
    texts = ["".join(tokens) for tokens in product("\nab", repeat=4)]
    wanted = sorted((cost(engine, SMALL, "ab", text), text) for text in texts)
    assert [one.text for one in found] == [text for _, text in wanted]
    assert [one.nats for one in found] == pytest.approx([nats for nats, _ in wanted])
    assert {(one.prime, one.tokens, one.stop, one.seed) for one in found} == {
        ("ab", 4, "length", None)
    }


@pytest.mark.parametrize("stops", [(), ("e",), ("ab", "ca", "h")])
def test_a_beam_of_one_is_greedy(letters: Vocabulary, stops: tuple[str, ...]) -> None:
    engine = cells(letters)
    for prime in ("", "a", "fgh", "xyz"):
        how: Any = {"length": 30, "stops": stops}
        (found,) = search(engine, letters, prime, num_beams=1, **how)
        greedy = DecodingConfig(temperature=0)
        (wanted,) = generate(engine, letters, [Prime(prime, 0)], decoding=greedy, **how)
        assert (found.text, found.tokens, found.stop) == (wanted.text, wanted.tokens, wanted.stop)
        assert found.nats == pytest.approx(wanted.nats)


def test_what_is_found_costs_what_it_says_and_comes_once(letters: Vocabulary) -> None:
    engine = cells(letters)
    found = search(engine, letters, "hello", num_beams=7, length=25)
    for one in found:
        assert one.nats == pytest.approx(cost(engine, letters, "hello", one.text))
    assert len({one.text for one in found}) == 7
    assert found[0].nats < search(engine, letters, "hello", num_beams=1, length=25)[0].nats


def test_texts_that_end_stand_beside_those_that_go_on() -> None:
    engine = cells(SMALL)
    found = search(engine, SMALL, "", num_beams=50, length=3, stops=["b"])
    ended = {one.text: one for one in found if one.stop == "b"}
    assert set(ended) == {"".join(t) for n in range(3) for t in product("\na", repeat=n)}
    assert {one.text for one in found if one.stop == "length"} == {
        "".join(tokens) for tokens in product("\na", repeat=3)
    }
    for text, one in ended.items():
        assert one.tokens == len(text) + 1
        assert one.nats == pytest.approx(cost(engine, SMALL, "", text + "b"))
    assert [one.nats for one in found] == sorted(one.nats for one in found)


def test_there_may_be_fewer_texts_than_beams() -> None:
    engine = cells(SMALL)
    assert len(search(engine, SMALL, "", num_beams=99, length=2)) == 9
    (nothing,) = search(engine, SMALL, "a", num_beams=99, length=0)
    assert (nothing.text, nothing.tokens, nothing.nats, nothing.stop) == ("", 0, 0.0, "length")


def test_torch_finds_what_numpy_finds(letters: Vocabulary) -> None:
    config = ModelConfig(vocab_size=len(letters), hidden_size=8, embedding_size=6)
    weights = random_weights(config, scale=0.8)
    there = TorchEngine(load_network(config, weights, torch.device("cpu")))
    how: Any = {"num_beams": 4, "length": 15}
    wanted = search(Cells(config, weights), letters, "hi", **how)
    assert [one.text for one in search(there, letters, "hi", **how)] == [one.text for one in wanted]


class Even(Stateless):
    """A network to which all tokens are equally likely."""

    def read(self, ids: NDArray[Any], state: Any) -> tuple[Any, Any]:
        return np.zeros((*ids.shape, 4)), state


def test_texts_that_end_in_the_same_words_come_once() -> None:
    words = Vocabulary("word", "space", (" <unk>", " a.", " a.b", " c"))
    found = search(Even(), words, "", num_beams=4, length=1, stops=["."])
    assert [one.text for one in found] == [" a", " c"]


def test_however_many_end_in_the_same_words_others_are_found() -> None:
    """Of ten tokens the eight likeliest end at once in the same words; two beams still find two texts."""
    words = Vocabulary("word", "space", (" <unk>", *(f" a{i}." for i in range(8)), " b"))

    class Ten(Even):
        def logits(self, hidden: Any, symbols: slice = slice(None)) -> Any:
            logits = np.zeros((*hidden.shape[:-1], 10))
            logits[..., 9] = -5.0
            return logits[..., symbols]

    found = search(Ten(), words, "", num_beams=2, length=1, stops=[f"{i}." for i in range(8)])
    assert [one.text for one in found] == [" a", " b"]


def test_texts_that_are_the_same_make_room_for_others() -> None:
    """Of the four tokens two end in the same words; with a beam of three there are three texts."""
    words = Vocabulary("word", "space", (" <unk>", " a.", " a.b", " c", " d"))

    class Five(Even):
        def logits(self, hidden: Any, symbols: slice = slice(None)) -> Any:
            return np.zeros((*hidden.shape[:-1], 5))[..., symbols]

    found = search(Five(), words, "", num_beams=3, length=1, stops=["."])
    assert [one.text for one in found] == [" a", " c", " d"]


@pytest.mark.parametrize("rows", [1, 2, 3])  # that are looked at at once
@pytest.mark.parametrize("most", [20, 10**9])  # so that many are alike, or none
def test_the_least_totals_are_as_many_as_are_asked_for_or_as_there_are(
    most: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beam_search, "MAX_LOGITS_SIDE_BY_SIDE", 40 * rows + 39)
    nats = [1.0, 0.0, 2.0]
    drawn = np.random.default_rng(0).integers(0, most, 40) * (20 / most)
    logits = np.stack([np.roll(drawn, row) for row in range(3)])  # whose costs are alike
    totals = np.array(nats)[:, None] + _costs(logits)
    order = sorted(np.ndindex(totals.shape), key=lambda place: totals[place])
    finite = [(totals[place], *place) for place in order if np.isfinite(totals[place])]
    assert len(finite) == 117  # all but `<unk>`
    for count in (1, 2, 17, 116, 117, 118, 120, 500):
        assert _least(nats, logits, count) == finite[:count]
