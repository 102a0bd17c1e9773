"""Turns a prime into a stream of ids: what comes next is drawn from the model's distribution.

Knows ids and logits, not text. Shapes: B texts sampled side by side, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmgen.config import DecodingConfig
from lstmgen.scoring import Engine, as_array, cross_entropy, slices
from lstmgen.vocabulary import UNKNOWN_ID

Logits = NDArray[Any]
IdRow = NDArray[np.int64]

LEAST_TEMPERATURE = 1e-30  # below it, what is not likeliest has probability 0 in any case
_WINDOW = 1024  # tokens of primes read in one call
_BLOCK = 512  # tokens whose weights are cumulated together
_UNDER_1 = 1 - 2**-53
_IN_CACHE = 1 << 16  # logits that are worked on together


def relative_probabilities(
    logits: Logits, decoding: DecodingConfig, seen: NDArray[np.bool_]
) -> Logits:
    """What tokens are drawn in proportion to: logits (B, V) -> (B, V), the likeliest of a row has 1.

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
        only = np.zeros_like(x)
        only[np.arange(len(x)), x.argmax(axis=-1)] = 1
        return only
    x -= x.max(axis=-1, keepdims=True)
    if decoding.top_k is not None and decoding.top_k < x.shape[-1]:
        # Before the temperature, which changes no order but could make unequal ones equal by rounding.
        place = x.shape[-1] - decoding.top_k
        least = np.partition(x, place, axis=-1)[:, place, None]
        x = _likeliest(x, least, decoding.top_k, -np.inf)
    x /= max(decoding.temperature, LEAST_TEMPERATURE)
    weights = np.exp(x, out=x)
    if decoding.top_p is not None:
        descending = np.sort(weights, axis=-1)[:, ::-1]
        before = np.cumsum(descending, axis=-1, dtype=np.float64)
        # A token stays if those that are likelier have not made up the share yet.
        last = (before[:, :-1] < decoding.top_p * before[:, -1:]).sum(axis=-1)
        least = descending[np.arange(len(x)), last, None]
        weights = _likeliest(weights, least, 1 + last[:, None])
    if decoding.min_p is not None:
        weights = np.where(weights >= decoding.min_p, weights, 0)
    return weights


def _likeliest(weights: Logits, least: Logits, num_kept: IdRow | int, rest: float = 0.0) -> Logits:
    """Only the likeliest tokens of each row, `num_kept` of them, down to the weight `least` (B, 1).

    Of those that weigh just that, the lower ids are kept. All others become `rest`.
    """
    kept = weights >= least
    if (kept.sum(axis=-1, keepdims=True) > num_kept).any():
        above, ties = weights > least, weights == least
        room = num_kept - above.sum(axis=-1, keepdims=True)
        kept = above | (ties & (np.cumsum(ties, axis=-1) <= room))
    return np.where(kept, weights, rest)


def draw(weights: Logits, generators: Sequence[np.random.Generator]) -> IdRow:
    """One id a row, (B, V) -> (B,), each from its own generator, one random number a draw.

    A token is drawn as often as its weight is of the sum of its row's: weights lie side by side on a
    line, and where a random point falls on it says which (inverse transform sampling).
    """
    uniforms = np.array([generator.random() for generator in generators])
    if weights.shape[1] <= _BLOCK:
        cumulative = _cumulative(weights)
        return _first_above(cumulative, uniforms * cumulative[:, -1])
    # First a block of tokens, by its sum, then one of them: a sum is quicker than sums of all beginnings.
    starts, rows = np.arange(0, weights.shape[1], _BLOCK), np.arange(len(weights))
    sums = np.add.reduceat(weights, starts, axis=1, dtype=np.float64)
    cumulative = _cumulative(sums)
    points = uniforms * cumulative[:, -1]
    blocks = _first_above(cumulative, points)
    ids: IdRow = starts[blocks]
    uniforms = np.clip(1 - (cumulative[rows, blocks] - points) / sums[rows, blocks], 0, _UNDER_1)
    for row, begin in enumerate(ids):
        cumulative = _cumulative(weights[row : row + 1, begin : begin + _BLOCK])
        ids[row] += _first_above(cumulative, uniforms[row] * cumulative[:, -1])[0]
    return ids


def _cumulative(weights: Logits) -> Logits:
    """Where on its row's line each of the weights (B, N) ends, (B, N)."""
    return np.cumsum(weights, axis=-1, dtype=np.float64)


def _first_above(cumulative: Logits, points: Logits) -> IdRow:
    """On which of the weights each point (B,) of their line falls, (B,), never on one of weight 0."""
    chosen: IdRow = (cumulative <= points[:, None]).sum(axis=-1)
    return chosen


