"""What a run tells of itself: where it stands, and what it costs on the text that it learns from.

A record is shown by whoever follows the run, and is a line of its log.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lstmgen import stopwatch
from lstmgen.scoring import Score


@dataclass(frozen=True)
class Progress:
    """Where a run stands. `score` is there when the validation part has just been scored."""

    step: int
    num_steps: int
    epoch: float
    seconds: float
    learning_rate: float
    tokens_per_second: float
    # The mean since the last line of the log, dropout included. Of the weights that a run begins with, and of
    # a model that a stop keeps, that of the next window, without.
    train_nats_per_token: float
    best: Score | None  # that of the model that is kept, the lowest so far, if there is one yet
    best_step: int | None = None  # where that was, if it is known
    score: Score | None = None
    sample: str | None = None  # what the network writes by now, where it was time for that
    note: str = ""  # what went wrong and what is done about it

    def to_json(self) -> dict[str, Any]:
        """As a line of the log; `nats` to `perplexity` are of the validation part, where it was scored."""
        values = {
            "step": self.step,
            "num_steps": self.num_steps,
            "epoch": round(self.epoch, 4),
            "seconds": round(self.seconds, 2),
            "learning_rate": self.learning_rate,
            "tokens_per_second": round(self.tokens_per_second),
            "train_nats_per_token": self.train_nats_per_token,
        }
        return values | (self.score.to_json() if self.score else {})


class Meter:
    """Nats, tokens and time since the last line of the log.

    The sum stays on the device until it is asked for.
    """

    def __init__(self, where: torch.device) -> None:
        self.total = torch.zeros((), device=where)
        self.tokens = 0
        self.started = stopwatch.now()

    def add(self, total: Tensor, tokens: int) -> None:
        self.total += total
        self.tokens += tokens

    def nats_per_token(self) -> float:
        return float(self.total) / max(1, self.tokens)

    def tokens_per_second(self) -> float:
        return self.tokens / (stopwatch.now() - self.started)
