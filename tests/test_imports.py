"""The order of the modules: imports point down, torch comes late, one place talks; and each is tested."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "lstmgen"
ORDER = (
    "errors",
    "leaving",
    "ranges",
    "config",
    "detection",
    "encoding",
    "corpus",
    "vocabulary",
    "batching",
    "dataset",
    "folders",
    "durable",
    "holding",
    "container",
    "log_file",
    "checkpoint",
    "matrix",
    "cells",
    "reading",
    "scoring",
    "breakdown",
    "comparison",
    "choices",
    "cache",
    "context",
    "tuning",
    "drawing",
    "sampling",
    "priming",
    "generation",
    "beam_search",
    "planning",
    "stopwatch",
    "pace",
    "curves",
    "threads",
    "device",
    "recurrence",
    "recording",
    "model",
    "initialization",
    "sampled_softmax",
    "dynamic",
    "muon",
    "optim",
    "job",
    "run",
    "keeping",
    "step",
    "measuring",
    "course",
    "progress",
    "training",
    "engines",
    "trained",
    "cli",
)
WITHOUT_TORCH = (*ORDER[: ORDER.index("threads")], "engines", "trained", "cli")
FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def module_of(file: Path) -> str:
    """The entry of `ORDER` that a file belongs to."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    """Every module that a file imports, wherever in it, by its full name."""
    package = ".".join(["lstmgen", *file.relative_to(PACKAGE).parent.parts])
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            # `from lstmgen import corpus` imports a module, `from lstmgen.corpus import read` names one
            names |= (
                {f"{base}.{alias.name}" for alias in node.names} if base == "lstmgen" else {base}
            )
    return names


def test_the_order_names_every_module_there_is() -> None:
    found = {module_of(file) for file in FILES}
    assert found - {"__init__", "__main__"} == set(ORDER)


@pytest.mark.parametrize("file", [file for file in FILES if file.stem[0] != "_"], ids=name_of)
def test_each_module_has_a_file_of_tests(file: Path) -> None:
    name = "_".join(["test", *file.relative_to(PACKAGE).with_suffix("").parts])
    assert "\ndef test_" in Path(__file__).with_name(f"{name}.py").read_text()


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_each_module_imports_only_modules_above_it(file: Path) -> None:
    order = ("__init__", *ORDER, "__main__")
    allowed = {"__version__", *order[: order.index(module_of(file))]}
    if module_of(file) == "cli":  # whose files are one module
        allowed.add("cli")
    if module_of(file) == "__init__":  # which hands on the face, and only when it is asked for
        allowed.add("trained")
    inside = {name.split(".")[1] for name in imported(file) if name.startswith("lstmgen.")}
    assert inside <= allowed


def test_torch_is_not_imported_before_it_is_needed() -> None:
    script = "import sys\n" + "".join(
        f"import lstmgen.{name}\nassert 'torch' not in sys.modules, {name!r}\n"
        for name in WITHOUT_TORCH
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_command_waits_for_torchs_compiler_to_be_imported(tmp_path: Path) -> None:
    """Which takes a second, and which `torch.optim` imports as soon as it is used."""
    (tmp_path / "text.txt").write_text("ten green bottles on the wall\n" * 100)
    script = """
import contextlib, sys
from lstmgen.cli import main
train = "train text.txt --steps 2 --hidden-size 8 --device cpu"
for command in (train, "eval text.txt --dynamic --device cpu"):
    sys.argv = ["lstmgen", *command.split()]
    with contextlib.suppress(SystemExit):
        main()
    assert "torch" in sys.modules
    assert "torch._dynamo" not in sys.modules
"""
    line = [sys.executable, "-c", script]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "lstmgen-model").exists()
    assert "text.txt" in done.stdout


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_no_file_imports_click_or_pickle(file: Path) -> None:
    roots = {name.partition(".")[0] for name in imported(file)}
    assert not roots & {"click", "pickle", "cloudpickle", "dill", "shelve", "marshal"}


@pytest.mark.parametrize(
    "file",
    [file for file in FILES if module_of(file) not in ("leaving", "cli", "__main__")],
    ids=name_of,
)
def test_only_the_command_line_prints_or_exits(file: Path) -> None:
    talk = {
        "print", "input", "exit", "quit", "breakpoint",
        "sys.exit", "sys.stdout", "sys.stderr", "os._exit", "os.abort",
    }  # fmt: skip
    used = {
        ast.unparse(node)
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Name | ast.Attribute)
    }
    assert not used & talk
    assert "SystemExit" not in used
