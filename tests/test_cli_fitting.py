"""Options, text and time become a plan: what is given stays, and the rest follows."""

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from jobs import make_job, stopped_at

from lstmgen import (
    batching,
    checkpoint,
    dataset,
    device,
    measuring,
    pace,
    planning,
    stopwatch,
)
from lstmgen import threads as threads_module
from lstmgen.cli import fitting, options
from lstmgen.cli.fitting import take_threads
from lstmgen.config import (
    SOFTMAX_SAMPLE,
    CellName,
    CorpusConfig,
    ModelConfig,
    Position,
    TrainConfig,
)
from lstmgen.corpus import Text
from lstmgen.errors import OptionError
from lstmgen.job import Job
from lstmgen.pace import TimeLimit, Timing
from lstmgen.ranges import RANGES, Range


def fitted(job: Job, given: options.Options, share_spared: float | None = None) -> TrainConfig:
    """The numbers of a run that is not to end by time."""
    return fitting.suited(fitting.timed(job, given, None, 0.0), given, share_spared).training


def test_a_timed_run_that_goes_on_knows_what_validation_takes(tmp_path: Path) -> None:
    job = replace(make_job(tmp_path), time_limit=TimeLimit(60.0, Timing(0.1, 1.0)))
    saved = stopped_at(1, job)
    for given in ({}, {"minutes": 2.0}):
        again = fitting.timed(
            replace(job, training=saved.training), given, saved, time.perf_counter() - 7
        )
        assert again.time_limit is not None
        assert again.time_limit.measured != Timing(0.1, 1.0)  # but of now
        assert again.time_limit.deadline == pytest.approx(120 - 7 - 0.5 if given else 60, abs=4)


def test_a_run_that_has_ended_is_not_begun_again_for_what_its_start_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(make_job(tmp_path), time_limit=TimeLimit(60.0, Timing(0.1, 1.0)))
    saved = stopped_at(5, job)
    done = saved.position.step
    monkeypatch.setattr(measuring, "measure", lambda job: Timing(0.1, 1.0))
    monkeypatch.setattr(stopwatch, "now", lambda: 99.0)

    def more(planned: int, minutes: float, seconds: float = 57.0) -> int:
        run = replace(saved, position=replace(saved.position, seconds=seconds))
        again = replace(job, training=replace(saved.training, num_steps=planned))
        return fitting.timed(again, {"minutes": minutes}, run, 99.0).training.num_steps - done

    def never(job: Any) -> Timing:
        raise AssertionError("nothing is to be measured")

    ended = replace(saved, position=replace(saved.position, deadline=60.0))
    through = replace(job, training=replace(saved.training, num_steps=done))
    with monkeypatch.context() as unmeasured:
        unmeasured.setattr(measuring, "measure", never)
        with pytest.raises(OptionError, match="its end, after"):
            fitting.timed(through, {}, ended, 99.0)
    for planned in (done, done + 9):  # the second was stopped
        assert more(planned, 1.0) == 15  # 2.5 s, one of them to validate
    assert more(done, 61, seconds=3597) > 0  # a minute, however little that is of an hour
    assert more(done + 9, 0.985) > 0  # 1.6 s
    told = rf"--minutes 0\.985 .*until step {done} took 57\.0 seconds and the start now 0\.0; give more$"
    with pytest.raises(OptionError, match=told):
        more(done, 0.985)
    with pytest.raises(
        OptionError, match=r"--minutes 0\.5 .*; give more, or leave it out to go on"
    ):
        more(done + 9, 0.5)


