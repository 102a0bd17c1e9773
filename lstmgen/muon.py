"""Muon, the optimizer of matrices: steps that go equally far in all directions.

The gradient of a recurrent layer's matrix has a few large singular values and many small ones, so a step
along it moves the network in few directions. Muon steps equally far in all of them: of the momentum,
which is U S V' by its singular value decomposition, it keeps U V' (Jordan et al., 2024,
https://kellerjordan.github.io/posts/muon). Each row of that, which belongs to one gate of one unit, is then
divided by the root mean square of its steps of late, so that no unit is left behind (after NorMuon: Li
et al., 2025, arXiv:2510.05491, but the step as a whole goes as far as it did), except in a layer whose
biases are frozen: there some gates are to stay nearly shut, and steps as long as the others' would carry them
off.

Shapes: R rows and C columns of a matrix, N matrices of one shape.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from lstmgen.config import TrainConfig

EPSILON = 1e-12  # against division by 0
MOMENTUM = 0.9
ROW_BETA2 = 0.95  # of the mean square of how far each row has gone

# Odd polynomials a x + b x^3 + c x^5. Applied in turn, singular values from 0.001 to 1 come to lie between
# 0.13 and 1.87. They are the first of a series (Polar Express: Amsel et al., 2025, arXiv:2505.16932); more of
# them come nearer to 1, take longer, and were no better here.
POLYNOMIALS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
)

# A learning rate: a tensor where the step is recorded (as a CUDA graph), which none with lazy rows is.
Rate = float | Tensor


class Muon:
    """Steps of the recurrent layers' matrices, equally far in all directions.

    Rows are rescaled in the matrices that are named in `evened`.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], evened: Collection[str], config: TrainConfig
    ) -> None:
        self.weights, self.config = weights, config
        self.momentum = {name: torch.zeros_like(w) for name, w in weights.items()}
        self.row_squares = {name: torch.zeros_like(weights[name][:, :1]) for name in evened}

    def step(self, rate: Rate) -> None:
        """Move the weights that have a gradient; the gradients are used up."""
        by_shape: defaultdict[torch.Size, dict[str, Tensor]] = defaultdict(dict)
        for name, weight in self.weights.items():
            if weight.grad is not None:
                by_shape[weight.shape][name] = weight.grad
        for gradients in by_shape.values():
            self._move(gradients, rate)

    def _move(self, gradients: Mapping[str, Tensor], rate: Rate) -> None:
        """One step of some matrices of one shape, given by name; the gradients are used up."""
        dtype = torch.bfloat16 if self.config.precision == "bfloat16" else torch.float32
        ahead = []
        for name, gradient in gradients.items():
            momentum = self.momentum[name]
            momentum.lerp_(gradient, 1 - MOMENTUM)
            gradient.lerp_(momentum, MOMENTUM)  # Nesterov: where the momentum is going
            ahead.append(gradient.to(dtype))
        for name, direction in zip(gradients, orthogonalized(ahead), strict=True):
            weight = self.weights[name]
            direction = direction.to(weight.dtype)
            rows, columns = weight.shape
            # The rows of a tall U V' have a root mean square length of (columns / rows) ** 0.5: to be made 1,
            # as it is in a flat one.
            length = rate * max(1, rows / columns) ** 0.5
            if name in self.row_squares:
                factors = _row_factors(direction, self.row_squares[name])
            else:
                factors = weight.new_ones(rows, 1)
            weight.mul_(1 - rate * self.config.weight_decay)
            weight.addcmul_(direction, factors * -length)

    def tensors(self) -> dict[str, Tensor]:
        """What the next step depends on, by weight and kind."""
        return named(momentum=self.momentum, row_squares=self.row_squares)


def named(**kinds: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of some kinds, by weight and kind, as `layers.0.weight_hh.momentum`."""
    return {
        f"{name}.{kind}": tensor
        for kind, tensors in kinds.items()
        for name, tensor in tensors.items()
    }


def orthogonalized(matrices: Sequence[Tensor]) -> list[Tensor]:
    """About U V' of each matrix U S V', one or more of one shape (R, C), by matrix products alone.

    For a tall X with singular values of at most 1, and for each (a, b, c) in turn, that is

        X <- a X + b X G + c X G G    where G = X' X.

    The right side is X times a I + b G + c G G. So X itself is read twice only, for the first G and at
    the end, and the rest is done among square matrices of its shorter side, those of all at once.
    """
    flat = matrices[0].shape[0] < matrices[0].shape[1]
    tall = [matrix.T if flat else matrix for matrix in matrices]
    gram = torch.stack([x.T @ x for x in tall])
    scale = gram.diagonal(dim1=1, dim2=2).float().sum(1)[:, None, None]
    # The sum of the singular values' squares, and 2 % for rounding: none is above 1 by this.
    scale = scale * 1.02 + 1e-14
    gram = (gram / scale).to(gram.dtype)
    product = factor = _polynomial(gram, *POLYNOMIALS[0])
    for coefficients in POLYNOMIALS[1:]:
        # G of the X so far. All are polynomials of the first G, so symmetric, and their order is free.
        gram = factor @ gram @ factor
        factor = _polynomial(gram, *coefficients)
        product = product @ factor
    product = (product / scale.sqrt()).to(gram.dtype)
    results = [x @ its_product for x, its_product in zip(tall, product, strict=True)]
    return [x.T if flat else x for x in results]


def _row_factors(direction: Tensor, row_squares: Tensor) -> Tensor:
    """How many times as long each row of a step is to be, (R, 1), that all go equally far in the long run.

    The matrix (R, C) as a whole goes as far as it did. `row_squares` are the mean squares in the
    rows (R, 1) of the steps of late, and are brought up to date. They begin at 0, so for a while all are too
    small by one factor, which makes no difference.
    """
    lengths = torch.linalg.vector_norm(direction, dim=1, keepdim=True)
    row_squares.lerp_(lengths.square() / direction.shape[1], 1 - ROW_BETA2)
    factors: Tensor = 1 / (row_squares.sqrt() + EPSILON)
    factors *= lengths.norm() / ((factors * lengths).norm() + EPSILON)
    return factors


def _polynomial(gram: Tensor, a: float, b: float, c: float) -> Tensor:
    """a I + b G + c G G of each G: (N, C, C) -> (N, C, C)."""
    factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal(dim1=1, dim2=2).add_(a)
    return factor
