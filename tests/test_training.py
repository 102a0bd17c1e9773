"""Training is held against what it must not depend on: where it was stopped, and who is watching."""

import errno
import json
import shutil
import time
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lstmgen import (
    checkpoint,
    container,
    course,
    dataset,
    device,
    folders,
    keeping,
    optim,
    planning,
    training,
)
from lstmgen import step as step_module
from lstmgen.cells import Cells
from lstmgen.checkpoint import SavedModel
from lstmgen.cli import plan, resuming
from lstmgen.config import (
    LARGE_VOCABULARY,
    MOST_RETREATS,
    SOFTMAX_SAMPLE,
    CellName,
    CorpusConfig,
    ModelConfig,
    TrainConfig,
)
from lstmgen.corpus import Text
from lstmgen.errors import CheckpointError, OptionError, TrainingError
from lstmgen.job import Job
from lstmgen.keeping import Run
from lstmgen.model import Network
from lstmgen.planning import Speed
from lstmgen.scoring import Score, score_text
from lstmgen.step import Loss, take_step
from lstmgen.training import train

STORY = "".join(f"{i} sheep and {i * 7 % 10} goats went up the hill.\n" for i in range(200))
NUM_STEPS = 8


def make_job(
    folder: Path,
    text: str = STORY,
    cell: CellName = "lstm",
    dropout: float = 0.2,
    steps: int = NUM_STEPS,
    softmax_sample: int = 0,
) -> Job:
    data = dataset.prepare(Text("story", text), CorpusConfig(), seed=1)
    model = ModelConfig(
        vocab_size=len(data.vocabulary), cell=cell, hidden_size=12, embedding_size=6
    )
    numbers = TrainConfig(
        num_steps=steps,
        report_every=4,
        batch_size=4,
        window=16,
        dropout=dropout,
        weight_drop=dropout,
        softmax_sample=softmax_sample,
        learning_rate=0.02,
    )
    folder.mkdir(exist_ok=True)
    return Job(folder, data, model, numbers, torch.device("cpu"))


def payload(path: Path) -> bytes:
    tensors, _ = container.read(path)
    return b"".join(name.encode() + tensors[name].tobytes() for name in sorted(tensors))


def be_lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the vocabularies of these tests count as large, of which a step meets only some symbols."""
    monkeypatch.setattr(optim, "LARGE_VOCABULARY", 2)


@pytest.mark.parametrize(
    ("cell", "softmax_sample", "lazy"),
    [
        ("lstm", 0, False),
        ("lstm", 9, False),
        ("lstm", 6, True),
        ("gru", 0, False),
        ("rnn", 0, False),
    ],
)
@pytest.mark.parametrize("stop", [1, 4, 5])
def test_a_stopped_and_resumed_run_ends_in_the_same_bits(
    tmp_path: Path,
    cell: CellName,
    softmax_sample: int,
    lazy: bool,
    stop: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    if lazy:
        be_lazy(monkeypatch)
    through, parts = (
        make_job(tmp_path / name, cell=cell, softmax_sample=softmax_sample)
        for name in ("through", "parts")
    )
    list(train(through))

    records = train(parts)
    while next(records).step < stop:
        pass
    records.close()
    saved = checkpoint.load_run(parts.folder)
    assert saved.position.step == stop
    assert [record.step for record in train(parts, saved)][-1] == NUM_STEPS
    for name in (folders.RUN_FILE, folders.MODEL_FILE):
        assert payload(through.folder / name) == payload(parts.folder / name)


def test_two_runs_with_one_seed_are_equal_and_with_another_differ(tmp_path: Path) -> None:
    jobs = [make_job(tmp_path / name) for name in "abc"]
    jobs[2] = replace(jobs[2], training=replace(jobs[2].training, seed=5))
    ends = []
    for job in jobs:
        list(train(job))
        ends.append(payload(job.folder / folders.MODEL_FILE))
    assert ends[0] == ends[1] != ends[2]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_it_learns_what_can_be_learned(tmp_path: Path, cell: CellName) -> None:
    job = make_job(tmp_path, text="abcdefgh\n" * 300, cell=cell, dropout=0.0, steps=250)
    last = list(train(job))[-1]
    assert last.score is not None
    # Nothing here is uncertain but <unk>, which stands at one place in 10,000; a guess costs 2.2.
    assert last.score.nats_per_token < 0.05


@pytest.mark.parametrize(("size", "lazy"), [(9, False), (6, True)])
def test_a_sample_of_the_symbols_teaches_nearly_what_all_of_them_do(
    tmp_path: Path, size: int, lazy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third or a quarter of the vocabulary a step, so the estimate is a rough one."""
    if lazy:
        be_lazy(monkeypatch)
    losses = []
    for sample in (0, size):
        job = make_job(tmp_path / str(sample), dropout=0.0, steps=300, softmax_sample=sample)
        last = list(train(job))[-1]
        assert last.score is not None
        losses.append(last.score.nats_per_token)
    assert len(job.vocabulary) > 25
    assert losses[0] < 1  # 3.3 for a guess
    assert losses[1] < 2 * losses[0]


def test_with_every_symbol_drawn_the_loss_of_a_window_is_that_of_all(tmp_path: Path) -> None:
    """Also in the last windows of a text, which its streams do not fill."""
    job = make_job(tmp_path, softmax_sample=0)
    network, streams = Network(job.model), job.streams()
    network.initialize(0)
    torch.nn.init.normal_(network.output.weight)
    state = network.initial_state(job.training.batch_size)
    every = replace(job, training=replace(job.training, softmax_sample=1000))
    targets = set()
    for index in range(streams.num_windows):
        inputs, wanted, count = step_module.on_device(streams.window(index), network)
        exact, _ = Loss(network, job)(inputs, wanted, state, 0)
        found, _ = Loss(network, every)(inputs, wanted, state, 0)
        torch.testing.assert_close(found, exact)
        targets.add(count)
    assert len(targets) > 1  # some windows are full, some are not


@pytest.mark.parametrize(
    ("epochs", "window", "begins"), [(0, 0, True), (2, 0, True), (0, 1, False)]
)
def test_a_text_begins_with_nothing_remembered_each_time(
    tmp_path: Path, epochs: int, window: int, begins: bool
) -> None:
    job = make_job(tmp_path)
    streams = job.streams()
    nats = []
    for held in (0.0, 1.0):
        network = Network(job.model)
        network.initialize(0)
        torch.manual_seed(0)
        torch.nn.init.normal_(network.output.weight)
        zeros = network.initial_state(job.training.batch_size)
        state = tuple(tuple(part + held for part in layer) for layer in zeros)
        run = Run(network, optim.Optimizer(network, job.training), state)
        run.step = epochs * streams.num_windows + window
        total, _ = take_step(run, Loss(network, job), streams, 0.02)
        nats.append(float(total))
    assert (nats[0] == nats[1]) == begins


