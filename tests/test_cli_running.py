"""A run from start to end: its time, its folder, and how it is stopped."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from commands import SMALL

from lstmgen import checkpoint, folders, holding, pace, training
from lstmgen.cli import running
from lstmgen.corpus import read_all
from lstmgen.step import Stepper


def test_a_run_of_minutes_keeps_its_time_and_says_it(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The start is counted from that of the process, which here is that of all the tests.
    monkeypatch.setattr(time, "process_time", lambda: 0.0)
    done = here("train", corpus, "-m", tmp_path / "a", "--minutes", "0.08", *SMALL)
    assert done.code == 0, done.err
    assert "--minutes 0.08: about" in done.err
    assert 1 < checkpoint.load_run(tmp_path / "a").position.seconds < 6  # 4.8 asked for
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


def test_a_network_that_no_memory_holds_is_refused_before_it_is_made(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    large = ("--hidden-size", "30000", "--num-layers", "100", "--steps", "1")
    error = here("train", corpus, "-m", tmp_path / "m", *large).error
    assert "parameters takes at least 5,7" in error
    assert error.endswith(
        "give a lower --hidden-size, --embedding-size, --num-layers or --max-vocab"
    )
    assert not (tmp_path / "m").exists()


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


def test_nobody_listening_to_the_talk_does_not_stop_a_run(corpus: Path, tmp_path: Path) -> None:
    small = " ".join(SMALL)
    command = f"{sys.executable} -m lstmgen train {corpus} --steps 20 {small}"
    for number, ending in enumerate(("2>&1 | head -n 1 >&2", "2>&-", "2>/dev/full")):
        folder = tmp_path / str(number)
        line = f"{command} -m {folder} {ending}; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], check=True, capture_output=True)
        assert done.stdout == b"0\n"
        assert checkpoint.load_run(folder).position.step == 20


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


@pytest.mark.parametrize("busy", [0.0, 3.0])
def test_waiting_for_a_pipe_takes_no_time_of_the_run_but_work_does(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch, busy: float
) -> None:
    """Some seconds, in which the processor has nothing to do, or is busy all the time."""
    clock = SimpleNamespace(seconds=4.0)

    def read(*given: Any) -> Any:
        text = read_all(*given)
        clock.seconds += busy
        return text

    monkeypatch.setattr("lstmgen.corpus.read_all", read)
    monkeypatch.setattr(time, "process_time", lambda: clock.seconds)
    with subprocess.Popen(["sh", "-c", f"sleep 2; cat {corpus}"], stdout=subprocess.PIPE) as slow:
        monkeypatch.setattr(sys, "stdin", slow.stdout)
        done = here("train", "-", "-m", tmp_path / "m", "--minutes", "0.12", *SMALL)  # 7.2 s
    assert ("is over before training can begin" in done.err) == bool(busy)
    assert done.code == bool(busy), done.err


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory."), MemoryError()])
@pytest.mark.parametrize("saved", [True, False])
def test_a_run_that_an_error_ends_says_how_to_go_on_from_what_is_saved(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch, saved: bool, error: Exception,
) -> None:  # fmt: skip
    command = ("train", corpus, "-m", tmp_path / "m", "--steps", "20", *SMALL)
    assert here(*command[: -len(SMALL) - 1], "9", *SMALL).code == 0  # an earlier run
    step = Stepper.step

    def full(stepper: Any, rate: float) -> Any:
        if stepper.run.step == 12:
            raise error
        return step(stepper, rate)

    if saved:
        monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)
    monkeypatch.setattr(Stepper, "step", full)
    done = here(*command, "--overwrite")
    assert done.error.startswith("error: not enough memory; ")
    told = "an error ends the run, which is saved as of step 12; to go on:\n  lstmgen train "
    assert (told in done.err) == saved
    assert ("saved as of" in done.err) == saved
    assert checkpoint.load_run(tmp_path / "m").position.step == (12 if saved else 9)
    again = here(*command, "--resume")
    assert again.error.startswith("error: not enough")
    assert f"saved as of step {12 if saved else 9}; to go on:" in again.err


def test_a_model_to_begin_with_that_is_not_there_is_told_as_such_in_the_same_folder(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    folder = tmp_path / "m"
    done = here("train", corpus, "-m", folder, "--init-from", folder, *SMALL)
    assert "there is no model here; check the path" in done.error
    assert not folder.exists()


def test_standard_input_is_not_the_file_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert running._is_among(["a", "./b"], "b")
    assert not running._is_among(["./-"], "-")
    assert not running._is_among(["-"], "./-")
