"""What is installed has all that it needs, the built-in model among it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_the_package_and_a_model_to_begin_with(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    for folder in (ROOT, installed):
        assert (folder / "lstmgen" / "py.typed").exists()
    modules, packed = (
        {path.relative_to(folder) for path in (folder / "lstmgen").rglob("*.py")}
        for folder in (ROOT, installed)
    )
    assert modules == packed
    done = subprocess.run(
        [sys.executable, "-m", "lstmgen", "sample", "--prime", "I grew up in", "-l", "9"],
        cwd=installed,
        env=os.environ | {"PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert len(done.stdout.strip()) > len("I grew up in")
    assert "built-in" in done.stderr