@pytest.mark.parametrize("tie", [False, True])
def test_sparse_gradients_make_the_same_steps_as_others(
    tmp_path: Path, tie: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that the CPU has, against those of devices that may know no sparse tensors."""
    be_lazy(monkeypatch)
    ends = []
    for sparse in (True, False):
        job = make_job(tmp_path / str(sparse), softmax_sample=6)
        job = replace(job, model=replace(job.model, embedding_size=12, tie=tie))
        network = Network(job.model)
        network.initialize(0)
        optimizer = optim.Optimizer(network, job.training)
        run = Run(network, optimizer, network.initial_state(job.training.batch_size))
        loss, streams = Loss(network, job), job.streams()
        assert loss.lazy
        loss.lazy = sparse
        inputs, targets, _ = step_module.on_device(streams.window(0), network)
        loss(inputs, targets, run.state, 0)[0].backward()  # type: ignore[no-untyped-call]
        for parameter in optimizer.symbols.values():
            assert parameter.grad is not None
            assert parameter.grad.is_sparse == sparse
        network.zero_grad()
        for _ in range(3):
            take_step(run, loss, streams, 0.02)
        ends.append(network.weights())
    for name, weight in ends[0].items():
        np.testing.assert_allclose(weight, ends[1][name], rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", ["dropout", "weight_drop"])
def test_what_is_left_out_of_a_step_changes_it(tmp_path: Path, name: str) -> None:
    ends = []
    for share in (0.0, 0.5):
        job = make_job(tmp_path / str(share), dropout=0.0)
        changed: Any = {name: share}
        job = replace(job, training=replace(job.training, **changed))
        ends.append([record.train_nats_per_token for record in train(job)][-1])
    assert ends[0] != ends[1]


def test_the_state_is_carried_from_window_to_window(tmp_path: Path) -> None:
    """With windows of two tokens only the carried state can tell how many x there were."""
    job = make_job(tmp_path, text="xxxxy" * 1000, dropout=0.0, steps=600)
    job = replace(job, training=replace(job.training, window=2, batch_size=8, report_every=600))
    last = list(train(job))[-1]
    assert last.score is not None
    # Knowing the last two tokens only, y is a guess between two places in three.
    assert last.score.nats_per_token < 0.15


def test_validation_is_the_score_of_the_saved_model(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    list(train(job))
    model = checkpoint.load_model(tmp_path)
    valid = STORY[int(len(STORY) * 0.9) :]
    score = score_text(Cells(model.config, model.weights), model.vocabulary, valid)
    assert model.results["nats"] == pytest.approx(score.nats, rel=1e-5)
    assert model.results["tokens"] == score.tokens == len(valid)


def test_the_best_model_is_kept_when_later_ones_are_worse(tmp_path: Path) -> None:
    job = make_job(tmp_path, steps=60)
    job = replace(job, training=replace(job.training, learning_rate=2.0, warmup_fraction=0.9))
    scores = [record.score.nats_per_token for record in train(job) if record.score]
    assert scores[-1] > min(scores)
    assert checkpoint.load_model(tmp_path).results["nats_per_token"] == min(scores)


def test_the_log_tells_every_report_and_the_loss_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "LOG_LINES", 4)  # of 8 steps
    job = make_job(tmp_path)
    records = {record.step: record for record in train(job)}
    lines = [json.loads(line) for line in (tmp_path / folders.LOG_FILE).read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    for line in lines:
        record = records[line["step"]]
        assert line["train_nats_per_token"] == record.train_nats_per_token
        if line["step"] in (2, 6):
            assert record.score is None
            assert "nats" not in line
            continue
        assert record.score is not None
        assert line["nats"] == record.score.nats
        assert line["perplexity"] == pytest.approx(exp(line["nats"] / line["tokens"]))


def test_what_the_network_writes_is_shown_when_asked_for(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    assert not any(record.sample for record in train(job))
    shown = [r.sample for r in train(replace(job, sample_seconds=0.0)) if r.sample is not None]
    assert len(shown) > 1
    for text in shown:
        assert len(text) == training.SAMPLE_LENGTH
        assert set(text) <= set(job.vocabulary.tokens)
    assert len(set(shown)) == len(shown)


def test_a_run_of_any_length_has_a_hundred_lines_and_twenty_places_to_go_back_to(
    tmp_path: Path,
) -> None:
    config = TrainConfig(num_steps=5000, report_every=5000)
    place = keeping.Snapshot(0, {}, {})
    one = course.Course(config, place, most=9.0)
    logged = [step for step in range(1, 5001) if one.due(step)[0]]
    assert logged == list(range(50, 5001, 50))
    marked = []
    for step in range(1, 5001):
        if one.to_be_marked(step):
            marked.append(step)
            one.well = replace(place, step=step)
    assert marked == list(range(250, 5001, 250))


def test_a_network_that_has_gone_astray_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    monkeypatch.setattr(course, "LOG_LINES", 2)  # of 8 steps: it is found out at 4
    job = replace(make_job(tmp_path), sample_seconds=0.0)
    original = step_module.take_step

    def wrong_at_2(run: Any, *about: Any) -> Any:
        total, count = original(run, *about)
        if run.step == 2 and not told:
            with torch.no_grad():
                run.network.output.bias.fill_(float("nan"))
            total = total * float("nan")
        return total, count

    told: list[str] = []
    monkeypatch.setattr(training, "take_step", wrong_at_2)
    samples: dict[int, tuple[str | None, int]] = {}
    for record in train(job):
        told += [record.note] if record.note else []
        samples[record.step] = samples.get(record.step) or (record.sample, len(told))
    assert "back to step 0" in told[0]
    assert samples[1][0]
    assert samples[2] == samples[3] == (None, 0)
    assert samples[8][0]


def poison(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Let the network answer with what is not a number, for so many steps."""
    original, left = Network.forward, [steps]

    def poisoned(self: Network, *inputs: object) -> object:
        logits, state = original(self, *inputs)  # type: ignore[arg-type]
        left[0] -= 1
        return (logits * float("nan") if left[0] >= 0 else logits), state

    monkeypatch.setattr(Network, "forward", poisoned)


def test_a_loss_that_stays_not_finite_ends_the_run_and_leaves_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    job = make_job(tmp_path)
    records = train(job)
    for record in records:
        if record.score:
            break
    before = {path: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    poison(monkeypatch, steps=1000)
    told = r"blew up at step 5 \(nan .*going back 4 times did not help; the best model so far is in"
    notes = [next(records).note for _ in range(4)]
    with pytest.raises(TrainingError, match=told):
        next(records)
    shares = [note.partition("go on with ")[2].partition(" ")[0] for note in notes]
    assert shares == ["1/2", "1/8", "1/64", "1/1024"]
    assert {path: path.read_bytes() for path in sorted(tmp_path.iterdir())} == before


@pytest.mark.parametrize("name", [folders.MODEL_FILE, folders.LOG_FILE])
def test_giving_up_where_the_disk_refused_too_tells_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    (tmp_path / name).mkdir()
    records = train(make_job(tmp_path))
    while not next(records).score:
        pass
    poison(monkeypatch, steps=1000)
    assert all(name in next(records).note for _ in range(4))
    with pytest.raises(TrainingError, match=rf"could be written \(.*{name}.*\); train again"):
        next(records)


def test_a_run_that_was_never_well_says_that_there_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = step_module.take_step

    def wrong(*about: Any) -> Any:
        total, count = original(*about)
        return total * float("nan"), count

    monkeypatch.setattr(training, "take_step", wrong)
    with pytest.raises(
        TrainingError, match="did not help; no model had been saved yet; train again"
    ):
        list(train(make_job(tmp_path)))
    assert not (tmp_path / folders.MODEL_FILE).exists()
    (tmp_path / folders.MODEL_FILE).touch()  # of a run before, as with --overwrite
    with pytest.raises(TrainingError, match=r" still holds the earlier model; train"):
        list(train(make_job(tmp_path)))


def test_a_loss_that_blows_up_once_is_recovered_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    job = make_job(tmp_path)
    records, seen = train(job), []
    for record in records:
        seen.append(record)
        if record.score:
            poison(monkeypatch, steps=1)
            break
    seen += list(records)
    assert [record.step for record in seen] == [1, 2, 3, 4, 4, 5, 6, 7, 8]
    assert [bool(record.note) for record in seen] == [False] * 4 + [True] + [False] * 4
    assert "at step 5 (nan nats a token); back to step 4, to go on with 1/2 of the" in seen[4].note
    for record in seen[5:]:
        assert record.learning_rate == optim.schedule(record.step - 1, job.training) / 2
    # And as if it had been that rate from there on.
    saved = checkpoint.load_run(tmp_path)
    assert saved.position.retreats == 1
    assert all(np.isfinite(weight).all() for weight in saved.model.weights.values())


@pytest.mark.parametrize("yield_seconds", [0.0, 1e9])
def test_when_a_loss_blows_up_does_not_depend_on_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, yield_seconds: float
) -> None:
    """A step gone wrong is noticed with the next line of the log, however often somebody looks."""
    monkeypatch.setattr(training, "YIELD_SECONDS", yield_seconds)
    monkeypatch.setattr(course, "LOG_LINES", 4)
    job = make_job(tmp_path, steps=40)
    job = replace(job, training=replace(job.training, report_every=40))
    original, calls = step_module.take_step, [0]

    def once_wrong(*about: Any) -> Any:
        total, count = original(*about)
        calls[0] += 1
        return (total * float("nan") if calls[0] == 23 else total), count

    monkeypatch.setattr(training, "take_step", once_wrong)
    (note,) = [record.note for record in train(job) if record.note]
    # Seen at 30; though nothing was reported yet, it need not begin again.
    assert "blew up at step 30 " in note
    assert "back to step 20," in note


def test_a_run_that_goes_on_blows_up_at_the_same_loss(tmp_path: Path) -> None:
    """Also where it began with a high one, as --init-from may."""
    job = make_job(tmp_path)
    network = Network(job.model)
    network.initialize(0)
    weights = network.weights()
    weights["output.bias"][0] = 20.0
    records = train(job, initial=SavedModel(job.model, job.vocabulary, weights))
    next(records)
    records.close()
    saved = checkpoint.load_run(tmp_path)
    most = saved.position.most_nats_per_token
    assert most is not None
    assert most > 10
    list(train(job, saved))
    assert checkpoint.load_run(tmp_path).position.most_nats_per_token == most


def test_a_run_that_is_stopped_again_before_its_first_report_leaves_its_model_of_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    job = make_job(tmp_path, steps=2000)
    job = replace(job, training=replace(job.training, report_every=2000))
    saved, steps = None, list[int]()
    for stop in (20, 40):
        records = train(job, saved)
        while next(records).step < stop:
            pass
        records.close()
        saved, model = checkpoint.load_run(tmp_path), checkpoint.load_model(tmp_path)
        steps.append(model.results["step"])
        assert np.array_equal(
            model.weights["output.bias"], saved.model.weights["output.bias"]
        )  # of where it stopped
    assert 20 <= steps[0] < 40 <= steps[1]
    # One that has been validated is not given up for one that has not.
    scored = replace(model, results={**model.results, "nats": 1.0})
    checkpoint.save_model(tmp_path / folders.MODEL_FILE, scored)
    records = train(job, saved)
    while next(records).step < 60:
        pass
    records.close()
    assert checkpoint.load_model(tmp_path).results["step"] == steps[1]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_run_whose_model_was_taken_away_leaves_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    """The run alone is all that resuming needs, though its best score was that model's."""
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    job = make_job(tmp_path, steps=20)
    records = train(job)
    while next(records).step < 12:
        pass
    records.close()
    saved = checkpoint.load_run(tmp_path)
    better = replace(saved, position=replace(saved.position, best_nats=1e-9))
    (tmp_path / folders.MODEL_FILE).unlink()
    records = train(job, better)
    if stopped:
        assert next(records).score is None
        records.close()
    else:
        last = list(records)[-1]
        assert last.best == last.score
    assert np.isfinite(checkpoint.load_model(tmp_path).weights["output.bias"]).all()


@pytest.mark.parametrize(
    "odd", [{"best_tokens": 0}, {"best_nats": -1.0}, {"step": "3"}, {"retreats": 45}]
)
def test_progress_that_cannot_be_is_refused_with_its_file(
    tmp_path: Path, odd: dict[str, Any]
) -> None:
    list(train(make_job(tmp_path)))
    path = tmp_path / folders.RUN_FILE
    tensors, description = container.read(path)
    description["progress"] |= odd
    container.write(path, tensors, description)
    with pytest.raises(CheckpointError, match=str(path)):
        checkpoint.load_run(tmp_path)


def test_a_slow_step_is_not_measured_five_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [0]

    def slow(*about: Any) -> Any:
        steps[0] += 1
        time.sleep(0.02)
        return torch.zeros(()), 1

    monkeypatch.setattr(step_module, "take_step", slow)
    step_module.measure(make_job(tmp_path), seconds=0.0, most=0.05)
    assert steps[0] == 3
    step_module.measure(make_job(tmp_path), seconds=0.0)
    assert steps[0] == 3 + 5


def test_a_model_that_begins_far_from_the_text_has_not_blown_up(tmp_path: Path) -> None:
    job = make_job(tmp_path, steps=60)
    network = Network(job.model)
    network.initialize(0)
    weights = network.weights()
    weights["output.bias"][0] = 20.0  # it is sure that all is unknown: 20 nats a token, a guess 3
    records = list(train(job, initial=SavedModel(job.model, job.vocabulary, weights)))
    assert [record.note for record in records if record.note] == []
    assert records[-1].step == 60


@pytest.mark.parametrize("cost", [50.0, float("nan")])
def test_a_validation_part_of_another_kind_is_no_blow_up_but_no_number_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cost: float
) -> None:
    job = make_job(tmp_path, steps=4)
    scores = iter([Score(cost, 1, 1, 0), *[Score(1.0, 1, 1, 0)] * 9])
    monkeypatch.setattr(training, "validate", lambda network, job: next(scores))
    notes = [record.note for record in train(job) if record.note]
    if cost == 50.0:
        assert notes == []
    else:
        (note,) = notes
        assert note.startswith(
            "the validation loss blew up at step 4 (nan nats a token); back to step 3"
        )


