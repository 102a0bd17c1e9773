"""All of a run that its steps change: the network, the optimizer, the state that is carried on, the step.

It begins afresh or where a saved one stopped, and it can be copied and put back.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lstmgen.checkpoint import SavedModel, SavedRun, Weights, unsound
from lstmgen.container import Arrays, damaged
from lstmgen.folders import RUN_FILE
from lstmgen.initialization import initialize
from lstmgen.job import Job
from lstmgen.model import Network, TorchState
from lstmgen.optim import Optimizer

STATE, OPTIMIZER = "state.", "optimizer."


@dataclass(frozen=True)
class Snapshot:
    """A run as it stood at a step, in arrays of its own."""

    step: int
    weights: Weights
    carried: Arrays  # the optimizer's and the state's, by the names of `Run.carried`

    @property
    def is_sound(self) -> bool:
        """Whether a file of it would be read again."""
        return not unsound(self.weights, self.carried)


@dataclass
class Run:
    """All of a run that its steps change."""

    network: Network
    optimizer: Optimizer
    state: TorchState
    step: int = 0  # how many it has taken, and the number of the next, from 0

    def carried(self) -> dict[str, Tensor]:
        """What it carries on beside its weights: all of the optimizer, and the state."""
        tensors = {OPTIMIZER + name: value for name, value in self.optimizer.tensors().items()}
        for layer, parts in enumerate(self.state):
            tensors |= {f"{STATE}{layer}.{part}": value for part, value in enumerate(parts)}
        return tensors

    def snapshot(self) -> Snapshot:
        """A copy of it as it stands."""
        carried = self.carried().items()
        arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in carried}
        return Snapshot(self.step, self.network.weights(), arrays)

    def go_to(self, snapshot: Snapshot) -> None:
        """Stand where the snapshot was taken. `KeyError` or `RuntimeError` if it lacks something.

        Weights and optimizer are filled in place: a step that is recorded, as on CUDA, reads and writes them
        where they lie.
        """
        where = self.network.device
        tensors = {
            name: torch.from_numpy(np.array(array, np.float32)).to(where)
            for name, array in snapshot.carried.items()
        }
        self.network.load_weights(snapshot.weights)
        start = len(OPTIMIZER)
        self.optimizer.load(
            {name[start:]: value for name, value in tensors.items() if name.startswith(OPTIMIZER)}
        )
        self.state = tuple(
            tuple(
                tensors[f"{STATE}{layer}.{part}"].reshape(zeros.shape)
                for part, zeros in enumerate(parts)
            )
            for layer, parts in enumerate(self.state)
        )
        self.step = snapshot.step

    def resume(self, saved: SavedRun, folder: Path) -> None:
        """Stand where a saved run stopped; `CheckpointError` if the file says more or less than that."""
        known = tuple(f"{OPTIMIZER}{name}." for name in self.network.named_weights())
        for name in sorted(set(saved.carried) - set(self.carried())):
            if not name.startswith(known):  # as what an older run kept of a weight does
                raise damaged(folder / RUN_FILE, f"{name:.60}, which no run carries on")
        try:
            self.go_to(Snapshot(saved.position.step, saved.model.weights, saved.carried))
        except torch.OutOfMemoryError:  # which is no fault of the file
            raise
        except (KeyError, RuntimeError) as error:
            what = f"not all that a run needs ({error!s:.60})"
            raise damaged(folder / RUN_FILE, what) from None


def fresh_run(job: Job, initial: SavedModel | None = None) -> Run:
    """A run before its first step, where nothing is remembered.

    Its weights are fresh, or those of `initial`, as far as its vocabulary has the symbols.
    """
    config = job.training
    network = Network(job.model, config.dropout, config.memory)
    initialize(network, config.seed, job.data.counts)
    if initial is not None:
        network.load_weights(initial.weights_for(job.vocabulary, network.weights()))
    network.to(job.device)
    optimizer = Optimizer(network, config)
    return Run(network, optimizer, network.initial_state(config.batch_size))
