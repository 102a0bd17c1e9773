"""A run that diverges is found out, goes back to where it was well, or gives up."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jobs import NUM_STEPS, make_job, payload, stopped_at

from lstmgen import checkpoint, course, folders, log_file, optim, stopwatch, training
from lstmgen.checkpoint import SavedModel
from lstmgen.config import MAX_RETREATS, TrainConfig
from lstmgen.errors import TrainingError
from lstmgen.initialization import initialize
from lstmgen.keeping import Keeper
from lstmgen.model import Network
from lstmgen.pace import Pace, TimeLimit, Timing
from lstmgen.run import Snapshot, fresh_run
from lstmgen.scoring import Score
from lstmgen.step import Loss, Stepper
from lstmgen.training import train


def test_a_run_of_any_length_has_a_hundred_lines_and_twenty_places_to_go_back_to() -> None:
    config = TrainConfig(num_steps=5000, report_every=5000)
    place = Snapshot(0, {}, {})
    one = course.Course(config, place, most_nats_per_token=9.0)
    logged = [step for step in range(1, 5001) if one.due(step).log]
    assert logged == list(range(50, 5001, 50))
    assert [step for step in range(1, 5001) if one.due(step).mark] == list(range(250, 5001, 250))
    for num_steps in (1055, 137, 20, 7):  # of whose lines and places some lie apart
        one.config = replace(config, num_steps=num_steps, report_every=num_steps)
        logged, marked = (
            [step for step in range(1, num_steps + 1) if one.due(step)[kind]] for kind in (1, 2)
        )
        assert min(20, num_steps) <= len(marked) <= 23
        assert set(marked) <= set(logged)
        gaps = np.diff([0, *marked])
        assert gaps.max() <= num_steps // 20 + max(1, num_steps // 100) + 1


def test_a_network_that_has_diverged_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    monkeypatch.setattr(course, "LOG_LINES", 2)  # of 8 steps: it is found out at 4
    job = replace(make_job(tmp_path), sample_seconds=0.0)
    original = Stepper.step

    def wrong_at_2(stepper: Any, *about: Any) -> Any:
        total, count = original(stepper, *about)
        if stepper.run.step == 2 and not told:
            with torch.no_grad():
                stepper.run.network.output.bias.fill_(float("nan"))
            total = total * float("nan")
        return total, count

    told: list[str] = []
    monkeypatch.setattr(Stepper, "step", wrong_at_2)
    samples: dict[int, tuple[str | None, int]] = {}
    for record in train(job):
        told += [record.note] if record.note else []
        samples[record.step] = samples.get(record.step) or (record.sample, len(told))
    assert "back to step 0" in told[0]
    assert samples[1][0]
    assert samples[2] == samples[3] == (None, 0)
    assert samples[8][0]


def poison(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Let the loss be what is not a number, for so many steps."""
    original, left = Loss.__call__, [steps]

    def poisoned(self: Loss, *learned_from: Any) -> Any:
        total, state = original(self, *learned_from)
        left[0] -= 1
        return (total * float("nan") if left[0] >= 0 else total), state

    monkeypatch.setattr(Loss, "__call__", poisoned)


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
    records = train(make_job(tmp_path))
    next(records)
    (tmp_path / name).mkdir()
    while not next(records).score:
        pass
    poison(monkeypatch, steps=1000)
    assert all(name in next(records).note for _ in range(4))
    with pytest.raises(TrainingError, match=rf"could be written \(.*{name}.*\); train again"):
        next(records)


def test_a_run_that_was_never_well_says_that_there_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Stepper.step

    def wrong(*about: Any) -> Any:
        total, count = original(*about)
        return total * float("nan"), count

    monkeypatch.setattr(Stepper, "step", wrong)
    with pytest.raises(
        TrainingError,
        match=r"no model had been saved yet; train again with less than --learning-rate 0\.\d+ \(or than "
        r"--weight-decay 0\.01, if that is high\)$",
    ):
        list(train(make_job(tmp_path)))
    assert not (tmp_path / folders.MODEL_FILE).exists()
    (tmp_path / folders.MODEL_FILE).touch()  # of a run before, as with --overwrite
    with pytest.raises(TrainingError, match=r"the model in .* is an earlier one; train"):
        list(train(make_job(tmp_path)))


