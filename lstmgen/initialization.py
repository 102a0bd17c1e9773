"""Gives a network the weights that it begins with: (network, seed) -> the same weights on every device.

Shapes: V vocabulary, H hidden, N units.
"""

from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lstmgen import device
from lstmgen.config import NUM_BLOCKS, CellName
from lstmgen.model import Network

FORGET_BIAS = 1.0  # the bias of an LSTM's forget gate: it keeps 0.73 of each value a token
# The share of an LSTM's units that keep longer, and between what their time constants lie, in tokens.
KEEPING_SHARE, SHORTEST, LONGEST = 1 / 8, 4, 128
OPEN_OUTPUT_BIAS = 2.0  # the bias of an output gate that lets 0.88 through


def initialize(network: Network, seed: int, counts: NDArray[np.int64] | None = None) -> None:
    """Fresh weights.

    Recurrent matrices are orthogonal block by block (Saxe et al., 2013, arXiv:1312.6120), input matrices
    uniform as in Glorot & Bengio (2010), biases zero but for those of gates (see `_initialize_gates`). The
    embedding is normal, with a standard deviation of 1. An output layer of its own starts at zero; one that
    is tied to the embedding shares its weights, whose deviation then is H^-0.5. If `counts` (V,) are given,
    the output's biases start at the logarithms of the symbols' frequencies (add-one smoothing), so that a
    fresh network is the unigram model, or if it is tied, nearly.
    """
    generator = torch.Generator().manual_seed(device.short_seed(seed))
    size = network.config.hidden_size
    with torch.no_grad():
        for name, weight in network.named_weights().items():
            if name.endswith("weight_hh"):
                for block in torch.split(weight, size):
                    block.copy_(nn.init.orthogonal_(torch.empty(block.shape), generator=generator))
            elif name.endswith("weight_ih"):
                bound = (6 / (size + weight.shape[1])) ** 0.5
                weight.copy_((torch.rand(weight.shape, generator=generator) * 2 - 1) * bound)
            elif name == "embedding.weight":
                scale = size**-0.5 if network.config.tie else 1.0
                weight.copy_(torch.randn(weight.shape, generator=generator) * scale)
            elif name == "output.bias" and counts is not None:
                weight.copy_(torch.from_numpy(np.log((counts + 1) / (counts + 1).sum())))
            else:  # biases, and the output layer
                weight.zero_()
        for k in range(network.config.num_layers):
            _initialize_gates(network, k, generator)


def _initialize_gates(network: Network, k: int, generator: torch.Generator) -> None:
    """The biases with which the gates of layer k begin.

    That of an LSTM's forget gate is 1, so that what is written stays for some tokens and its gradient
    comes back (Jozefowicz et al., 2015). Without a `memory` (an option: see `Network`), an eighth of an
    LSTM's units in each layer keep longer, by time constants of 4 to 128 tokens, each the same multiple of
    the one before: so the network finds out early what takes counting, such as where lines are broken.

    With a `memory`, all units of the last layer keep, by time constants drawn evenly from one token up to
    that; the layers below read, and none of their units keeps longer than the others. The LSTM's output
    gates begin open there: what is kept is found useful sooner where it shows. All this is in the input's
    biases; the state's, which the cell adds to them, stay zero.
    """
    cell, size = network.config.cell, network.config.hidden_size
    bias, _ = network.biases(k)
    if network.memory and k == network.config.num_layers - 1:
        times = 1 + torch.rand(size, generator=generator) * (network.memory - 1)  # tokens
        _chrono_initialize(bias, times.log(), cell)
        if cell == "lstm":
            bias[3 * size :] = OPEN_OUTPUT_BIAS  # the output gate's
    elif cell == "lstm":
        bias[size : 2 * size] = FORGET_BIAS  # the forget gate's
        if not network.memory:
            log_times = torch.linspace(log(SHORTEST), log(LONGEST), int(KEEPING_SHARE * size))
            _chrono_initialize(bias, log_times, cell)


def _chrono_initialize(bias: Tensor, log_times: Tensor, cell: CellName) -> None:
    """Let the first N units keep what they hold by time constants of exp(`log_times`) tokens, (N,).

    Chrono initialisation (Tallec & Ollivier, 2018, arXiv:1804.11188): the gate that keeps begins at
    t / (t + 1), so that after t tokens more than a third of a value is left, and the LSTM's input gate at
    1 / (t + 1); the paper's T is t + 1. The bias, (4H,) or (3H,), is changed in place.
    """
    size, count = len(bias) // NUM_BLOCKS[cell], len(log_times)
    bias[size : size + count] = log_times  # the LSTM's forget gate, the GRU's update gate
    if cell == "lstm":
        bias[:count] = -log_times  # its input gate: what is kept longer is written to more seldom
