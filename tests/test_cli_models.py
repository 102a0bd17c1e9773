"""Which model is meant and where it runs, and that it is looked at first."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("command", ["sample", "eval"])
def test_the_built_in_model_is_there_where_no_other_is(
    command: str, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LSTMGEN_MODEL", raising=False)
    (tmp_path / "text.txt").write_text("I grew up in France.\n")
    options = ["-l", "20", "--seed", "1"] if command == "sample" else ["text.txt"]
    done = here(command, *options)
    assert done.code == 0
    assert done.err.startswith("note: there is no lstmgen-model here")
    assert done.err.count("\n") == 1
    assert "nowhere" in here(command, *options, "--model", "nowhere").error
    monkeypatch.setenv("LSTMGEN_MODEL", "elsewhere")
    assert "elsewhere" in here(command, *options).error


def test_json_names_the_model_however_it_was_named(
    model: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LSTMGEN_MODEL", raising=False)
    (tmp_path / "text.txt").write_text("Ann went to Rome.\n")

    def named(*options: Any) -> str:
        return str(json.loads(here("eval", "text.txt", "--json", *options).out)["model"])

    assert named() == "built-in"
    assert named("-m", model) == str(model)
    (tmp_path / "lstmgen-model").symlink_to(model)
    assert named() == "lstmgen-model"
    monkeypatch.setenv("LSTMGEN_MODEL", str(model))
    assert named() == str(model)


def test_a_device_that_there_is_not_is_refused_before_a_seed_is_told(
    model: Path, here: Any
) -> None:
    done = here("sample", "-m", model, "--device", "gpu")
    assert (done.code, done.out) == (1, "")
    assert done.err == done.error + "\n"
    assert "gpu" in done.err


def test_a_missing_model_is_told_before_a_prime_is_waited_for(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lstmgen", "sample", "-m", str(tmp_path / "no")]
    with subprocess.Popen(
        [*command, "--prime-file", "-"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.wait(60) == 1  # though nothing has come, nor its end
