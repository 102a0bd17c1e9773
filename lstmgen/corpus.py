"""Turns files and standard input into one clean text, and a text into training and validation parts."""

import codecs
import gzip
import hashlib
import os
import re
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from gzip import GzipFile
from io import BufferedReader
from itertools import pairwise
from pathlib import Path

from lstmgen.config import DEFAULT_ENCODING
from lstmgen.errors import CorpusError, OptionError

STDIN = "-"
GZIP = b"\x1f\x8b"
SOME = 1 << 20  # characters, or bytes, that tell what a text is like
FEW_LINES = 100  # that tell whether a list is sorted
RISING = 0.9  # share of lines, where chance would give half
ENOUGH = 100  # characters, before which nothing is said of how many zeros are among them
ACROSS_LINES = ("iso2022", "hz")  # encodings in which a line may depend on those before it
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True)
class Text:
    """A text with `\\n` line ends, where it came from, and what was changed on the way in."""

    name: str
    text: str
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the text in UTF-8, in hexadecimal: the same text has it under any name."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read(path: str, encoding: str = DEFAULT_ENCODING) -> Text:
    """The text of a file, or of standard input for `-`.

    Gzip is recognised by its content. A byte order mark is dropped and CRLF and CR become LF; each
    is said in the notes. Raises `CorpusError` for what cannot be read, is empty or does not decode.
    """
    text = _whole(path, encoding)
    if not text.text:
        raise CorpusError(f"{text.name}: there is no text in it; give a file that holds some")
    return text


def _whole(path: str, encoding: str) -> Text:
    """Like `read`, but an empty text is one too."""
    name, notes = called(path), []
    with _blaming(name), _opened(path) as file:
        _require_encoding(encoding)
        raw = file.read()
    text = _decoded(name, raw, encoding)
    _require_few_zeros(name, text, encoding)
    if text.startswith("\ufeff"):
        text = text[1:]
        notes.append(f"{name}: dropped the byte order mark")
    if "\r" in text:
        text = _with_line_feeds(text)
        notes.append(f"{name}: made CRLF and CR line ends into LF")
    return Text(name, text, tuple(notes))


def read_all(paths: Sequence[str], encoding: str = DEFAULT_ENCODING) -> Text:
    """The files one after the other, as `cat` joins them, as one text."""
    texts = [read(path, encoding) for path in paths]
    first, last = texts[0].name, texts[-1].name
    notes = [note for text in texts for note in text.notes]
    if unended := [text.name for text in texts[:-1] if not text.text.endswith("\n")]:
        notes.append(
            "files without a line end at their end, in whose last line the next one goes on: "
            f"{len(unended):,} of {len(texts):,}, {unended[0]} first"
        )
    return Text(
        name=first if len(paths) == 1 else f"{len(paths)} files, {first} to {last}",
        text="".join(text.text for text in texts),
        notes=tuple(notes),
    )


def require_one_stdin(paths: Sequence[str]) -> None:
    """What comes in on standard input is there once."""
    if paths.count(STDIN) > 1:
        raise OptionError(
            f"{STDIN} is named {paths.count(STDIN)} times, but standard input can be read only once; "
            "name a file instead"
        )


def split(text: str, valid_fraction: float) -> tuple[str, str]:
    """Training and validation part; the validation part is the contiguous tail."""
    cut = int(len(text) * (1 - valid_fraction))
    return text[:cut], text[cut:]


def is_sorted(text: str) -> bool:
    """Whether nearly every line of a list comes after the one before it by the order of the alphabet."""
    some = [line for line in text[:SOME].split("\n")[:-1] if line]
    rising = sum(low < high for low, high in pairwise(some))
    return len(some) >= FEW_LINES and rising > RISING * len(some)


def lines(path: str, encoding: str = DEFAULT_ENCODING) -> Iterator[str]:
    """The lines of a file, or of standard input for `-`, one by one as they come.

    Each has its line end, LF, but the last may have none. Otherwise like `read`, but an empty text is
    one too, and there are no notes. `CorpusError` comes after all lines before the one that
    is wrong.
    """
    name, begin = called(path), ""
    with suppress(LookupError, ValueError):  # what is no encoding is refused below
        if codecs.lookup(encoding).name == "utf-8-sig":
            encoding = "utf-8"  # as a mark is left out in any case
    with _blaming(name), _opened(path) as file:
        for number, text in enumerate(_decoded_lines(name, file, encoding), 1):
            if len(begin) < ENOUGH:
                begin += text[:SOME]
                if len(begin) >= ENOUGH:
                    _require_few_zeros(name, begin, encoding)
            whole = text.removeprefix("\ufeff") if number == 1 else text
            yield from _LINE.findall(_with_line_feeds(whole))
        if len(begin) < ENOUGH:
            _require_few_zeros(name, begin, encoding)


def size(path: str) -> int:
    """How many bytes a file has; 0 where nobody can tell, as of standard input or a pipe."""
    if path == STDIN:
        return 0
    with _blaming(called(path)):
        about = Path(path).stat()
    return about.st_size if stat.S_ISREG(about.st_mode) else 0


def _require_few_zeros(name: str, text: str, encoding: str) -> None:
    """Refuse what begins with many zeros, as no text does."""
    begin = text[:SOME]
    if 4 * begin.count("\0") <= len(begin):
        return
    width = len("xx".encode(encoding)) - len("x".encode(encoding))  # bytes of a character
    told, fix = "", "give a file that is text"
    if width < 4:
        in_pairs = 8 * begin.count("\0\0") > len(begin)  # as of UTF-32, read by the byte
        bits = 16 if width == 1 and not in_pairs else 32
        told = f", as if UTF-{bits} were read as {encoding}"
        fix = f"give --encoding utf-{bits}-le or utf-{bits}-be, or a file that is text"
    raise CorpusError(f"{name}: more than a quarter of its characters are zeros{told}; {fix}")


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def called(path: str) -> str:
    """What a path is called where it is spoken of."""
    return "standard input" if path == STDIN else path


