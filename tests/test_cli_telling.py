"""What is told before a run and of how it goes on, so that it can be typed."""

import json
import re
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL, TEXT
from jobs import make_job, stopped_at

from lstmgen import checkpoint, dataset
from lstmgen.cli import console, telling
from lstmgen.cli.telling import _as_given, to_resume
from lstmgen.config import CorpusConfig
from lstmgen.corpus import Text
from lstmgen.pace import TimeLimit, Timing
from lstmgen.progress import Progress
from lstmgen.run import fresh_run
from lstmgen.scoring import Score
from lstmgen.training import train


@pytest.mark.parametrize("level", ["char", "word"])
def test_the_flags_that_the_plan_names_repeat_it_to_the_bit(
    level: str, corpus: Path, tmp_path: Path, here: Any
) -> None:
    options = ("--batch-size", "4", "--window", "16", "--seed", "3", "--epochs", "0.5",
               "--learning-rate", "0.012345678", "--min-count", "1", "--threads", "1",
               "--encoding", "cp1252")  # fmt: skip
    (tmp_path / "corpus.txt").write_bytes(
        (corpus.read_text() + "A crème brûlée.\n" * 40).encode("cp1252")
    )
    corpus = tmp_path / "corpus.txt"
    first = here("train", corpus, "-m", tmp_path / "a", "--level", level, *options)
    (flags,) = re.findall(r"^repeat +(.*)$", first.err, re.MULTILINE)
    for name in ("cell", "num-layers", "hidden-size", "embedding-size", "steps", "batch-size", "window",
                 "learning-rate", "adamw-share", "weight-decay", "dropout", "weight-drop", "memory",
                 "softmax-sample", "seed", "precision"):  # fmt: skip
        assert f"--{name} " in flags
    again = here("train", corpus, "-m", tmp_path / "b", *flags.split())
    assert again.code == 0, again.err
    assert f"repeat      {flags}\n" in again.err
    one, other = (checkpoint.load_model(tmp_path / name).weights for name in "ab")
    assert all((one[name] == other[name]).all() for name in one)


