"""Scores by token, by line and of ends add up to what `scoring` says of the same text."""

import tracemalloc
from collections.abc import Iterator
from math import exp, log
from typing import Any

import numpy as np
import pytest
import torch
from engines import Weights, random_weights, score_of, spelled_out
from hypothesis import given
from hypothesis import strategies as st

from lstmgen import breakdown
from lstmgen.breakdown import Beginnings, begin_with, costs_and_ranks, score_lines, score_rows
from lstmgen.cells import Cells
from lstmgen.config import ModelConfig
from lstmgen.model import TorchEngine, load_network
from lstmgen.reading import Engine
from lstmgen.scoring import cross_entropy, score_ids
from lstmgen.vocabulary import Vocabulary

CONFIG = ModelConfig(vocab_size=29, num_layers=2, hidden_size=8, embedding_size=6)


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights(CONFIG, scale=0.8)


@pytest.fixture(scope="module")
def cells(weights: Weights) -> Cells:
    return Cells(CONFIG, weights)


def some_text(length: int) -> str:
    generator = np.random.default_rng(length)
    return "".join(generator.choice(list("abcdefgh \nq?"), length))


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 700, 5000, 9001])
def test_tokens_add_up_to_the_score_of_the_text(
    cells: Cells, letters: Vocabulary, length: int
) -> None:
    ids = letters.encode(some_text(length))
    costs, ranks = costs_and_ranks(cells, ids, letters.start_id)
    assert len(costs) == len(ranks) == length
    expected = score_ids(cells, ids, letters.start_id)
    assert costs.sum() == pytest.approx(expected, rel=1e-6)


