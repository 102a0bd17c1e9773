"""What is drawn follows the distribution that was asked for, and nothing but the seed decides it."""

from collections.abc import Iterator, Sequence
from itertools import islice
from math import exp, log, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from engines import Stateless, random_weights
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstmgen import sampling
from lstmgen.cells import Cells
from lstmgen.config import DecodingConfig, ModelConfig
from lstmgen.drawing import Uniforms, draw, relative_probabilities
from lstmgen.model import TorchEngine, load_network
from lstmgen.sampling import Batch
from lstmgen.scoring import Engine, cross_entropy
from lstmgen.vocabulary import UNKNOWN_ID

CONFIG = ModelConfig(vocab_size=12, num_layers=2, hidden_size=8, embedding_size=6)
LOGITS = [5.0, 2.0, 1.5, 0.2, 0.0, -0.4, -1.0, -3.0]
OPTIONS = [
    DecodingConfig(temperature=1.0),
    DecodingConfig(temperature=0.5),
    DecodingConfig(temperature=2.0),
    DecodingConfig(temperature=1.0, top_k=3),
    DecodingConfig(temperature=1.0, top_p=0.8),
    DecodingConfig(temperature=1.0, min_p=0.15),
    DecodingConfig(temperature=1.0, repetition_penalty=1.7),
    DecodingConfig(temperature=1.3, top_k=5, top_p=0.9, min_p=0.2, repetition_penalty=0.6),
]


def by_definition(
    logits: list[float], decoding: DecodingConfig, seen: set[int]
) -> dict[int, float]:
    """The tokens that can be drawn and how likely each is, step by step over lists of tokens."""
    x = {token: logit for token, logit in enumerate(logits) if token != UNKNOWN_ID}
    if decoding.repetition_penalty is not None:
        for token in seen & set(x):
            if x[token] > 0:
                x[token] /= decoding.repetition_penalty
            else:
                x[token] *= decoding.repetition_penalty
    ranking = sorted(x, key=lambda token: (-x[token], token))  # the likeliest first
    if decoding.temperature == 0:
        return {ranking[0]: 1.0}
    p = {token: exp((x[token] - x[ranking[0]]) / decoding.temperature) for token in ranking}
    p = shares(p)
    if decoding.top_k is not None:
        p = shares({token: p[token] for token in ranking[: decoding.top_k]})
    if decoding.top_p is not None:
        kept: dict[int, float] = {}
        for token in p:  # the fewest that together reach top-p
            kept[token] = p[token]
            if sum(kept.values()) >= decoding.top_p:
                break
        p = shares(kept)
    if decoding.min_p is not None:
        least = decoding.min_p * max(p.values())
        p = shares({token: share for token, share in p.items() if share >= least})
    return p


def shares(weights: dict[int, float]) -> dict[int, float]:
    total = sum(weights.values())
    return {token: weight / total for token, weight in weights.items()}


def distribution(
    logits: NDArray[Any], decoding: DecodingConfig, seen: NDArray[np.bool_]
) -> NDArray[Any]:
    """The probabilities that tokens are drawn with, (B, V)."""
    weights = relative_probabilities(logits, decoding, seen)
    result: NDArray[Any] = weights / weights.sum(axis=-1, keepdims=True)
    return result


def row(logits: list[float], decoding: DecodingConfig, seen: set[int]) -> NDArray[np.float64]:
    """`distribution` of a single text."""
    marked = np.array([[token in seen for token in range(len(logits))]])
    result: NDArray[np.float64] = distribution(np.array([logits]), decoding, marked)[0]
    return result


decodings = st.builds(
    DecodingConfig,
    temperature=st.sampled_from([0, 0.1, 0.7, 1, 3.0]),
    top_k=st.none() | st.integers(1, 12),
    top_p=st.none() | st.sampled_from([5e-324, 0.013, 0.31, 0.57, 0.871, 0.9973, 1]),
    min_p=st.none() | st.sampled_from([0, 0.017, 0.23, 0.61, 1]),
    repetition_penalty=st.none() | st.sampled_from([0.5, 1, 1.3, 4]),
)
logit_lists = st.lists(
    # Steps of 1/8 make ties likely, and no share falls on the edge of a limit above but by a tie.
    st.integers(-40, 40).map(lambda n: n / 8),
    min_size=2,
    max_size=10,
)


