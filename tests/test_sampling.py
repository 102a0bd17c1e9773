"""What is drawn follows the distribution that was asked for, and nothing but the seed decides it."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from distributions import LOGITS, OPTIONS, assert_drawn_from, by_definition, distribution
from engines import Stateless, random_weights
from numpy.typing import NDArray

from lstmgen import sampling
from lstmgen.cells import Cells
from lstmgen.config import DecodingConfig, ModelConfig
from lstmgen.drawing import Uniforms, draw
from lstmgen.model import TorchEngine, load_network
from lstmgen.reading import Engine
from lstmgen.sampling import Batch
from lstmgen.scoring import cross_entropy

CONFIG = ModelConfig(vocab_size=12, num_layers=2, hidden_size=8, embedding_size=6)


class Constant(Stateless):
    """An engine that gives the same logits always."""

    vocab_size = len(LOGITS)

    def read(self, ids: NDArray[Any], state: Any) -> tuple[NDArray[Any], Any]:
        return np.tile(np.array(LOGITS, np.float32), (*ids.shape, 1)), state


def batch_of(
    engine: Engine,
    primes: Sequence[NDArray[Any]],
    decoding: DecodingConfig,
    seeds: Sequence[int],
) -> Batch:
    batch = Batch(engine, decoding)
    batch.add(primes, seeds)
    return batch


def test_frequencies_of_texts_with_seeds_in_a_row_match_the_softmax() -> None:
    decoding = DecodingConfig(temperature=1)
    batch = batch_of(Constant(), [np.array([1])] * 1000, decoding, range(1000))
    ids = np.concatenate([batch.advance() for _ in range(100)])
    counts = np.bincount(ids, minlength=len(LOGITS))
    assert_drawn_from(counts, by_definition(LOGITS, decoding, set()))


@pytest.fixture
def cells() -> Cells:
    return Cells(CONFIG, random_weights(CONFIG, scale=0.8))


def some_primes(lengths: list[int]) -> list[NDArray[np.uint8]]:
    generator = np.random.default_rng(4)
    return [generator.integers(0, 12, length).astype(np.uint8) for length in lengths]


def sample(
    engine: Engine, prime: NDArray[Any], decoding: DecodingConfig, seed: int
) -> Iterator[int]:
    """The ids that follow a prime which is alone in its batch, without end."""
    batch = batch_of(engine, [prime], decoding, [seed])
    while True:
        yield int(batch.advance()[0])


def ids_of(batch: Batch, num_steps: int) -> list[list[int]]:
    """The next ids of each text of a batch."""
    steps = [batch.advance().tolist() for _ in range(num_steps)]
    return [list(ids) for ids in zip(*steps, strict=True)]


def test_what_is_not_drawn_costs_nothing_yet(cells: Cells) -> None:
    batch = Batch(cells, DecodingConfig())
    batch.add([np.array([1])], [0])
    with pytest.raises(ValueError, match="nothing has been drawn"):
        batch.nats()


def test_temperature_0_takes_the_likeliest_and_no_random_number(
    cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    (prime,) = some_primes([5])
    batch = batch_of(cells, [prime], DecodingConfig(temperature=0), [3])
    monkeypatch.setattr(Uniforms, "take", None)
    text = prime.tolist()
    for i in ids_of(batch, 20)[0]:
        logits, _ = cells(np.array([text]), cells.initial_state(1))
        assert i == 1 + int(logits[0, -1, 1:].argmax())
        text.append(i)


@pytest.mark.parametrize("decoding", [OPTIONS[0], OPTIONS[-1]], ids=str)
def test_same_seed_gives_the_same_ids_whatever_is_sampled_beside_it(
    cells: Cells, decoding: DecodingConfig
) -> None:
    primes, seeds = some_primes([1, 4, 4, 9, 2]), [7, 8, 9, 7, 0]
    together = ids_of(batch_of(cells, primes, decoding, seeds), 30)
    for prime, seed, ids in zip(primes, seeds, together, strict=True):
        assert ids == list(islice(sample(cells, prime, decoding, seed), 30))


@pytest.mark.parametrize("decoding", [OPTIONS[-1], DecodingConfig(temperature=0)], ids=str)
def test_torch_engine_samples_the_same_ids_as_the_cells(
    cells: Cells, decoding: DecodingConfig
) -> None:
    network = load_network(CONFIG, random_weights(CONFIG, scale=0.8), torch.device("cpu"))
    primes, seeds = some_primes([1, 4, 9]), [7, 8, 9]
    batches = [
        batch_of(engine, primes, decoding, seeds) for engine in (cells, TorchEngine(network))
    ]
    first, second = (ids_of(batch, 10) for batch in batches)
    assert first == second
    for batch in batches:
        batch.keep([2, 0])
        batch.add(some_primes([3, 7]), [1, 2])
    first, second = (ids_of(batch, 10) for batch in batches)
    assert first == second


def test_other_seed_gives_other_ids(cells: Cells) -> None:
    (prime,) = some_primes([3])
    first, second = ids_of(batch_of(cells, [prime] * 2, OPTIONS[0], [1, 2]), 30)
    assert first != second


@pytest.mark.parametrize("rows", [[1, 3], [4], [0, 1, 2, 3, 4], [3, 0]])
@pytest.mark.parametrize("steps_before", [0, 3])
def test_texts_that_are_kept_go_on_as_if_alone(
    cells: Cells, rows: list[int], steps_before: int
) -> None:
    primes, seeds, decoding = some_primes([1, 4, 4, 9, 2]), [7, 8, 9, 7, 0], OPTIONS[-1]
    batch = batch_of(cells, primes, decoding, seeds)
    for _ in range(steps_before):
        batch.advance()
    batch.keep(rows)
    for got, b in zip(ids_of(batch, 20), rows, strict=True):
        alone = list(islice(sample(cells, primes[b], decoding, seeds[b]), steps_before + 20))
        assert got == alone[steps_before:]


@pytest.mark.parametrize("steps_before", [0, 3])
def test_texts_that_join_later_leave_the_others_as_they_are(
    cells: Cells, steps_before: int
) -> None:
    primes, seeds, decoding = some_primes([1, 4, 4, 9, 2]), [7, 8, 9, 7, 0], OPTIONS[-1]
    batch = batch_of(cells, primes[:2], decoding, seeds[:2])
    before = ids_of(batch, steps_before) if steps_before else [[], []]
    batch.add(primes[2:], seeds[2:])
    for b, ids in enumerate(ids_of(batch, 20)):
        ids = (before[b] if b < 2 else []) + ids
        assert ids == list(islice(sample(cells, primes[b], decoding, seeds[b]), len(ids)))


def test_a_batch_that_has_become_empty_takes_in_others(cells: Cells) -> None:
    network = load_network(CONFIG, random_weights(CONFIG, scale=0.8), torch.device("cpu"))
    (prime,) = some_primes([3])
    for engine in cells, TorchEngine(network):
        batch = batch_of(engine, [prime], OPTIONS[0], [1])
        batch.advance()
        batch.keep([])
        batch.add([prime], [2])
        assert ids_of(batch, 20) == ids_of(batch_of(engine, [prime], OPTIONS[0], [2]), 20)


@pytest.mark.parametrize("length", [1, 1023, 1024, 1025, 2500])
def test_prime_of_any_length_is_read_whole(cells: Cells, length: int) -> None:
    (prime,) = some_primes([length])
    batch = batch_of(cells, [prime], DecodingConfig(temperature=0), [0])
    ids, costs = batch.advance(), batch.nats()
    logits, _ = cells(prime[None], cells.initial_state(1))
    ranked = distribution(logits[:, -1], DecodingConfig(temperature=0), np.zeros((1, 12), np.bool_))
    assert ids[0] == ranked.argmax()
    assert costs[0] == pytest.approx(cross_entropy(logits[:, -1], ids)[0], abs=1e-5)


def test_long_prime_gives_the_logits_of_one_call() -> None:
    class Adder(Constant):
        """An engine whose logits are exact sums over all it has read."""

        vocab_size = 12

        def initial_state(self, batch_size: int) -> Any:
            return np.zeros((batch_size, 1))

        def select(self, state: Any, streams: slice | Sequence[int]) -> Any:
            return state[streams]

        def concatenate(self, states: Sequence[Any]) -> Any:
            return np.concatenate(states)

        def read(self, ids: NDArray[Any], state: Any) -> tuple[NDArray[Any], Any]:
            sums = state + np.cumsum(ids.astype(float), axis=1)  # (B, T)
            return np.sin(sums[..., None] * np.arange(1, 13)), sums[:, -1:]

    (prime,) = some_primes([2500])
    ids = ids_of(batch_of(Adder(), [prime], OPTIONS[0], [5]), 30)[0]
    text = prime.tolist()
    generator = np.random.default_rng(5)
    for i in ids:
        logits = np.sin(np.sum(text) * np.arange(1, 13))[None]
        p = distribution(logits, OPTIONS[0], np.zeros((1, 12), np.bool_))
        expected = draw(p, generator.random(1))
        assert i == expected[0]
        text.append(i)


def test_nats_are_of_the_models_own_distribution_whatever_the_options(cells: Cells) -> None:
    (prime,) = some_primes([5])
    batch = batch_of(cells, [prime], OPTIONS[-1], [2])
    text = prime.tolist()
    for _ in range(20):
        ids, costs = batch.advance(), batch.nats()
        logits, _ = cells(np.array([text]), cells.initial_state(1))
        x = logits[0, -1].astype(np.float64)
        assert costs[0] == pytest.approx(np.log(np.exp(x).sum()) - x[ids[0]], abs=1e-5)
        text.append(int(ids[0]))


def test_repetition_penalty_counts_the_prime_and_what_was_drawn_since() -> None:
    decoding = DecodingConfig(temperature=0, repetition_penalty=1000.0)
    prime = np.array([3, 1])
    # 1 is likeliest but was in the prime, so it gives way to 2; and 2, once drawn, to 3.
    (ids,) = ids_of(batch_of(Constant(), [prime], decoding, [0]), 2)
    assert ids == [2, 3]
    # The first id is the start, which nobody wrote.
    (ids,) = ids_of(batch_of(Constant(), [prime[1:]], decoding, [0]), 2)
    assert ids == [1, 2]


def test_primes_are_read_once_where_several_texts_share_them() -> None:
    class Counting(Constant):
        calls = 0

        def read(self, ids: NDArray[Any], state: Any) -> tuple[NDArray[Any], Any]:
            self.calls += 1
            return super().read(ids, state)

    engine = Counting()
    batch_of(engine, [np.array([1, 2])] * 50 + [np.array([2])], OPTIONS[0], range(51))
    assert engine.calls == 2  # the first id of both side by side, then the second of the longer


def test_a_prime_that_goes_on_from_one_batch_to_the_next_is_not_read_again(cells: Cells) -> None:
    one, other = some_primes([3, 5])
    read: list[int] = []

    class Counting(Cells):
        def read(self, ids: NDArray[Any], state: Any) -> tuple[NDArray[Any], Any]:
            read.append(ids.size)
            return super().read(ids, state)

    counting = Counting(cells.config, random_weights(cells.config, scale=0.8))
    greedy = DecodingConfig(temperature=0.0)
    batch = Batch(counting, greedy)
    batch.add([one, one], [1, 2])
    batch.add([one], [3])
    batch.add([one, other, one], [4, 5, 6])
    batch.add([other, one], [7, 8])  # it was the last of several
    batch.add([other], [9])
    assert read == [2, 1] + [4, 1] * 3
    alone = {}
    for prime in (one, other):
        engine = Cells(cells.config, random_weights(cells.config, scale=0.8))
        alone[prime.tobytes()] = ids_of(batch_of(engine, [prime], greedy, [1]), 6)[0]
    wanted = [
        alone[prime.tobytes()] for prime in (one, one, one, one, other, one, other, one, other)
    ]
    assert ids_of(batch, 6) == wanted


@pytest.mark.parametrize("held", [2 * CONFIG.vocab_size, CONFIG.vocab_size - 1])
def test_choosing_is_done_for_as_many_texts_as_the_cache_holds(
    held: int, cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    primes, seeds = some_primes([1, 4, 4, 9, 2]), [7, 8, 9, 7, 0]
    together = ids_of(batch_of(cells, primes, OPTIONS[-1], seeds), 20)
    monkeypatch.setattr(sampling, "_IN_CACHE", held)
    batch = batch_of(cells, primes, OPTIONS[-1], seeds)
    assert ids_of(batch, 20) == together
    assert batch.nats().shape == (5,)