def test_each_token_has_its_own_nats_and_rank(
    weights: Weights,
    cells: Cells,
    letters: Vocabulary,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = some_text(50)
    ids = letters.encode(text)
    logits = spelled_out(CONFIG, weights, [letters.start_id, *ids.tolist()])
    original = cells.logits
    for in_cache, least, most, rows in (
        (1 << 22, 1, 1 << 24, len(ids)),  # all logits at once
        (29, 1, 1 << 24, 1),
        (29, 64, 1 << 24, len(ids)),
        (29, 64, 3 * 29, 3),
        (0, 64, 0, 1),
    ):
        monkeypatch.setattr(breakdown, "MAX_LOGITS_IN_CACHE", in_cache)
        monkeypatch.setattr(breakdown, "MIN_ROWS", least)
        monkeypatch.setattr(breakdown, "MAX_RANKED_LOGITS", most)
        made = list[int]()

        def watched(hidden: Any, made: list[int] = made) -> Any:
            made.append(len(hidden))
            return original(hidden)

        with monkeypatch.context() as looking:
            looking.setattr(cells, "logits", watched)
            costs, ranks = costs_and_ranks(cells, ids, letters.start_id)
        assert max(made) == rows
        for row, target, cost, rank in zip(logits, ids.tolist(), costs, ranks, strict=False):
            assert cost == pytest.approx(log(sum(map(exp, row))) - row[target], abs=1e-5)
            order = sorted(range(29), key=lambda token, row=row: (-row[token], token))  # type: ignore[misc]
            assert rank == 1 + order.index(target)


def test_each_token_has_its_own_nats_in_a_text_that_is_cut_into_streams(
    cells: Cells, letters: Vocabulary
) -> None:
    ids = letters.encode(some_text(9001))
    costs, ranks = costs_and_ranks(cells, ids, letters.start_id)
    before = np.concatenate([[letters.start_id], ids[:-1]])
    logits, _ = cells(before[None], cells.initial_state(1))
    whole = cross_entropy(logits[0], ids.astype(np.int64))
    assert np.abs(costs - whole).max() < 1e-4
    likelier = (logits[0] > np.take_along_axis(logits[0], ids[:, None].astype(np.int64), 1)).sum(1)
    assert (ranks == 1 + likelier).mean() > 0.999


def test_of_equally_likely_tokens_the_lower_id_has_the_better_rank(letters: Vocabulary) -> None:
    zeros = {name: np.zeros(shape, np.float32) for name, shape in CONFIG.weight_shapes().items()}
    _, ranks = costs_and_ranks(
        Cells(CONFIG, zeros), np.array([0, 5, 28], np.uint8), letters.start_id
    )
    assert ranks.tolist() == [1, 6, 29]


lines_of_text = st.lists(st.text("abc x?", max_size=90).map(lambda line: line + "\n"), max_size=30)


@given(lines_of_text, st.integers(1, 7), st.integers(1, 200))
def test_each_line_has_the_score_of_a_text_of_its_own(
    cells: Cells, letters: Vocabulary, lines: list[str], pool: int, most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(breakdown, "POOL_LINES", pool)
        patch.setattr(breakdown, "POOL_CHARACTERS", most)
        scored = list(score_lines(cells, letters, lines))
    assert [line for line, _ in scored] == lines
    for line, score in scored:
        alone = score_of(cells, letters, line)
        assert score.nats == pytest.approx(alone.nats, rel=1e-5)
        assert score.to_json() | {"nats": 0, "nats_per_token": 0, "bits_per_character": 0,
                                  "perplexity": 0} == alone.to_json() | {
            "nats": 0, "nats_per_token": 0, "bits_per_character": 0, "perplexity": 0
        }  # fmt: skip


def test_a_long_line_takes_no_room_beside_short_ones(
    cells: Cells, letters: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []
    original = breakdown.score_rows

    def watched(engine: Cells, rows: list[Any], *about: Any, **how: Any) -> Any:
        widths.extend(len(row) for row in rows)
        return original(engine, rows, *about, **how)

    monkeypatch.setattr(breakdown, "score_rows", watched)
    list(score_lines(cells, letters, ["a\n", "b" * 9000 + "\n", "c\n"]))
    assert sorted(widths) == [0, 2, 2]


def test_long_texts_side_by_side_take_room_for_a_window_at_a_time(letters: Vocabulary) -> None:
    class Silent:
        """Guesses, and does no more."""

        vocab_size = len(letters)

        def select(self, state: None, streams: Any) -> None:
            return None

        def read(self, ids: Any, state: None) -> tuple[Any, None]:
            return np.zeros((*ids.shape, 1), np.float32), None

        def logits(self, hidden: Any, symbols: slice | None = None) -> Any:
            return np.zeros((len(hidden), len(range(self.vocab_size)[symbols or slice(None)])))

    length = 20_000
    rows = [np.zeros(length, letters.encode("a").dtype)] * breakdown.ROWS
    begun = Beginnings(None, [0])
    tracemalloc.start()
    nats = score_rows(Silent(), rows, begun, [0] * len(rows))  # type: ignore[arg-type]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert nats.tolist() == pytest.approx([length * np.log(len(letters))] * len(rows))
    assert peak < 4 * len(rows) * length  # bytes; their inputs alone would take twice as many


def test_a_long_line_is_scored_as_the_text_it_is(cells: Cells, letters: Vocabulary) -> None:
    line = some_text(9000).replace("\n", " ") + "\n"
    scored = list(score_lines(cells, letters, ["a\n", line, "b\n"]))
    assert [text for text, _ in scored] == ["a\n", line, "b\n"]
    assert scored[1][1].nats == pytest.approx(score_of(cells, letters, line).nats, rel=1e-6)


def test_more_lines_than_are_scored_side_by_side(cells: Cells, letters: Vocabulary) -> None:
    lines = [some_text(1 + i * 7 % 90).replace("\n", " ") + "\n" for i in range(300)]
    assert len(lines) > 2 * breakdown.ROWS
    scored = list(score_lines(cells, letters, lines))
    assert [line for line, _ in scored] == lines
    for line, score in scored:
        assert score.nats == pytest.approx(score_of(cells, letters, line).nats, rel=1e-5)


def test_a_line_goes_out_when_the_next_one_is_not_there_yet(
    cells: Cells, letters: Vocabulary
) -> None:
    taken: list[str] = []

    def source() -> Iterator[str]:
        for line in ("a\n", "b\n", "c\n"):
            taken.append(line)
            yield line

    scored = score_lines(cells, letters, source(), ready=lambda: len(taken) == 1)
    assert next(scored)[0] == "a\n"
    assert taken == ["a\n", "b\n"]  # b was there, c was not
    assert [next(scored)[0], next(scored)[0]] == ["b\n", "c\n"]


def test_an_endless_input_is_taken_in_pools(
    cells: Cells, letters: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0

    def source() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "abc\n"

    scored = score_lines(cells, letters, source())
    for _ in range(3000):
        next(scored)
    assert taken <= 3000 + breakdown.POOL_LINES
    monkeypatch.setattr(breakdown, "POOL_CHARACTERS", 50)
    taken = 0
    next(score_lines(cells, letters, source()))
    assert taken == 13


@pytest.mark.parametrize("with_torch", [False, True])
@given(
    st.lists(st.text("abc x", max_size=200), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.text("abc x", max_size=80)), max_size=9),
)
def test_rows_go_on_from_what_was_read_before_each(
    weights: Weights,
    cells: Cells,
    letters: Vocabulary,
    with_torch: bool,
    texts: list[str],
    ends: list[tuple[int, str]],
) -> None:
    network = load_network(CONFIG, weights, torch.device("cpu"))
    engine: Engine = TorchEngine(network) if with_torch else cells
    beginnings = begin_with(engine, list(map(letters.encode, texts)), letters.start_id)
    streams = [number % len(texts) for number, _ in ends]
    rows = [letters.encode(end) for _, end in ends]
    totals = score_rows(engine, rows, beginnings, streams)
    for stream, row, total in zip(streams, rows, totals, strict=True):
        before = letters.encode(texts[stream])
        nats, _ = costs_and_ranks(cells, np.concatenate((before, row)), letters.start_id)
        assert total == pytest.approx(nats[len(before) :].sum(), rel=1e-5, abs=1e-5)