# In another order they would keep one token fewer, or one more.
@example(
    [0, log(0.5), log(0.3), log(0.15), log(0.05)],
    DecodingConfig(temperature=1, top_p=0.82, min_p=0.2),
    set(),
)
@example(
    [0, log(0.4), log(0.3), log(0.2), log(0.1)],
    DecodingConfig(temperature=1, top_k=2, top_p=0.5),
    set(),
)
@example(
    [0, log(0.4), log(0.3), log(0.2), log(0.1)], DecodingConfig(temperature=0.5, top_p=0.5), set()
)
@given(logit_lists, decodings, st.sets(st.integers(0, 9)))
def test_distribution_is_the_one_defined(
    logits: list[float], decoding: DecodingConfig, seen: set[int]
) -> None:
    p = by_definition(logits, decoding, seen)
    expected = [p.get(token, 0.0) for token in range(len(logits))]
    np.testing.assert_allclose(row(logits, decoding, seen), expected, rtol=1e-9, atol=1e-12)


def test_a_temperature_that_is_next_to_nothing_takes_the_likeliest() -> None:
    logits = np.array([[9.0, 1.0, 3.0, 2.9999]], np.float32)
    for temperature in (1e-40, 1e-320):
        kept = relative_probabilities(
            logits, DecodingConfig(temperature=temperature), np.zeros(logits.shape, np.bool_)
        )
        assert kept.tolist() == [[0, 0, 1, 0]]


def test_top_k_is_by_the_logits_whatever_the_temperature() -> None:
    """Divided by so much, two of them are the same number in float32."""
    logits = np.array([[-5.0, 4.99, 5.0, -9.0]], np.float32)
    decoding = DecodingConfig(temperature=1e6, top_k=1)
    kept = relative_probabilities(logits, decoding, np.zeros(logits.shape, np.bool_))
    assert kept.tolist() == [[0, 0, 1, 0]]


def test_top_k_is_by_the_logits_also_where_they_are_far_below_the_highest() -> None:
    """Beside 10, two of them are the same number in float32."""
    logits = np.array([[-5.0, 10.0, 1e-8, 2e-8]], np.float32)
    decoding = DecodingConfig(temperature=1, top_k=2)
    kept = relative_probabilities(logits, decoding, np.zeros(logits.shape, np.bool_))
    assert (kept > 0).tolist() == [[False, True, False, True]]


def test_top_k_may_be_a_short_number_of_numpy() -> None:
    logits = np.arange(300, dtype=np.float32)[None] / 100
    decoding = DecodingConfig(temperature=1, top_k=np.uint8(40))  # type: ignore[arg-type]
    kept = relative_probabilities(logits, decoding, np.zeros(logits.shape, np.bool_))
    assert np.flatnonzero(kept).tolist() == list(range(260, 300))


def test_top_p_counts_tokens_that_weigh_something_only_together() -> None:
    """Added to the first in float32, each of the others would be lost."""
    logits = np.full((1, 200_002), log(1e-8), np.float32)
    logits[0, 1] = 0  # of all, which weigh 1.002, 0.999 are 1.000998
    decoding = DecodingConfig(temperature=1, top_p=0.999)
    kept = relative_probabilities(logits, decoding, np.zeros(logits.shape, np.bool_))
    assert np.count_nonzero(kept) == pytest.approx(1 + 99_800, abs=20)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 7, 8, 100])
@pytest.mark.parametrize("logits", [LOGITS, [0.0] * 8, [9.0, 1, 1, 1, 1, 1, 2, 2]], ids=str)
def test_top_k_keeps_exactly_k_even_where_they_are_equally_likely(
    logits: list[float], k: int
) -> None:
    decoding = DecodingConfig(temperature=1, top_k=k)
    kept = np.flatnonzero(row(logits, decoding, set())).tolist()
    assert len(kept) == min(k, 7)
    assert kept == sorted(by_definition(logits, decoding, set()))


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=10), decodings)
def test_unk_is_never_drawn_and_shares_add_up_to_one(
    logits: list[float], decoding: DecodingConfig
) -> None:
    p = row([100.0, *logits], decoding, {0, 1})
    assert p[UNKNOWN_ID] == 0
    assert p.min() >= 0
    assert p.sum() == pytest.approx(1)


def test_rows_of_a_batch_do_not_touch_each_other() -> None:
    generator = np.random.default_rng(0)
    logits, seen = generator.normal(0, 3, (6, 9)), generator.random((6, 9)) < 0.5
    decoding = OPTIONS[-1]
    together = distribution(logits, decoding, seen)
    for b in range(6):
        np.testing.assert_array_equal(
            together[b], distribution(logits[b : b + 1], decoding, seen[b : b + 1])[0]
        )


