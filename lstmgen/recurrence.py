"""A GRU over a window of streams, to be trained on the CPU: inputs and a state -> outputs and the last state.

torch has no quick one there: its GRU adds to the gradient of the weights at each step, which for a few
streams takes longer than all else. Here only what must go step by step does. What the inputs add to
the gates is one product before; the gradient of the weights is one product after.

Shapes: T tokens, B streams, X width of the input, H hidden.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

aten = torch.ops.aten  # tanh_backward(d, y) is d (1 - y y), sigmoid_backward(d, y) is d y (1 - y)


class Gru(nn.GRU):
    """`nn.GRU` of one layer: the same weights, the same numbers, gradients sooner on the CPU."""

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """x (T, B, X) and a state (1, B, H) -> outputs (T, B, H) and the state after the last step."""
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(x, state)
        weight_ih, weight_hh, bias_ih, bias_hh = self.all_weights[0]
        x_sums = functional.linear(x, weight_ih, bias_ih)
        with torch.autocast("cpu", enabled=False):  # the product of one step gains nothing by it
            outputs: Tensor = _recurrence(x_sums, state[0], weight_hh, bias_hh)
        return outputs, outputs[-1:]


class _Recurrence(torch.autograd.Function):
    """h' = u h + (1 - u) h_tilde, as `cells.gru` has it, step after step; and the same backwards."""

    @staticmethod
    def forward(ctx: Any, x_sums: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """W_x x + b_x, (T, B, 3H), the state (B, H), W_hh (3H, H), b_hh (3H,) -> outputs (T, B, H)."""
        T, (B, H) = len(x_sums), h.shape  # noqa: N806
        ctx.precision, x_sums = x_sums.dtype, x_sums.to(h.dtype)
        states = h.new_empty(T + 1, B, H)  # one more than steps: the first is what was given
        states[0] = h
        z = x_sums + bias  # (T, B, 3H): to become the gates r and u, and from_h
        z[..., 2 * H :] = bias[2 * H :]
        from_x = x_sums[..., 2 * H :]
        r, u, from_h = torch.split(z, H, -1)
        h_tilde = torch.empty_like(u)
        weight_t = weight.t().contiguous()  # once, so that the product of each step need not
        steps = (states, z, z[..., : 2 * H], r, u, from_h, from_x, h_tilde, states[1:])
        for h, z_t, gates, r_t, u_t, from_h_t, from_x_t, h_tilde_t, h_next in _by_step(*steps):
            z_t.addmm_(h, weight_t)
            gates.sigmoid_()
            torch.addcmul(from_x_t, r_t, from_h_t, out=h_tilde_t).tanh_()
            torch.lerp(h_tilde_t, h, u_t, out=h_next)
        ctx.save_for_backward(states, z, h_tilde, weight)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The gradient of the outputs, (T, B, H) -> those of what went in.

        With d the gradient of a step's h', those of what its gates and candidates are made of (by the names
        of `cells.gru`) are

            from_x                 d (1 - u) (1 - h_tilde h_tilde)
            sums of r              that of from_x times from_h r (1 - r)
            sums of u              d (h - h_tilde) u (1 - u)
            from_h                 that of from_x times r

        and h has d u and, through the product, the last three times W_hh. The product over all
        steps is in the precision of `x_sums`, as that one was.
        """
        states, z, h_tilde, weight = ctx.saved_tensors
        T, B, H = h_tilde.shape  # noqa: N806
        (r, u, from_h), before = torch.split(z, H, -1), states[:-1]
        # These four without d, which is not known yet: `grad_from_x`, and the three of the product.
        grad_from_x = aten.tanh_backward(1 - u, h_tilde)
        grad_z = z.new_empty(T, B, 3, H)
        grad_r, grad_u, grad_from_h = grad_z.unbind(2)
        torch.mul(grad_from_x, r, out=grad_from_h)
        aten.sigmoid_backward(grad_from_x * from_h, r, grad_input=grad_r)
        aten.sigmoid_backward(before - h_tilde, u, grad_input=grad_u)
        # From the last step to the first, d comes to be known, and they are gradients.
        rows = grad_z.view(T, B, 3 * H)
        grad_states = torch.cat((torch.zeros_like(states[:1]), grad_outputs))
        steps = (grad_states, u, grad_z, rows, grad_states[1:], grad_states[1:].unsqueeze(2))
        for grad_before, u_t, grad_z_t, row, d, d_for_each in reversed(list(_by_step(*steps))):
            grad_z_t.mul_(d_for_each)
            grad_before.addcmul_(d, u_t).addmm_(row, weight)
        grad_sums = rows.to(ctx.precision, copy=True)  # for the weight, with that of from_h
        inputs = before.flatten(0, 1).to(ctx.precision)  # (T B, H)
        grad_weight = grad_sums.flatten(0, 1).t() @ inputs
        # In the place of from_h, `x_sums` have from_x.
        torch.mul(grad_states[1:], grad_from_x, out=grad_sums[..., 2 * H :])
        return grad_sums, grad_states[0], grad_weight.to(weight.dtype), rows.sum((0, 1))


def _by_step(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The T steps of all tensors (T, ...) side by side: quicker than to index each at each step.

    One of T + 1, the states with the one before the first step, gives its first T.
    """
    return zip(*(tensor.unbind() for tensor in tensors))  # noqa: B905  # the shortest counts


_recurrence: Any = _Recurrence.apply
