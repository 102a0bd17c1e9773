"""A saved model, a device and the size of a job -> the engine that does it soonest: NumPy's or torch's."""

import os
from typing import TYPE_CHECKING

from lstmgen import leaving
from lstmgen.cells import Cells
from lstmgen.checkpoint import SavedModel
from lstmgen.errors import DeviceError
from lstmgen.reading import Engine

if TYPE_CHECKING:
    from lstmgen.model import Network

# Work, in tokens times parameters, from which importing torch is worth its time.
TORCH_PAYS = 2.0e11


def choose(saved: SavedModel, device: str, num_tokens: int) -> Engine:
    """The engine for a job of `num_tokens`; "auto" and "cpu" use torch for long jobs only.

    `DeviceError` if this machine does not have the device.
    """
    if not takes_torch(saved, device, num_tokens):
        return Cells(saved.config, saved.weights)
    loaded = network(saved, device)
    from lstmgen.model import TorchEngine

    return TorchEngine(loaded)


def network(saved: SavedModel, device: str) -> "Network":
    """The model as a network of torch's; `DeviceError` without torch, or the device."""
    require_torch()
    from lstmgen import device as devices
    from lstmgen.model import load_network

    return load_network(saved.config, saved.weights, devices.choose(device))


def require_torch() -> None:
    """`DeviceError` where torch is not installed, or cannot be loaded."""
    try:
        os.getcwd()  # noqa: PTH109  # without one a library of torch's would end the process
    except FileNotFoundError:
        raise DeviceError(
            "torch cannot be loaded where the working folder is gone; go to another one by `cd`"
        ) from None
    try:
        with leaving.postponed():
            import torch  # noqa: F401
    except (ImportError, OSError) as error:  # the second on Windows, as of a library that it lacks
        why = str(error).partition("\n")[0]
        raise DeviceError(
            f"torch cannot be loaded ({why:.200}); install it anew, or where memory is limited, as by "
            "`ulimit -v`, allow more"
        ) from None


def takes_torch(saved: SavedModel, device: str, num_tokens: int) -> bool:
    """Whether torch is to do a job of `num_tokens`."""
    work = num_tokens * saved.config.num_parameters
    return device not in ("auto", "cpu") or work >= TORCH_PAYS
