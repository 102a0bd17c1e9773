"""A network that is to be trained -> a refusal, where this machine has not the memory for it."""

import os
from contextlib import suppress
from math import inf
from pathlib import Path

from lstmgen.config import ModelConfig
from lstmgen.errors import OptionError

BYTES_A_PARAMETER = 8  # at least: the weight, and a copy to go back to
# Where Linux tells how much memory a container may have: by the second version of its groups, and the first.
CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")
)  # fmt: skip


def require_memory(
    config: ModelConfig,
    advice: str = "give a lower --hidden-size, --embedding-size, --num-layers or --max-vocab",
) -> None:
    """`OptionError` for a network that could not be trained in all the memory of this machine.

    Of many large arrays none may be refused, until the system ends the process without a word.
    """
    needed, there = BYTES_A_PARAMETER * config.num_parameters, _memory()
    if needed > there:
        raise OptionError(
            f"a network of {config.num_parameters:,} parameters takes at least {needed / 1e9:,.1f} GB of "
            f"memory, and this machine, or its container, has {there / 1e9:,.1f}; {advice}"
        )


def _memory() -> float:
    """How many bytes this machine has, or the container in which this runs; no end where nobody can tell."""
    there = [inf]
    with suppress(AttributeError, ValueError, OSError):  # as on Windows
        there.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # there is none, which the first says by "max"
            there.append(int(limit.read_text()))
    return min(there)
