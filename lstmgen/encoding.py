"""Turns bytes into text by the encoding that they are said to have: at once, or line by line as they come.

What does not decode, or is no text, is refused with what may help.
"""

import codecs
import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lstmgen.detection import (
    INSPECTED,
    LEAST_INSPECTED,
    doubt,
    hint,
    marks_lines,
    require_few_zeros,
)
from lstmgen.errors import CorpusError, OptionError

if TYPE_CHECKING:  # what is read when a command starts makes it late
    from gzip import GzipFile
    from io import BufferedReader

PART = 1 << 20  # characters, or bytes, that are worked on at once
LOOKED_AT = 1000  # characters, of lines that come one by one
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def require_encoding(encoding: str) -> None:
    """`OptionError` unless Python knows a text encoding of this name, as all other functions here expect."""
    try:
        b"-".decode(encoding)
    except UnicodeDecodeError:  # it takes more bytes, as UTF-16 does
        return
    except (LookupError, ValueError):  # the latter for a name that holds a zero, or is not UTF-8
        raise OptionError(
            f"--encoding {encoding!r} is not a text encoding that Python knows; "
            "try utf-8, latin-1, cp1252, utf-16"
        ) from None


def with_line_feeds(text: str) -> str:
    """The text with LF for each CRLF and CR."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decoded(name: str, raw: bytes, encoding: str) -> str:
    """All of a text; `CorpusError`, which calls it by its `name`, for what is none."""
    text = _text(name, raw, encoding)
    require_few_zeros(name, text, encoding)
    return text


def decoded_lines(
    name: str, file: "BufferedReader | GzipFile", encoding: str, tell: Callable[[str], object]
) -> Iterator[str]:
    """The text of a file as it comes: a line at a time, or some; the last may lack its end.

    One that ends in CR alone comes with the next LF, or at the end of the file. `CorpusError` comes after all
    lines before the one that is wrong. What makes the encoding doubtful is told once, where lines can be told
    by the byte: as soon as `LEAST_INSPECTED` bytes have been beyond ASCII, or at the end.
    """
    if codecs.lookup(encoding).name == "utf-8-sig":
        encoding = "utf-8"  # of which lines can be told by the byte; whoever asks drops the mark
    begin = ""
    by_byte = marks_lines(encoding)
    texts = _lines(name, file, encoding, tell) if by_byte else _parts(name, file, encoding)
    for text in texts:
        if len(begin) < LOOKED_AT:
            begin += text[:INSPECTED]
            if len(begin) >= LEAST_INSPECTED:
                require_few_zeros(name, begin, encoding)
        yield text
    if len(begin) < LEAST_INSPECTED:
        require_few_zeros(name, begin, encoding)


def _text(name: str, raw: bytes, encoding: str, begins: bool = True) -> str:
    """The text of bytes; `CorpusError`, with what may help, where they are none in this encoding.

    `begins`: they are the first of a file, so that it is known which of them are pairs.
    """
    try:
        text = raw.decode(encoding)
        for begin in range(0, len(text), PART):
            # Escape codecs can make lone surrogates, which are no text.
            text[begin : begin + PART].encode()
        return text
    except UnicodeError as error:
        what = f"not {encoding} ({error!s:.100})"  # as some codecs say it
        if isinstance(error, UnicodeEncodeError):
            what = f"half a surrogate pair, which {encoding} made of it, is no text"
        elif isinstance(error, UnicodeDecodeError):
            byte = f" 0x{raw[error.start]:02x}" if error.start < len(raw) else ""
            what = f"byte{byte} at offset {error.start:,} is not {encoding}"
        raise CorpusError(f"{name}: {what}; {hint(raw, encoding, begins)}") from None


def _lines(
    name: str, file: "BufferedReader | GzipFile", encoding: str, tell: Callable[[str], object]
) -> Iterator[str]:
    """A line at a time, as can be told by the byte."""
    begin = bytearray()  # lines to judge the encoding by
    beyond = 0  # their bytes beyond ASCII
    for number, raw in enumerate(_raw_lines(file), 1):
        text = _text(f"line {number:,} of {name}", raw, encoding, begins=number == 1)
        if beyond < LEAST_INSPECTED and not (raw.isascii() and len(begin) > INSPECTED):
            begin += raw
            beyond += len(raw) - len(raw.decode("ascii", "ignore"))
            if beyond >= LEAST_INSPECTED:
                _tell_doubt(name, bytes(begin), encoding, tell)
        yield text
    if beyond < LEAST_INSPECTED:
        _tell_doubt(name, bytes(begin), encoding, tell)


def _parts(name: str, file: "BufferedReader | GzipFile", encoding: str) -> Iterator[str]:
    """Some lines at a time, of an encoding such as UTF-16, where a byte says nothing by itself."""
    decoder, number, raw = _decoder(file, encoding), 1, b"-"
    wrong: UnicodeError | None = None
    pieces: list[str] = []  # of a line whose end is still to come
    while raw and not wrong:
        raw, before = file.read1(PART), decoder.getstate()
        try:
            piece = decoder.decode(raw, not raw)
        except UnicodeDecodeError as error:
            decoder.setstate(before)
            wrong, piece = error, decoder.decode(raw[: max(0, error.start - len(before[0]))])
        except UnicodeError as error:  # without a place, as some codecs raise it
            wrong, piece = error, ""
        try:
            piece.encode()  # escape codecs can make lone surrogates, which are no text
        except UnicodeEncodeError as error:
            wrong, piece = error, piece[: error.start]
        end = piece.rfind("\n") + 1
        if end:
            text = "".join((*pieces, piece[:end]))
            number += with_line_feeds(text).count("\n")
            yield text
            pieces.clear()
        pieces.append(piece[end:])
    rest = "".join(pieces)
    if wrong:
        ended = rest[: rest.rfind("\r") + 1]
        number += with_line_feeds(ended).count("\n")
        yield ended
        reason = getattr(wrong, "reason", wrong)  # some codecs only say it
        what = f"line {number:,} of {name} is not {encoding} ({reason!s:.100})"
        raise CorpusError(f"{what}; {hint(b'', encoding)}")
    yield rest


def _raw_lines(file: "BufferedReader | GzipFile") -> Iterator[bytes]:
    for raw in file:
        yield from _LINE.findall(raw) if b"\r" in raw else (raw,)


def _tell_doubt(name: str, raw: bytes, encoding: str, tell: Callable[[str], object]) -> None:
    if doubtful := doubt(raw, raw.decode(encoding), encoding):
        tell(f"{name}: {doubtful}")


def _decoder(file: "BufferedReader | GzipFile", encoding: str) -> codecs.IncrementalDecoder:
    """What decodes a file part by part.

    Without a mark, UTF-16 has the order of this machine's bytes, as in `bytes.decode`; the decoder of that
    name would refuse it.
    """
    about = codecs.lookup(encoding)
    marks = {"utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
             "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)}  # fmt: skip
    if about.name in marks and not file.peek(4).startswith(marks[about.name]):
        about = codecs.lookup(f"{about.name}-{'le' if sys.byteorder == 'little' else 'be'}")
    assert about.incrementaldecoder is not None  # every encoding of text has one
    return about.incrementaldecoder()
