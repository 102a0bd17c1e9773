"""What moves the weights: the optimizer and the schedule of its learning rate."""

import torch

from lstmgen.config import TrainConfig
from lstmgen.model import Network

BETAS = (0.9, 0.99)


def build(network: Network, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, 2017, arXiv:1711.05101); biases and embedding are not decayed."""
    weights = network.named_weights().items()
    matrices = [w for name, w in weights if w.ndim == 2 and name != "embedding.weight"]
    others = [w for name, w in weights if w.ndim != 2 or name == "embedding.weight"]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=BETAS, fused=True)


def schedule(step: int, config: TrainConfig) -> float:
    """The learning rate of a step: up in a line, then down in a line to zero at the last step."""
    warmup = max(1, round(config.warmup_fraction * config.num_steps))
    up = (step + 1) / warmup
    down = (config.num_steps - step) / max(1, config.num_steps - warmup)
    return config.learning_rate * min(up, down, 1.0)
