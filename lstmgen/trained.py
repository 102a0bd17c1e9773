"""Turns a model on disk into an object that writes and scores text: what `lstmgen.load` gives."""

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from lstmgen import checkpoint
from lstmgen.beam_search import search
from lstmgen.cells import Cells
from lstmgen.checkpoint import SavedModel
from lstmgen.config import (
    DEFAULT_LENGTH,
    DEFAULT_MODEL_FOLDER,
    MODEL_VARIABLE,
    DecodingConfig,
    ModelConfig,
)
from lstmgen.errors import OptionError
from lstmgen.generation import Generated, Prime, generate, stream
from lstmgen.ranges import require_whole
from lstmgen.scoring import Engine, Score, of_ids, score_ids
from lstmgen.vocabulary import Vocabulary

BUILT_IN = Path(__file__).with_name("demo.safetensors")

# Work, in tokens times parameters, from which importing torch is worth its time.
TORCH_PAYS = 2.0e11


class Decoding(TypedDict, total=False):
    """How tokens are chosen; `config.DecodingConfig` has the defaults."""

    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None


def find(model: str | Path | None) -> str | Path:
    """The model that is meant: the one named here, or in the environment, or else the usual one.

    That is the one in the working folder, or where there is none the built-in model.
    """
    if model is None:
        model = os.environ.get(MODEL_VARIABLE) or None
    if model is not None:
        if not str(model):
            raise OptionError("--model is empty; name a folder or a file, or leave it out")
        return model
    there = os.path.exists(DEFAULT_MODEL_FOLDER)  # noqa: PTH110  # which raises nothing
    return DEFAULT_MODEL_FOLDER if there else BUILT_IN


def choose_engine(saved: SavedModel, device: str, num_tokens: int) -> Engine:
    """The engine for a job of `num_tokens`; "auto" and "cpu" use torch for long jobs only.

    `DeviceError` if this machine does not have the device.
    """
    if not takes_torch(saved, device, num_tokens):
        return Cells(saved.config, saved.weights)
    from lstmgen import device as devices
    from lstmgen.model import TorchEngine, load_network

    return TorchEngine(load_network(saved.config, saved.weights, devices.choose(device)))


def takes_torch(saved: SavedModel, device: str, num_tokens: int) -> bool:
    """Whether torch is to do a job of `num_tokens`."""
    work = num_tokens * saved.config.num_parameters
    return device not in ("auto", "cpu") or work >= TORCH_PAYS


class TrainedModel:
    """A trained network with its vocabulary.

    On the CPU, which "auto" means for sampling, NumPy runs it; torch is imported for other devices
    and to score long texts. A text is read as if a line end stood before it.
    """

    def __init__(self, saved: SavedModel, device: str = "auto") -> None:
        self.saved = saved
        self.device = device
        self._sampling = choose_engine(saved, device, 0)
        self._torch: Engine | None = self._sampling if takes_torch(saved, device, 0) else None

    @property
    def config(self) -> ModelConfig:
        """Kind and size of the network."""
        return self.saved.config

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens that it knows."""
        return self.saved.vocabulary

    @property
    def results(self) -> Mapping[str, Any]:
        """How it was trained and how it scored on its validation part."""
        return self.saved.results

    def sample(
        self,
        prime: str = "",
        *,
        length: int = DEFAULT_LENGTH,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        **decoding: Unpack[Decoding],
    ) -> str:
        """The text that follows the prime: `length` tokens, or up to a stop string, which is left out.

        The same seed gives the same text; without one, each call gives another. `OptionError` where
        a value is out of its range.
        """
        return "".join(self.stream(prime, length=length, stop=stop, seed=seed, **decoding))

    def stream(
        self,
        prime: str = "",
        *,
        length: int = DEFAULT_LENGTH,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        **decoding: Unpack[Decoding],
    ) -> Iterator[str]:
        """What `sample` gives, piece by piece as soon as each is certain."""
        config, stops = DecodingConfig(**decoding), checked(length, stop)
        return stream(
            self._sampling, self.vocabulary, Prime(prime, _seed(seed)),
            decoding=config, length=length, stops=stops,
        )  # fmt: skip

    def generate(
        self,
        primes: Iterable[str],
        *,
        length: int = DEFAULT_LENGTH,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        **decoding: Unpack[Decoding],
    ) -> Iterator[Generated]:
        """A text for each prime, in order, sampled side by side; text i has the seed `seed + i`."""
        if isinstance(primes, str):
            raise ValueError(f"primes is one text, {primes!r:.40}; give a list of them")
        config, stops, first = DecodingConfig(**decoding), checked(length, stop), _seed(seed)
        numbered = (Prime(prime, first + i) for i, prime in enumerate(primes))
        return generate(
            self._sampling, self.vocabulary, numbered, decoding=config, length=length, stops=stops
        )

    def search(
        self,
        prime: str = "",
        *,
        num_beams: int = 8,
        length: int = DEFAULT_LENGTH,
        stop: str | Sequence[str] = (),
    ) -> list[Generated]:
        """The likeliest texts that follow the prime, as far as a beam search finds them, best first."""
        require_whole("--beams", num_beams, 1)
        return search(
            self._sampling, self.vocabulary, prime,
            num_beams=int(num_beams), length=length, stops=checked(length, stop),
        )  # fmt: skip

    def score(self, text: str) -> Score:
        """What the text costs in nats under the model, with tokens and characters to divide it by.

        `OptionError` where there is no text.
        """
        if not isinstance(text, str):
            raise ValueError(f"the text to score is {text!r:.40}; give one text, as a str")
        if not text:
            raise OptionError("the text to score is empty; give one with a character at least")
        ids, engine = self.vocabulary.encode(text), self._sampling
        if takes_torch(self.saved, self.device, len(ids)):
            self._torch = self._torch or choose_engine(self.saved, self.device, len(ids))
            engine = self._torch
        nats = score_ids(engine, ids, self.vocabulary.start_id)
        return of_ids(nats, self.vocabulary, ids, len(text))


def checked(length: int, stop: str | Sequence[str]) -> tuple[str, ...]:
    """The stop strings; `OptionError` for a length that is no number of tokens, or an empty stop string."""
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    require_whole("--length", length, 0)
    if "" in stops:
        raise OptionError("--stop is empty; give the text to stop at, or leave --stop out")
    return stops


def _seed(seed: int | None) -> int:
    if seed is None:
        return secrets.randbelow(2**31)
    require_whole("--seed", seed, 0)
    return int(seed)  # NumPy's would run over


def load(model: str | Path | None = None, device: str = "auto") -> TrainedModel:
    """The model in a folder or a .safetensors file, ready to write and to score.

    Without a name it is the one that the variable `LSTMGEN_MODEL` names, or the one in `lstmgen-model`, or
    where there is none the small one that comes with the package. Devices are "auto", "cpu", "cuda",
    "cuda:N" and "mps". Raises `CheckpointError` where there is no model that can be read, `DeviceError`
    where there is no such device.
    """
    return TrainedModel(checkpoint.load_model(find(model)), device)
