"""Turns primes, as text, into generated texts: encodes, samples, decodes, and stops at stop strings."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import nan
from typing import Any

from lstmgen.config import DecodingConfig
from lstmgen.encoding import with_line_feeds
from lstmgen.errors import OptionError
from lstmgen.priming import Priming
from lstmgen.ranges import require_text
from lstmgen.reading import Engine
from lstmgen.sampling import Batch
from lstmgen.vocabulary import Vocabulary

LENGTH = "length"  # why a text ended that no stop string ended
BATCH_SIZE = 256  # texts side by side: from here on more gain little
MAX_LOGITS_SIDE_BY_SIDE = 1 << 21  # of all of them: 8 MB
MAX_HELD = 16 * BATCH_SIZE  # texts under way and finished ones that wait for one before them


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
    tokens: int  # those of the stop string included
    nats: float  # of these tokens, by the model's own distribution, what is barred left out; NaN if unwanted
    stop: str  # LENGTH or the stop string
    seed: int | None  # none of a beam search

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Writing:
    """A text as it comes into being: holds back what may turn out to be part of a stop string."""

    def __init__(self, priming: Priming, seed: int, length: int, stops: Sequence[str]) -> None:
        self.priming = priming
        self.seed = seed
        self.length = length
        self.stops = stops
        self.tokens = 0
        self.nats = 0.0
        self.stop: str | None = LENGTH if length == 0 else None
        self.pieces: list[str] = []  # of the text, where all of it is wanted at the end
        self._held = ""

    def add(self, i: int, nats: float = nan) -> str:
        """Take in the next token, by its id; returns the text that is certain now, perhaps none."""
        piece = self.priming.piece(i, self.tokens)
        self.tokens += 1
        self.nats += nats
        if self.stops:
            piece = self._before_stop(self._held + piece)
        if self.tokens == self.length and self.stop is None:
            self.stop = LENGTH
            piece += self._held
        return piece

    def _before_stop(self, text: str) -> str:
        """What of the text not yet given out is no part of a stop string, nor can become one."""
        if found := first_stop(text, self.stops):
            cut, self.stop = found
            return text[:cut]
        cut = len(text) - max(_overlap(text, stop) for stop in self.stops)
        self._held = text[cut:]
        return text[:cut]

    def finished(self) -> Generated:
        assert self.stop is not None
        return Generated(
            self.priming.prime, "".join(self.pieces), self.tokens, self.nats, self.stop, self.seed
        )


def stop_strings(stop: str | Sequence[str]) -> tuple[str, ...]:
    """What ends texts, with LF for CRLF and CR as in what is read.

    `OptionError` for an empty stop string, `ValueError` for what is no `str`.
    """
    if not isinstance(stop, Iterable):
        raise ValueError(f"stop is {stop!r:.40}, not a text or a list of them; () stops at none")
    texts = [stop] if isinstance(stop, str) else list(stop)
    for text in texts:
        require_text("--stop", text)
    stops = tuple(map(with_line_feeds, texts))
    if "" in stops:
        raise OptionError("--stop is empty; give the text to stop at, or leave --stop out")
    return stops


def first_stop(text: str, stops: Sequence[str]) -> tuple[int, str] | None:
    """Where the first stop string in a text begins, and which it is: of several the longest."""
    found = [(text.find(stop), stop) for stop in stops if stop in text]
    return min(found, key=lambda hit: (hit[0], -len(hit[1])), default=None)


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
    writing = Writing(Priming(vocabulary, prime.text), prime.seed, length, stops)
    batch = Batch(engine, decoding)
    _begin(batch, [writing])
    while writing.stop is None:
        if piece := writing.add(batch.advance()[0]):
            yield piece


def generate(
    engine: Engine,
    vocabulary: Vocabulary,
    primes: Iterable[Prime],
    *,
    decoding: DecodingConfig,
    length: int,
    stops: Sequence[str] = (),
    ready: Callable[[], bool] = lambda: True,
    with_nats: bool = True,
) -> Iterator[Generated]:
    """A text for each prime, in their order, up to `BATCH_SIZE` of them sampled side by side.

    They are fewer where the vocabulary is so large that their logits would fill the memory.
    When enough have ended, others take their places. `ready` says whether the next prime is at hand;
    while it is not, and texts are under way, these go on first. What goes wrong with a prime is raised after
    the texts of those before it. Without `with_nats` what texts cost is not counted, which saves time.
    """
    primes, more = iter(primes), True
    wrong: Exception | None = None
    batch_size = min(BATCH_SIZE, max(1, MAX_LOGITS_SIDE_BY_SIDE // engine.vocab_size))
    texts: deque[Writing] = deque()  # in order: those under way and finished ones that wait
    going: list[Writing] = []
    batch = Batch(engine, decoding)
    priming = Priming(vocabulary, "")  # the latest, as many texts may begin with the same
    while more or texts:
        while texts and texts[0].stop is not None:
            yield texts.popleft().finished()
        new: list[Writing] = []
        room = batch_size - len(going)
        if room < batch_size // 4:  # it is quicker to read some primes side by side
            room = 0
        while more and len(new) < room and len(texts) < MAX_HELD and (not texts or ready()):
            try:
                prime = next(primes, None)
            except Exception as error:
                wrong, prime = error, None
            if prime is None:
                more = False
            else:
                if priming.prime != prime.text:
                    priming = Priming(vocabulary, prime.text)
                texts.append(Writing(priming, prime.seed, length, stops))
                new += [texts[-1]] if length else []
        if new:
            _begin(batch, new)
            going += new
        if going:
            ids = batch.advance().tolist()
            costs = batch.nats().tolist() if with_nats else [nan] * len(ids)
            for writing, i, cost in zip(going, ids, costs, strict=True):
                writing.pieces.append(writing.add(i, cost))
                if writing.stop is not None:
                    # It may wait long for those before it, and so takes less memory.
                    writing.pieces = ["".join(writing.pieces)]
            rows = [row for row, writing in enumerate(going) if writing.stop is None]
            if len(rows) < len(going):
                batch.keep(rows)
            going = [going[row] for row in rows]
    if wrong:
        raise wrong


def _begin(batch: Batch, writings: Sequence[Writing]) -> None:
    batch.add(
        [writing.priming.ids for writing in writings],
        [writing.seed for writing in writings],
        [writing.priming.barred for writing in writings],
    )
