"""Which engine does a job: NumPy's, or torch's where that is worth its import."""

import builtins
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from lstmgen import checkpoint, engines
from lstmgen.config import ModelConfig
from lstmgen.errors import DeviceError


def test_torch_is_for_work_from_which_it_pays(model: Path) -> None:
    saved = checkpoint.load_model(model)
    enough = ceil(engines.TORCH_PAYS / saved.config.num_parameters)
    for name in ("auto", "cpu"):
        assert engines.takes_torch(saved, name, enough)
        assert not engines.takes_torch(saved, name, enough - 1)
    assert engines.takes_torch(saved, "cuda:1", 0)
    million = replace(saved, config=ModelConfig(vocab_size=65))
    assert 0.8e6 < million.config.num_parameters < 1.1e6
    assert not engines.takes_torch(million, "auto", 100_000)
    assert engines.takes_torch(million, "auto", 300_000)


def test_where_the_working_folder_is_gone_torch_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a library of its would end the process by itself."""
    (folder := tmp_path / "gone").mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(DeviceError, match="the working folder is gone; go to another"):
        engines.require_torch()


def test_a_library_of_torch_that_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *about: Any, **how: Any) -> Any:
        if name == "torch":
            raise OSError("libtorch_cpu.so: cannot map\nmore of it")
        return original(name, *about, **how)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DeviceError, match=r"cannot be loaded \(libtorch_cpu\.so: cannot map\);"):
        engines.require_torch()
