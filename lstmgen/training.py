"""Truncated back-propagation through time: streams of ids -> `Progress` records, and checkpoints as it goes.

Where a run stands is its step number: the place in the data, the learning rate and the random numbers
of dropout all follow from it. So a run is resumed from weights, optimizer, carried state and step.
Shapes: B streams, T steps.
"""

import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from math import ceil, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lstmgen import checkpoint, device, optim
from lstmgen.batching import IGNORED, Streams, Window
from lstmgen.cells import Cells
from lstmgen.checkpoint import SavedModel, SavedRun, Weights
from lstmgen.config import DecodingConfig, ModelConfig, Position, TrainConfig
from lstmgen.dataset import Dataset
from lstmgen.errors import OptionError, TrainingError
from lstmgen.generation import Prime, stream
from lstmgen.model import Network, TorchEngine, TorchState
from lstmgen.planning import Pace, Speed
from lstmgen.sampled_softmax import Sampler, sampled_nats
from lstmgen.scoring import Score, nats, score_ids, streams_to_score, window_nats
from lstmgen.vocabulary import Vocabulary

SAVE_SECONDS = 60.0  # between two saves of the run, so that a crash costs a minute at most
LOG_LINES = 100  # in a whole run at least, so that its curve can be drawn
SAMPLE_LENGTH = 80  # tokens
YIELD_SECONDS = 0.1  # between two records, so that a bar moves smoothly and costs nothing


@dataclass(frozen=True)
class Job:
    """All that is settled before the first step."""

    folder: Path
    data: Dataset
    model: ModelConfig
    training: TrainConfig
    device: torch.device
    deadline: float | None = None  # seconds of training time after which the run shall have ended
    validation_seconds: float = 0.0  # as measured beforehand, where there is a deadline
    sample_seconds: float | None = None  # between two samples of what the network writes by then

    def streams(self) -> Streams:
        size, window = self.training.batch_size, self.training.window
        return Streams(self.data.train_ids, self.data.vocabulary.start_id, size, window)

    @property
    def vocabulary(self) -> Vocabulary:
        return self.data.vocabulary


@dataclass(frozen=True)
class Progress:
    """Where a run stands. `score` is there when the validation part has just been scored."""

    step: int
    num_steps: int
    epoch: float
    seconds: float
    learning_rate: float
    tokens_per_second: float
    train_nats_per_token: float  # mean since the last line of the log, dropout included
    best: Score | None  # the lowest on the validation part so far, if there is one yet
    score: Score | None = None
    sample: str | None = None  # what the network writes by now, where it was time for that


def train(
    job: Job, saved: SavedRun | None = None, initial: Weights | None = None
) -> Generator[Progress, None, None]:
    """Train until the last step, yielding records; closing the generator saves the run first.

    Begins with fresh weights, with those of `initial`, or where `saved` stopped. `TrainingError` if
    the loss is no longer finite; what is on the disk then is from before that.
    """
    config, seconds_before, step = job.training, 0.0, 0
    best: Score | None = None
    network = Network(job.model, config.dropout)
    network.initialize(config.seed)
    if saved is not None:
        network.load_weights(saved.model.weights)
    elif initial is not None:
        network.load_weights(initial)
    network.to(job.device)
    optimizer, loss = optim.Optimizer(network, config), Loss(network, job)
    streams, state = job.streams(), network.initial_state(config.batch_size)
    if saved is not None:
        at = position(saved)
        step, seconds_before = at.step, at.seconds
        if at.best_nats is not None:
            best = Score(at.best_nats, at.best_tokens, at.best_characters, at.best_unknown_tokens)
        state = _restore(job, saved, optimizer, state)

    started = saved_at = yielded_at = sampled_at = time.perf_counter()
    meter, pace = _Meter(job.device), Pace(job.validation_seconds)

    def save() -> None:
        at = Position(
            step=step,
            seconds=seconds_before + time.perf_counter() - started,
            deadline=job.deadline,
            **{f"best_{name}": value for name, value in asdict(best).items()} if best else {},
        )
        model = SavedModel(job.model, job.vocabulary, network.weights(), {"corpus": job.data.facts})
        tensors = _carried(optimizer, state)
        run = SavedRun(model, config, tensors, at.to_json())
        checkpoint.save_run(job.folder / checkpoint.RUN_FILE, run)

    def progress() -> Progress:
        return Progress(
            step=step,
            num_steps=config.num_steps,
            epoch=step / streams.num_windows,
            seconds=seconds_before + time.perf_counter() - started,
            learning_rate=optim.schedule(step - 1, config),
            tokens_per_second=meter.tokens_per_second(),
            train_nats_per_token=meter.nats_per_token(),
            best=best,
        )

    try:
        while step < config.num_steps:
            if step % streams.num_windows == 0:
                state = network.initial_state(config.batch_size)
            total, count, state = _step(loss, optimizer, config, streams, state, step)
            meter.add(total, count)
            pace.steps += 1
            step += 1
            now = time.perf_counter()
            logging = step % ceil(config.num_steps / LOG_LINES) == 0
            reporting = step % config.report_every == 0 or step == config.num_steps
            if not (logging or reporting) and now - yielded_at < YIELD_SECONDS:
                continue
            if job.deadline is not None:
                config = pace.replan(config, step, job.deadline - seconds_before - (now - started))
                reporting = step % config.report_every == 0 or step == config.num_steps
            record = progress()
            _require_finite(record, job.folder)
            if reporting:
                score = validate(network, job)
                improved = best is None or score.nats < best.nats
                best = score if improved else best
                record = replace(record, score=score, best=best)
                if improved:
                    _save_best(job, network, record)
                pace.validations.append(time.perf_counter() - now)
            if logging or reporting:
                checkpoint.append_log(job.folder, log_record(record))
                meter = _Meter(job.device)
            if job.sample_seconds is not None and now - sampled_at >= job.sample_seconds:
                record = replace(record, sample=_sample(job, network, step))
                sampled_at = now
            if reporting or now - saved_at > SAVE_SECONDS:
                save()
                saved_at = time.perf_counter()
            yield record
            yielded_at = time.perf_counter()
    except GeneratorExit:
        _require_finite(progress(), job.folder)
        save()
        if best is None:  # so that there is a model to sample from, and it is this run's
            _save_best(job, network, progress())
        raise


