"""Shared by the commands: the product goes to standard output, all talk to standard error."""

import json
import os
import shlex
import shutil
import stat
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from errno import EAGAIN, EBADF, ECONNRESET, EINVAL, EPIPE
from pathlib import Path
from typing import Any, TextIO, TypeVar

from lstmgen import leaving
from lstmgen.errors import OutputError
from lstmgen.folders import FULL

T = TypeVar("T")
NAME = "lstmgen"  # of the command
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"
# Errors of a write whose reader has gone: of a pipe, and of a socket.
READER_GONE = (EPIPE, ECONNRESET)
LABEL = 12  # characters of what stands before a fact
LONG_WORK = 50  # parts, from which on a bar may be worth drawing
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
            leaving.plain = PLAIN.encode()
            text = f"{BOLD}{text}{PLAIN}"
    try:
        _write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        leaving.forget(sys.stdout)
        if error.errno in READER_GONE or (sys.platform == "win32" and error.errno == EINVAL):
            sys.exit(0)  # whoever read has enough, as `head` has
        how = "make room or write elsewhere" if error.errno in FULL else "write elsewhere"
        raise OutputError(f"standard output cannot be written: {error.strerror}; {how}") from None


def emit_json(*records: Mapping[str, Any]) -> None:
    """Write each record as a line of JSON, all of them at once."""
    emit("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def _write(data: bytes) -> None:
    file = sys.stdout.buffer
    with suppress(AttributeError, OSError, ValueError):  # as where there are no such files
        # Another process that shares it may have made it otherwise.
        os.set_blocking(file.fileno(), True)
    while data:
        written = file.write(data)
        if not written:  # of a stream without a buffer that would have to wait
            raise OSError(EAGAIN, os.strerror(EAGAIN))
        data = data[written:]  # as such a stream takes what there is room for
    file.flush()


class Talk:
    """A standard error, closed or not, that is never worth failing for."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with suppress(OSError, AttributeError):
            self._file.write(text)  # type: ignore[union-attr]
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, AttributeError):
            self._file.flush()  # type: ignore[union-attr]

    @property
    def encoding(self) -> str:
        return getattr(self._file, "encoding", None) or "ascii"

    def isatty(self) -> bool:
        return self._file is not None and self._file.isatty()

    def fileno(self) -> int:
        if self._file is None:
            raise OSError(EBADF, "standard error is closed")
        return self._file.fileno()


def talk() -> Talk:
    """Where all goes that is not the product."""
    return sys.stderr if isinstance(sys.stderr, Talk) else Talk(sys.stderr)


def width() -> int:
    """How many characters a line of the terminal has where the talk goes."""
    with suppress(OSError):
        return os.get_terminal_size(talk().fileno()).columns or 80
    return 80


def say(text: str) -> None:
    """Write a line to standard error."""
    talk().write(text + "\n")
    talk().flush()


def tell(facts: str) -> None:
    """Say what is known, a line each, with its label before it; at a terminal its words stay whole.

    What does not fit a line goes on below itself. Not for commands, which are to be copied as they are.
    """
    from textwrap import fill

    for fact in facts.split("\n"):
        if talk().isatty():
            fact = fill(
                fact[LABEL:], max(width(), 2 * LABEL),
                initial_indent=fact[:LABEL], subsequent_indent=" " * LABEL,
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
        say(fact)


def note(*texts: str) -> None:
    """Say each thing that the user should know, which may hold text that is not ours."""
    for text in texts:
        say(f"note: {one_line(text)}")


def note_typing(paths: Sequence[str]) -> None:
    """Say so where it is waited for somebody to type what is read."""
    if "-" in paths and sys.stdin is not None and sys.stdin.isatty():
        note("what is typed here is read, until Ctrl-D (on Windows Ctrl-Z and Enter) on a new line")


def note_unknown(unknown: int, tokens: int) -> None:
    """Say how many tokens the model does not know, if there are any."""
    if unknown:
        share = f"{unknown / tokens:.2%}"
        if share == "0.00%":
            share = "less than 0.01%"
        note(
            f"unknown tokens, scored as <unk>: {unknown:,} of {tokens:,} ({share}); so "
            "bits per character do not compare with those of a model that knows them"
        )


def bar(bar_format: str, **how: Any) -> Any:
    """A bar where the talk goes, by tqdm, without the thread that it would begin to look after bars."""
    from tqdm import tqdm

    tqdm.monitor_interval = 0
    return tqdm(file=talk(), dynamic_ncols=True, bar_format=bar_format, **how)


def watched(parts: Iterator[T], num_parts: int, what: str = "scored") -> Iterator[T]:
    """The parts of a long work, with a bar where a person waits for them."""
    if num_parts < LONG_WORK or not talk().isatty():
        return parts
    left = what + " {percentage:3.0f}% {bar} {remaining} left"
    return iter(bar(left, iterable=parts, total=num_parts, leave=False, delay=1.0))


def one_line(text: str) -> str:
    """The text with line ends and tabs replaced by pictures too."""
    return visible(text, kept="")


def visible(text: str, kept: str = "\n\t") -> str:
    """The text with every control character replaced by a picture of it, like ␛ for escape."""
    return "".join(c if c in kept or not _controls(c) else _picture(c) for c in text)


def _controls(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or character in _DIRECTIONS


def _picture(character: str) -> str:
    point = ord(character)
    if point < 0x20:
        return chr(0x2400 + point)
    return "\u2421" if point == 0x7F else f"<U+{point:04X}>"


def number(value: float) -> str:
    """A number to three digits, or where it is larger to its last one; a tiny one with a power of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def count(value: float, what: str, several: str = "") -> str:
    """How many there are: 1 step, 2,000 steps, 1.5 epochs."""
    told = number(value)
    return f"{told} {what if told == '1' else several or what + 's'}"


def takes_colour() -> bool:
    """Whether text may be set apart: not where `NO_COLOR` is set (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in (None, "", "dumb")


def shows_output() -> bool:
    """Whether a person watches standard output."""
    return sys.stdout is not None and sys.stdout.isatty()


def keeps_output() -> bool:
    """Whether standard output goes into a file, or nowhere: else somebody may see it come."""
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # it is closed, or no file at all
        return False
    return not (shows_output() or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


def program() -> str:
    """The command as it is typed here: its name, if the shell knows that, or as it was started."""
    if shutil.which(NAME):
        return NAME
    if Path(sys.argv[0]).name == "__main__.py":
        return shlex.join([sys.executable, "-m", NAME])
    return shlex.quote(sys.argv[0])


def option(name: str, value: object) -> str:
    """An option and its value as they are typed; `None` is the option left out."""
    dashed = name.replace("_", "-")
    if value is None:
        return f"no --{dashed}"
    if isinstance(value, bool):
        return f"--{dashed}" if value else f"--no-{dashed}"
    typed = f"{value!s}".removesuffix(".0") if isinstance(value, float) else f"{value!s}"
    return one_line(shlex.join([f"--{dashed}", typed]))
