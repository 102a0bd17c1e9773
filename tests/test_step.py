"""One step of training."""

from dataclasses import replace
from math import isfinite, isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jobs import be_lazy, make_job
from torch import Tensor
from torch.utils import _pytree as tree
from torch.utils._python_dispatch import TorchDispatchMode

from lstmgen import device, sampled_softmax
from lstmgen import step as step_module
from lstmgen.initialization import initialize
from lstmgen.model import Network
from lstmgen.run import fresh_run
from lstmgen.scoring import cross_entropy
from lstmgen.step import Loss, Stepper
from lstmgen.training import train


def test_with_every_symbol_drawn_the_loss_of_a_window_is_that_of_all(tmp_path: Path) -> None:
    """Also in the last windows of a text, which its streams do not fill."""
    job = make_job(tmp_path, softmax_sample=0)
    network, streams = Network(job.model), job.streams
    initialize(network, 0)
    torch.nn.init.normal_(network.output.weight)
    state = network.initial_state(job.training.batch_size)
    every = replace(job, training=replace(job.training, softmax_sample=1000))
    targets = set()
    for index in range(streams.num_windows):
        inputs, wanted, count = step_module.on_device(streams.window(index), network)
        exact, _ = Loss(network, job)(inputs, wanted, state, 0)
        found, _ = Loss(network, every)(inputs, wanted, state, 0)
        torch.testing.assert_close(found, exact)
        targets.add(count)
    assert len(targets) > 1  # some windows are full, some are not