def test_a_run_that_is_to_go_no_further_is_told_how_far_it_is(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    saved = stopped_at(5, job)
    saved = replace(saved, position=replace(saved.position, seconds=57.0))
    far = r"after 0\.045 epochs and 0\.95 minutes of training; "
    with pytest.raises(OptionError, match=rf"is at step 5 of 8 already, {far}leave --steps, --epo"):
        fitting.timed(job, {"steps": 5}, saved, 0.0)
    ended = replace(job, training=replace(job.training, num_steps=5))
    with pytest.raises(OptionError, match=rf"is at step 5, its end, {far}to train it further"):
        fitting.timed(ended, {}, saved, 0.0)


@pytest.mark.parametrize("epochs", [0.5, 2])
def test_epochs_are_so_many_times_the_text(tmp_path: Path, epochs: float) -> None:
    job = make_job(tmp_path)
    planned = fitting.timed(job, {"epochs": epochs}, None, 0.0)
    windows = -(-len(job.data.train_ids) // (job.training.batch_size * job.training.window))
    assert abs(planned.training.num_steps - epochs * windows) < 1
    assert planned.epochs(planned.training.num_steps) == pytest.approx(epochs, abs=0.02)


@pytest.mark.parametrize(("epochs", "steps"), [(1.1, 121), (1.101, 122), (1e-12, 1)])
def test_epochs_that_come_to_whole_steps_are_no_step_more(
    tmp_path: Path, epochs: float, steps: int
) -> None:
    job = make_job(tmp_path)
    job = replace(job, training=replace(job.training, window=len(job.data.train_ids) // 440))
    job = replace(
        job, data=replace(job.data, train_ids=job.data.train_ids[: 440 * job.training.window])
    )
    assert 1.1 * job.streams.num_windows > 121  # as a product
    assert fitting.timed(job, {"epochs": epochs}, None, 0.0).training.num_steps == steps


def test_what_is_given_stays_and_the_rest_is_planned(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    mine: dict[str, Any] = {"dropout": 0.37, "weight_drop": 0.21, "weight_decay": 0.027}
    job = replace(job, training=replace(job.training, **mine))
    for name, value in mine.items():
        planned = fitted(job, {"steps": 2000, name: value})
        assert planned.num_steps == 2000
        assert {n for n, one in mine.items() if getattr(planned, n) == one} == {name}


def test_weight_drop_and_decay_follow_from_the_epochs(tmp_path: Path) -> None:
    for epochs, drop, decay in ((1, 0.0, 0.01), (30, 0.09, 0.1), (80, 0.3, 0.1)):
        planned = fitted(make_job(tmp_path), {"epochs": epochs})
        assert (planned.weight_drop, planned.weight_decay) == (drop, decay)


@pytest.mark.parametrize(
    ("epochs", "streams", "cell", "given", "rate"),
    [
        (1, 4, "lstm", {}, TrainConfig.learning_rate),
        (3, 4, "lstm", {}, planning.REPEATED_RATE),
        (10, 4, "gru", {}, TrainConfig.learning_rate),
        (10, 4, "lstm", {"learning_rate": TrainConfig.learning_rate}, TrainConfig.learning_rate),
        (10, 4, "lstm", {"learning_rate": 0.03}, 0.03),
        (1, 64, "lstm", {"batch_size": 64}, planning.MANY_STREAMS_RATE),
        (3, 64, "lstm", {"batch_size": 64}, planning.REPEATED_RATE),
        (2, 64, "lstm", {"batch_size": 64, "learning_rate": 0.03}, 0.03),
    ],
)
def test_the_learning_rate_follows_from_how_the_text_is_read(
    tmp_path: Path,
    epochs: int,
    streams: int,
    cell: CellName,
    given: dict[str, Any],
    rate: float,
) -> None:
    job = make_job(tmp_path, cell=cell)
    usual = given.get("learning_rate", TrainConfig.learning_rate)
    job = replace(job, training=replace(job.training, learning_rate=usual, batch_size=streams))
    steps = epochs * job.streams.num_windows
    assert fitted(job, given | {"steps": steps}).learning_rate == rate


@pytest.mark.parametrize("steps", [1, 40, 4000])
@pytest.mark.parametrize("streams", [4, 64])
def test_the_size_follows_from_the_tokens_of_all_steps_and_the_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, streams: int
) -> None:
    asked = list[Any]()

    def hidden_size(*about: Any, many_streams: bool) -> int:
        asked.append((*about, many_streams))
        return 64

    monkeypatch.setattr(planning, "hidden_size", hidden_size)
    job = make_job(tmp_path)
    job = replace(job, training=replace(job.training, batch_size=streams))
    fitting.sized(job, {"steps": steps, "batch_size": streams}, 0.0)
    assert asked == [(steps * streams * 16, len(job.data.train_ids), "char", streams == 64)]


def test_reports_come_as_often_as_the_costs_of_steps_and_validation_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[Any]()

    def report_interval(*about: Any, **costs: float) -> int:
        asked.append((*about, costs))
        return 7

    monkeypatch.setattr(pace, "report_interval", report_interval)
    job = make_job(tmp_path)
    assert fitting.timed(job, {"steps": 40}, None, 0.0).training.report_every == 7
    validation = len(job.data.valid_ids) / 3  # in float32, where all symbols count
    (about,) = asked
    assert about == (
        40,
        job.epochs(40),
        {"step_cost": 4 * 16, "valid_cost": pytest.approx(validation)},
    )


def word_job(folder: Path) -> Job:
    story = "".join(f"{i * j % 700} sheep " for i in range(99) for j in range(99))
    data = dataset.prepare(Text("story", story), CorpusConfig(level="word", min_count=1), seed=1)
    numbers = options.training({"precision": "float32"}, data, torch.device("cpu"))
    model = ModelConfig(vocab_size=len(data.vocabulary), tie=False)
    return Job(folder, data, model, numbers, torch.device("cpu"))


def test_streams_are_asked_for_by_what_the_job_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[dict[str, Any]]()

    def none_larger(batch_size: int, tokens: float, text_tokens: int, **about: Any) -> None:
        asked.append({"batch_size": batch_size, "text_tokens": text_tokens, **about})

    monkeypatch.setattr(planning, "larger_batch", none_larger)
    job = word_job(tmp_path)
    job = replace(job, model=replace(job.model, cell="gru"))
    fitting.sized(job, {"minutes": 1, "hidden_size": 8}, 0.0)
    assert asked == [
        {
            "batch_size": job.training.batch_size, "text_tokens": len(job.data.train_ids),
            "level": "word", "vocab_size": len(job.vocabulary), "cell": "gru", "cuda": False,
        }
    ]  # fmt: skip


def test_the_plan_of_words_is_that_of_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their width, their two layers, their dropout by it, and the usual rate however often they are read."""
    job = word_job(tmp_path)
    length = len(job.data.train_ids)
    levels, original = list[str](), planning.hidden_size

    def hidden_size(*about: Any, many_streams: bool) -> int:
        levels.append(about[2])
        return original(*about)

    monkeypatch.setattr(planning, "hidden_size", hidden_size)
    monkeypatch.setattr(measuring, "step_seconds", lambda job: [6.0])
    planned = fitting.sized(job, {"minutes": 0.1}, time.perf_counter()).model
    assert (planned.num_layers, levels) == (2, ["word"])
    for size in (64, 512):
        sized = replace(job, model=replace(job.model, hidden_size=size))
        numbers = fitted(sized, {"epochs": 12})
        assert numbers.learning_rate == TrainConfig.learning_rate
        epochs = job.epochs(numbers.num_steps)
        assert numbers.dropout == planning.dropout(epochs, size, length, "word") > 0
    assert planning.dropout(12, 256, length, "char") != numbers.dropout


def test_more_epochs_than_there_may_be_steps_are_refused_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RANGES, "--steps", Range(1, 10))
    job = make_job(tmp_path)
    with pytest.raises(
        OptionError, match=r"--epochs 99 is [\d,]+ steps of this text; .* 10 at most"
    ):
        fitting.timed(job, {"epochs": 99}, None, 0.0)


@pytest.mark.parametrize("size", [64, 256])
def test_dropout_follows_from_the_width(tmp_path: Path, size: int) -> None:
    job = make_job(tmp_path)
    job = replace(job, model=replace(job.model, hidden_size=size))
    numbers = fitted(job, {"epochs": 12})
    epochs, length = job.epochs(numbers.num_steps), len(job.data.train_ids)
    assert numbers.dropout == planning.dropout(epochs, size, length, "char")
    assert numbers.dropout != planning.dropout(epochs, 128, length, "char")


def test_the_size_follows_from_the_time_that_is_left_and_the_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path)  # steps of 4 x 16 tokens
    for step in (0.0001, 0.01):
        monkeypatch.setattr(measuring, "step_seconds", lambda job, step=step: [step])
        began = time.perf_counter() - 6  # of the 66 seconds
        tokens = 60 / step * 64
        size = planning.hidden_size(tokens, len(job.data.train_ids), "char")
        assert fitting.sized(job, {"minutes": 1.1}, began).model.hidden_size == size
        sizes = fitting.sized(job, {"minutes": 1.1, "hidden_size": 12}, began).model.hidden_size
        assert sizes == 12
    assert size < planning.hidden_size(60 / 0.0001 * 64, len(job.data.train_ids), "char")


@pytest.mark.parametrize(
    ("epochs", "gain", "given", "streams"),
    [
        (36, 1.15, {}, 64),
        (36, 0.97, {}, 64),
        (36, 0.93, {}, 4),
        (46, 1.3, {}, 4),
        (3.5, 1.3, {"batch_size": 4}, 4),
        (3.5, 1.3, {"hidden_size": 12}, 64),
        (3.5, 1.3, {"hidden_size": 12, "num_layers": 1}, 64),
        (3.5, 1.3, {"hidden_size": 12, "batch_size": 4}, 4),
        (3.5, 1.3, {"steps": 40}, 4),
        (3.5, 1.3, {"window": 16}, 4),
        (3.5, 1.3, {"hidden_size": 12, "window": 16}, 4),
    ],
)
def test_more_streams_where_a_text_is_not_read_too_often_and_they_are_as_quick(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epochs: float,
    gain: float,
    given: dict[str, Any],
    streams: int,
) -> None:
    job = make_job(tmp_path)
    job = replace(job, model=replace(job.model, num_layers=given.get("num_layers", 2)))
    length, window = len(job.data.train_ids), job.training.window

    measured: list[list[int]] = []

    def step_seconds(*jobs: Job) -> list[float]:
        """In six seconds the text is read `epochs` times, by many streams `gain` times as often."""
        sizes = [one.training.batch_size for one in jobs]
        measured.append(sizes)
        assert {one.model.num_layers for one in jobs} == {given.get("num_layers", 2)}
        times = [epochs * (gain if size == planning.MANY_STREAMS else 1) for size in sizes]
        rows = zip(jobs, sizes, times, strict=True)
        return [6 * size * one.training.window / (often * length) for one, size, often in rows]

    monkeypatch.setattr(measuring, "step_seconds", step_seconds)
    sizes, original = list[tuple[float, bool]](), planning.hidden_size

    def hidden_size(tokens: float, text_tokens: int, level: Any, *, many_streams: bool) -> int:
        sizes.append((tokens / text_tokens, many_streams))
        return original(tokens, text_tokens, level, many_streams=many_streams)

    monkeypatch.setattr(planning, "hidden_size", hidden_size)
    monkeypatch.setattr(planning, "SOME_TOKENS", length)
    monkeypatch.setattr(planning, "LONG_TEXT", length)
    asked = given if "steps" in given else given | {"minutes": 0.1}
    monkeypatch.setattr("lstmgen.stopwatch.now", lambda: 0.0)  # the start takes no time
    planned = fitting.sized(job, asked, 0.0)
    even = batching.even_window(length, 64, TrainConfig.window)
    assert planned.training.batch_size == streams
    assert planned.training.window == (even if streams == 64 else window)
    if sizes and "steps" not in given:  # by the tokens that are read, by so many streams as are
        ((times, many),) = sizes
        assert many == (streams == 64)
        assert times == pytest.approx(epochs * (gain if many else 1), rel=0.05)
    assert bool(sizes) == ("hidden_size" not in given)
    if "hidden_size" in given:
        assert planned.model.hidden_size == 12
        assert measured == ([[4], [4, 64]] if streams == 64 else [])  # nothing is for nothing
    for limit, value in (("LONG_TEXT", 5 * length), ("SOME_TOKENS", length + 1)):  # too short
        monkeypatch.setattr(planning, limit, value)
        assert fitting.sized(job, asked, 0.0).training.batch_size == 4
        monkeypatch.setattr(planning, limit, length)


@pytest.mark.parametrize(
    ("where", "memory", "streams", "sample"),
    [
        ("cpu", 0, 32, SOFTMAX_SAMPLE),
        ("cuda", 8 * 2**30, 64, 0),
        ("cuda", 10**8, 64, SOFTMAX_SAMPLE),  # where the logits of all do not fit
    ],
)
def test_by_word_cuda_takes_more_streams_and_all_symbols(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    memory: int,
    streams: int,
    sample: int,
) -> None:
    """Nothing runs there: the plan is asked as if it did, with steps that take as long whatever they do."""
    story = "".join(f"{i * j} sheep " for i in range(99) for j in range(99))
    data = dataset.prepare(Text("story", story), CorpusConfig(level="word", min_count=1), seed=1)
    monkeypatch.setattr(planning, "LARGE_VOCABULARY", len(data.vocabulary))
    monkeypatch.setattr(planning, "SOME_TOKENS", len(data.train_ids))
    monkeypatch.setattr(planning, "LONG_TEXT", len(data.train_ids))
    monkeypatch.setattr(measuring, "step_seconds", lambda *jobs: [0.5] * len(jobs))
    monkeypatch.setattr(device, "free_memory", lambda there: memory)
    there = torch.device(where)
    numbers = options.training({"precision": "float32"}, data, there)
    assert numbers.softmax_sample == sample
    job = Job(tmp_path, data, ModelConfig(vocab_size=len(data.vocabulary)), numbers, there)
    planned = fitting.sized(job, {"minutes": 0.1}, time.perf_counter()).training
    assert planned.batch_size == streams


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"),
        RuntimeError("an illegal memory access was encountered"),
    ],
)
@pytest.mark.parametrize("fitting_streams", [4, 64, 128])
def test_streams_that_do_not_fit_on_the_gpu_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fitting_streams: int, error: RuntimeError
) -> None:
    def step_seconds(*jobs: Job) -> list[float]:
        if any(job.training.batch_size > fitting_streams for job in jobs):
            raise error
        return [1e-3] * len(jobs)

    job = replace(make_job(tmp_path), device=torch.device("cuda", 0))  # where nothing runs
    monkeypatch.setattr(measuring, "step_seconds", step_seconds)
    monkeypatch.setattr(planning, "SOME_TOKENS", len(job.data.train_ids))
    monkeypatch.setattr(planning, "LONG_TEXT", len(job.data.train_ids))
    if "illegal" in str(error) and fitting_streams < 128:
        with pytest.raises(RuntimeError, match="illegal"):
            fitting.sized(job, {"minutes": 0.1}, time.perf_counter())
        return
    numbers = fitting.sized(job, {"minutes": 0.1}, time.perf_counter()).training
    assert numbers.batch_size == fitting_streams


def test_a_width_follows_from_what_two_layers_read_where_one_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[float]()

    def one_layer_size(tokens: float, *about: Any, **more: Any) -> int:
        asked.append(tokens)
        return 64

    monkeypatch.setattr(planning, "one_layer_size", one_layer_size)
    monkeypatch.setattr(measuring, "step_seconds", lambda job: [0.01 * job.model.num_layers])
    monkeypatch.setattr("lstmgen.stopwatch.now", lambda: 0.0)
    job = make_job(tmp_path)
    for layers in (1, 2):
        given = replace(job, model=replace(job.model, num_layers=layers))
        fitting.sized(
            given, {"minutes": 1, "num_layers": layers} if layers == 1 else {"minutes": 1}, 0.0
        )
    assert len(asked) == 2
    assert asked[0] == asked[1] == pytest.approx(60 / 0.02 * 64)


@pytest.mark.parametrize(
    ("epochs", "given", "layers"),
    [
        (1.9, {}, 1),
        (2.1, {}, 2),
        (1.9, {"num_layers": 1}, 1),
        (1.9, {"num_layers": 2}, 2),
        (1.9, {"num_layers": 3}, 3),
        (1.9, {"hidden_size": 12}, 2),
        (1.9, {"steps": 40}, 2),
        (1.9, {"cell": "gru"}, 1),
        (1.9, {"cell": "rnn"}, 2),
    ],
)
def test_a_short_time_is_for_one_layer_unless_something_else_is_given(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epochs: float,
    given: dict[str, Any],
    layers: int,
) -> None:
    job = make_job(tmp_path)
    shape = {"num_layers": given.get("num_layers", 2), "cell": given.get("cell", "lstm")}
    job = replace(job, model=replace(job.model, **shape))
    tokens = epochs * len(job.data.train_ids)
    step = 6 * job.training.batch_size * job.training.window / tokens
    monkeypatch.setattr(
        measuring, "step_seconds", lambda job: [step * job.model.num_layers / 2]
    )  # so a single layer that is given has the width that the plan would have given it
    asked = given if "steps" in given else given | {"minutes": 0.1}
    monkeypatch.setattr("lstmgen.stopwatch.now", lambda: 0.0)  # the start takes no time
    planned = fitting.sized(job, asked, 0.0).model
    assert planned.num_layers == layers
    if layers == 1:
        monkeypatch.setattr(planning, "FEW_TOKENS", {(job.model.cell, "float32"): tokens + 1})
        half = replace(job, training=replace(job.training, precision="bfloat16"))
        for one, number in ((job, 1), (half, given.get("num_layers", 2))):
            assert fitting.sized(one, asked, 0.0).model.num_layers == number
        text_tokens = len(job.data.train_ids)
        size = planning.one_layer_size(
            tokens,
            text_tokens,
            level="char",
            vocab_size=30,
            cell=job.model.cell,
            precision="float32",
        )
        assert planned.hidden_size == size


def test_a_network_beyond_the_memory_is_refused_whoever_has_chosen_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path)
    other = checkpoint.SavedModel(replace(job.model, hidden_size=400), job.vocabulary, {})
    large = {"steps": RANGES["--steps"].high}
    assert fitting.sized(job, large, 0.0).model.num_parameters > 10**6
    assert options.model({}, job.data, other).hidden_size == 400
    there = {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 1000}
    monkeypatch.setattr("os.sysconf", there.__getitem__)
    with pytest.raises(OptionError, match="parameters takes at least"):
        fitting.sized(job, large, 0.0)
    begun = "parameters takes at least .*; begin with a smaller model, or give a lower --max-vocab$"
    with pytest.raises(OptionError, match=begun):
        options.model({}, job.data, other)


@pytest.mark.parametrize(
    ("saved", "rate", "dropout"), [(0.6, 0.0028, 0.0), (0.25, 0.015, 0.05), (-2.0, 0.08, 0.2)]
)
def test_the_better_a_model_knows_the_text_the_less_it_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: float, rate: float, dropout: float
) -> None:
    job = make_job(tmp_path)
    monkeypatch.setattr(planning, "dropout", lambda *about: 0.2)
    monkeypatch.setattr(planning, "weight_drop", lambda *about: 0.4)
    planned = fitted(job, {"epochs": 10}, saved)
    assert (planned.learning_rate, planned.dropout) == (rate, dropout)
    assert planned.weight_drop == 2 * dropout
    given = {"epochs": 10, "dropout": 0.3, "learning_rate": 0.01}
    by_hand = replace(job, training=replace(job.training, dropout=0.3, learning_rate=0.01))
    planned = fitted(by_hand, given, saved)
    assert (planned.learning_rate, planned.dropout) == (0.01, 0.3)


def test_it_is_not_asked_how_well_a_model_knows_the_text_where_nothing_hangs_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path)
    model = checkpoint.SavedModel(job.model, job.vocabulary, {})
    monkeypatch.setattr(measuring, "share_spared", lambda job, initial: 0.25)
    all_three = {"learning_rate": 0.01, "dropout": 0.0, "weight_drop": 0.0}
    assert fitting.share_spared_by(model, job, all_three) is None
    assert fitting.share_spared_by(None, job, {}) is None
    del all_three["dropout"]
    assert fitting.share_spared_by(model, job, all_three) == 0.25


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """With how many threads at most it was settled how many are taken."""
    found = list[int]()
    monkeypatch.setattr(threads_module, "settle", lambda threads: found.append(threads.most))
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    return found


def saved_at(deadline: float | None) -> Any:
    return SimpleNamespace(position=Position(deadline=deadline))


@pytest.mark.parametrize(
    ("given", "saved"),
    [
        ({}, None),
        ({"minutes": 1}, None),
        ({}, saved_at(60.0)),
        ({"minutes": 1}, saved_at(None)),
    ],
)
def test_a_run_that_ends_by_time_finds_its_number(
    given: Any, saved: Any, settled: list[int]
) -> None:
    assert take_threads(given, saved, torch.device("cpu")) == 8
    assert settled == [8]


@pytest.mark.parametrize(
    ("given", "saved", "device"),
    [
        ({"steps": 5}, None, "cpu"),
        ({"epochs": 5}, saved_at(60.0), "cpu"),
        ({}, saved_at(None), "cpu"),
        ({"threads": 4}, None, "cpu"),
        ({"threads": 1}, None, "cpu"),
        ({}, None, "cuda"),
    ],
)
def test_where_bits_are_to_repeat_or_a_number_is_given_it_stays(
    given: Any, saved: Any, device: str, settled: list[int]
) -> None:
    assert take_threads(given, saved, torch.device(device)) is None
    assert settled == []


def test_a_single_thread_needs_no_finding(
    settled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert take_threads({}, None, torch.device("cpu")) is None
    assert settled == []
