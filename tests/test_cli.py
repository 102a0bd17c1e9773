"""The command line as a whole: mistakes, help, and what is not imported."""

import errno
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer.main
from commands import Ran, run

import lstmgen
from lstmgen import context, folders
from lstmgen.cli import app, main
from lstmgen.cli.eval import evaluate
from lstmgen.cli.sample import sample
from lstmgen.cli.train import train
from lstmgen.ranges import RANGES


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sample", "-t", "-0.5"), "--temperature is -0.5"),
        (("sample", "-l", "-5"), "--length is -5; it must be at least 0"),
        (
            ("sample", "-n", "0"),
            "--num-samples is 0; it must be from 1 to 1,000,000,000,000",
        ),
        (("sample", "--null", "--json"), "--null ends texts, and --json writes objects; leave"),
        (("train", "CORPUS", "--threads", "0"), "--threads is 0; it must be from 1 to 1,024"),
        (
            ("train", "CORPUS", "--sample-every", "nan"),
            "--sample-every is nan; it must be at least 0",
        ),
        (("sample", "--seed", "-1"), "--seed is -1; it must be a whole number from 0 to 2^63 - 1"),
        (("sample", "--top-k", "0"), "--top-k is 0"),
        (("sample", "--top-p", "0"), "--top-p is 0"),
        (("sample", "--top-p", "1.5"), "--top-p is 1.5"),
        (("sample", "--stop", ""), "--stop is empty"),
        (("sample", "--prime-file", "nowhere.txt"), "nowhere.txt: there is no such file"),
        (("sample", "--device", "gpu"), "--device 'gpu'"),
        (("sample", "-m", "nowhere"), "there is no model here"),
        (("eval", "nowhere.txt"), "nowhere.txt: there is no such file"),
        (("eval", ""), "the name of a file is empty"),
        (("eval", "", "--by", "line"), "the name of a file is empty"),
        (("sample", "--prime-file", ""), "the name of a file is empty"),
        (("train", ""), "the name of a file is empty"),
        (("eval", "."), "this is a folder"),
        (("eval", "CORPUS", "--device", "gpu"), "--device 'gpu'"),
        (("eval", "CORPUS", "--by", "line", "--device", "gpu"), "--device 'gpu'"),
        (("eval", "CORPUS", "--by", "token", "--device", "gpu"), "--device 'gpu'"),
        (("eval", "CORPUS", "--context", "1", "--device", "gpu"), "--device 'gpu'"),
        (("eval", "QUESTIONS", "--choices", "--device", "gpu"), "--device 'gpu'"),
        (("eval", "CORPUS", "-m", "MODEL", "-m", "MODEL", "--device", "gpu"), "--device 'gpu'"),
        (("eval", "CORPUS", "--encoding", "klingon"), "--encoding 'klingon'"),
        (("eval", "nowhere.txt", "--by", "line"), "nowhere.txt: there is no such file"),
        (("eval", "CORPUS", "--by", "line", "--encoding", "klingon"), "--encoding 'klingon'"),
        (("eval", "CORPUS", "--context", "1,x"), "--context is '1,x'"),
        (("eval", "CORPUS", "--context", "0"), "--context is '0'"),
        (("eval", "CORPUS", "--context", ""), "--context is ''"),
        (
            ("eval", "CORPUS", "--context", "99999"),
            "trips.txt has 3744 tokens; give fewer than that",
        ),
        (("eval", "CORPUS", "--choices"), "line 1 of"),
        (("eval", "-", "CORPUS", "-"), "- is named 2 times"),
        (("eval", "-", "-", "--by", "line"), "- is named 2 times"),
        (("eval", "CORPUS", "--cache", "100001"), "--cache is 100001"),
        (("train", "-", "--valid-file", "-"), "- is named 2 times"),
        (("train", "nowhere.txt"), "nowhere.txt: there is no such file; check its path"),
        (("train", "nowhere.txt", "-m", "MODEL"), "nowhere.txt: there is no such file"),
        (
            ("train", "CORPUS", "--valid-file", "nowhere.txt", "-m", "MODEL"),
            "nowhere.txt: there is no",
        ),
        (
            ("eval", "WEIGHTS"),
            "model.safetensors: this is a model; give a text in its place",
        ),
        (("train", "CORPUS", "-q", "--sample-every", "1"), "--quiet shows no samples"),
        (("sample", "--beams", "0"), "--beams is 0; it must be from 1 to 100"),
        (("sample", "--beams", "101"), "--beams is 101"),
        (("sample", "--beams", "3", "-n", "4"), "lower it, or raise --beams, to 100 at most"),
        (("train", "CORPUS", "--minutes", "0"), "--minutes is 0"),
        (("train", "CORPUS", "--steps", "0"), "--steps is 0"),
        (("train", "CORPUS", "--init-from", ""), "--init-from is empty"),
        (("train", "CORPUS", "--dropout", "1"), "--dropout is 1"),
        (("train", "CORPUS", "--weight-drop", "-0.1"), "--weight-drop is -0.1"),
        (("train", "CORPUS", "--learning-rate", "-1"), "--learning-rate is -1"),
        (("train", "CORPUS", "--valid-fraction", "1"), "--valid-fraction is 1"),
        (("train", "CORPUS", "--max-vocab", "1"), "--max-vocab is 1"),
        (("train", "CORPUS", "--tie", "--embedding-size", "5", "--hidden-size", "6"), "--tie"),
        (("train", "CORPUS", "--window", "100000"), "needs 100,000 (a whole --window)"),
        (("train", "CORPUS", "--device", "cuda:x"), "--device 'cuda:x'"),
        (("train", "nowhere.txt", "--device", "gpu"), "--device 'gpu'"),
        (("eval", "nowhere.txt", "--device", "gpu"), "--device 'gpu'"),
        (("sample", "--prime-file", "nowhere.txt", "--device", "gpu"), "--device 'gpu'"),
        (("train", "CORPUS", "--resume", "-m", "."), ".: there is no run to go on with"),
        (
            ("train", "CORPUS", "--resume", "-m", "nowhere"),
            "nowhere: there is no run to go on with",
        ),
        (
            ("train", "CORPUS", "--valid-file", "CORPUS", "--valid-fraction", "0.2"),
            "--valid-file is used whole; leave out --valid-fraction 0.2",
        ),
        (("train", "CORPUS", "--words", "space"), "add --level word"),
        (
            ("train", "CORPUS", "--min-count", "100000"),
            "no symbol is seen --min-count 100000 times",
        ),
        (("train", "CORPUS", "--epochs", "1e10"), "at most 1,000,000"),
        (("train", "CORPUS", "--init-from", "nowhere"), "there is no model here"),
    ],
)
def test_a_mistake_gets_one_line_and_code_1(
    arguments: tuple[str, ...], said: str, model: Path, corpus: Path, tmp_path: Path, here: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LSTMGEN_MODEL", str(model if arguments[0] != "train" else tmp_path / "m"))
    questions = Path(__file__).parents[1] / "data" / "lives.choices.jsonl"
    files = {"CORPUS": str(corpus), "MODEL": str(model), "QUESTIONS": str(questions)}
    files["WEIGHTS"] = str(model / "model.safetensors")
    done = here(*(files.get(a, a) for a in arguments))
    assert said in done.error
    assert done.out == ""
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    "arguments", [("train",), ("sample", "--nonsense"), ("sample", "-n", "x"), ("eval",), ("tell",)]
)
def test_wrong_usage_has_code_2(arguments: tuple[str, ...], here: Any) -> None:
    assert here(*arguments).code == 2


