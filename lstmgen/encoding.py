"""Turns bytes into text by the encoding that they are said to have: at once, or line by line as they come.

What does not decode, or is no text, is refused with what may help.
"""

import codecs
import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lstmgen.config import DEFAULT_ENCODING
from lstmgen.errors import CorpusError, OptionError

if TYPE_CHECKING:  # what is read when a command starts makes it late
    from gzip import GzipFile
    from io import BufferedReader

SOME = 1 << 20  # characters, or bytes, that tell what a text is like
PART = 1 << 20  # likewise, that are worked on at once
ENOUGH = 100  # characters, before which nothing is said of how many are zeros, or beyond ASCII
_CONTROLS = re.compile(
    "[\x80-\x84\x86-\x9f]"
)  # all of U+0080 to U+009F but the line end among them
# Files that hold their text packed, or set: the place of a mark, the mark, and what they are called.
_FORMATS = (
    (0, b"\x1f\x8b", "packed with gzip once more"),
    (0, b"PK\x03\x04", "a ZIP archive, as .docx, .odt and .epub are too"),
    (0, b"%PDF-", "a PDF file"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a file of an older Microsoft Office"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"\xfd7zXZ\0", "packed with xz"),
    (0, b"\x28\xb5\x2f\xfd", "packed with zstd"),
    (4, b"1AY&SY", "packed with bzip2"),
    (257, b"ustar\0", "a tar archive"),
    (257, b"ustar  \0", "a tar archive"),
    (0, b"PAR1\x15", "a Parquet table"),
)
ODD_CONTROLS = (
    "it has control characters beyond ASCII, as hardly a text has: if it is from Windows, give --encoding "
    "cp1252"
)
MARKED = 512  # bytes that hold any of these marks
BLANKS = 10  # spaces and line ends as UTF-16 has them, from which on they are no chance
LOOKED_AT = 1000  # characters, of lines that come one by one
MANY = 0.3  # share of characters beyond ASCII, which no language in Latin letters has
OF_OTHER_LETTERS = (
    "cp1251 or koi8-r for Russian, gb18030 or big5 for Chinese, shift_jis or euc_jp for Japanese, euc_kr for "
    "Korean"
)
ACROSS_LINES = ("iso2022", "hz")  # encodings in which a line may depend on those before it
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def require_encoding(encoding: str) -> None:
    """`OptionError` for a name of no encoding of text; all else here is for one."""
    try:
        b"-".decode(encoding)
    except UnicodeDecodeError:  # it takes more bytes, as UTF-16 does
        return
    except (LookupError, ValueError):  # the latter for a name that holds a zero, or is not UTF-8
        raise OptionError(
            f"--encoding {encoding!r} is not a text encoding that Python knows; "
            "try utf-8, latin-1, cp1252, utf-16"
        ) from None


def require_plain(name: str, begin: bytes) -> None:
    """`CorpusError` for a file that begins as those of other kinds do, whatever its bytes would decode to."""
    for place, mark, told in _FORMATS:
        if begin.startswith(mark, place):
            raise CorpusError(f"{name}: this is {told}; unpack it, or save it as plain text, first")


def with_line_feeds(text: str) -> str:
    """The text with LF for each CRLF and CR."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decoded(name: str, raw: bytes, encoding: str) -> str:
    """All of a text; `CorpusError`, which calls it by its `name`, for what is none."""
    text = _text(name, raw, encoding)
    _require_few_zeros(name, text, encoding)
    return text


def doubt(raw: bytes, text: str, encoding: str) -> str:
    """What makes it doubtful that bytes are of an encoding, though it makes a text of them; or nothing."""
    name = codecs.lookup(encoding).name
    if text.isascii() or name.startswith("utf-8"):
        return ""
    by_pairs, other = name.startswith("utf-16"), "le" if name == "utf-16-be" else "be"
    if _is_utf_8(raw) and (by_pairs or not raw.isascii()):
        return (
            f"it can be read as UTF-8 too: leave out --encoding {encoding}, unless you know better"
        )
    # What a space and a line end are with their bytes the other way round.
    if by_pairs and _count(text, "\u2000\u0a00") > _count(text, " \n"):
        return f"it reads as if its bytes were in the other order: give --encoding utf-16-{other}"
    if name in ("iso8859-1", "cp1252") and _is_of_other_letters(raw):
        return f"hardly one of its letters is Latin: try another --encoding, as {OF_OTHER_LETTERS}"
    if name == "iso8859-1" and _CONTROLS.search(text):  # Windows's quotes and dashes
        return ODD_CONTROLS
    return ""


def _count(text: str, characters: str) -> int:
    return sum(map(text.count, characters))


def _is_of_other_letters(raw: bytes) -> bool:
    some = raw[:SOME]
    beyond = len(some) - len(some.decode("ascii", "ignore"))
    return len(some) >= ENOUGH and beyond > MANY * len(some)


def decoded_lines(
    name: str, file: "BufferedReader | GzipFile", encoding: str, tell: Callable[[str], object]
) -> Iterator[str]:
    """The text of a file as it comes: a line at a time, or some; the last may lack its end.

    One that ends by CR alone comes when an LF has come too, or all. `CorpusError` comes after all lines
    before the one that is wrong. What makes the encoding doubtful is told once, where lines can be told by
    the byte: as soon as `ENOUGH` bytes have been beyond ASCII, or at the end.
    """
    if codecs.lookup(encoding).name == "utf-8-sig":
        encoding = "utf-8"  # of which lines can be told by the byte; whoever asks drops the mark
    begin = ""
    for text in _pieces(name, file, encoding, tell):
        if len(begin) < LOOKED_AT:
            begin += text[:SOME]
            if len(begin) >= ENOUGH:
                _require_few_zeros(name, begin, encoding)
        yield text
    if len(begin) < ENOUGH:
        _require_few_zeros(name, begin, encoding)


def _text(name: str, raw: bytes, encoding: str, begins: bool = True) -> str:
    """The text of bytes, or what may help; whether a file `begins` by them tells which of them are pairs."""
    try:
        text = raw.decode(encoding)
        for begin in range(0, len(text), PART):
            # Escape codecs can make lone surrogates, which are no text.
            text[begin : begin + PART].encode()
        return text
    except UnicodeError as error:
        what = f"half a surrogate pair, which {encoding} made of it, is no text"
        if isinstance(error, UnicodeDecodeError):
            byte = f" 0x{raw[error.start]:02x}" if error.start < len(raw) else ""
            what = f"byte{byte} at byte {error.start:,} is not {encoding}"
        raise CorpusError(f"{name}: {what}; {_hint(raw, encoding, begins)}") from None


def _pieces(
    name: str, file: "BufferedReader | GzipFile", encoding: str, tell: Callable[[str], object]
) -> Iterator[str]:
    """The text of a file as it comes: a line at a time, or some."""
    if _marks_lines(encoding):
        begin = bytearray()  # lines to judge the encoding by
        beyond = 0  # their bytes beyond ASCII
        for number, raw in enumerate(_raw_lines(file), 1):
            text = _text(f"line {number:,} of {name}", raw, encoding, begins=number == 1)
            if beyond < ENOUGH and not (raw.isascii() and len(begin) > SOME):
                begin += raw
                beyond += len(raw) - len(raw.decode("ascii", "ignore"))
                if beyond >= ENOUGH:
                    _tell_doubt(name, bytes(begin), encoding, tell)
            yield text
        if beyond < ENOUGH:
            _tell_doubt(name, bytes(begin), encoding, tell)
        return
    # As in UTF-16, where a byte says nothing by itself.
    decoder, number, raw = _decoder(file, encoding), 1, b"-"
    wrong: UnicodeDecodeError | UnicodeEncodeError | None = None
    pieces: list[str] = []  # of a line whose end is still to come
    while raw and not wrong:
        raw, before = file.read1(PART), decoder.getstate()
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
        what = f"line {number:,} of {name} is not {encoding} ({wrong.reason})"
        raise CorpusError(f"{what}; {_hint(b'', encoding)}")
    yield rest


def _raw_lines(file: "BufferedReader | GzipFile") -> Iterator[bytes]:
    for raw in file:
        yield from _LINE.findall(raw) if b"\r" in raw else (raw,)


def _tell_doubt(name: str, raw: bytes, encoding: str, tell: Callable[[str], object]) -> None:
    if doubtful := doubt(raw, raw.decode(encoding), encoding):
        tell(f"{name}: {doubtful}")


def _decoder(file: "BufferedReader | GzipFile", encoding: str) -> codecs.IncrementalDecoder:
    """What decodes a file part by part. Without a mark, UTF-16 has the order of this machine's bytes."""
    about = codecs.lookup(encoding)
    marks = {"utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
             "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)}  # fmt: skip
    if about.name in marks and not file.peek(4).startswith(marks[about.name]):
        about = codecs.lookup(f"{about.name}-{'le' if sys.byteorder == 'little' else 'be'}")
    assert about.incrementaldecoder is not None  # every encoding of text has one
    return about.incrementaldecoder()


def _marks_lines(encoding: str) -> bool:
    """Whether lines can be told by the byte of ASCII, and read one by one."""
    alone = not codecs.lookup(encoding).name.startswith(ACROSS_LINES)
    return alone and "\n".encode(encoding) == b"\n"


def _require_few_zeros(name: str, text: str, encoding: str) -> None:
    """Refuse what begins with many zeros, as no text does, or has them as UTF-16 has those of its spaces."""
    begin = text[:SOME]
    width = len("xx".encode(encoding)) - len("x".encode(encoding))  # bytes of a character
    if 4 * begin.count("\0") <= len(begin):
        if "\0" in begin and width == 1 and (order := _order(begin.encode("latin-1", "replace"))):
            raise CorpusError(
                f"{name}: its characters NUL stand as if UTF-16 were read as {encoding}; give --encoding "
                f"utf-16-{order}, or a file that is text"
            )
        return
    told, fix = "", "give a file that is text"
    if width < 4:
        in_pairs = 8 * begin.count("\0\0") > len(begin)  # as of UTF-32, read by the byte
        bits = 16 if width == 1 and not in_pairs else 32
        told = f", as if UTF-{bits} were read as {encoding}"
        fix = f"give --encoding utf-{bits}-le or utf-{bits}-be, or a file that is text"
    raise CorpusError(f"{name}: more than a quarter of its characters are NUL{told}; {fix}")


def _hint(raw: bytes, encoding: str, begins: bool = True) -> str:
    """What may help where bytes are not of the encoding that they are said to have."""
    name = codecs.lookup(encoding).name
    if _is_utf_8(raw) and (name.startswith("utf-16") or not raw.isascii()):
        return f"it can be read as UTF-8: give --encoding {DEFAULT_ENCODING}, or leave it out"
    if _marks_lines(encoding):  # else it is known to be of more bytes a character
        if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
            return "it begins as UTF-32 does: give --encoding utf-32"
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "it begins as UTF-16 does: give --encoding utf-16"
        if b"\0" in raw[:SOME]:
            what = "UTF-16 or UTF-32 (--encoding utf-16-le or -be, utf-32-le or -be)"
            if begins and (order := _order(raw[:SOME])):
                what = f"UTF-16 (--encoding utf-16-{order})"
            return f"it holds bytes of zero, so it is {what}, or not text"
        if name == "utf-8" and _is_nearly_utf_8(raw):
            return (
                "nearly all of the rest is: leave out what is not with iconv -c -f utf-8 -t utf-8"
            )
    if name.startswith("utf-16"):
        if len(raw) % 2:
            return "it has an odd number of bytes, so it was cut, or is not UTF-16"
        return "name the right one, as utf-16-be or utf-16-le for another order of bytes"
    if _is_of_other_letters(raw):
        return f"name the right one, as {OF_OTHER_LETTERS}, or convert the file with iconv"
    # The bytes that no text in Latin-1 has are the quotes and dashes of Windows.
    guess = "cp1252" if _CONTROLS.search(raw[:SOME].decode("latin-1")) else "latin-1"
    tried = codecs.lookup(guess).name == name
    example = "" if tried else f", for example --encoding {guess}"
    return f"name the right one{example}, or convert the file with iconv"


def _order(raw: bytes) -> str:
    """The order of bytes, "le" or "be", in which UTF-16 would have spaces and line ends; or nothing."""
    le, be = (_count(raw.decode(f"utf-16-{order}", "replace"), " \n") for order in ("le", "be"))
    if max(le, be) < max(BLANKS, 9 * min(le, be)):
        return ""
    return "le" if le > be else "be"


def _is_utf_8(raw: bytes) -> bool:
    """Whether there is something, and all of it can be read as UTF-8, without bytes of zero."""
    try:
        return bool(raw.decode()) and b"\0" not in raw
    except UnicodeDecodeError:
        return False


def _is_nearly_utf_8(raw: bytes) -> bool:
    """Whether many more characters beyond ASCII can be read than cannot, as of a file that was cut."""
    text = raw.decode("utf-8", "replace")
    wrong = text.count("\N{REPLACEMENT CHARACTER}")
    beyond = len(text) - len(text.encode("ascii", "ignore"))
    return beyond > 10 * wrong