def test_a_timed_run_that_goes_on_knows_what_validation_takes(tmp_path: Path) -> None:
    job = replace(make_job(tmp_path), deadline=60.0)
    records = train(job)
    next(records)
    records.close()
    saved = checkpoint.load_run(tmp_path)
    for given in ({}, {"minutes": 2.0}):
        again = plan.timed(
            replace(job, training=saved.training), given, saved, time.perf_counter() - 7
        )
        assert again.measured is not None
        assert again.deadline == pytest.approx(120 - 7 - 0.5 if given else 60, abs=4)


def test_what_is_given_stays_and_the_rest_is_planned(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    mine: dict[str, Any] = {"dropout": 0.37, "weight_drop": 0.21, "weight_decay": 0.027}
    job = replace(job, training=replace(job.training, **mine))
    for name, value in mine.items():
        planned = plan.timed(job, {"steps": 2000, name: value}, None, 0.0).training
        assert planned.num_steps == 2000
        assert {n for n, one in mine.items() if getattr(planned, n) == one} == {name}


@pytest.mark.parametrize(
    ("epochs", "cell", "given", "rate"),
    [
        (9, "lstm", {}, TrainConfig.learning_rate),
        (10, "lstm", {}, planning.OFTEN_RATE),
        (10, "gru", {}, TrainConfig.learning_rate),
        (10, "lstm", {"learning_rate": TrainConfig.learning_rate}, TrainConfig.learning_rate),
        (10, "lstm", {"learning_rate": 0.03}, 0.03),
    ],
)
def test_what_is_read_many_times_is_learned_at_a_higher_rate(
    tmp_path: Path, epochs: int, cell: CellName, given: dict[str, Any], rate: float
) -> None:
    job = make_job(tmp_path, cell=cell)
    usual = given.get("learning_rate", TrainConfig.learning_rate)
    job = replace(job, training=replace(job.training, learning_rate=usual))
    steps = epochs * job.streams().num_windows
    assert plan.timed(job, given | {"steps": steps}, None, 0.0).training.learning_rate == rate


def test_the_size_follows_from_the_time_that_is_left_and_the_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path)  # steps of 4 x 16 tokens
    for step in (0.0001, 0.01):
        monkeypatch.setattr(step_module, "measure", lambda job, step=step: Speed(step, 1.0))
        began = time.perf_counter() - 6  # of the 66 seconds
        tokens = 60 / step * 64
        size = planning.hidden_size(tokens, len(job.data.train_ids), "char")
        assert plan.sized(job, {"minutes": 1.1}, began).model.hidden_size == size
        sizes = plan.sized(job, {"minutes": 1.1, "hidden_size": 12}, began).model.hidden_size
        assert sizes == 12
    assert size < planning.hidden_size(60 / 0.0001 * 64, len(job.data.train_ids), "char")


