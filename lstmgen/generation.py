"""Turns primes, as text, into generated texts: encodes, samples, decodes, and stops at stop strings."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmgen.config import DecodingConfig
from lstmgen.sampling import Batch
from lstmgen.scoring import Engine
from lstmgen.vocabulary import Vocabulary

LENGTH = "length"  # why a text ended that no stop string ended
BATCH_SIZE = 64


@dataclass(frozen=True)
class Prime:
    """What a text begins with, and the seed of what follows."""

    text: str
    seed: int


@dataclass(frozen=True)
class Generated:
    """A finished text, without its prime and without the stop string that ended it."""

    prime: str
    text: str
    tokens: int  # drawn, those of the stop string included
    nats: float  # of the tokens drawn, under the model's own distribution
    stop: str  # LENGTH or the stop string
    seed: int

    def to_json(self) -> dict[str, Any]:
        return {
            "prime": self.prime,
            "text": self.text,
            "tokens": self.tokens,
            "nats": self.nats,
            "stop": self.stop,
            "seed": self.seed,
        }


class Writing:
    """A text as it comes into being: holds back what may turn out to be part of a stop string."""

    def __init__(self, prime: Prime, length: int, stops: Sequence[str]) -> None:
        self.prime = prime
        self.length = length
        self.stops = stops
        self.tokens = 0
        self.nats = 0.0
        self.stop: str | None = LENGTH if length == 0 else None
        self._released: list[str] = []
        self._held = ""

    def add(self, piece: str, nats: float = 0.0) -> str:
        """Take in the next token; returns the text that is certain now, perhaps none."""
        self.tokens += 1
        self.nats += nats
        self._held += piece
        found = [(self._held.find(stop), stop) for stop in self.stops if stop in self._held]
        if found:
            place, self.stop = min(found, key=lambda hit: (hit[0], -len(hit[1])))
            certain, self._held = self._held[:place], ""
        elif self.tokens == self.length:
            self.stop = LENGTH
            certain, self._held = self._held, ""
        else:
            keep = max((_overlap(self._held, stop) for stop in self.stops), default=0)
            cut = len(self._held) - keep
            certain, self._held = self._held[:cut], self._held[cut:]
        self._released.append(certain)
        return certain

    def finished(self) -> Generated:
        assert self.stop is not None
        return Generated(
            self.prime.text, "".join(self._released), self.tokens, self.nats, self.stop,
            self.prime.seed,
        )  # fmt: skip


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that is a beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if stop.startswith(text[-n:])), 0)


def stream(
    engine: Engine,
    vocabulary: Vocabulary,
    prime: Prime,
    *,
    decoding: DecodingConfig,
    length: int,
    stops: Sequence[str] = (),
) -> Iterator[str]:
    """The text that follows one prime, piece by piece as soon as each is certain."""
    writing = Writing(prime, length, stops)
    batch = _begin(engine, vocabulary, [prime], decoding)
    while writing.stop is None:
        if piece := writing.add(vocabulary.tokens[batch.advance()[0]]):
            yield piece


def generate(
    engine: Engine,
    vocabulary: Vocabulary,
    primes: Iterable[Prime],
    *,
    decoding: DecodingConfig,
    length: int,
    stops: Sequence[str] = (),
) -> Iterator[Generated]:
    """A text for each prime, in their order; sampled side by side, `BATCH_SIZE` at a time."""
    primes = iter(primes)
    while block := list(islice(primes, BATCH_SIZE)):
        writings = [Writing(prime, length, stops) for prime in block]
        waiting = writings[:]
        going = [writing for writing in writings if writing.stop is None]
        batch = _begin(engine, vocabulary, block, decoding) if going else None
        while waiting:
            if batch is not None and waiting[0].stop is None:
                ids, costs = batch.advance(), batch.nats()
                for writing, i, cost in zip(going, ids, costs, strict=True):
                    writing.add(vocabulary.tokens[i], float(cost))
                rows = [row for row, writing in enumerate(going) if writing.stop is None]
                if len(rows) < len(going):
                    going = [going[row] for row in rows]
                    batch.keep(rows)
            while waiting and waiting[0].stop is not None:
                yield waiting.pop(0).finished()


def _begin(
    engine: Engine, vocabulary: Vocabulary, primes: Sequence[Prime], decoding: DecodingConfig
) -> Batch:
    def ids(text: str) -> NDArray[Any]:
        start = np.array([vocabulary.start_id], vocabulary.dtype)
        return np.concatenate([start, vocabulary.encode_prime(text)[0]])

    starts = [ids(prime.text) for prime in primes]
    return Batch(engine, starts, decoding, [prime.seed for prime in primes])
