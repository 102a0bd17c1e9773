"""A text and how it is to be cut become what a run trains and validates on."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmgen.config import CorpusConfig
from lstmgen.corpus import Text
from lstmgen.dataset import Dataset, prepare, require_enough
from lstmgen.errors import CorpusError
from lstmgen.vocabulary import UNKNOWN_ID, Vocabulary

CHARS = CorpusConfig(level="char", min_count=1, valid_fraction=0.25)


def of_length(num_characters: int, fraction: float, held_out: int = 0) -> Dataset:
    """A dataset by character, in which tokens are characters."""
    return prepare(
        Text("tale.txt", "a" * num_characters),
        CorpusConfig(level="char", min_count=1, valid_fraction=fraction),
        seed=0,
        held_out=Text("valid.txt", "a" * held_out) if held_out else None,
    )


def enough(num_characters: int, fraction: float, window: int, held_out: int = 0) -> bool:
    data = of_length(num_characters, fraction, held_out)
    try:
        require_enough(data, "tale.txt", window)
    except CorpusError:
        return False
    return True


def test_tail_is_held_out_and_characters_are_counted() -> None:
    data = prepare(
        Text("x", "aaaaaabb"), CHARS, seed=0, known=Vocabulary("char", "prose", ("<unk>", "a", "b"))
    )
    assert (data.train_characters, data.valid_characters) == (6, 2)
    assert data.valid_ids.tolist() == [2, 2]
    assert len(data.train_ids) == 6


def test_vocabulary_is_built_from_the_training_part_alone() -> None:
    data = prepare(Text("x", "abababzz"), CHARS, seed=0)
    assert data.vocabulary.tokens == ("<unk>", "a", "b")
    assert data.valid_ids.tolist() == [UNKNOWN_ID, UNKNOWN_ID]


def test_text_held_out_by_hand_is_validated_on_and_nothing_is_split_off() -> None:
    data = prepare(Text("x", "abababab"), CHARS, seed=0, held_out=Text("y", "bac"))
    assert (data.train_characters, data.valid_characters) == (8, 3)
    assert data.valid_ids.tolist() == [2, 1, 0]


def test_known_vocabulary_is_taken_as_it_is() -> None:
    known = Vocabulary("char", "prose", ("<unk>", "b", "c"))
    data = prepare(Text("x", "cacacaca"), CHARS, seed=0, known=known)
    assert data.vocabulary == known
    assert data.valid_ids.tolist() == [2, 0]


def test_unk_is_placed_in_training_but_never_in_validation() -> None:
    data = prepare(Text("x", "a" * 40_000), CHARS, seed=3)
    assert data.placed_unknown == 3
    assert np.flatnonzero(data.train_ids == UNKNOWN_ID).size == 3
    assert not (data.valid_ids == UNKNOWN_ID).any()


def test_same_seed_gives_the_same_ids() -> None:
    def ids(seed: int) -> list[int]:
        return list(prepare(Text("x", "a" * 40_000), CHARS, seed=seed).train_ids)

    assert ids(5) == ids(5)
    assert ids(5) != ids(6)


def test_facts_know_the_corpus_by_what_it_says_and_how_it_is_cut() -> None:
    data = prepare(Text("x", "abababab"), CHARS, seed=0, held_out=Text("y", "ba"))
    assert data.facts == {
        "level": "char",
        "words": "prose",
        "min_count": 1,
        "max_vocab": None,
        "valid_fraction": 0.25,
        "name": "x",
        "sha256": hashlib.sha256(b"abababab").hexdigest(),
        "valid_sha256": hashlib.sha256(b"ba").hexdigest(),
    }


@given(size=st.integers(2, 400), window=st.integers(1, 100), fraction=st.floats(0.005, 0.9))
def test_text_is_enough_where_it_fills_a_window_and_leaves_a_token_to_validate_on(
    size: int, window: int, fraction: float
) -> None:
    data = of_length(size, fraction)
    assert enough(size, fraction, window) == (
        data.train_characters >= window and data.valid_characters >= 1
    )


def test_refusal_names_file_size_and_window() -> None:
    with pytest.raises(
        CorpusError,
        match=r"it has 36 tokens to train on and 4 to validate on; it takes 64, .* a smaller --window",
    ):
        require_enough(of_length(40, 0.1), "tale.txt", 64)


def test_where_no_window_is_small_enough_refusal_names_what_helps() -> None:
    with pytest.raises(CorpusError, match=r"give more text, or a smaller --valid-fraction"):
        require_enough(of_length(2, 0.9), "tale.txt", 1)