@pytest.mark.parametrize("report_every", [100, 7])
def test_what_is_not_finite_is_never_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report_every: int
) -> None:
    """Be it of an average of the optimizer, which the loss does not tell yet."""
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    monkeypatch.setattr(course, "LOG_LINES", 1)
    original, ruined = Stepper.step, list[int]()

    def ruinous_at_7(stepper: Any, *about: Any) -> Any:
        done = original(stepper, *about)
        if stepper.run.step == 7 and not ruined:
            ruined.append(7)
            stepper.run.optimizer.muon.momentum["layers.0.weight_hh"][0, 0] = float("inf")
        return done

    monkeypatch.setattr(Stepper, "step", ruinous_at_7)
    job = make_job(tmp_path, steps=100)
    job = replace(job, training=replace(job.training, report_every=report_every))
    notes = []
    records = train(job)
    for record in records:
        notes += [record.note] if record.note else []
        if ruined:
            break
    records.close()
    left = checkpoint.load_run(tmp_path)
    assert left.position.step == 0
    assert all(np.isfinite(array).all() for array in left.carried.values())
    told = [
        "a number of the run was not finite, or a weight beyond 1e+09, at step 7; back to step 0"
    ]
    assert [note.partition(", to go on")[0] for note in notes] == (
        told if report_every == 7 else []
    )


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
    for record in seen[4:]:
        assert record.learning_rate == optim.schedule(record.step - 1, job.training) / 2
        assert record.epoch == job.epochs(record.step)
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
    original, calls = Stepper.step, [0]

    def once_wrong(*about: Any) -> Any:
        total, count = original(*about)
        calls[0] += 1
        return (total * float("nan") if calls[0] == 23 else total), count

    monkeypatch.setattr(Stepper, "step", once_wrong)
    (note,) = [record.note for record in train(job) if record.note]
    # Seen at 30; though nothing was reported yet, it need not begin again.
    assert "blew up at step 30 " in note
    assert "back to step 20," in note


def test_a_run_that_goes_on_blows_up_at_the_same_loss(tmp_path: Path) -> None:
    """Also where it began with a high one, as --init-from may."""
    job = make_job(tmp_path)
    network = Network(job.model)
    initialize(network, 0)
    weights = network.weights()
    weights["output.bias"][0] = 20.0
    saved = stopped_at(1, job, initial=SavedModel(job.model, job.vocabulary, weights))
    most = saved.position.most_nats_per_token
    assert most is not None
    assert most > 10
    list(train(job, saved))
    assert checkpoint.load_run(tmp_path).position.most_nats_per_token == most