def test_the_flags_name_the_other_files_too(
    model: Path, corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lstmgen.cli.options.MAX_HELD_OUT", 100)
    held_out = tmp_path / "held out.txt"
    held_out.write_text("Eve went to Bern.\n" * 9)
    first = here("train", corpus, "-m", tmp_path / "a", "--steps", "3", "--batch-size", "4",
                 "--window", "16", "--init-from", model, "--valid-file", held_out)  # fmt: skip
    assert first.code == 0, first.err
    (flags,) = re.findall(r"^repeat +(.*)$", first.err, re.MULTILINE)
    again = here("train", corpus, "-m", tmp_path / "b", *shlex.split(flags))
    assert again.code == 0, again.err
    one, other = (checkpoint.load_model(tmp_path / name) for name in "ab")
    assert all((one.weights[name] == other.weights[name]).all() for name in one.weights)
    assert one.results["nats"] == other.results["nats"]
    size = len(corpus.read_text())
    assert f": {size:,} characters; {size:,} characters to train on, " in first.err
    assert f" {len(held_out.read_text()):,} of --valid-file to validate on" in first.err
    assert "--valid-fraction" not in flags  # however long the text is
    held_out.write_text("Eve went to Rome.\n" * 9)
    done = here("train", corpus, "-m", tmp_path / "a", "--resume", "--valid-file", held_out)
    assert "--valid-file is not what the run began with; give that one" in done.error
    done = here("train", corpus, "-m", tmp_path / "a", "--resume", "--steps", "99")
    assert "began with a --valid-file; give it again, or begin anew" in done.error
    assert here("train", corpus, "-m", tmp_path / "c", "--steps", "2", *SMALL).code == 0
    done = here("train", corpus, "-m", tmp_path / "c", "--resume", "--valid-file", held_out)
    assert "began without a --valid-file; leave it out, or begin anew" in done.error


def test_no_more_than_a_million_characters_are_held_out_unasked(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lstmgen.cli.options.MAX_HELD_OUT", 100)
    for options, held_out in (((), 100), (("--valid-fraction", "0.1"), round(len(TEXT) / 10))):
        folder = tmp_path / str(held_out)
        done = here("train", corpus, "-m", folder, "--steps", "2", *SMALL, *options)
        assert ("--valid-fraction 0.1 " in done.err) == bool(options)  # in the flags that repeat it
        (told,) = re.findall(r"([\d,]+) to validate on", done.err)
        assert int(told.replace(",", "")) == pytest.approx(held_out, abs=1)
    assert here("train", corpus, "-m", tmp_path / "100", "--resume", "--steps", "4").code == 0


def test_a_short_corpus_shrinks_the_batch_and_says_so(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    done = here("train", corpus, "-m", tmp_path / "m", "--steps", "1", "--hidden-size", "8",
                "--batch-size", "1000", "--window", "64")  # fmt: skip
    assert done.code == 0
    assert f"tokens in {(int(len(TEXT) * 0.9) - 1) // 63} of 1000 streams" in done.err


def test_a_sample_of_more_symbols_than_there_are_is_said_to_be_all(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    options = ("train", corpus, "-m", tmp_path / "m", "--overwrite", "--steps", "1", *SMALL)
    told = "--softmax-sample 99 is no less than the "
    assert told in here(*options, "--softmax-sample", "99").err
    for fewer in ([], ["--softmax-sample", "9"]):
        assert "note: --softmax-sample" not in here(*options, *fewer).err


def test_validating_on_the_text_itself_is_told(corpus: Path, tmp_path: Path, here: Any) -> None:
    options = ("train", corpus, "-m", tmp_path / "m", "--steps", "1", *SMALL, "--valid-file")
    assert "--valid-file is trained on too" in here(*options, corpus).err
    other = tmp_path / "other.txt"
    other.write_text(TEXT)  # the same by another name
    assert "--valid-file is trained on too" in here(*options, other, "--overwrite").err
    other.write_text(TEXT[5:])
    assert "--valid-file is trained on too" not in here(*options, other, "--overwrite").err
    both = ("train", corpus, other, *options[2:-1], "--overwrite", "--valid-file")
    assert "--valid-file is trained on too" in here(*both, f"{tmp_path}/./other.txt").err


def test_unknown_tokens_to_validate_on_are_counted(corpus: Path, tmp_path: Path, here: Any) -> None:
    other = tmp_path / "other.txt"
    other.write_text("Ann went ßß to € Rome.\n" * 20)
    done = here(
        "train", corpus, "--valid-file", other, "-m", tmp_path / "m", "--steps", "1", *SMALL
    )
    counted = json.loads(here("eval", "-m", tmp_path / "m", other, "--json").out)
    assert counted["unknown_tokens"] == 60
    assert "of --valid-file to validate on, 60 of them unknown\n" in done.err
    assert (
        "them unknown"
        not in here("train", corpus, "-m", tmp_path / "n", "--steps", "1", *SMALL).err
    )


def test_the_plan_tells_what_is_replaced_and_where_a_run_goes_on(tmp_path: Path, here: Any) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abcdefghij\n" * 2000 + "YZ" + "abcdefghij\n" * 400)
    first = here("train", path, "-m", tmp_path / "m", "--steps", "2", *SMALL)
    assert "which replaces 2 characters not kept and 1 character drawn at random\n" in first.err
    assert re.search(r" after 2 steps and [01] seconds? of training\n", first.err)
    again = here("train", path, "-m", tmp_path / "m", "--resume", "--steps", "3", *SMALL)
    assert " epochs), from step 2; " in again.err


def test_standard_input_is_named_so_in_the_plan(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for texts, named in (("-",), "standard input"), (("-", corpus), "2 files, standard input to"):
        with corpus.open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            done = here(
                "train", *texts, "-m", tmp_path / "m", "--overwrite", "--steps", "1", *SMALL
            )
        assert done.err.startswith(f"corpus      {named}")
        assert f": {len(texts) * corpus.stat().st_size:,} characters" in done.err


def test_a_text_without_line_ends_is_told(tmp_path: Path, here: Any) -> None:
    path = tmp_path / "one.txt"
    line = "Ann went to Rome. "
    texts = (line * 60, line * 30 + "\n" + line * 30, (line + "\n") * 60)
    for text, told in zip(texts, (True, True, False), strict=True):
        path.write_text(text)
        done = here("train", path, "-m", tmp_path / "m", "--overwrite", "--steps", "1", *SMALL)
        assert ("no line end is among the symbols" in done.err) == told


def test_a_list_in_order_is_told_to_be_one(tmp_path: Path, here: Any) -> None:
    path = tmp_path / "names.txt"
    names = sorted(f"{a}{b}{c}\n" for a in "abcdefghij" for b in "aeiou" for c in "lmnr")
    for text, sorted_ in (("".join(names), True), ("".join(names[::3] + names[1::3][::-1]), False)):
        path.write_text(text)
        done = here("train", path, "-m", tmp_path / "m", "--steps", "1", "--overwrite", *SMALL)
        assert done.code == 0
        assert ("are in order, and the model will learn that" in done.err) == sorted_


def test_text_whose_words_are_set_apart_already_is_told_to_be_so(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    path = tmp_path / "wiki.txt"
    path.write_text("The <unk> of the town , and its <unk> .\n" * 60)
    cuts = (["word"], True), (["word", "--words", "space"], False), (["char"], False)
    for cut, told in (*cuts, (["word", "--words", "prose"], False)):
        options = ["-m", tmp_path / "m", "--steps", "1", "--overwrite", *SMALL, "--level", *cut]
        done = here("train", path, *options)
        assert done.code == 0
        assert ("if it is such text, give --words space" in done.err) == told
    known, begun = tmp_path / "known", tmp_path / "begun"
    assert here("train", corpus, "-m", known, "--steps", "1", *SMALL, "--level", "word").code == 0
    done = here("train", path, "-m", begun, "--steps", "1", "--init-from", known)
    assert done.code == 0
    assert "give --words space" not in done.err  # which that model leaves no choice of


def test_a_run_whose_loss_blew_up_is_told_with_the_rate_that_it_goes_on_with(
    tmp_path: Path,
) -> None:
    job = make_job(tmp_path)
    list(train(job))
    saved = checkpoint.load_run(tmp_path)
    assert "of that" not in telling.of_job(job, {}, saved)
    saved = replace(saved, position=replace(saved.position, retreats=2))
    rate = f"learning rate {job.training.learning_rate:g}"
    assert f"; {rate} (1/8 of that, as the loss blew up), " in telling.of_job(job, {}, saved)


def test_the_plan_of_a_run_by_time_tells_where_the_time_is_from(tmp_path: Path) -> None:
    job = replace(make_job(tmp_path), time_limit=TimeLimit(60.0, Timing(0.1, 1.0)))
    saved = stopped_at(5, job)
    for given, before, told in (
        ({}, None, "--minutes 5 (the default): about 8 steps"),
        ({"minutes": 2.5}, None, "--minutes 2.5: about 8 steps"),
        ({}, saved, "about 8 steps"),  # to the end that it had
        ({"minutes": 2.5}, saved, "--minutes 2.5: about 8 steps"),
    ):
        assert f"\ntraining    {told} of 4 x 16" in telling.of_job(job, given, before)


def test_what_goes_on_is_told_so_that_it_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/some where/lstmgen"])
    for known, program in (("/bin/lstmgen", "lstmgen"), (None, "'/opt/some where/lstmgen'")):
        monkeypatch.setattr(shutil, "which", lambda name, known=known: known)
        assert console.program() == program
    monkeypatch.setattr(sys, "argv", ["/lib/lstmgen/__main__.py"])
    assert console.program() == shlex.join([sys.executable, "-m", "lstmgen"])
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/lstmgen")
    given: dict[str, Any] = {
        "corpus": ["a.txt", "-"],
        "model": "m",
        "encoding": "utf-8",
        "device": "auto",
    }
    again = "--valid-file 'v w' --threads 2 --resume --model m"
    given |= {"valid_file": "v w", "threads": 2, "init_from": "other"}
    assert to_resume(given) == f"lstmgen train a.txt - {again}"
    assert to_resume(given | {"corpus": ["-w x.txt"]}) == f"lstmgen train {again} -- '-w x.txt'"
    odd = given | {"valid_file": "auto", "init_from": "utf-8"}  # usual values of other options
    assert "--valid-file auto " in to_resume(odd)
    assert _as_given(odd)["init_from"] == "utf-8"
    on = {"corpus": ["a.txt"], "device": "cpu", "encoding": "latin-1", "model": "lstmgen-model"}
    told = "lstmgen train a.txt --encoding latin-1 --device cpu --resume"
    assert to_resume(on) == told
    monkeypatch.setenv("LSTMGEN_MODEL", "another")
    assert to_resume(on) == f"{told} --model lstmgen-model"


def test_what_to_type_names_the_command_as_it_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["/opt/some where/lstmgen"])
    name = "'/opt/some where/lstmgen'"
    assert to_resume({"corpus": ["a"], "model": "m"}) == f"{name} train a --resume --model m"
    assert telling.to_try([]) == f"try         {name} sample\n            {name} eval other.txt"


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (1, " 1 step of"),
        (5, " 5 steps of 4 x 16 tokens (0.045 epochs)"),
        (111, "(1 epoch)"),
        (500, "(4.5 epochs)"),
        (500_000, "(4,505 epochs)"),
    ],
)
def test_a_plan_tells_steps_and_epochs_as_people_write_numbers(
    tmp_path: Path, steps: int, told: str
) -> None:
    job = make_job(tmp_path)
    job = replace(job, training=replace(job.training, num_steps=steps))
    assert told in telling.of_job(job, {}, None)


@pytest.mark.parametrize(
    ("odd", "told"), [("Y", "1 word or mark not kept"), ("Y Z", "2 words and marks not kept")]
)
def test_by_word_the_plan_tells_of_words_and_marks(odd: str, told: str) -> None:
    text = Text("text", f"a b {odd}\n" + "a b c\n" * 300)
    data = dataset.prepare(text, CorpusConfig(level="word"), seed=1)
    assert telling.of_data(data).endswith(f"which replaces {told}")


def test_a_plan_tells_its_numbers_by_their_names(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    numbers: dict[str, Any] = {
        "learning_rate": 0.31,
        "weight_decay": 0.32,
        "dropout": 0.33,
        "weight_drop": 0.34,
    }
    job = replace(job, training=replace(job.training, seed=35, precision="bfloat16", **numbers))
    size, device, line = telling.of_job(job, {}, None).splitlines()
    parameters = sum(part.size for part in fresh_run(job).network.weights().values())
    assert size == f"model       LSTM 2 x 12, embedding 6: {parameters:,} parameters"
    assert device.endswith(", bfloat16")
    assert line == (
        "training    8 steps of 4 x 16 tokens (0.0721 epochs); learning rate 0.31, weight decay 0.32, "
        "dropout 0.33, weight drop 0.34, seed 35"
    )


def test_how_well_a_model_knows_the_text_is_told() -> None:
    for saved, told in ((0.2566, "25.7"), (0.0049, "0.49"), (0.9961, "99.6"), (0.99999, "100")):
        assert f"it saves {told} % of the nats that a guess by freq" in telling.of_knowledge(saved)
    for saved in (0.0, -0.7):
        assert "the text no better than a guess by frequencies would" in telling.of_knowledge(saved)


def test_an_extended_run_that_has_not_come_down_again_is_said_to_be_so() -> None:
    best, last = Score(20.0, 10, 50), Score(40.0, 10, 50)
    end = Progress(9, 9, 0.5, 3.0, 0.01, 100.0, 2.0, best, best_step=5, score=last)
    for raised_at, said in (
        (None, "has risen since"),
        (4, "has risen since"),
        (5, "--overwrite"),
    ):
        told = telling.what_is_odd(end, raised_at)
        assert [s for s in ("has risen since", "--overwrite") if s in told] == [said]


@pytest.mark.parametrize(("nats", "said"), [(20.09, False), (20.11, True)])
def test_a_loss_that_has_risen_by_half_a_per_cent_is_told(nats: float, said: bool) -> None:
    best, last = Score(20.0, 10, 50), Score(nats, 10, 50)
    end = Progress(9, 9, 0.5, 3.0, 0.01, 100.0, 2.0, best, best_step=5, score=last)
    assert ("has risen since" in telling.what_is_odd(end)) == said
    # As of a run that did not know yet when its model was the best.
    assert telling.what_is_odd(replace(end, best_step=None)) == ""


def test_the_last_words_of_a_run_are_of_its_best_model() -> None:
    best, last = Score(20.0, 10, 50), Score(40.0, 10, 50)
    told = telling.of_end(
        Progress(9, 9, 0.5, 3.0, 0.01, 100.0, 2.0, best, best_step=5, score=last), "m"
    )
    assert "best validation 2.0000 nats a token (0.577 bits/character, perplexity 7.389)" in told
    assert told.endswith(" after 9 steps and 3 seconds of training")