class Loss:
    """-log p of a window's targets under a network, with all symbols or with a sample of them."""

    def __init__(self, network: Network, job: Job) -> None:
        self.network, self.seed = network, job.training.seed
        self.sampler: Sampler | None = None
        if job.training.softmax_sample:
            counts = np.bincount(job.data.train_ids, minlength=len(job.vocabulary))
            self.sampler = Sampler(counts, job.training.softmax_sample)

    def __call__(
        self, window: Window, state: TorchState, step: int
    ) -> tuple[Tensor, int, TorchState]:
        """Inputs and targets (B, T), and a state -> nats, summed, the number of targets, next state."""
        where = self.network.output.bias.device
        inputs, targets = (torch.from_numpy(part).to(where) for part in window)
        if self.sampler is None:
            logits, state = self.network(inputs, state)
            total = nats(logits, targets).sum()
        else:
            tops, state = self.network.read(inputs, state)
            drawn, output = self.sampler.draw((self.seed, step)), self.network.output
            kept = targets != IGNORED
            total = sampled_nats(tops[kept], output.weight, output.bias, targets[kept], drawn)
        return total, int(np.count_nonzero(window[1] != IGNORED)), state


def _step(
    loss: Loss,
    optimizer: optim.Optimizer,
    config: TrainConfig,
    streams: Streams,
    state: TorchState,
    step: int,
) -> tuple[Tensor, int, TorchState]:
    """One window forward and backward and one update: its nats, its number of targets, the state."""
    torch.manual_seed((config.seed * 1_000_003 + step) % 2**63)
    window = streams.window(step % streams.num_windows)
    with loss.network.weights_dropped(config.weight_drop):
        with device.autocast(loss.network.output.bias.device, config.precision):
            total, count, state = loss(window, state, step)
        (total / count).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(loss.network.parameters(), config.clip_norm)
    optimizer.step(optim.schedule(step, config))
    return total.detach(), count, tuple(tuple(part.detach() for part in layer) for layer in state)


def validate(network: Network, job: Job) -> Score:
    """The score of the validation part, in float32: what `eval` says of the same text."""
    start_id, vocab_size = job.vocabulary.start_id, len(job.vocabulary)
    total = score_ids(TorchEngine(network), job.data.valid_ids, start_id, vocab_size=vocab_size)
    unknown = job.vocabulary.count_unknown(job.data.valid_ids)
    return Score(total, len(job.data.valid_ids), job.data.valid_characters, unknown)


class _Meter:
    """Nats, tokens and time since the last report; the sum stays on the device until it is asked for."""

    def __init__(self, where: torch.device) -> None:
        self.total = torch.zeros((), device=where)
        self.tokens = 0
        self.started = time.perf_counter()

    def add(self, total: Tensor, tokens: int) -> None:
        self.total += total
        self.tokens += tokens

    def nats_per_token(self) -> float:
        return float(self.total) / max(1, self.tokens)

    def tokens_per_second(self) -> float:
        return self.tokens / (time.perf_counter() - self.started)


def _sample(job: Job, network: Network, step: int) -> str:
    """A short text by the network as it is now, another one at each step."""
    engine = Cells(job.model, network.weights())
    decoding, prime = DecodingConfig(), Prime("", seed=step)
    return "".join(stream(engine, job.vocabulary, prime, decoding=decoding, length=SAMPLE_LENGTH))


