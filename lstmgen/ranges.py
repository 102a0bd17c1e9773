"""The value of an option -> nothing, if the option may have it; else a refusal that says what it may be."""

from math import inf, nextafter
from numbers import Integral, Real
from typing import NamedTuple

from lstmgen.errors import OptionError

ABOVE_0, BELOW_1 = nextafter(0, 1), nextafter(1, 0)


class Range(NamedTuple):
    """What a number may be, both ends included."""

    low: float
    high: float = inf
    words: str = ""  # where the two numbers would not say it well

    def __str__(self) -> str:
        if self.words:
            return self.words
        if self.low != ABOVE_0 and self.high not in (inf, BELOW_1):
            return f"from {self.low:,} to {self.high:,}"
        low = "above 0" if self.low == ABOVE_0 else f"at least {self.low:,}"
        if self.high == inf:
            return low
        return low + (" and below 1" if self.high == BELOW_1 else f" and at most {self.high:,}")

    def require(self, name: str, value: float | None) -> None:
        """`OptionError` where a value is outside, or is no number."""
        if not isinstance(value, Real):  # as only who calls from Python can give
            raise OptionError(f"{name} is {value!r:.40}; it must be a number, {self}")
        # As a float of Python's: beside a float32, NumPy would round the bounds to that precision.
        if not self.low <= (value if isinstance(value, Integral) else float(value)) <= self.high:
            raise OptionError(f"{name} is {value!s:.40}; it must be {self}")


AT_ONCE = 1 << 20  # characters

# Of the options of the command line, whose help shows them.
RANGES = {
    "--minutes": Range(ABOVE_0, 1_000_000),
    "--epochs": Range(ABOVE_0, 1_000_000),
    "--steps": Range(1, 10**12),
    "--min-count": Range(1),
    "--max-vocab": Range(2),
    "--valid-fraction": Range(ABOVE_0, BELOW_1),
    "--num-layers": Range(1, 100),
    "--hidden-size": Range(1, 100_000),
    "--embedding-size": Range(1, 100_000),
    "--batch-size": Range(1, 1_000_000),
    "--window": Range(1, 1_000_000),
    "--learning-rate": Range(ABOVE_0, 100),
    "--adamw-share": Range(0, 1000),
    "--memory": Range(0, 1_000_000),
    "--dropout": Range(0, 0.95),
    "--weight-drop": Range(0, 0.95),
    "--weight-decay": Range(0, 1_000_000),
    "--softmax-sample": Range(0, 10_000_000),
    "--threads": Range(1, 1024),
    "--sample-every": Range(0),
    "--num-samples": Range(1, 10**12),
    "--length": Range(0),
    "--seed": Range(0, 2**63 - 1, "a whole number from 0 to 2^63 - 1"),
    "--temperature": Range(0, 1_000_000),
    "--top-k": Range(1),
    "--top-p": Range(ABOVE_0, 1),
    "--min-p": Range(0, 1),
    "--repetition-penalty": Range(0.001, 1000),
    "--beams": Range(1, 100),
    "--dynamic-rate": Range(0, 1),
    "--dynamic-decay": Range(0, 1),
    "--cache": Range(1, 100_000),
    "--cache-share": Range(0, BELOW_1),
    "--cache-sharpness": Range(0, 1_000_000),
}


def require(name: str, value: float | None) -> None:
    """`OptionError` where the value of an option is not in its range."""
    RANGES[name].require(name, value)


def require_whole(name: str, value: int) -> None:
    """`OptionError` for no whole number, of Python's or NumPy's, or one out of its option's range."""
    if not isinstance(value, Integral):
        raise OptionError(f"{name} is {value!r:.40}; it must be a whole number")
    require(name, int(value))


def require_text(name: str, value: str) -> None:
    """`ValueError` for no `str`, as only Python can give; `OptionError` for one that is no text."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r:.40}; give a str")
    try:
        for begin in range(0, len(value), AT_ONCE):
            value[begin : begin + AT_ONCE].encode()
    except UnicodeEncodeError:  # as Python makes of bytes of the command line that are not UTF-8
        raise OptionError(
            f"{name} is {value!r:.40}, which holds half a surrogate pair and is no text; leave that out"
        ) from None


def require_device(name: str) -> None:
    """`OptionError` for what is no name of a device, be there one or not."""
    require_text("--device", name)
    kind, _, number = name.partition(":")
    if name not in ("auto", "cpu", "cuda", "mps") and not (kind == "cuda" and number.isdecimal()):
        raise OptionError(f"--device {name!r} is not one of auto, cpu, cuda, cuda:N, mps")
