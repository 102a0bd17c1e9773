"""A GRU over a window of streams, to be trained on the CPU: inputs and a state -> outputs and the last state.

torch has no quick one there: its GRU adds to the gradient of the weights at each step, which for a few
streams takes longer than all else. Here only what must go step by step does. What the inputs add to
the gates is one product before; the gradient of the weights is one product after.

Shapes: T steps, B streams, H hidden.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

aten = torch.ops.aten  # tanh_backward(d, n) is d (1 - n n), sigmoid_backward(d, g) is d g (1 - g)


class Gru(nn.GRU):
    """`nn.GRU` of one layer: the same weights, the same numbers, gradients sooner on the CPU."""

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """x (T, B, X) and a state (1, B, H) -> outputs (T, B, H) and the state after the last step."""
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(x, state)
        weight_ih, weight_hh, bias_ih, bias_hh = self.all_weights[0]
        of_x = functional.linear(x, weight_ih, bias_ih)
        with torch.autocast("cpu", enabled=False):  # the product of one step gains nothing by it
            outputs: Tensor = _recurrence(of_x, state[0], weight_hh, bias_hh)
        return outputs, outputs[-1:]


class _Recurrence(torch.autograd.Function):
    """h' = u h + (1 - u) n, as `cells.gru` has it, step after step; and the same backwards."""

    @staticmethod
    def forward(ctx: Any, of_x: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """What the inputs add, (T, B, 3H), the state (B, H), W_hh (3H, H), b_hh (3H,) -> (T, B, H)."""
        T, (B, H) = len(of_x), h.shape  # noqa: N806
        ctx.precision, of_x = of_x.dtype, of_x.to(h.dtype)
        states = h.new_empty(T + 1, B, H)  # one more than steps: the first is what was given
        states[0] = h
        z = of_x + bias  # (T, B, 3H): to become the gates r and u, and what r is to let through
        z[..., 2 * H :] = bias[2 * H :]
        r, u, of_h = torch.split(z, H, -1)
        new = torch.empty_like(u)
        turned = weight.t().contiguous()  # once, so that the product of each step need not
        steps = (states, z, z[..., : 2 * H], r, u, of_h, of_x[..., 2 * H :], new, states[1:])
        for h, z_t, gates, r_t, u_t, of_h_t, of_x_t, n, following in _by_step(*steps):
            z_t.addmm_(h, turned)
            gates.sigmoid_()
            torch.addcmul(of_x_t, r_t, of_h_t, out=n).tanh_()
            torch.lerp(n, h, u_t, out=following)
        ctx.save_for_backward(states, z, new, weight)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, of_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The gradient of the outputs, (T, B, H) -> those of what went in.

        With d the gradient of a step's h', the sums that its gates and candidates are made of have

            candidates               d (1 - u) (1 - n n)
            reset gate               that of the candidates times (what it lets through) r (1 - r)
            update gate              d (h - n) u (1 - u)
            what r lets through      that of the candidates times r

        and h has d u and, through the product, the last three times W_hh. The product over all
        steps is in the precision of what the inputs added, as that one was.
        """
        states, z, new, weight = ctx.saved_tensors
        T, B, H = new.shape  # noqa: N806
        (r, u, of_h), before = torch.split(z, H, -1), states[:-1]
        # These four without d, which is not known yet: `by_new`, and the three of the product in `of_z`.
        by_new = aten.tanh_backward(1 - u, new)
        of_z = z.new_empty(T, B, 3, H)
        by_r, by_u, by_h = of_z.unbind(2)
        torch.mul(by_new, r, out=by_h)
        aten.sigmoid_backward(by_new * of_h, r, grad_input=by_r)
        aten.sigmoid_backward(before - new, u, grad_input=by_u)
        # From the last step to the first, d comes to be known, and they are gradients.
        rows = of_z.view(T, B, 3 * H)
        of_states = torch.cat((torch.zeros_like(states[:1]), of_outputs))
        steps = (of_states, u, of_z, rows, of_states[1:], of_states[1:].unsqueeze(2))
        for of_before, u_t, of_z_t, row, d, d_for_each in reversed(list(_by_step(*steps))):
            of_z_t.mul_(d_for_each)
            of_before.addcmul_(d, u_t).addmm_(row, weight)
        of_x = rows.to(ctx.precision, copy=True)
        inputs = before.flatten(0, 1).to(ctx.precision)  # (T B, H)
        of_weight = of_x.flatten(0, 1).t() @ inputs
        torch.mul(of_states[1:], by_new, out=of_x[..., 2 * H :])
        return of_x, of_states[0], of_weight.to(weight.dtype), rows.sum((0, 1))


def _by_step(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """One step of each after the other: sooner than to ask for a step of each by its number."""
    return zip(*(tensor.unbind() for tensor in tensors))  # noqa: B905


_recurrence: Any = _Recurrence.apply
