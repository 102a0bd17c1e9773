"""What the system, Python or torch refuse, and what is told of it."""

import errno

import numpy as np
import pytest
import torch

from lstmgen.cli import faults
from lstmgen.cli.faults import is_lack_of_memory


@pytest.mark.parametrize("array", [np.empty, torch.empty], ids=["numpy", "torch"])
def test_a_lack_of_memory_is_known_whoever_tells_of_it(array: type) -> None:
    with pytest.raises((MemoryError, RuntimeError)) as told:
        array((2**30, 2**28))
    assert is_lack_of_memory(told.value)


def test_no_other_error_is_taken_for_a_lack_of_memory() -> None:
    for other in (None, ValueError("size mismatch"), OSError(errno.ENOSPC, "No space left")):
        assert not is_lack_of_memory(other)


def test_a_lack_of_memory_is_known_behind_what_came_up_over_it() -> None:
    error = RuntimeError("operation failed due to a previous error during capture")
    error.__context__ = torch.OutOfMemoryError("CUDA out of memory.")
    assert is_lack_of_memory(error)


def test_what_nobody_can_mend_has_no_advice() -> None:
    assert faults.advice(RuntimeError("an illegal memory access was encountered")) == ""
    assert faults.advice(RuntimeError("can't start new thread")).endswith("as by `ulimit -u`")
    missing = OSError(errno.ENOENT, "No such file", "a/b")
    assert faults.advice(missing).startswith("a/b: No such file; check the path")
    assert faults.advice(OSError(errno.ENOSPC, "No space left")).startswith(
        "output: No space left; "
    )


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("could not create a primitive", "not enough memory"),
        ("could not create a primitive descriptor for an LSTM forward", ""),
        ("std::bad_alloc", "not enough memory"),
        ("CUDA out of memory. Tried to allocate 2 GiB", "not enough memory"),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling", "not enough memory"),
        ("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling", "not enough memory"),
        ("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED", "not enough memory"),
        (
            "DefaultCPUAllocator: can't allocate memory: you tried 9 bytes",
            "not enough memory",
        ),
        (
            "CUDA error: no kernel image is available for execution on the device\nTry more",
            "cannot be used (CUDA error: no kernel image is available for execution on the device); "
            "give --device cpu",
        ),
        ("No CUDA GPUs are available", "cannot be used (No CUDA GPUs are available)"),
        ("CUDA error: an illegal memory access was encountered", ""),
        ("CUDA error: CUBLAS_STATUS_INVALID_VALUE when an illegal", ""),
    ],
)
def test_only_what_tells_of_memory_or_of_a_gpu_that_cannot_be_used_is_taken_for_it(
    message: str, told: str
) -> None:
    said = faults.advice(RuntimeError(message))
    assert told in said
    assert bool(said) == bool(told)
