"""Turns two models' costs of the same texts into their difference, and how far chance could have made it.

Shapes: N tokens, M blocks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, inf, log2, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmgen.reading import slices
from lstmgen.scoring import LN2, Score

# A line longer than this share of the text, and than so many characters, is cut into blocks no longer.
LARGE_SHARE, BLOCK_LENGTH = 0.01, 50
FEW_BLOCKS = 10  # with fewer, how much they vary is not known
Z_95 = 1.959964  # standard deviations that hold 95 % of a normal distribution
TOKENS_AT_ONCE = 1 << 20  # so that a long text needs no further arrays of its length
SPELLED = log2(0x110000)  # bits of a character that is guessed among all of Unicode
_LINE_END = re.compile(r"[^\n]\n")


@dataclass(frozen=True)
class Difference:
    """How much more the second model costs than the first, in bits per character; below 0 it costs less."""

    bits_per_character: float
    standard_error: float  # of that
    num_blocks: int  # stretches of the texts in which the models are compared one by one
    characters: int
    unknown_characters: int = 0  # that not both models know; 0 if their vocabularies are the same

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where the difference lies in texts of this kind, in bits per character, with 95 % confidence.

        The confidence is lower where parts longer than a tenth of the text differ from each other, and where
        there are fewer than twenty blocks and neighbours are alike: see `blocked_error`. None for a text that
        is too short to tell.
        """
        if self.num_blocks < FEW_BLOCKS:
            return None
        reach = t_95(self.num_blocks - 1) * self.standard_error
        return self.bits_per_character - reach, self.bits_per_character + reach

    @property
    def is_more_than_chance(self) -> bool | None:
        """Whether the interval leaves 0 out.

        None for a text that is too short to tell, and where that hangs on what it would cost to spell what
        is unknown.
        """
        if self.interval is None:
            return None
        low, high = self.interval
        spelled = SPELLED * self.unknown_characters / self.characters
        if low - spelled > 0 or high + spelled < 0:
            return True
        return False if low + spelled <= 0 <= high - spelled else None

    def to_json(self) -> dict[str, Any]:
        return {
            "difference": self.bits_per_character,
            "standard_error": self.standard_error if self.num_blocks > 1 else None,
            "interval": list(self.interval) if self.interval else None,
            "blocks": self.num_blocks,
            "unknown_characters": self.unknown_characters,
            "more_than_chance": self.is_more_than_chance,
        }


@dataclass(frozen=True)
class Costs:
    """What a text, or several in all, cost each of some models, the first of which the others differ from."""

    scores: Sequence[Score]
    blocks: Sequence[NDArray[np.float64]]  # the nats of each block, (M,)
    ends: NDArray[np.int64]  # of the blocks, (M,)
    unknown_characters: Sequence[int]  # of the first and each, as in `Difference`

    def differences(self) -> list[Difference]:
        """Of each model but the first, from the first."""
        others = zip(self.blocks[1:], self.unknown_characters[1:], strict=True)
        return [
            difference(self.blocks[0], blocks, self.ends, unknown) for blocks, unknown in others
        ]


def total(parts: Sequence[Costs]) -> Costs:
    """The costs of several texts in all."""
    return Costs(
        [sum(scores, Score()) for scores in zip(*(part.scores for part in parts), strict=True)],
        [np.concatenate(blocks) for blocks in zip(*(part.blocks for part in parts), strict=True)],
        joined([part.ends for part in parts]),
        [sum(counts) for counts in zip(*(part.unknown_characters for part in parts), strict=True)],
    )


def t_95(degrees: int) -> float:
    """What holds 95 % of Student's distribution, in standard errors that are themselves estimated.

    By its expansion about the normal one (Abramowitz & Stegun, 26.7.5): right to 0.001 from 9 degrees of
    freedom on.
    """
    z, n = Z_95, degrees
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )


def edges(text: str) -> NDArray[np.int64]:
    """Where blocks end, in characters, (M,): after each line that is not empty, and evenly in a long line.

    Empty lines belong to the next that is not, or at the end of the text to the last. A line that is a large
    share of the text is cut: as a single block it would hide how much it varies within, since it is only
    measured how blocks differ from each other.
    """
    ends = [line.end() for line in _LINE_END.finditer(text.rstrip("\n"))] + [len(text)]
    most, found, begin = max(BLOCK_LENGTH, ceil(LARGE_SHARE * len(text))), list[int](), 0
    for end in ends:
        count = max(1, ceil((end - begin) / most))
        found += [begin + (end - begin) * k // count for k in range(1, count + 1)]
        begin = end
    return np.array(found, np.int64)


def joined(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The ends of the blocks of several texts one after the other, from those of each."""
    begins = accumulate((int(ends[-1]) for ends in parts[:-1]), initial=0)
    return np.concatenate([begin + ends for begin, ends in zip(begins, parts, strict=True)])


def by_block(
    lengths: NDArray[np.int64], nats: NDArray[np.float64], ends: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The nats of each block: lengths in characters and nats of N tokens, (N,), and M ends -> (M,).

    A token belongs to the block in which it ends.
    """
    sums, end = np.zeros(len(ends)), 0
    for part in slices(len(nats), TOKENS_AT_ONCE):
        ending = end + np.cumsum(lengths[part])
        sums += np.bincount(np.searchsorted(ends, ending), nats[part], minlength=len(ends))
        end = int(ending[-1])
    return sums


def difference(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    ends: NDArray[np.int64],
    unknown_characters: int = 0,
) -> Difference:
    """What the blocks of two models say of their difference: the nats and the ends of each, (M,).

    `unknown_characters` are those that not both know, where their vocabularies differ.
    """
    characters, more = np.diff(ends, prepend=0), second - first
    ratio = float(more.sum()) / int(characters.sum())
    error, num_blocks = blocked_error(more, characters)
    return Difference(
        ratio / LN2, error / LN2, num_blocks, int(characters.sum()), unknown_characters
    )


def blocked_error(values: NDArray[np.float64], sizes: NDArray[Any]) -> tuple[float, int]:
    """The standard error of sum(values) / sum(sizes), and by how many blocks it was found.

    `values` and `sizes` are those of the blocks in the order of the text, (M,). What stands close together in
    a text is alike, and so each block says less than one drawn by itself would. So neighbours are taken
    together, two and two, again and again while `FEW_BLOCKS` are left (blocking: Flyvbjerg & Petersen, 1989,
    who look where the error grows no more). To be safe, what makes the widest interval counts. Where blocks
    have nothing to do with each other, that makes it a tenth or more wider. What is alike over more than a
    tenth of the text, as chapters may be, shows in none of these errors, and they are too small then.
    """
    found = list[tuple[float, int]]()
    while not found or len(values) >= FEW_BLOCKS:
        found.append((_ratio_error(values, sizes), len(values)))
        starts = np.arange(0, len(values), 2)
        values, sizes = np.add.reduceat(values, starts), np.add.reduceat(sizes, starts)
    return max(found, key=lambda one: t_95(max(1, one[1] - 1)) * one[0])


def _ratio_error(values: NDArray[np.float64], sizes: NDArray[Any]) -> float:
    """The standard error of a ratio of sums over blocks that are drawn at random (Cochran, 1977).

    R = sum y / sum x has sqrt(M / (M - 1) sum (y - R x)^2) / sum x; a single block tells nothing, so inf.
    """
    count, total = len(values), float(sizes.sum())
    rest = values - float(values.sum()) / total * sizes
    return sqrt(count / (count - 1) * float(rest @ rest)) / total if count > 1 else inf
