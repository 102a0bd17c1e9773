"""All that the steps of a run change: copied, put back, and refused where it cannot be one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jobs import make_job

from lstmgen import checkpoint, folders
from lstmgen.errors import CheckpointError
from lstmgen.run import Snapshot, fresh_run
from lstmgen.step import Stepper
from lstmgen.training import train


def test_a_snapshot_is_sound_only_if_a_file_of_it_would_be_read_again(tmp_path: Path) -> None:
    list(train(make_job(tmp_path)))
    saved = checkpoint.load_run(tmp_path)
    for name in saved.carried:
        tensors = {n: array.copy() for n, array in saved.carried.items()}
        assert Snapshot(1, saved.model.weights, tensors).is_sound
        tensors[name].flat[-1:] = np.nan
        assert not Snapshot(1, saved.model.weights, tensors).is_sound
    for name in saved.model.weights:
        for value in (np.nan, np.inf, -2e9):
            weights = {n: array.copy() for n, array in saved.model.weights.items()}
            weights[name].flat[-1] = value
            assert not Snapshot(1, weights, saved.carried).is_sound
        weights[name].flat[-1] = -checkpoint.MAX_WEIGHT
        assert Snapshot(1, weights, saved.carried).is_sound
    checkpoint.save_run(tmp_path / folders.RUN_FILE, replace(saved, carried=tensors))
    with pytest.raises(CheckpointError, match="holds what is not a finite number"):
        checkpoint.load_run(tmp_path)


def test_momentum_of_another_shape_is_refused(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    list(train(job))
    saved = checkpoint.load_run(tmp_path)
    name = "optimizer.layers.0.weight_hh.momentum"
    odd = dict(saved.carried) | {name: saved.carried[name][:1]}  # which would spread to all rows
    with pytest.raises(CheckpointError, match="not all that a run needs"):
        next(train(job, replace(saved, carried=odd)))


def test_what_no_run_carries_on_is_refused(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    list(train(job))
    saved = checkpoint.load_run(tmp_path)
    odd = dict(saved.carried) | {"junk": np.zeros(3, np.float32)}
    with pytest.raises(CheckpointError, match="junk, which no run carries on"):
        next(train(job, replace(saved, carried=odd)))
    older = {
        "optimizer.layers.0.weight_hh.exp_avg": np.zeros(3, np.float32)
    }  # by another optimizer
    assert next(train(job, replace(saved, carried=dict(saved.carried) | older)), None) is None
    checkpoint.save_run(
        tmp_path / folders.RUN_FILE, replace(saved, carried={"junk": np.zeros(3, np.float64)})
    )
    with pytest.raises(CheckpointError, match="junk is float64 where float32 belongs"):
        checkpoint.load_run(tmp_path)


def test_a_snapshot_stays_as_it_is_and_a_run_can_go_back_to_it(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    stepper = Stepper(fresh_run(job), job)
    run = stepper.run
    stepper.step(0.02)
    before = run.snapshot()
    assert before.step == 1
    copies = [array.copy() for array in (*before.weights.values(), *before.carried.values())]
    ahead = [float(stepper.step(0.02)[0]) for _ in range(3)]
    for array, copy in zip(
        (*before.weights.values(), *before.carried.values()), copies, strict=True
    ):
        assert np.array_equal(array, copy)
    places = {name: tensor.data_ptr() for name, tensor in run.network.named_weights().items()}
    run.go_to(before)
    assert run.step == 1
    assert {n: tensor.data_ptr() for n, tensor in run.network.named_weights().items()} == places
    assert [float(stepper.step(0.02)[0]) for _ in range(3)] == ahead
