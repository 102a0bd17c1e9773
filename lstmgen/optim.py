"""What moves the weights: `muon` for the layers' matrices, lazy steps for many symbols, AdamW for the rest.

Embedding and output layer, whose rows are symbols rather than directions, and biases stay with AdamW
(Loshchilov & Hutter, 2017, arXiv:1711.05101).

Where symbols are so many that a step meets only some of them, their rows take lazy steps: a row is moved
only in the steps that meet it, along its gradient divided by the root of the mean square of its
gradients in those (RMSProp: Tieleman & Hinton, 2012; one mean a row). AdamW's momentum would push it on
long after, and learns less from as many tokens (tests/benchmarks/LOG.md). Weight decay is for all rows:
what is seldom met is forgotten in between.

Shapes: V vocabulary, C columns of a matrix, N rows that a step meets.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lstmgen.config import BY_SYMBOL, LARGE_VOCABULARY, TrainConfig, is_layer_matrix
from lstmgen.model import Network
from lstmgen.muon import EPSILON, Muon, Rate, named

BETAS, ADAMW_EPSILON = (0.9, 0.99), 1e-8  # of AdamW's two means
SYMBOL_BETA2 = 0.99  # of the mean square of a row's gradient
SYMBOL_RATE = 3.0  # times AdamW's rate, as without momentum a row moves only when it is met

NOT_IN_OLDER = (".row_squares", ".squares", ".counts")  # state that older runs did not keep


class AdamW:
    """Steps of the weights that the two others leave, by the mean of the gradient over its root mean square.

    w <- (1 - rate * decay) w - rate * m / (sqrt(v) + epsilon), where m and v are the running means of the
    gradient and of its square, corrected for having begun at 0. By torch's own kernel: `torch.optim.AdamW`
    calls the same, but imports torch's compiler first, which takes a second.
    """

    def __init__(self, weights: Mapping[str, Tensor], config: TrainConfig) -> None:
        self.weights, self.config = weights, config
        self.steps = {name: torch.zeros((), device=w.device) for name, w in weights.items()}
        self.means = {name: torch.zeros_like(w) for name, w in weights.items()}
        self.squares = {name: torch.zeros_like(w) for name, w in weights.items()}

    def step(self, rate: Rate) -> None:
        """Move the weights that have a gradient."""
        moving = [
            (w, w.grad, self.means[n], self.squares[n], self.steps[n])
            for n, w in self.weights.items()
            if w.grad is not None
        ]
        if not moving:
            return
        weights, gradients, means, squares, steps = zip(*moving, strict=True)
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            weights, gradients, means, squares, [], steps, lr=rate, beta1=BETAS[0], beta2=BETAS[1],
            weight_decay=self.config.weight_decay, eps=ADAMW_EPSILON, amsgrad=False, maximize=False,
        )  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        """What the next step depends on, by weight and kind."""
        return named(step=self.steps, exp_avg=self.means, exp_avg_sq=self.squares)


class LazyRows:
    """Steps of the rows of symbols, each only where it is met: RMSProp with one mean square a row."""

    def __init__(self, weights: Mapping[str, Tensor], config: TrainConfig) -> None:
        self.weights, self.config = weights, config
        self.squares = {name: w.new_zeros(len(w)) for name, w in weights.items()}
        self.counts = {name: w.new_zeros(len(w)) for name, w in weights.items()}

    def met(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Of each weight that has a gradient the rows that were met: ids (N,), gradients (N, C)."""
        return {n: _rows_met(w.grad) for n, w in self.weights.items() if w.grad is not None}

    def step(self, met: Mapping[str, tuple[Tensor, Tensor]], rate: Rate) -> None:
        """Move what `met` gave; the gradients are used up."""
        for name, (ids, gradient) in met.items():
            self._move(name, ids, gradient, float(rate))

    def _move(self, name: str, ids: Tensor, gradient: Tensor, rate: float) -> None:
        """One step of the rows that were met: their ids (N,), each once, and gradients (N, C)."""
        rows = self.weights[name].view(-1, gradient.shape[1])
        squares, counts = self.squares[name], self.counts[name]
        square = gradient.square().mean(1)
        counts[ids] += square > 0
        # The mean of all so far at first, which then forgets.
        share = torch.clamp(1 / counts[ids], min=1 - SYMBOL_BETA2, max=1) * (square > 0)
        squares[ids] = mean = torch.lerp(squares[ids], square, share)
        gradient /= mean.sqrt()[:, None] + EPSILON
        rows.mul_(1 - rate * self.config.weight_decay)
        rows.index_add_(0, ids, gradient, alpha=-SYMBOL_RATE * rate)

    def tensors(self) -> dict[str, Tensor]:
        """What the next step depends on, by weight and kind."""
        return named(squares=self.squares, counts=self.counts)


