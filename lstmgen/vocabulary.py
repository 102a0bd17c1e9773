"""Turns text into ids and ids into text, by character or by word.

At either level the tokens joined give the text back: a word carries the blank before it, and a line
end is a token (with the blanks before it, so that a trailing blank is no token of its own). What the
vocabulary does not hold becomes `<unk>`, which every vocabulary has as id 0.

Shapes: N tokens.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lstmgen.config import CorpusConfig, Level, Words
from lstmgen.errors import OptionError

Ids = NDArray[np.unsignedinteger[Any]]

UNKNOWN_ID = 0
UNKNOWN: dict[Level, str] = {"char": "<unk>", "word": " <unk>"}

# The three alternatives at the end of each: a line end, the blanks before the one that a word carries, the
# last blanks of a text. A blank is white space other than the line end; that of most words is a space.
_BLANKS = r"[^\S\n]*\n|[^\S\n]+(?=[^\S\n]\S)|[^\S\n]+"
# Punctuation of the world's larger scripts. Everything else that is not white space belongs to words,
# the vowel signs of Indic scripts too, which `\w` leaves out.
_MARKS = (
    r"!-/:-@\[-^`{-~¡-©«¬®-±´¶-¸»-¿×÷\u055a-\u055f\u0589\u05be\u05c3\u060c\u061b\u061f\u066a-\u066d"
    r"\u06d4\u0964\u0965\u104a-\u104f\u1361-\u1368\u2010-\u2027\u2030-\u205e\u3001-\u3003"
    r"\u3008-\u3020\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
_WORD = rf"[^\s{_MARKS}]"
_PATTERNS: dict[Words, re.Pattern[str]] = {
    "space": re.compile(rf"[^\S\n]?\S+|{_BLANKS}"),
    "prose": re.compile(rf"[^\S\n]?(?:{_WORD}+(?:['’]{_WORD}+)*|[{_MARKS}])|{_BLANKS}"),
}  # fmt: skip

# Characters: a longer token is not known, as each that is drawn takes so much room.
MAX_LENGTH = 10_000
_CHUNK = 1 << 20  # characters cut into words at a time, so that memory holds few strings at once
_CUT = re.compile(r"\n|(?=[^\S\n]\S)")  # after a line end, or before a word and its blank


@dataclass(frozen=True)
class Vocabulary:
    """The known tokens, `<unk>` first and the rest sorted; the id of a token is its place.

    `ValueError` for tokens that are not so.
    """

    level: Level
    words: Words
    tokens: tuple[str, ...]
    start: str | None = None  # the usual line end, where that is not the shortest

    def __post_init__(self) -> None:
        ordered = all(low < high for low, high in pairwise(self.tokens[1:]))
        unknown = UNKNOWN[self.level]
        if self.tokens[:1] != (unknown,) or unknown in self.tokens[1:] or not ordered:
            raise ValueError("a vocabulary is <unk> and then distinct tokens in sorted order")

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}

    def joined(self, other: "Vocabulary") -> "Vocabulary":
        """The symbols of both, cut the same way; a text is read as if it followed this one's line end.

        Where this one has none, the other's.
        """
        symbols = {*self.tokens, *other.tokens} - {UNKNOWN[self.level]}
        begins = [one.tokens[one.start_id] for one in (self, other) if one.start_id != UNKNOWN_ID]
        return _beginning(self.level, self.words, symbols, next(iter(begins), None))

    def cannot_write(self, text: str) -> list[str]:
        """The characters of a text that are in no token, each once, in their order."""
        written = set("".join(self.tokens[UNKNOWN_ID + 1 :]))
        return [character for character in dict.fromkeys(text) if character not in written]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer type that holds every id."""
        return np.min_scalar_type(len(self) - 1)

    @cached_property
    def start_id(self) -> int:
        """The id of what a text is read as if it followed: the usual line end, `<unk>` without one."""
        if self.start is not None:
            return self.ids[self.start]
        return self.ids[min(ends, key=len)] if (ends := _line_ends(self.tokens)) else UNKNOWN_ID

    def encode(self, text: str) -> Ids:
        """The ids of a text, (N,); tokens that are not known become `UNKNOWN_ID`."""
        if self.level == "char":
            return _take(text, self._table)
        known, dtype = self.ids, self.dtype
        parts = [
            np.fromiter((known.get(token, UNKNOWN_ID) for token in tokens), dtype, len(tokens))
            for tokens in _chunks(text, self.words)
        ]
        return np.concatenate(parts) if parts else np.empty(0, dtype)

    def tokenize(self, text: str) -> Sequence[str]:
        """The tokens of a text as they stand in it, known or not."""
        return text if self.level == "char" else _tokenize(text, self.words)

    def lengths(self, text: str) -> NDArray[np.int64]:
        """The number of characters of each token of a text, (N,)."""
        if self.level == "char":
            return np.broadcast_to(np.int64(1), len(text))  # which is one number in memory
        chunks = _chunks(text, self.words)
        parts = [np.fromiter(map(len, tokens), np.int64, len(tokens)) for tokens in chunks]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    @cached_property
    def without_space(self) -> Ids:
        """The tokens that are no word with a space before it, `<unk>` aside; none if all are such."""
        known = range(UNKNOWN_ID + 1, len(self))
        fits = [self.tokens[i].startswith(" ") and not self.tokens[i].isspace() for i in known]
        others = [i for i, begins in zip(known, fits, strict=True) if not begins]
        return np.array(others if any(fits) else [], self.dtype)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids: what `encode` was given, but for what is not known."""
        return "".join([self.tokens[i] for i in ids])

    def count_unknown(self, ids: Ids) -> int:
        """How many of the ids stand for what it does not know."""
        return int(np.count_nonzero(ids == UNKNOWN_ID))

    @cached_property
    def _table(self) -> Ids:
        """For the character level: the id of each code point up to the largest known one, + 1."""
        points = np.array([ord(token) for token in self.tokens[1:]], np.int64)
        table = np.full(points.max(initial=255) + 2, UNKNOWN_ID, self.dtype)
        table[points] = np.arange(1, len(self), dtype=self.dtype)
        return table

    def to_json(self) -> dict[str, Any]:
        start = {} if self.start is None else {"start": self.start}  # which older files never have
        return {"level": self.level, "words": self.words, "tokens": list(self.tokens), **start}

    @classmethod
    def from_json(cls, data: object) -> "Vocabulary":
        """The vocabulary that `to_json` described; `OptionError` says what does not fit."""
        if not isinstance(data, dict) or set(data) - {"start"} != {"level", "words", "tokens"}:
            raise OptionError("the vocabulary is not of the form level, words, tokens")
        level, words, tokens = data["level"], data["words"], data["tokens"]
        start = data.get("start")
        if level not in get_args(Level) or words not in get_args(Words):
            raise OptionError(f"the vocabulary is of an unknown kind: {level!r:.40} {words!r:.40}")
        if not isinstance(tokens, list) or not all(isinstance(t, str) and t for t in tokens):
            raise OptionError("the vocabulary holds something that is not a token")
        if any(len(token) > MAX_LENGTH for token in tokens):
            raise OptionError(
                f"the vocabulary holds a token of more than {MAX_LENGTH:,} characters"
            )
        if level == "char" and any(len(token) != 1 for token in tokens[1:]):
            raise OptionError("the vocabulary is by character but holds longer tokens")
        if start is not None and start not in _line_ends(tokens):
            raise OptionError(f"the vocabulary has no line end {start!r:.40}")
        try:
            "".join(tokens).encode()
            return cls(level, words, tuple(tokens), start)
        except ValueError as error:
            raise OptionError(f"the vocabulary is damaged: {error!s:.80}") from None


def is_tokenised(text: str) -> bool:
    """Whether rare words have been replaced in a text already, as in WikiText and Penn Treebank."""
    return UNKNOWN["word"] + " " in text


def build(text: str, config: CorpusConfig) -> Vocabulary:
    """The vocabulary of a text: every symbol seen `min_count` times, the `max_vocab` most frequent.

    None is longer than `MAX_LENGTH` characters. Of equally frequent symbols the one that sorts first is
    kept. `max_vocab` counts `<unk>`. One that stands in the text, after a blank or not, is the unknown token
    too, where the text is cut at white space only.
    """
    counts = _count_characters(text) if config.level == "char" else _count_words(text, config.words)
    kept = [
        token
        for token, count in counts.items()
        if count >= config.min_count
        and len(token) <= MAX_LENGTH
        and token.strip() != UNKNOWN["char"]
    ]
    if config.max_vocab is not None and len(kept) >= config.max_vocab:
        kept = sorted(kept, key=lambda token: (-counts[token], token))[: config.max_vocab - 1]
    usual = max(_line_ends(kept), key=lambda end: (counts[end], -len(end)), default=None)
    return _beginning(config.level, config.words, kept, usual)


def _beginning(level: Level, words: Words, symbols: Iterable[str], usual: str | None) -> Vocabulary:
    """The vocabulary of these symbols, whose usual line end is told, if there is one."""
    found = Vocabulary(level, words, (UNKNOWN[level], *sorted(symbols)))
    return found if usual in (None, found.tokens[found.start_id]) else replace(found, start=usual)


def _line_ends(tokens: Iterable[str]) -> list[str]:
    return [token for token in tokens if token.endswith("\n")]


def _count_characters(text: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for start in range(0, len(text), _CHUNK):
        points, times = np.unique(_code_points(text[start : start + _CHUNK]), return_counts=True)
        counts.update(dict(zip(map(chr, points.tolist()), times.tolist(), strict=True)))
    return counts


def _count_words(text: str, words: Words) -> Counter[str]:
    counts: Counter[str] = Counter()
    for tokens in _chunks(text, words):
        counts.update(tokens)
    return counts


def _tokenize(text: str, words: Words) -> list[str]:
    return _PATTERNS[words].findall(text)


def _chunks(text: str, words: Words) -> Iterator[list[str]]:
    """The words of a text, many at a time, cut where none goes on."""
    start = 0
    while start < len(text):
        cut = _CUT.search(text, start + _CHUNK)
        end = cut.end() if cut else len(text)
        yield _tokenize(text[start:end], words)
        start = end


def _take(text: str, table: Ids) -> Ids:
    """table[code point] of each character; the table's last entry stands for all beyond it."""
    if table.dtype == np.uint8 and text.isascii():
        return np.frombuffer(text.encode("ascii").translate(table[:256].tobytes()), np.uint8)
    ids = np.empty(len(text), table.dtype)
    for start in range(0, len(text), _CHUNK):
        points = _code_points(text[start : start + _CHUNK])
        np.take(table, points, out=ids[start : start + _CHUNK], mode="clip")
    return ids


def _code_points(text: str) -> NDArray[Any]:
    kind: Literal["latin-1", "utf-32-le"] = "latin-1" if text.isascii() else "utf-32-le"
    return np.frombuffer(text.encode(kind, "surrogatepass"), np.uint8 if text.isascii() else "<u4")
