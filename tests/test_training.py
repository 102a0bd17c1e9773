"""Training is held against what it must not depend on: where it was stopped, and who is watching."""

import gc
import json
import weakref
from dataclasses import replace
from math import exp, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engines import score_of
from files import unpacked
from jobs import NUM_STEPS, STORY, be_lazy, make_job, payload, stopped_at

from lstmgen import (
    checkpoint,
    container,
    course,
    dataset,
    device,
    folders,
    optim,
    stopwatch,
    training,
)
from lstmgen.cells import Cells
from lstmgen.checkpoint import SavedModel, SavedRun
from lstmgen.config import CellName
from lstmgen.errors import CheckpointError
from lstmgen.initialization import initialize
from lstmgen.keeping import Keeper
from lstmgen.model import Network
from lstmgen.pace import Pace, TimeLimit, Timing
from lstmgen.scoring import Score
from lstmgen.step import Stepper
from lstmgen.training import train

LSTM_IN_BFLOAT16 = pytest.mark.skipif(
    not device.can_bfloat16(torch.device("cpu")), reason="this processor trains no LSTM in bfloat16"
)


@pytest.mark.parametrize(
    ("kind", "lazy"),
    [
        ({}, False),
        ({"softmax_sample": 9}, False),
        ({"softmax_sample": 6}, True),
        ({"level": "word", "tie": True}, False),
        ({"memory": 20}, False),
        ({"cell": "gru"}, False),
        ({"cell": "gru", "precision": "bfloat16"}, False),
        ({"cell": "rnn"}, False),
        pytest.param({"precision": "bfloat16"}, False, marks=LSTM_IN_BFLOAT16),
    ],
    ids=str,
)
@pytest.mark.parametrize("stop", [1, 4, 5])
def test_a_stopped_and_resumed_run_ends_in_the_same_bits(
    tmp_path: Path, kind: Any, lazy: bool, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    if lazy:
        be_lazy(monkeypatch)
    through, parts = (make_job(tmp_path / name, **kind) for name in ("through", "parts"))
    list(train(through))

    saved = stopped_at(stop, parts)
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
    text = "abcdefgh\n" * 300
    job = make_job(tmp_path, text=text, cell=cell, dropout=0.0, steps=250, report_every=50)
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
        job = make_job(
            tmp_path / str(sample), dropout=0, steps=200, report_every=50, softmax_sample=sample
        )
        last = list(train(job))[-1]
        assert last.score is not None
        losses.append(last.score.nats_per_token)
    assert len(job.vocabulary) > 25
    assert losses[0] < 1  # 3.3 for a guess
    assert losses[1] < 2 * losses[0]


def test_validation_is_the_score_of_the_saved_model(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    list(train(job))
    model = checkpoint.load_model(tmp_path)
    valid = STORY[int(len(STORY) * 0.9) :]
    score = score_of(Cells(model.config, model.weights), model.vocabulary, valid)
    assert model.results["nats"] == pytest.approx(score.nats, rel=1e-5)
    assert model.results["tokens"] == score.tokens == len(valid)


def test_the_best_model_is_kept_when_later_ones_are_worse(tmp_path: Path) -> None:
    job = make_job(tmp_path, steps=60)
    job = replace(job, training=replace(job.training, learning_rate=1.0, warmup_fraction=0.9))
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


@pytest.mark.parametrize(
    "odd", [{"best_tokens": 0}, {"best_nats": -1.0}, {"step": "3"}, {"retreats": 45}]
)
def test_progress_that_cannot_be_is_refused_with_its_file(
    tmp_path: Path, odd: dict[str, Any]
) -> None:
    list(train(make_job(tmp_path)))
    path = tmp_path / folders.RUN_FILE
    tensors, description = unpacked(path)
    description["progress"] |= odd
    container.write(path, tensors, description)
    with pytest.raises(CheckpointError, match=str(path)):
        checkpoint.load_run(tmp_path)


@pytest.mark.parametrize(
    "name", ["step", "best_nats", "best_tokens", "best_characters", "best_unknown_tokens"]
)
def test_a_number_beyond_all_floats_in_a_run_is_refused(tmp_path: Path, name: str) -> None:
    stopped_at(1, make_job(tmp_path))
    path = tmp_path / folders.RUN_FILE
    tensors, description = unpacked(path)
    best = {"best_nats": 9.0, "best_tokens": 9, "best_characters": 9, "best_unknown_tokens": 0}
    description["progress"] |= best | {name: 10**400}
    container.write(path, tensors, description)
    with pytest.raises(CheckpointError, match=r"it must be from [01] to 1"):
        checkpoint.load_run(tmp_path)


def ends_after(seconds: float) -> TimeLimit:
    return TimeLimit(seconds, Timing(step_seconds=1.0, validation_seconds=0.001))


@pytest.mark.usefixtures("a_second_each_step")
def test_a_slower_machine_than_measured_moves_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    job = make_job(tmp_path, steps=100_000)
    limit = TimeLimit(50.5, Timing(step_seconds=0.0005, validation_seconds=0.001))
    last = list(train(replace(job, time_limit=limit)))[-1]
    assert last.step == last.num_steps == round(last.seconds) == 50
    assert last.best is not None


def test_another_models_weights_go_to_the_same_symbols(tmp_path: Path) -> None:
    list(train(make_job(tmp_path)))
    other = checkpoint.load_model(tmp_path)
    job = make_job(tmp_path / "new", text=STORY.upper() + STORY.replace("sheep", "s{}eep"))
    fresh = Network(job.model)
    initialize(fresh, 1, counts=job.data.counts)
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


def test_symbols_are_counted_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "COUNTED", 7)
    job = make_job(tmp_path)
    ids = job.data.train_ids
    assert job.data.counts.tolist() == [(ids == i).sum() for i in range(len(job.vocabulary))]


@pytest.mark.parametrize("resumed", [True, False])
def test_a_run_does_not_hold_what_it_was_loaded_from(tmp_path: Path, resumed: bool) -> None:
    """Which is as large as itself."""
    job = make_job(tmp_path, steps=2)
    list(train(job))
    loaded: SavedRun | SavedModel = checkpoint.load_model(tmp_path)
    if resumed:
        loaded = checkpoint.load_run(tmp_path)
    kept = weakref.ref(loaded)
    longer = replace(job, training=replace(job.training, num_steps=9))
    records = train(longer, loaded) if isinstance(loaded, SavedRun) else train(longer, None, loaded)
    del loaded
    next(records)
    gc.collect()
    assert kept() is None
    records.close()


def test_a_run_whose_log_cannot_be_written_is_refused_before_its_first_step(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    saved = stopped_at(4, job)
    (tmp_path / folders.LOG_FILE).unlink()
    (tmp_path / folders.LOG_FILE).mkdir()
    with pytest.raises(CheckpointError, match=r"log\.jsonl: this is no file"):
        next(train(job, saved))


@pytest.mark.parametrize("sample", [0, 6])
def test_a_run_of_before_a_value_came_goes_on(
    tmp_path: Path, sample: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_lazy(monkeypatch)
    job = make_job(tmp_path, softmax_sample=sample)
    stopped_at(1, job)
    path = tmp_path / folders.RUN_FILE
    tensors, description = unpacked(path)
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


@pytest.mark.usefixtures("a_second_each_step")
def test_a_timed_run_that_is_resumed_ends_with_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    job = make_job(tmp_path, steps=20)
    saved = stopped_at(12, job)
    saved = replace(saved, position=replace(saved.position, seconds=30.0))
    endless = replace(job.training, num_steps=100_000, report_every=100_000)
    last = list(train(replace(job, training=endless, time_limit=ends_after(50.5)), saved))[-1]
    assert round(last.seconds) == 50  # of which it has taken 30 already
    left = checkpoint.load_run(tmp_path)
    assert left.training.num_steps == left.position.step == last.step == 12 + 20
    assert round(left.position.seconds) == 50


def test_a_run_that_had_diverged_goes_on_at_its_lower_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    job = make_job(tmp_path)
    saved = stopped_at(5, job)
    position = replace(saved.position, retreats=1, best_nats=1e-9, best_step=3)
    for record in train(job, replace(saved, position=position)):
        assert record.learning_rate == optim.schedule(record.step - 1, job.training) / 2
        assert record.best_step == 3


def test_the_first_weights_follow_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    for seed in (0, 5):
        job = make_job(tmp_path / str(seed))
        job = replace(job, training=replace(job.training, seed=seed, learning_rate=1e-12))
        network = Network(job.model)
        initialize(network, seed, counts=job.data.counts)
        left = stopped_at(1, job).model.weights
        for name, weight in network.weights().items():
            np.testing.assert_allclose(left[name], weight, atol=1e-6, err_msg=name)


def test_the_loss_of_the_log_is_that_since_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "LOG_LINES", 4)  # of 8 steps
    original = Stepper.step

    def told(stepper: Any, *about: Any) -> Any:
        _, count = original(stepper, *about)
        return torch.tensor(0.1 * stepper.run.step * count), count

    monkeypatch.setattr(Stepper, "step", told)
    list(train(make_job(tmp_path, text=STORY * 2)))
    lines = [json.loads(line) for line in (tmp_path / folders.LOG_FILE).read_text().splitlines()]
    losses = [line["train_nats_per_token"] for line in lines]
    assert losses == pytest.approx([0.15, 0.35, 0.55, 0.75])


@pytest.mark.usefixtures("a_second_each_step")
def test_a_line_of_the_log_says_what_the_readme_says(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    list(train(job))
    lines = [json.loads(line) for line in (tmp_path / folders.LOG_FILE).read_text().splitlines()]
    told = "step, num_steps, epoch, seconds, learning_rate, tokens_per_second, train_nats_per_token"
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert told in " ".join(readme.split())
    keys, of_score = set(told.split(", ")), set(Score(1.0, 1, 1).to_json())
    reports = [4, 8]
    for step, line in enumerate(lines, 1):
        assert set(line) == (keys | of_score if step in reports else keys)
        assert (line["step"], line["seconds"], line["num_steps"]) == (step, step, NUM_STEPS)
        assert line["tokens_per_second"] == job.training.batch_size * job.training.window
    assert 0 < lines[-1]["learning_rate"] < lines[2]["learning_rate"]


@pytest.mark.parametrize(
    ("seconds", "steps"), [(1e9, []), (3.0, [3, 6, 9, 12, 15]), (2.5, [3, 6, 9, 12, 15])]
)
@pytest.mark.usefixtures("a_second_each_step")
def test_so_many_seconds_lie_between_two_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, steps: list[int]
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    job = replace(make_job(tmp_path, steps=16), sample_seconds=seconds)
    assert [record.step for record in train(job) if record.sample is not None] == steps


@pytest.fixture
def a_second_each_step(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock by which a step takes a second, a validation a thousandth, and all else no time."""
    now, step, validate = [0.0], Stepper.step, training.validate

    def in_a_second(*about: Any) -> Any:
        now[0] += 1
        return step(*about)

    def at_once(*about: Any) -> Any:
        now[0] += 0.001
        return validate(*about)

    monkeypatch.setattr(Stepper, "step", in_a_second)
    monkeypatch.setattr(training, "validate", at_once)
    monkeypatch.setattr(stopwatch, "now", lambda: now[0])
    return now


def test_time_that_runs_out_between_two_lines_of_the_log_ends_with_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, a_second_each_step: list[float]
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    job = make_job(tmp_path, steps=100_000)
    job = replace(
        job, training=replace(job.training, report_every=1000), time_limit=ends_after(500.5)
    )
    last, records = None, train(job)
    for record in records:
        last = record
        if record.step == 11:
            a_second_each_step[0] += 1000  # as of a machine that was asleep
    assert last is not None
    assert (last.step, last.num_steps) == (12, 12)
    assert last.score is not None
    assert checkpoint.load_run(tmp_path).position.step == 12


def test_what_is_saved_between_reports_is_the_run_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)
    job = make_job(tmp_path, steps=100)  # where it may go back to is noted every five steps
    job = replace(job, training=replace(job.training, report_every=100))
    records = train(job)
    while next(records).step < 3:
        pass
    assert checkpoint.load_run(tmp_path).position.step == 3
    records.close()


def test_a_model_of_a_run_that_was_stopped_tells_what_it_costs_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    stopped_at(1, make_job(tmp_path))
    assert checkpoint.load_model(tmp_path).results["train_nats_per_token"] > 1


@pytest.mark.usefixtures("a_second_each_step")
def test_so_many_seconds_lie_between_two_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    monkeypatch.setattr(training, "SAVE_SECONDS", 3.0)
    saved, original = list[int](), Keeper.keep_run

    def counted(keeper: Keeper, at: Any, *about: Any) -> None:
        saved.append(at.step)
        original(keeper, at, *about)

    monkeypatch.setattr(Keeper, "keep_run", counted)
    job = make_job(tmp_path, steps=15)
    list(train(replace(job, training=replace(job.training, report_every=99))))
    assert saved == [4, 8, 12, 15]


def test_before_one_odd_window_a_run_is_saved_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)
    saved, keep, loss = list[int](), Keeper.keep_run, Stepper.loss_ahead

    def counted(keeper: Keeper, at: Any, *about: Any) -> None:
        saved.append(at.step)
        keep(keeper, at, *about)

    def odd_next(stepper: Stepper) -> float:
        return 1e9 if stepper.run.step else loss(stepper)

    monkeypatch.setattr(Keeper, "keep_run", counted)
    monkeypatch.setattr(Stepper, "loss_ahead", odd_next)
    job = make_job(tmp_path, steps=40)  # where it may go back to is wanted every two steps
    job = replace(job, training=replace(job.training, report_every=40))
    list(train(job))
    assert saved == list(range(1, 41))


@pytest.mark.usefixtures("a_second_each_step")
def test_a_step_of_a_second_is_told_though_nothing_else_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is then that a stop is met."""
    monkeypatch.setattr(course, "LOG_LINES", 1)
    told = [record.step for record in train(make_job(tmp_path, report_every=99))]
    assert told == list(range(1, NUM_STEPS + 1))


@pytest.mark.usefixtures("a_second_each_step")
def test_so_many_seconds_lie_between_two_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 3.0)
    monkeypatch.setattr(course, "LOG_LINES", 1)
    job = make_job(tmp_path, steps=10)
    job = replace(job, training=replace(job.training, report_every=99))
    assert [record.step for record in train(job)] == [3, 6, 9, 10]


def test_a_gpu_has_done_its_steps_before_the_clock_is_asked_how_long_they_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, a_second_each_step: list[float]
) -> None:
    """They are taken at once here; so it waits in their place, at each step that is told of."""
    original, taken = Pace.replan, list[float]()

    def replan(pace: Pace, config: Any, step: int, seconds: float) -> Any:
        taken.append(seconds)
        return original(pace, config, step, seconds)

    monkeypatch.setattr(Pace, "replan", replan)
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)

    def wait(where: Any) -> None:
        a_second_each_step[0] += 5

    monkeypatch.setattr(device, "wait", wait)
    list(train(replace(make_job(tmp_path), time_limit=ends_after(100.0))))
    assert taken[0] == 1 + 5


@pytest.mark.parametrize("blown_up", [0, 1])
def test_how_long_validations_take_is_known_to_what_moves_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, a_second_each_step: list[float], blown_up: int
) -> None:
    """That of one after which the run goes back, too."""
    original, paces = training.validate, list[Pace]()

    def in_five(*about: Any) -> Any:
        a_second_each_step[0] += 5
        score = original(*about)
        return score if len(paces[0].validations) >= blown_up else replace(score, nats=nan)

    def watched(limit: TimeLimit) -> Pace:
        paces.append(Pace(limit))
        return paces[-1]

    monkeypatch.setattr(training, "validate", in_five)
    monkeypatch.setattr(training, "Pace", watched)
    last = list(train(replace(make_job(tmp_path), time_limit=ends_after(100.0))))[-1]
    assert paces[0].validations == pytest.approx([5.0] * (2 + blown_up), abs=0.01)
    assert last.seconds == pytest.approx(99, abs=1)  # the last validation included


def test_the_log_tells_how_often_the_text_has_been_read(tmp_path: Path) -> None:
    job = make_job(tmp_path, steps=4)
    list(train(job))
    line = json.loads((tmp_path / folders.LOG_FILE).read_text().splitlines()[-1])
    read = 4 * 4 * 16  # steps, streams, tokens of each
    assert line["epoch"] == pytest.approx(read / len(job.data.train_ids), rel=0.01)


def test_a_new_run_that_is_stopped_leaves_an_earlier_model_alone_though_it_was_never_validated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier run made it. A resumed run renews such a model, which is its own."""
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    stopped_at(1, make_job(tmp_path))
    before = payload(tmp_path / folders.MODEL_FILE)
    assert "nats" not in checkpoint.load_model(tmp_path).results
    job = make_job(tmp_path)
    stopped_at(1, replace(job, training=replace(job.training, seed=5)))
    assert payload(tmp_path / folders.MODEL_FILE) == before
