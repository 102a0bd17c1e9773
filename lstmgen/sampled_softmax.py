"""Turns what the output layer reads, and targets, into nats, from a sample of a large vocabulary.

With tens of thousands of symbols nearly all work of a step is to give each of them a logit, only to sum
them up. A sample does: symbol i is drawn with probability p_i, and where it is drawn its term counts
1 / p_i times, so the sum is right on average, and its logarithm a little low (Horvitz & Thompson, 1952; for
language models Bengio & Senecal, 2003). The most frequent symbols have p = 1. This is for training alone: a
score takes all. With every symbol drawn it is the exact loss, its logits made in parts.
Shapes: N targets, H hidden, V vocabulary, K symbols drawn.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function

MAX_LOGITS = 1 << 22  # floats held at once, whether of a sample or of all symbols: 16 MB


class Drawn(NamedTuple):
    """The symbols that stand for the vocabulary in one step."""

    ids: Tensor  # (K,), ascending
    log_probabilities: Tensor  # (K,), of having been drawn


class Sampler:
    """Draws about `num_drawn` symbols a step, each the more probably the more often the text has it.

    The probabilities are proportional to the square roots of the `counts` (V,) plus one, and at most 1.
    """

    def __init__(self, counts: NDArray[np.int64], num_drawn: int) -> None:
        self.probabilities = inclusion_probabilities(np.sqrt(counts + 1.0), num_drawn)
        self._cumulative = np.cumsum(self.probabilities)

    def draw(self, seed: tuple[int, ...]) -> Drawn:
        """The same symbols for the same seed: systematic sampling (Madow, 1949), from a random start."""
        start = np.random.default_rng(seed).random()
        places = np.arange(start, self._cumulative[-1], 1.0)
        ids = np.unique(np.searchsorted(self._cumulative, places, side="right"))
        ids = ids[ids < len(self._cumulative)]
        return Drawn(
            torch.from_numpy(ids),
            torch.from_numpy(np.log(self.probabilities[ids]).astype(np.float32)),
        )


def every_symbol(vocab_size: int) -> Drawn:
    """All of them, and each for certain: with these the loss is exact."""
    return Drawn(torch.arange(vocab_size), torch.zeros(vocab_size))


def inclusion_probabilities(weights: NDArray[Any], num_drawn: int) -> NDArray[np.float64]:
    """min(1, c `weights`), (V,), with c such that they add up to `num_drawn`; 1 for all if V is no more."""
    if num_drawn >= len(weights):
        return np.ones(len(weights))
    probabilities: NDArray[np.float64] = weights * (num_drawn / weights.sum())
    while probabilities.max() > 1 + 1e-9:
        certain = probabilities >= 1
        probabilities[certain] = 1
        rest = num_drawn - certain.sum()
        probabilities[~certain] *= rest / probabilities[~certain].sum()
    return probabilities.clip(max=1)


def sampled_nats(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    drawn: Drawn,
    sparse: bool = False,
) -> Tensor:
    """-log p of the targets, summed, with the sum over the vocabulary estimated from `drawn`.

    hidden (N, H), weight (V, H), bias (V,), targets (N,) of int64, none of them `IGNORED` -> a scalar. The
    target's own logit is always known and counts once. Where all symbols are drawn for certain, this is
    the exact loss. If `sparse`, the gradients of weight and bias have rows of targets and drawn symbols only.
    """
    total: Tensor = _SampledNats.apply(hidden, weight, bias, targets, drawn, sparse)  # type: ignore[no-untyped-call]
    return total


class _SampledNats(Function):
    """Gradients are computed beside the loss, some rows at a time, so no logits outlive their rows."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        drawn: Drawn,
        sparse: bool,
    ) -> Tensor:
        ids, log_probabilities = (part.to(hidden.device) for part in drawn)
        rows_of_weight = weight[ids].to(hidden.dtype)  # (K, H)
        offsets = bias[ids] - log_probabilities  # (K,)
        own_rows = weight[targets]  # (N, H)
        own = (hidden * own_rows).sum(-1) + bias[targets]  # (N,), float32
        places = torch.searchsorted(ids, targets).clamp(max=len(ids) - 1)
        target_drawn = ids[places] == targets  # and so known twice, to be counted once

        total = torch.zeros((), device=hidden.device)
        grad_hidden = torch.empty_like(hidden)
        grad_drawn = torch.zeros(rows_of_weight.shape, device=hidden.device)
        grad_drawn_bias = torch.zeros(len(ids), device=hidden.device)
        grad_own = torch.empty_like(own)
        rows_at_once = max(1, MAX_LOGITS // len(ids))
        for begin in range(0, len(hidden), rows_at_once):
            rows = slice(begin, begin + rows_at_once)
            x, z_own = hidden[rows], own[rows]
            z = (x @ rows_of_weight.T).float().add_(offsets)  # (rows, K)
            known_twice = torch.nonzero(target_drawn[rows])[:, 0]
            z[known_twice, places[rows][known_twice]] = -torch.inf
            largest = torch.maximum(z.amax(-1), z_own)
            z.sub_(largest[:, None]).exp_()
            own_part = (z_own - largest).exp()
            everything = z.sum(-1) + own_part
            total += (everything.log() + largest - z_own).sum()
            # The gradient of the logits is their probabilities, z / everything. Each row of a product
            # is divided instead of z, which has many more numbers.
            share = 1 / everything
            grad_own[rows] = own_part * share - 1
            parts = z.to(x.dtype)
            grad_hidden[rows] = (parts @ rows_of_weight) * share[:, None]
            grad_drawn += parts.T @ (x * share[:, None]).to(x.dtype)
            with torch.autocast(z.device.type, enabled=False):  # a sum, so in float32
                grad_drawn_bias += share @ z
        grad_hidden += (grad_own[:, None] * own_rows).to(hidden.dtype)
        ctx.save_for_backward(
            hidden, targets, ids, grad_hidden, grad_drawn, grad_drawn_bias, grad_own
        )
        ctx.shapes, ctx.sparse = (weight.shape, bias.shape), sparse
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        hidden, targets, ids, grad_hidden, grad_drawn, grad_drawn_bias, grad_own = ctx.saved_tensors
        grad_drawn, grad_drawn_bias, grad_own = (
            part * gradient for part in (grad_drawn, grad_drawn_bias, grad_own)
        )
        grad_targets = grad_own[:, None] * hidden.float()
        symbols = torch.cat((ids, targets))
        grad_weight, grad_bias = (
            _by_symbol(symbols, torch.cat(parts), shape, ctx.sparse)
            for parts, shape in zip(
                ((grad_drawn, grad_targets), (grad_drawn_bias, grad_own)), ctx.shapes, strict=True
            )
        )
        return (
            grad_hidden * gradient.to(grad_hidden.dtype),
            grad_weight,
            grad_bias,
            None,
            None,
            None,
        )


def _by_symbol(symbols: Tensor, rows: Tensor, shape: torch.Size, sparse: bool) -> Tensor:
    """A gradient of `shape` (V, ...), zero but for the `rows` (N, ...), which belong to `symbols` (N,)."""
    if sparse:
        unchecked: Any = torch.sparse.check_sparse_tensor_invariants  # said so, or torch may warn
        with unchecked(False):
            return torch.sparse_coo_tensor(symbols[None], rows, shape)
    if rows.is_cuda:  # whose index_add_ adds in any order, so that no two runs have the same bits
        return rows.new_zeros(shape).index_put_((symbols,), rows, accumulate=True)
    return rows.new_zeros(shape).index_add_(0, symbols, rows)
