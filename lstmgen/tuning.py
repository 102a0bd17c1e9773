"""Turns settings of scoring, and what a text costs under them, into better ones, step by step.

They are to be chosen on another text than the one that they are then used for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any, Generic, NamedTuple, TypeVar

from lstmgen.config import CacheConfig, DynamicConfig

Settings = TypeVar("Settings", bound=DynamicConfig | CacheConfig)
Axes = Mapping[str, Sequence[float]]  # the values that each setting may take, in order

AXES: Mapping[str, Axes] = {
    "dynamic": {
        "rate": (2.5e-5, 5e-5, 1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3, 6.4e-3, 1.28e-2),
        "decay": (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    },
    "cache": {
        "share": (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7),
        "sharpness": (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0),
    },
}


WORTH = 1e-4  # of the cost: a smaller gain does not count, or the search would go on for long


class Trial(NamedTuple, Generic[Settings]):
    """Settings that were tried, what the text cost under them, and whether they are the best so far."""

    settings: Settings
    nats: float
    better: bool = True


def trials(
    cost: Callable[[Settings], float], start: Settings, axes: Axes
) -> Iterator[Trial[Settings]]:
    """What is tried, one after the other, `start` first; the last that is `better` is the one to take.

    A coordinate search: from the best so far it tries the next value of each setting, up and down, moves
    to the first that is better, and ends where none is. The values of `start` must be on their axes.
    """
    best = Trial(start, cost(start))
    yield best
    tried, in_vain = {start}, 0
    moves = [(name, way) for name in axes for way in (1, -1)]
    for name, way in cycle(moves):
        settings = _moved(best.settings, name, axes[name], way)
        if settings not in tried:
            tried.add(settings)
            nats = cost(settings)
            trial = Trial(settings, nats, nats < best.nats * (1 - WORTH))
            yield trial
            if trial.better:
                best, in_vain = trial, 0
                continue
        in_vain += 1
        if in_vain == len(moves):
            return


def _moved(settings: Settings, name: str, values: Sequence[float], way: int) -> Settings:
    """The settings with the next value of one of them; at the end of its axis they stay as they are."""
    place = values.index(getattr(settings, name)) + way
    if not 0 <= place < len(values):
        return settings
    changed: dict[str, Any] = {name: values[place]}
    return replace(settings, **changed)
