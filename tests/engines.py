"""What the engines that tests make up have in common."""

from collections.abc import Sequence
from typing import Any


class Stateless:
    """It remembers nothing, and what it reads becomes its logits at once."""

    vocab_size: int

    def initial_state(self, batch_size: int) -> Any:
        return ()

    def logits(self, hidden: Any, symbols: slice = slice(None)) -> Any:
        return hidden[..., symbols].copy()

    def select(self, state: Any, streams: slice | Sequence[int]) -> Any:
        assert state == ()
        return state

    def concatenate(self, states: Sequence[Any]) -> Any:
        assert not any(states)
        return states[0]
