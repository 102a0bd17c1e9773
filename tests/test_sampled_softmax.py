"""The sampled softmax: exact where all is drawn, right on average where not, its gradient the loss's own."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lstmgen import sampled_softmax, scoring
from lstmgen.sampled_softmax import Drawn, Sampler, inclusion_probabilities, sampled_nats

N, H, V = 30, 8, 50


def some_layer(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """hidden (N, H), weight (V, H), bias (V,), all to be differentiated, and targets (N,)."""
    generator = torch.Generator().manual_seed(seed)
    hidden, weight, bias = (
        torch.randn(shape, generator=generator).requires_grad_() for shape in ((N, H), (V, H), (V,))
    )
    return hidden, weight, bias, torch.randint(V, (N,), generator=generator)


def some_counts() -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.random.default_rng(0).integers(0, 1000, V)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("max_logits", [1, 3 * V, 1 << 22])
def test_with_every_symbol_it_is_the_loss_of_the_project(
    max_logits: int, sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One row at a time, or all.
    monkeypatch.setattr(sampled_softmax, "MAX_LOGITS", max_logits)
    hidden, weight, bias, targets = some_layer()
    ours = sampled_nats(hidden, weight, bias, targets, Sampler(some_counts(), V).draw((1,)), sparse)
    whole = scoring.cross_entropy(hidden @ weight.T + bias, targets).sum()
    torch.testing.assert_close(ours, whole)
    for mine, true in zip(
        torch.autograd.grad(3 * ours, (hidden, weight, bias)),
        torch.autograd.grad(3 * whole, (hidden, weight, bias)),
        strict=True,
    ):
        torch.testing.assert_close(mine.to_dense(), true, rtol=1e-4, atol=1e-5)


def test_where_a_target_stands_for_all_its_loss_is_nothing() -> None:
    """It counts once, as itself; the others drawn are none, or far below."""
    hidden, weight, bias, _ = some_layer()
    hidden, targets = hidden[:1], torch.tensor([7])
    own = Drawn(torch.tensor([7]), torch.zeros(1))
    ours = sampled_nats(hidden, weight, bias, targets, own)
    assert float(ours.detach()) == 0
    for gradient in torch.autograd.grad(ours, (weight, bias)):
        assert torch.isfinite(gradient.to_dense()).all()
    lead = bias.detach().clone()
    lead[7] = 200.0  # e^200 is beyond float32
    both = Drawn(torch.tensor([3, 7]), torch.zeros(2))
    ours = sampled_nats(hidden, weight, lead.requires_grad_(), targets, both)
    assert 0 <= float(ours.detach()) < 1e-6


def test_with_a_sample_loss_and_gradient_are_those_of_the_estimate_written_out() -> None:
    hidden, weight, bias, targets = some_layer()
    drawn = Sampler(some_counts(), 12).draw((5,))
    total = torch.zeros(())
    for top, target in zip(hidden, targets, strict=True):
        own = weight[target] @ top + bias[target]
        terms = [own.exp()]
        for i, log_p in zip(drawn.ids.tolist(), drawn.log_probabilities, strict=True):
            if i != int(target):  # a target counts once
                terms.append((weight[i] @ top + bias[i]).exp() / log_p.exp())
        total = total + torch.stack(terms).sum().log() - own
    ours = sampled_nats(hidden, weight, bias, targets, drawn)
    torch.testing.assert_close(ours, total)
    for mine, true in zip(
        torch.autograd.grad(ours, (hidden, weight, bias)),
        torch.autograd.grad(total, (hidden, weight, bias)),
        strict=True,
    ):
        torch.testing.assert_close(mine.to_dense(), true, rtol=1e-4, atol=1e-5)


def test_symbols_are_drawn_as_often_as_their_probability_says() -> None:
    sampler = Sampler(some_counts(), 20)
    drawn = [sampler.draw((0, step)) for step in range(4000)]
    counts = np.bincount(np.concatenate([d.ids.numpy() for d in drawn]), minlength=V)
    np.testing.assert_allclose(counts / 4000, sampler.probabilities, atol=0.04)
    assert {len(d.ids) for d in drawn} == {20}
    for d in drawn[:10]:
        assert (np.diff(d.ids.numpy()) > 0).all()
        np.testing.assert_allclose(
            d.log_probabilities.exp().numpy(), sampler.probabilities[d.ids], rtol=1e-6
        )


def test_symbols_are_drawn_by_the_root_of_their_frequency() -> None:
    counts = np.array([0, 3, 8, 15, 24, 35, 10**9])
    probabilities = Sampler(counts, 3).probabilities
    np.testing.assert_allclose(probabilities[:-1], 2 * np.arange(1, 7) / 21)
    assert probabilities[-1] == 1


def test_the_sum_over_the_vocabulary_is_right_on_average() -> None:
    hidden, weight, bias, _ = some_layer()
    sampler = Sampler(some_counts(), 20)

    def estimate(drawn: Drawn) -> Tensor:
        z = hidden @ weight[drawn.ids].T + bias[drawn.ids] - drawn.log_probabilities
        return z.exp().sum(-1)

    with torch.no_grad():
        whole = (hidden @ weight.T + bias).exp().sum(-1)
        mean = torch.stack([estimate(sampler.draw((1, step))) for step in range(4000)]).mean(0)
    np.testing.assert_allclose(mean / whole, 1, atol=0.05)


def test_the_same_seed_draws_the_same_symbols_and_another_seed_others() -> None:
    sampler = Sampler(some_counts(), 20)
    first, again, other = (sampler.draw(seed).ids.tolist() for seed in ((1, 2), (1, 2), (1, 3)))
    assert first == again != other


@given(
    st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=30),
    st.integers(1, 40),
)
def test_probabilities_are_in_proportion_below_one_and_add_up(
    sizes: list[float], number: int
) -> None:
    probabilities = inclusion_probabilities(np.array(sizes), number)
    assert (probabilities > 0).all()
    assert (probabilities <= 1).all()
    assert probabilities.sum() == pytest.approx(min(number, len(sizes)))
    below = probabilities < 1 - 1e-9
    ratios = probabilities[below] / np.array(sizes)[below]
    np.testing.assert_allclose(ratios, ratios[:1].repeat(len(ratios)), rtol=1e-6)
    if below.any():  # whatever is certain is at least as large as what is not
        assert (np.array(sizes)[~below] >= np.array(sizes)[below].max() * (1 - 1e-9)).all()