def log_record(record: Progress) -> dict[str, Any]:
    """One line of the log; `nats` to `perplexity` are those of the validation part, where it was scored."""
    values = {
        "step": record.step,
        "num_steps": record.num_steps,
        "epoch": round(record.epoch, 4),
        "seconds": round(record.seconds, 2),
        "learning_rate": record.learning_rate,
        "tokens_per_second": round(record.tokens_per_second),
        "train_nats_per_token": record.train_nats_per_token,
    }
    return values | (record.score.to_json() if record.score else {})


def _require_finite(record: Progress, folder: Path) -> None:
    if isfinite(record.train_nats_per_token):
        return
    kept = f"the best model so far is in {folder}" if record.best else "no model had been saved yet"
    raise TrainingError(
        f"the loss is not finite at step {record.step:,} (learning rate {record.learning_rate:.3g}); "
        f"{kept}; train again with a lower --learning-rate"
    )


def _save_best(job: Job, network: Network, record: Progress) -> None:
    results = log_record(record) | {"corpus": dict(job.data.facts)}
    model = SavedModel(job.model, job.vocabulary, network.weights(), results)
    checkpoint.save_model(job.folder / checkpoint.MODEL_FILE, model)


def _carried(optimizer: optim.Optimizer, state: TorchState) -> dict[str, Any]:
    """What the next step needs beside the weights, as named arrays."""
    tensors = {f"optimizer.{name}": value for name, value in optimizer.tensors().items()}
    for layer, parts in enumerate(state):
        tensors |= {f"state.{layer}.{part}": value for part, value in enumerate(parts)}
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def position(saved: SavedRun) -> Position:
    """How far a saved run has come; `CheckpointError` where the file does not say it properly."""
    try:
        return Position.from_json(dict(saved.progress))
    except OptionError as error:
        raise checkpoint.damaged(Path(checkpoint.RUN_FILE), str(error)) from None


def _restore(
    job: Job, saved: SavedRun, optimizer: optim.Optimizer, state: TorchState
) -> TorchState:
    """Give the optimizer what `_carried` took from it, and return the carried state."""
    tensors = {
        name: torch.from_numpy(np.array(array)).to(job.device)
        for name, array in saved.tensors.items()
    }
    start = "optimizer."
    try:
        optimizer.load(
            {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
        )
        return tuple(
            tuple(
                tensors[f"state.{layer}.{part}"].reshape(zeros.shape)
                for part, zeros in enumerate(parts)
            )
            for layer, parts in enumerate(state)
        )
    except (KeyError, RuntimeError) as error:
        path = job.folder / checkpoint.RUN_FILE
        raise checkpoint.damaged(path, f"not all that a run needs ({error!s:.60})") from None


def mapped_weights(job: Job, other: SavedModel) -> dict[str, Any]:
    """Another model's weights for the vocabulary of this job: symbols keep their rows, new ones get fresh.

    Raises `OptionError` where the networks differ in more than the vocabulary.
    """
    if replace(other.config, vocab_size=job.model.vocab_size) != job.model:
        theirs, ours = other.config.to_json(), job.model.to_json()
        odd = [f"{n} {theirs[n]}" for n in ours if ours[n] != theirs[n] and n != "vocab_size"]
        raise OptionError(f"the model of --init-from has {', '.join(odd)}; leave these options out")
    network = Network(job.model)
    network.initialize(job.training.seed)
    weights = network.weights()
    known = [(i, other.vocabulary.ids[t]) for t, i in job.vocabulary.ids.items()
             if t in other.vocabulary.ids]  # fmt: skip
    ours_at, theirs_at = np.array(known).T
    for name, array in other.weights.items():
        if name.startswith("layers."):
            weights[name] = np.array(array)
        else:  # embedding and output have a row a symbol
            weights[name][ours_at] = array[theirs_at]
    return weights


def measure(job: Job, seconds: float = 0.7) -> Speed:
    """How long a step and a validation take here: steps on a network that is then thrown away."""
    network = Network(job.model, job.training.dropout)
    network.initialize(0)
    network.to(job.device)
    optimizer, loss = optim.Optimizer(network, job.training), Loss(network, job)
    streams, state = job.streams(), network.initial_state(job.training.batch_size)
    times: list[float] = []
    while len(times) < 5 or sum(times) < seconds:
        began = time.perf_counter()
        total, _, state = _step(loss, optimizer, job.training, streams, state, 0)
        total.item()
        times.append(time.perf_counter() - began)
    to_score = streams_to_score(job.data.valid_ids, job.vocabulary.start_id)
    scoring = window_nats(TorchEngine(network), to_score, len(job.vocabulary))
    next(scoring)
    began = time.perf_counter()
    next(scoring, None)
    validation = (time.perf_counter() - began) * to_score.num_windows
    return Speed(sorted(times)[len(times) // 4], validation)
