"""A value outside the range of its option is refused, in words that say what it may be."""

from math import inf
from typing import Any

import numpy as np
import pytest

from lstmgen import ranges
from lstmgen.config import CacheConfig, DecodingConfig
from lstmgen.errors import OptionError
from lstmgen.ranges import (
    ABOVE_0,
    BELOW_1,
    RANGES,
    Range,
    require,
    require_device,
    require_text,
    require_whole,
)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_ranges_are_the_same_for_the_short_floats_of_numpy(kind: Any) -> None:
    with pytest.raises(OptionError, match="--top-p"):
        DecodingConfig(top_p=kind(0))
    with pytest.raises(OptionError, match="--cache-share"):
        CacheConfig(size=5, share=kind(1))
    assert DecodingConfig(temperature=kind(0.5)).temperature == 0.5


@pytest.mark.parametrize("option", RANGES)
def test_both_ends_are_inside_and_what_is_beyond_them_is_refused_by_its_range(option: str) -> None:
    low, high = RANGES[option].low, RANGES[option].high
    require(option, low)
    require(option, high)  # of what has no end infinity, as a float
    for beyond in (low - 1, float("nan"), *([] if high == inf else [high + 1])):
        with pytest.raises(OptionError, match=f"^{option} is .*; it must be ") as told:
            require(option, beyond)
        assert str(told.value).endswith(f"it must be {RANGES[option]}")


def test_shares_and_rates_are_above_0_and_times_end_somewhere() -> None:
    high = {option: one.high for option, one in RANGES.items() if one.low == ABOVE_0}
    million = {"--minutes": 1_000_000, "--epochs": 1_000_000}
    assert high == million | {"--valid-fraction": BELOW_1, "--learning-rate": 100, "--top-p": 1}
    assert [option for option, one in RANGES.items() if one.words] == ["--seed"]


def test_a_range_says_what_a_number_may_be() -> None:
    assert str(Range(1)) == "at least 1"
    assert str(Range(2, 10_000)) == "from 2 to 10,000"
    assert str(Range(ABOVE_0)) == "above 0"
    assert str(Range(ABOVE_0, 10_000)) == "above 0 and at most 10,000"
    assert str(Range(0.5, BELOW_1)) == "at least 0.5 and below 1"
    assert str(Range(ABOVE_0, BELOW_1)) == "above 0 and below 1"
    assert str(Range(0, 1, "a share")) == "a share"


@pytest.mark.parametrize("value", [None, "5", [5]])
def test_what_is_no_number_is_refused_as_such(value: Any) -> None:
    with pytest.raises(OptionError, match=r"--length is .*; it must be a number, at least 0"):
        require("--length", value)


def test_a_whole_number_is_one_of_pythons_or_of_numpys() -> None:
    whole: tuple[Any, ...] = (3, np.int64(3))
    others: tuple[Any, ...] = (3.0, 2.5, None)
    outside: tuple[Any, ...] = (-1, np.int8(-1))
    for value in whole:
        require_whole("--seed", value)
    for value in others:
        with pytest.raises(OptionError, match=r"--seed is .*; it must be a whole number$"):
            require_whole("--seed", value)
    for value in outside:
        with pytest.raises(OptionError, match="--seed is -1; it must be a whole number from 0"):
            require_whole("--seed", value)


def test_no_text_is_a_bug_of_who_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    require_text("prime", "")
    with pytest.raises(ValueError, match="prime is b'x'; give a str"):
        require_text("prime", b"x")  # type: ignore[arg-type]
    with pytest.raises(
        OptionError, match=r"prime is .*, which holds half a surrogate pair and is no text"
    ):
        require_text("prime", "x\ud800")
    monkeypatch.setattr(ranges, "AT_ONCE", 2)
    require_text("prime", "abc😀d")
    with pytest.raises(OptionError, match="half a surrogate"):
        require_text("prime", "abcd\udc00")


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "mps", "cuda:0", "cuda:17"])
def test_a_device_that_there_may_be_is_none_to_refuse(name: str) -> None:
    require_device(name)


@pytest.mark.parametrize("name", ["", "gpu", "CPU", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "mps:0"])
def test_what_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match=f"--device '{name}' is not one of auto, cpu, cuda"):
        require_device(name)