def test_a_run_with_another_models_weights_is_saved_as_soon_as_they_are_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it can be stopped there, and if it then blows up, what is said to be there is."""
    job = make_job(tmp_path)
    network = Network(job.model)
    initialize(network, 0)
    initial = SavedModel(job.model, job.vocabulary, network.weights())
    saved = stopped_at(0, job, initial=initial)
    assert (saved.position.step, saved.position.best_step) == (0, 0)
    kept = checkpoint.load_model(tmp_path)
    assert kept.results["step"] == 0
    for name, weight in initial.weights.items():
        np.testing.assert_array_equal(kept.weights[name], weight)
    whole = list(train(make_job(tmp_path / "whole"), initial=initial))
    rest = list(train(job, saved))
    assert [whole[0].step, whole[-1].step, rest[-1].step] == [0, NUM_STEPS, NUM_STEPS]
    assert payload(tmp_path / "last.safetensors") == payload(tmp_path / "whole/last.safetensors")
    assert whole[-1].best == rest[-1].best

    broken = replace(job, folder=tmp_path / "broken")
    broken.folder.mkdir()
    monkeypatch.setattr(Stepper, "step", lambda stepper, rate: (torch.tensor(float("nan")), 1))
    with pytest.raises(TrainingError, match="the best model so far is in"):
        list(train(broken, initial=initial))
    assert checkpoint.load_model(broken.folder).results["step"] == 0


def test_the_score_of_another_models_weights_is_no_time_of_the_steps_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, passed = make_job(tmp_path), [0.0]
    network = Network(job.model)
    initialize(network, 0)
    now, validate = stopwatch.now, training.validate

    def long_validation(network: Network, job: Any) -> Score:
        passed[0] += 1e6
        return validate(network, job)

    monkeypatch.setattr(stopwatch, "now", lambda: now() + passed[0])
    monkeypatch.setattr(training, "validate", long_validation)
    list(train(job, initial=SavedModel(job.model, job.vocabulary, network.weights())))
    first, second = log_file.read(tmp_path)[:2]
    assert first["tokens_per_second"] == 0
    assert first["seconds"] >= 1e6
    assert second["tokens_per_second"] > 0


def test_a_slow_first_save_of_another_models_weights_is_no_time_of_the_steps_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, passed, paces = make_job(tmp_path), [0.0], list[Pace]()
    network = Network(job.model)
    initialize(network, 0)
    now, write = stopwatch.now, Keeper.try_to_write

    def slowly(keeper: Keeper) -> str:
        passed[0] += 1000
        return write(keeper)

    def watched(limit: TimeLimit) -> Pace:
        paces.append(Pace(limit))
        return paces[-1]

    monkeypatch.setattr(stopwatch, "now", lambda: now() + passed[0])
    monkeypatch.setattr(training, "Pace", watched)
    timed = replace(job, time_limit=TimeLimit(1e6, Timing(0.1, 0.1)))
    records = train(timed, initial=SavedModel(job.model, job.vocabulary, network.weights()))
    monkeypatch.setattr(Keeper, "try_to_write", slowly)
    next(records)
    assert passed == [1000]
    paces[0].steps = 1
    step_seconds, validation_seconds = paces[0].timing()
    assert 0 < step_seconds < 10
    assert 0 < validation_seconds < 10
    records.close()


def test_a_model_that_begins_far_from_the_text_has_not_blown_up(tmp_path: Path) -> None:
    job = make_job(tmp_path, steps=60)
    network = Network(job.model)
    initialize(network, 0)
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


def test_a_learning_rate_a_thousand_times_too_high_is_lowered(tmp_path: Path) -> None:
    job = make_job(tmp_path, dropout=0.0, steps=400)
    job = replace(job, training=replace(job.training, learning_rate=20.0, report_every=20))
    records = list(train(job))
    assert 1 <= sum(bool(record.note) for record in records) <= MAX_RETREATS
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
    original = Stepper.step

    def ruinous_at_6(stepper: Any, *about: Any) -> Any:
        done = original(stepper, *about)
        if stepper.run.step == 6:
            with torch.no_grad():
                stepper.run.network.output.bias[1] = 1e4  # which is a number still
        return done

    monkeypatch.setattr(Stepper, "step", ruinous_at_6)
    job = make_job(tmp_path, steps=100)  # at 5 of which there is a place to go back to
    saved = stopped_at(6, replace(job, training=replace(job.training, report_every=99)))
    assert saved.position.step == 5
    for model in (saved.model, checkpoint.load_model(tmp_path)):
        assert abs(model.weights["output.bias"]).max() < 100


def test_one_odd_window_does_not_keep_a_run_from_being_saved_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Stepper.loss_ahead

    def odd_next(stepper: Stepper) -> float:
        return 99.0 if stepper.run.step else original(stepper)

    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    monkeypatch.setattr(Stepper, "loss_ahead", odd_next)
    job = make_job(tmp_path, steps=5000)  # so that places to go back to are far apart
    job = replace(job, training=replace(job.training, report_every=5000))
    assert stopped_at(3, job).position.step == 3


def test_a_report_right_after_a_ruinous_step_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its model would be the best so far, were it only for the validation loss being a number."""
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    original, ruined = Stepper.step, list[int]()

    def ruinous_at_4(stepper: Any, *about: Any) -> Any:
        done = original(stepper, *about)
        if stepper.run.step == 4 and not ruined:
            ruined.append(stepper.run.step)
            with torch.no_grad():
                stepper.run.network.output.bias[1] = 1e4
        return done

    monkeypatch.setattr(Stepper, "step", ruinous_at_4)
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
        Stepper, "loss_ahead", lambda stepper: 1.0 if stepper.run.step == 0 else 99.0
    )
    # Of the reports, at 4 and 8, it is the validation part that tells.
    monkeypatch.setattr(
        training, "loss_behind", lambda stepper: 1.0 if stepper.run.step % 4 else 99.0
    )
    records = list(train(make_job(tmp_path)))
    assert not [record.note for record in records if record.note]
    assert checkpoint.load_run(tmp_path).position.step == NUM_STEPS


def test_what_lies_behind_does_not_matter_where_the_validation_part_is_well(tmp_path: Path) -> None:
    at = course.Course(make_job(tmp_path).training, Snapshot(0, {}, {}), 4.0)
    for behind in (lambda: float("nan"), lambda: 99.0):
        at.require_well(4, [99.0], behind, Score(nats=1.0, tokens=1))
        with pytest.raises(course.Diverged, match=r"blew up at step 4 \(99 nats"):
            at.require_well(4, [99.0], behind, Score(nats=9.0, tokens=1))
    at.require_well(4, [99.0], lambda: 1.0)


