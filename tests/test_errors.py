"""One tree of errors for all that a user can get wrong, and what the system says is wrong."""

from pathlib import Path

import pytest

from lstmgen import errors
from lstmgen.errors import LstmgenError, reason


def test_every_user_error_is_caught_as_one_and_none_as_a_bug() -> None:
    tree = [item for item in vars(errors).values() if isinstance(item, type)]
    assert len(tree) == 7
    assert all(issubclass(item, LstmgenError) for item in tree)
    assert not any(issubclass(item, ValueError | TypeError | OSError) for item in tree)


def test_the_reason_of_an_error_is_without_the_path_that_the_message_begins_with() -> None:
    with pytest.raises(OSError, match=r"no/such") as told:
        Path("no/such").stat()
    assert reason(told.value) == "No such file or directory"
    assert reason(ValueError("embedded null byte")) == "embedded null byte"