def _marks_lines(encoding: str) -> bool:
    """Whether lines can be told by the byte of ASCII, and read one by one.

    Unknown encodings are refused elsewhere.
    """
    try:
        alone = not codecs.lookup(encoding).name.startswith(ACROSS_LINES)
        return alone and "\n".encode(encoding) == b"\n"
    except (LookupError, ValueError):
        return False


@contextmanager
def _opened(path: str) -> Iterator[BufferedReader | GzipFile]:
    """The file as bytes, unzipped if it is gzip."""
    if path == STDIN and sys.stdin is None:
        raise CorpusError("standard input is closed; leave out <&-")
    source: int | str = path
    if path == STDIN:  # by its number, as Python would wait for `sys.stdin` itself when it leaves
        source = sys.stdin.fileno()
        with suppress(AttributeError, OSError):  # where there are no such files, as on Windows
            os.set_blocking(source, True)  # else what is yet to come would be taken for the end
    with open(source, "rb", closefd=path != STDIN) as file:
        if file.peek(2)[:2] == GZIP:
            with GzipFile(fileobj=file) as unzipped:
                yield unzipped
        else:
            yield file


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    """Turns what the system refuses, or gzip cannot read, into an error that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise CorpusError(f"{name}: there is no such file; check its path") from None
    except IsADirectoryError:
        raise CorpusError(f"{name}: this is a folder; name the files in it: {name}/*") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorpusError(f"{name}: damaged gzip data ({error}); fetch the file again") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{name}: cannot be read: {reason}") from None


def _decoded_lines(name: str, file: BufferedReader | GzipFile, encoding: str) -> Iterator[str]:
    """The text of a file as it comes: a line at a time, or some; the last may lack its end."""
    _require_encoding(encoding)
    if _marks_lines(encoding):
        for number, raw in enumerate(file, 1):
            yield _decoded(f"line {number:,} of {name}", raw, encoding)
        return
    # As in UTF-16, where a byte says nothing by itself.
    decoder, number, raw = _decoder(file, encoding), 1, b"-"
    wrong: UnicodeDecodeError | UnicodeEncodeError | None = None
    pieces: list[str] = []  # of a line whose end is still to come
    while raw and not wrong:
        raw, before = file.read1(SOME), decoder.getstate()
        try:
            piece = decoder.decode(raw, not raw)
        except UnicodeDecodeError as error:
            decoder.setstate(before)
            wrong, piece = error, decoder.decode(raw[: max(0, error.start - len(before[0]))])
        try:
            piece.encode()  # escape codecs can make lone surrogates, which are no text
        except UnicodeEncodeError as error:
            wrong, piece = error, piece[: error.start]
        end = piece.rfind("\n") + 1
        if end:
            yield "".join((*pieces, piece[:end]))
            pieces.clear()
        number += piece.count("\n")
        pieces.append(piece[end:])
    if wrong:
        what = f"line {number:,} of {name} is not {encoding} ({wrong.reason})"
        raise CorpusError(f"{what}; {_hint(b'', encoding)}")
    if rest := "".join(pieces):
        yield rest


def _decoder(file: BufferedReader | GzipFile, encoding: str) -> codecs.IncrementalDecoder:
    """What decodes a file part by part. Without a mark, UTF-16 has the order of this machine's bytes."""
    about = codecs.lookup(encoding)
    marks = {"utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
             "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)}  # fmt: skip
    if about.name in marks and not file.peek(4).startswith(marks[about.name]):
        about = codecs.lookup(f"{about.name}-{'le' if sys.byteorder == 'little' else 'be'}")
    assert about.incrementaldecoder is not None  # every encoding of text has one
    return about.incrementaldecoder()


def _require_encoding(encoding: str) -> None:
    """`OptionError` for a name of no encoding of text."""
    try:
        b"-".decode(encoding)
    except UnicodeDecodeError:  # it takes more bytes, as UTF-16 does
        return
    except (LookupError, ValueError):  # the latter for a name that holds a zero, or is not UTF-8
        raise OptionError(
            f"--encoding {encoding!r} is not a text encoding that Python knows; "
            "try utf-8, latin-1, cp1252, utf-16"
        ) from None


def _decoded(name: str, raw: bytes, encoding: str) -> str:
    try:
        text = raw.decode(encoding)
        text.encode()  # escape codecs can make lone surrogates, which are no text
        return text
    except UnicodeError as error:
        where, byte = "", ""
        if isinstance(error, UnicodeDecodeError):
            where = f" at byte {error.start:,}"
            byte = f" 0x{raw[error.start]:02x}" if error.start < len(raw) else ""
        raise CorpusError(
            f"{name}: byte{byte}{where} is not {encoding}; {_hint(raw, encoding)}"
        ) from None


def _hint(raw: bytes, encoding: str) -> str:
    """What may help where bytes are not of the encoding that they are said to have."""
    if _marks_lines(encoding):  # else it is known to be of more bytes a character
        if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
            return "it begins as UTF-32 does: give --encoding utf-32"
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "it begins as UTF-16 does: give --encoding utf-16"
        if b"\0" in raw[:SOME]:
            return (
                "it holds bytes of zero, so it is UTF-16 or UTF-32 (--encoding utf-16-le, utf-32-le), or "
                "not text"
            )
    return "name the right one, for example --encoding latin-1, or convert the file with iconv"
