"""Turns a text and how it is to be cut into what a run trains and validates on."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmgen import corpus, vocabulary
from lstmgen.config import CorpusConfig
from lstmgen.corpus import Text
from lstmgen.errors import CorpusError
from lstmgen.vocabulary import UNKNOWN_ID, Ids, Vocabulary

UNKNOWN_SHARE = 1e-4  # of the tokens to train on are `<unk>` at least
COUNTED = 10_000_000  # tokens at once, each of which takes eight bytes meanwhile


@dataclass(frozen=True)
class Dataset:
    """Ids to train and validate on, and the facts by which the same corpus is known again."""

    vocabulary: Vocabulary
    train_ids: Ids
    valid_ids: Ids
    train_characters: int
    valid_characters: int
    placed_unknown: int  # tokens that `<unk>` took the place of, so that it is trained
    facts: Mapping[str, Any]  # how it is cut (`CorpusConfig`), `name`, `sha256`, `valid_sha256`

    @property
    def validates_on_tail(self) -> bool:
        """Whether what is validated on is the end of the text, and not a text of its own."""
        return self.facts["valid_sha256"] is None

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How often each symbol is in the part to train on, (V,)."""
        counts = np.zeros(len(self.vocabulary), np.int64)
        for begin in range(0, len(self.train_ids), COUNTED):
            counts += np.bincount(self.train_ids[begin : begin + COUNTED], minlength=len(counts))
        return counts

    def share_known(self, other: Vocabulary) -> float:
        """What share of the part to train on is of symbols that another vocabulary has too, but `<unk>`."""
        tokens = enumerate(self.vocabulary.tokens)
        known = [i for i, token in tokens if i != UNKNOWN_ID and token in other.ids]
        return float(self.counts[known].sum() / len(self.train_ids))


def prepare(
    text: Text,
    config: CorpusConfig,
    *,
    seed: int,
    held_out: Text | None = None,
    known: Vocabulary | None = None,
    besides: Vocabulary | None = None,
) -> Dataset:
    """Split, build the vocabulary from the training part (unless one is `known`), and encode.

    Symbols of the vocabulary `besides` are known too, whether the text has them or not. `seed` draws which
    tokens become `<unk>` where too few are: see `with_unknown`.
    """
    if held_out is None:
        train_text, valid_text = corpus.split(text.text, config.valid_fraction)
    else:
        train_text, valid_text = text.text, held_out.text
    symbols = known or vocabulary.build(train_text, config)
    if besides:
        symbols = symbols.joined(besides)
    train_ids, placed = with_unknown(symbols.encode(train_text), np.random.default_rng(seed))
    return Dataset(
        vocabulary=symbols,
        train_ids=train_ids,
        valid_ids=symbols.encode(valid_text),
        train_characters=len(train_text),
        valid_characters=len(valid_text),
        placed_unknown=placed,
        facts=config.to_json()
        | {
            "name": text.name,
            "sha256": text.digest,
            "valid_sha256": held_out.digest if held_out else None,
        },
    )


def with_unknown(ids: Ids, generator: np.random.Generator) -> tuple[Ids, int]:
    """The ids with `<unk>` at one place in 10,000 at least, and how many were put there.

    A text in which no symbol is rare would leave `<unk>` untrained, and what it does to the state
    and how likely it is would be left to chance. It takes the place of tokens at random.
    """
    known = int(np.count_nonzero(ids != UNKNOWN_ID))
    missing = int(np.ceil(len(ids) * UNKNOWN_SHARE)) - (len(ids) - known)
    if missing <= 0:
        return ids, 0
    # Some of the known tokens are drawn by their number among these; before each there may be unknown ones.
    numbers = generator.choice(known, missing, replace=False)
    unknown = np.flatnonzero(ids == UNKNOWN_ID)
    known_before = unknown - np.arange(len(unknown))
    ids = ids.copy()
    ids[numbers + np.searchsorted(known_before, numbers, side="right")] = UNKNOWN_ID
    return ids, missing


def require_enough(data: Dataset, window: int) -> None:
    """`CorpusError` without a window to train on, a token to validate on, and a known symbol."""
    name, train, valid = data.facts["name"], len(data.train_ids), len(data.valid_ids)
    if train < window or valid < 1:
        is_tail, way = data.validates_on_tail, ", or a smaller --window"
        if is_tail and (train > window or train == window > 1):  # so nothing is held out
            way = ", or a larger --valid-fraction" + " and a smaller --window" * (train == window)
        elif is_tail and train + valid > window and (valid > train or window == 1):
            way = ", or a smaller --valid-fraction"
        elif is_tail and train == 0:
            way = ", or a smaller --valid-fraction and --window" if valid > 1 else ""
        raise CorpusError(
            f"{name}: it has {train:,} tokens to train on and {valid:,} to validate on, and needs {window:,} "
            f"(a whole --window) and 1; give more text{way}"
        )
    if len(data.vocabulary) < 2:
        raise CorpusError(
            f"{name}: no symbol is seen --min-count {data.facts['min_count']} times in the part to "
            "train on; give more text or a lower --min-count"
        )
