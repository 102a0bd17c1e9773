"""The options that say which trained model is meant and where it runs."""

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstmgen import folders
from lstmgen.cli import console
from lstmgen.config import DEFAULT_MODEL_FOLDER, MODEL_VARIABLE

if TYPE_CHECKING:
    from lstmgen.checkpoint import SavedModel
    from lstmgen.reading import Engine

MODEL_DEFAULT = f"{DEFAULT_MODEL_FOLDER}, or the built-in model where there is none"

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        envvar=MODEL_VARIABLE,
        help="Model folder, or a .safetensors file.",
        show_default=MODEL_DEFAULT,
    ),
]


def device_option(auto: str) -> Any:
    """`--device`, with what "auto" means to a command."""
    return typer.Option("--device", help=f"auto ({auto}), cpu, cuda, cuda:N or mps.")


def called(model: str | None) -> str:
    """The name of the model that is meant: its folder or file as it was given, or "built-in"."""
    path = folders.find_model(model)
    return "built-in" if path is folders.BUILT_IN else str(path)


def load(model: str | None) -> "SavedModel":
    """The model that is meant; says so where it is the one that comes with the package."""
    from lstmgen import checkpoint

    path = folders.find_model(model)
    if path is folders.BUILT_IN:  # and not named by its path
        console.note(
            f"there is no {DEFAULT_MODEL_FOLDER} here, so this is the built-in model, trained on "
            "invented life stories; make your own with `lstmgen train corpus.txt`"
        )
    return checkpoint.load_model(path)


def engine_to_score(saved: "SavedModel", device: str, num_tokens: int) -> "Engine":
    """The engine for so many tokens, and if it is torch's with as many threads as serve."""
    from lstmgen import engines

    engine = engines.choose(saved, device, num_tokens)
    if engines.takes_torch(saved, device, num_tokens):
        settle_threads(device)
    return engine


@cache  # the first look is for the whole command: a second one would begin with fewer
def settle_threads(device: str) -> None:
    """Have torch take fewer threads on the CPU, to the end of the command, if others need the cores."""
    from lstmgen import engines

    engines.require_torch()
    from lstmgen import device as devices
    from lstmgen import threads

    if devices.choose(device).type == "cpu":
        threads.take_what_serves()
