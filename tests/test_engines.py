"""Which engine does a job: NumPy's, or torch's where that is worth its import."""

import builtins
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from lstmgen import checkpoint, engines
from lstmgen.errors import DeviceError


def test_torch_is_for_work_from_which_it_pays(model: Path) -> None:
    """Some 200,000 characters by a network of a million parameters."""
    saved = checkpoint.load_model(model)
    enough = ceil(engines.TORCH_PAYS / saved.config.num_parameters)
    for name in ("auto", "cpu"):
        assert engines.takes_torch(saved, name, enough)
        assert not engines.takes_torch(saved, name, enough - 1)
    assert engines.takes_torch(saved, "cuda:1", 0)
    assert 1e11 <= engines.TORCH_PAYS <= 1e12


def test_a_library_of_torch_that_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *about: Any, **how: Any) -> Any:
        if name == "torch":
            raise OSError("libtorch_cpu.so: cannot map\nmore of it")
        return original(name, *about, **how)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DeviceError, match=r"cannot be loaded \(libtorch_cpu\.so: cannot map\);"):
        engines.require_torch()
