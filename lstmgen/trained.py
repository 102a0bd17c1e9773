"""Turns a model on disk into an object that writes and scores text: what `lstmgen.load` gives."""

import secrets
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from lstmgen import checkpoint, engines, folders
from lstmgen.beam_search import search
from lstmgen.checkpoint import SavedModel
from lstmgen.config import (
    DEFAULT_BEAMS,
    DEFAULT_LENGTH,
    DEFAULT_MODEL_FOLDER,
    DecodingConfig,
    ModelConfig,
)
from lstmgen.encoding import with_line_feeds
from lstmgen.errors import OptionError
from lstmgen.generation import Generated, Prime, generate, stop_strings, stream
from lstmgen.ranges import require_device, require_text, require_whole
from lstmgen.reading import Engine
from lstmgen.scoring import Score, score_text
from lstmgen.vocabulary import Vocabulary


class Decoding(TypedDict, total=False):
    """How tokens are chosen; `config.DecodingConfig` has the defaults."""

    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None


class TrainedModel:
    """A trained network with its vocabulary.

    On the CPU, which "auto" means for sampling, NumPy runs it; torch is imported for other devices
    and to score long texts. A text is read as if a line end stood before it, and CRLF and CR in it as LF.
    """

    def __init__(self, saved: SavedModel, device: str = "auto") -> None:
        require_device(device)
        self.saved = saved
        self.device = device
        self._engines: dict[bool, Engine] = {}  # torch's, and NumPy's
        self._engine(0)  # so that a device that is not there is told now

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
        a value is out of its range, `ValueError` for what is no `str`; likewise below.
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
        require_whole("--length", length)
        config, stops = DecodingConfig(**decoding), stop_strings(stop)
        return stream(
            self._engine(0), self.vocabulary, Prime(_prime(prime), _seed(seed)),
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
        """A text for each prime, in order, sampled side by side; text i has the seed `seed + i`.

        What goes wrong with a prime is raised after the texts of those before it.
        """
        if isinstance(primes, str):
            raise ValueError(f"primes is one text, {primes!r:.40}; give a list of them")
        require_whole("--length", length)
        config, stops, first = DecodingConfig(**decoding), stop_strings(stop), _seed(seed)
        numbered = (Prime(_prime(prime), _seed(first + i)) for i, prime in enumerate(primes))
        return generate(
            self._engine(0), self.vocabulary, numbered, decoding=config, length=length, stops=stops
        )

    def search(
        self,
        prime: str = "",
        *,
        num_beams: int = DEFAULT_BEAMS,
        length: int = DEFAULT_LENGTH,
        stop: str | Sequence[str] = (),
    ) -> list[Generated]:
        """The likeliest texts that follow the prime, as far as a beam search finds them, best first."""
        require_whole("--beams", num_beams)
        require_whole("--length", length)
        return search(
            self._engine(0), self.vocabulary, _prime(prime),
            num_beams=int(num_beams), length=length, stops=stop_strings(stop),
        )  # fmt: skip

    def score(self, text: str) -> Score:
        """What the text costs in nats under the model, with tokens and characters to divide it by.

        `OptionError` where there is no text.
        """
        require_text("the text to score", text)
        if not text:
            raise OptionError("the text to score is empty; give one with a character at least")
        text = with_line_feeds(text)
        ids = self.vocabulary.encode(text)
        return score_text(self._engine(len(ids)), self.vocabulary, ids, len(text))

    def _engine(self, num_tokens: int) -> Engine:
        """The engine for a job of so many tokens; each kind is made once."""
        by_torch = engines.takes_torch(self.saved, self.device, num_tokens)
        if by_torch not in self._engines:
            self._engines[by_torch] = engines.choose(self.saved, self.device, num_tokens)
        return self._engines[by_torch]


def _prime(text: str) -> str:
    require_text("--prime", text)
    return with_line_feeds(text)


def _seed(seed: int | None) -> int:
    if seed is None:
        return secrets.randbelow(2**31)
    require_whole("--seed", seed)
    return int(seed)  # NumPy's would run over


def load(model: str | Path | None = None, device: str = "auto") -> TrainedModel:
    """The model in a folder or a .safetensors file, ready to write and to score.

    Without a name it is the one that the variable `LSTMGEN_MODEL` names, or the one in `lstmgen-model`, or
    where there is none the small one that comes with the package, with a warning. Devices are "auto",
    "cpu", "cuda", "cuda:N" and "mps". Raises `OptionError` for another, `DeviceError` where this machine has
    none, `CheckpointError` where there is no model that can be read.
    """
    path = folders.find_model(model)
    if path == folders.BUILT_IN and model is None:
        warnings.warn(
            f"there is no {DEFAULT_MODEL_FOLDER} in the working folder, so this is the built-in model",
            stacklevel=2,
        )
    return TrainedModel(checkpoint.load_model(path), device)
