"""What a text begins with, as a model reads it, and how the token that follows joins on to it.

By word a token carries the space before it. So a space that ends a prime is left to the token that follows,
which then has to carry one, and it is not written twice.

Shapes: N tokens, M of the vocabulary.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lstmgen.vocabulary import UNKNOWN_ID, Ids, Vocabulary


@dataclass(frozen=True)
class Priming:
    """A prime, and the vocabulary of the model that is to go on from it."""

    vocabulary: Vocabulary
    prime: str

    @cached_property
    def ids(self) -> Ids:
        """What the network reads, (1 + N,): the start, and then the prime's tokens.

        The first word of a prime seldom stands as it would in running text. So where it is not known as
        typed, the same word with (or without) the space before it is taken.
        """
        known = self.vocabulary
        ids = known.encode(self._read)
        if known.level == "word" and len(ids) and ids[0] == UNKNOWN_ID:
            first = known.tokenize(self._read)[0]
            ids[0] = known.ids.get(first[1:] if first.startswith(" ") else " " + first, UNKNOWN_ID)
        return np.concatenate((np.array([known.start_id], known.dtype), ids))

    @property
    def unknown(self) -> list[str]:
        """The tokens of the prime that are not known, each once, in their order."""
        tokens = self.vocabulary.tokenize(self._read)
        places = np.flatnonzero(self.ids[1:] == UNKNOWN_ID).tolist()
        return list(dict.fromkeys(tokens[place] for place in places))

    @property
    def barred(self) -> Ids:
        """The tokens that cannot come right after the prime, (M,).

        Where it ends in a space that is left to them, all that carry none; unless there are no others, or
        the space begins a line.
        """
        within = self._leaves_space and not self._read.endswith("\n") and self._read != ""
        return self.vocabulary.without_space if within else np.empty(0, self.vocabulary.dtype)

    def piece(self, i: int, num_before: int) -> str:
        """What token i adds to the prime and so many tokens after it."""
        token = self.vocabulary.tokens[i]
        return token.removeprefix(" ") if self._leaves_space and not num_before else token

    @property
    def _leaves_space(self) -> bool:
        return self.vocabulary.level == "word" and self.prime.endswith(" ")

    @property
    def _read(self) -> str:
        return self.prime[:-1] if self._leaves_space else self.prime
