"""The GRU that is trained on the CPU is torch's, in what it gives and in every gradient."""

import pytest
import torch
from torch import Tensor, nn

from lstmgen.recurrence import Gru


def run(
    layer: nn.GRU, x: Tensor, state: Tensor, bfloat16: bool = False
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Outputs, last state, and the gradients of both with regard to inputs, state and weights.

    As in training, only what goes forward is told to be in bfloat16.
    """
    inputs = [x.clone().requires_grad_(), state.clone().requires_grad_()]
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        outputs, end = layer(*inputs)
    loss = (outputs * torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).sum() + (
        end**3
    ).sum()
    return outputs, end, list(torch.autograd.grad(loss, [*inputs, *layer.parameters()]))


@pytest.mark.parametrize(("steps", "streams"), [(1, 1), (1, 4), (9, 1), (20, 3)])
def test_outputs_state_and_gradients_are_those_of_torch(steps: int, streams: int) -> None:
    torch.manual_seed(0)
    theirs, ours = nn.GRU(5, 7).double(), Gru(5, 7).double()
    ours.load_state_dict(theirs.state_dict())
    x, state = torch.randn(steps, streams, 5).double(), torch.randn(1, streams, 7).double()
    *wanted, wanted_gradients = run(theirs, x, state)
    *found, found_gradients = run(ours, x, state)
    assert found[0].grad_fn is not None
    assert found[0].grad_fn.name() == "_RecurrenceBackward"  # which is the point of it
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(found_gradients, wanted_gradients)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, state), tuple(wanted))


def test_in_bfloat16_the_state_stays_in_float32() -> None:
    torch.manual_seed(0)
    layer, x, state = Gru(5, 7), torch.randn(6, 2, 5), torch.randn(1, 2, 7)
    exact, _, exact_gradients = run(layer, x, state)
    outputs, end, gradients = run(layer, x, state, bfloat16=True)
    assert outputs.dtype == end.dtype == torch.float32
    torch.testing.assert_close(outputs, exact, atol=0.02, rtol=0.02)
    torch.testing.assert_close(gradients, exact_gradients, atol=0.1, rtol=0.1)
    assert not torch.equal(outputs, exact)  # the product of the inputs is in bfloat16
    of_state, of_weight = gradients[1], gradients[3]
    assert of_weight.shape == (21, 7)
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
    assert torch.equal(of_weight, of_weight.bfloat16().float())  # a product over all steps
    assert not torch.equal(of_state, of_state.bfloat16().float())  # products of single ones