class LogitsMade(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes how many numbers the largest tensor has that is made within, of those with a column a symbol."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.vocab_size, self.most = vocab_size, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in tree.tree_leaves(result):
            if isinstance(part, Tensor) and part.dim() > 1 and part.shape[-1] == self.vocab_size:
                self.most = max(self.most, part.numel())
        return result


def test_where_they_are_many_logits_are_made_for_some_tokens_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And loss and gradients are those of all at once, also where streams do not fill a window."""
    job = make_job(tmp_path, softmax_sample=0)
    network, streams = Network(job.model), job.streams
    initialize(network, 0)
    torch.nn.init.normal_(network.output.weight)
    state = network.initial_state(job.training.batch_size)
    vocab_size, few = job.model.vocab_size, 500
    monkeypatch.setattr(sampled_softmax, "MAX_LOGITS", few)
    for index in (0, streams.num_windows - 1):
        inputs, targets, _ = step_module.on_device(streams.window(index), network)
        found, largest = [], []
        for most in (targets.numel() * vocab_size, few):
            monkeypatch.setattr(step_module, "MAX_LOGITS", most)
            with LogitsMade(vocab_size) as made:
                nats, _ = Loss(network, job)(inputs, targets, state, 0)
                gradients = torch.autograd.grad(nats, list(network.parameters()))
            largest.append(made.most)
            found.append((nats, *gradients))
        torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)
        assert largest[0] == targets.numel() * vocab_size
        assert 0 < largest[1] <= few


@pytest.mark.parametrize(
    ("epochs", "window", "begins"), [(0, 0, True), (2, 0, True), (0, 1, False)]
)
def test_a_text_begins_with_nothing_remembered_each_time(
    tmp_path: Path, epochs: int, window: int, begins: bool
) -> None:
    job = make_job(tmp_path)
    nats = []
    for held in (0.0, 1.0):
        run = fresh_run(job)
        torch.manual_seed(0)
        torch.nn.init.normal_(run.network.output.weight)
        run.state = tuple(tuple(part + held for part in layer) for layer in run.state)
        run.step = epochs * job.streams.num_windows + window
        nats.append(float(Stepper(run, job).step(0.02)[0]))
    assert (nats[0] == nats[1]) == begins


def test_half_of_the_streams_that_begin_a_line_begin_with_nothing_remembered() -> None:
    torch.manual_seed(3)
    state = tuple((torch.full((1000, 4), layer + 1.0), torch.ones(1000, 4)) for layer in range(2))
    state[1][0][::2] = float("nan")  # an overflow, which is to be forgotten too
    inputs = np.tile(np.array([[9, 5, 5], [5, 9, 9]]), (500, 1))  # every second one begins a line
    after = step_module.reset_at_line_starts(state, inputs, 9)
    emptied = (after[0][0] == 0).all(dim=1)
    assert not emptied[1::2].any()
    assert 200 < int(emptied[::2].sum()) < 300
    for layer, parts in enumerate(after):
        for part, before in zip(parts, state[layer], strict=True):
            assert (part[emptied] == 0).all()
            assert torch.equal(part[~emptied].nan_to_num(7.0), before[~emptied].nan_to_num(7.0))


def test_a_step_goes_by_the_gradient_of_a_mean_over_the_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what the clipping of gradients makes a difference."""
    job = make_job(tmp_path, dropout=0.0)
    run, seen = fresh_run(job), list[torch.Tensor]()
    weights = list(run.network.named_weights().values())
    torch.nn.init.normal_(run.network.output.weight)
    inputs, targets, count = step_module.on_device(job.streams.window(0), run.network)
    logits, _ = run.network(inputs, run.network.initial_state(len(inputs)))
    mean = cross_entropy(logits.flatten(0, 1), targets.flatten()).sum() / count
    expected = torch.autograd.grad(mean, weights)

    def step(*about: Any) -> None:
        seen.extend(weight.grad.clone() for weight in weights if weight.grad is not None)

    monkeypatch.setattr(run.optimizer, "step", step)
    Stepper(run, job).step(0.02)
    torch.testing.assert_close(seen, list(expected))


@pytest.mark.parametrize("tie", [False, True])
def test_sparse_gradients_make_the_same_steps_as_others(
    tmp_path: Path, tie: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that the CPU has, against those of devices that may know no sparse tensors."""
    be_lazy(monkeypatch)
    ends = []
    for sparse in (True, False):
        job = make_job(tmp_path / str(sparse), softmax_sample=6)
        job = replace(job, model=replace(job.model, embedding_size=12, tie=tie))
        run = fresh_run(job)
        stepper = Stepper(run, job)
        assert stepper.loss.lazy
        stepper.loss.lazy = sparse
        inputs, targets, _ = step_module.on_device(stepper.streams.window(0), run.network)
        stepper.loss(inputs, targets, run.state, 0)[0].backward()  # type: ignore[no-untyped-call]
        for parameter in run.optimizer.rows.weights.values():
            assert parameter.grad is not None
            assert parameter.grad.is_sparse == sparse
        run.network.zero_grad()
        for _ in range(3):
            stepper.step(0.02)
        ends.append(run.network.weights())
    for name, weight in ends[0].items():
        np.testing.assert_allclose(weight, ends[1][name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_each_step_and_each_seed_leaves_out_other_units(tmp_path: Path) -> None:
    job = make_job(tmp_path, dropout=0.5)
    streams = job.streams

    def total(step: int, seed: int) -> float:
        """Of the first window of the text, with the same weights."""
        config = replace(job.training, seed=seed)
        run = fresh_run(replace(job, training=config))
        torch.manual_seed(0)
        torch.nn.init.normal_(run.network.output.weight)
        run.step = step * streams.num_windows
        return float(Stepper(run, replace(job, training=config)).step(0.0)[0])

    assert total(0, 0) == total(0, 0)
    assert len({total(step, seed) for step in range(3) for seed in range(3)}) == 9


@pytest.mark.parametrize("name", ["dropout", "weight_drop"])
def test_what_is_left_out_of_a_step_changes_it(tmp_path: Path, name: str) -> None:
    ends = []
    for share in (0.0, 0.5):
        job = make_job(tmp_path / str(share), dropout=0.0)
        changed: Any = {name: share}
        job = replace(job, training=replace(job.training, **changed))
        ends.append([record.train_nats_per_token for record in train(job)][-1])
    assert ends[0] != ends[1]


def test_the_state_is_carried_from_window_to_window(tmp_path: Path) -> None:
    """With windows of two tokens only the carried state can tell how many x there were."""
    job = make_job(tmp_path, text="xxxxy" * 1000, dropout=0.0, steps=600)
    job = replace(job, training=replace(job.training, window=2, batch_size=8, report_every=600))
    last = list(train(job))[-1]
    assert last.score is not None
    # Knowing the last two tokens only, y is a guess between two places in three.
    assert last.score.nats_per_token < 0.15


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_multiplies_in_the_precision_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Any
) -> None:
    found = list[torch.dtype]()

    def seen(logits: Any, targets: Any) -> Any:
        found.append(logits.dtype)
        return cross_entropy(logits, targets)

    monkeypatch.setattr(step_module, "cross_entropy", seen)
    job = make_job(tmp_path, cell="gru")  # which needs no processor that is fast in bfloat16
    job = replace(job, training=replace(job.training, precision=precision))
    stepper = Stepper(fresh_run(job), job)
    stepper.step(0.02)
    stepper.loss_ahead()
    assert found == [getattr(torch, precision)] * 2


def test_the_largest_seed_is_one_for_every_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = list[int]()
    monkeypatch.setattr(device, "seed", lambda where, number: seeds.append(number))
    job = make_job(tmp_path)
    job = replace(job, training=replace(job.training, seed=2**63 - 1))
    stepper = Stepper(fresh_run(job), job)
    stepper.step(0.02)
    stepper.step(0.02)
    assert 0 <= min(seeds) < max(seeds) < 2**63


def test_the_loss_ahead_is_that_of_the_state_as_it_is(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    stepper = Stepper(fresh_run(job), job)
    stepper.step(0.02)
    ahead = stepper.loss_ahead()
    assert isfinite(ahead)
    assert stepper.loss_of(1) == ahead != stepper.loss_of(2)
    stepper.run.state[1][0][2] = float("nan")  # of one stream
    assert isnan(stepper.loss_ahead())
