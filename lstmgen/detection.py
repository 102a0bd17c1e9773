"""Tells from bytes, and the text that an encoding makes of them, what they may be instead.

They may be in another encoding, or no text at all. What is sure is refused, with what may help; what is
doubtful is told.
"""

import codecs
import re

from lstmgen.config import DEFAULT_ENCODING
from lstmgen.errors import CorpusError

INSPECTED = 1 << 20  # characters, or bytes, that tell what a text is like
LEAST_INSPECTED = 100  # characters, before which nothing is said of zeros, or of those beyond ASCII
FOREIGN_SHARE = 0.3  # share of characters beyond ASCII, which no language in Latin letters has
LEAST_BLANKS = 10  # spaces and line ends as UTF-16 has them, from which on they are no chance
ACROSS_LINES = ("iso2022", "hz")  # encodings in which a line may depend on those before it
OF_OTHER_LETTERS = (
    "cp1251 or koi8-r for Russian, gb18030 or big5 for Chinese, shift_jis or euc_jp for Japanese, euc_kr for "
    "Korean"
)
# All of U+0080 to U+009F but the line end among them.
_CONTROLS = re.compile("[\x80-\x84\x86-\x9f]")
# What turns to other letters in encodings of seven bits.
_ESCAPES = {"\x1b$B": "iso2022_jp", "\x1b$@": "iso2022_jp", "\x1b$)C": "iso2022_kr"}
_MODEL = b'{"__metadata__":'  # in a .safetensors file, behind the length of its header
MARKED = 512  # bytes that hold any of these marks
GZIP = b"\x1f\x8b"
# Files that hold their text packed, or set: the place of a mark, the mark, and what they are called.
_FORMATS = (
    (0, GZIP, "packed with gzip once more"),
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


def require_plain(name: str, begin: bytes) -> None:
    """`CorpusError` for a file that begins as those of other kinds do, whatever its bytes would decode to."""
    if begin.startswith(_MODEL, 8):
        raise CorpusError(
            f"{name}: this is a model; give a text in its place, and a model by --model, or, to begin a "
            "training with it, by --init-from"
        )
    for place, mark, told in _FORMATS:
        if begin.startswith(mark, place):
            raise CorpusError(f"{name}: this is {told}; unpack it, or save it as plain text, first")


def require_few_zeros(name: str, text: str, encoding: str) -> None:
    """`CorpusError` for many zeros, as no text begins with, or some where UTF-16 has those of its spaces."""
    begin = text[:INSPECTED]
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


def hint(raw: bytes, encoding: str, begins: bool = True) -> str:
    """What may help where bytes are not of the encoding that they are said to have."""
    name = codecs.lookup(encoding).name
    if _is_utf_8(raw) and (name.startswith("utf-16") or not raw.isascii()):
        return f"it can be read as UTF-8: give --encoding {DEFAULT_ENCODING}, or leave it out"
    if marks_lines(encoding):  # else it is known to be of more bytes a character
        if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
            return "it begins as UTF-32 does: give --encoding utf-32"
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "it begins as UTF-16 does: give --encoding utf-16"
        if b"\0" in raw[:INSPECTED]:
            what = "UTF-16 or UTF-32 (--encoding utf-16-le or -be, utf-32-le or -be)"
            if begins and (order := _order(raw[:INSPECTED])):
                what = f"UTF-16 (--encoding utf-16-{order})"
            return f"it holds bytes of zero, so it is {what}, or not text"
        if name == "utf-8" and _is_nearly_utf_8(raw):
            return (
                "nearly all of the rest is: leave out what is not with iconv -c -f utf-8 -t utf-8"
            )
    if name.startswith("utf-16"):
        if len(raw) % 2:
            return "it has an odd number of bytes, so it was cut, or is not UTF-16"
        return "name the right encoding, as utf-16-be or utf-16-le for another order of bytes"
    if not marks_lines(encoding):
        return "name the right encoding, or convert the file with iconv"
    if _is_of_other_letters(raw):
        return f"name the right encoding, as {OF_OTHER_LETTERS}, or convert the file with iconv"
    # The bytes that no text in Latin-1 has are the quotes and dashes of Windows.
    guess = "cp1252" if _CONTROLS.search(raw[:INSPECTED].decode("latin-1")) else "latin-1"
    tried = codecs.lookup(guess).name == name
    example = "" if tried else f", for example --encoding {guess}"
    return f"name the right encoding{example}, or convert the file with iconv"


def doubt(raw: bytes, text: str, encoding: str) -> str:
    """What makes it doubtful that bytes are of an encoding, though it makes a text of them; or nothing."""
    name = codecs.lookup(encoding).name
    begin = text[:INSPECTED]
    for escape, of in _ESCAPES.items():
        if escape in begin:
            return f"it holds escape sequences as {of} has them: give --encoding {of}"
    if text.isascii() or name.startswith("utf-8"):
        return ""
    by_pairs, swapped = name.startswith("utf-16"), "le" if name == "utf-16-be" else "be"
    if _is_utf_8(raw) and (by_pairs or not raw.isascii()):
        return (
            f"it can be read as UTF-8 too: leave out --encoding {encoding}, unless you know better"
        )
    # What a space and a line end are with their bytes the other way round.
    if by_pairs and _count(text, "\u2000\u0a00") > _count(text, " \n"):
        return f"it reads as if its bytes were in the other order: give --encoding utf-16-{swapped}"
    if name in ("iso8859-1", "cp1252") and _is_of_other_letters(raw):
        return f"hardly one of its letters is Latin: try another --encoding, as {OF_OTHER_LETTERS}"
    if name == "iso8859-1" and _CONTROLS.search(text):  # Windows's quotes and dashes
        return (
            "it has control characters beyond ASCII, as hardly a text has: if it is from Windows, give "
            "--encoding cp1252"
        )
    return ""


def marks_lines(encoding: str) -> bool:
    """Whether lines can be told by the byte of ASCII, and read one by one."""
    alone = not codecs.lookup(encoding).name.startswith(ACROSS_LINES)
    return alone and "\n".encode(encoding) == b"\n"


def _order(raw: bytes) -> str:
    """The order of bytes, "le" or "be", in which UTF-16 would have spaces and line ends; or nothing."""
    le, be = (_count(raw.decode(f"utf-16-{order}", "replace"), " \n") for order in ("le", "be"))
    if max(le, be) < max(LEAST_BLANKS, 9 * min(le, be)):
        return ""
    return "le" if le > be else "be"


def _count(text: str, characters: str) -> int:
    return sum(map(text.count, characters))


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


def _is_of_other_letters(raw: bytes) -> bool:
    some = raw[:INSPECTED]
    beyond = len(some) - len(some.decode("ascii", "ignore"))
    return len(some) >= LEAST_INSPECTED and beyond > FOREIGN_SHARE * len(some)