@pytest.mark.parametrize(
    ("epochs", "gain", "given", "streams"),
    [
        (36, 1.15, {}, 64),
        (36, 1.05, {}, 4),
        (46, 1.3, {}, 4),
        (3.5, 1.3, {"learning_rate": 0.03}, 64),
        (3.5, 1.3, {"batch_size": 4}, 4),
        (3.5, 1.3, {"hidden_size": 12}, 64),
        (3.5, 1.3, {"hidden_size": 12, "batch_size": 4}, 4),
        (3.5, 1.3, {"steps": 40}, 4),
        (3.5, 1.3, {"window": 16}, 4),
        (3.5, 1.3, {"hidden_size": 12, "window": 16}, 4),
    ],
)
def test_more_streams_where_a_text_is_hardly_repeated_and_they_are_much_quicker(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epochs: float,
    gain: float,
    given: dict[str, Any],
    streams: int,
) -> None:
    job = make_job(tmp_path)
    length, window = len(job.data.train_ids), job.training.window

    measured: list[int] = []

    def measure(one: Job) -> Speed:
        """In six seconds the text is read `epochs` times, by many streams `gain` times as often."""
        size = one.training.batch_size
        measured.append(size)
        times = epochs * (gain if size == planning.MANY_STREAMS else 1)
        return Speed(6 * size * window / (times * length), 1.0)

    monkeypatch.setattr(step_module, "measure", measure)
    sizes, original = list[tuple[float, bool]](), planning.hidden_size

    def hidden_size(tokens: float, text_tokens: int, level: Any, wide: bool = False) -> int:
        sizes.append((tokens / text_tokens, wide))
        return original(tokens, text_tokens, level, wide)

    monkeypatch.setattr(planning, "hidden_size", hidden_size)
    monkeypatch.setattr(planning, "SOME_TOKENS", length)
    monkeypatch.setattr(planning, "LONG_TEXT", length)
    asked = given if "steps" in given else given | {"minutes": 0.1}
    planned = plan.sized(job, asked, time.perf_counter())
    assert (planned.training.batch_size, planned.training.window) == (streams, window)
    usual = planning.WIDE_RATE if streams == 64 else job.training.learning_rate
    assert planned.training.learning_rate == given.get("learning_rate", usual)
    if sizes and "steps" not in given:  # by the tokens that are read, by so many streams as are
        ((times, wide),) = sizes
        assert wide == (streams == 64)
        assert times == pytest.approx(epochs * (gain if wide else 1), rel=0.05)
    assert bool(sizes) == ("hidden_size" not in given)
    if "hidden_size" in given:
        assert planned.model.hidden_size == 12
        assert len(measured) == (2 if streams == 64 else 0)  # nothing is measured for nothing
    for limit, value in (("LONG_TEXT", 5 * length), ("SOME_TOKENS", length + 1)):  # too short
        monkeypatch.setattr(planning, limit, value)
        assert plan.sized(job, asked, time.perf_counter()).training.batch_size == 4
        monkeypatch.setattr(planning, limit, length)


@pytest.mark.parametrize(
    ("where", "streams", "sample"), [("cpu", 32, SOFTMAX_SAMPLE), ("cuda", 64, 0)]
)
def test_by_word_cuda_takes_more_streams_and_all_symbols(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, streams: int, sample: int
) -> None:
    """Nothing runs there: the plan is asked as if it did, with steps that take as long whatever they do."""
    story = "".join(f"{i * j} sheep " for i in range(99) for j in range(99))
    data = dataset.prepare(Text("story", story), CorpusConfig(level="word", min_count=1), seed=1)
    monkeypatch.setattr(planning, "LARGE_VOCABULARY", len(data.vocabulary))
    monkeypatch.setattr(planning, "SOME_TOKENS", len(data.train_ids))
    monkeypatch.setattr(planning, "LONG_TEXT", len(data.train_ids))
    monkeypatch.setattr(step_module, "measure", lambda job: Speed(0.5, 1.0))
    memory = 8 * 2**30 if where == "cuda" else 0
    monkeypatch.setattr(device, "free_memory", lambda there: memory)
    there = torch.device(where)
    numbers = plan.training({}, data, there, None)
    assert numbers.softmax_sample == sample
    job = Job(tmp_path, data, ModelConfig(vocab_size=len(data.vocabulary)), numbers, there)
    planned = plan.sized(job, {"minutes": 0.1}, time.perf_counter()).training
    assert (planned.batch_size, planned.learning_rate) == (streams, TrainConfig.learning_rate)


def test_streams_that_do_not_fit_on_the_gpu_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(job: Job) -> Speed:
        if job.training.batch_size == planning.MANY_STREAMS:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return Speed(0.5, 1.0)

    job = make_job(tmp_path)
    monkeypatch.setattr(step_module, "measure", measure)
    monkeypatch.setattr(planning, "SOME_TOKENS", len(job.data.train_ids))
    monkeypatch.setattr(planning, "LONG_TEXT", len(job.data.train_ids))
    assert plan.sized(job, {"minutes": 0.1}, time.perf_counter()).training.batch_size == 4


@pytest.mark.parametrize(("seconds", "calls"), [(0.0, 5), (1e9, 50)])
def test_a_step_is_measured_five_times_or_for_so_many_seconds_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, calls: int
) -> None:
    asked = []

    def counted(*about: Any) -> Any:
        asked.append(about)
        return torch.zeros(()), 1

    monkeypatch.setattr(step_module, "take_step", counted)
    step_module.measure(make_job(tmp_path), seconds=seconds, most=1e9)
    assert len(asked) == calls


