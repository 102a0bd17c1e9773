"""A network that this machine, or the container, has no memory for is refused."""

from pathlib import Path

import pytest

from lstmgen.cli import memory
from lstmgen.cli.memory import require_memory
from lstmgen.config import ModelConfig
from lstmgen.errors import OptionError

LARGE = ModelConfig(vocab_size=100, hidden_size=10_000)  # 1.2 billion parameters


def test_memory_of_the_machine_is_what_there_is_where_no_container_has_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "CONTAINER_LIMITS", ())
    there = {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 20_000_000}
    monkeypatch.setattr("os.sysconf", there.__getitem__)
    require_memory(LARGE)
    there["SC_PHYS_PAGES"] = 5_000_000
    with pytest.raises(
        OptionError, match=r"at least 9\.6 GB .* has 5\.0; give a lower --hidden-size"
    ):
        require_memory(LARGE)
    with pytest.raises(OptionError, match=r"; take another$"):
        require_memory(LARGE, "take another")


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("os.sysconf", lambda name: 1_000_000)  # of pages, and of bytes in each
    monkeypatch.setattr(memory, "CONTAINER_LIMITS", (tmp_path / "none", limit))
    for told in ("max\n", "10000000000\n"):
        limit.write_text(told)
        require_memory(LARGE)
    limit.write_text("4000000000\n")
    with pytest.raises(OptionError, match=r"or its container, has 4\.0;"):
        require_memory(LARGE)


def test_where_nobody_can_tell_there_is_no_end_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CONTAINER_LIMITS", ())
    monkeypatch.delattr("os.sysconf")
    require_memory(ModelConfig(vocab_size=100, hidden_size=100_000))