def test_a_text_that_is_not_utf_8_is_refused_with_its_place(tmp_path: Path, here: Any) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("caf\xe9".encode("latin-1"))
    said = here("train", path, "-m", tmp_path / "m").error
    assert "byte 0xe9 at offset 3" in said
    assert "--encoding" in said


@pytest.mark.parametrize("command", [(), ("train",), ("sample",), ("eval",)])
def test_help_shows_flags_without_a_value(command: tuple[str, ...], here: Any) -> None:
    said = here(*command, "--help").out
    assert "--help" in said
    assert "bool" not in said
    assert "...}" not in said
    assert ("}..." in said) == (command in (("train",), ("eval",)))  # which take several texts


@pytest.mark.parametrize("what", ["--help", "eval -h"])
def test_help_into_a_closed_pipe_is_quiet(what: str) -> None:
    for reader in ("true", "head -n 1 > /dev/null", "head -c 500 > /dev/null"):
        command = f"{sys.executable} -m lstmgen {what} | {reader}; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
        assert (done.stdout, done.stderr) == (b"0\n", b"")


@pytest.mark.parametrize("what", [("--help",), ("eval", "-h")])
def test_help_without_rich_goes_the_same_way(what: tuple[str, ...]) -> None:
    told = run(*what, TYPER_USE_RICH="0").out
    assert told.startswith("Usage: ")
    assert "Options:" in told
    assert told.endswith("\n")
    assert not told.endswith("\n\n")


