"""Turns a prime into a stream of ids: what comes next is drawn from the model's distribution.

Knows ids and logits, not text. Shapes: B texts sampled side by side, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmgen.config import DecodingConfig
from lstmgen.scoring import Engine, nats
from lstmgen.vocabulary import UNKNOWN_ID

Logits = NDArray[Any]
IdRow = NDArray[np.int64]

LEAST_TEMPERATURE = 1e-30  # below it, what is not likeliest has probability 0 in any case
_WINDOW = 256  # tokens of a prime read in one call


def distribution(logits: Logits, decoding: DecodingConfig, seen: NDArray[np.bool_]) -> Logits:
    """The probabilities that tokens are drawn with: logits (B, V) -> (B, V), rows adding up to 1.

    In order: the repetition penalty on tokens `seen` (B, V) before (Keskar et al., 2019,
    arXiv:1909.05858), temperature, top-k, top-p (Holtzman et al., 2019, arXiv:1904.09751), min-p
    (Nguyen et al., 2024, arXiv:2407.01082). Of equally likely tokens the one with the lower id counts
    as the likelier, so that top-k keeps k. `<unk>` is never drawn. Temperature 0 leaves one token.
    """
    x = logits.copy()
    x[:, UNKNOWN_ID] = -np.inf
    if decoding.repetition_penalty is not None:
        penalty = decoding.repetition_penalty
        x = np.where(seen, np.where(x > 0, x / penalty, x * penalty), x)
    if decoding.temperature == 0:
        probabilities = np.zeros_like(x)
        probabilities[np.arange(len(x)), x.argmax(axis=-1)] = 1
        return probabilities
    x -= x.max(axis=-1, keepdims=True)
    probabilities = _normalised(np.exp(x / max(decoding.temperature, LEAST_TEMPERATURE)))
    if decoding.top_k is not None and decoding.top_k < probabilities.shape[-1]:
        probabilities = _likeliest(probabilities, np.full(len(x), decoding.top_k))
    if decoding.top_p is not None:
        before = np.cumsum(_descending(probabilities), axis=-1, dtype=np.float64)
        # A token stays if those that are likelier have not made up the share yet.
        num_kept = 1 + (before[:, :-1] < decoding.top_p).sum(axis=-1)
        probabilities = _likeliest(probabilities, num_kept)
    if decoding.min_p is not None:
        least = decoding.min_p * probabilities.max(axis=-1, keepdims=True)
        probabilities = _normalised(np.where(probabilities >= least, probabilities, 0))
    return probabilities


def _likeliest(probabilities: Logits, num_kept: IdRow) -> Logits:
    """Only the `num_kept` (B,) likeliest tokens of each row; of equally likely ones, the lower ids."""
    rows = np.arange(len(probabilities))
    least = _descending(probabilities)[rows, num_kept - 1, None]
    above, ties = probabilities > least, probabilities == least
    room = num_kept[:, None] - above.sum(axis=-1, keepdims=True)
    kept = above | (ties & (np.cumsum(ties, axis=-1) <= room))
    return _normalised(np.where(kept, probabilities, 0))


def _descending(probabilities: Logits) -> Logits:
    return np.sort(probabilities, axis=-1)[:, ::-1]


def _normalised(weights: Logits) -> Logits:
    total: Logits = weights.sum(axis=-1, keepdims=True)
    return weights / total


def draw(probabilities: Logits, generators: Sequence[np.random.Generator]) -> IdRow:
    """One id a row, (B, V) -> (B,), each from its own generator, one random number a draw."""
    edges = np.cumsum(probabilities, axis=-1, dtype=np.float64)
    # The last edge may round to a little under 1; the scaling keeps the draw on a possible token.
    points = np.array([generator.random() for generator in generators]) * edges[:, -1]
    ids: IdRow = (edges <= points[:, None]).sum(axis=-1)
    return ids


class Batch:
    """Texts that are sampled side by side.

    All begin with the same prime or each with its own. `advance` draws the next id of every text
    still in the batch; `keep` drops those that are finished.
    """

    def __init__(
        self,
        engine: Engine,
        primes: Sequence[NDArray[Any]],
        decoding: DecodingConfig,
        seeds: Sequence[int],
    ) -> None:
        """`primes` are ids that begin with the start id; the generator of text b has `seeds[b]`."""
        self.engine = engine
        self.decoding = decoding
        self.generators = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
        read: dict[bytes, tuple[Logits, Any]] = {}
        for prime in primes:
            if prime.tobytes() not in read:
                read[prime.tobytes()] = _read(engine, prime)
        logits, states = zip(*(read[prime.tobytes()] for prime in primes), strict=True)
        self._logits = np.concatenate(logits)  # (B, V)
        self._state = _joined(states)
        self._drawn: IdRow | None = None  # (B,), ids that the network has not read yet
        self._seen = np.zeros(self._logits.shape, np.bool_)
        for row, prime in enumerate(primes):
            self._seen[row, prime] = True

    def advance(self) -> IdRow:
        """Draw the next id of each text, (B,)."""
        if self._drawn is not None:
            tops, self._state = self.engine.read(self._drawn[:, None], self._state)
            self._logits = _last(self.engine, tops)
        probabilities = distribution(self._logits, self.decoding, self._seen)
        if self.decoding.temperature == 0:
            ids: IdRow = probabilities.argmax(axis=-1)
        else:
            ids = draw(probabilities, self.generators)
        if self.decoding.repetition_penalty is not None:
            self._seen[np.arange(len(ids)), ids] = True
        self._drawn = ids
        return ids

    def nats(self) -> Logits:
        """What the ids just drawn cost under the model's own distribution, (B,)."""
        costs: Logits = nats(self._logits, self._drawn)
        return costs

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these texts only, in this order."""
        self._seen = self._seen[rows]
        self._logits = self._logits[rows]
        self._drawn = None if self._drawn is None else self._drawn[rows]
        self._state = tuple(tuple(part[rows] for part in layer) for layer in self._state)
        self.generators = [self.generators[row] for row in rows]


def _read(engine: Engine, prime: NDArray[Any]) -> tuple[Logits, Any]:
    """The logits (1, V) and the state after a prime (N,)."""
    state = engine.initial_state(1)
    for start in range(0, len(prime), _WINDOW):
        tops, state = engine.read(prime[None, start : start + _WINDOW], state)
    return _last(engine, tops), state


def _last(engine: Engine, tops: Any) -> Logits:
    """The logits (B, V) of the last step as a NumPy array, wherever the engine keeps them."""
    last = engine.logits(tops[:, -1])
    return last if isinstance(last, np.ndarray) else np.asarray(last.float().cpu())


def _joined(states: Sequence[Any]) -> Any:
    """The states of single texts as the state of a batch."""
    if len(states) == 1:
        return states[0]
    if isinstance(states[0][0][0], np.ndarray):
        join: Any = np.concatenate
    else:
        from torch import cat as join
    return tuple(
        tuple(join(parts) for parts in zip(*layers, strict=True))
        for layers in zip(*states, strict=True)
    )


def sample(
    engine: Engine, prime: NDArray[Any], decoding: DecodingConfig, seed: int
) -> Iterator[int]:
    """The ids that follow a prime, one by one, without end."""
    batch = Batch(engine, [prime], decoding, [seed])
    while True:
        yield int(batch.advance()[0])
