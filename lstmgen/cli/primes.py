"""Where primes of `lstmgen sample` come from: an option, a file, or the lines of a pipe; and their seeds."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lstmgen.cli import console
from lstmgen.cli.ahead import Ahead
from lstmgen.encoding import with_line_feeds
from lstmgen.errors import OptionError
from lstmgen.ranges import RANGES

if TYPE_CHECKING:
    from lstmgen.generation import Prime
    from lstmgen.vocabulary import Vocabulary

MAX_WARNED, MAX_NAMED = 200, 20  # unknown symbols that are told of in all, and by name at a time


def one(prime: str | None, prime_file: str | None, encoding: str) -> str:
    """The prime that was given, or that a file holds without its last line end; else nothing."""
    if prime_file is not None:
        from lstmgen import corpus

        console.note_typing([prime_file])
        text = corpus.read(prime_file, encoding)
        console.note(*text.notes)
        return text.text.removesuffix("\n")
    return as_utf8("--prime", prime or "")


def note_unread() -> None:
    """Tells of text on standard input that nobody has asked to be read."""
    from lstmgen import corpus

    if corpus.is_waiting():
        console.note(
            "there is text on standard input, which is not read: give --prime-file - to go on from it"
        )


def as_utf8(name: str, text: str) -> str:
    """An argument as UTF-8, also where the locale made Python read it as something else.

    Its line ends become LF, as those of files do.
    """
    try:
        return with_line_feeds(os.fsencode(text).decode())
    except UnicodeError:
        raise OptionError(f"{name} {text!r:.60} is not UTF-8; convert it with iconv") from None


class Primes:
    """Each text with each of its seeds; tells once what the model does not know of them."""

    def __init__(
        self, texts: Iterator[str], num_samples: int, seed: int, vocabulary: "Vocabulary"
    ) -> None:
        self.texts, self.num_samples, self.vocabulary = texts, num_samples, vocabulary
        self.first_seed = self.seed = seed
        self._text, self._left = "", 0
        self._warned: set[str] = set()

    def __iter__(self) -> "Primes":
        return self

    def __next__(self) -> "Prime":
        from lstmgen.generation import Prime

        if not self._left:
            self._text, self._left = next(self.texts), self.num_samples
            self._warn(self._text)
        if self.seed > RANGES["--seed"].high:
            number = self.seed - self.first_seed + 1
            raise OptionError(
                f"--seed {self.first_seed} leaves no seed for text {number:,}, as each text has the next "
                "one; give a lower --seed"
            )
        self._left, self.seed = self._left - 1, self.seed + 1
        return Prime(self._text, self.seed - 1)

    def ready(self) -> bool:
        """Whether the next one can be had without waiting for a line."""
        return self._left > 0 or not isinstance(self.texts, Ahead) or self.texts.ready()

    def _warn(self, text: str) -> None:
        if len(self._warned) >= MAX_WARNED:
            return
        from lstmgen.priming import Priming

        unknown = set(Priming(self.vocabulary, text).unknown) - self._warned
        if unknown:
            self._warned |= unknown
            named = [f"{token!r:.40}" for token in sorted(unknown)]
            more = f" and {len(named) - MAX_NAMED:,} more" if len(named) > MAX_NAMED else ""
            told = ", ".join(named[:MAX_NAMED]) + more
            console.note(f"the prime holds what the model does not know: {told}")
            if len(self._warned) >= MAX_WARNED:
                console.note("further unknown tokens are not told")
