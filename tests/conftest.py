"""What the tests share: how hard they try, a small corpus and model, the command in this process."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL, TEXT, Ran, within
from hypothesis import settings

from lstmgen import matrix
from lstmgen.vocabulary import UNKNOWN, Vocabulary

settings.register_profile(
    "lstmgen", deadline=None, derandomize=True, database=None, max_examples=50
)
settings.load_profile("lstmgen")


def pytest_configure() -> None:
    # Before torch is imported, and see `one_thread`.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # As users have it, whose streams are buffered: what is held back is part of what may go wrong.
    os.environ.pop("PYTHONUNBUFFERED", None)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # nor is each module compiled at each start
    # A shell that runs the tests in the background has them ignore Ctrl-C, and what they start too; and
    # `nohup` the end of the terminal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


TORTURE = float(os.environ.get("LSTMGEN_TORTURE", 0))  # 1 in `make torture`
ROWS = pytest.StashKey[list[tuple[str, int]]]()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Of torch, whatever a test has left it with.

    Networks as small as the tests' are up to a thousand times slower on two threads than on one where other
    work wants the same cores, and no faster where none does.
    """
    yield
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture
def pairing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single column is multiplied by pairs of rows, however small a matrix is, and on one core too."""
    monkeypatch.setattr(matrix, "PAIRED", 1)
    monkeypatch.setattr(matrix, "num_threads", lambda: 2)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "trips.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="session")
def model(corpus: Path) -> Path:
    folder = corpus.parent / "model"
    assert within("train", corpus, "--model", folder, "--steps", "150", "--learning-rate", "0.02",
                  "--dropout", "0", *SMALL) == 0  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def by_word(corpus: Path) -> Path:
    folder = corpus.parent / "by word"
    assert within("train", corpus, "--model", folder, "--steps", "3", "--level", "word",
                  "--hidden-size", "16", "--batch-size", "4", "--window", "16") == 0  # fmt: skip
    return folder


@pytest.fixture
def here(capfdbinary: pytest.CaptureFixture[bytes]) -> Any:
    """The command inside this process, which has torch already."""

    def call(*arguments: str | Path) -> Ran:
        capfdbinary.readouterr()
        code = within(*arguments)
        return Ran(code, *capfdbinary.readouterr())

    return call


@pytest.fixture(scope="session")
def letters() -> Vocabulary:
    """By character: `<unk>`, the line end, the blank, a to z."""
    tokens = (UNKNOWN["char"], "\n", " ", *map(chr, range(ord("a"), ord("z") + 1)))
    return Vocabulary("char", "prose", tokens)


@pytest.fixture
def times() -> Callable[[int, int], int]:
    """A function from how often in `make test`, and how often in `make torture`, to how often now."""
    return lambda quick, long: max(quick, round(long * TORTURE))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Callable[[str, int], None]:
    """A function for the end of a test, to note how many cases of a kind were tried and passed."""
    rows = request.config.stash.setdefault(ROWS, [])
    return lambda what, cases: rows.append((what, cases))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if not TORTURE:
        return
    terminalreporter.write_line("| tried | cases |")
    terminalreporter.write_line("|---|---|")
    for what, cases in config.stash.get(ROWS, []):
        terminalreporter.write_line(f"| {what} | {cases:,} |")
