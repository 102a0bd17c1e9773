"""What a run has to do: what of it follows from the rest."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jobs import make_job

from lstmgen.batching import IGNORED


def test_the_streams_of_a_job_have_each_token_that_is_trained_on_once(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    windows = [job.streams.window(index)[1] for index in range(job.streams.num_windows)]
    assert {len(window) for window in windows} == {job.training.batch_size}
    assert max(window.shape[1] for window in windows) <= job.training.window
    targets = np.concatenate([window[window != IGNORED] for window in windows])
    ids = job.data.train_ids
    np.testing.assert_array_equal(np.bincount(targets), np.bincount(ids))


def test_an_epoch_is_so_many_windows(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    assert job.epochs(0) == 0
    assert job.epochs(job.streams.num_windows) == 1
    assert job.epochs(3 * job.streams.num_windows // 2) == pytest.approx(1.5, abs=0.02)


def test_a_job_of_other_numbers_has_other_streams(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    before = job.streams
    assert job.streams is before  # they are cut once
    other = replace(job, training=replace(job.training, window=8))
    assert other.streams.num_windows > before.num_windows
    assert other.vocabulary is job.data.vocabulary