def test_a_validation_is_measured_by_one_of_its_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_module, "take_step", lambda *about: (torch.zeros(()), 1))

    def slow(engine: Any, streams: Any) -> Any:
        yield 0.0
        time.sleep(0.01)
        yield 0.0

    monkeypatch.setattr(step_module, "window_nats", slow)
    job = make_job(tmp_path, STORY * 3)
    windows = -(-len(job.data.valid_ids) // 64)
    assert windows > 20
    measured = step_module.measure(job, seconds=0.0).validation
    assert windows * 0.01 <= measured < windows * 0.2

    def held_up_once(engine: Any, streams: Any) -> Any:
        yield 0.0
        for late in (0.1, 0, 0, 0, 0):
            time.sleep(late)
            yield 0.0

    monkeypatch.setattr(step_module, "window_nats", held_up_once)
    assert step_module.measure(job, seconds=1.0).validation < windows * 0.05


def test_a_learning_rate_a_thousand_times_too_high_is_lowered(tmp_path: Path) -> None:
    job = make_job(tmp_path, dropout=0.0, steps=400)
    job = replace(job, training=replace(job.training, learning_rate=20.0, report_every=20))
    records = list(train(job))
    assert 1 <= sum(bool(record.note) for record in records) <= MOST_RETREATS
    assert records[-1].best is not None
    assert records[-1].best.nats_per_token < 1.5  # 3.1 for a guess


def test_stopping_a_run_that_has_just_blown_up_saves_what_was_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    records = train(make_job(tmp_path))
    for record in records:
        if record.score:
            poison(monkeypatch, steps=1000)
            break
    assert next(records).note
    records.close()
    saved = checkpoint.load_run(tmp_path)
    assert saved.position.step == 4
    assert saved.position.retreats == 1


def test_stopping_a_run_whose_last_step_was_ruinous_saves_what_was_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses until then say nothing of it, as they are from before the step."""
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    original = step_module.take_step

    def ruinous_at_6(run: Any, *about: Any) -> Any:
        done = original(run, *about)
        if run.step == 6:
            with torch.no_grad():
                run.network.output.bias[1] = 1e4  # which is a number still
        return done

    monkeypatch.setattr(training, "take_step", ruinous_at_6)
    records = train(make_job(tmp_path))
    while next(records).step < 6:
        pass
    records.close()
    saved = checkpoint.load_run(tmp_path)
    assert saved.position.step == 5
    assert abs(saved.model.weights["output.bias"]).max() < 100


@pytest.mark.parametrize(
    "name", ["step", "best_nats", "best_tokens", "best_characters", "best_unknown_tokens"]
)
def test_a_number_beyond_all_floats_in_a_run_is_refused(tmp_path: Path, name: str) -> None:
    records = train(make_job(tmp_path))
    next(records)
    records.close()
    path = tmp_path / folders.RUN_FILE
    tensors, description = container.read(path)
    best = {"best_nats": 9.0, "best_tokens": 9, "best_characters": 9, "best_unknown_tokens": 0}
    description["progress"] |= best | {name: 10**400}
    container.write(path, tensors, description)
    with pytest.raises(CheckpointError, match=r"it must be from [01] to 1"):
        checkpoint.load_run(tmp_path)


def test_a_report_right_after_a_ruinous_step_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its model would be the best so far, were it only for the validation loss being a number."""
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    original, ruined = step_module.take_step, list[int]()

    def ruinous_at_4(run: Any, *about: Any) -> Any:
        done = original(run, *about)
        if run.step == 4 and not ruined:
            ruined.append(run.step)
            with torch.no_grad():
                run.network.output.bias[1] = 1e4
        return done

    monkeypatch.setattr(training, "take_step", ruinous_at_4)
    records = list(train(make_job(tmp_path)))
    (note,) = [record.note for record in records if record.note]
    assert "blew up at step 4" in note
    assert "back to step 3" in note
    best = records[-1].best
    assert best is not None
    assert best.nats_per_token < 4
    assert abs(checkpoint.load_model(tmp_path).weights["output.bias"]).max() < 100


def test_an_odd_window_is_no_blow_up_where_the_validation_part_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        training, "present_loss", lambda *about: 1.0 if about[0].step == 0 else 99.0
    )
    records = list(train(make_job(tmp_path)))
    assert not [record.note for record in records if record.note]
    assert checkpoint.load_run(tmp_path).position.step == NUM_STEPS


def test_a_run_whose_folder_another_one_has_made_anew_leaves_that_alone(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    job = make_job(folder)
    with folders.claimed(folder, resume=False, overwrite=False):
        records = train(job)
        next(records)
        shutil.rmtree(folder)
        with folders.claimed(folder, resume=False, overwrite=False):
            list(train(job))
            before = {path.name: path.read_bytes() for path in folder.iterdir()}
            with pytest.raises(
                CheckpointError, match="another lstmgen has begun to train in a new"
            ):
                list(records)
            assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert not (folder / folders.LOCK_FILE).exists()


def test_a_run_is_saved_between_its_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)
    records = train(make_job(tmp_path))
    for step in (1, 2, 3):
        assert next(records).step == step
        assert checkpoint.load_run(tmp_path).position.step == step
    monkeypatch.setattr(training, "SAVE_SECONDS", 60.0)
    assert [next(records).step for _ in range(3)] == [4, 5, 6]
    assert checkpoint.load_run(tmp_path).position.step == 4  # that of the report
    records.close()


@pytest.mark.parametrize("name", [folders.MODEL_FILE, folders.RUN_FILE, folders.LOG_FILE])
def test_what_cannot_be_written_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    calm, troubled = make_job(tmp_path / "calm"), make_job(tmp_path / "troubled")
    list(train(calm))
    (troubled.folder / name).mkdir()
    records = []
    for record in train(troubled):
        records.append(record)
        if record.score and record.step == 4:
            assert name in record.note
            assert "it is tried again" in record.note
            (troubled.folder / name).rmdir()
    assert records[-1].note == ""
    for file in (folders.MODEL_FILE, folders.RUN_FILE):
        assert payload(calm.folder / file) == payload(troubled.folder / file)
    logs = [(job.folder / folders.LOG_FILE).read_text() for job in (calm, troubled)]
    assert logs[0].count("\n") == logs[1].count("\n")


def test_what_cannot_be_written_is_said_when_there_is_something_to_write_and_no_oftener(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    monkeypatch.setattr(course, "LOG_LINES", 4)  # of 8 steps
    (tmp_path / folders.MODEL_FILE).mkdir()
    records, noted, steps = train(make_job(tmp_path)), [], 0
    while steps < NUM_STEPS:
        record = next(records)
        steps += 1
        noted += [record.step] if record.note else []
    assert noted == [4, 6, 8]  # 2 has a line for the log, which can be written
    with pytest.raises(CheckpointError, match="Is a directory"):
        next(records)


def test_the_run_that_is_overwritten_stays_until_there_is_something_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    job = make_job(tmp_path)
    list(train(job))
    records = train(replace(job, training=replace(job.training, seed=5)))
    while next(records).step < 3:
        assert checkpoint.load_run(tmp_path).position.step == NUM_STEPS
    assert next(records).score
    assert checkpoint.load_run(tmp_path).position.step == 4
    records.close()


def test_what_cannot_be_written_at_the_end_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = container.put

    def full(path: Path, content: bytes) -> None:
        if path.name == folders.RUN_FILE:
            raise CheckpointError(f"{path}: cannot be written")
        put(path, content)

    monkeypatch.setattr(container, "put", full)
    with pytest.raises(CheckpointError, match=r"last\.safetensors: cannot be written"):
        list(train(make_job(tmp_path)))
    assert checkpoint.load_model(tmp_path).results["step"] == NUM_STEPS


def test_a_folder_that_vanishes_is_made_again(tmp_path: Path) -> None:
    job = make_job(tmp_path / "there")
    for record in train(job):
        if record.step == 4:
            shutil.rmtree(job.folder)
    assert checkpoint.load_run(job.folder).position.step == NUM_STEPS


def test_a_folder_without_room_is_refused_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folders, "_fill", full)
    with pytest.raises(CheckpointError, match="cannot hold the model"):
        next(train(make_job(tmp_path)))


