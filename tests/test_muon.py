"""Muon: singular values evened out, and matrices that move along them."""

import numpy as np
import pytest
import torch

from lstmgen import muon, optim
from lstmgen.config import ModelConfig, TrainConfig
from lstmgen.initialization import initialize
from lstmgen.model import Network


def test_singular_values_come_to_lie_where_it_is_said() -> None:
    x = np.geomspace(0.001, 1, 100_000)
    for a, b, c in muon.POLYNOMIALS:
        x = a * x + b * x**3 + c * x**5
    assert (round(x.min(), 2), round(x.max(), 2)) == (0.13, 1.87)


def test_orthogonalizing_is_the_polynomials_one_after_the_other() -> None:
    generator = torch.Generator().manual_seed(4)
    matrix = torch.randn(24, 6, generator=generator, dtype=torch.float64)
    x = matrix / (1.02 * matrix.square().sum() + 1e-14).sqrt()
    for a, b, c in muon.POLYNOMIALS:
        x = a * x + b * x @ x.T @ x + c * x @ x.T @ x @ x.T @ x
    other = 3 * matrix.flip(0) + 1
    both = muon.orthogonalized([matrix, other])
    assert torch.allclose(both[0], x, atol=1e-5)
    assert torch.allclose(both[1], muon.orthogonalized([other])[0])
    assert torch.allclose(muon.orthogonalized([matrix.T])[0], x.T, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 6), (24, 6), (6, 24), (64, 16)])
