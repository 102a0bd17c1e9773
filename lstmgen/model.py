"""The network of `cells` in torch, for training and for accelerators: (ids, state) -> (logits, state).

Shapes: B streams, T tokens, V vocabulary, E embedding, H hidden.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lstmgen import device
from lstmgen.config import STATE_PARTS, ModelConfig
from lstmgen.recurrence import Gru

TorchState = tuple[tuple[Tensor, ...], ...]  # a layer: (h, C) or (h,), each (B, H), float32

_LAYERS = {"lstm": nn.LSTM, "gru": Gru, "rnn": nn.RNN}


class _Embedding(nn.Embedding):
    """Draws no weights, as they are all set afterwards: where symbols are many, drawing takes long."""

    def reset_parameters(self) -> None:
        pass


class _Linear(nn.Linear):
    """Likewise draws none."""

    def reset_parameters(self) -> None:
        pass


class Network(nn.Module):
    """Embedding, recurrent layers of torch one above the other, output layer.

    State goes in and comes out; the module holds weights only. Dropout draws from torch's own
    generator, which the caller seeds. With `memory`, an option, the last layer begins able to remember for so
    many tokens, and its biases are frozen as `initialization` makes them: a gate that is nearly open or shut
    has next to no gradient, but AdamW steps equally far along a small one, and would soon undo what the
    gates began with.
    """

    def __init__(self, config: ModelConfig, dropout: float = 0.0, memory: int = 0) -> None:
        super().__init__()
        self.config = config
        self.dropout = dropout
        self.memory = memory if config.cell != "rnn" else 0  # an RNN has no gates
        widths = [config.embedding_size] + [config.hidden_size] * config.num_layers
        self.embedding = _Embedding(config.vocab_size, config.embedding_size)
        self.layers = nn.ModuleList(
            _LAYERS[config.cell](widths[k], config.hidden_size) for k in range(config.num_layers)
        )
        self.output = _Linear(config.hidden_size, config.vocab_size)
        if config.tie:
            self.output.weight = self.embedding.weight
        if self.memory:
            for bias in self.biases(config.num_layers - 1):
                bias.requires_grad_(False)

    def forward(self, ids: Tensor, state: TorchState) -> tuple[Tensor, TorchState]:
        """ids (B, T), int64, and a state -> logits (B, T, V) and the state after the last step."""
        hidden, state = self.read(ids, state)
        return self.output(hidden), state

    def read(
        self, ids: Tensor, state: TorchState, sparse: bool = False
    ) -> tuple[Tensor, TorchState]:
        """ids (B, T), int64, and a state -> hidden (B, T, H), which the output layer reads, and the state.

        With `skip` that is the sum of all layers' outputs (after Graves, 2013, arXiv:1308.0850). It lies in
        memory as (T, B, H). If `sparse`, the embedding's gradient has rows for these ids only. In training
        there is dropout, see `_drop`.
        """
        # Time first, (T, B, E), as torch's recurrent layers take it.
        x = functional.embedding(ids.t(), self.embedding.weight, sparse=sparse)
        x = self._drop(x)
        outputs, next_state = [], []
        for layer, layer_state in zip(self.layers, state, strict=True):
            x, end = layer(x, _to_torch(layer_state))  # (T, B, H)
            x = self._drop(x)
            outputs.append(x)
            next_state.append(_from_torch(end))
        hidden = sum(outputs[1:], outputs[0]) if self.config.skip else x
        return hidden.transpose(0, 1), tuple(next_state)

    def _drop(self, x: Tensor) -> Tensor:
        """Variational dropout: one mask (B, width) for all T tokens (Gal & Ghahramani, 2015).

        Of embeddings and outputs only, not of recurrent states, as "locked" dropout is (arXiv:1512.05287;
        Merity et al., 2017, arXiv:1708.02182).
        """
        if not (self.training and self.dropout):
            return x
        kept = torch.rand(x.shape[1:], device=x.device) >= self.dropout
        return x * (kept / (1 - self.dropout)).to(x.dtype)  # scaled up, so that the mean stays

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within the block, nothing is dropped."""
        was_training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(was_training)

    @contextmanager
    def weights_dropped(self, share: float) -> Iterator[None]:
        """Within the block, a random share of the recurrent weights is 0 and the rest scaled up.

        It keeps a network from relying on any one path through time (DropConnect: Wan et al., 2013; Merity et
        al., 2017, arXiv:1708.02182). The gradient is that of the thinned matrix and moves the whole one, what
        was left out too, which measured better than not to. So it must be computed within the block.
        """
        if not share:
            yield
            return
        weights = self.named_weights().items()
        matrices = [weight.detach() for name, weight in weights if name.endswith("weight_hh")]
        whole = [matrix.clone() for matrix in matrices]
        for matrix in matrices:
            matrix.mul_((torch.rand_like(matrix) >= share) / (1 - share))
        try:
            yield
        finally:
            for matrix, before in zip(matrices, whole, strict=True):
                matrix.copy_(before)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.output.bias.device

    def initial_state(self, batch_size: int) -> TorchState:
        """Zeros: nothing has been read yet."""
        zeros = torch.zeros(batch_size, self.config.hidden_size, device=self.device)
        return ((zeros,) * STATE_PARTS[self.config.cell],) * self.config.num_layers

    def biases(self, k: int) -> tuple[nn.Parameter, nn.Parameter]:
        """The two of layer k, for input and state: each (blocks x H,).

        The cell adds them up, but for those of a GRU's candidates (see `cells.affine_parts`).
        """
        ih, hh = (self.get_parameter(_attribute(f"layers.{k}.bias_{of}")) for of in ("ih", "hh"))
        return ih, hh

    def named_weights(self) -> dict[str, nn.Parameter]:
        """The parameters under the names that they have in a model file, in its order."""
        return {name: self.get_parameter(_attribute(name)) for name in self.config.weight_shapes()}

    def weights(self) -> dict[str, NDArray[Any]]:
        """A copy of the weights on the CPU, as `cells` and `checkpoint` take them."""
        return {
            name: parameter.detach().cpu().numpy().copy()
            for name, parameter in self.named_weights().items()
        }

    def load_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Take these weights in the place of its own; `KeyError` if one is missing."""
        with torch.no_grad():
            for name, parameter in self.named_weights().items():
                parameter.copy_(torch.from_numpy(np.array(weights[name])))


class TorchEngine:
    """A network as a `reading.Engine`: NumPy ids in, tensors out, nothing trained."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.vocab_size = network.config.vocab_size

    def initial_state(self, batch_size: int) -> TorchState:
        return self.network.initial_state(batch_size)

    def read(self, ids: NDArray[Any], state: TorchState) -> tuple[Tensor, TorchState]:
        where = self.network.device
        with torch.inference_mode(), self.network.evaluating(), device.whole_float32(where):
            return self.network.read(torch.from_numpy(ids.astype(np.int64)).to(where), state)

    def select(self, state: TorchState, streams: slice | list[int]) -> TorchState:
        return tuple(tuple(part[streams] for part in layer) for layer in state)

    def concatenate(self, states: Sequence[TorchState]) -> TorchState:
        return tuple(
            tuple(torch.cat(parts) for parts in zip(*layers, strict=True))
            for layers in zip(*states, strict=True)
        )

    def logits(self, hidden: Tensor, symbols: slice = slice(None)) -> Tensor:
        layer = self.network.output
        with torch.inference_mode():
            return device.linear(hidden, layer.weight[symbols], layer.bias[symbols])

    def __call__(self, ids: NDArray[Any], state: TorchState) -> tuple[Tensor, TorchState]:
        hidden, state = self.read(ids, state)
        return self.logits(hidden), state


def load_network(
    config: ModelConfig, weights: Mapping[str, NDArray[Any]], where: torch.device
) -> Network:
    """The network of this shape, with these weights, on a device."""
    network = Network(config)
    network.load_weights(weights)
    return network.to(where)


def _attribute(name: str) -> str:
    """The name of a weight inside `Network`: torch adds `_l0` to those of a recurrent layer."""
    return f"{name}_l0" if name.startswith("layers.") else name


def _to_torch(state: tuple[Tensor, ...]) -> Any:
    """A layer's state as `torch.nn` takes it: (1, B, H), in a tuple only where there are two."""
    parts = tuple(part.unsqueeze(0) for part in state)
    return parts if len(parts) > 1 else parts[0]


def _from_torch(state: Any) -> tuple[Tensor, ...]:
    # Kept in float32 whatever autocast computes in, so that a state saved to disk loses nothing.
    parts = state if isinstance(state, tuple) else (state,)
    return tuple(part.squeeze(0).float() for part in parts)
