"""The cells, NumPy and torch: both are the equations, equal to each other and to torch's own modules."""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from engines import Weights, random_weights, sized, spelled_out
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from lstmgen import cells as cells_module
from lstmgen import device
from lstmgen.cells import Cells, sigmoid
from lstmgen.config import CellName, ModelConfig
from lstmgen.model import Network, TorchEngine, load_network

MODULES: dict[CellName, Callable[..., nn.Module]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
CPU = torch.device("cpu")

each_cell = pytest.mark.parametrize("cell", get_args(CellName))
tied_or_not = pytest.mark.parametrize("tie", [False, True])
skipping_or_not = pytest.mark.parametrize("skip", [False, True])


def both_engines(config: ModelConfig, weights: Weights) -> list[Any]:
    return [Cells(config, weights), TorchEngine(load_network(config, weights, CPU))]


def some_ids(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, 9, shape)


def flat(state: Any) -> NDArray[Any]:
    """All arrays of a state, one behind the other, stream by stream: NumPy's are columns, torch's rows."""
    parts = [part.T if isinstance(part, np.ndarray) else part for layer in state for part in layer]
    return np.concatenate([np.asarray(part).ravel() for part in parts])


def by_torch(
    config: ModelConfig, weights: Weights, ids: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Logits (B, T, V) and final state, as torch's own many-layered modules compute them."""
    embedding, last, bias = (
        torch.from_numpy(weights[name])
        for name in (
            "embedding.weight",
            "embedding.weight" if config.tie else "output.weight",
            "output.bias",
        )
    )
    hidden = []  # (B, T, H), the outputs of the first layer, of the first two, and so on
    for num_layers in range(1, config.num_layers + 1):
        module = MODULES[config.cell](
            config.embedding_size, config.hidden_size, num_layers, batch_first=True
        )
        with torch.no_grad():
            for k in range(num_layers):
                for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    value = torch.from_numpy(weights[f"layers.{k}.{part}"])
                    module.get_parameter(f"{part}_l{k}").copy_(value)
            outputs, end = module(functional.embedding(torch.from_numpy(ids), embedding))
        hidden.append(outputs)
    shown = torch.stack(hidden).sum(dim=0) if config.skip else hidden[-1]
    ends = end if isinstance(end, tuple) else (end,)  # each (L, B, H)
    return (
        functional.linear(shown, last, bias).numpy(),
        flat(list(zip(*ends, strict=True))),
    )


@each_cell
@tied_or_not
@skipping_or_not
@pytest.mark.parametrize("num_layers", [1, 2, 3, 4])
def test_both_engines_equal_torch_in_logits_and_state(
    cell: CellName, tie: bool, skip: bool, num_layers: int
) -> None:
    config = sized(cell, num_layers, tie, skip)
    weights, ids = random_weights(config, seed=num_layers), some_ids((3, 7))
    logits, state = by_torch(config, weights, ids)
    for engine in both_engines(config, weights):
        ours, our_state = engine(ids, engine.initial_state(3))
        np.testing.assert_allclose(np.asarray(ours), logits, atol=1e-5)
        np.testing.assert_allclose(flat(our_state), state, atol=1e-5)


@each_cell
@tied_or_not
@skipping_or_not
def test_longhand_cells_are_the_equations_to_the_last_digits(
    cell: CellName, tie: bool, skip: bool
) -> None:
    config = sized(cell, 2, tie, skip)
    weights, ids = random_weights(config, scale=1.0), some_ids((12,))
    cells = Cells(config, weights, dtype=np.float64)
    logits, _ = cells(ids[None], cells.initial_state(1))
    expected = spelled_out(config, weights, ids.tolist())
    np.testing.assert_allclose(logits[0], expected, rtol=1e-12, atol=1e-12)


@each_cell
@pytest.mark.parametrize("num_layers", [1, 3])
def test_the_first_layer_is_the_same_whether_its_input_is_looked_up_or_computed(
    cell: CellName,
    num_layers: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = sized(cell, num_layers)
    weights, ids = random_weights(config), some_ids((3, 7))
    logits, _ = by_torch(config, weights, ids)
    for most, folded in ((config.vocab_size, True), (config.vocab_size - 1, False)):
        monkeypatch.setattr(cells_module, "MAX_TABLE", most)
        cells = Cells(config, weights)
        assert cells.looks_up == folded
        np.testing.assert_allclose(cells(ids, cells.initial_state(3))[0], logits, atol=1e-5)


@each_cell
def test_cells_run_in_the_precision_asked_for(cell: CellName) -> None:
    config = sized(cell)
    for dtype in (np.float32, np.float64):
        cells = Cells(config, random_weights(config), dtype)
        logits, state = cells(some_ids((2, 3)), cells.initial_state(2))
        assert logits.dtype == flat(state).dtype == dtype


@each_cell
def test_one_call_of_many_steps_equals_many_calls_of_one(cell: CellName) -> None:
    config = sized(cell)
    weights, ids = random_weights(config), some_ids((2, 8))
    for engine in both_engines(config, weights):
        together, end = engine(ids, engine.initial_state(2))
        state, one_by_one = engine.initial_state(2), []
        for t in range(8):
            logits, state = engine(ids[:, t : t + 1], state)
            one_by_one.append(np.asarray(logits))
        np.testing.assert_allclose(
            np.concatenate(one_by_one, axis=1), np.asarray(together), atol=1e-6
        )
        np.testing.assert_allclose(flat(state), flat(end), atol=1e-6)


@each_cell
def test_texts_side_by_side_know_nothing_of_each_other(cell: CellName) -> None:
    config = sized(cell)
    weights, ids = random_weights(config), some_ids((4, 6))
    for engine in both_engines(config, weights):
        together, _ = engine(ids, engine.initial_state(4))
        for row in range(4):
            alone, _ = engine(ids[row : row + 1], engine.initial_state(1))
            np.testing.assert_allclose(np.asarray(alone)[0], np.asarray(together)[row], atol=1e-6)


@pytest.mark.usefixtures("pairing")
@each_cell
@pytest.mark.parametrize("folded", [True, False])
def test_one_text_by_pairs_of_rows_equals_torch_and_itself_among_others(
    cell: CellName, folded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells_module, "MAX_TABLE", 9 if folded else 8)
    config = sized(cell, 3)
    weights, ids = random_weights(config), some_ids((2, 7))
    cells = Cells(config, weights)
    together, _ = cells(ids, cells.initial_state(2))
    for row in range(2):
        alone, state = cells(ids[row : row + 1], cells.initial_state(1))
        logits, expected = by_torch(config, weights, ids[row : row + 1])
        np.testing.assert_allclose(alone, logits, atol=1e-5)
        np.testing.assert_allclose(flat(state), expected, atol=1e-5)
        np.testing.assert_allclose(alone[0], together[row], atol=1e-6)


@each_cell
def test_weights_are_left_as_they_are_and_the_largest_not_copied(cell: CellName) -> None:
    config = sized(cell)
    weights = random_weights(config)
    before = {name: array.copy() for name, array in weights.items()}
    cells = Cells(config, weights)
    cells(some_ids((2, 3)), cells.initial_state(2))
    for name, array in weights.items():
        np.testing.assert_array_equal(array, before[name])
    kept = cells.layers[0].weight.parts[0]
    assert np.shares_memory(kept, weights["layers.0.weight_hh"]) == (cell != "gru")


@each_cell
def test_streams_are_selected_and_concatenated_with_all_that_they_know(cell: CellName) -> None:
    config = sized(cell)
    weights, ids, more = random_weights(config), some_ids((4, 6)), some_ids((5, 3), seed=1)
    order = [3, 0, 3, 2, 1]
    for engine in both_engines(config, weights):
        wanted = engine(np.concatenate((ids[order], more), axis=1), engine.initial_state(5))
        _, first = engine(ids[:1], engine.initial_state(1))
        _, rest = engine(ids[1:], engine.initial_state(3))
        state = engine.select(engine.concatenate([first, rest]), order)
        logits, end = engine(more, state)
        np.testing.assert_allclose(np.asarray(logits), np.asarray(wanted[0])[:, 6:], atol=1e-6)
        np.testing.assert_allclose(flat(end), flat(wanted[1]), atol=1e-6)
        np.testing.assert_allclose(
            flat(engine.select(state, slice(1, 3))), flat(engine.select(state, [1, 2]))
        )


@each_cell
def test_a_call_leaves_the_state_it_was_given_as_it_was(cell: CellName) -> None:
    config = sized(cell)
    weights, ids = random_weights(config), some_ids((2, 4))
    for engine in both_engines(config, weights):
        _, state = engine(ids, engine.initial_state(2))
        before = flat(state).copy()
        engine(ids, state)
        np.testing.assert_array_equal(flat(state), before)


def test_sigmoid_holds_at_the_ends() -> None:
    x = np.array([-1e30, -100.0, 0.0, 1.0, 100.0, 1e30], np.float32)
    np.testing.assert_allclose(
        sigmoid(x), [0, 0, 0.5, 1 / (1 + np.exp(-1.0)), 1, 1], rtol=1e-6, atol=1e-7
    )


@each_cell
@tied_or_not
@skipping_or_not
def test_gradient_of_the_torch_network_is_that_of_the_equations(
    cell: CellName, tie: bool, skip: bool
) -> None:
    config = ModelConfig(
        vocab_size=4, cell=cell, num_layers=2, hidden_size=3, embedding_size=3 if tie else 2,
        tie=tie, skip=skip,
    )  # fmt: skip
    weights = {n: a.astype(np.float64) for n, a in random_weights(config, scale=0.7).items()}
    ids, targets = np.array([[1, 3, 0, 2, 1], [2, 2, 3, 1, 0]]), np.array([[3, 0, 2, 1, 1]] * 2)

    def loss() -> float:
        """-log p summed over the targets, by the longhand cells in float64."""
        cells = Cells(config, weights, np.float64)
        logits, _ = cells(ids, cells.initial_state(2))
        chosen = np.take_along_axis(logits, targets[..., None], -1)[..., 0]
        return float((np.log(np.exp(logits).sum(-1)) - chosen).sum())

    network = load_network(config, weights, CPU).double()
    network.load_weights(weights)
    zeros = tuple(tuple(h.double() for h in layer) for layer in network.initial_state(2))
    logits, _ = network(torch.from_numpy(ids), zeros)
    total = functional.cross_entropy(
        logits.flatten(0, 1), torch.from_numpy(targets).flatten(), reduction="sum"
    )
    gradients = torch.autograd.grad(total, list(network.named_weights().values()))

    step = 1e-5
    for name, gradient in zip(network.named_weights(), gradients, strict=True):
        differences = np.zeros_like(weights[name])
        for place in np.ndindex(differences.shape):
            kept = weights[name][place]
            weights[name][place] = kept + step
            above = loss()
            weights[name][place] = kept - step
            differences[place] = (above - loss()) / (2 * step)
            weights[name][place] = kept
        np.testing.assert_allclose(
            gradient.numpy(), differences, rtol=1e-6, atol=1e-7, err_msg=name
        )


def test_engine_scores_without_dropout_and_leaves_training_on() -> None:
    config = sized("lstm")
    weights, ids = random_weights(config), some_ids((2, 5))
    network = Network(config, dropout=0.5)
    network.load_weights(weights)
    network.train()
    engine = TorchEngine(network)
    logits, _ = engine(ids, engine.initial_state(2))
    np.testing.assert_allclose(logits.numpy(), by_torch(config, weights, ids)[0], atol=1e-5)
    assert network.training
    network.eval()
    engine(ids, engine.initial_state(2))
    assert not network.training


@pytest.mark.parametrize("amx", [True, False])  # with torch's usual product, and with oneDNN's
@pytest.mark.parametrize("shape", [(3, 6), (2, 4, 6), (6,), (0, 6)])
def test_either_product_gives_the_logits_of_the_output_layer(
    shape: tuple[int, ...],
    amx: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    asked = []
    product = torch.ops.aten.mkldnn_linear

    def counted(*given: Any) -> Any:
        asked.append(given)
        return product(*given)

    monkeypatch.setattr(torch.ops.aten, "mkldnn_linear", counted)
    monkeypatch.setattr(device, "ONEDNN_ROWS", 0)
    config = sized("lstm", tie=True)
    weights = random_weights(config)
    engine = TorchEngine(load_network(config, weights, CPU))
    hidden = torch.randn(*shape[:-1], 2 * shape[-1])[..., ::2]  # not one number after the other
    expected = Cells(config, weights).logits(hidden.numpy())
    np.testing.assert_allclose(engine.logits(hidden).numpy(), expected, atol=1e-5)
    some = slice(5, 8)
    np.testing.assert_allclose(engine.logits(hidden, some).numpy(), expected[..., some], atol=1e-5)
    assert len(asked) == (0 if amx else 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@each_cell
def test_engine_on_cuda_equals_the_cells(cell: CellName) -> None:
    config = sized(cell)
    weights, ids = random_weights(config), some_ids((3, 7))
    cells = Cells(config, weights)
    expected, expected_state = cells(ids, cells.initial_state(3))
    engine = TorchEngine(load_network(config, weights, torch.device("cuda", 0)))
    logits, state = engine(ids, engine.initial_state(3))
    # For small layers cuDNN has a quicker tanh, off by some 1e-5; with TF32 all would be by some 1e-4.
    np.testing.assert_allclose(logits.cpu().numpy(), expected, atol=4e-5)
    ours = flat([[part.cpu() for part in layer] for layer in state])
    np.testing.assert_allclose(ours, flat(expected_state), atol=4e-5)
