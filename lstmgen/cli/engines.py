"""Chooses the engine that runs a trained model: NumPy where that is at once, torch where it pays."""

from typing import TYPE_CHECKING, Annotated

import typer

from lstmgen.config import DEFAULT_MODEL_FOLDER

if TYPE_CHECKING:
    from lstmgen.checkpoint import SavedModel
    from lstmgen.scoring import Engine

# Work, in tokens times parameters, from which importing torch is worth its time.
TORCH_PAYS = 2.0e11

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        envvar="LSTMGEN_MODEL",
        help="Model folder, or a .safetensors file.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps."),
]
MODEL_DEFAULT = DEFAULT_MODEL_FOLDER


def choose(model: "SavedModel", device: str, num_tokens: int) -> "Engine":
    """The engine for a job of `num_tokens`; "auto" and "cpu" use torch for long jobs only."""
    if device in ("auto", "cpu") and num_tokens * model.config.num_parameters < TORCH_PAYS:
        from lstmgen.cells import Cells

        return Cells(model.config, model.weights)
    return _torch(model, device)


def _torch(model: "SavedModel", device: str) -> "Engine":
    from lstmgen import device as devices
    from lstmgen.model import TorchEngine, load_network

    return TorchEngine(load_network(model.config, model.weights, devices.choose(device)))
