"""The READMEs are held against the tool: commands run as printed, the file map is whole."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import within

from lstmgen import __main__, comparison, context, course, optim, planning, training
from lstmgen.cli import watching
from lstmgen.config import (
    DEFAULT_LENGTH,
    LARGE_VOCABULARY,
    MAX_HELD_OUT,
    SOFTMAX_SAMPLE,
    CorpusConfig,
    DecodingConfig,
    DynamicConfig,
    ModelConfig,
    TrainConfig,
)
from lstmgen.scoring import Score

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RESULTS = (ROOT / "tests" / "benchmarks" / "RESULTS.md").read_text()
PAGES = [
    *ROOT.glob("*.md"),
    *(page for folder in ("data", "lstmgen", "tests") for page in (ROOT / folder).rglob("*.md")),
]
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COMMANDS = [
    line.split(" # ")[0].strip()
    for block in BLOCKS
    for line in block.splitlines()
    if re.match(r"(printf .*\| )?lstmgen |python -c ", line)
]

TRAINING = [line for line in COMMANDS if line.startswith("lstmgen train")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder as the README takes it for granted, with a model trained in it."""
    path = tmp_path_factory.mktemp("readme")
    text = "I grew up in France and I speak fluent French.\n\n" * 80
    names = ["corpus.txt", "other.txt", "a.txt", "b.txt", "part1.txt", "part2.txt.gz", "primes.txt",
             "opening.txt", "wiki.txt", "line.txt", "names.txt", "mixed.txt", "valid.txt"]  # fmt: skip
    question = '{"context": "I grew up in", "choices": [" France", " Peru"], "answer": 0}\n'
    (path / "questions.jsonl").write_text(question)
    for name in names:
        primes = name in ("primes.txt", "opening.txt")
        (path / name).write_text("I grew\nI speak\n" if primes else text)
    (path / "valid.txt").write_text(text[: len(text) // 8])  # which is read ten times
    (path / "data").symlink_to(ROOT / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        for command in TRAINING:  # one after the other, as a reader types them
            assert within(*shlex.split(quick(command))[1:]) == 0, command
    return path


def quick(command: str) -> str:
    """Training as printed, but for the time that it is given, and the size that follows."""
    steps = re.sub(r"--minutes (\d+)", lambda found: f"--steps {4 * int(found[1])}", command)
    steps += " --steps 2" if steps == command else ""
    return steps if "--resume" in command else f"{steps} --hidden-size 16"


def test_the_readme_has_commands() -> None:
    assert len(COMMANDS) >= 12


def test_the_training_of_the_readme_runs_in_an_empty_folder(folder: Path) -> None:
    for name in ("lstmgen-model", "my-model", "wiki"):
        assert (folder / name / "model.safetensors").exists()


@pytest.mark.parametrize("command", [line for line in COMMANDS if line not in TRAINING])
def test_a_command_of_the_readme_runs(command: str, folder: Path) -> None:
    names = {"lstmgen": f'"{sys.executable}" -m lstmgen', "python": f'"{sys.executable}"'}
    known = "\n".join(f'{name}() {{ {meant} "$@"; }}' for name, meant in names.items())
    script = f"set -o pipefail\n{known}\n{command}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 128 + signal.SIGPIPE), done.stderr  # where `head` has enough
    assert done.stdout


def test_the_file_map_names_every_module_in_the_order_of_imports() -> None:
    from test_imports import ORDER

    modules = {path.stem for path in (ROOT / "lstmgen").glob("*.py") if "__" not in path.name}
    readme = (ROOT / "lstmgen" / "README.md").read_text()
    named = re.findall(r"^\| \[(\w+)\.py\]\(\1\.py\)", readme, re.MULTILINE)
    assert named == [name for name in ORDER if name in modules]
    assert len(named) == len(modules)


def anchors(page: Path) -> set[str]:
    """What a link into a page of Markdown may name: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_from_page_to_page_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_names_no_option_that_there_is_not() -> None:
    from test_cli import option_names

    known = set().union(*option_names().values())
    assert (
        set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
        - {"--help", "--install-completion", "--version"}
        <= known
    )


def test_a_value_beside_an_option_in_a_table_is_its_default() -> None:
    sizes, learning = ModelConfig(vocab_size=2), TrainConfig(num_steps=1, report_every=1)
    defaults = {
        "--level": CorpusConfig.level,
        "--min-count": CorpusConfig.min_count,
        "--window": learning.window,
        "--seed": learning.seed,
        "--words": CorpusConfig.words,
        "--cell": sizes.cell,
        "--num-layers": sizes.num_layers,
        "--embedding-size": sizes.embedding_size,
        "--adamw-share": learning.adamw_share,
        "--temperature": DecodingConfig.temperature,
        "--length": DEFAULT_LENGTH,
        "--device": "auto",
        "--precision": "auto",
    }
    rows = [line for line in README.splitlines() if line.startswith("| `--")]
    told: dict[str, str] = {}
    for option, value in re.findall(r"(--[a-z-]+) ([a-z0-9.]+)(?=[` ])", "".join(rows)):
        told.setdefault(option, value)  # of several the first
    told.pop("--by")  # in the table of what is written as JSON
    assert told == {option: str(value) for option, value in defaults.items()}


SCORE = set(Score(1.0, 1, 1, 0).to_json())
JSON = {
    "a text, and the total of several": (
        "eval a.txt b.txt --json",
        "eval line.txt --dynamic --json",
        "eval line.txt --cache 9 --json",
    ),
    "`--by line`": ("eval line.txt --by line --json",),
    "`--by token`": ("eval line.txt --by token --json",),
    "`--context`": ("eval line.txt --context 1,4 --json",),
    "`--choices`": ("eval questions.jsonl --choices --json",),
    "several models": ("eval line.txt a.txt -m my-model -m lstmgen-model --json",),
    "`lstmgen sample`": ("sample --json -l 5",),
}


def test_the_table_of_json_names_every_key_and_no_other(
    folder: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    start = README.index("| of | keys |")
    table = README[start : README.index("\n\n", start)]
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", table, re.MULTILINE)[1:])
    assert set(rows) == set(JSON)
    for row, commands in JSON.items():
        keys = set(re.findall(r"`([a-z_]+)`", rows[row])) - {"length", "all"}  # which are values
        if re.search("the same|the score", rows[row]):
            keys |= SCORE | {"file", "model"}
        found = set()
        for command in commands:
            done = here(*command.split())
            assert done.code == 0, done.err
            found |= {key for line in done.out.splitlines() for key in json.loads(line)}
        assert found == keys, row


def test_the_python_of_the_readme_prints_what_it_says(tmp_path: Path) -> None:
    pattern = r"^```python\n(.*?)^```\n\nprints.*?\n\n```text\n(.*?)^```"
    ((script, output),) = re.findall(pattern, README, re.DOTALL | re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == output


def test_what_the_readme_shows_of_eval_is_what_it_prints(tmp_path: Path) -> None:
    for name in ("data", "lstmgen"):
        (tmp_path / name).symlink_to(ROOT / name)
    (block,) = re.findall(r"^```console\n(\$ tail .*?)^```", README, re.DOTALL | re.MULTILINE)
    for command, output in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE):
        script = f'lstmgen() {{ "{sys.executable}" -m lstmgen "$@"; }}\n{command}'
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        number = re.compile(r"[\d,]*\d(?:\.\d+)?")
        assert number.sub("#", done.stdout) == number.sub("#", output)
        shown, printed = (number.findall(text.replace(",", "")) for text in (output, done.stdout))
        # Rounded otherwise, a last digit or one of the answers may be another.
        assert list(map(float, printed)) == pytest.approx(
            list(map(float, shown)), rel=5e-3, abs=2e-4
        )


@pytest.mark.parametrize(
    ("value", "figure", "told"),
    [
        (training.SAVE_SECONDS, 60, "loses at most a minute of training"),
        (training.PATIENCE, 600, "at the end of a run for ten minutes more"),
        (MAX_HELD_OUT, 1_000_000, "The last tenth, at most a million characters, is held out"),
        (
            context.MAX_PLACES,
            4096,
            "If there are more than 4,096 places, a sample of them is scored",
        ),
        (context.MAX_CONTEXT, 16_384, "or at 16,384 tokens"),
        (DynamicConfig.window, 32, "each window of 32 tokens after it has been scored"),
        (LARGE_VOCABULARY, 8192, "If there are at least 8,192 symbols"),
        (SOFTMAX_SAMPLE, 2048, "The default is 2,048 from 8,192 symbols on"),
        (TrainConfig.warmup_fraction, 0.03, "It rises for 3 % of the steps"),
        (TrainConfig.clip_norm, 1, "gradients are clipped to a norm of 1"),
        (
            optim.SYMBOL_RATE,
            3,
            "only the rows of symbols that it meets, at three times this rate",
        ),
        (
            [planning.fine_tuning_rate(epochs, "char", 1, 0.08) for epochs in (1, 10, 100)],
            [0.02, 0.0028, 0.0004],
            "knows the text so well, 0.02 for one epoch, 0.0028 for ten, 0.0004 for a hundred",
        ),
        (
            planning.fine_tuning_rate(1, "word", 1, 0.04),
            0.008,
            "and by word four tenths of that",
        ),
        (
            [planning.how_well_known(0.5, "char"), planning.how_well_known(0.35, "word")],
            [1, 1],
            "and none of either from one half on (by word 35 %)",
        ),
        (
            planning.weight_drop(20) == 0 < planning.weight_drop(21),
            True,
            "weight drop for more than 20 epochs",
        ),
        (
            planning.weight_decay(2.5),
            0.1,
            "weight decay 0.01 for one epoch, more for more, 0.1 from 2.5 epochs on",
        ),
        (int(__main__.WAITING[1]), 18, "`OPENBLAS_THREAD_TIMEOUT=18` unless you set it"),
        (
            planning.REPEATED_EPOCHS,
            (1.5, 2.5),
            "read its text two and a half times or more (between one and a half and that something in "
            "between).",
        ),
        (
            planning.REPEATED_RATE,
            0.08,
            "and 0.08 with 128 or more, or for an LSTM that will read",
        ),
        (
            planning.MANY_STREAMS_RATE,
            0.056,
            "By character, but for a plain RNN, 0.056 with 64 streams or more, and 0.08 with 128",
        ),
        (
            planning.MANY_STREAMS,
            64,
            "tries 64 and keeps them if it then reads at least 0.95 times as many tokens",
        ),
        (planning.CUDA_STREAMS, 128, "by character that will read its text often tries 128 too"),
        (planning.SOME_TOKENS, 250_000, "on a text of 250,000 tokens or more"),
        (planning.FEW_EPOCHS, 2, "two layers of 256 units would read the text less than twice"),
        (planning.FEW_TOKENS["lstm", "bfloat16"], 2.5e6, "and fewer than 2.5 million characters"),
        (planning.FEW_TOKENS["lstm", "float32"], 5e6, "(in float32, 5 million)"),
        (
            watching.AT_ONCE,
            1,
            "another Ctrl-C, a second or more after the last one, leaves at once",
        ),
        (comparison.LARGE_SHARE, 0.01, "a line longer than a hundredth of the text, and"),
        (comparison.BLOCK_LENGTH, 50, "and than fifty characters, is cut into stretches"),
        (comparison.FEW_BLOCKS, 10, "with fewer than ten lines or stretches there is no interval"),
        (course.MARKS, 20, "it marks such a place some twenty times"),
    ],
)
def test_a_figure_of_the_code_is_that_of_the_readme(value: float, figure: float, told: str) -> None:
    assert value == figure
    assert told in " ".join((README + RESULTS).split())
