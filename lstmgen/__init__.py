"""lstmgen trains recurrent language models on your own text, and generates and scores text with them.

>>> import lstmgen
>>> model = lstmgen.load("lstmgen-model")
>>> model.sample("I grew up in France", length=200)
>>> model.score("I speak fluent French.").bits_per_character
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["TrainedModel", "load"]

if TYPE_CHECKING:
    from lstmgen.trained import TrainedModel, load


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    # Imported when asked for, so that `lstmgen --help` need not wait for NumPy.
    if name in __all__:
        from lstmgen import trained

        return getattr(trained, name)
    raise AttributeError(f"module 'lstmgen' has no attribute {name!r}")