def test_a_run_stopped_before_its_first_report_leaves_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    records = train(make_job(tmp_path))
    assert next(records).step == 1
    records.close()
    weights = checkpoint.load_model(tmp_path).weights
    assert all(np.isfinite(weight).all() for weight in weights.values())


def test_the_learning_rate_goes_up_and_down_in_lines() -> None:
    config = TrainConfig(num_steps=100, report_every=1, learning_rate=1.0, warmup_fraction=0.1)
    rates = [optim.schedule(step, config) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert np.diff(rates[10:]) == pytest.approx(np.full(89, -1 / 90))
    assert 0 < rates[-1] < 0.012


def test_a_slower_machine_than_measured_moves_the_end(tmp_path: Path) -> None:
    job = make_job(tmp_path, steps=100_000)
    job = replace(job, training=replace(job.training, report_every=20), deadline=1.5)
    last = list(train(job))[-1]
    assert last.step == last.num_steps
    assert 1 < last.seconds < 2.5
    assert last.best is not None


def test_another_models_weights_go_to_the_same_symbols(tmp_path: Path) -> None:
    list(train(make_job(tmp_path)))
    other = checkpoint.load_model(tmp_path)
    job = make_job(tmp_path / "new", text=STORY.upper() + STORY.replace("sheep", "s{}eep"))
    fresh = Network(job.model)
    fresh.initialize(1, counts=job.data.counts)
    weights = other.weights_for(job.vocabulary, fresh.weights())
    assert len(job.vocabulary) > len(other.vocabulary)
    for name in ("embedding.weight", "output.weight", "output.bias"):
        for token, i in job.vocabulary.ids.items():
            if token in other.vocabulary.ids:
                row = other.weights[name][other.vocabulary.ids[token]]
                assert np.array_equal(weights[name][i], row)
    assert np.array_equal(weights["layers.1.weight_hh"], other.weights["layers.1.weight_hh"])
    new = job.vocabulary.ids["{"]  # not more probable than by how often it is there
    share = (job.data.counts[new] + 1) / (job.data.counts + 1).sum()
    assert weights["output.bias"][new] == pytest.approx(np.log(share), rel=1e-5)


@pytest.mark.parametrize("tie", [False, True])
def test_a_run_begins_by_guessing_how_frequent_each_symbol_is(tmp_path: Path, tie: bool) -> None:
    job = make_job(tmp_path)
    job = replace(job, model=replace(job.model, embedding_size=12, tie=tie))
    counts = np.bincount(job.data.train_ids, minlength=len(job.vocabulary))
    assert job.data.counts.tolist() == counts.tolist()
    run, _, _ = training._begin(job, None, None)
    shares = (counts + 1) / (counts + 1).sum()
    logits, _ = run.network(torch.zeros(1, 5, dtype=torch.long), run.network.initial_state(1))
    found = logits.softmax(-1)[0].detach().numpy()
    if (
        tie
    ):  # embeddings say a little already: some nats, and less than any guess without the counts
        losses = -(shares * np.log(found)).sum(axis=1)
        least = -(shares * np.log(shares)).sum()
        assert (losses < least + 0.1).all(), losses - least
    else:
        np.testing.assert_allclose(found, np.tile(shares, (5, 1)), rtol=1e-5)


def test_symbols_are_counted_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "COUNTED", 7)
    job = make_job(tmp_path)
    ids = job.data.train_ids
    assert job.data.counts.tolist() == [(ids == i).sum() for i in range(len(job.vocabulary))]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gates_with_a_memory_keep_what_they_hold(tmp_path: Path, cell: CellName) -> None:
    """A unit whose gate is f keeps for 1 / (1 - f) tokens, with nothing else to move it."""
    model = replace(make_job(tmp_path, cell=cell).model, hidden_size=400)
    kept = []
    for memory in (0, 50):
        network = Network(model)
        network.initialize(1, memory)
        assert set(network.weights()["layers.0.bias_ih"][800:].tolist()) == {0.0}  # it is to read
        bias = network.weights()["layers.1.bias_ih"]
        gate = 1 / (1 + np.exp(-bias[400:800]))
        kept.append(1 / (1 - gate))
        if cell == "lstm" and memory:  # what is below is to read
            below = network.weights()["layers.0.bias_ih"]
            assert set(below[:400].tolist()) == {0.0}
            assert set(below[400:800].tolist()) == {1.0}
        if cell == "lstm":
            some = 400 if memory else 50  # an eighth
            assert np.array_equal(bias[:some], -bias[400 : 400 + some])
            assert not bias[some:400].any()
            assert set(bias[1200:].tolist()) == {2.0 if memory else 0.0}  # 0.88 shows, or half
    usual = kept[0][50:] if cell == "lstm" else kept[0]
    assert usual == pytest.approx(np.full_like(usual, 1 + np.e if cell == "lstm" else 2), rel=1e-5)
    assert 2 <= kept[1].min() < 4
    assert 48 < kept[1].max() <= 51.01
    assert np.mean(kept[1]) == pytest.approx(26.5, abs=2)


def test_a_plain_network_has_no_gates_to_hold() -> None:
    usual, told = (Network(ModelConfig(vocab_size=3, cell="rnn", hidden_size=4)) for _ in "ab")
    usual.initialize(1)
    told.initialize(1, memory=50)
    assert all(weight.requires_grad for weight in told.parameters())
    for name, weight in usual.weights().items():
        assert np.array_equal(told.weights()[name], weight), name


def test_a_run_with_a_memory_begins_with_such_gates_in_its_last_layer_and_holds_their_biases(
    tmp_path: Path,
) -> None:
    for memory in (0, 50):
        folder = tmp_path / str(memory)
        job = make_job(folder, steps=3)
        list(train(replace(job, training=replace(job.training, memory=memory))))
        fresh = Network(job.model)
        fresh.initialize(job.training.seed, memory)
        for name, weight in fresh.weights().items():
            trained = checkpoint.load_model(folder).weights[name]
            held = bool(memory) and "layers.1.bias_" in name
            assert np.array_equal(trained, weight) == held, name


def test_the_share_of_adamw_moves_the_embedding_and_no_matrix(tmp_path: Path) -> None:
    ends = []
    for share in (0.0, 0.4):
        job = make_job(tmp_path / str(share), steps=1)
        list(train(replace(job, training=replace(job.training, adamw_share=share))))
        ends.append(checkpoint.load_model(tmp_path / str(share)).weights)
    fresh = Network(job.model)
    fresh.initialize(job.training.seed)
    assert np.array_equal(ends[0]["embedding.weight"], fresh.weights()["embedding.weight"])
    assert not np.array_equal(ends[0]["embedding.weight"], ends[1]["embedding.weight"])
    matrix = "layers.0.weight_hh"
    assert np.array_equal(ends[0][matrix], ends[1][matrix])


def test_weight_decay_shrinks_every_weight_by_its_share(tmp_path: Path) -> None:
    network = Network(make_job(tmp_path).model)
    network.initialize(0)
    config = TrainConfig(num_steps=1, report_every=1, weight_decay=0.5, adamw_share=0.4)
    optimizer = optim.Optimizer(network, config)
    with torch.no_grad():
        for weight in network.parameters():
            weight.fill_(2.0)
            weight.grad = torch.zeros_like(weight)
    optimizer.step(0.1)
    for name, weight in network.named_weights().items():
        rate = 0.1 if name in optimizer.matrices else 0.04
        assert torch.allclose(weight, torch.full_like(weight, 2 * (1 - rate * 0.5))), name


