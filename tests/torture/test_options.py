"""Every option of every command, with values at, below and above its limits and of the wrong kind."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer.main
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstmgen.cli import app
from lstmgen.cli.eval import evaluate
from lstmgen.cli.sample import sample
from lstmgen.cli.train import train

TEXT = "".join(f"{i} sheep and {i * 7 % 10} goats went up the hill.\n" for i in range(60))
SMALL = ("--hidden-size", "4", "--embedding-size", "4", "--batch-size", "2", "--window", "8")
BASE = {
    "train": ["corpus.txt", *SMALL, "--num-layers", "1", "--overwrite"],
    "sample": ["-m", "model", "--prime", "1 sheep", "--length", "5"],
    "eval": ["corpus.txt", "-m", "model"],
}
WRONG = [
    "",
    " ",
    "x",
    "1.5x",
    "--",
    "é",
    "\x1b[31m",
    "a" * 5000,
    "1,2",
    "١٢",
    "0x10",
    "None",
    "\ud800",
]
INTEGERS = [
    "-1",
    "0",
    "1",
    "2",
    "3",
    "-9223372036854775808",
    "18446744073709551616",
    "1" + "0" * 30,
]
FLOATS = ["-1", "0", "1", "0.5", "nan", "inf", "-inf", "1e-320", "-0.0", "1e400", "1e308", "2"]
FILES = [
    "corpus.txt",
    "nowhere",
    "",
    ".",
    "/",
    "/dev/null",
    "a" * 300,
    "model",
    "questions.jsonl",
    "é",
]
VALUES: dict[str, list[str]] = {
    # What is asked for is done, so these are kept short.
    "--minutes": ["0", "-1", "nan", "inf", "1e-9", "1e7", "x", ""],
    "--steps": ["0", "-1", "1", "2", "1.5", "1" + "0" * 30, "x", ""],
    "--epochs": ["0", "-1", "nan", "inf", "1e-9", "0.01", "1e7", "x", ""],
    "--length": ["0", "-1", "1", "2", "1.5", "x", ""],
    "--num-samples": ["0", "-1", "1", "70", "1.5", "x", ""],
    "--hidden-size": ["0", "-1", "1", "3", "100001", "1" + "0" * 30, "x", ""],
    "--embedding-size": ["0", "-1", "1", "3", "100001", "1" + "0" * 30, "x", ""],
    "--num-layers": ["0", "-1", "1", "3", "101", "1" + "0" * 30, "x", ""],
    "--softmax-sample": ["0", "-1", "1", "20", "100000", "x", ""],
    "--batch-size": ["0", "-1", "1", "1000000", "1000001", "x", ""],
    "--window": ["0", "-1", "1", "1000000", "1000001", "x", ""],
    "--model": ["model", "nowhere", "", "corpus.txt", "/dev/null", "nul\0"],
    "--context": ["1", "1,2", "auto", "0", "-1", "", ",", "1,1", "9" * 20, "1.5", "x", "nan"],
    "--device": ["cpu", "cuda", "cuda:99", "mps", "auto", "", "tpu", "cuda:x", "cpu:1"],
    "--encoding": ["utf-8", "latin-1", "utf-16", "", "klingon", "base64", "idna", "nul\0"],
    "--threads": ["0", "-1", "1", "2", "1025", "1" + "0" * 19, "1000000", "x", ""],
}


COMMANDS = {"train": train, "sample": sample, "eval": evaluate}


def arguments(command: str) -> st.SearchStrategy[list[str]]:
    """Up to three options (or further files) with values, each as words of the command line."""
    hints = get_type_hints(COMMANDS[command])
    group: Any = typer.main.get_command(app)

    def words(parameter: Any) -> st.SearchStrategy[list[str]]:
        name = max(parameter.opts, key=len)
        if not name.startswith("-"):
            return st.sampled_from(FILES).map(lambda file: [file])
        if hints[parameter.name] in (bool, bool | None):
            return st.sampled_from(
                [[each] for each in [*parameter.opts, *parameter.secondary_opts]]
            )
        kind = get_args(hints[parameter.name]) or (hints[parameter.name],)
        usual = INTEGERS if int in kind else FLOATS if float in kind else FILES
        choices = [word for part in kind for word in get_args(part)]
        return st.sampled_from(VALUES.get(name, [*usual, *choices, *WRONG])).map(
            lambda v: [name, v]
        )

    parameters = [p for p in group.commands[command].params if p.name in hints]
    one = st.sampled_from(parameters).flatmap(words)
    return st.lists(one, min_size=1, max_size=3).map(lambda parts: list(chain(*parts)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Any) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.txt").write_text(TEXT)
    (tmp_path / "questions.jsonl").write_text(
        '{"context": "1 sheep", "choices": [" and", " went"], "answer": 0}\n'
    )
    assert here("train", *BASE["train"], "-m", "model", "--steps", "2").code == 0
    return tmp_path


@pytest.mark.parametrize("command", BASE)
def test_no_value_of_an_option_ends_in_a_traceback(
    command: str,
    folder: Path,
    here: Any,
    times: Callable[[int, int], int],
    tally: Callable[[str, int], None],
) -> None:
    codes = {0: 0, 1: 0, 2: 0}
    most = times(200, 3000)

    @settings(max_examples=most, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(arguments(command))
    def check(more: list[str]) -> None:
        base = BASE[command]
        if command == "train":
            ended = {"--minutes", "--epochs", "--steps", "--resume"} & set(more)
            base = [*base, *([] if ended else ["--steps", "1"])]
            base += [] if "--model" in more else ["-m", "new"]
            if "--resume" in more:
                base.remove("--overwrite")
        ran = here(command, *base, *more)
        codes[ran.code] += 1  # a KeyError for any other
        if ran.code == 1:
            assert ran.error.startswith("error: ")
        if ran.code == 2:
            assert "Usage: " in ran.err
        assert "\x1b" not in ran.err
        assert "Traceback" not in ran.err

    check()
    assert min(codes.values()) > 0, codes
    tally(f"command lines of {command}", most)
