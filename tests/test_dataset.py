"""A text and how it is to be cut become what a run trains and validates on."""

import hashlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmgen import corpus, dataset
from lstmgen.batching import fitting_batch
from lstmgen.config import CorpusConfig
from lstmgen.corpus import Text
from lstmgen.dataset import Dataset, prepare, require_enough, with_unknown
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
        require_enough(data, window)
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


def test_symbols_of_another_vocabulary_are_known_besides() -> None:
    other = Vocabulary("char", "prose", ("<unk>", "b", "c"))
    data = prepare(Text("x", "abababzz"), CHARS, seed=0, besides=other)
    assert data.vocabulary.tokens == ("<unk>", "a", "b", "c")
    assert len(data.counts) == 4


def test_the_share_that_another_vocabulary_knows_is_of_tokens() -> None:
    data = prepare(
        Text("x", "aabcaabcaaaa"), CHARS, seed=0
    )  # nine to train on, one of them to be <unk>
    shares = {}
    for tokens in ("", "a", "bc", "abcz"):
        other = Vocabulary("char", "prose", ("<unk>", *tokens))
        counts = [
            int(data.counts[data.vocabulary.ids[t]]) for t in tokens if t in data.vocabulary.ids
        ]
        shares[tokens] = data.share_known(other)
        assert shares[tokens] == sum(counts) / 9
    assert 0 == shares[""] < shares["bc"] < shares["a"] < shares["abcz"] == 8 / 9


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
    """So that streams can be made of it, and there is something to divide by."""
    data = of_length(size, fraction)
    possible = fitting_batch(len(data.train_ids), 32, window) > 0 and len(data.valid_ids) > 0
    assert enough(size, fraction, window) == possible


def test_refusal_names_file_size_and_window() -> None:
    with pytest.raises(
        CorpusError,
        match=r"^tale\.txt: it has 36 tokens to train on and 4 to validate on, and needs 64 .* --window$",
    ):
        require_enough(of_length(40, 0.1), 64)


def test_where_most_is_held_out_refusal_names_that() -> None:
    with pytest.raises(CorpusError, match=r"tokens to train on .* or a smaller --valid-fraction"):
        require_enough(of_length(100, 0.9), 64)


def test_where_next_to_nothing_is_held_out_refusal_names_that() -> None:
    with pytest.raises(CorpusError, match=r"0 to validate on.* or a larger --valid-fraction"):
        require_enough(of_length(1000, 1e-17), 64)
    with pytest.raises(CorpusError, match=r"0 to validate on.* or a smaller --window"):
        require_enough(of_length(50, 1e-17), 64)
    with pytest.raises(CorpusError, match=r"0 to validate on.* or a larger --valid-fraction$"):
        require_enough(of_length(50, 1e-17), 1)
    both = r"64 tokens to train on and 0 .* or a larger --valid-fraction and a smaller --window$"
    with pytest.raises(CorpusError, match=both):
        require_enough(of_length(64, 1e-17), 64)


def test_where_all_of_the_text_is_too_short_refusal_names_the_window() -> None:
    with pytest.raises(CorpusError, match=r"8 tokens to train on .* or a smaller --window"):
        require_enough(of_length(20, 0.6), 64)


def test_where_the_other_part_is_a_file_of_its_own_refusal_names_the_window() -> None:
    data = prepare(Text("x", "ab" * 15), CHARS, seed=0, held_out=Text("y", "ab" * 500))
    with pytest.raises(CorpusError, match=r"it has 30 tokens .* or a smaller --window"):
        require_enough(data, 64)


def test_where_no_window_is_small_enough_refusal_names_what_helps() -> None:
    with pytest.raises(CorpusError, match=r"give more text, or a smaller --valid-fraction"):
        require_enough(of_length(2, 0.9), 1)
    with pytest.raises(CorpusError, match=r"or a smaller --valid-fraction and --window$"):
        require_enough(of_length(3, 0.9), 64)
    with pytest.raises(CorpusError, match=r"give more text$"):
        require_enough(of_length(1, 0.1), 1)


@given(st.integers(1, 30_000), st.integers(0, 5), st.integers(0, 9))
def test_unk_is_put_in_one_place_in_10_000_and_nothing_else_changes(
    num_tokens: int, already: int, seed: int
) -> None:
    ids = np.ones(num_tokens, np.uint8)
    ids[:already] = UNKNOWN_ID
    before = int((ids == UNKNOWN_ID).sum())
    original = ids.copy()
    changed, placed = with_unknown(ids, np.random.default_rng(seed))
    after = int((changed == UNKNOWN_ID).sum())
    assert after == max(before, -(-num_tokens // 10_000))
    assert placed == after - before
    assert int((changed != original).sum()) == placed
    np.testing.assert_array_equal(ids, original)


@pytest.mark.parametrize(("num_tokens", "placed"), [(1, 1), (10_000, 1), (10_001, 2), (50_000, 5)])
def test_text_without_unk_gets_exactly_its_share(num_tokens: int, placed: int) -> None:
    changed, told = with_unknown(np.full(num_tokens, 7, np.uint8), np.random.default_rng(0))
    assert told == placed
    assert int((changed == UNKNOWN_ID).sum()) == placed


def test_text_that_has_its_share_of_unk_is_left_alone() -> None:
    ids = np.array([5, UNKNOWN_ID, 6] * 100, np.uint8)
    changed, placed = with_unknown(ids, np.random.default_rng(0))
    assert placed == 0
    np.testing.assert_array_equal(changed, ids)


@given(st.lists(st.integers(0, 2), min_size=4, max_size=60), st.integers(0, 99))
def test_unk_takes_the_place_of_known_tokens_drawn_among_all_of_them(
    tokens: list[int], seed: int
) -> None:
    ids = np.array(tokens, np.uint8)
    known = np.flatnonzero(ids != UNKNOWN_ID)
    missing = -(-len(ids) // 2) - (len(ids) - len(known))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "UNKNOWN_SHARE", 0.5)
        changed, placed = with_unknown(ids, np.random.default_rng(seed))
    assert placed == max(0, missing)
    if missing > 0:
        ids[np.random.default_rng(seed).choice(known, missing, replace=False)] = UNKNOWN_ID
    np.testing.assert_array_equal(changed, ids)


def test_places_of_unk_depend_on_the_seed_alone() -> None:
    ids = np.full(100_000, 7, np.uint8)

    def places(seed: int) -> list[int]:
        return np.flatnonzero(with_unknown(ids, np.random.default_rng(seed))[0] == 0).tolist()

    assert places(1) == places(1)
    assert places(1) != places(2)


def test_unk_never_takes_the_place_of_unk() -> None:
    ids = np.ones(30_001, np.uint8)
    ids[:2] = UNKNOWN_ID
    for seed in range(200):
        changed, placed = with_unknown(ids, np.random.default_rng(seed))
        assert placed == 2
        assert np.count_nonzero(changed == UNKNOWN_ID) == 4


@pytest.mark.parametrize(("end", "most"), [("", 4), ("\u201d", 5), ("\U0001f600", 7.5)])
def test_a_text_takes_so_many_bytes_a_character_while_it_is_cut_and_one_later(
    tmp_path: Path, end: str, most: float
) -> None:
    path, characters = tmp_path / "a.txt", 5_400_000
    path.write_text("Ann went to Rome.\n" * (characters // 18) + end, "utf-8")
    tracemalloc.start()
    try:
        data = prepare(corpus.read(str(path)), CorpusConfig(), seed=0)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(data.train_ids) + len(data.valid_ids) == characters + len(end)
    assert peak / characters == pytest.approx(most, abs=0.5)
    assert after / characters < 1.1