def test_every_parameter_is_in_the_optimizer_once(tmp_path: Path) -> None:
    network = Network(make_job(tmp_path).model)
    optimizer = optim.Optimizer(network, TrainConfig(num_steps=1, report_every=1))
    moved = [*optimizer.matrices.values(), *optimizer.others.values()]
    assert sorted(map(id, moved)) == sorted(map(id, network.parameters()))


SAMPLED = TrainConfig(
    num_steps=1, report_every=1, weight_decay=0.5, adamw_share=0.4, softmax_sample=2
)


def tied(config: TrainConfig) -> tuple[Network, optim.Optimizer]:
    """A small fresh network that is tied, and what moves it."""
    network = Network(ModelConfig(vocab_size=9, hidden_size=6, embedding_size=6, tie=True))
    network.initialize(0)
    return network, optim.Optimizer(network, config)


def test_steps_are_lazy_where_a_quarter_of_many_symbols_is_drawn_at_most() -> None:
    many = LARGE_VOCABULARY
    for sample, vocab_size, expected in (
        (many // 4, many, True),
        (many // 4, many - 1, False),
        (many // 4 + 1, many, False),
        (0, many, False),
    ):
        assert optim.lazy(replace(SAMPLED, softmax_sample=sample), vocab_size) == expected


def test_a_run_in_which_adamw_has_nothing_to_move_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_lazy(monkeypatch)
    job = make_job(tmp_path, softmax_sample=6)
    model, numbers = replace(job.model, num_layers=1), replace(job.training, memory=9)
    job = replace(job, model=model, training=numbers)
    records = train(job)
    next(records)
    records.close()
    assert list(train(job, checkpoint.load_run(tmp_path)))[-1].step == NUM_STEPS


@pytest.mark.parametrize("tie", [False, True])
def test_every_parameter_is_in_the_optimizer_once_where_symbols_are_many(
    tie: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_lazy(monkeypatch)
    model = ModelConfig(vocab_size=9, hidden_size=6, embedding_size=6, tie=tie)
    optimizer = optim.Optimizer(network := Network(model), SAMPLED)
    moved = [*optimizer.matrices.values(), *optimizer.others.values(), *optimizer.symbols.values()]
    assert sorted(map(id, moved)) == sorted(map(id, network.parameters()))
    assert len(optimizer.symbols) == (2 if tie else 3)


@pytest.mark.parametrize("sparse", [True, False])
def test_rows_that_are_met_move_by_their_gradient_over_its_size_so_far(
    sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_lazy(monkeypatch)
    _, optimizer = tied(replace(SAMPLED, clip_norm=1e9))
    generator = torch.Generator().manual_seed(3)
    expected = {name: weight.detach().clone() for name, weight in optimizer.symbols.items()}
    squares: dict[tuple[str, int], list[float]] = {}
    rate = 0.01 * 0.4
    for met in ([1, 4, 4], [4], [0, 4, 8]):  # a row twice in one step: its gradients add up
        for name, weight in optimizer.symbols.items():
            expected[name] *= 1 - rate * 0.5  # all rows
            rows = torch.randn(len(met), *weight.shape[1:], generator=generator)
            gradient = torch.sparse_coo_tensor(
                torch.tensor([met]), rows, weight.shape, check_invariants=True
            )
            weight.grad = gradient if sparse else gradient.to_dense()
            for row in set(met):
                g = gradient.to_dense()[row]
                # Fewer than a hundred so far, so the mean of all of them counts.
                so_far = squares.setdefault((name, row), [])
                so_far.append(float(g.square().mean()))
                size = (sum(so_far) / len(so_far)) ** 0.5
                expected[name][row] -= optim.SYMBOL_RATE * rate * g / size
        optimizer.step(0.01)
    for name, weight in optimizer.symbols.items():
        torch.testing.assert_close(weight.detach(), expected[name], rtol=1e-5, atol=1e-6)
        assert weight.grad is None


def test_the_size_of_a_rows_gradient_forgets_those_of_long_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    be_lazy(monkeypatch)
    optimizer = optim.Optimizer(Network(ModelConfig(vocab_size=9)), SAMPLED)
    bias = optimizer.symbols["output.bias"]
    for size in [0.1] * 50 + [0.2] * 1000:
        bias.grad = torch.sparse_coo_tensor(
            torch.tensor([[7]]), torch.tensor([size]), bias.shape, check_invariants=True
        )
        optimizer.step(0.0)
    assert float(optimizer.symbol_squares["output.bias"][7]) == pytest.approx(0.04, rel=1e-3)


@pytest.mark.parametrize("sample", [0, 2])
def test_gradients_longer_than_the_norm_are_shortened_all_together(
    sample: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_lazy(monkeypatch)
    network, optimizer = tied(replace(SAMPLED, softmax_sample=sample, clip_norm=0.5))
    weights = network.named_weights()
    generator = torch.Generator().manual_seed(3)
    for weight in weights.values():
        weight.grad = torch.randn(weight.shape, generator=generator)
    total = torch.cat([w.grad.flatten() for w in weights.values() if w.grad is not None]).norm()
    bias, matrix = weights["output.bias"].grad, weights["layers.0.weight_hh"].grad
    assert bias is not None
    assert matrix is not None
    bias, matrix = bias.clone(), matrix.clone()
    optimizer.step(0.0)
    momentum = optimizer.momentum["layers.0.weight_hh"] / (1 - optim.MOMENTUM)
    torch.testing.assert_close(momentum, matrix * 0.5 / total)
    seen = (
        optimizer.symbol_squares["output.bias"]
        if sample
        else (optimizer.adamw.state[weights["output.bias"]]["exp_avg_sq"] / (1 - optim.BETAS[1]))
    )
    torch.testing.assert_close(seen, (bias * 0.5 / total).square())


def test_orthogonalizing_is_the_polynomials_one_after_the_other() -> None:
    generator = torch.Generator().manual_seed(4)
    matrix = torch.randn(24, 6, generator=generator, dtype=torch.float64)
    x = matrix / (1.02 * matrix.square().sum() + 1e-14).sqrt()
    for a, b, c in optim.POLYNOMIALS:
        x = a * x + b * x @ x.T @ x + c * x @ x.T @ x @ x.T @ x
    other = 3 * matrix.flip(0) + 1
    both = optim.orthogonalized([matrix, other])
    assert torch.allclose(both[0], x, atol=1e-5)
    assert torch.allclose(both[1], optim.orthogonalized([other])[0])
    assert torch.allclose(optim.orthogonalized([matrix.T])[0], x.T, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 6), (24, 6), (6, 24), (64, 16)])
def test_muon_evens_out_the_singular_values(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    u, s, v = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    matrix = u @ torch.diag(torch.logspace(0, -2, len(s))) @ v
    (result,) = optim.orthogonalized([matrix])
    values = torch.linalg.svdvals(result)
    assert values.max() < 2
    assert values.max() / values.min() < 12  # it was 100
    # The directions are those of the matrix: U' result V is diagonal.
    inner = u.T @ result @ v.T
    assert torch.allclose(inner, torch.diag(inner.diagonal()), atol=1e-4)


def test_a_run_with_more_streams_than_tokens_is_refused(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    list(train(job))
    saved = checkpoint.load_run(tmp_path)
    forged = replace(saved, training=replace(saved.training, batch_size=10**6))
    with pytest.raises(OptionError, match="the run has 1,000,000 streams"):
        resuming.require_same({}, forged, job.data)


def test_momentum_of_another_shape_is_refused(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    list(train(job))
    saved = checkpoint.load_run(tmp_path)
    name = "optimizer.layers.0.weight_hh.momentum"
    odd = dict(saved.tensors) | {name: saved.tensors[name][:1]}  # which would spread to all rows
    with pytest.raises(CheckpointError, match="not all that a run needs"):
        next(train(job, replace(saved, tensors=odd)))


@pytest.mark.parametrize("sample", [0, 6])
def test_a_run_of_before_a_value_came_goes_on(
    tmp_path: Path, sample: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_lazy(monkeypatch)
    job = make_job(tmp_path, softmax_sample=sample)
    records = train(job)
    next(records)
    records.close()
    path = tmp_path / folders.RUN_FILE
    tensors, description = container.read(path)
    for part, later in (
        ("training", ("adamw_share", "weight_drop", "memory")),
        ("progress", ("retreats", "most_nats_per_token", "device", "best_step")),
    ):
        for name in later:
            del description[part][name]
    kinds = ("row_squares", ".squares", ".counts")
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(kinds)}
    container.write(path, tensors, description)
    assert list(train(job, checkpoint.load_run(tmp_path)))[-1].step == NUM_STEPS


def test_a_log_that_cannot_be_written_does_not_keep_a_run_from_being_saved(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    records = train(job)
    next(records)
    records.close()
    (tmp_path / folders.LOG_FILE).unlink()
    (tmp_path / folders.LOG_FILE).mkdir()
    with pytest.raises(CheckpointError, match=folders.LOG_FILE):
        list(train(job, checkpoint.load_run(tmp_path)))
    assert checkpoint.load_run(tmp_path).position.step == NUM_STEPS


def test_what_a_run_may_cost_does_not_hang_on_what_was_drawn_before(tmp_path: Path) -> None:
    job = make_job(tmp_path, dropout=0.5)
    generator = np.random.default_rng(5)
    weights = {n: generator.standard_normal(s) * 0.5 for n, s in job.model.weight_shapes().items()}

    def most(drawn: int) -> Any:
        torch.manual_seed(drawn)
        list(train(job, initial=SavedModel(job.model, job.vocabulary, weights)))
        return checkpoint.load_run(tmp_path).position.most_nats_per_token

    assert most(1) == most(2)


def test_muon_moves_all_units_of_a_matrix_equally_far_in_the_end() -> None:
    config = TrainConfig(num_steps=1, report_every=1, weight_decay=0.0)
    model = ModelConfig(vocab_size=5, hidden_size=16, embedding_size=8, num_layers=1)
    network = Network(model)
    network.initialize(0)
    optimizer = optim.Optimizer(network, config)
    weight = network.named_weights()["layers.0.weight_hh"]
    generator = torch.Generator().manual_seed(2)
    u, _, v = torch.linalg.svd(torch.randn(weight.shape, generator=generator), full_matrices=False)
    gradient = u @ v * torch.logspace(0, -2, len(weight))[:, None]  # ever less for each row
    before = weight.detach().clone()
    for _ in range(200):
        weight.grad = gradient.clone()
        optimizer.step(0.01)
    moved = (weight.detach() - before).norm(dim=1)
    assert moved.max() / moved.min() < 1.2
    direction = optim.orthogonalized([gradient])[0].norm(dim=1)
    assert direction.max() / direction.min() > 2  # it is not so of itself
    # As a whole the matrix goes as far as it did without.
    expected = 200 * 0.01 * 2 * float(optim.orthogonalized([gradient])[0].norm())
    assert float(moved.norm()) == pytest.approx(expected, rel=0.1)


def test_rows_of_a_layer_whose_gates_are_held_are_not_evened() -> None:
    config = TrainConfig(num_steps=1, report_every=1, weight_decay=0.0)
    network = Network(ModelConfig(vocab_size=5, hidden_size=16, embedding_size=8, num_layers=2))
    network.initialize(0, memory=100)
    optimizer = optim.Optimizer(network, config)
    weights = network.named_weights()
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    generator = torch.Generator().manual_seed(2)
    gradient = torch.randn(64, 16, generator=generator)
    gradient *= torch.logspace(0, -4, 64)[:, None]  # ever less for each row
    for _ in range(3):
        for k in (0, 1):
            weights[f"layers.{k}.weight_hh"].grad = gradient.clone()
        optimizer.step(0.01)
    for k, even in ((0, True), (1, False)):
        name = f"layers.{k}.weight_hh"
        moved = (weights[name].detach() - before[name]).norm(dim=1)
        assert bool(moved.min() > 0.2 * moved.max()) == even, moved


def test_half_of_the_streams_that_begin_a_line_begin_afresh() -> None:
    torch.manual_seed(3)
    state = tuple((torch.full((1000, 4), layer + 1.0), torch.ones(1000, 4)) for layer in range(2))
    state[1][0][::2] = float("nan")  # an overflow, which is to be forgotten too
    inputs = np.tile(np.array([[9, 5, 5], [5, 9, 9]]), (500, 1))  # every second one begins a line
    after = step_module.some_afresh(state, inputs, 9)
    emptied = (after[0][0] == 0).all(dim=1)
    assert not emptied[1::2].any()
    assert 200 < int(emptied[::2].sum()) < 300
    for layer, parts in enumerate(after):
        for part, before in zip(parts, state[layer], strict=True):
            assert (part[emptied] == 0).all()
            assert torch.equal(part[~emptied].nan_to_num(7.0), before[~emptied].nan_to_num(7.0))


def test_a_network_learns_how_texts_begin(tmp_path: Path) -> None:
    """Each line begins with one of four letters; by the state alone the next one is known."""
    lines = [f"{'abcd'[i % 4]} went up the hill.\n" for i in range(400)]
    job = make_job(tmp_path, "".join(lines), dropout=0.0, steps=300)
    job = replace(job, training=replace(job.training, report_every=300))
    list(train(job))
    saved = checkpoint.load_model(tmp_path)
    engine, vocabulary = Cells(saved.config, saved.weights), saved.vocabulary
    logits, _ = engine(np.array([[vocabulary.start_id]]), engine.initial_state(1))
    shares = torch.softmax(torch.from_numpy(logits[0, 0]), -1)
    for letter in "abcd":
        assert 0.1 < float(shares[vocabulary.ids[letter]]) < 0.5


def test_matrices_of_one_shape_move_each_along_its_own_gradient() -> None:
    config = TrainConfig(num_steps=1, report_every=1, weight_decay=0.0, clip_norm=1e9)
    network = Network(ModelConfig(vocab_size=5, hidden_size=16, embedding_size=16, num_layers=2))
    network.initialize(0)
    optimizer = optim.Optimizer(network, config)
    generator = torch.Generator().manual_seed(6)
    gradients = {
        name: torch.randn(weight.shape, generator=generator)
        for name, weight in optimizer.matrices.items()
    }
    assert len({gradient.shape for gradient in gradients.values()}) == 1
    before = {name: weight.detach().clone() for name, weight in optimizer.matrices.items()}
    for name, weight in optimizer.matrices.items():
        weight.grad = gradients[name].clone()
    optimizer.step(0.01)
    for name, weight in optimizer.matrices.items():
        moved = (before[name] - weight.detach()).flatten()
        (alone,) = optim.orthogonalized([gradients[name]])
        assert torch.cosine_similarity(moved, alone.flatten(), dim=0) > 0.9, name