def test_distribution_leaves_the_logits_as_they_were() -> None:
    logits = np.array([LOGITS])
    distribution(logits, OPTIONS[-1], np.ones((1, 8), np.bool_))
    assert logits.tolist() == [LOGITS]


def assert_drawn_from(counts: NDArray[np.int64], p: dict[int, float]) -> None:
    """A chi-square test: counts this far from their expectation come up once in 10,000 times."""
    total = int(counts.sum())
    assert {int(token) for token in np.flatnonzero(counts)} <= set(p)
    degrees = len(p) - 1
    chi_square = sum((counts[token] - total * q) ** 2 / (total * q) for token, q in p.items())
    if degrees == 0:
        return
    # Wilson and Hilferty (1931): the cube root of chi-square / degrees is close to normal.
    spread = 2 / (9 * degrees)
    z = ((chi_square / degrees) ** (1 / 3) - (1 - spread)) / sqrt(spread)
    assert z < 3.72


@pytest.mark.parametrize("decoding", OPTIONS, ids=str)
def test_frequencies_of_100_000_draws_match_the_distribution(decoding: DecodingConfig) -> None:
    seen = {2, 4, 6}
    p = row(LOGITS, decoding, seen)
    ids = draw(np.tile(p, (100_000, 1)), np.random.default_rng(20).random(100_000))
    counts = np.bincount(ids, minlength=len(LOGITS))
    assert_drawn_from(counts, by_definition(LOGITS, decoding, seen))


def test_a_large_vocabulary_is_drawn_from_as_a_small_one_is() -> None:
    # Weights in a few places far apart, so that some blocks of tokens have none and others many.
    weights = np.zeros((1, 40_000), np.float32)
    places = [0, 1, 511, 512, 513, 5_000, 20_480, 39_999]
    weights[0, places] = [1, 2, 30, 1, 5, 10, 4, 47]
    generator = np.random.default_rng(3)
    ids = np.concatenate(
        [draw(np.tile(weights, (50, 1)), generator.random(50)) for _ in range(400)]
    )
    counts = np.bincount(ids, minlength=40_000)
    assert_drawn_from(counts, {place: float(weights[0, place]) / 100 for place in places})


@pytest.mark.parametrize("seed", range(20))
def test_what_has_no_weight_is_not_drawn_at_the_edge_of_a_block_either(seed: int) -> None:
    # Of very different sizes, so that their sums are rounded.
    sizes = np.random.default_rng(seed).random((1, 20 * 512))
    weights = np.exp(-25 * sizes).astype(np.float32)
    weights[0, ::512] = 0  # the first of each block
    edges = np.cumsum(np.add.reduceat(weights, np.arange(0, 20 * 512, 512), 1, np.float64))
    for share in edges[:-1] / edges[-1]:
        for near in (np.nextafter(share, 0), share, np.nextafter(share, 1)):
            (drawn,) = draw(weights, np.array([near]))
            assert weights[0, drawn] > 0


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


@pytest.mark.parametrize("value", [0.0, 0.5, 1 - 2**-53])
def test_draw_never_takes_a_token_of_no_probability(value: float) -> None:
    third = 1 / 3  # three of which round to a little under 1 or to 1
    for shares_of_row in ([0, 1, 0], [0, third, 0, third, third, 0], [0.1] * 10 + [0.0], [0, 0, 1]):
        p = np.array([shares_of_row])
        assert p[0, draw(p, np.array([value]))[0]] > 0
        wide = np.zeros((2, 3_000))
        wide[:, 700 : 700 + p.size] = p
        assert wide[0, draw(wide, np.array([value] * 2))].all()


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


def test_random_numbers_of_a_text_are_its_generators_one_by_one() -> None:
    uniforms, taken = Uniforms(), list[list[float]]()
    uniforms.add([3, 4])
    taken += [uniforms.take().tolist() for _ in range(100)]
    uniforms.add([5])
    taken += [uniforms.take().tolist() for _ in range(50)]
    uniforms.keep([2, 0])
    taken += [uniforms.take().tolist() for _ in range(200)]
    uniforms.keep([])
    uniforms.add([6])
    taken += [uniforms.take().tolist()]
    by_seed = {seed: np.random.default_rng(seed) for seed in (3, 4, 5, 6)}
    for seeds, count in (((3, 4), 100), ((3, 4, 5), 50), ((5, 3), 200), ((6,), 1)):
        expected = [[by_seed[seed].random() for seed in seeds] for _ in range(count)]
        assert taken[:count] == expected
        del taken[:count]


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
