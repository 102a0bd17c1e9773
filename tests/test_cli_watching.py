"""A run as it is followed: what is told of it, the signals that stop it, and its curves."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from io import StringIO
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import SMALL

from lstmgen import checkpoint, folders, pace, training
from lstmgen.cli import console, telling, watching
from lstmgen.cli.telling import to_resume
from lstmgen.corpus import read_all
from lstmgen.errors import TrainingError
from lstmgen.progress import Progress
from lstmgen.scoring import Score
from lstmgen.step import Stepper


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
    step, describe = Stepper.step, telling.of_end
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: 100.0, time=time.time))

    def interrupted(stepper: Any, rate: float) -> Any:
        if stepper.run.step == 19:
            signal.raise_signal(signal.SIGINT)
        return step(stepper, rate)

    def interrupted_too(*about: Any) -> str:
        signal.raise_signal(signal.SIGINT)
        return describe(*about)

    monkeypatch.setattr(Stepper, "step", interrupted)
    monkeypatch.setattr(telling, "of_end", interrupted_too)
    done = here("train", corpus, "-m", tmp_path / "m", "--steps", "20", *SMALL)
    assert done.code == 0
    assert "done " in done.err
    assert (tmp_path / "m" / folders.CURVES_FILE).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe is not asked for room there")
def test_a_signal_is_not_held_up_by_whoever_has_stopped_reading() -> None:
    script = (
        "import os, signal, time\nfrom lstmgen import leaving\nfrom lstmgen.cli import watching\n"
        "os.set_blocking(2, False)\n"
        "try:\n    while True: os.write(2, b' ' * 4096)\nexcept BlockingIOError: pass\n"
        "os.set_blocking(2, True)\nleaving.meet_signals()\n"
        "with watching.stopping(quiet=False) as caught:\n"
        "    signal.alarm(1)\n    signal.signal(signal.SIGALRM, signal.getsignal(signal.SIGTERM))\n"
        "    os.write(2, b' ' * 4096)\n"  # which waits, until a signal comes
        "    print(caught, flush=True)\n"
        "    watching.AT_ONCE = -1.0\n    signal.raise_signal(signal.SIGINT)\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe) as process:
        try:
            assert process.wait(60) == 130
            assert process.stdout is not None
            assert process.stdout.read() == b"[14]\n"
        finally:
            process.kill()


def test_the_score_that_a_stop_has_waited_for_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    record = Progress(9, 20, 0.1, 1.0, 0.01, 100.0, 2.0, None)
    score = Score(nats=20.0, tokens=10, characters=50)

    def records() -> Iterator[Progress]:
        yield record
        signal.raise_signal(signal.SIGTERM)
        yield replace(record, step=10, score=score, best=score)

    with watching.stopping(quiet=True) as caught:
        watching.follow(records(), caught, quiet=False, per_token=1.0)
    assert (
        "step 10 of 20: loss 2.000 (2.885 bits/character), validation 2.0000"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(("disable", "hidden"), [("1", True), ("", False)])
def test_tqdm_disable_hides_the_bar_at_a_terminal_too(disable: str, hidden: bool) -> None:
    script = (
        "import io, sys\nfrom lstmgen.cli import console, watching\nshown = io.StringIO()\n"
        "shown.isatty = lambda: True\nsys.stderr = console.Talk(shown)\n"
        "print(*(watching._bar(quiet).disable for quiet in (True, False)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "TQDM_DISABLE": disable},
    )  # fmt: skip
    assert done.stdout == f"True {hidden}\n"


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
    shortly = watching._describe_shortly(record, per_token=5, width=75)
    assert shortly == "loss 2.000, best 0.577 bits/character, 500 characters/s"
    assert watching._describe_shortly(record, 5, 74) == "loss 2.000, best 0.577 bits/character"


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


def test_curves_are_drawn_at_a_terminal_however_narrow(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert here("train", corpus, "-m", tmp_path / "m", "--steps", "9", *SMALL).code == 0
    shown = StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", console.Talk(shown))
    monkeypatch.setattr(console, "width", lambda: 20)
    watching.draw_curves(tmp_path / "m", "narrow", quiet=False)
    assert "└ step 0 " in shown.getvalue()


def test_the_time_that_a_resumed_run_has_left_is_by_its_own_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", console.Talk(shown))

    def records() -> Iterator[Progress]:
        time.sleep(3)  # before the first, which is no step's time
        for step in range(7000, 7004):
            yield Progress(step, 8000, 0.1, 1.0, 0.01, 100.0, 2.0, None)
            time.sleep(0.15)

    watching.follow(records(), [], quiet=False, per_token=1.0)
    assert "? left, loss 2.000" in shown.getvalue()  # the first is shown, before any step is timed
    first, *_ = re.findall(r"(\d\d):\d\d left", shown.getvalue())
    assert 2 <= int(first) <= 40  # a thousand steps, seven a second at most
