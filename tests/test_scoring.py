"""What a text costs: the same number by hand, in any window, in any batch, on either engine."""

import json
from collections.abc import Sequence
from math import exp, inf, log
from pathlib import Path
from typing import Any, get_args
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from engines import Stateless, random_weights, score_of, spelled_out
from numpy.typing import NDArray

from lstmgen import checkpoint, folders, scoring
from lstmgen.batching import IGNORED, Streams
from lstmgen.cells import Cells
from lstmgen.config import CellName, ModelConfig
from lstmgen.model import TorchEngine, load_network
from lstmgen.reading import Engine
from lstmgen.scoring import WARM_UP, Score, cross_entropy, score_ids, streams_to_score, window_nats
from lstmgen.vocabulary import Ids, Vocabulary

SIZE = 29  # of the `letters`
CPU = torch.device("cpu")


def small(cell: CellName = "lstm") -> ModelConfig:
    return ModelConfig(vocab_size=SIZE, cell=cell, num_layers=2, hidden_size=8, embedding_size=6)


def some_ids(num_tokens: int, seed: int = 0) -> NDArray[np.uint8]:
    """Ids that hang together a little, as those of a text do."""
    generator = np.random.default_rng(seed)
    return (generator.integers(0, 7, num_tokens).cumsum() % SIZE).astype(np.uint8)


def surprise(logits: Sequence[float], target: int) -> float:
    """-log softmax(logits)[target], as the definition has it."""
    return log(sum(exp(x) for x in logits)) - logits[target]


class Recaller(Stateless):
    """An engine whose logits depend on exactly the last `SPAN` ids, and differ for each such past."""

    SPAN = 20
    vocab_size = SIZE

    def initial_state(self, batch_size: int) -> Any:
        return ((np.full((batch_size, self.SPAN), -1),),)

    def read(self, ids: NDArray[Any], state: Any) -> tuple[NDArray[Any], Any]:
        ((past,),) = state
        logits = np.empty((*ids.shape, SIZE), np.float64)
        for t in range(ids.shape[1]):
            past = np.concatenate([past[:, 1:], ids[:, t : t + 1]], axis=1)
            mixed = (past * np.arange(1, self.SPAN + 1) ** 2).sum(axis=1)
            logits[:, t] = np.sin(mixed[:, None] * np.arange(1, SIZE + 1))
        return logits, ((past,),)


def cut_score(
    engine: Engine, ids: Ids, batch_size: int, window: int = scoring.WINDOW, warm_up: int = WARM_UP
) -> float:
    """What `score_ids` gives, with the text cut in another way."""
    return sum(window_nats(engine, Streams(ids, 1, batch_size, window, warm_up)))


@pytest.mark.parametrize("start", ["", "a", "the quick brown fox\njumps\n"])
def test_uniform_model_scores_log2_of_the_vocabulary_bits_a_character(
    letters: Vocabulary, start: str
) -> None:
    weights = random_weights(small())
    weights["output.weight"][:] = 0
    weights["output.bias"][:] = 3.5
    score = score_of(Cells(small(), weights), letters, start + "z\n" * 50)
    assert score.bits_per_character == pytest.approx(np.log2(SIZE), rel=1e-6)
    assert score.perplexity == pytest.approx(SIZE, rel=1e-5)


def test_nats_are_minus_log_softmax_on_numpy_and_on_torch() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 10, (4, 5, 7)).astype(np.float32)
    targets = generator.integers(0, 7, (4, 5))
    expected = [
        [surprise(logits[b, t].tolist(), targets[b, t]) for t in range(5)] for b in range(4)
    ]
    np.testing.assert_allclose(cross_entropy(logits, targets), expected, rtol=1e-5, atol=1e-5)
    by_torch = cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets))
    np.testing.assert_allclose(by_torch.numpy(), expected, rtol=1e-5, atol=1e-5)
    one, its = logits[0, 0], targets[0, 0]  # a single place, as a reader would try it
    assert cross_entropy(one, its) == pytest.approx(expected[0][0], abs=1e-5)
    by_torch = cross_entropy(torch.from_numpy(one), torch.tensor(its))
    assert by_torch.item() == pytest.approx(expected[0][0], abs=1e-5)


def test_huge_logits_neither_overflow_nor_lose_the_answer() -> None:
    logits = np.array([[1e30, 0.0], [-1e30, 0.0], [1e4, 1e4]], np.float32)
    targets = np.array([0, 1, 1])
    for got in (
        cross_entropy(logits, targets),
        cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets)),
    ):
        np.testing.assert_allclose(np.asarray(got), [0, 0, log(2)], rtol=1e-3, atol=1e-6)


