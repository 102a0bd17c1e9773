"""Scores a text with a network that goes on learning from it: each window is scored, then learned from.

Dynamic evaluation (Krause et al., 2018, arXiv:1709.07432): texts repeat themselves, and what a text
has shown so far says more of what it will show than a corpus does. The network that is given is
changed; nothing on disk is.
"""

from collections.abc import Iterator

import torch

from lstmgen import device
from lstmgen.batching import IGNORED, Streams
from lstmgen.config import DynamicConfig
from lstmgen.model import Network
from lstmgen.scoring import cross_entropy

DECAY_OF_SQUARES = 0.99


def window_nats(network: Network, streams: Streams, config: DynamicConfig) -> Iterator[float]:
    """The nats of one window of a text after the other; the text is a single stream.

    After each window but the last every weight w moves by its gradient g, that of the window's mean nats a
    token, divided by the root mean square of its gradients of late, and then a little back to where it was
    before the text: w <- w - rate g / (rms(g) + floor), then w <- w + decay (w0 - w). In the paper the
    squares are those of the training text, and the way back differs from weight to weight by them.
    """
    network.train()  # the mode in which cuDNN gives gradients
    network.dropout = 0.0
    where = network.device
    weights = list(network.parameters())
    before = [weight.detach().clone() for weight in weights]
    squares = [torch.zeros_like(weight) for weight in weights]
    state = network.initial_state(1)
    for index in range(streams.num_windows):
        inputs, targets = (torch.from_numpy(part).to(where) for part in streams.window(index))
        with device.whole_float32(where):
            logits, state = network(inputs, state)
        total = cross_entropy(logits, targets).sum()
        yield float(total.detach())
        if index == streams.num_windows - 1:
            return
        count = int((targets != IGNORED).sum())
        with device.whole_float32(where):
            gradients = torch.autograd.grad(total / count, weights)
        state = tuple(tuple(part.detach() for part in layer) for layer in state)
        correction = 1 - DECAY_OF_SQUARES ** (index + 1)  # as sums begin at zero
        with torch.no_grad():
            for weight, start, square, gradient in zip(
                weights, before, squares, gradients, strict=True
            ):
                square.mul_(DECAY_OF_SQUARES).addcmul_(
                    gradient, gradient, value=1 - DECAY_OF_SQUARES
                )
                root = (square / correction).sqrt_().add_(config.floor)
                weight.addcdiv_(gradient, root, value=-config.rate)
                weight.lerp_(start, config.decay)
