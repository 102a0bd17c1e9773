"""Turns files and standard input into one clean text, and a text into training and validation parts."""

import codecs
import gzip
import hashlib
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lstmgen.errors import CorpusError, OptionError

STDIN = "-"


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


def read(path: str, encoding: str = "utf-8") -> Text:
    """The text of a file, or of standard input for `-`.

    Gzip is recognised by its content. A byte order mark is dropped and CRLF and CR become LF; each
    is said in the notes. Raises `CorpusError` for what cannot be read, is empty or does not decode.
    """
    name = "standard input" if path == STDIN else path
    raw = _unzipped(name, _raw(path, name))
    text, notes = _decoded(name, raw, encoding), []
    if text.startswith("\ufeff"):
        text = text[1:]
        notes.append(f"{name}: dropped the byte order mark")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        notes.append(f"{name}: made CRLF and CR line ends into LF")
    if not text:
        raise CorpusError(f"{name}: there is no text in it; give a file that holds some")
    return Text(name, text, tuple(notes))


def read_all(paths: Sequence[str], encoding: str = "utf-8") -> Text:
    """The files one after the other, as `cat` joins them, as one text."""
    texts = [read(path, encoding) for path in paths]
    return Text(
        name=paths[0] if len(paths) == 1 else f"{len(paths)} files, {paths[0]} to {paths[-1]}",
        text="".join(text.text for text in texts),
        notes=tuple(note for text in texts for note in text.notes),
    )


def split(text: str, valid_fraction: float) -> tuple[str, str]:
    """Training and validation part; the validation part is the contiguous tail."""
    cut = int(len(text) * (1 - valid_fraction))
    return text[:cut], text[cut:]


def _raw(path: str, name: str) -> bytes:
    try:
        if path == STDIN:
            return sys.stdin.buffer.read()
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise CorpusError(f"{name}: there is no such file") from None
    except IsADirectoryError:
        raise CorpusError(f"{name}: this is a folder; name the files in it: {name}/*") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{name}: cannot be read: {reason}") from None


def _unzipped(name: str, raw: bytes) -> bytes:
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{name}: damaged gzip data ({error}); fetch the file again") from None


def _decoded(name: str, raw: bytes, encoding: str) -> str:
    try:
        codecs.lookup(encoding)
        text = raw.decode(encoding)
        text.encode()  # escape codecs can make lone surrogates, which are no text
        return text
    except (LookupError, ValueError) as error:
        if not isinstance(error, UnicodeError):
            raise OptionError(
                f"--encoding {encoding!r} is not a text encoding that Python knows; "
                "try utf-8, latin-1, cp1252, utf-16"
            ) from None
        where, byte = "", ""
        if isinstance(error, UnicodeDecodeError):
            where = f" at byte {error.start:,}"
            byte = f" 0x{raw[error.start]:02x}" if error.start < len(raw) else ""
        raise CorpusError(
            f"{name}: byte{byte}{where} is not {encoding}; "
            "name the right one, for example --encoding latin-1, or convert the file with iconv"
        ) from None
