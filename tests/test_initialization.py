"""The weights that a network begins with: how large they are, how gates stand, the same by the same seed."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from engines import Weights, sized
from jobs import make_job

from lstmgen import checkpoint, training
from lstmgen.cells import Cells
from lstmgen.config import CellName, ModelConfig
from lstmgen.initialization import initialize
from lstmgen.model import Network
from lstmgen.training import train

each_cell = pytest.mark.parametrize("cell", get_args(CellName))
tied_or_not = pytest.mark.parametrize("tie", [False, True])


@tied_or_not
def test_an_embedding_begins_as_large_as_a_layer_wants_it_or_as_an_output_layer_does(
    tie: bool,
) -> None:
    network = Network(ModelConfig(vocab_size=500, hidden_size=64, embedding_size=64, tie=tie))
    initialize(network, 0)
    assert network.weights()["embedding.weight"].std() == pytest.approx(
        1 / 8 if tie else 1, rel=0.05
    )


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
        initialize(network, 1)
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
    initialize(usual, 1)
    initialize(told, 1)
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
        initialize(fresh, job.training.seed)
        for name, weight in fresh.weights().items():
            trained = checkpoint.load_model(folder).weights[name]
            frozen = bool(memory) and "layers.1.bias_" in name
            assert np.array_equal(trained, weight) == frozen, name


def test_input_matrices_begin_as_large_as_glorot_has_it() -> None:
    network = Network(ModelConfig(vocab_size=5, hidden_size=200, embedding_size=100))
    initialize(network, 1)
    weights = network.weights()
    for name, width in (("layers.0.weight_ih", 100), ("layers.1.weight_ih", 200)):
        bound = (6 / (200 + width)) ** 0.5
        assert 0.999 * bound < abs(weights[name]).max() <= bound
        assert weights[name].std() == pytest.approx(bound / 3**0.5, rel=0.02)


def initialized(config: ModelConfig, seed: int = 0) -> Weights:
    network = Network(config)
    initialize(network, seed)
    return network.weights()


@each_cell
def test_fresh_biases_are_zero_but_for_the_gates_of_the_lstm(cell: CellName) -> None:
    config = ModelConfig(vocab_size=9, cell=cell, num_layers=3, hidden_size=8, embedding_size=5)
    weights = initialized(config)
    for k in range(3):
        bias = weights[f"layers.{k}.bias_ih"] + weights[f"layers.{k}.bias_hh"]
        expected = np.zeros_like(bias)
        if cell == "lstm":  # one unit of eight keeps for a while, the others forget sooner
            expected[8:16] = 1
            expected[[0, 8]] = [-np.log(4), np.log(4)]
        np.testing.assert_allclose(bias, expected, rtol=1e-6)
    assert not weights["output.bias"].any()


def test_an_eighth_of_the_units_of_an_lstm_begins_by_keeping_for_four_to_128_tokens() -> None:
    """A gate of bias b lets 1 / (1 + e^-b) stay of what is held, so that e^b tokens later a third is left."""
    weights = initialized(ModelConfig(vocab_size=9, num_layers=2, hidden_size=80))
    for k in range(2):
        entry, kept = weights[f"layers.{k}.bias_ih"].reshape(4, 80)[:2]
        np.testing.assert_allclose(entry[:10], -kept[:10])
        times = np.exp(kept[:10])
        np.testing.assert_allclose(times[[0, -1]], [4, 128], rtol=1e-5)
        np.testing.assert_allclose(times[1:] / times[:-1], 32 ** (1 / 9), rtol=1e-5)
        assert not entry[10:].any()
        assert (kept[10:] == 1).all()


@each_cell
def test_fresh_recurrent_matrices_are_orthogonal_gate_by_gate(cell: CellName) -> None:
    config = ModelConfig(vocab_size=9, cell=cell, num_layers=2, hidden_size=7, embedding_size=5)
    for k in range(2):
        gates = initialized(config)[f"layers.{k}.weight_hh"].reshape(-1, 7, 7)
        for gate in gates:
            np.testing.assert_allclose(gate @ gate.T, np.eye(7), atol=1e-5)
        assert len({gate.tobytes() for gate in gates}) == len(gates)  # each is drawn anew


def test_fresh_untied_network_guesses_uniformly() -> None:
    config = sized("lstm")
    cells = Cells(config, initialized(config))
    logits, _ = cells(np.zeros((2, 5), np.int64), cells.initial_state(2))
    assert not logits.any()


def test_fresh_tied_network_is_not_stuck_at_zero() -> None:
    assert initialized(sized("lstm", tie=True))["embedding.weight"].all()


@each_cell
@tied_or_not
def test_same_seed_gives_the_same_weights(cell: CellName, tie: bool) -> None:
    config = sized(cell, tie=tie)
    first = initialized(config, seed=5)
    torch.manual_seed(99)  # torch's own generator has no say
    again, other = initialized(config, seed=5), initialized(config, seed=6)
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert (first["embedding.weight"] != other["embedding.weight"]).any()


def test_first_weights_of_seeds_beyond_32_bits_are_others() -> None:
    one, other = (initialized(sized("lstm"), seed)["embedding.weight"] for seed in (3, 3 + 2**32))
    assert (one != other).any()
