"""Tuning: from where it starts it goes down to the best there is, and tries nothing twice."""

import math
from dataclasses import replace

import pytest

from lstmgen.config import CacheConfig, DynamicConfig
from lstmgen.tuning import AXES, trials


@pytest.mark.parametrize("rate", AXES["dynamic"]["rate"])
@pytest.mark.parametrize("decay", AXES["dynamic"]["decay"])
def test_it_finds_the_bottom_of_a_valley(rate: float, decay: float) -> None:
    def cost(settings: DynamicConfig) -> float:
        # Steeper along a slanted line than along the axes, as the two go together.
        x, y = math.log(settings.rate / rate), math.log((settings.decay + 1e-5) / (decay + 1e-5))
        return x * x + y * y + 0.5 * x * y

    found = list(trials(cost, DynamicConfig(), AXES["dynamic"]))
    assert found[0].settings == DynamicConfig()
    assert all(trial.nats == cost(trial.settings) for trial in found)
    better = [trial for trial in found if trial.better]
    assert [trial.nats for trial in better] == sorted({trial.nats for trial in better})[::-1]
    assert better[-1].nats == min(trial.nats for trial in found)
    assert better[-1].settings == replace(DynamicConfig(), rate=rate, decay=decay)
    assert len({trial.settings for trial in found}) == len(found) < 40


def test_only_what_has_an_axis_is_moved() -> None:
    start = CacheConfig(size=7, share=0.123)  # not on its axis
    axes = {"sharpness": AXES["cache"]["sharpness"]}
    found = list(trials(lambda settings: -settings.sharpness, start, axes))
    assert [trial.settings.sharpness for trial in found] == list(AXES["cache"]["sharpness"][3:])
    assert all(replace(trial.settings, sharpness=0.2) == start for trial in found)


def test_a_gain_of_a_thousandth_counts() -> None:
    found = list(trials(lambda s: 1.0 - 0.001 * (s.rate > 2e-4), DynamicConfig(), AXES["dynamic"]))
    assert [trial.settings.rate for trial in found if trial.better] == [2e-4, 4e-4]


@pytest.mark.parametrize("gain", [0.0, 0.00001])
def test_where_nothing_is_better_to_speak_of_it_stops_at_once(gain: float) -> None:
    found = list(trials(lambda s: 1.0 - gain * s.rate / 0.0004, DynamicConfig(), AXES["dynamic"]))
    assert len(found) == 5  # the start, and one step up and down each axis
    assert [trial.better for trial in found] == [True] + 4 * [False]


@pytest.mark.parametrize(
    ("start", "axes"), [(DynamicConfig(), AXES["dynamic"]), (CacheConfig(size=1), AXES["cache"])]
)
def test_the_usual_settings_are_on_their_axes_and_all_values_are_allowed(
    start: DynamicConfig | CacheConfig, axes: dict[str, tuple[float, ...]]
) -> None:
    for name, values in axes.items():
        assert getattr(start, name) in values
        assert values[-1] / (values[0] or values[1]) > 50  # from next to nothing to too much
        assert list(values) == sorted(set(values))
        for value in values:
            changed: dict[str, float] = {name: value}
            replace(start, **changed)  # type: ignore[arg-type]
