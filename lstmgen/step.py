"""One step of training: a window forward, backward through time, and one update of the weights.

Shapes: B streams, T tokens.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lstmgen import device, optim
from lstmgen.batching import IGNORED, Window
from lstmgen.job import Job
from lstmgen.model import Network, TorchState
from lstmgen.recording import Recording
from lstmgen.run import Run
from lstmgen.sampled_softmax import MAX_LOGITS, Sampler, every_symbol, sampled_nats
from lstmgen.scoring import cross_entropy

RESET_PROBABILITY = 0.5  # with which a stream whose window begins a line forgets what came before
# The loss scale on CUDA: it keeps small gradients from vanishing in float16, and the optimizer divides by it
# (Micikevicius et al., 2017, arXiv:1710.03740).
LOSS_SCALE = 2.0**12


class Loss:
    """-log p of a window's targets under a network, with all symbols or with a sample of them."""

    def __init__(self, network: Network, job: Job) -> None:
        self.network, self.config = network, job.training
        self.sampler: Sampler | None = None
        if job.training.softmax_sample:
            self.sampler = Sampler(job.data.counts, job.training.softmax_sample)
        self.lazy = optim.lazy(job.training, len(job.vocabulary))

    def __call__(
        self, inputs: Tensor, targets: Tensor, state: TorchState, step: int
    ) -> tuple[Tensor, TorchState]:
        """Inputs and targets (B, T), and a state -> nats, summed, and the next state.

        That is the cross-entropy of the output layer's logits. With `softmax_sample` it is against symbols
        that are drawn, by the seed and the `step` (see `sampled_softmax`); where they are few beside the
        vocabulary, only the rows of those that are met get a gradient (see `optim.LazyRows`).
        """
        sparse = self.lazy and inputs.is_cpu  # other devices may know no sparse tensors
        hidden, state = self.network.read(inputs, state, sparse)
        # Time first, as `read` lays it out in memory, so that nothing is copied: (T B, H) and (T B,).
        hidden, targets = hidden.transpose(0, 1).flatten(0, 1), targets.t().flatten()
        output = self.network.output
        if self.sampler is not None:
            drawn = self.sampler.draw((self.config.seed, step))
        elif inputs.is_cpu and len(targets) * output.out_features > MAX_LOGITS:
            # In parts, by the sampled loss with every symbol drawn, which is exact. On a GPU all logits are
            # made at once, as a recorded step could not ask `kept.all()`.
            drawn = every_symbol(output.out_features)
        else:
            return cross_entropy(output(hidden), targets).sum(), state
        kept = targets != IGNORED
        if not kept.all():
            hidden, targets = hidden[kept], targets[kept]
        return sampled_nats(hidden, output.weight, output.bias, targets, drawn, sparse), state


class Stepper:
    """Takes steps of truncated back-propagation through time (Williams & Peng, 1990).

    What they change is the run: weights, optimizer, carried state, and the number of steps taken.
    """

    def __init__(self, run: Run, job: Job) -> None:
        self.run, self.config, self.streams = run, job.training, job.streams
        self.loss = Loss(run.network, job)
        # A recording repeats what it did, and a sample of symbols is another one in each step.
        recorded = run.network.device.type == "cuda" and self.loss.sampler is None
        self.recording = Recording() if recorded else None

    def step(self, rate: float) -> tuple[Tensor, int]:
        """One window forward and backward and one update, at a learning rate.

        Returns the window's nats, summed, and the number of its targets. The nats stay on the device, as a
        tensor, until they are asked for.
        """
        run, streams = self.run, self.streams
        # All chance in a step follows from the seed and the step, so that a resumed run repeats it. By
        # the factor neighbouring seeds have nothing in common for a million steps.
        device.seed(run.network.device, (self.config.seed * 1_000_003 + run.step) % 2**63)
        index = run.step % streams.num_windows
        if index == 0:  # the text begins, again
            run.state = run.network.initial_state(streams.batch_size)
        window = streams.window(index)
        inputs, targets, num_targets = on_device(window, run.network)
        state = reset_at_line_starts(run.state, window.inputs, streams.start_id)
        arguments = (inputs, targets, num_targets, state, rate)
        if self.recording is None:
            nats, run.state = self.update(*arguments)
        else:
            nats, run.state = self.recording(self.update, *arguments)
        run.step += 1
        return nats, num_targets

    def update(
        self,
        inputs: Tensor,
        targets: Tensor,
        num_targets: int | Tensor,
        state: TorchState,
        rate: float | Tensor,
    ) -> tuple[Tensor, TorchState]:
        """Learn from inputs and targets (B, T) and a state -> nats, summed, and the next state.

        `num_targets` of the targets are not `IGNORED`. It and the learning rate are tensors where the step is
        recorded.
        """
        run = self.run
        loss_scale = LOSS_SCALE if inputs.is_cuda else 1.0
        with (
            device.whole_float32(inputs.device),
            run.network.weights_dropped(self.config.weight_drop),
        ):
            with device.autocast(inputs.device, self.config.precision):
                nats, state = self.loss(inputs, targets, state, run.step)
            # Of the mean, so that a window with more targets makes no longer step.
            (nats / num_targets * loss_scale).backward()  # type: ignore[no-untyped-call]
        run.optimizer.step(rate, loss_scale)
        # Here back-propagation through time is truncated: what is remembered goes on into the next
        # window, but its gradient will not come back into this one.
        return nats.detach(), tuple(tuple(part.detach() for part in layer) for layer in state)

    def loss_ahead(self) -> float:
        """What the next window costs before it is learned from, with the state as it is, in nats a token."""
        return self.loss_of(self.run.step % self.streams.num_windows)

    def loss_of(self, index: int) -> float:
        """What a window costs with weights and state as they are, in nats a token."""
        run, window = self.run, self.streams.window(index)
        inputs, targets, num_targets = on_device(window, run.network)
        with (
            torch.no_grad(),
            run.network.evaluating(),
            device.whole_float32(inputs.device),
            device.autocast(inputs.device, self.config.precision),
        ):
            nats, _ = self.loss(inputs, targets, run.state, run.step)
        return float(nats) / num_targets


def on_device(window: Window, network: Network) -> tuple[Tensor, Tensor, int]:
    """Inputs and targets (B, T) where the network is, and how many of the targets are not `IGNORED`."""
    inputs, targets = (device.send(torch.from_numpy(part), network.device) for part in window)
    return inputs, targets, int(np.count_nonzero(window.targets != IGNORED))


def reset_at_line_starts(state: TorchState, inputs: NDArray[np.int64], start_id: int) -> TorchState:
    """The state, set to 0 with `RESET_PROBABILITY` in each stream whose inputs (B, T) begin with `start_id`.

    That is a line end (`<unk>` if none is known), after which texts that are sampled, and lines that are
    scored, begin with nothing remembered. A network whose state is always carried on would hardly ever have
    begun so.
    """
    begins = torch.from_numpy(inputs[:, 0] == start_id)
    emptied = (begins & (torch.rand(len(begins)) < RESET_PROBABILITY))[:, None]
    emptied = device.send(emptied, state[0][0].device)
    return tuple(tuple(torch.where(emptied, 0.0, part) for part in layer) for layer in state)
