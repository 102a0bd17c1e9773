"""`train --resume`: what must be as it was, what may change, and what is said of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL, TEXT
from jobs import NUM_STEPS, make_job, stopped_at

from lstmgen import (
    checkpoint,
    device,
    folders,
    pace,
    training,
)
from lstmgen.cli import options, resuming
from lstmgen.corpus import Text
from lstmgen.errors import OptionError
from lstmgen.scoring import Score
from lstmgen.training import train


def test_the_streams_that_were_asked_for_can_be_named_again_where_they_were_fewer(
    tmp_path: Path, here: Any
) -> None:
    (text := tmp_path / "short.txt").write_text("ab cd\n" * 22 + "a")
    begin = ("train", text, "-m", tmp_path / "m", "--hidden-size", "8", "--batch-size", "100")
    assert here(*begin, "--steps", "2").code == 0
    assert checkpoint.load_run(tmp_path / "m").training.batch_size < 100
    assert here(*begin, "--steps", "3", "--resume").code == 0


def test_resume_refuses_another_corpus_or_network(corpus: Path, tmp_path: Path, here: Any) -> None:
    folder, other = tmp_path / "m", tmp_path / "other.txt"
    other.write_text(TEXT + "One more line.\n")
    assert here("train", corpus, "-m", folder, "--steps", "2", *SMALL).code == 0
    files = {path: path.read_bytes() for path in folder.iterdir()}
    resume = ("-m", folder, "--resume", "--steps", "4")
    error = here("train", other, *resume).error
    assert f"not the text that the run began with ({corpus}); give that one" in error
    assert "--init-from" in error
    assert "--hidden-size 32" in here("train", corpus, *resume, "--hidden-size", "32").error
    assert "--level word" in here("train", corpus, *resume, "--level", "word").error
    others = {
        "learning-rate": 0.5, "adamw-share": 0.9, "dropout": 0.3, "weight-drop": 0.4, "weight-decay": 0.5,
        "memory": 50, "softmax-sample": 5, "batch-size": 2, "window": 8, "seed": 9, "num-layers": 3,
        "embedding-size": 5, "cell": "gru", "min-count": 3, "valid-fraction": 0.2,
    }  # fmt: skip
    for name, value in others.items():
        error = here("train", corpus, *resume, f"--{name}", str(value)).error
        assert f"--{name} {value} is not what the run began with (" in error
    began = checkpoint.load_run(folder).training.precision
    for precision in {"float32", "bfloat16"} - {began}:
        error = here("train", corpus, *resume, "--precision", precision).error
        assert f"{precision} is not what the run began with (--precision {began})" in error
    error = here("train", corpus, *resume, "--tie").error
    assert "--tie is not what the run began with (--no-tie)" in error
    error = here("train", corpus, *resume, "--max-vocab", "9").error
    assert "--max-vocab 9 is not what the run began with (no --max-vocab)" in error
    assert "step 2" in here("train", corpus, "-m", folder, "--resume").error
    assert {path: path.read_bytes() for path in folder.iterdir()} == files
    moved = tmp_path / "moved.txt"  # the corpus is known by what it says, not by its name
    moved.write_text(TEXT)
    done = here("train", moved, *resume, *SMALL)
    assert done.code == 0
    assert checkpoint.load_run(folder).position.step == 4


def test_a_later_end_raises_the_rate_where_it_is_much_later(tmp_path: Path) -> None:
    list(train(make_job(tmp_path)))
    saved = checkpoint.load_run(tmp_path)  # through, so that its rate has come to 0
    assert resuming.raised_at(saved, saved.training) is None
    assert resuming.raised_at(saved, replace(saved.training, num_steps=1000)) == NUM_STEPS
    config = replace(saved.training, num_steps=1000)
    midway = replace(saved, training=config, position=replace(saved.position, step=600))
    for num_steps, raised in ((1001, False), (900, False), (1020, False), (1100, True)):
        at = resuming.raised_at(midway, replace(config, num_steps=num_steps))
        assert at == (600 if raised else None)


def test_a_run_goes_on_with_the_symbols_that_it_began_with(
    model: Path, tmp_path: Path, here: Any
) -> None:
    other = tmp_path / "other.txt"
    other.write_text(TEXT.replace("Ann", "En"))
    options = ("train", other, "-m", tmp_path / "m")
    assert here(*options, "--steps", "1", *SMALL[4:], "--init-from", model).code == 0
    before = checkpoint.load_model(tmp_path / "m").vocabulary
    assert "A" in before.tokens  # which is in the other text alone
    done = here(*options, "--steps", "2", "--resume")
    assert done.code == 0, done.err
    assert checkpoint.load_run(tmp_path / "m").model.vocabulary == before


def test_a_run_goes_on_to_validate_on_what_it_held_out(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    held_out = tmp_path / "held-out.txt"
    held_out.write_text("Eve went to Bern.\n" * 9)
    for name, given in (("a", ("--valid-fraction", "0.3")), ("b", ("--valid-file", held_out))):
        options = ("train", corpus, "-m", tmp_path / name)
        first = here(*options, "--steps", "2", *given, *SMALL)
        again = here(*options, "--steps", "4", "--resume", *given[: 2 * (name == "b")])
        assert (first.code, again.code) == (0, 0), again.err
        assert first.err.splitlines()[0] == again.err.splitlines()[0]  # the numbers of both parts


def test_resume_refuses_another_way_to_cut_words(corpus: Path, tmp_path: Path, here: Any) -> None:
    begin = ("train", corpus, "-m", tmp_path / "m", *SMALL)
    assert here(*begin, "--level", "word", "--steps", "1").code == 0
    error = here(*begin, "--resume", "--steps", "2", "--words", "space").error
    assert "--words space is not what the run began with (--words prose)" in error


def test_a_resumed_run_keeps_its_plan_wherever_its_end_is(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    """Also what would be planned otherwise for an end so much later."""
    given: dict[str, Any] = {
        "dropout": 0.3,
        "weight_drop": 0.2,
        "weight_decay": 0.03,
        "learning_rate": 0.02,
    }
    flags = [part for name, value in given.items()
             for part in (f"--{name.replace('_', '-')}", str(value))]  # fmt: skip
    for name, more in (("given", flags), ("planned", [])):
        options = ("train", corpus, "-m", tmp_path / name)
        assert here(*options, "--steps", "2", *more, *SMALL).code == 0
        first = checkpoint.load_run(tmp_path / name).training
        assert here(*options, "--resume", "--steps", "400", "--precision", "auto").code == 0
        then = checkpoint.load_run(tmp_path / name).training
        assert then == replace(first, num_steps=400, report_every=then.report_every)
        if more:
            assert then == replace(then, **given)


def test_resume_on_another_device_is_said(corpus: Path, tmp_path: Path, here: Any) -> None:
    options = (corpus, "-m", tmp_path / "m", "--device", "cpu")
    assert here("train", *options, *SMALL, "--steps", "2").code == 0
    saved = checkpoint.load_run(tmp_path / "m")
    assert saved.position.device == "cpu"
    moved = replace(saved, position=replace(saved.position, device="cuda"))
    checkpoint.save_run(tmp_path / "m" / folders.RUN_FILE, moved)
    said = here("train", *options, "--resume", "--steps", "4")
    assert said.code == 0
    assert "the run was on cuda and is continued on cpu: its weights may differ" in said.err
    saved = checkpoint.load_run(tmp_path / "m")
    older = replace(saved, position=replace(saved.position, device=""))  # which did not keep it
    checkpoint.save_run(tmp_path / "m" / folders.RUN_FILE, older)
    assert "is continued on" not in here("train", *options, "--resume", "--steps", "5").err
    assert "is continued on" not in here("train", *options, "--resume", "--steps", "6").err


def test_a_run_that_goes_on_says_so_of_its_own_end_alone(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = iter([9.0, 7.0, 8.0, 9.0])
    monkeypatch.setattr(training, "validate", lambda network, job: Score(next(costs), 1, 1))
    monkeypatch.setattr(pace, "report_interval", lambda *_, **__: 50)
    begin = ("train", corpus, "-m", tmp_path / "m", *SMALL)
    assert "with its later end" not in here(*begin, "--steps", "100").err
    done = here(*begin, "--steps", "200", "--resume")
    assert "kept is that of step 100 of 200: with its later end" in done.err


def test_the_batch_that_a_run_began_with_is_taken_when_it_goes_on(
    tmp_path: Path, here: Any
) -> None:
    text, folder = tmp_path / "short.txt", tmp_path / "m"
    text.write_text("ab cd\n" * 200)
    begin = ("train", text, "-m", folder, "--hidden-size", "8", "--batch-size", "100")
    assert "of 100 streams" in here(*begin, "--steps", "2", "--window", "16").err
    assert here(*begin, "--steps", "3", "--resume").code == 0
    done = here("train", text, "-m", folder, "--steps", "4", "--resume", "--no-skip")
    assert "--no-skip is not what the run began with (--skip)" in done.err


def test_a_run_that_is_to_go_on_for_long_reports_no_more_often_than_a_new_one(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    options = ("train", corpus, "--hidden-size", "8", "--window", "16")
    for folder, steps in (("a", ["1"]), ("a", ["200", "--resume"]), ("b", ["200"])):
        assert here(*options, "-m", tmp_path / folder, "--steps", *steps).code == 0
    one, other = (checkpoint.load_run(tmp_path / folder).training for folder in "ab")
    assert one.report_every == other.report_every > 1


def test_a_run_in_bfloat16_goes_on_in_float32_where_a_processor_has_none(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "m"
    options = ("train", corpus, "-m", folder, "--device", "cpu", "--cell", "gru", *SMALL)
    asked = (*options, "--precision", "bfloat16", "--steps", "2")
    monkeypatch.setattr(device, "can_bfloat16", lambda where: True)
    assert here(*asked).code == 0
    more = here(*options, "--resume", "--steps", "3")
    assert more.code == 0
    assert "is continued in" not in more.err
    assert checkpoint.load_run(folder).training.precision == "bfloat16"
    monkeypatch.setattr(device, "can_bfloat16", lambda where: False)
    assert (
        "--precision bfloat16: this processor is not made for it"
        in here(*asked, "--overwrite").error
    )
    more = here(*options, "--resume", "--steps", "4")
    assert "the run was in bfloat16" in more.err
    assert "is continued in float32" in more.err
    saved = checkpoint.load_run(folder)
    assert (saved.position.step, saved.training.precision) == (4, "float32")
    assert "is continued in" not in here(*options, "--resume", "--steps", "5").err


def test_a_run_with_more_streams_than_tokens_is_refused(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    list(train(job))
    saved = checkpoint.load_run(tmp_path)
    forged = replace(saved, training=replace(saved.training, batch_size=10**6))
    with pytest.raises(OptionError, match="the run has 1,000,000 streams"):
        resuming.require_same({}, forged, job.data)


def test_a_text_is_cut_the_same_way_when_its_run_goes_on(tmp_path: Path) -> None:
    """Where `<unk>` takes the place of random characters, which ones follows from the run's seed."""
    path = tmp_path / "text.txt"
    text = Text("text", "She sells sea shells.\n" * 3000)
    path.write_text(text.text)
    first = options.data({"seed": 5}, text, None, None)
    job = make_job(tmp_path / "m", text=text.text)
    job = replace(job, data=first, training=replace(job.training, seed=5))
    job = replace(job, model=replace(job.model, vocab_size=len(first.vocabulary)))
    again = resuming.data(job.folder, stopped_at(1, job), text, None)
    assert (again.train_ids == first.train_ids).all()
    assert (options.data({"seed": 0}, text, None, None).train_ids != first.train_ids).any()
