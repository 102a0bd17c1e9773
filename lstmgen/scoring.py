"""Turns ids into nats: the one loss of the project, and what a score is.

Training on a large vocabulary estimates that loss (`sampled_softmax`); a score never does.

Shapes: B streams, T tokens, N targets, H hidden, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import exp, inf, isfinite, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmgen.batching import IGNORED, Streams
from lstmgen.reading import Engine, as_array, read_windows, slices
from lstmgen.vocabulary import Ids, Vocabulary

Watched = Callable[[Iterator[Any], int], Iterator[Any]]  # parts, and how many -> the same parts

LN2 = log(2)
WARM_UP = 512  # tokens
MAX_STREAMS = 64
WINDOW = 64  # tokens of each stream read in one call
MAX_LOGITS_IN_CACHE = 1 << 20  # floats held at once: 4 MB stay in the processor's cache
MAX_LOGITS_ON_GPU = 1 << 24  # the same there, where each part takes a while to begin: 64 MB
MANY_ROWS = 2048  # at once where symbols come in parts: as much as a product can gain by rows


@dataclass(frozen=True)
class Score:
    """What a text costs: `-log p` summed over its tokens, and what to divide it by.

    Scores add up: the score of two texts is the sum of theirs, and only the sum is divided.
    """

    nats: float = 0.0  # by the natural logarithm; divided by ln 2 they are bits
    tokens: int = 0
    characters: int = 0
    unknown_tokens: int = 0

    @classmethod
    def of(cls, nats: float, vocabulary: Vocabulary, ids: Ids, characters: int) -> "Score":
        """The score of a text, given its nats, its ids and how many characters it has."""
        return cls(nats, len(ids), characters, vocabulary.count_unknown(ids))

    def __add__(self, other: "Score") -> "Score":
        return Score(
            self.nats + other.nats,
            self.tokens + other.tokens,
            self.characters + other.characters,
            self.unknown_tokens + other.unknown_tokens,
        )

    @property
    def nats_per_token(self) -> float:
        """The mean over the tokens, of which there must be at least one: what training minimises."""
        return self.nats / self.tokens

    @property
    def bits_per_character(self) -> float:
        """The nats in bits, divided by the characters of the text, at least one."""
        return self.nats / LN2 / self.characters

    @property
    def perplexity(self) -> float:
        """exp(nats per token); infinite from 709 on, where a float soon cannot hold it."""
        return exp(self.nats_per_token) if self.nats_per_token < 709 else inf

    def to_json(self) -> dict[str, float | int | None]:
        return {
            "nats": self.nats,
            "tokens": self.tokens,
            "characters": self.characters,
            "unknown_tokens": self.unknown_tokens,
            "nats_per_token": self.nats_per_token,
            "bits_per_character": self.bits_per_character,
            "perplexity": self.perplexity if isfinite(self.perplexity) else None,
        }


def cross_entropy(logits: Any, targets: Any) -> Any:
    """-log softmax(logits)[target] of each target: (..., V) and (...) -> (...), 0 where `IGNORED`.

    Takes and gives NumPy arrays or torch tensors; with tensors it can be differentiated.
    """
    if isinstance(logits, np.ndarray):
        targets = np.asarray(targets)
        # -log(e^z[target] / sum of e^z) = log(sum of e^z) - z[target]
        largest = logits.max(axis=-1, keepdims=True)  # subtracted, so that nothing overflows
        log_sum = np.log(np.exp(logits - largest).sum(axis=-1)) + largest[..., 0]
        # `IGNORED` is no place to look up; 0 is taken, and dropped again.
        chosen = np.take_along_axis(logits, np.maximum(targets, 0)[..., None], axis=-1)[..., 0]
        return np.where(targets == IGNORED, 0, log_sum - chosen)
    from torch.nn import functional

    rows = logits.reshape(-1, logits.shape[-1]).float()
    flat = functional.cross_entropy(
        rows, targets.reshape(-1), reduction="none", ignore_index=IGNORED
    )
    return flat.view(targets.shape)


def unwatched(parts: Iterator[Any], num_parts: int) -> Iterator[Any]:
    """`Watched` by nobody; others may show whoever waits how far it is."""
    return parts


def score_ids(engine: Engine, ids: Ids, start_id: int, watched: Watched = unwatched) -> float:
    """The nats of a text, summed over every token in float64; the first is scored too."""
    if not len(ids):
        return 0.0
    streams = streams_to_score(ids, start_id)
    return sum(watched(window_nats(engine, streams), streams.num_windows))


def score_text(
    engine: Engine,
    vocabulary: Vocabulary,
    ids: Ids,
    characters: int,
    watched: Watched = unwatched,
) -> Score:
    """The score of a text, given its ids and how many characters it has.

    The validation of a run, `eval` and `TrainedModel.score` are this.
    """
    nats = score_ids(engine, ids, vocabulary.start_id, watched)
    return Score.of(nats, vocabulary, ids, characters)


def streams_to_score(ids: Ids, start_id: int) -> Streams:
    """A text cut so that it is scored fast: into streams that are read side by side.

    Each stream first reads the `WARM_UP` tokens that stand before its part without counting them, so
    that its state is very nearly what it would be had the text been read in one piece. With 512 tokens
    that changes a score by less than 0.001 bits per character (unless a `--memory` of as much has
    taught a network to look further back). Fewer streams are used where the text is
    short: each is at least four times as long as its warm-up, and a text of less than eight warm-ups is
    read in one piece. The window bounds memory only; it changes nothing.
    """
    batch_size = min(MAX_STREAMS, max(1, len(ids) // (4 * WARM_UP)))
    return Streams(ids, start_id, batch_size, WINDOW, WARM_UP)


def window_nats(engine: Engine, streams: Streams) -> Iterator[float]:
    """The nats of one window after the other."""
    for hidden, targets, _ in read_windows(engine, streams):
        yield float(token_nats(engine, hidden, targets).sum())


def token_nats(engine: Engine, hidden: Any, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """The nats of N targets, (N,), none of them `IGNORED`, given hidden, (N, H).

    Logits are made for some rows, and if the vocabulary is large for some symbols, at a time.
    """
    xp, mode = _library(hidden)
    most = MAX_LOGITS_IN_CACHE if xp is np or hidden.is_cpu else MAX_LOGITS_ON_GPU
    costs: NDArray[np.float64] = np.empty(len(targets))
    for rows in slices(len(targets), max(MANY_ROWS, most // engine.vocab_size)):
        here, wanted = hidden[rows], targets[rows]
        parts = slices(engine.vocab_size, max(1, most // len(wanted)))
        with mode():
            if xp is not np:
                wanted = xp.from_numpy(wanted).to(here.device)
            if len(parts) == 1:
                costs[rows] = as_array(cross_entropy(engine.logits(here), wanted))
            else:
                costs[rows] = as_array(_nats_by_parts(xp, engine, here, wanted, parts))
    return costs


def _library(values: Any) -> tuple[Any, Callable[[], AbstractContextManager[object]]]:
    """NumPy or torch, whichever these are of, and a context in which nothing is differentiated."""
    if isinstance(values, np.ndarray):
        return np, nullcontext
    import torch

    return torch, torch.inference_mode


def _nats_by_parts(
    xp: Any, engine: Engine, hidden: Any, targets: Any, parts: Sequence[slice]
) -> Any:
    """What `cross_entropy` gives, with the vocabulary in `parts`, of which only one at a time has logits.

    log(e^a + e^b + ...) is added up part by part, so that logits never leave the processor's cache.
    """
    log_sum: Any = None
    own: Any = 0.0
    rows = xp.arange(len(hidden), device=hidden.device)
    for part in parts:
        z = engine.logits(hidden, part)
        place = xp.clip(targets - part.start, 0, z.shape[1] - 1)
        own = xp.where(targets == part.start + place, z[rows, place], own)
        largest = xp.amax(z, -1)
        z -= largest[:, None]
        here = largest + xp.log(xp.exp(z, out=z).sum(-1))
        log_sum = here if log_sum is None else xp.logaddexp(log_sum, here)
    return log_sum - own
