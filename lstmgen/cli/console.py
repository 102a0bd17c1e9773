"""What the commands share in dealing with the outside: the product to standard output, talk to the other."""

import os
import sys


def emit(text: str) -> None:
    """Write to standard output at once, in UTF-8 whatever the locale says.

    A terminal is shown control characters instead of obeying them.
    """
    if sys.stdout.isatty():
        text = visible(text)
    try:
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # whoever read has enough, as `head` has
        _forget_stdout()
        sys.exit(0)


def say(text: str) -> None:
    """Write a line to standard error."""
    print(text, file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Say something the user should know, which may hold text that is not ours."""
    say(f"note: {visible(text, keep_newlines=False)}")


def visible(text: str, keep_newlines: bool = True) -> str:
    """The text with every control character replaced by a picture of it, like ␛ for escape."""
    kept = "\n\t" if keep_newlines else ""
    return "".join(c if c.isprintable() or c in kept else _picture(c) for c in text)


def _picture(character: str) -> str:
    point = ord(character)
    if point < 0x20:
        return chr(0x2400 + point)
    return "\u2421" if point == 0x7F else f"<U+{point:04X}>"


def _forget_stdout() -> None:
    """Keep Python from complaining when it leaves and flushes what nobody reads."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_terminal() -> bool:
    """Whether a person watches standard error."""
    return sys.stderr.isatty()