class Optimizer:
    """All three over one network; their state goes to a checkpoint and comes back as named tensors."""

    def __init__(self, network: Network, config: TrainConfig) -> None:
        self.config = config
        weights: Mapping[str, Tensor] = network.named_weights()
        matrices = {name: w for name, w in weights.items() if is_layer_matrix(name)}
        # Not where the layer's biases are frozen, see `muon`.
        evened = [n for n in matrices if weights[n.replace("weight", "bias")].requires_grad]
        lazy_names = BY_SYMBOL if lazy(config, network.config.vocab_size) else ()
        by_symbol = {name: weights[name] for name in lazy_names if name in weights}
        others = {n: w for n, w in weights.items() if n not in matrices and n not in by_symbol}
        self.muon = Muon(matrices, evened, config)
        self.rows = LazyRows(by_symbol, config)
        self.adamw = AdamW({n: w for n, w in others.items() if w.requires_grad}, config)

    def step(self, learning_rate: Rate, loss_scale: float = 1.0) -> None:
        """Move every weight by its gradient, divided by `loss_scale`, and then drop the gradients.

        If the norm of all of them together is above `clip_norm`, they are shortened to it first.
        """
        met = self.rows.met()
        dense = (*self.muon.weights.values(), *self.adamw.weights.values())
        gradients = [rows for _, rows in met.values()]
        gradients += [weight.grad for weight in dense if weight.grad is not None]
        # Recurrent layers then compute in float16, see `device.autocast`.
        half = loss_scale != 1 and self.config.precision == "bfloat16"
        _clip(gradients, self.config.clip_norm, loss_scale, half)
        with torch.no_grad():
            self.muon.step(learning_rate)
            self.adamw.step(learning_rate * self.config.adamw_share)
            self.rows.step(met, learning_rate * self.config.adamw_share)
        for weight in (*dense, *self.rows.weights.values()):
            weight.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """All that the next step depends on beside weights and learning rate, by weight and kind."""
        return self.muon.tensors() | self.rows.tensors() | self.adamw.tensors()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave; what older runs did not keep stays as it is.

        `KeyError` where a momentum or an average of AdamW is missing, `RuntimeError` where a size differs.
        """
        for name, value in self.tensors().items():
            found = tensors.get(name, value) if name.endswith(NOT_IN_OLDER) else tensors[name]
            value.copy_(found.reshape(value.shape))


def lazy(config: TrainConfig, vocab_size: int) -> bool:
    """Whether a step meets so few of the symbols that only their rows should move."""
    return vocab_size >= LARGE_VOCABULARY and 0 < 4 * config.softmax_sample <= vocab_size


def _rows_met(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The ids (N,) of the rows of a gradient (V, C), or (V,), that have any, and these rows (N, C)."""
    if gradient.is_sparse:
        gradient = gradient.coalesce()
        ids, rows = gradient.indices()[0], gradient.values()
    else:
        ids = torch.nonzero(gradient.flatten(1).any(1) if gradient.dim() > 1 else gradient)[:, 0]
        rows = gradient[ids]
    return ids, rows if rows.dim() > 1 else rows[:, None]


def _clip(gradients: list[Tensor], norm: float, scale: float, half: bool) -> None:
    """Divide them all by `scale`, in place, or by more if together they would be longer than `norm`.

    Through time a gradient can grow without bound, and one such step would undo many (Pascanu et al., 2013,
    arXiv:1211.5063). If `half`, some were computed in float16, and what overflowed there (inf, or NaN
    from it) counts as nothing.
    """
    if half:
        for gradient in gradients:
            gradient.nan_to_num_(0.0, posinf=0.0, neginf=0.0)
    total = torch.nn.utils.get_total_norm(gradients) / scale
    factor = torch.clamp(norm / (total + 1e-6), max=1.0) / scale
    # Where to ask costs nothing, they are left alone if the factor is 1, as it nearly always is.
    if factor.device.type != "cpu" or factor != 1:
        torch._foreach_mul_(gradients, factor)


def schedule(step: int, config: TrainConfig) -> float:
    """The learning rate of a step, counted from 0: linear warm-up, then linear decay.

    It would be 0 in the step after the last.
    """
    num_rising = max(1, round(config.warmup_fraction * config.num_steps))
    up = (step + 1) / num_rising
    down = (config.num_steps - step) / max(1, config.num_steps - num_rising)
    return config.learning_rate * min(up, down, 1.0)
