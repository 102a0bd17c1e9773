"""A recorded step is, replayed, the step that it was; without CUDA, how it is called is looked at."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from jobs import STORY, stopped_at
from torch import Tensor

from lstmgen import checkpoint, dataset, recording, training
from lstmgen.config import CellName, CorpusConfig, ModelConfig, TrainConfig
from lstmgen.corpus import Text
from lstmgen.initialization import initialize
from lstmgen.job import Job
from lstmgen.model import Network
from lstmgen.optim import Optimizer
from lstmgen.recording import PLAIN_CALLS, Recording
from lstmgen.run import Run
from lstmgen.step import Stepper
from lstmgen.training import train

ON_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
STEPS = 4 * PLAIN_CALLS


class Graph:
    """What CUDA keeps of a function, in Python: to be replayed is to be called."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], Any]] = []

    def replay(self) -> None:
        for call in self.calls:
            call()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """The graphs that are recorded by a CUDA that is not there."""
    graphs: list[Graph] = []

    @contextmanager
    def graph(one: Graph, stream: object) -> Iterator[None]:
        graphs.append(one)
        yield

    stream = SimpleNamespace(wait_stream=lambda other: None, device=torch.device("cpu"))
    fake = SimpleNamespace(
        Stream=lambda where: stream,
        stream=lambda one: nullcontext(),
        current_stream=lambda where: stream,
        CUDAGraph=Graph,
        device=nullcontext,
        graph=graph,
    )
    monkeypatch.setattr(torch, "cuda", fake)
    return graphs


def test_a_function_is_called_plainly_at_first_then_recorded_once_and_replayed(
    recorded: list[Graph],
) -> None:
    asked = []

    def add(x: Tensor, pair: tuple[Tensor, Tensor | float]) -> tuple[Tensor, tuple[Tensor]]:
        out = torch.zeros_like(x)

        def work() -> None:
            out.copy_(x + pair[0] * pair[1])

        asked.append((x, *pair))
        work()
        if recorded:
            recorded[0].calls.append(work)
        return out, (x,)

    recording, results = Recording(), []
    for k in range(PLAIN_CALLS + 3):
        x, y = torch.full((2,), float(k)), torch.ones(2)
        results.append(recording(add, x, (y, 10.0 * k)))
        assert len(recorded) == (k >= PLAIN_CALLS)
        assert asked[-1][0] is not x  # a copy, which is the same each time
        assert asked[-1][0] is asked[0][0]
        assert isinstance(asked[-1][2], Tensor)
    assert len(asked) == PLAIN_CALLS + 1
    for k, (total, (x,)) in enumerate(results):  # none was written over by a later call
        assert total.tolist() == [11.0 * k] * 2
        assert x.tolist() == [k, k]


def cuda_job(
    folder: Path, cell: CellName = "lstm", memory: int = 0, sample: int = 0, size: int = 32
) -> Job:
    data = dataset.prepare(Text("story", STORY), CorpusConfig(), seed=1)
    model = ModelConfig(
        vocab_size=len(data.vocabulary), cell=cell, hidden_size=size, embedding_size=size
    )
    numbers = TrainConfig(
        num_steps=STEPS,
        report_every=STEPS,
        batch_size=8,
        window=16,
        dropout=0.2,
        weight_drop=0.2,
        memory=memory,
        softmax_sample=sample,
        precision="bfloat16",
    )
    folder.mkdir(exist_ok=True)
    return Job(folder, data, model, numbers, torch.device("cuda", 0))


def weights(folder: Path) -> dict[str, Any]:
    return dict(checkpoint.load_run(folder).model.weights)


@ON_CUDA
@pytest.mark.parametrize(
    ("cell", "memory", "size"),
    [
        *(("lstm", 0, 32), ("lstm", 50, 32), ("gru", 0, 32), ("gru", 50, 32), ("rnn", 0, 32)),
        *(("lstm", 0, 256), ("gru", 0, 256), ("rnn", 0, 256)),  # cuDNN has other kernels for some
    ],
)
def test_a_run_whose_steps_are_replayed_ends_in_the_bits_of_one_without(
    tmp_path: Path, cell: CellName, memory: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though in each step the learning rate is another, and the seed of all chance."""
    ends, asked, original = [], [0], Stepper.update

    def counted(*about: Any) -> Any:
        asked[0] += 1
        return original(*about)

    monkeypatch.setattr(Stepper, "update", counted)
    for first, calls in ((PLAIN_CALLS, PLAIN_CALLS + 1), (10 * STEPS, STEPS)):
        monkeypatch.setattr(recording, "PLAIN_CALLS", first)
        job, asked[0] = cuda_job(tmp_path / str(first), cell, memory, size=size), 0
        list(train(job))
        assert asked[0] == calls
        ends.append(weights(job.folder))
    assert all(np.array_equal(weight, ends[1][name]) for name, weight in ends[0].items())


@ON_CUDA
@pytest.mark.parametrize("sample", [0, 9])
@pytest.mark.parametrize("stop", [1, PLAIN_CALLS + 1, 2 * PLAIN_CALLS])
def test_on_cuda_too_a_stopped_and_resumed_run_ends_in_the_same_bits(
    tmp_path: Path, sample: int, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    through, parts = (cuda_job(tmp_path / name, sample=sample) for name in ("through", "parts"))
    list(train(through))
    stopped_at(stop, parts)
    list(train(parts, checkpoint.load_run(parts.folder)))
    expected = weights(through.folder)
    assert all(np.array_equal(weight, expected[n]) for n, weight in weights(parts.folder).items())


@ON_CUDA
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_gradients_in_float16_are_those_of_float32(tmp_path: Path, cell: CellName) -> None:
    """Though each token has but a small share in the mean of a large window, and most of all at first."""
    momenta = []
    for precision in ("float32", "bfloat16"):
        job = cuda_job(tmp_path, cell)
        numbers = replace(job.training, precision=precision, batch_size=64, window=100)
        network = Network(job.model)
        initialize(network, 0)
        torch.manual_seed(0)
        torch.nn.init.normal_(network.output.weight, std=1e-3)  # they begin at 0
        network.to(job.device)
        run = Run(network, Optimizer(network, numbers), network.initial_state(64))
        Stepper(run, replace(job, training=replace(numbers, weight_drop=0.0))).step(0.0)
        momenta.append(run.optimizer.muon.momentum)
    for name, expected in momenta[0].items():
        error = (momenta[1][name] - expected).norm() / expected.norm()
        assert error < 0.02
