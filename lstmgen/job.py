"""What a run has to do: all that is settled before its first step."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from lstmgen.batching import Streams
from lstmgen.config import ModelConfig, TrainConfig
from lstmgen.dataset import Dataset
from lstmgen.pace import TimeLimit
from lstmgen.vocabulary import Vocabulary


@dataclass(frozen=True)
class Job:
    """Corpus, network, numbers, and where and how long."""

    folder: Path
    data: Dataset
    model: ModelConfig
    training: TrainConfig
    device: torch.device
    time_limit: TimeLimit | None = None  # where it is to end by time
    most_threads: int | None = None  # of which it takes fewer while other programs are busy
    sample_seconds: float | None = None  # between two samples of what the network writes by then

    @cached_property
    def streams(self) -> Streams:
        """The part that is trained on, as it is read."""
        size, window = self.training.batch_size, self.training.window
        return Streams(self.data.train_ids, self.data.vocabulary.start_id, size, window)

    def epochs(self, steps: int) -> float:
        """How often the text has been read after so many steps."""
        return steps / self.streams.num_windows

    @property
    def vocabulary(self) -> Vocabulary:
        return self.data.vocabulary
