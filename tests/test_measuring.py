"""How long a step and a validation are measured to take."""

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from jobs import STORY, make_job

from lstmgen import (
    checkpoint,
    measuring,
    stopwatch,
)
from lstmgen import run as run_module
from lstmgen.measuring import measure
from lstmgen.model import Network
from lstmgen.recording import PLAIN_CALLS
from lstmgen.run import fresh_run
from lstmgen.step import Stepper
from lstmgen.training import train


class Clock(SimpleNamespace):
    """A clock that goes on only when it is told to, by how long something takes."""

    now = 0.0

    def step_of(self, seconds: float) -> Any:
        """A step that takes so long, and counts as one."""

        def step(*about: Any) -> tuple[torch.Tensor, int]:
            self.now += seconds
            self.steps += 1
            return torch.zeros(()), 1

        return step

    def windows_of(self, *seconds: float) -> Any:
        """What scores windows, of which the first take so long, and all others as long as the last."""

        def scored(engine: Any, streams: Any) -> Iterator[float]:
            for i in range(streams.num_windows):
                self.now += seconds[min(i, len(seconds) - 1)]
                yield 0.0

        return scored


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The one by which all is measured here; steps and windows take no time by it."""
    clock = Clock(steps=0)
    monkeypatch.setattr(stopwatch, "now", lambda: clock.now)
    monkeypatch.setattr(Stepper, "step", clock.step_of(0.0))
    monkeypatch.setattr(measuring, "window_nats", clock.windows_of(0.0))
    return clock


def test_a_slow_step_is_not_measured_five_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(Stepper, "step", clock.step_of(0.02))
    speed = measure(make_job(tmp_path), seconds=0.0, most=0.05)
    assert speed.step_seconds == pytest.approx(0.02)
    assert clock.steps == 3
    measure(make_job(tmp_path), seconds=0.0)
    assert clock.steps == 3 + 5
    alone = measuring.step_seconds(make_job(tmp_path), seconds=0.0, most=0.05)
    assert alone == pytest.approx([0.02])
    assert clock.steps == 3 + 5 + 3
    began = clock.now
    measuring.step_seconds(make_job(tmp_path))
    assert 0.2 < clock.now - began < 0.3  # most of a minute is to be for training
    monkeypatch.setattr(Stepper, "step", clock.step_of(0.9))
    measuring.step_seconds(make_job(tmp_path))
    assert clock.now - began < 2.5


@pytest.mark.parametrize(("seconds", "calls"), [(0.0, 5), (0.0795, 8), (1e9, 50)])
def test_a_step_is_measured_five_times_or_for_so_many_seconds_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock, seconds: float, calls: int
) -> None:
    monkeypatch.setattr(Stepper, "step", clock.step_of(0.01))
    measure(make_job(tmp_path), seconds=seconds, most=1e9)
    assert clock.steps == calls


def test_a_step_that_was_held_up_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    took = iter([0.5, 0.01, 0.01, 0.5, 0.01])
    monkeypatch.setattr(Stepper, "step", lambda *about: clock.step_of(next(took))(*about))
    assert measure(make_job(tmp_path), seconds=0.0).step_seconds == pytest.approx(0.01)


def test_several_are_timed_in_turn_so_that_a_slower_moment_is_one_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """The machine takes three times as long for the first half of it."""
    job = make_job(tmp_path)
    larger = replace(job, training=replace(job.training, batch_size=8))

    def step(stepper: Stepper, *about: Any) -> Any:
        taken = 0.01 if stepper.config.batch_size == 4 else 0.015
        slow = 3 if clock.now < 0.35 else 1
        return clock.step_of(taken * slow)(stepper, *about)

    monkeypatch.setattr(Stepper, "step", step)
    one, other = measuring.step_seconds(job, larger, seconds=0.35)
    assert (one, other) == pytest.approx((0.01, 0.015))
    assert 0.7 <= clock.now < 0.8
    clock.now = 0.0
    (one,), (other,) = (measuring.step_seconds(each, seconds=0.35) for each in (job, larger))
    assert (one, other) == pytest.approx((0.03, 0.015))  # which is not how they are


def test_on_cuda_ten_steps_are_timed_at_once_after_the_first(tmp_path: Path, clock: Clock) -> None:
    gpu = SimpleNamespace(device=torch.device("cuda"))  # on which nothing runs here
    run, config = SimpleNamespace(step=0, network=gpu), make_job(tmp_path).training
    stepper: Any = SimpleNamespace(run=run, step=clock.step_of(0.01), config=config)
    assert measuring._time_steps([stepper], 0.0, 1e9) == pytest.approx([0.01])
    assert clock.steps == PLAIN_CALLS + 1 + 5 * 10
    for seconds, most, times in ((0.95, 1e9, 10), (0.0, 0.25, 3)):
        clock.steps = 0  # ten of which take a tenth of a second
        measuring._time_steps([stepper], seconds, most)
        assert clock.steps == PLAIN_CALLS + 1 + times * 10


def test_a_quarter_of_the_steps_is_quicker_than_what_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    took = iter([0.08, 0.01, 0.07, 0.02, 0.06, 0.03, 0.05, 0.04])
    monkeypatch.setattr(Stepper, "step", lambda *about: clock.step_of(next(took))(*about))
    assert measure(make_job(tmp_path), seconds=0.355).step_seconds == pytest.approx(0.03)


def test_a_validation_is_measured_by_some_of_its_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """The first loads what it uses, and one that was held up by another program does not count."""
    job = make_job(tmp_path, STORY * 3)
    windows = -(-len(job.data.valid_ids) // 64)
    assert windows > 20
    for taken, seconds in (((0.5, 0.01), 0.0), ((0.5, 0.1, 0.01), 1.0)):
        monkeypatch.setattr(measuring, "window_nats", clock.windows_of(*taken))
        measured = measure(job, seconds=seconds).validation_seconds
        assert measured == pytest.approx(windows * 0.01)


def test_a_validation_is_not_measured_for_longer_than_a_quarter_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(measuring, "window_nats", clock.windows_of(0.1))
    job = make_job(tmp_path, STORY * 3)
    for seconds, windows in ((0.0, 2), (1.0, 4), (100.0, 6)):
        clock.now = 0.0
        measure(job, seconds=seconds)
        assert clock.now == pytest.approx(0.1 * windows)


def test_a_validation_is_measured_by_windows_of_which_all_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """As many streams as it will have, without their warm-up."""
    job = make_job(tmp_path)
    job = replace(job, data=replace(job.data, valid_ids=np.ones(9000, np.uint8)))
    shapes = list[tuple[int, ...]]()

    def window_nats(engine: Any, streams: Any) -> Iterator[float]:
        for index in range(streams.num_windows):
            inputs, targets = streams.window(index)
            assert (targets == 1).all()
            shapes.append(inputs.shape)
            yield 0.0

    monkeypatch.setattr(measuring, "window_nats", window_nats)
    measure(job, seconds=0.0)
    assert set(shapes) == {(9000 // 2048, 64)}


def test_a_validation_of_a_single_window_is_measured_by_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(measuring, "window_nats", clock.windows_of(0.02))
    job = make_job(tmp_path)
    job = replace(job, data=replace(job.data, valid_ids=job.data.valid_ids[:64]))
    assert measure(job, seconds=0.0).validation_seconds == pytest.approx(0.02)


def test_what_was_measured_is_of_the_network_to_be_trained_and_is_forgotten_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Any, Any]] = []

    def watched(*about: Any) -> Network:
        network = Network(*about)
        made.append((about, weakref.ref(network)))
        return network

    monkeypatch.setattr(run_module, "Network", watched)
    job = make_job(tmp_path)
    job = replace(job, training=replace(job.training, memory=9))
    measure(job, seconds=0.0)  # which imports what it needs
    made.clear()
    gc.collect()
    gc.disable()  # a GPU's memory must not wait for it
    try:
        measure(job, seconds=0.0)
        ((about, network),) = made
        assert about == (job.model, job.training.dropout, 9)
        assert network() is None
    finally:
        gc.enable()


def test_what_a_model_saves_of_a_guess_tells_how_well_it_knows_a_text(tmp_path: Path) -> None:
    job = make_job(tmp_path, steps=100)
    list(train(job))
    model = checkpoint.load_model(tmp_path)
    assert measuring.share_spared(job, model) > 0.3
    backwards = make_job(tmp_path, text=STORY[::-1])
    assert measuring.share_spared(backwards, model) < 0
    fresh = replace(model, weights=fresh_run(job).network.weights())
    assert measuring.share_spared(job, fresh) == pytest.approx(0, abs=1e-6)
    small = replace(job, training=replace(job.training, batch_size=1, window=1))
    assert measuring.share_spared(small, model) == measuring.share_spared(job, model)
    few = replace(small, data=replace(job.data, train_ids=job.data.train_ids[:9]))
    assert measuring.share_spared(few, model) < 1  # of a text shorter than a window
