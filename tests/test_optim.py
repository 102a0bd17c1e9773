"""What moves the weights: each rule against its definition, worked out another way."""

from dataclasses import replace
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
import torch
from jobs import NUM_STEPS, be_lazy, make_job, stopped_at

from lstmgen import checkpoint, muon, optim
from lstmgen.config import LARGE_VOCABULARY, ModelConfig, Precision, TrainConfig
from lstmgen.initialization import initialize
from lstmgen.model import Network
from lstmgen.training import train


def test_the_learning_rate_goes_up_and_down_in_lines() -> None:
    config = TrainConfig(num_steps=100, report_every=1, learning_rate=1.0, warmup_fraction=0.1)
    rates = [optim.schedule(step, config) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert np.diff(rates[10:]) == pytest.approx(np.full(89, -1 / 90))
    assert 0 < rates[-1] < 0.012


def test_the_share_of_adamw_moves_the_embedding_and_no_matrix(tmp_path: Path) -> None:
    ends = []
    for share in (0.0, 0.4):
        job = make_job(tmp_path / str(share), steps=1)
        list(train(replace(job, training=replace(job.training, adamw_share=share))))
        ends.append(checkpoint.load_model(tmp_path / str(share)).weights)
    fresh = Network(job.model)
    initialize(fresh, job.training.seed)
    assert np.array_equal(ends[0]["embedding.weight"], fresh.weights()["embedding.weight"])
    assert not np.array_equal(ends[0]["embedding.weight"], ends[1]["embedding.weight"])
    matrix = "layers.0.weight_hh"
    assert np.array_equal(ends[0][matrix], ends[1][matrix])


def test_adamw_is_that_of_torch(tmp_path: Path) -> None:
    network = Network(make_job(tmp_path).model)
    initialize(network, 0)
    config = TrainConfig(
        num_steps=9, report_every=9, weight_decay=0.3, adamw_share=0.5, clip_norm=1e9
    )
    optimizer, generator = optim.Optimizer(network, config), torch.Generator().manual_seed(1)
    copies = {name: weight.detach().clone() for name, weight in optimizer.adamw.weights.items()}
    assert {"embedding.weight", "output.weight", "output.bias"} < set(copies)
    definition = torch.optim.AdamW(
        list(copies.values()), lr=0.1 * 0.5, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.3
    )
    for _ in range(3):
        for name, weight in optimizer.adamw.weights.items():
            weight.grad = torch.randn(weight.shape, generator=generator)
            copies[name].grad = weight.grad.clone()
        optimizer.step(0.1)
        definition.step()
    moved = {name: weight.detach() for name, weight in optimizer.adamw.weights.items()}
    torch.testing.assert_close(moved, copies)


def test_weight_decay_shrinks_every_weight_by_its_share(tmp_path: Path) -> None:
    network = Network(make_job(tmp_path).model)
    initialize(network, 0)
    config = TrainConfig(num_steps=1, report_every=1, weight_decay=0.5, adamw_share=0.4)
    optimizer = optim.Optimizer(network, config)
    with torch.no_grad():
        for weight in network.parameters():
            weight.fill_(2.0)
            weight.grad = torch.zeros_like(weight)
    optimizer.step(0.1)
    for name, weight in network.named_weights().items():
        rate = 0.1 if name in optimizer.muon.weights else 0.04
        assert torch.allclose(weight, torch.full_like(weight, 2 * (1 - rate * 0.5))), name


def test_every_parameter_is_in_the_optimizer_once(tmp_path: Path) -> None:
    network = Network(make_job(tmp_path).model)
    optimizer = optim.Optimizer(network, TrainConfig(num_steps=1, report_every=1))
    moved = [*optimizer.muon.weights.values(), *optimizer.adamw.weights.values()]
    assert sorted(map(id, moved)) == sorted(map(id, network.parameters()))


SAMPLED = TrainConfig(
    num_steps=1, report_every=1, weight_decay=0.5, adamw_share=0.4, softmax_sample=2
)


def tied(config: TrainConfig) -> tuple[Network, optim.Optimizer]:
    """A small fresh network that is tied, and what moves it."""
    network = Network(ModelConfig(vocab_size=9, hidden_size=6, embedding_size=6, tie=True))
    initialize(network, 0)
    return network, optim.Optimizer(network, config)


def test_steps_are_lazy_where_a_quarter_of_many_symbols_is_drawn_at_most() -> None:
    many = LARGE_VOCABULARY
    for sample, vocab_size, expected in (
        (many // 4, many, True),
        (many // 4, many - 1, False),
        (many // 4 + 1, many, False),
        (0, many, False),
    ):
        assert optim.lazy(replace(SAMPLED, softmax_sample=sample), vocab_size) == expected


def test_a_run_in_which_adamw_has_nothing_to_move_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_lazy(monkeypatch)
    job = make_job(tmp_path, softmax_sample=6)
    model, numbers = replace(job.model, num_layers=1), replace(job.training, memory=9)
    job = replace(job, model=model, training=numbers)
    stopped_at(1, job)
    assert list(train(job, checkpoint.load_run(tmp_path)))[-1].step == NUM_STEPS


@pytest.mark.parametrize("tie", [False, True])
def test_every_parameter_is_in_the_optimizer_once_where_symbols_are_many(
    tie: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_lazy(monkeypatch)
    model = ModelConfig(vocab_size=9, hidden_size=6, embedding_size=6, tie=tie)
    optimizer = optim.Optimizer(network := Network(model), SAMPLED)
    moved = [
        *optimizer.muon.weights.values(),
        *optimizer.adamw.weights.values(),
        *optimizer.rows.weights.values(),
    ]
    assert sorted(map(id, moved)) == sorted(map(id, network.parameters()))
    assert len(optimizer.rows.weights) == (2 if tie else 3)


@pytest.mark.parametrize("sparse", [True, False])
def test_rows_that_are_met_move_by_their_gradient_over_its_size_so_far(
    sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_lazy(monkeypatch)
    _, optimizer = tied(replace(SAMPLED, clip_norm=1e9))
    generator = torch.Generator().manual_seed(3)
    expected = {name: weight.detach().clone() for name, weight in optimizer.rows.weights.items()}
    squares: dict[tuple[str, int], list[float]] = {}
    rate = 0.01 * 0.4
    for met in ([1, 4, 4], [4], [0, 4, 8]):  # a row twice in one step: its gradients add up
        for name, weight in optimizer.rows.weights.items():
            expected[name] *= 1 - rate * 0.5  # all rows
            rows = torch.randn(len(met), *weight.shape[1:], generator=generator)
            gradient = torch.sparse_coo_tensor(
                torch.tensor([met]), rows, weight.shape, check_invariants=True
            )
            weight.grad = gradient if sparse else gradient.to_dense()
            for row in set(met):
                g = gradient.to_dense()[row]
                # Fewer than a hundred so far, so the mean of all of them counts.
                so_far = squares.setdefault((name, row), [])
                so_far.append(float(g.square().mean()))
                size = (sum(so_far) / len(so_far)) ** 0.5
                expected[name][row] -= optim.SYMBOL_RATE * rate * g / size
        optimizer.step(0.01)
    for name, weight in optimizer.rows.weights.items():
        torch.testing.assert_close(weight.detach(), expected[name], rtol=1e-5, atol=1e-6)
        assert weight.grad is None


def test_the_size_of_a_rows_gradient_forgets_those_of_long_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    be_lazy(monkeypatch)
    optimizer = optim.Optimizer(Network(ModelConfig(vocab_size=9)), SAMPLED)
    bias = optimizer.rows.weights["output.bias"]
    for size in [0.1] * 50 + [0.2] * 1000:
        bias.grad = torch.sparse_coo_tensor(
            torch.tensor([[7]]), torch.tensor([size]), bias.shape, check_invariants=True
        )
        optimizer.step(0.0)
    assert float(optimizer.rows.squares["output.bias"][7]) == pytest.approx(0.04, rel=1e-3)


@pytest.mark.parametrize("sample", [0, 2])
def test_gradients_longer_than_the_norm_are_shortened_all_together(
    sample: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_lazy(monkeypatch)
    network, optimizer = tied(replace(SAMPLED, softmax_sample=sample, clip_norm=0.5))
    weights = network.named_weights()
    generator = torch.Generator().manual_seed(3)
    for weight in weights.values():
        weight.grad = torch.randn(weight.shape, generator=generator)
    total = torch.cat([w.grad.flatten() for w in weights.values() if w.grad is not None]).norm()
    bias, matrix = weights["output.bias"].grad, weights["layers.0.weight_hh"].grad
    assert bias is not None
    assert matrix is not None
    bias, matrix = bias.clone(), matrix.clone()
    optimizer.step(0.0)
    momentum = optimizer.muon.momentum["layers.0.weight_hh"] / (1 - muon.MOMENTUM)
    torch.testing.assert_close(momentum, matrix * 0.5 / total)
    seen = (
        optimizer.rows.squares["output.bias"]
        if sample
        else (optimizer.adamw.squares["output.bias"] / (1 - optim.BETAS[1]))
    )
    torch.testing.assert_close(seen, (bias * 0.5 / total).square())


@pytest.mark.parametrize("norm", [0.5, 1e9])
@pytest.mark.parametrize("sample", [0, SAMPLED.softmax_sample])
def test_gradients_that_are_said_to_be_larger_count_as_what_they_are(
    norm: float, sample: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_lazy(monkeypatch)
    ends = []
    for scale in (1.0, 2.0**12):
        network, optimizer = tied(replace(SAMPLED, softmax_sample=sample, clip_norm=norm))
        generator = torch.Generator().manual_seed(3)
        for weight in network.named_weights().values():
            weight.grad = torch.randn(weight.shape, generator=generator) * scale
        optimizer.step(0.01, scale)
        ends.append(network.weights() | {n: t.numpy() for n, t in optimizer.tensors().items()})
    for name, value in ends[0].items():
        np.testing.assert_allclose(ends[1][name], value, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("sample", [0, SAMPLED.softmax_sample])
def test_what_ran_over_its_half_precision_counts_as_nothing(
    sample: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_lazy(monkeypatch)
    ends = []
    for odd in (0.0, inf, -inf, nan):
        network, optimizer = tied(replace(SAMPLED, softmax_sample=sample, precision="bfloat16"))
        for weight in network.named_weights().values():
            weight.grad = torch.ones_like(weight)
            weight.grad.flatten()[0] = odd
        optimizer.step(0.01, 2.0**12)
        ends.append(network.weights())
    for end in ends[1:]:
        for name, value in ends[0].items():
            np.testing.assert_array_equal(end[name], value)


@pytest.mark.parametrize(("precision", "scale"), [("float32", 2.0**12), ("bfloat16", 1.0)])
def test_gradients_that_no_half_precision_ran_over_are_noticed_if_they_are_not_finite(
    precision: Precision, scale: float
) -> None:
    network, optimizer = tied(replace(SAMPLED, precision=precision))
    for weight in network.named_weights().values():
        weight.grad = torch.full_like(weight, inf)
    optimizer.step(0.01, scale)
    assert not np.isfinite(network.weights()["output.bias"]).all()


def test_how_far_rows_have_gone_and_how_large_gradients_were_is_forgotten_as_slowly_as_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    be_lazy(monkeypatch)
    squares = torch.full((2, 1), 4.0)
    muon._row_factors(torch.tensor([[1.0, 1.0], [3.0, 3.0]]), squares)
    torch.testing.assert_close(squares, torch.tensor([[3.85], [4.25]]))  # a twentieth of the way
    optimizer = optim.Optimizer(Network(ModelConfig(vocab_size=9)), SAMPLED)
    bias = optimizer.rows.weights["output.bias"]
    optimizer.rows.counts["output.bias"].fill_(500)
    optimizer.rows.squares["output.bias"].fill_(4.0)
    bias.grad = torch.sparse_coo_tensor(
        torch.tensor([[7]]), torch.tensor([0.1]), bias.shape, check_invariants=True
    )
    optimizer.step(0.0)
    found = optimizer.rows.squares["output.bias"]
    assert float(found[7]) == pytest.approx(4 - 0.01 * 3.99)
    assert float(found[6]) == 4.0
