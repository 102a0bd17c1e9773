"""A GRU over a window of streams, to be trained on the CPU: inputs and a state -> outputs and the last state.

torch has no quick one there: its GRU adds to the gradient of the weights at each step, which for a few
streams takes longer than all else. Here only what must go step by step does. What the inputs add to
the gates is one product before; the gradient of the weights is one product after.

Shapes: T steps, B streams, H hidden.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


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
        gates, new, z = h.new_empty(T, B, 2 * H), h.new_empty(T, B, H), bias.repeat(T, B, 1)
        of_h = z[..., 2 * H :]
        turned = weight.t().contiguous()  # once, so that the product of each step need not
        states[0] = h
        for t in range(T):
            z[t].addmm_(states[t], turned)
            torch.add(of_x[t, :, : 2 * H], z[t, :, : 2 * H], out=gates[t]).sigmoid_()
            r, u = gates[t, :, :H], gates[t, :, H:]
            torch.addcmul(of_x[t, :, 2 * H :], r, of_h[t], out=new[t]).tanh_()
            torch.lerp(new[t], states[t], u, out=states[t + 1])
        ctx.save_for_backward(states, gates, new, of_h, weight)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, of_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The gradient of the outputs, (T, B, H) -> those of what went in.

        The product over all steps is in the precision of what the inputs added, as that one was.
        """
        states, gates, new, of_h, weight = ctx.saved_tensors
        T, B, H = new.shape  # noqa: N806
        r, u, before = gates[..., :H], gates[..., H:], states[:-1]
        # How far a step's sums move its state, and through the reset gate its candidates.
        by_new, by_u = (1 - u) * (1 - new * new), (before - new) * u * (1 - u)
        by_r = of_h * r * (1 - r)
        of_x, of_z = gates.new_empty(T, B, 3 * H), gates.new_empty(T, B, 3 * H)
        of_state = torch.zeros_like(states[0])
        for t in range(T - 1, -1, -1):
            of_state = of_state + of_outputs[t]
            candidates = torch.mul(of_state, by_new[t], out=of_x[t, :, 2 * H :])
            torch.mul(candidates, by_r[t], out=of_z[t, :, :H])
            torch.mul(of_state, by_u[t], out=of_z[t, :, H : 2 * H])
            torch.mul(candidates, r[t], out=of_z[t, :, 2 * H :])
            of_state = torch.addmm(of_state * u[t], of_z[t], weight)
        of_x[..., : 2 * H] = of_z[..., : 2 * H]
        rows, inputs = of_z.flatten(0, 1), before.flatten(0, 1)  # (T B, 3H) and (T B, H)
        of_weight = rows.to(ctx.precision).t() @ inputs.to(ctx.precision)
        return of_x.to(ctx.precision), of_state, of_weight.to(weight.dtype), rows.sum(0)


_recurrence: Any = _Recurrence.apply
