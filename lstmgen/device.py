"""Turns "auto", "cpu", "cuda:1" or "mps" into a torch device, and "auto" into a precision.

And what else differs from device to device: random numbers, exactness, memory, waiting.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lstmgen.config import AskedPrecision, Precision
from lstmgen.errors import DeviceError
from lstmgen.ranges import require_device

ONEDNN_ROWS = 512  # of a product, so that it pays to lay them out for oneDNN


def choose(name: str) -> torch.device:
    """The device that a name stands for; "auto" is an accelerator where there is one, else the CPU.

    `OptionError` for another name, `DeviceError` where this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, number = name.partition(":")
    require_device(name)
    if kind == "cuda":
        count = torch.cuda.device_count()
        if not torch.cuda.is_available():
            why = "" if torch.version.cuda else " (it was built without CUDA)"
            raise DeviceError(
                f"--device {name}: torch{why} finds no CUDA device here; use --device cpu"
            )
        if int(number or 0) >= count:
            there = "only cuda:0 is here; use that"
            if count > 1:
                there = f"cuda:0 to cuda:{count - 1} are here; use one of them"
            raise DeviceError(f"--device {name}: {there}, or --device cpu")
        return torch.device("cuda", int(number or 0))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("--device mps: torch finds no Apple GPU here; use --device cpu")
    return torch.device(kind)


def choose_precision(precision: AskedPrecision, device: torch.device) -> Precision:
    """bfloat16 where "auto" finds hardware for it (AVX512-BF16, AMX, CUDA from 8.0 on).

    `DeviceError` where it is asked for and cannot be had.
    """
    if precision == "bfloat16" and not can_bfloat16(device):
        raise DeviceError(
            "--precision bfloat16: this processor is not made for it, and torch cannot train an LSTM in it "
            "there; use --precision float32"
        )
    if precision != "auto":
        return precision
    if device.type == "cuda":
        with torch.cuda.device(device):
            real = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if real else "float32"
    fast = device.type == "cpu" and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    return "bfloat16" if fast else "float32"


def can_bfloat16(device: torch.device) -> bool:
    """Whether networks of all kinds can be trained there in bfloat16, however slowly.

    oneDNN, which has torch's LSTM on the CPU, cannot on a processor of Intel's kind without AVX512.
    """
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return True
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """A context in which matrix products run in `precision`; sums and losses stay float32.

    But recurrent layers on CUDA run in float16 where the rest has bfloat16, as torch hands cuDNN no other.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@contextmanager
def whole_float32(device: torch.device) -> Iterator[None]:
    """Within the block, recurrent layers that are in float32 have all its bits, on CUDA too.

    By itself cuDNN leaves out the last 13 there (TF32), and a score would be off by some 0.0003 bits a
    character.
    """
    if device.type != "cuda":
        yield
        return
    # As `torch.backends.cudnn.rnn` has it, which in torch 2.9 and 2.10 a module hides once it is imported.
    layers: Any = torch.backends._FP32Precision("cuda", "rnn")  # type: ignore[no-untyped-call]
    before = layers.fp32_precision
    layers.fp32_precision = "ieee"
    try:
        yield
    finally:
        layers.fp32_precision = before


def seed(device: torch.device, number: int) -> None:
    """Seed torch's generators of the CPU and of this device.

    `torch.manual_seed` would seed all kinds of devices, and keep a stack trace for each kind not used yet:
    up to half a millisecond.
    """
    torch.default_generator.manual_seed(short_seed(number))
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number)


def short_seed(seed: int) -> int:
    """A seed for torch on the CPU, whose generator looks at the last 32 bits only."""
    return (seed ^ seed >> 32) & 0xFFFFFFFF


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on that device; a CUDA GPU copies it when it gets there, and nobody waits."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def wait(device: torch.device) -> None:
    """Wait until a GPU has done what it was asked for, so that the clock tells what that took."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x weight' + bias, (..., H), (V, H) and (V,) -> (..., V).

    torch's usual product in float32 is Intel's own library, which on other makers' processors takes half
    as long again as oneDNN. So oneDNN is taken where many numbers come in each direction, unless
    there is AMX, by which Intel's are told: one without it takes oneDNN too.
    """
    many = x.numel() >= ONEDNN_ROWS * x.shape[-1] and len(weight) >= ONEDNN_ROWS
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if many and x.is_cpu and available and not torch.cpu._is_amx_tile_supported():
        product = torch.ops.aten.mkldnn_linear
        result: Tensor = product(x.to_mkldnn(), weight.to_mkldnn(), bias.to_mkldnn()).to_dense()
        return result
    return functional.linear(x, weight, bias)


def free_memory(device: torch.device) -> int:
    """Bytes that a GPU of CUDA has free; 0 for other devices."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def describe(device: torch.device, most_threads: int | None = None) -> str:
    """The device in words, for the plan; of the CPU also its threads, and how many there may be later."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type != "cpu":
        return str(device)
    threads = torch.get_num_threads()
    if most_threads and threads < most_threads:
        return f"{device}, {threads} of {most_threads} threads, as many as get cores now"
    return f"{device}, {threads} thread{'s' if threads > 1 else ''}"


def describe_precision(device: torch.device, precision: Precision) -> str:
    """The precision in words, and where `autocast` departs from it."""
    departs = device.type == "cuda" and precision == "bfloat16"
    return f"{precision} (recurrent layers float16)" if departs else precision


def keep_memory() -> bool:
    """Let this process keep the memory that it frees; true where the C library (glibc) can be told.

    A step frees some hundred megabytes and the next asks for them again. Given back to the system
    in between, every page of them is cleared anew, which takes up to a third of a step.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of <malloc.h>
    return bool(mallopt(trim_threshold, 2**31 - 1)) and bool(mallopt(mmap_max, 0))
