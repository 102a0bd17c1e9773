"""The torch network as it begins; `test_cells` holds what it computes against the equations."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jobs import make_job

from lstmgen import checkpoint, training
from lstmgen.config import CellName, ModelConfig
from lstmgen.model import Network
from lstmgen.training import train


@pytest.mark.parametrize("tie", [False, True])
def test_a_run_begins_by_guessing_how_frequent_each_symbol_is(tmp_path: Path, tie: bool) -> None:
    job = make_job(tmp_path)
    job = replace(job, model=replace(job.model, embedding_size=12, tie=tie))
    counts = np.bincount(job.data.train_ids, minlength=len(job.vocabulary))
    assert job.data.counts.tolist() == counts.tolist()
    stepper, _ = training._begin(job, None, None)
    shares = (counts + 1) / (counts + 1).sum()
    network = stepper.run.network
    logits, _ = network(torch.zeros(1, 5, dtype=torch.long), network.initial_state(1))
    found = logits.softmax(-1)[0].detach().numpy()
    if tie:  # embeddings say a little already, but the counts nearly all
        losses = -(shares * np.log(found)).sum(axis=1)
        least = -(shares * np.log(shares)).sum()
        assert (losses < least + 0.1).all(), losses - least
    else:
        np.testing.assert_allclose(found, np.tile(shares, (5, 1)), rtol=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gates_with_a_memory_keep_what_they_hold(tmp_path: Path, cell: CellName) -> None:
    """A unit whose gate is f keeps for 1 / (1 - f) tokens, with nothing else to move it."""
    model = replace(make_job(tmp_path, cell=cell).model, hidden_size=400)
    kept = []
    for memory in (0, 50):
        network = Network(model, memory=memory)
        network.initialize(1)
        assert set(network.weights()["layers.0.bias_ih"][800:].tolist()) == {0.0}  # it is to read
        bias = network.weights()["layers.1.bias_ih"]
        gate = 1 / (1 + np.exp(-bias[400:800]))
        kept.append(1 / (1 - gate))
        if cell == "lstm" and memory:  # what is below is to read
            below = network.weights()["layers.0.bias_ih"]
            assert set(below[:400].tolist()) == {0.0}
            assert set(below[400:800].tolist()) == {1.0}
        if cell == "lstm":
            some = 400 if memory else 50  # an eighth
            assert np.array_equal(bias[:some], -bias[400 : 400 + some])
            assert not bias[some:400].any()
            assert set(bias[1200:].tolist()) == {2.0 if memory else 0.0}  # 0.88 shows, or half
        else:
            assert not bias[:400].any()  # a GRU's reset gates
    usual = kept[0][50:] if cell == "lstm" else kept[0]
    assert usual == pytest.approx(np.full_like(usual, 1 + np.e if cell == "lstm" else 2), rel=1e-5)
    assert 2 <= kept[1].min() < 4
    assert 48 < kept[1].max() <= 51.01
    assert np.mean(kept[1]) == pytest.approx(26.5, abs=2)


def test_a_plain_network_has_no_gates_to_freeze() -> None:
    config = ModelConfig(vocab_size=3, cell="rnn", hidden_size=4)
    usual, told = Network(config), Network(config, memory=50)
    usual.initialize(1)
    told.initialize(1)
    assert all(weight.requires_grad for weight in told.parameters())
    for name, weight in usual.weights().items():
        assert np.array_equal(told.weights()[name], weight), name


def test_a_run_with_a_memory_begins_with_such_gates_in_its_last_layer_and_freezes_their_biases(
    tmp_path: Path,
) -> None:
    for memory in (0, 50):
        folder = tmp_path / str(memory)
        job = make_job(folder, steps=3)
        list(train(replace(job, training=replace(job.training, memory=memory))))
        fresh = Network(job.model, memory=memory)
        fresh.initialize(job.training.seed)
        for name, weight in fresh.weights().items():
            trained = checkpoint.load_model(folder).weights[name]
            frozen = bool(memory) and "layers.1.bias_" in name
            assert np.array_equal(trained, weight) == frozen, name


def test_input_matrices_begin_as_large_as_glorot_has_it() -> None:
    network = Network(ModelConfig(vocab_size=5, hidden_size=200, embedding_size=100))
    network.initialize(1)
    weights = network.weights()
    for name, width in (("layers.0.weight_ih", 100), ("layers.1.weight_ih", 200)):
        bound = (6 / (200 + width)) ** 0.5
        assert 0.999 * bound < abs(weights[name]).max() <= bound
        assert weights[name].std() == pytest.approx(bound / 3**0.5, rel=0.02)
