"""Dynamic evaluation: what is scored has not been learned from yet, and the rule is the one it names."""

import numpy as np
import pytest
import torch
from engines import random_weights
from numpy.typing import NDArray
from torch.nn import functional

from lstmgen.batching import Streams
from lstmgen.config import DynamicConfig, ModelConfig
from lstmgen.dynamic import window_nats
from lstmgen.model import Network, TorchEngine, load_network
from lstmgen.scoring import score_ids

CONFIG = ModelConfig(vocab_size=12, num_layers=2, hidden_size=8, embedding_size=6)
CPU = torch.device("cpu")


@pytest.fixture
def network() -> Network:
    return load_network(CONFIG, random_weights(CONFIG, scale=0.8), CPU)


def some_ids(length: int) -> NDArray[np.uint8]:
    return np.random.default_rng(length).integers(0, 12, length).astype(np.uint8)


def costs(network: Network, ids: NDArray[np.uint8], **config: float) -> list[float]:
    numbers = DynamicConfig(**({"window": 16} | config))  # type: ignore[arg-type]
    return list(window_nats(network, Streams(ids, 1, 1, numbers.window), numbers))


@pytest.mark.parametrize("length", [1, 15, 16, 17, 100])
def test_without_learning_it_is_the_static_score(network: Network, length: int) -> None:
    expected = score_ids(TorchEngine(network), some_ids(length), 1)
    network.dropout = 0.5  # which is for training only
    assert sum(costs(network, some_ids(length), rate=0)) == pytest.approx(expected, rel=1e-5)


def test_a_window_is_scored_before_it_is_learned_from(network: Network) -> None:
    ids = some_ids(64)
    weights = network.weights()
    still = costs(network, ids, rate=0)
    learned = costs(network, ids, rate=0.01)
    assert learned[0] == pytest.approx(still[0], rel=1e-6)
    assert learned[1] != pytest.approx(still[1], rel=1e-4)
    network.load_weights(weights)
    changed = ids.copy()
    changed[40:] = (changed[40:] + 1) % 12  # what comes later has no say
    assert costs(network, changed, rate=0.01)[:2] == learned[:2]


def test_it_learns_from_a_text_that_repeats_itself(network: Network) -> None:
    ids = np.tile(some_ids(16), 60)
    windows = costs(network, ids, rate=0.01, decay=0)
    assert windows[-1] < 0.3 * windows[1]


def test_the_steps_are_by_hand(network: Network) -> None:
    ids, weights = some_ids(64), network.weights()
    inputs = torch.from_numpy(np.concatenate(([1], ids[:-1])).astype(np.int64)).view(1, 4, 16)
    targets = torch.from_numpy(ids.astype(np.int64)).view(4, 16)
    named, state = network.named_weights(), network.initial_state(1)
    before = {name: weight.detach().clone() for name, weight in named.items()}
    squares = {name: torch.zeros_like(weight) for name, weight in before.items()}
    for step in range(3):
        logits, state = network(inputs[:, step], state)
        state = tuple(tuple(part.detach() for part in layer) for layer in state)
        gradients = torch.autograd.grad(
            functional.cross_entropy(logits[0], targets[step]), list(named.values())
        )
        for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
            squares[name] = 0.99 * squares[name] + 0.01 * gradient**2
            root = (squares[name] / (1 - 0.99 ** (step + 1))).sqrt()
            moved = parameter.detach() - 0.01 * gradient / (root + 1e-3)
            with torch.no_grad():
                parameter.copy_(moved + 0.25 * (before[name] - moved))
    expected = network.weights()
    network.load_weights(weights)
    costs(network, ids, rate=0.01, decay=0.25, floor=1e-3)
    for name, weight in network.weights().items():
        np.testing.assert_allclose(weight, expected[name], atol=1e-5, rtol=1e-3, err_msg=name)