def test_muon_evens_out_the_singular_values(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    u, s, v = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    matrix = u @ torch.diag(torch.logspace(0, -2, len(s))) @ v
    (result,) = muon.orthogonalized([matrix])
    values = torch.linalg.svdvals(result)
    assert values.max() < 2
    assert values.max() / values.min() < 12  # it was 100
    # The directions are those of the matrix: U' result V is diagonal.
    inner = u.T @ result @ v.T
    assert torch.allclose(inner, torch.diag(inner.diagonal()), atol=1e-4)


def test_a_flat_matrix_moves_as_far_as_a_square_one_would() -> None:
    """In the mean of its units by the rate itself; those of a tall one too, which have shorter rows."""
    for rows, columns in ((8, 32), (16, 16), (32, 8)):
        config = ModelConfig(
            vocab_size=5, cell="rnn", num_layers=1, hidden_size=rows, embedding_size=columns
        )
        network = Network(config)
        initialize(network, 0)
        numbers = TrainConfig(num_steps=1, report_every=1, weight_decay=0.0, clip_norm=1e9)
        optimizer = optim.Optimizer(network, numbers)
        weight = optimizer.muon.weights["layers.0.weight_ih"]
        assert weight.shape == (rows, columns)
        before = weight.detach().clone()
        generator = torch.Generator().manual_seed(2)
        for each in network.parameters():
            each.grad = torch.randn(each.shape, generator=generator)
        optimizer.step(0.1, 1.0)
        moved = torch.linalg.vector_norm(weight.detach() - before, dim=1).square().mean().sqrt()
        assert 0.07 < moved < 0.14  # Newton-Schulz leaves singular values between 0.13 and 1.87


def test_matrices_of_one_shape_move_each_along_its_own_gradient() -> None:
    config = TrainConfig(num_steps=1, report_every=1, weight_decay=0.0, clip_norm=1e9)
    network = Network(ModelConfig(vocab_size=5, hidden_size=16, embedding_size=16, num_layers=2))
    initialize(network, 0)
    optimizer = optim.Optimizer(network, config)
    generator = torch.Generator().manual_seed(6)
    gradients = {
        name: torch.randn(weight.shape, generator=generator)
        for name, weight in optimizer.muon.weights.items()
    }
    assert len({gradient.shape for gradient in gradients.values()}) == 1
    before = {name: weight.detach().clone() for name, weight in optimizer.muon.weights.items()}
    for name, weight in optimizer.muon.weights.items():
        weight.grad = gradients[name].clone()
    optimizer.step(0.01)
    for name, weight in optimizer.muon.weights.items():
        moved = (before[name] - weight.detach()).flatten()
        (alone,) = muon.orthogonalized([gradients[name]])
        assert torch.cosine_similarity(moved, alone.flatten(), dim=0) > 0.9, name


def test_muon_moves_all_units_of_a_matrix_equally_far_in_the_end() -> None:
    config = TrainConfig(num_steps=1, report_every=1, weight_decay=0.0)
    model = ModelConfig(vocab_size=5, hidden_size=16, embedding_size=8, num_layers=1)
    network = Network(model)
    initialize(network, 0)
    optimizer = optim.Optimizer(network, config)
    weight = network.named_weights()["layers.0.weight_hh"]
    generator = torch.Generator().manual_seed(2)
    u, _, v = torch.linalg.svd(torch.randn(weight.shape, generator=generator), full_matrices=False)
    gradient = u @ v * torch.logspace(0, -2, len(weight))[:, None]  # ever less for each row
    before = weight.detach().clone()
    for _ in range(200):
        weight.grad = gradient.clone()
        optimizer.step(0.01)
    moved = (weight.detach() - before).norm(dim=1)
    assert moved.max() / moved.min() < 1.2
    direction = muon.orthogonalized([gradient])[0].norm(dim=1)
    assert direction.max() / direction.min() > 2  # it is not so of itself
    # As a whole the matrix goes as far as it did without.
    expected = 200 * 0.01 * 2 * float(muon.orthogonalized([gradient])[0].norm())
    assert float(moved.norm()) == pytest.approx(expected, rel=0.1)


def test_rows_of_a_layer_whose_gates_are_frozen_are_not_evened() -> None:
    config = TrainConfig(num_steps=1, report_every=1, weight_decay=0.0)
    model = ModelConfig(vocab_size=5, hidden_size=16, embedding_size=8, num_layers=2)
    network = Network(model, memory=100)
    initialize(network, 0)
    optimizer = optim.Optimizer(network, config)
    weights = network.named_weights()
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    generator = torch.Generator().manual_seed(2)
    gradient = torch.randn(64, 16, generator=generator)
    gradient *= torch.logspace(0, -4, 64)[:, None]  # ever less for each row
    for _ in range(3):
        for k in (0, 1):
            weights[f"layers.{k}.weight_hh"].grad = gradient.clone()
        optimizer.step(0.01)
    for k, even in ((0, True), (1, False)):
        name = f"layers.{k}.weight_hh"
        moved = (weights[name].detach() - before[name]).norm(dim=1)
        assert bool(moved.min() > 0.2 * moved.max()) == even, moved


def test_a_step_of_muon_goes_where_the_momentum_is_going() -> None:
    """Nesterov's: of two gradients the second step takes in both."""
    config = TrainConfig(num_steps=1, report_every=1, weight_decay=0.0, clip_norm=1e9)
    model = ModelConfig(vocab_size=5, hidden_size=16, embedding_size=8, num_layers=1)
    network = Network(model, memory=100)  # whose rows are not evened
    initialize(network, 0)
    optimizer = optim.Optimizer(network, config)
    weight = network.named_weights()["layers.0.weight_hh"]
    generator = torch.Generator().manual_seed(2)
    gradients = [torch.randn(weight.shape, generator=generator) for _ in range(2)]
    momentum = torch.zeros_like(gradients[0])
    for gradient in gradients:
        before = weight.detach().clone()
        weight.grad = gradient.clone()
        optimizer.step(0.01)
        momentum = 0.9 * momentum + 0.1 * gradient
        (direction,) = muon.orthogonalized([0.1 * gradient + 0.9 * momentum])
        torch.testing.assert_close(before - weight.detach(), 0.02 * direction, atol=1e-5, rtol=1e-3)
