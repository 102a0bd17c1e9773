"""Turns a prime into a stream of ids: what comes next is drawn from the model's distribution (`drawing`).

Knows ids and logits, not text. Shapes: B texts sampled side by side, V vocabulary.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmgen.config import DecodingConfig
from lstmgen.drawing import IdRow, Logits, Uniforms, draw, relative_probabilities
from lstmgen.reading import Engine, last_logits, logits_after, slices
from lstmgen.scoring import cross_entropy

_IN_CACHE = 1 << 16  # logits that are worked on together


class Batch:
    """Texts that are sampled side by side, none at first.

    Each has a prime of its own. `add` takes texts in; `advance` draws the next id of every text in the
    batch; `keep` drops those that are finished.
    """

    def __init__(self, engine: Engine, decoding: DecodingConfig) -> None:
        self.engine = engine
        self.decoding = decoding
        self._uniforms = Uniforms()
        self._logits: Logits = np.empty((0, engine.vocab_size), np.float32)
        self._state = engine.initial_state(0)
        self._drawn: IdRow | None = None  # (B,), ids that the network has not read yet
        # Of each text, where that matters: its tokens so far.
        self._seen = np.empty((0, engine.vocab_size if self._penalizes else 0), np.bool_)
        # The last prime, as many texts may begin with it: its digest, and one row of logits and state.
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

        `primes` are ids that begin with the start id; the random numbers of text b are of `seeds[b]`, and the
        first token after its prime is none of `barred[b]`.
        """
        self._read_drawn()
        logits, state = self._after(primes)
        for row, ids in enumerate(barred):
            logits[row, ids] = -np.inf
        self._logits = np.concatenate((self._logits, logits)) if len(self._logits) else logits
        self._state = self.engine.concatenate([self._state, state])
        self._seen = np.concatenate((self._seen, _marked(primes, self._seen.shape[1])))
        self._uniforms.add(seeds)

    def _after(self, primes: Sequence[NDArray[Any]]) -> tuple[Logits, Any]:
        """The logits (B, V) and the state after each prime, of which equal ones are read once."""
        keys = [sha256(prime.data).digest() for prime in primes]  # as there may be many long ones
        new = {
            key: prime for key, prime in zip(keys, primes, strict=True) if key != self._last_prime
        }
        logits, state = self._last_read
        known = [self._last_prime] if self._last_prime in keys else []
        if new:
            more, after = logits_after(self.engine, list(new.values()))
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
        uniforms = None if self.decoding.temperature == 0 else self._uniforms.take()
        ids: IdRow = np.concatenate([self._choice(rows, uniforms) for rows in self._slices()])
        if self._penalizes:
            self._seen[np.arange(len(ids)), ids] = True
        self._drawn = ids
        return ids

    def nats(self) -> NDArray[np.floating[Any]]:
        """What the ids just drawn cost by the model's own distribution, what is barred left out, (B,).

        `ValueError` where none have been.
        """
        if self._drawn is None:
            raise ValueError("nothing has been drawn yet; `advance` draws")
        drawn = self._drawn
        return np.concatenate(
            [cross_entropy(self._logits[rows], drawn[rows]) for rows in self._slices()]
        )

    def keep(self, rows: list[int]) -> None:
        """Go on with these texts only, in this order."""
        self._seen = self._seen[rows]
        if self._drawn is None:
            self._logits = self._logits[rows]
        else:  # what was drawn from them is all that is still needed
            self._logits = self._logits[:0].copy()
            self._drawn = self._drawn[rows] if len(rows) else None
        self._state = self.engine.select(self._state, rows)
        self._uniforms.keep(rows)

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

    def _choice(self, rows: slice, uniforms: NDArray[np.float64] | None) -> IdRow:
        """The next ids of some of the texts; without random numbers the likeliest."""
        weights = relative_probabilities(self._logits[rows], self.decoding, self._seen[rows])
        if uniforms is None:
            likeliest: IdRow = weights.argmax(axis=-1)
            return likeliest
        return draw(weights, uniforms[rows])


def _marked(primes: Sequence[NDArray[Any]], vocab_size: int) -> NDArray[np.bool_]:
    """Which tokens are in each prime, (B, V), whose first id is not the prime's but the start; or (B, 0)."""
    marks = np.zeros((len(primes), vocab_size), np.bool_)
    for row, prime in enumerate(primes) if vocab_size else ():
        marks[row, prime[1:]] = True
    return marks
