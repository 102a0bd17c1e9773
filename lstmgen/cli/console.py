"""Shared by the commands: the product goes to standard output, all talk to standard error."""

import os
import shlex
import sys
import unicodedata
from contextlib import suppress
from typing import TextIO, cast

from lstmgen.errors import OutputError

# What makes text run the other way, or end a line, without being a control character by category.
_DIRECTIONS = "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def emit(text: str, *, bold: bool = False) -> None:
    """Write to standard output at once, in UTF-8 whatever the locale says.

    A terminal is shown control characters instead of obeying them, and bold text where it is asked
    for. A closed pipe ends the command; `OutputError` where nothing can be written for another reason.
    """
    if sys.stdout is None:
        raise OutputError("standard output is closed; leave out >&-, or write to /dev/null")
    if shows_output():
        text = visible(text)
        if bold and text and takes_colour():
            text = f"\x1b[1m{text}\x1b[0m"
    try:
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # whoever read has enough, as `head` has
        forget_output()
        sys.exit(0)
    except OSError as error:
        forget_output()
        raise OutputError(
            f"standard output cannot be written: {error.strerror}; make room or write elsewhere"
        ) from None


def forget_output() -> None:
    """Keep Python from waiting, or complaining, when it leaves and flushes what nobody reads."""
    _forget(sys.stdout)


def _forget(stream: TextIO | None) -> None:
    with suppress(OSError, AttributeError, ValueError):  # it is closed, or no file at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), cast("TextIO", stream).fileno())


class Talk:
    """Standard error as a file that is never worth failing for, closed or not."""

    def write(self, text: str) -> int:
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        self._try("flush")

    def _try(self, what: str, *about: str) -> None:
        try:
            getattr(sys.stderr, what, lambda *_: None)(*about)
        except OSError:  # else Python would try again when it leaves, and end with 120
            _forget(sys.stderr)

    @property
    def encoding(self) -> str:
        return getattr(sys.stderr, "encoding", None) or "ascii"

    def isatty(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()

    def fileno(self) -> int:
        return sys.stderr.fileno()


talk = Talk()


def say(text: str) -> None:
    """Write a line to standard error."""
    talk.write(text + "\n")
    talk.flush()


def note(text: str) -> None:
    """Say something the user should know, which may hold text that is not ours."""
    say(f"note: {visible(text, keep_newlines=False)}")


def visible(text: str, keep_newlines: bool = True) -> str:
    """The text with every control character replaced by a picture of it, like ␛ for escape."""
    kept = "\n\t" if keep_newlines else ""
    return "".join(c if c in kept or not _controls(c) else _picture(c) for c in text)


def _controls(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or character in _DIRECTIONS


def _picture(character: str) -> str:
    point = ord(character)
    if point < 0x20:
        return chr(0x2400 + point)
    return "\u2421" if point == 0x7F else f"<U+{point:04X}>"


def takes_colour() -> bool:
    """Whether text may be set apart: not where `NO_COLOR` is set (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in (None, "", "dumb")


def break_line() -> None:
    """Let the prompt stand on a line of its own after a command was interrupted."""
    with suppress(OSError):
        if shows_output():
            os.write(
                sys.stdout.fileno(), b"\n"
            )  # past the buffer, in the midst of whose write it may be
            return
    say("")


def shows_output() -> bool:
    """Whether a person watches standard output."""
    return sys.stdout is not None and sys.stdout.isatty()


def option(name: str, value: object) -> str:
    """An option and its value as they are typed."""
    dashed = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{dashed}" if value else f"--no-{dashed}"
    return visible(shlex.join([f"--{dashed}", str(value)]), keep_newlines=False)
