"""Turns files and standard input into one clean text, and a text into training and validation parts."""

import codecs
import gzip
import hashlib
import os
import re
import select
import stat
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from gzip import GzipFile
from io import BufferedReader, FileIO
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstmgen.config import DEFAULT_ENCODING
from lstmgen.detection import GZIP, INSPECTED, MARKED, doubt, require_plain
from lstmgen.encoding import PART, decoded, decoded_lines, require_encoding, with_line_feeds
from lstmgen.errors import CorpusError, OptionError, reason

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN = "-"
MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
FEW_LINES = 100  # that tell whether a list is sorted
RISING = 0.9  # share of lines, where chance would give half
NO_MARK = "dropped the byte order mark"
NO_CR = "made CRLF and CR line ends into LF"
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True)
class Text:
    """A text with `\\n` line ends, where it came from, and what was changed on the way in."""

    name: str
    text: str
    notes: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the text in UTF-8, in hexadecimal: the same text has it under any name."""
        digest = hashlib.sha256()
        for begin in range(0, len(self.text), PART):  # as all of it at once would be there twice
            digest.update(self.text[begin : begin + PART].encode())
        return digest.hexdigest()


def read(path: str, encoding: str = DEFAULT_ENCODING) -> Text:
    """The text of a file, or of standard input for `-`.

    Gzip is recognised by its content. A byte order mark is dropped and CRLF and CR become LF; each
    is said in the notes. Raises `CorpusError` for what cannot be read, is empty or does not decode, and
    `OptionError` for an encoding that Python does not know.
    """
    text = _read(path, encoding)
    if not text.text:
        raise _no_text(text.name)
    return text


def _no_text(name: str) -> CorpusError:
    return CorpusError(f"{name}: there is no text in it; give a file that holds some")


def _read(path: str, encoding: str) -> Text:
    name, notes = called(path), []
    require_encoding(encoding)
    with _blaming(name), _opened(path) as file:
        raw = file.read()
    text = decoded(name, raw, encoding)
    if text.startswith("\ufeff"):
        text = text[1:]
        notes.append(f"{name}: {NO_MARK}")
    if "\r" in text:
        text = with_line_feeds(text)
        notes.append(f"{name}: {NO_CR}")
    if doubtful := doubt(raw, text, encoding):
        notes.append(f"{name}: {doubtful}")
    return Text(name, text, tuple(notes))


def read_all(paths: Sequence[str], encoding: str = DEFAULT_ENCODING) -> Text:
    """The files one after the other as one text, with nothing between them; some may be empty.

    Otherwise like `read`; `CorpusError` if all of them are.
    """
    texts, notes = read_each(paths, encoding)
    if unended := [text.name for text in texts[:-1] if not text.text.endswith("\n")]:
        notes.append(
            "files that do not end with a line end, so that the next one goes on in their last line: "
            f"{len(unended):,} of {len(paths):,}, {unended[0]} first"
        )
    return Text(_called_together(paths), "".join(text.text for text in texts), tuple(notes))


def read_each(
    paths: Sequence[str], encoding: str = DEFAULT_ENCODING
) -> tuple[list[Text], list[str]]:
    """The texts of the files that hold one, and all that there is to note of them.

    Otherwise like `read`; `CorpusError` if all of them are empty.
    """
    texts = [_read(path, encoding) for path in paths]
    notes = [note for text in texts for note in text.notes]
    filled = [text for text in texts if text.text]
    if not filled:
        raise _no_text(_called_together(paths))
    if empty := [text.name for text in texts if not text.text]:
        notes.append(
            f"files without text, which are left out: {len(empty):,} of {len(texts):,}, {empty[0]} first"
        )
    return filled, notes


def require_one_stdin(paths: Sequence[str]) -> None:
    """`OptionError` where standard input is named more than once: what comes in is there once."""
    if paths.count(STDIN) > 1:
        raise OptionError(
            f"{STDIN} is named {paths.count(STDIN)} times, but standard input can be read only once; "
            "name a file instead"
        )


def split(text: str, valid_fraction: float) -> tuple[str, str]:
    """Training part, its length rounded down, and validation part, which is the contiguous tail."""
    cut = int(len(text) * (1 - valid_fraction))
    return text[:cut], text[cut:]


def is_sorted(text: str) -> bool:
    """Whether nearly every line comes later in alphabetical order than the last one that is not the same."""
    some = [line for line, _ in groupby(filter(None, text[:INSPECTED].split("\n")[:-1]))]
    rising = sum(low < high for low, high in pairwise(some))
    return len(some) >= FEW_LINES and rising > RISING * len(some)


def lines(
    path: str,
    encoding: str = DEFAULT_ENCODING,
    tell: Callable[[str], object] = lambda note: None,
) -> Iterator[str]:
    """The lines of a file, or of standard input for `-`, one by one as they come.

    Each has its line end, LF, but the last may have none; one that ends in CR alone comes with the next LF,
    or at the end. Otherwise like `read`, but an empty text is one too, and notes are told as they come
    up. `CorpusError` comes after all lines before the one that is wrong.
    """
    name, told = called(path), False
    require_encoding(encoding)  # before the first byte is waited for
    with _blaming(name), _opened(path) as file:
        for number, text in enumerate(decoded_lines(name, file, encoding, tell), 1):
            if number == 1 and text.startswith("\ufeff"):
                text = text[1:]
                tell(f"{name}: {NO_MARK}")
            if not told and "\r" in text:
                tell(f"{name}: {NO_CR}")
                told = True
            yield from _LINE.findall(with_line_feeds(text))


def size(path: str) -> int:
    """How many bytes a file has, standard input too; 0 where nobody can tell, as of a pipe."""
    if path == STDIN and sys.stdin is None:
        return 0
    with _blaming(called(path)):
        about = os.fstat(sys.stdin.fileno()) if path == STDIN else Path(path).stat()
        if path and stat.S_ISDIR(about.st_mode):  # without a name it is told when it is opened
            raise IsADirectoryError
    return about.st_size if stat.S_ISREG(about.st_mode) else 0


def is_pipe(path: str) -> bool:
    """Whether what a path gives is gone once it has been read."""
    try:
        return path == STDIN or Path(path).is_fifo()
    except OSError:  # a name that is too long; what is wrong with it is told when it is read
        return False


def is_waiting() -> bool:
    """Whether standard input is a pipe that has brought something by now."""
    try:
        where, waiting = sys.stdin.fileno(), select.poll()
        is_fifo = stat.S_ISFIFO(os.fstat(where).st_mode)
    except (AttributeError, OSError, ValueError):  # it is closed, or there is no such question
        return False
    waiting.register(where, select.POLLIN)
    return is_fifo and any(event & select.POLLIN for _, event in waiting.poll(0))


def called(path: str) -> str:
    """What a path is called where it is spoken of."""
    return "standard input" if path == STDIN else path


def _called_together(paths: Sequence[str]) -> str:
    first, last = called(paths[0]), called(paths[-1])
    return first if len(paths) == 1 else f"{len(paths)} files, {first} to {last}"


class _Source(FileIO):
    """A file whose first read brings all of the mark that it may begin with, however a pipe parts it.

    Its end is met once: of a terminal another read would wait for more.
    """

    _began = _ended = False

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        if self._ended:
            return 0
        view = memoryview(buffer)
        last = count = super().readinto(view)
        while last and count and not self._began and _is_part_of_mark(bytes(view[:count])):
            last = super().readinto(view[count:])
            count += last or 0
        self._began, self._ended = True, last == 0
        return count

    def readall(self) -> bytes:
        return b"" if self._ended else super().readall()


def _is_part_of_mark(begin: bytes) -> bool:
    return any(mark.startswith(begin) and len(begin) < len(mark) for mark in (GZIP, *MARKS))


@contextmanager
def _opened(path: str) -> Iterator[BufferedReader | GzipFile]:
    """The file as bytes, unzipped if it is gzip."""
    if not path:
        raise CorpusError("the name of a file is empty; give one, or - for standard input")
    if path == STDIN and sys.stdin is None:
        raise CorpusError("standard input is closed; leave out <&-")
    source: int | str = path
    if path == STDIN:  # by its number, as Python would wait for `sys.stdin` itself when it leaves
        source = sys.stdin.fileno()
        with suppress(AttributeError, OSError):  # where there are no such files, as on Windows
            os.set_blocking(source, True)  # else what is yet to come would be taken for the end
    opened: Any = BufferedReader(_Source(source, closefd=path != STDIN))
    with opened as file, _unzipped(file) as plain:
        require_plain(called(path), plain.peek(MARKED))
        yield plain


def _unzipped(file: BufferedReader) -> AbstractContextManager[BufferedReader | GzipFile]:
    return GzipFile(fileobj=file) if file.peek(2)[:2] == GZIP else nullcontext(file)


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    """Turns what the system refuses, or gzip cannot read, into an error that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise CorpusError(f"{name}: there is no such file; check its path") from None
    except IsADirectoryError:
        raise CorpusError(f"{name}: this is a folder; name a file in it") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorpusError(f"{name}: damaged gzip data ({error}); fetch the file again") from None
    except (OSError, ValueError) as error:
        raise CorpusError(
            f"{name}: cannot be read: {reason(error)}; check its path and permissions"
        ) from None