def test_ignored_targets_cost_nothing() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    targets = np.array([[IGNORED, 2, IGNORED], [4, IGNORED, 0]])
    for got in (
        cross_entropy(logits, targets),
        cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets)),
    ):
        assert ((np.asarray(got) == 0) == (targets == IGNORED)).all()


@pytest.mark.parametrize("most", [1, 3, 12, SIZE])  # symbols at a time
@pytest.mark.parametrize("num_rows", [1, 7, 100])
def test_nats_do_not_depend_on_how_rows_and_symbols_are_parted(
    num_rows: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small()
    weights = random_weights(config)
    generator = np.random.default_rng(1)
    hidden = 30 * generator.standard_normal((40, config.hidden_size)).astype(np.float32)
    targets = generator.integers(0, SIZE, 40)
    targets[:2] = 0, SIZE - 1
    cells = Cells(config, weights)
    whole = cross_entropy(cells.logits(hidden), targets)
    monkeypatch.setattr(scoring, "MANY_ROWS", num_rows)
    monkeypatch.setattr(scoring, "MAX_LOGITS_IN_CACHE", most * min(num_rows, 40))
    torch_engine = TorchEngine(load_network(config, weights, CPU))
    for engine, given in ((cells, hidden), (torch_engine, torch.from_numpy(hidden))):
        made: Any = MagicMock(wraps=engine.logits)
        monkeypatch.setattr(engine, "logits", made)
        costs = scoring.token_nats(engine, given, targets)
        np.testing.assert_allclose(costs, whole, rtol=1e-5, atol=1e-4)
        for (rows, *symbols), _ in made.call_args_list:
            part = range(SIZE)[symbols[0]] if symbols else range(SIZE)
            assert len(rows) * len(part) <= scoring.MAX_LOGITS_IN_CACHE


def test_gradient_of_the_nats_is_softmax_minus_one_hot() -> None:
    logits = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = torch.tensor([[0, 1, 2, 3], [4, 5, IGNORED, 1], [IGNORED, 2, 2, 0]])
    cross_entropy(logits, targets).sum().backward()
    expected = logits.detach().softmax(-1)
    for place in np.ndindex(3, 4):
        if targets[place] == IGNORED:
            expected[place] = 0
        else:
            expected[place][targets[place]] -= 1
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("cell", get_args(CellName))
def test_score_is_the_sum_by_hand_on_either_engine(cell: CellName) -> None:
    config, start_id = small(cell), 1
    weights, ids = random_weights(config), some_ids(90)
    inputs = [start_id, *ids.tolist()[:-1]]
    logits = spelled_out(config, weights, inputs)
    expected = sum(surprise(row, i) for row, i in zip(logits, ids.tolist(), strict=True))
    engines: list[Engine] = [
        Cells(config, weights),
        TorchEngine(load_network(config, weights, CPU)),
    ]
    for engine in engines:
        got = score_ids(engine, ids, start_id)
        assert got == pytest.approx(expected, rel=1e-5)


def test_first_token_is_scored_after_a_line_end(letters: Vocabulary) -> None:
    weights = random_weights(small())
    logits = spelled_out(small(), weights, [letters.ids["\n"]])
    score = score_of(Cells(small(), weights), letters, "q")
    assert score.tokens == 1
    assert score.nats == pytest.approx(surprise(logits[0], letters.ids["q"]), rel=1e-5)


@pytest.mark.parametrize("window", [1, 2, 7, 64, 999, 1000, 5000])
def test_score_does_not_depend_on_the_window(window: int) -> None:
    engine, ids = Cells(small(), random_weights(small())), some_ids(1000)
    whole = cut_score(engine, ids, batch_size=1, window=1000)
    got = cut_score(engine, ids, batch_size=1, window=window)
    assert got == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("batch_size", [2, 7, 16])
def test_score_hardly_depends_on_the_batch(batch_size: int) -> None:
    engine, ids = Cells(small(), random_weights(small())), some_ids(6000)
    whole = cut_score(engine, ids, batch_size=1)
    for cut in (cut_score(engine, ids, batch_size), score_ids(engine, ids, 1)):
        assert abs(cut - whole) / log(2) / len(ids) < 0.001


def test_score_of_a_trained_model_hardly_depends_on_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It remembers what came before, so without a warm-up it would."""
    model = checkpoint.load_model(folders.BUILT_IN)
    engine = Cells(model.config, model.weights)
    text = (Path(__file__).parents[1] / "data" / "lives.txt").read_text("utf-8")[-16_000:]
    ids = model.vocabulary.encode(text)
    whole = cut_score(engine, ids, batch_size=1)
    for warm_up, alike in ((scoring.WARM_UP, True), (0, False)):
        cut = cut_score(engine, ids, batch_size=16, warm_up=warm_up)
        assert (abs(cut - whole) / log(2) / len(ids) < 0.001) == alike


@pytest.mark.parametrize("window", [3, 50])
@pytest.mark.parametrize("batch_size", [2, 5, 40])
def test_warm_up_gives_each_stream_the_past_it_needs(batch_size: int, window: int) -> None:
    ids, engine = some_ids(200), Recaller()
    whole = cut_score(engine, ids, batch_size=1)

    def cut(warm_up: int) -> float:
        return cut_score(engine, ids, batch_size=batch_size, window=window, warm_up=warm_up)

    assert cut(Recaller.SPAN) == pytest.approx(whole, rel=1e-12)
    assert cut(0) != pytest.approx(whole, rel=1e-6)  # so that the line above can fail


def test_what_stands_512_tokens_before_a_part_is_still_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Recaller, "SPAN", 513)  # with the one that is read last
    ids, engine = some_ids(4100), Recaller()
    whole = cut_score(engine, ids, batch_size=1)
    assert score_ids(engine, ids, 1) == pytest.approx(whole, rel=1e-12)
    monkeypatch.setattr(Recaller, "SPAN", 514)
    whole = cut_score(engine, ids, batch_size=1)
    assert score_ids(engine, ids, 1) != pytest.approx(whole, rel=1e-12)


def test_text_shorter_than_eight_warm_ups_is_read_in_one_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids, engine = some_ids(79), Recaller()
    whole = cut_score(engine, ids, batch_size=1)
    monkeypatch.setattr(scoring, "WARM_UP", Recaller.SPAN // 2)  # so that any cut would show
    assert score_ids(engine, ids, 1) == whole
    assert streams_to_score(some_ids(80), 1).batch_size > 1


def test_engines_agree_on_a_text_that_is_cut_into_streams() -> None:
    weights, ids = random_weights(small()), some_ids(5000)
    numpy_engine = Cells(small(), weights)
    torch_engine = TorchEngine(load_network(small(), weights, CPU))
    by_numpy = score_ids(numpy_engine, ids, 1)
    assert score_ids(torch_engine, ids, 1) == pytest.approx(by_numpy, rel=1e-5)


def test_text_of_no_tokens_costs_nothing(letters: Vocabulary) -> None:
    assert score_of(Recaller(), letters, "") == Score()


def test_tokens_characters_and_unknown_ones_are_counted() -> None:
    vocabulary = Vocabulary("word", "space", (" <unk>", "\n", " b", "a"))
    score = score_of(Recaller(), vocabulary, "a bee b\n")
    assert (score.tokens, score.characters, score.unknown_tokens) == (4, 8, 1)


def test_scores_add_up() -> None:
    total = Score(1.5, 2, 3, 1) + Score(2.5, 4, 5, 0) + Score()
    assert total == Score(4.0, 6, 8, 1)


def test_sums_are_divided_once_at_the_end() -> None:
    score = Score(nats=log(2) * 12, tokens=4, characters=6)
    assert score.nats_per_token == pytest.approx(3 * log(2))
    assert score.bits_per_character == pytest.approx(2)
    assert score.perplexity == pytest.approx(8)


@pytest.mark.parametrize(("nats_each", "perplexity"), [(690, exp(690)), (710, inf), (1e300, inf)])
def test_perplexity_beyond_a_float_is_infinite(nats_each: float, perplexity: float) -> None:
    assert Score(nats_each, 1, 1).perplexity == pytest.approx(perplexity)


def test_json_holds_the_sums_and_what_is_made_of_them() -> None:
    assert Score(log(2) * 6, 2, 3, 1).to_json() == {
        "nats": pytest.approx(log(2) * 6),
        "tokens": 2,
        "characters": 3,
        "unknown_tokens": 1,
        "nats_per_token": pytest.approx(log(2) * 3),
        "bits_per_character": pytest.approx(2),
        "perplexity": pytest.approx(8),
    }


def test_infinite_perplexity_is_null_in_json() -> None:
    score = Score(nats=1e6, tokens=1, characters=1)
    assert json.loads(json.dumps(score.to_json()), parse_constant=pytest.fail)["perplexity"] is None
