"""`lstmgen train` as a user and a pipeline meet it: what it says, keeps and refuses."""

import itertools
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from commands import SMALL, TEXT

from lstmgen import checkpoint, device, folders, holding, log_file, pace, training
from lstmgen.cli import console, telling, watching
from lstmgen.cli.telling import _as_given, to_resume
from lstmgen.corpus import read_all
from lstmgen.errors import TrainingError
from lstmgen.progress import Progress
from lstmgen.scoring import Score
from lstmgen.step import Stepper
from lstmgen.training import validate


def test_train_says_its_plan_and_what_to_do_next(corpus: Path, tmp_path: Path, here: Any) -> None:
    options = ("--steps", "2", "--device", "cpu", *SMALL)
    done = here("train", corpus, "-m", tmp_path / "m", *options)
    assert done.code == 0
    assert done.out == ""
    for said in (f"{len(TEXT):,} characters", "vocabulary", "parameters", "2 steps", "cpu",
                 f"lstmgen sample --model {tmp_path / 'm'}", "lstmgen eval"):  # fmt: skip
        assert said in done.err
    assert not re.search("\r|\x1b", done.err)  # progress bars are for terminals


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


def test_the_network_is_planned_around_the_options_that_are_given(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    def network(*options: str) -> dict[str, Any]:
        done = here("train", corpus, "-m", tmp_path / "m", "--overwrite", "--steps", "1", *options)
        assert done.code == 0, done.err
        return checkpoint.load_model(tmp_path / "m").config.to_json()

    short = network()
    assert short["hidden_size"] < 256  # one step feeds no large network
    assert short["embedding_size"] == 64
    assert network("--hidden-size", "20")["hidden_size"] == 20
    tied = network("--tie")
    assert tied["hidden_size"] == tied["embedding_size"] == short["hidden_size"]
    assert network("--tie", "--embedding-size", "24")["hidden_size"] == 24
    assert network("--embedding-size", "256")["embedding_size"] == 256
    untied = network("--level", "word", "--no-tie")
    assert not untied["tie"]
    assert untied["embedding_size"] == untied["hidden_size"] < 256
    untied = network("--level", "word", "--no-tie", "--hidden-size", "20")
    assert untied["embedding_size"] == 20
    apart = network("--level", "word", "--embedding-size", "24", "--hidden-size", "20")
    assert (apart["tie"], apart["embedding_size"], apart["hidden_size"]) == (False, 24, 20)
    assert network("--embedding-size", "24", "--num-layers", "1") == short | {
        "embedding_size": 24, "num_layers": 1,
    }  # fmt: skip
    many = tmp_path / "many.txt"  # as in Chinese, where each is seen as seldom as a word
    for count in (998, 999):  # and <unk>
        many.write_text("".join(map(chr, range(0x4E00, 0x4E00 + count))) * 9)
        done = here("train", many, "-m", tmp_path / "m", "--overwrite", "--steps", "1")
        assert done.code == 0, done.err
        config = checkpoint.load_model(tmp_path / "m").config
        assert config.tie == (count == 999)
        assert config.embedding_size == (config.hidden_size if config.tie else 64)


def test_train_leaves_a_picture_of_its_curves(corpus: Path, tmp_path: Path, here: Any) -> None:
    assert here("train", corpus, "-m", tmp_path / "m", "--steps", "9", *SMALL).code == 0
    picture = (tmp_path / "m" / "curves.svg").read_text("utf-8")
    assert "LSTM 2 x 16 on" in picture
    assert corpus.name in picture
    best = checkpoint.load_model(tmp_path / "m").results["nats_per_token"]
    assert f"best {best:.3f}" in picture


def test_curves_that_cannot_be_drawn_are_no_reason_to_fail(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    assert here("train", corpus, "-m", tmp_path / "m", "--steps", "9", *SMALL).code == 0
    log = tmp_path / "m" / folders.LOG_FILE
    log.write_text("no record\n" + log.read_text())
    done = here("train", corpus, "-m", tmp_path / "m", "--steps", "12", "--resume")
    assert done.code == 0
    assert f"note: the curves are not drawn: {log}, line 1" in done.err
    assert "best validation" in done.err
    assert re.search(r"bits/character, perplexity \d", done.err)


def test_train_shows_what_the_model_writes_when_asked(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    quiet = here("train", corpus, "-m", tmp_path / "a", "--steps", "3", *SMALL)
    done = here(
        "train", corpus, "-m", tmp_path / "b", "--steps", "3", "--sample-every", "0", *SMALL
    )
    assert done.code == 0
    # Three steps give at least one text of 80 characters, each with an empty line behind it.
    texts = done.err.split("\n\n")[:-1]
    assert len(done.err) - len(quiet.err) >= 80 * len(texts) > 0
    steps = [int(n) for n in re.findall(r"^a sample at step (\d):$", done.err, re.MULTILINE)]
    assert len(steps) == len(texts)
    assert steps == sorted(set(steps))


def test_a_large_vocabulary_is_trained_on_a_sample_of_it_and_scored_whole(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    options = ("--level", "word", "--steps", "100", "--hidden-size", "16", "--batch-size", "4")
    scores = []
    for sample in ("0", "8"):
        folder = tmp_path / sample
        done = here("train", corpus, "-m", folder, *options, "--softmax-sample", sample)
        assert done.code == 0, done.err
        scores.append(checkpoint.load_model(folder).results["nats_per_token"])
        scored = here("eval", corpus, "-m", folder, "--json")
        assert json.loads(scored.out)["nats_per_token"] < 2  # of log 28 = 3.3 for no knowledge
        held_out = tmp_path / "held-out.txt"
        held_out.write_text(TEXT[int(len(TEXT) * 0.9) :])
        scored = here("eval", held_out, "-m", folder, "--json")
        assert json.loads(scored.out)["nats_per_token"] == pytest.approx(scores[-1], rel=1e-4)
    assert scores[0] != scores[1]
    assert max(scores) < 2


def test_a_run_of_minutes_keeps_its_time_and_says_it(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The start is counted from that of the process, which here is that of all the tests.
    monkeypatch.setattr(time, "process_time", lambda: 0.0)
    done = here("train", corpus, "-m", tmp_path / "a", "--minutes", "0.05", *SMALL)
    assert done.code == 0, done.err
    assert "--minutes 0.05: about" in done.err
    assert 1 < checkpoint.load_run(tmp_path / "a").position.seconds < 4  # 3 asked for
    short = ("train", corpus, "-m", tmp_path / "c", "--minutes", "0.001", *SMALL)
    assert "is over before" in here(*short).error
    monkeypatch.setattr(time, "process_time", lambda: 40.0)
    done = here("train", corpus, "-m", tmp_path / "c", "--minutes", "0.5", *SMALL)
    assert "the start took 4" in done.error
    monkeypatch.setattr(time, "process_time", lambda: 0.0)
    monkeypatch.setattr("lstmgen.cli.options.DEFAULT_MINUTES", 0.06)
    done = here("train", corpus, "-m", tmp_path / "b", *SMALL)
    assert "--minutes 0.06 (the default): about" in done.err


def test_a_run_beside_other_programs_says_that_it_takes_fewer_threads_for_now(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "process_time", lambda: 0.0)
    number = torch.get_num_threads()
    monkeypatch.setattr("lstmgen.cli.fitting.take_threads", lambda *given: number + 1)
    done = here("train", corpus, "-m", tmp_path, "--minutes", "0.05", "--device", "cpu", *SMALL)
    assert f"cpu, {number} of {number + 1} threads, as many as get cores now, " in done.err
    assert torch.get_num_threads() == number + 1  # all again


def test_a_run_of_minutes_says_when_validation_leaves_little_or_nothing(
    model: Path, corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "process_time", lambda: 0.0)
    clock = SimpleNamespace(now=lambda: 0.0, without_suspensions=nullcontext)  # of the start alone
    for module in ("train", "fitting"):
        monkeypatch.setattr(sys.modules[f"lstmgen.cli.{module}"], "stopwatch", clock)
    told = []
    for seconds in (0.1, 1.5, 50.0):
        monkeypatch.setattr(
            "lstmgen.measuring.measure", lambda job, s=seconds: pace.Timing(0.01, s)
        )
        told.append(
            here("train", corpus, "-m", tmp_path / f"{seconds}", "--minutes", "0.06", *SMALL)
        )
    assert "to validate once" not in told[0].err
    assert "note: to validate once takes about 1.5 seconds, of 3.1 that are left" in told[1].err
    assert told[1].code == 0
    assert (
        "--minutes 0.06 leaves no time to train: the start took 0.0 seconds, 3.1 are left, and to validate "
        "once takes about 50.0 seconds; give more, or a smaller" in told[2].error
    )
    monkeypatch.setattr("lstmgen.measuring.measure", lambda job: pace.Timing(0.01, 0.5))
    steps = list[int]()
    for start in (SMALL, (*SMALL[4:], "--init-from", model)):
        done = here("train", corpus, "-m", tmp_path / f"{len(steps)}", "--minutes", "0.06", *start)
        steps += [int(number) for number in re.findall(r"about (\d+) steps", done.err)]
    assert steps[1] == steps[0] - 50  # half a second
    monkeypatch.setattr("lstmgen.measuring.measure", lambda job: pace.Timing(0.01, 2.0))
    options = ("--minutes", "0.06", *SMALL[4:], "--init-from", model)  # which is scored first
    error = here("train", corpus, "-m", tmp_path / "twice", *options).error
    assert (
        "3.1 are left, and to validate once takes about 2.0 seconds, and it is done twice;" in error
    )
    monkeypatch.setattr("lstmgen.measuring.measure", lambda job: pace.Timing(0.01, 50.0))
    more = here("train", corpus, "-m", tmp_path / "0.1", "--resume", "--minutes", "0.1")
    assert re.search(
        r"note: to validate once takes about 50.0 seconds, of \d.\d that are left\n", more.err
    )
    assert more.code == 0


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


def test_a_quiet_run_that_is_stopped_tells_how_to_go_on(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Stepper.step

    def stopped_at_9(stepper: Any, rate: float) -> Any:
        if stepper.run.step == 8:
            signal.raise_signal(signal.SIGTERM)
        return original(stepper, rate)

    monkeypatch.setattr(Stepper, "step", stopped_at_9)
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    done = here("train", corpus, "-m", tmp_path / "m", "--steps", "20", "--quiet", *SMALL)
    assert done.code == 143
    assert done.err.startswith("stopped at step 9 of 20 and saved; to go on:\n  lstmgen train ")


def test_quiet_says_nothing(corpus: Path, tmp_path: Path, here: Any) -> None:
    done = here("train", corpus, "-m", tmp_path / "m", "--steps", "2", "--quiet", *SMALL)
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ((), "LSTM 2 x 16"),
        (("--cell", "gru", "--num-layers", "1"), "GRU 1 x 16"),
        (("--cell", "rnn", "--num-layers", "3"), "RNN 3 x 16"),
        (("--level", "word"), "tied"),
        (("--level", "word", "--words", "space", "--no-tie", "--max-vocab", "20"), "20 symbols"),
    ],
)
def test_every_kind_of_model_is_trained_sampled_and_scored(
    corpus: Path, tmp_path: Path, here: Any, options: tuple[str, ...], shown: str
) -> None:
    folder, small = tmp_path / "m", SMALL[:2] + SMALL[4:]
    done = here("train", corpus, "-m", folder, "--steps", "3", *small, *options)
    assert done.code == 0, done.err
    assert shown in done.err
    sampled = here("sample", "-m", folder, "-l", "9", "--seed", "1", "--json")
    assert json.loads(sampled.out)["tokens"] == 9
    scored = json.loads(here("eval", "-m", folder, corpus, "--json").out)
    assert scored["characters"] == len(TEXT)
    assert 0 < scored["bits_per_character"] < 8


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


def test_a_folder_with_a_model_is_not_overwritten_unasked(
    model: Path, corpus: Path, here: Any
) -> None:
    before = (model / folders.MODEL_FILE).read_bytes()
    assert "--overwrite" in here("train", corpus, "-m", model, "--steps", "1").error
    assert (model / folders.MODEL_FILE).read_bytes() == before


def test_resume_refuses_another_corpus_or_network(corpus: Path, tmp_path: Path, here: Any) -> None:
    folder, other = tmp_path / "m", tmp_path / "other.txt"
    other.write_text(TEXT + "One more line.\n")
    assert here("train", corpus, "-m", folder, "--steps", "2", *SMALL).code == 0
    files = {path: path.read_bytes() for path in folder.iterdir()}
    resume = ("-m", folder, "--resume", "--steps", "4")
    error = here("train", other, *resume).error
    assert "not the text that the run began with" in error
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


def test_resume_refuses_another_way_to_cut_words(corpus: Path, tmp_path: Path, here: Any) -> None:
    begin = ("train", corpus, "-m", tmp_path / "m", *SMALL)
    assert here(*begin, "--level", "word", "--steps", "1").code == 0
    error = here(*begin, "--resume", "--steps", "2", "--words", "space").error
    assert "--words space is not what the run began with (--words prose)" in error


def test_a_folder_that_is_being_trained_in_is_refused_and_can_be_read(
    corpus: Path, model: Path, tmp_path: Path, here: Any
) -> None:
    folder = tmp_path / "m"
    with holding.claimed(folder, resume=False, overwrite=False):
        checkpoint.save_model(folder / folders.MODEL_FILE, checkpoint.load_model(model))
        for option in ("--overwrite", "--resume", "--quiet"):
            refused = here("train", corpus, "-m", folder, option)
            assert "another lstmgen is training there" in refused.error
        assert here("eval", corpus, "-m", folder).code == 0


def test_a_loss_that_blows_up_is_said_and_mended(corpus: Path, tmp_path: Path, here: Any) -> None:
    options = ("--steps", "200", "--learning-rate", "40", "--quiet", *SMALL)
    ran = here("train", corpus, "-m", tmp_path / "m", *options)
    assert ran.code == 0
    assert re.search(
        r"note: the loss blew up at step \d+ .*; back to step \d+, to go on with", ran.err
    )
    assert checkpoint.load_model(tmp_path / "m").results["nats_per_token"] < 2  # 3.4 for a guess


@pytest.mark.parametrize("other", [("--cell", "rnn"), ("--init-from", "m")])
def test_memory_is_for_fresh_gates(corpus: Path, here: Any, other: tuple[str, str]) -> None:
    assert "--memory 20 is for" in here("train", corpus, "--memory", "20", *other).error


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


def stopped(command: list[str], number: int, code: int, fed: str = "") -> str:
    """What a run says that is sent a signal half a second after it has begun.

    It is `fed` what the shell makes of that.
    """
    line = f"exec {shlex.join([sys.executable, '-m', 'lstmgen', *command])} {fed}"
    with subprocess.Popen(["bash", "-c", line], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("training"):
                break
        time.sleep(0.5)
        process.send_signal(number)
        said = process.stderr.read()
    assert process.returncode == code
    return said


def test_a_signal_saves_and_tells_how_to_go_on(corpus: Path, tmp_path: Path, here: Any) -> None:
    """Ctrl-C in a new run, and SIGTERM in the same when it goes on."""
    folder, before = tmp_path / "m", 0
    command = ["train", str(corpus), "-m", str(folder), "--steps", "100000"]
    for number, code, more in (
        (signal.SIGINT, 130, SMALL),
        (signal.SIGTERM, 143, ("--resume",)),
    ):
        said = stopped([*command, *more], number, code)
        step = checkpoint.load_run(folder).position.step
        assert f"stopped at step {step:,} of 100,000 and saved" in said
        assert f"lstmgen train {corpus} --resume --model {folder}" in said
        assert f"{folder} holds the model of that step, which has not been validated yet" in said
        assert "still holds the earlier model" not in said
        assert checkpoint.load_model(folder).results["step"] == step > before
        assert here("sample", "-m", folder, "-l", "5").code == 0
        before = step


def test_a_stop_tells_of_a_model_that_took_the_place_of_one_that_was_gone(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    folder = tmp_path / "m"
    command = ["train", str(corpus), "-m", str(folder)]
    assert here(*command, "--steps", "4", *SMALL).code == 0
    (folder / "model.safetensors").unlink()
    said = stopped([*command, "--steps", "100000", "--resume"], signal.SIGINT, 130)
    assert f"{folder} holds the model of that step, which has not been validated yet" in said


def test_what_came_through_a_pipe_is_to_be_given_again(corpus: Path, tmp_path: Path) -> None:
    command = ["train", "-m", str(tmp_path / "m"), "--steps", "1000000", *SMALL, "-"]
    said = stopped(command, signal.SIGINT, 130, fed=f"<(cat {corpus}) < {corpus}").splitlines()
    assert "note: standard input is to give the same text again" in said
    assert [text for text in said if re.fullmatch(r"note: /dev/fd/\d+ is to give .*", text)]
    of_a_file = [*command[:-1], str(corpus), "--overwrite", "--valid-file", "-"]
    told = stopped(of_a_file, signal.SIGINT, 130, fed=f"< {corpus}")
    assert re.findall(r"note: (.*) is to give the same text again", told) == ["standard input"]


def test_a_run_that_is_stopped_as_its_loss_blows_up_tells_which_step_is_saved(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Stepper.step

    def ruinous_at_9(stepper: Any, *about: Any) -> Any:
        done = original(stepper, *about)
        if stepper.run.step == 9:
            with torch.no_grad():
                stepper.run.network.output.bias[1] = 1e4
            signal.raise_signal(signal.SIGINT)
        return done

    monkeypatch.setattr(Stepper, "step", ruinous_at_9)
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    options = ("--steps", "100", *SMALL)  # at the fifth of which there is a place to go back to
    done = here("train", corpus, "-m", tmp_path / "m", *options)
    assert done.code == 130
    assert checkpoint.load_run(tmp_path / "m").position.step == 5
    assert "stopped at step 5 of 100 and saved" in done.err
    assert "the loss had blown up by step 9" in done.err


def test_what_happened_as_a_run_was_stopped_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def records() -> Iterator[Progress]:
        record = Progress(9, 20, 0.1, 1.0, 0.01, 100.0, 2.0, None)
        yield record
        signal.raise_signal(signal.SIGTERM)
        yield replace(record, step=4, note="the loss blew up; back to step 4")

    with watching.stopping(quiet=True) as caught:
        last, number = watching.follow(records(), caught, quiet=True, per_token=1.0)
    assert (last.step, number) == (4, signal.SIGTERM)
    assert capsys.readouterr().err == "note: the loss blew up; back to step 4\n"


@pytest.mark.parametrize(
    ("name", "later", "saves"),
    [
        ("SIGINT", [0.9, 0.9], True),  # as where a key is held down
        ("SIGINT", [1.1], False),
        ("SIGINT", [0.9, 1.1], False),
        ("SIGTERM", [1.1], True),
        ("SIGHUP", [1.1], True),
    ],
)
def test_only_ctrl_c_that_comes_again_after_a_second_is_meant_so(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch,
    name: str, later: list[float], saves: bool,
) -> None:  # fmt: skip
    """The shell and the system both tell of a closed terminal; a person in a hurry presses again."""
    number, original, now = getattr(signal, name), Stepper.step, [100.0]
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))

    def stopped_twice_at_9(stepper: Any, rate: float) -> Any:
        done = original(stepper, rate)
        if stepper.run.step == 9:
            signal.raise_signal(number)
            for seconds in later:
                now[0] += seconds
                signal.raise_signal(number)
        return done

    monkeypatch.setattr(Stepper, "step", stopped_twice_at_9)
    before = signal.signal(signal.SIGHUP, lambda *_: sys.exit(1))  # else it would end the tests
    try:
        done = here("train", corpus, "-m", tmp_path / "m", "--steps", "20", *SMALL)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert done.code == 128 + number
    assert watching.STOPPING in done.err
    assert (watching.LEFT in done.err) == (not saves)
    assert (tmp_path / "m" / folders.RUN_FILE).exists() == saves
    if saves:
        assert checkpoint.load_run(tmp_path / "m").position.step == 9


def test_a_signal_while_a_stopped_run_is_saved_and_told_of_costs_nothing(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, stop = Stepper.step, training._Session.stop
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: 100.0, time=time.time))

    def stopped_at_9(stepper: Any, rate: float) -> Any:
        done = step(stepper, rate)
        if stepper.run.step == 9:
            signal.raise_signal(signal.SIGINT)
        return done

    def interrupted(session: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        stop(session)

    monkeypatch.setattr(Stepper, "step", stopped_at_9)

    def interrupted_too(given: Any) -> str:
        signal.raise_signal(signal.SIGINT)
        return to_resume(given)

    monkeypatch.setattr(training._Session, "stop", interrupted)
    monkeypatch.setattr(telling, "to_resume", interrupted_too)
    done = here("train", corpus, "-m", tmp_path / "m", "--steps", "20", *SMALL)
    assert done.code == 130
    assert "to go on:\n  lstmgen train " in done.err
    assert checkpoint.load_run(tmp_path / "m").position.step == 9


def test_a_signal_at_the_end_of_a_run_stops_nothing_and_costs_nothing(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, describe = Stepper.step, watching.describe_end
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: 100.0, time=time.time))

    def interrupted(stepper: Any, rate: float) -> Any:
        if stepper.run.step == 19:
            signal.raise_signal(signal.SIGINT)
        return step(stepper, rate)

    def interrupted_too(*about: Any) -> str:
        signal.raise_signal(signal.SIGINT)
        return describe(*about)

    monkeypatch.setattr(Stepper, "step", interrupted)
    monkeypatch.setattr(watching, "describe_end", interrupted_too)
    done = here("train", corpus, "-m", tmp_path / "m", "--steps", "20", *SMALL)
    assert done.code == 0
    assert "done " in done.err
    assert (tmp_path / "m" / folders.CURVES_FILE).exists()


@pytest.mark.parametrize("wrong", [None, TrainingError, SystemExit])
def test_signals_are_met_as_before_once_a_run_is_over(wrong: type[BaseException] | None) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with suppress(TrainingError, SystemExit), watching.stopping(quiet=True):
        assert all(
            signal.getsignal(number) is not handler
            for number, handler in zip(numbers, before, strict=True)
        )
        if wrong:
            raise wrong
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_signal_in_the_last_step_stops_nothing() -> None:
    def records() -> Iterator[Progress]:
        signal.raise_signal(signal.SIGTERM)
        yield Progress(20, 20, 0.1, 1.0, 0.01, 100.0, 2.0, None)

    with watching.stopping(quiet=True) as caught:
        assert watching.follow(records(), caught, quiet=True, per_token=1.0)[1] == 0
        assert caught == [signal.SIGTERM]


def test_a_signal_that_is_to_be_ignored_is_ignored(corpus: Path, tmp_path: Path) -> None:
    """As `nohup` starts a command, and the shell one in the background."""
    command = ["train", corpus, "-m", tmp_path / "m", "--steps", "500", *SMALL]
    line = shlex.join([sys.executable, "-m", "lstmgen", *map(str, command)])
    process = subprocess.Popen(
        ["bash", "-c", f"trap '' HUP INT; exec {line}"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("training"):
            time.sleep(0.1)
            assert process.poll() is None
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGINT)
    process.stderr.close()
    assert process.wait() == 0, said
    assert "stopped" not in said
    assert checkpoint.load_run(tmp_path / "m").position.step == 500


def test_init_from_begins_where_the_other_model_ended(model: Path, corpus: Path, tmp_path: Path,
                                                      here: Any) -> None:  # fmt: skip
    losses: list[float] = []
    corpus.with_name("more.txt").write_text(TEXT.replace("figs", "ÄÖÜ").replace("Ann", "En"))
    done = here("train", corpus.with_name("more.txt"), "-m", tmp_path / "more", "--steps", "1",
                *SMALL[4:], "--init-from", model)  # fmt: skip
    theirs = checkpoint.load_model(model).vocabulary
    ours = len(theirs) + 3
    told = rf"init-from   {len(theirs)} of {ours} symbols, 9\d\.\d % of the text, are known to that model; 3 "
    assert re.search(told + "begin afresh\n", done.err)
    both = checkpoint.load_model(tmp_path / "more").vocabulary
    assert set(both.tokens) == {*theirs.tokens, *"ÄÖÜ"}  # also what only the other text had
    for options in ((), ("--init-from", model)):
        folder = tmp_path / f"m{len(losses)}"
        small = SMALL[4:] if options else SMALL
        done = here("train", corpus, "-m", folder, "--steps", "2", *small, *options)
        assert done.code == 0, done.err
        losses.append(checkpoint.load_model(folder).results["nats_per_token"])
    assert losses[1] < 0.7 * losses[0]
    usual = checkpoint.load_run(folder).training
    assert usual.learning_rate == 0.02  # as the README says of less than an epoch
    assert (usual.dropout, usual.weight_drop) == (0, 0)
    asked = ("--steps", "1", *SMALL[4:], "--init-from", model, "--learning-rate", "0.003")
    assert here("train", corpus, "-m", folder, "--overwrite", *asked).code == 0
    assert checkpoint.load_run(folder).training.learning_rate == 0.003


def test_a_text_that_another_model_cannot_read_is_planned_as_from_scratch(
    model: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    odd = tmp_path / "odd.txt"
    odd.write_text("".join(chr(ord(c) + 1000) if c.islower() else c for c in TEXT))
    small = ("--steps", "40", *SMALL[4:])
    plans: list[tuple[float, float]] = []
    for text, start in (
        (odd, ("--init-from", model)),
        (odd, SMALL[:4]),
        (corpus, ("--init-from", model)),
    ):
        folder = tmp_path / str(len(plans))
        done = here("train", text, "-m", folder, *small, *start)
        assert done.code == 0, done.err
        run = checkpoint.load_run(folder).training
        plans.append((run.learning_rate, run.dropout))
    assert plans[0] == plans[1] != plans[2]


def test_with_max_vocab_the_symbols_are_the_most_frequent_of_the_new_text_alone(
    model: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    few = ("--steps", "1", *SMALL[4:], "--init-from", model, "--max-vocab", "9")
    done = here("train", corpus, "-m", tmp_path / "m", *few)
    left = len(checkpoint.load_model(model).vocabulary) - 9
    assert "init-from   9 of 9 symbols, " in done.err
    assert (
        f"known to that model; {left} of the model's own are left out by --max-vocab\n" in done.err
    )
    assert len(checkpoint.load_model(tmp_path / "m").vocabulary) == 9


def test_a_network_that_no_memory_holds_is_refused_before_it_is_made(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    large = ("--hidden-size", "30000", "--num-layers", "100", "--steps", "1")
    error = here("train", corpus, "-m", tmp_path / "m", *large).error
    assert "parameters takes at least 5,7" in error
    assert error.endswith("give a lower --hidden-size, --num-layers or --max-vocab")
    assert not (tmp_path / "m").exists()


def test_a_model_that_training_does_not_better_is_kept_as_it_was(
    model: Path, corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And stays the best of a run that goes on to a later end."""
    times = itertools.count(1)
    monkeypatch.setattr(
        training,
        "validate",
        lambda *about: replace(s := validate(*about), nats=next(times) * s.nats),
    )
    folder, before = tmp_path / "m", checkpoint.load_model(model)
    few = ("--steps", "6", *SMALL[4:], "--init-from", model)
    done = here("train", corpus, "-m", folder, *few)
    assert done.code == 0
    first = next(line for line in done.err.splitlines() if line.startswith("step "))
    score = before.results["nats_per_token"]
    assert first.startswith("step 0 of 6: loss ")
    assert f"validation {score:.4f}" in first
    assert "characters/s" not in first
    as_it_began = "note: the model that is kept is that of --init-from as it began: no later"
    assert as_it_began in done.err
    after = checkpoint.load_model(folder)
    assert after.results["step"] == 0
    assert after.results["nats_per_token"] == pytest.approx(score, rel=1e-6)
    for name, weight in before.weights.items():
        np.testing.assert_array_equal(after.weights[name], weight)
    again = here("train", corpus, "-m", folder, "--resume", "--steps", "8", "--quiet")
    assert again.code == 0
    assert again.err.startswith(as_it_began)
    assert [r["step"] for r in log_file.read(folder)] == list(range(9))
    # One that training does better is not.
    monkeypatch.undo()
    more = ("--steps", "40", *SMALL[4:], "--init-from", model)
    done = here("train", corpus, "-m", folder, "--overwrite", *more)
    assert "as it began" not in done.err
    assert checkpoint.load_model(folder).results["nats_per_token"] < score


def test_overwrite_keeps_all_until_the_new_run_begins(
    model: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    folder = tmp_path / "m"
    assert here("train", corpus, "-m", folder, "--steps", "2", *SMALL).code == 0
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for arguments in (("nowhere.txt",), (corpus, "--device", "gpu"), (corpus, "--dropout", "2")):
        assert here("train", *arguments, "-m", folder, "--overwrite").error
        assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_an_overwritten_model_stays_when_the_new_run_is_stopped_before_its_first_report(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    folder = tmp_path / "m"
    assert here("train", corpus, "-m", folder, "--steps", "2", *SMALL).code == 0
    command = ["train", str(corpus), "-m", str(folder), "--overwrite", "--steps", "1000000"]
    said = stopped([*command, "--cell", "gru", *SMALL], signal.SIGINT, 130)
    assert f"{folder} still holds the earlier model" in said
    assert "nothing else of the earlier run is left" in said
    assert checkpoint.load_model(folder).config.cell == "lstm"
    assert checkpoint.load_run(folder).model.config.cell == "gru"
    assert not (folder / folders.CURVES_FILE).exists()  # they were the other run's


@pytest.mark.skipif(not hasattr(signal, "SIGTSTP"), reason="there is no Ctrl-Z here")
def test_a_run_meets_ctrl_z_so_that_its_clock_stands_still(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = []

    def noted(function: Any) -> Any:
        def call(*about: Any) -> Any:
            met.append(signal.getsignal(signal.SIGTSTP))
            return function(*about)

        return call

    monkeypatch.setattr("lstmgen.corpus.read_all", noted(read_all))
    monkeypatch.setattr(watching, "follow", noted(watching.follow))
    before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    try:
        assert here("train", corpus, "-m", tmp_path / "m", "--steps", "1", *SMALL).code == 0
    finally:
        signal.signal(signal.SIGTSTP, before)
    assert [callable(handler) for handler in met] == [True, True]


def test_nobody_listening_to_the_talk_does_not_stop_a_run(corpus: Path, tmp_path: Path) -> None:
    small = " ".join(SMALL)
    command = f"{sys.executable} -m lstmgen train {corpus} --steps 20 {small}"
    for number, ending in enumerate(("2>&1 | head -n 1 >&2", "2>&-", "2>/dev/full")):
        folder = tmp_path / str(number)
        line = f"{command} -m {folder} {ending}; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], check=True, capture_output=True)
        assert done.stdout == b"0\n"
        assert checkpoint.load_run(folder).position.step == 20


def test_validating_on_the_text_itself_is_told(corpus: Path, tmp_path: Path, here: Any) -> None:
    options = ("train", corpus, "-m", tmp_path / "m", "--steps", "1", *SMALL, "--valid-file")
    assert "--valid-file is trained on too" in here(*options, corpus).err
    other = tmp_path / "other.txt"
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


def test_bits_are_of_characters_by_word_too(corpus: Path, tmp_path: Path, here: Any) -> None:
    folder, text = tmp_path / "m", corpus.read_text()
    options = ("--level", "word", "--steps", "6", "--hidden-size", "16")
    said = here("train", corpus, "-m", folder, *options).err
    results = checkpoint.load_model(folder).results
    valid = text[int(len(text) * 0.9) :]
    assert results["characters"] == len(valid)
    bits = results["nats"] / log(2) / len(valid)
    assert results["bits_per_character"] == pytest.approx(bits)
    per_token = (len(text) - len(valid)) / int(
        re.findall(r"([\d,]+) words and", said)[0].replace(",", "")
    )
    *_, (loss, shown, valid_loss, valid_bits) = re.findall(
        r"loss ([\d.]+) \(([\d.]+) bits/character\), validation ([\d.]+) \(([\d.]+)\)", said
    )
    assert float(shown) == pytest.approx(float(loss) / log(2) / per_token, abs=2e-3)
    assert float(valid_bits) == pytest.approx(float(bits), abs=2e-3)
    assert float(valid_loss) == pytest.approx(results["nats_per_token"], abs=1e-3)


def test_a_score_is_told_once_however_long_the_end_waits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    score = Score(nats=20.0, tokens=10, characters=50)
    last = Progress(9, 9, 0.5, 3.0, 0.01, 100.0, 2.0, score=score, best=score)
    waiting = (one for one in (last, replace(last, note="no room"), last))
    watching.follow(waiting, [], quiet=False, per_token=1.0)
    told = capsys.readouterr().err
    assert told.count("step 9 of 9: ") == 1
    assert told.count("note: no room") == 1


def test_progress_is_told_by_character_whatever_a_token_is() -> None:
    best = Score(nats=20.0, tokens=10, characters=50)
    record = Progress(7, 9, 0.5, 3.0, 0.01, 100.0, log(2) * 10, score=best, best=best)
    told = watching._describe_record(record, per_token=5)
    assert "loss 6.931 (2.000 bits/character), validation 2.0000 (0.577)" in told
    assert told.endswith(", 500 characters/s")
    assert "best" not in told  # as it is this one
    worse = replace(record, score=replace(best, nats=30.0))
    told = watching._describe_record(worse, per_token=5)
    assert "validation 3.0000 (0.866), best 2.0000 (0.577), 500" in told
    told = watching._describe_record(replace(record, score=None), per_token=5)
    assert "bits/character), best validation 2.0000 (0.577), 500" in told
    shortly = watching._describe_shortly(record, per_token=5)
    assert shortly == "loss 2.000, best 0.577 bits/character, 500 characters/s"


def test_the_plan_tells_what_is_replaced_and_where_a_run_goes_on(tmp_path: Path, here: Any) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abcdefghij\n" * 2000 + "YZ" + "abcdefghij\n" * 400)
    first = here("train", path, "-m", tmp_path / "m", "--steps", "2", *SMALL)
    assert "which replaces 2 characters not kept and 1 character drawn at random\n" in first.err
    assert re.search(r" after [01] seconds? of training\n", first.err)
    again = here("train", path, "-m", tmp_path / "m", "--resume", "--steps", "3", *SMALL)
    assert " epochs), from step 2; " in again.err


def test_the_encoding_is_that_of_the_valid_file_too(tmp_path: Path, here: Any) -> None:
    for name in ("a.txt", "v.txt"):
        (tmp_path / name).write_bytes(f"{name} crème brûlée\n".encode("latin-1") * 60)
    options = ("--valid-file", tmp_path / "v.txt", "--encoding", "latin-1", "--steps", "1", *SMALL)
    done = here("train", tmp_path / "a.txt", "-m", tmp_path / "m", *options)
    assert done.code == 0, done.err
    assert "60 of them unknown" in done.err  # the v alone


@pytest.mark.parametrize("command", ["train", "sample", "eval"])
def test_what_is_changed_in_a_text_is_told(
    model: Path, tmp_path: Path, here: Any, command: str
) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    how: tuple[Any, ...] = {
        "train": (path, "-m", tmp_path / "m", "--steps", "1", *SMALL),
        "sample": ("-m", model, "--prime-file", path, "-l", "1", "--seed", "1"),
        "eval": ("-m", model, path),
    }[command]
    done = here(command, *how)
    assert f"note: {path}: dropped the byte order mark" in done.err
    assert f"note: {path}: made CRLF and CR line ends into LF" in done.err
    if command == "train":
        clean = tmp_path / "clean.txt"
        clean.write_text(TEXT)
        done = here("train", clean, "--valid-file", *how, "--overwrite")
        assert f"note: {path}: dropped the byte order mark" in done.err


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


def test_reading_a_file_takes_time_of_the_run(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "process_time", lambda: 0.0)

    def slowly(*given: Any) -> Any:
        time.sleep(2)
        return read_all(*given)

    monkeypatch.setattr("lstmgen.corpus.read_all", slowly)
    done = here("train", corpus, "-m", tmp_path / "m", "--minutes", "0.03", *SMALL)  # 1.8 s
    assert "--minutes 0.03 is over before training can begin" in done.error


def test_a_folder_that_another_run_took_while_the_text_was_read_is_left_to_it(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "m"

    def read(*given: Any) -> Any:
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / folders.LOCK_FILE).touch()
        (folder / folders.RUN_FILE).write_bytes(b"of another")
        return read_all(*given)

    monkeypatch.setattr("lstmgen.corpus.read_all", read)
    done = here("train", corpus, "-m", folder, "--steps", "2", *SMALL)
    assert "another lstmgen has begun to train in a folder of this name" in done.error
    assert (folder / folders.RUN_FILE).read_bytes() == b"of another"


@pytest.mark.parametrize("busy", [0.0, 2.0])
def test_waiting_for_a_pipe_takes_no_time_of_the_run_but_work_does(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch, busy: float
) -> None:
    """Two seconds, in which the processor has nothing to do, or is busy all the time."""
    clock = SimpleNamespace(seconds=4.0)

    def read(*given: Any) -> Any:
        text = read_all(*given)
        clock.seconds += busy
        return text

    monkeypatch.setattr("lstmgen.corpus.read_all", read)
    monkeypatch.setattr(time, "process_time", lambda: clock.seconds)
    with subprocess.Popen(["sh", "-c", f"sleep 2; cat {corpus}"], stdout=subprocess.PIPE) as slow:
        monkeypatch.setattr(sys, "stdin", slow.stdout)
        done = here("train", "-", "-m", tmp_path / "m", "--minutes", "0.1", *SMALL)  # 6 s
    assert ("is over before training can begin" in done.err) == bool(busy)
    assert done.code == bool(busy), done.err


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


def test_a_model_that_is_not_the_last_is_said_to_be_so(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, options = tmp_path / "m", ("--steps", "200", "--overwrite", *SMALL)
    for costs, said in ([9.0, 7.0, 8.0, 9.0], True), ([9.0, 8.0, 7.0, 6.0], False):
        found = (Score(cost, 1, 1) for cost in costs)
        monkeypatch.setattr(training, "validate", lambda network, job, found=found: next(found))
        monkeypatch.setattr(pace, "report_interval", lambda *_, **__: 50)
        done = here("train", corpus, "-m", folder, *options)
        best = 100 if said else 200
        told = f"kept is that of step {best} of 200: the validation loss has risen since"
        assert (told in done.err) == said
        assert checkpoint.load_run(folder).position.best_step == best


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


def test_an_extended_run_that_has_not_come_down_again_is_said_to_be_so() -> None:
    best, last = Score(20.0, 10, 50), Score(40.0, 10, 50)
    end = Progress(9, 9, 0.5, 3.0, 0.01, 100.0, 2.0, best, best_step=5, score=last)
    for extended_at, said in (
        (None, "has risen since"),
        (4, "has risen since"),
        (5, "--overwrite"),
    ):
        told = watching.what_is_odd(end, extended_at)
        assert [s for s in ("has risen since", "--overwrite") if s in told] == [said]


def test_a_step_that_ruins_the_weights_is_not_where_a_run_goes_back_to(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    options = ("--steps", "10", "--hidden-size", "16", "--learning-rate", "50", "--window", "16")
    done = here("train", corpus, "-m", tmp_path / "m", *options)
    assert "blew up" in done.err
    assert done.code == 0, done.err
    assert checkpoint.load_run(tmp_path / "m").position.step == 10


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
    best = Score(20.0, 10, 50)
    last = Progress(9, 9, 0.5, 3.0, 0.01, 100.0, 2.0, best, best_step=9, score=best)
    told = watching.describe_end(last, "m", [])
    assert f"try         {name} sample\n" in told
    assert told.endswith(f"{name} eval other.txt")


def test_the_last_words_of_a_run_are_of_its_best_model() -> None:
    best, last = Score(20.0, 10, 50), Score(40.0, 10, 50)
    told = watching.describe_end(
        Progress(9, 9, 0.5, 3.0, 0.01, 100.0, 2.0, best, best_step=5, score=last), "m", []
    )
    assert "best validation 2.0000 nats a token (0.577 bits/character, perplexity 7.389)" in told


def test_threads_and_precision_are_as_asked(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "can_bfloat16", lambda where: True)  # as for a GRU it is everywhere
    ends = []
    for name, threads in (("float32", 2), ("bfloat16", 1)):
        options = ("--precision", name, "--threads", str(threads), "--steps", "2")
        where = ("-m", tmp_path / name, "--device", "cpu")
        done = here("train", corpus, *where, *options, "--cell", "gru", *SMALL)
        assert f"cpu, {threads} thread" in done.err
        assert torch.get_num_threads() == threads
        saved = checkpoint.load_run(tmp_path / name)
        assert saved.training.precision == name
        ends.append(saved.model.weights["layers.0.weight_hh"])
    assert 0 < abs(ends[0] - ends[1]).max() < 0.1  # it is rounded, and not something else


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


def test_an_empty_name_of_a_folder_is_refused(corpus: Path, here: Any) -> None:
    assert "--model is empty; name the folder" in here("train", corpus, "-m", "").error


def test_init_from_keeps_the_level_of_the_other_model(
    model: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    options = ("train", corpus, "-m", tmp_path / "m", "--init-from", model, "--steps", "1")
    for other in (("--level", "word"), ("--words", "space"), ("--words", "prose")):
        error = here(*options, *other).error
        assert f"the model of --init-from is by char; leave out {other[0]}" in error
    assert here(*options, "--level", "char").code == 0
    resumed = ("train", corpus, "-m", tmp_path / "m", "--resume", "--steps", "2")
    assert "the run is by char; leave out --words" in here(*resumed, "--words", "prose").error
    words = tmp_path / "words"
    small = ("--steps", "1", "--hidden-size", "8", "--batch-size", "4", "--window", "16")
    spaced, on = tmp_path / "spaced", tmp_path / "on"
    by_space = ("--level", "word", "--words", "space")
    assert here("train", corpus, "-m", spaced, *by_space, *small).code == 0
    assert here("train", corpus, "-m", on, "--init-from", spaced, "--steps", "1").code == 0
    of_on = checkpoint.load_model(on).vocabulary
    assert (of_on.level, of_on.words) == ("word", "space")
    assert here("train", corpus, "-m", words, "--level", "word", *small).code == 0
    options = ("train", corpus, "-m", tmp_path / "n", "--init-from", words, "--steps", "1")
    for other, kind in ((("--level", "char"), "word"), (("--words", "space"), "prose")):
        error = here(*options, *other).error
        assert f"the model of --init-from is by {kind}; leave out {other[0]}" in error
    # Words are tied, so that the other option would have to follow, which is none of the user's.
    error = here(*options, "--hidden-size", "12", "--num-layers", "1").error
    has = "--num-layers 2 --hidden-size 8; leave out --num-layers 1 --hidden-size 12"
    assert f"the model of --init-from has {has}" in error
    assert here(*options, "--hidden-size", "8").code == 0
