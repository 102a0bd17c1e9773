"""Feeds the reader of model files what a fuzzer finds by following the code it reaches: `make fuzz`.

Needs atheris (https://github.com/google/atheris). What it finds is to be kept in `damaged/`.
"""

import random
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped]
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

with atheris.instrument_imports(include=["lstmgen"]):
    from lstmgen import checkpoint
    from lstmgen.errors import CheckpointError

from test_damage import CONFIG, VOCABULARY, damaged, parts, sealed

FILE = Path(tempfile.mkdtemp()) / "m"


def try_to_read(data: bytes) -> None:
    FILE.write_bytes(data)
    try:
        checkpoint.load_model(FILE)
    except CheckpointError as error:
        if "\n" in str(error) or len(str(error)) > 1000:
            raise RuntimeError("not one short line") from error


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """Half of the time byte by byte, half of the time in what the header says, sealed anew."""
    luck = random.Random(seed)
    if luck.random() < 0.5:
        try:
            table, description, payload = parts(data)
            return damaged(sealed(table, description, payload, luck), luck)[:most]
        except Exception:  # not a container (any more), which says nothing about the reader
            pass
    return bytes(atheris.Mutate(data, most))


def seed(folder: Path) -> None:
    """Give the fuzzer a whole model to begin with."""
    weights = {n: np.full(shape, 0.5, np.float32) for n, shape in CONFIG.weight_shapes().items()}
    checkpoint.save_model(folder / "whole", checkpoint.SavedModel(CONFIG, VOCABULARY, weights, {}))


if __name__ == "__main__":
    seed(Path(sys.argv[-1]))
    atheris.Setup(sys.argv, try_to_read, custom_mutator=mutate)
    atheris.Fuzz()