class Batch:
    """Texts that are sampled side by side, none at first.

    Each has a prime of its own. `add` takes texts in; `advance` draws the next id of every text in the
    batch; `keep` drops those that are finished.
    """

    def __init__(self, engine: Engine, decoding: DecodingConfig) -> None:
        self.engine = engine
        self.decoding = decoding
        self.generators: list[np.random.Generator] = []
        self._logits: Logits = np.empty((0, engine.vocab_size), np.float32)
        self._state = engine.initial_state(0)
        self._drawn: IdRow | None = None  # (B,), ids that the network has not read yet
        # Of each text, where that matters: its tokens so far.
        self._seen = np.empty((0, engine.vocab_size if self._penalizes else 0), np.bool_)
        # The last prime, as many texts may begin with it: as bytes, and one row of logits and state.
        self._last_prime, self._last_read = b"", (self._logits, self._state)

    @property
    def _penalizes(self) -> bool:
        return self.decoding.repetition_penalty is not None

    def add(
        self,
        primes: Sequence[NDArray[Any]],
        seeds: Sequence[int],
        barred: Sequence[NDArray[Any]] = (),
    ) -> None:
        """More texts, behind those that there are.

        `primes` are ids that begin with the start id; the generator of text b has `seeds[b]`, and the first
        token after its prime is none of `barred[b]`.
        """
        self._read_drawn()
        logits, state = self._after(primes)
        for row, ids in enumerate(barred):
            logits[row, ids] = -np.inf
        self._logits = np.concatenate((self._logits, logits)) if len(self._logits) else logits
        self._state = self.engine.concatenate([self._state, state])
        self._seen = np.concatenate((self._seen, _marked(primes, self._seen.shape[1])))
        self.generators += [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]

    def _after(self, primes: Sequence[NDArray[Any]]) -> tuple[Logits, Any]:
        """The logits (B, V) and the state after each prime, of which equal ones are read once."""
        keys = [prime.tobytes() for prime in primes]
        new = {
            key: prime for key, prime in zip(keys, primes, strict=True) if key != self._last_prime
        }
        logits, state = self._last_read
        known = [self._last_prime] if self._last_prime in keys else []
        if new:
            more, after = read_primes(self.engine, list(new.values()))
            logits = np.concatenate((logits, more)) if known else more
            state = self.engine.concatenate([state, after]) if known else after
        rows = {key: row for row, key in enumerate([*known, *new])}
        last = [rows[keys[-1]]]
        self._last_prime, self._last_read = (
            keys[-1],
            (logits[last], self.engine.select(state, last)),
        )
        places = [rows[key] for key in keys]
        return logits[places], self.engine.select(state, places)

    def advance(self) -> IdRow:
        """Draw the next id of each text, (B,)."""
        self._read_drawn()
        ids: IdRow = np.concatenate([self._choice(rows) for rows in self._slices()])
        if self._penalizes:
            self._seen[np.arange(len(ids)), ids] = True
        self._drawn = ids
        return ids

    def nats(self) -> Logits:
        """What the ids just drawn cost by the model's own distribution, what is barred left out, (B,)."""
        assert self._drawn is not None
        drawn = self._drawn
        return np.concatenate(
            [cross_entropy(self._logits[rows], drawn[rows]) for rows in self._slices()]
        )

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these texts only, in this order."""
        self._seen = self._seen[rows]
        if self._drawn is None:
            self._logits = self._logits[rows]
        else:  # what was drawn from them is all that is still needed
            self._logits = self._logits[:0].copy()
            self._drawn = self._drawn[rows] if len(rows) else None
        self._state = self.engine.select(self._state, rows)
        self.generators = [self.generators[row] for row in rows]

    def _read_drawn(self) -> None:
        """Let the network read what was drawn last."""
        if self._drawn is not None:
            hidden, self._state = self.engine.read(self._drawn[:, None], self._state)
            self._logits = self._logits[:0].copy()  # as they are large, given back before the next
            self._logits, self._drawn = last_logits(self.engine, hidden), None

    def _slices(self) -> list[slice]:
        """The rows, so many at a time that the processor's cache holds their logits."""
        num_texts, vocab_size = self._logits.shape
        return slices(num_texts, max(1, _IN_CACHE // vocab_size))

    def _choice(self, rows: slice) -> IdRow:
        weights = relative_probabilities(self._logits[rows], self.decoding, self._seen[rows])
        if self.decoding.temperature == 0:
            likeliest: IdRow = weights.argmax(axis=-1)
            return likeliest
        return draw(weights, self.generators[rows])


def _marked(primes: Sequence[NDArray[Any]], vocab_size: int) -> NDArray[np.bool_]:
    """Which tokens are in each prime, (B, V), whose first id is not the prime's but the start; or (B, 0)."""
    marks = np.zeros((len(primes), vocab_size), np.bool_)
    for row, prime in enumerate(primes) if vocab_size else ():
        marks[row, prime[1:]] = True
    return marks


def read_primes(engine: Engine, primes: Sequence[NDArray[Any]]) -> tuple[Logits, Any]:
    """The logits (B, V) and the state after each prime.

    They are read side by side, the shorter ones leaving when they end.
    """
    order = sorted(range(len(primes)), key=lambda row: len(primes[row]))
    going = [primes[row] for row in order]
    state, logits, states, start = engine.initial_state(len(going)), [], [], 0
    while going:
        end = len(going[0])
        size = max(1, _WINDOW // len(going))
        for begin in range(start, end, size):
            ids = np.stack([prime[begin : min(begin + size, end)] for prime in going])
            hidden, state = engine.read(ids, state)
        num_done = sum(len(prime) == end for prime in going)
        logits.append(last_logits(engine, hidden[:num_done]))
        states.append(engine.select(state, slice(num_done)))
        state, start = engine.select(state, slice(num_done, None)), end
        going = going[num_done:]
    rows = np.argsort(order).tolist()
    return np.concatenate(logits)[rows], engine.select(engine.concatenate(states), rows)


def last_logits(engine: Engine, hidden: Any) -> Logits:
    """The logits (B, V) of the last step as a NumPy array, wherever the engine keeps them."""
    return as_array(engine.logits(hidden[:, -1]))
