"""One tree of errors for all that a user can get wrong, and what the system says is wrong."""

import errno
from pathlib import Path

import numpy as np
import pytest
import torch

from lstmgen import errors
from lstmgen.errors import LstmgenError, is_lack_of_memory, reason


def test_every_user_error_is_caught_as_one_and_none_as_a_bug() -> None:
    tree = [item for item in vars(errors).values() if isinstance(item, type)]
    assert len(tree) == 7
    assert all(issubclass(item, LstmgenError) for item in tree)
    assert not any(issubclass(item, ValueError | TypeError | OSError) for item in tree)


@pytest.mark.parametrize("array", [np.empty, torch.empty], ids=["numpy", "torch"])
def test_a_lack_of_memory_is_known_whoever_tells_of_it(array: type) -> None:
    with pytest.raises((MemoryError, RuntimeError)) as told:
        array((2**30, 2**28))
    assert is_lack_of_memory(told.value)


def test_no_other_error_is_taken_for_a_lack_of_memory() -> None:
    for other in (None, ValueError("size mismatch"), OSError(errno.ENOSPC, "No space left")):
        assert not is_lack_of_memory(other)


def test_a_lack_of_memory_is_known_behind_what_came_up_over_it() -> None:
    error = RuntimeError("operation failed due to a previous error during capture")
    error.__context__ = torch.OutOfMemoryError("CUDA out of memory.")
    assert is_lack_of_memory(error)


def test_the_reason_of_an_error_is_without_the_path_that_the_message_begins_with() -> None:
    with pytest.raises(OSError, match=r"no/such") as told:
        Path("no/such").stat()
    assert reason(told.value) == "No such file or directory"
    assert reason(ValueError("embedded null byte")) == "embedded null byte"