SOON, LATE = "ab" * 1000 + "cd" * 2000, "ab" * 2300 + "cd" * 700


@pytest.mark.parametrize(
    ("text", "steps", "report_every"),
    [(SOON, 140, 140), (SOON, 250, 250), (SOON, 120, 5), (SOON, 188, 62), (LATE, 199, 300), (LATE, 250, 250)],
)  # fmt: skip
def test_another_kind_of_text_is_no_blow_up_where_few_streams_read_it(
    tmp_path: Path, text: str, steps: int, report_every: int
) -> None:
    """Be a line of the log of one window or of several, at a report, and where the text begins again."""
    job = make_job(tmp_path, text, dropout=0.0, steps=steps)
    config = replace(job.training, batch_size=1, window=32, report_every=report_every)
    records = list(train(replace(job, training=config)))
    losses = [record.train_nats_per_token for record in records]
    assert max(losses[20:]) > course.most_from(0.0, len(job.vocabulary))
    assert [record.note for record in records if record.note] == []


def test_a_run_stopped_before_another_kind_of_text_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next line of the log is of that window alone, and it could go back no further than to its start."""
    job = make_job(tmp_path, "ab" * 1584 + "cd" * 16 + "ab" * 1600, dropout=0.0, steps=1000)
    job = replace(job, training=replace(job.training, batch_size=1, window=32, report_every=1000))
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    saved = stopped_at(99, job)
    assert saved.position.step == 99
    notes = []
    for record in train(job, saved):
        notes += [record.note] if record.note else []
        if record.step == 100:
            break
    assert record.train_nats_per_token > course.most_from(0.0, len(job.vocabulary))
    assert notes == []


def test_what_a_run_may_cost_does_not_hang_on_what_was_drawn_before(tmp_path: Path) -> None:
    job = make_job(tmp_path, dropout=0.5)
    generator = np.random.default_rng(5)
    weights = {n: generator.standard_normal(s) * 0.5 for n, s in job.model.weight_shapes().items()}

    def most(drawn: int) -> Any:
        torch.manual_seed(drawn)
        list(train(job, initial=SavedModel(job.model, job.vocabulary, weights)))
        return checkpoint.load_run(tmp_path).position.most_nats_per_token

    assert most(1) == most(2)


def test_the_best_score_is_the_same_after_it_has_been_saved(tmp_path: Path) -> None:
    score = Score(nats=4.5, tokens=3, characters=7, unknown_tokens=2)
    one = course.Course(make_job(tmp_path).training, Snapshot(9, {}, {}), 9.0, score, 5)
    at = one.position(9, 1.5, make_job(tmp_path))
    assert course.best_of(at) == score
    assert (at.step, at.best_step, at.seconds) == (9, 5, 1.5)
    assert course.best_of(replace(one, best=None).position(9, 1.5, make_job(tmp_path))) is None


def test_the_loss_behind_is_the_lower_of_two_windows_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path)
    stepper = Stepper(fresh_run(job), job)
    stepper.step(0.02)

    def of_windows(*places: int) -> float:
        losses = list[float]()
        for stepper.run.step in places:
            losses.append(stepper.loss_ahead())
        return min(losses)

    num_windows = stepper.streams.num_windows
    assert num_windows == 111
    asked, original = list[int](), Stepper.loss_of

    def noted(stepper: Stepper, index: int) -> float:
        asked.append(index)
        return original(stepper, index)

    monkeypatch.setattr(Stepper, "loss_of", noted)
    # Half way back, or half a text away; and some windows back.
    for step, places in (
        (90, (45, 84)), (1, (0, 0)), (6, (3, 0)), (7, (3, 1)), (30, (15, 24)), (111, (55, 105)),
        (112, (56, 106)), (150, (94, 33)),
    ):  # fmt: skip
        stepper.run.step = step
        asked.clear()
        there = course.loss_behind(stepper)
        assert asked == list(places)
        assert there == of_windows(*places)
        assert there != of_windows(step)
    for losses in ((float("nan"), 2.0), (2.0, float("nan"))):
        told = iter(losses)
        with monkeypatch.context() as patch:
            patch.setattr(Stepper, "loss_of", lambda stepper, index, told=told: next(told))
            assert course.loss_behind(stepper) == 2.0