def test_a_folder_among_texts_is_told_before_the_first_line_is_scored(
    model: Path, corpus: Path, here: Any
) -> None:
    done = here("eval", corpus, corpus.parent, "--by", "line", "-m", model)
    assert "this is a folder" in done.error
    assert done.out == ""


def test_completion_that_cannot_be_written_is_told_in_one_line() -> None:
    # Typer else looks for a shell among the processes above this one, of which there may be none.
    done = run(
        "--install-completion", "bash", HOME="/dev/null",
        _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1",
    )  # fmt: skip
    assert "check the path, its permissions and the disk" in done.error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError("Unable to allocate 2. GiB"), "error: not enough memory; give less text"),
        (OSError(errno.ENOSPC, "No space left"), "error: output: No space left; check the path"),
        (
            OSError(errno.ENOSPC, "No space left", "a/b"),
            "error: a/b: No space left; check the path",
        ),
    ],
)
def test_what_the_system_refuses_is_told_in_one_line(
    corpus: Path, here: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fail(*about: Any) -> None:
        raise error

    monkeypatch.setattr("lstmgen.corpus.read_each", fail)
    done = here("eval", corpus)
    assert done.code == 1
    assert done.error.startswith(told)


def test_a_width_of_nothing_is_none_that_help_could_have() -> None:
    for width in ("0", "00", "wide"):
        assert "lstmgen" in run("--help", COLUMNS=width).out
        assert "lstmgen" in run("--help", TERMINAL_WIDTH=width).out


def test_a_thread_that_cannot_be_had_is_told_in_one_line(
    model: Path, corpus: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    assert "ulimit -u" in here("eval", corpus, "--by", "line", "-m", model).error


def test_no_command_at_all_is_wrong_usage_and_says_what_to_do(here: Any) -> None:
    done = here()
    assert (done.code, done.out) == (2, "")
    assert "lstmgen -h' for help" in done.err


def test_a_working_folder_that_may_not_be_looked_into_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, here: Any
) -> None:
    def refused(path: Any, *about: Any, **how: Any) -> Any:
        if str(path) == "lstmgen-model":
            raise PermissionError(13, "Permission denied")
        return original(path, *about, **how)

    original = os.stat
    monkeypatch.setattr(os, "stat", refused)
    done = here("sample", "-l", "3", "--seed", "1")
    assert (done.code, "built-in model" in done.err) == (0, True)


@pytest.mark.parametrize("command", ["train", "sample", "eval"])
def test_help_shows_the_names_of_options_whole(
    command: str, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 80 columns, which is also the width of a pipe."""
    monkeypatch.setenv("COLUMNS", "80")
    words = set(here(command, "--help").out.split())
    assert {name for name in option_names()[command] if name.startswith("-")} <= words


def test_help_breaks_its_lines_where_the_terminal_does(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not where those of a docstring end, which are at most 110 long."""
    monkeypatch.setenv("COLUMNS", "200")
    for command, words in (
        ("train", "the same corpus with --resume"),
        ("sample", "order: repetition"),
    ):
        assert words in " ".join(here(command, "--help").out.split())
        first = here(command, "--help").out.split(
            "What is not given" if command == "train" else "The prime"
        )[1]
        assert len(first.splitlines()[0].rstrip()) > 120


@pytest.mark.skipif(sys.platform != "linux", reason="memory can be limited on Linux only")
def test_too_little_memory_is_told_in_one_line(corpus: Path, tmp_path: Path) -> None:
    options = f"-m {tmp_path / 'm'} --steps 1 --hidden-size 60000"
    command = f"ulimit -v 8000000 && {sys.executable} -m lstmgen train {corpus} {options}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert "lower --hidden-size" in Ran(done.returncode, done.stdout, done.stderr).error


def test_a_torch_that_cannot_be_loaded_is_told_in_one_line(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    said = "torch cannot be loaded"
    assert said in here("train", corpus, "-m", tmp_path / "m", "--steps", "1").error
    assert not (tmp_path / "m").exists()
    cuda, several = ("--device", "cuda"), ("-m", folders.BUILT_IN, "-m", folders.BUILT_IN)
    ways = ((), several, ("--by", "line"), ("--by", "token"), ("--context", "1"))
    for options in (("--dynamic",), *((*cuda, *way) for way in ways)):
        assert said in here("eval", corpus, *options).error
    for way in ((), several):
        assert here("eval", corpus, *way).code == 0
    assert said in here("sample", *cuda, "-l", "1").error
    assert here("sample", "-l", "1").code == 0


@pytest.mark.parametrize(("before", "after"), [(None, "18"), ("26", "26")])
def test_threads_that_wait_soon_sleep_unless_it_is_said_otherwise(
    before: str | None, after: str
) -> None:
    script = f"""
import os, sys
sys.argv = ["lstmgen", "sample", "-l", "1", "--seed", "1"]
environment = os.environ
environment.pop("OPENBLAS_THREAD_TIMEOUT", None)
{f'environment["OPENBLAS_THREAD_TIMEOUT"] = {before!r}' if before else ""}
from lstmgen.__main__ import main
assert "numpy" not in sys.modules
try:
    main()
finally:
    assert "numpy" in sys.modules
    assert environment["OPENBLAS_THREAD_TIMEOUT"] == {after!r}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_time_goes_into_cycles_of_objects_at_the_start_and_the_end() -> None:
    script = """
import atexit, gc, sys
searches = []
gc.callbacks.append(lambda phase, about: searches.append(phase))
atexit.register(lambda: print(len(searches), gc.get_freeze_count() > 10_000))
sys.argv = ["lstmgen", "sample", "-l", "1", "--seed", "1", "--no-echo"]
from lstmgen.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    searches, frozen = done.stdout.split()[-2:]
    assert int(searches) <= 30  # some before it has a say; 192 otherwise
    assert frozen == "True"


def test_no_torch_for_help_usage_errors_samples_and_small_scores(model: Path, corpus: Path) -> None:
    """Nor pydantic, which a later typer imports, and which takes a third of the time of all the rest."""
    script = (
        "import sys\nfrom lstmgen.cli import main\n"
        "try: main()\n"
        "except SystemExit as left: print(left.code, *{'torch', 'pydantic'} & set(sys.modules))"
    )
    for arguments, code in (
        (["--help"], 0), (["train", "--help"], 0), (["train", "--nonsense"], 2),
        (["train", "nowhere.txt"], 1), (["sample", "-m", model, "-l", "5"], 0),
        (["sample", "-m", model, "-n", "3", "-l", "5", "--device", "cpu"], 0),
        (["eval", "-m", model, corpus], 0),
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == str(code), arguments


@pytest.mark.parametrize(
    "shown",
    [
        "(0.04 to 0.08, by level, cell, streams and epochs; less with --init-from, the better that model "
        "knows the text)",
        "(32, or in a run by --minutes 64, on CUDA also 128, where a trial shows that it pays)",
        "(2,048 from 8,192 symbols on, by word 1,024 from 4,096 on; else, and on CUDA where all fit, 0)",
        "(5.0; with --resume the end that was planned)",
        "(tie for words, or from 1,000 symbols on, unless --embedding-size and --hidden-size are given "
        "and differ)",
        "(lstm)",
        "(by the text, epochs and size; less with --init-from)",
        "lstmgen-model",
    ],
)
def test_help_tells_the_defaults(shown: str, here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert f"[default: {shown}]" in here("train", "--help").out


def test_help_tells_the_limits_of_context(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert f"a sample of {context.MAX_PLACES:,}, with only the last N" in here("eval", "-h").out
    assert "for each N that is given, 1,000,000 at most;" in here("eval", "-h").out
    beyond = here("eval", "-", "--context", "1000001")
    assert (beyond.code, "numbers of tokens from 1 to 1,000,000, like" in beyond.err) == (1, True)


@pytest.mark.parametrize("command", ["train", "sample", "eval"])
def test_help_names_the_variable(command: str, here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert "[env var: LSTMGEN_MODEL]" in here(command, "--help").out


def option_names() -> dict[str, set[str]]:
    """Every option and argument of each command."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {
        name: {text for option in command.params for text in (*option.opts, *option.secondary_opts)}
        for name, command in commands.items()
    }


@pytest.mark.parametrize(
    ("command", "function"), [("train", train), ("sample", sample), ("eval", evaluate)]
)
def test_help_tells_the_range_of_every_number(
    command: str, function: Any, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    lines, checked = here(command, "--help").out.splitlines(), 0
    for parameter, hint in get_type_hints(function, include_extras=True).items():
        kind = get_args(hint)[0] if get_args(hint) else hint
        if not {int, float} & {kind, *get_args(kind)}:
            continue
        name = "--" + parameter.replace("_", "-")
        (line,) = [line for line in lines if re.match(rf"[│ ]*{name} ", line)]
        assert f"Range: {RANGES[name]}." in line
        checked += 1
    assert checked >= 5


def test_version(here: Any) -> None:
    assert here("--version").out == f"lstmgen {lstmgen.__version__}\n"


def test_the_set_of_options_is_what_was_promised() -> None:
    """Scripts depend on these names; a name may be added here, and none taken away."""
    common = {"--model", "-m", "--device"}
    assert option_names() == {
        "train": common | {
            "corpus", "--level", "--words", "--min-count", "--max-vocab", "--valid-fraction",
            "--valid-file", "--encoding", "--cell", "--num-layers", "--hidden-size",
            "--embedding-size", "--dropout", "--weight-drop", "--tie", "--no-tie", "--skip", "--no-skip",
            "--minutes", "--epochs", "--steps", "--weight-decay", "--softmax-sample", "--sample-every",
            "--adamw-share", "--memory",
            "--batch-size", "--window", "--learning-rate", "--seed", "--precision", "--threads",
            "--resume", "--init-from", "--overwrite", "--quiet", "-q",
        },
        "sample": common | {
            "--prime", "--prime-file", "--encoding", "--each-line", "--echo", "--no-echo",
            "--num-samples", "-n", "--length", "-l", "--stop", "--temperature", "-t",
            "--top-k", "--top-p", "--min-p",
            "--repetition-penalty", "--beams", "--seed", "--json", "--null", "-0",
        },
        "eval": common | {"texts", "--json", "--encoding", "--by", "--context", "--choices",
            "--dynamic", "--dynamic-rate", "--dynamic-decay",
            "--cache", "--cache-share", "--cache-sharpness", "--tune-on",
        },
    }  # fmt: skip


def test_an_error_that_nobody_can_mend_is_shown_as_it_is(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*about: object, **more: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("lstmgen.corpus.read_each", fail)
    monkeypatch.setattr("sys.argv", ["lstmgen", "eval", str(corpus)])
    with pytest.raises(RuntimeError, match="illegal"):
        main()
