"""The torch network: its weights, and what it leaves out; `test_cells` holds it against the equations."""

from typing import get_args

import numpy as np
import pytest
import torch
from engines import random_weights, sized
from numpy.typing import NDArray

from lstmgen.config import CellName, ModelConfig
from lstmgen.initialization import initialize
from lstmgen.model import Network, load_network

CPU = torch.device("cpu")
each_cell = pytest.mark.parametrize("cell", get_args(CellName))
tied_or_not = pytest.mark.parametrize("tie", [False, True])


@each_cell
@tied_or_not
def test_weights_put_in_come_out_bit_for_bit_in_the_order_of_the_file(
    cell: CellName, tie: bool
) -> None:
    config = sized(cell, tie=tie)
    weights = random_weights(config)
    out = load_network(config, weights, CPU).weights()
    assert list(out) == list(config.weight_shapes())
    for name, array in weights.items():
        assert out[name].dtype == np.float32
        np.testing.assert_array_equal(out[name], array)


def test_weights_taken_out_are_a_copy() -> None:
    config = sized("lstm")
    weights = random_weights(config)
    network = load_network(config, weights, CPU)
    network.weights()["output.bias"][:] = 7
    np.testing.assert_array_equal(network.weights()["output.bias"], weights["output.bias"])


def test_dropout_in_training_follows_the_seed_of_torch() -> None:
    config = sized("lstm")
    network = Network(config, dropout=0.5)
    network.load_weights(random_weights(config))
    network.train()
    ids = torch.arange(10).view(2, 5) % 9

    def logits(seed: int) -> NDArray[np.float32]:
        torch.manual_seed(seed)
        with torch.no_grad():
            array: NDArray[np.float32] = network(ids, network.initial_state(2))[0].numpy()
        return array

    np.testing.assert_array_equal(logits(1), logits(1))
    assert (logits(1) != logits(2)).all(axis=-1).any()


@pytest.mark.parametrize("num_layers", [1, 3])
def test_dropout_is_of_the_embedding_and_of_every_layer(
    monkeypatch: pytest.MonkeyPatch, num_layers: int
) -> None:
    config = ModelConfig(vocab_size=9, num_layers=num_layers, hidden_size=6, embedding_size=5)
    network, dropped = Network(config, dropout=0.5), list[tuple[int, ...]]()
    initialize(network, 0)

    def all_dropped(x: torch.Tensor) -> torch.Tensor:
        dropped.append(tuple(x.shape))
        return x * 0

    monkeypatch.setattr(network, "_drop", all_dropped)
    hidden, _ = network.read(torch.zeros(4, 7, dtype=torch.int64), network.initial_state(4))
    assert dropped == [(7, 4, 5)] + num_layers * [(7, 4, 6)]
    assert not hidden.any()


def test_dropout_leaves_out_its_share_and_scales_the_rest() -> None:
    network = Network(sized("lstm"), dropout=0.25)
    torch.manual_seed(0)
    dropped = network._drop(torch.ones(3, 1000, 8))
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    rest = dropped[dropped != 0]
    torch.testing.assert_close(rest, torch.full_like(rest, 1 / 0.75))


def test_dropout_leaves_out_the_same_units_at_every_step_of_a_text() -> None:
    config = ModelConfig(vocab_size=9, cell="rnn", num_layers=2, hidden_size=6, embedding_size=5)
    network = Network(config, dropout=0.5)
    weights = random_weights(config)
    for k in range(2):  # without a memory only the masks can tell one step from another
        weights[f"layers.{k}.weight_hh"][:] = 0
    network.load_weights(weights)
    network.train()
    torch.manual_seed(0)
    logits, _ = network(torch.full((8, 5), 3), network.initial_state(8))  # (B, T, V)
    torch.testing.assert_close(logits, logits[:, :1].expand_as(logits))
    assert (logits[0] != logits[1]).any()  # but not in every text


@each_cell
def test_weight_drop_leaves_out_recurrent_weights_and_puts_them_back(cell: CellName) -> None:
    config = ModelConfig(vocab_size=9, cell=cell, hidden_size=40, embedding_size=5)
    weights = random_weights(config)
    network = load_network(config, weights, CPU)
    torch.manual_seed(0)
    with network.weights_dropped(0.25):
        within = network.weights()
    for name, array in network.weights().items():
        np.testing.assert_array_equal(array, weights[name])
        if not name.endswith("weight_hh"):
            np.testing.assert_array_equal(within[name], weights[name])
            continue
        left_out = within[name] == 0
        assert left_out.mean() == pytest.approx(0.25, abs=0.03)
        kept = ~left_out
        np.testing.assert_allclose(within[name][kept], weights[name][kept] / 0.75, rtol=1e-6)


def test_weights_that_are_left_out_learn_too() -> None:
    config = ModelConfig(vocab_size=9, hidden_size=40, embedding_size=5)
    network = load_network(config, random_weights(config), CPU)
    torch.manual_seed(0)
    with network.weights_dropped(0.25):
        logits, _ = network(torch.arange(8)[None], network.initial_state(1))
        logits[..., 3].sum().backward()
        within = network.weights()
    for name, weight in network.named_weights().items():
        if name.endswith("weight_hh"):
            assert weight.grad is not None
            assert (weight.grad.numpy()[within[name] == 0] != 0).mean() > 0.99


def test_weight_drop_of_nothing_draws_nothing() -> None:
    network = load_network(sized("lstm"), random_weights(sized("lstm")), CPU)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with network.weights_dropped(0.0):
        pass
    torch.testing.assert_close(torch.rand(3), expected)
