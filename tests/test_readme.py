"""The README is held against the tool: its commands run as printed, its file map is whole."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COMMANDS = [
    line.split(" # ")[0].strip()
    for block in BLOCKS
    for line in block.splitlines()
    if re.match(r"(printf .*\| )?lstmgen ", line)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder as the README takes it for granted, with a model trained in it."""
    path = tmp_path_factory.mktemp("readme")
    text = "I grew up in France and I speak fluent French.\n\n" * 150
    names = ["corpus.txt", "other.txt", "a.txt", "b.txt", "part1.txt", "part2.txt.gz", "primes.txt",
             "wiki.txt", "line.txt", "names.txt"]  # fmt: skip
    question = '{"context": "I grew up in", "choices": [" France", " Peru"], "answer": 0}\n'
    (path / "questions.jsonl").write_text(question)
    for name in names:
        (path / name).write_text(text if name != "primes.txt" else "I grew\nI speak\n")
    (path / "data").symlink_to(ROOT / "data")
    run("lstmgen train corpus.txt --minutes 1", path)
    for name in ("my-model", "names"):
        shutil.copytree(path / "lstmgen-model", path / name)
    return path


def run(command: str, folder: Path) -> None:
    """The command as printed, but for the time that it is given."""
    quick = re.sub(r"--minutes [\d.]+", "--steps 4", command)
    if "train" in command and quick == command:
        quick += " --steps 2"
    if "train" in command and "--resume" not in quick:
        quick += " --hidden-size 16 --overwrite"
    script = f'set -o pipefail\nlstmgen() {{ "{sys.executable}" -m lstmgen "$@"; }}\n{quick}'
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 128 + signal.SIGPIPE), done.stderr  # where `head` has enough
    assert done.stdout or "train" in command


def test_the_readme_has_commands() -> None:
    assert len(COMMANDS) >= 12


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs(command: str, folder: Path) -> None:
    run(command, folder)


def test_the_file_map_names_every_module() -> None:
    modules = {path.name for path in (ROOT / "lstmgen").glob("*.py") if "__" not in path.name}
    assert set(re.findall(r"^\| \[(\w+\.py)\]\(lstmgen/\1\)", README, re.MULTILINE)) == modules


def test_the_readme_names_no_option_that_there_is_not() -> None:
    from test_cli import option_names

    known = set().union(*option_names().values())
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - {"--help"} <= known


def test_the_python_of_the_readme_runs(folder: Path) -> None:
    (script,) = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) > 0
