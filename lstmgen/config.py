"""The numbers that define a model and a run: frozen dataclasses, checked when made, kept as JSON.

Every fixed default of the project is written here, once, and the command line reads it from here; what
follows from the text and the time is in `planning`.
"""

from dataclasses import asdict, dataclass, field, fields
from math import inf, prod
from numbers import Integral
from types import MappingProxyType
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from lstmgen.errors import OptionError

Level = Literal["char", "word"]
Words = Literal["prose", "space"]
CellName = Literal["lstm", "gru", "rnn"]
Precision = Literal["auto", "float32", "bfloat16"]

LATER = MappingProxyType({"later": True})  # marks what files of format 1 did not always have

NUM_GATES: dict[CellName, int] = {"lstm": 4, "gru": 3, "rnn": 1}
STATE_PARTS: dict[CellName, int] = {"lstm": 2, "gru": 1, "rnn": 1}  # (h, C) or (h,)


class JsonConfig:
    """A dataclass that can be kept as JSON; reading it back checks names, types and ranges."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload,no-any-return]  # subclasses are dataclasses

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The object that `to_json` described; `OptionError` names what does not fit.

        A file that lacks a value which came `LATER` means the default, as that is what was done.
        """
        if not isinstance(data, dict):
            raise OptionError(f"{cls.__name__} is {data!r:.60}, not a JSON object")
        types = get_type_hints(cls)
        every = fields(cls)  # type: ignore[arg-type]
        names = {field.name for field in every}
        needed = {field.name for field in every if "later" not in field.metadata}
        if odd := (needed - set(data)) | (set(data) - names):
            listed = ", ".join(sorted(odd))
            raise OptionError(f"{cls.__name__} has missing or unknown values: {listed:.200}")
        for name in sorted(data):
            if not _fits(data[name], types[name]):
                raise OptionError(f"{cls.__name__}: {name} is {data[name]!r:.60}")
        return cls(**data)


def _fits(value: object, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_args(kind):  # X | None
        return any(_fits(value, part) for part in get_args(kind))
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind


def _require(name: str, value: float, low: float, high: float = inf, what: str = "") -> None:
    if not low <= value <= high:
        span = f"at least {low:,}" if high == inf else f"from {low:,} to {high:,}"
        raise OptionError(f"{name} is {value}; it must be {what or span}")


def require_whole(name: str, value: int, low: int) -> None:
    """`OptionError` for what is not a whole number, of Python's or NumPy's, or is below the lowest."""
    if not isinstance(value, Integral):
        raise OptionError(f"{name} is {value!r:.40}; it must be a whole number")
    _require(name, int(value), low)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(JsonConfig):
    """What a network is: enough to know the name and shape of every weight."""

    vocab_size: int
    cell: CellName = "lstm"
    num_layers: int = 2
    hidden_size: int = 256
    embedding_size: int = 64  # by character; words have many more things to tell apart
    tie: bool = False
    skip: bool = True  # the output layer reads the sum of all layers' outputs

    def __post_init__(self) -> None:
        _require("the vocabulary size", self.vocab_size, 2, 10_000_000)
        _require("--num-layers", self.num_layers, 1, 100)
        _require("--hidden-size", self.hidden_size, 1, 100_000)
        _require("--embedding-size", self.embedding_size, 1, 100_000)
        if self.tie and self.embedding_size != self.hidden_size:
            raise OptionError(
                f"--tie shares one matrix between input and output, so --embedding-size "
                f"({self.embedding_size}) must equal --hidden-size ({self.hidden_size})"
            )

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight, in the order of the model file.

        Gates lie one below the other along the first axis, as in `torch.nn`: input, forget,
        candidates, output for the LSTM; reset, update, candidates for the GRU.
        """
        gates = NUM_GATES[self.cell] * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "embedding.weight": (self.vocab_size, self.embedding_size)
        }
        for layer in range(self.num_layers):
            width = self.hidden_size if layer else self.embedding_size
            shapes[f"layers.{layer}.weight_ih"] = (gates, width)
            shapes[f"layers.{layer}.weight_hh"] = (gates, self.hidden_size)
            shapes[f"layers.{layer}.bias_ih"] = (gates,)
            shapes[f"layers.{layer}.bias_hh"] = (gates,)
        if not self.tie:
            shapes["output.weight"] = (self.vocab_size, self.hidden_size)
        shapes["output.bias"] = (self.vocab_size,)
        return shapes

    @property
    def num_parameters(self) -> int:
        return sum(prod(shape) for shape in self.weight_shapes().values())


@dataclass(frozen=True, kw_only=True)
class TrainConfig(JsonConfig):
    """How a network is trained; together with corpus, network and machine it fixes every bit."""

    num_steps: int
    report_every: int
    batch_size: int = 32
    window: int = 64
    learning_rate: float = 0.04  # of Muon
    adamw_share: float = field(default=0.4, metadata=LATER)  # what AdamW has of it
    warmup_fraction: float = 0.03
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    dropout: float = 0.0
    weight_drop: float = field(default=0.0, metadata=LATER)  # share of the recurrent weights
    memory: int = field(default=0, metadata=LATER)  # tokens for which frozen gates keep; 0: none
    softmax_sample: int = 0  # symbols drawn a step to stand for the vocabulary; 0 takes all
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        _require("--steps", self.num_steps, 1, 10**12)
        _require("the reporting interval", self.report_every, 1, 10**12)
        _require("--batch-size", self.batch_size, 1, 1_000_000)
        _require("--window", self.window, 1, 1_000_000)
        what = "above 0 and at most 100"
        _require("--learning-rate", self.learning_rate, 1e-12, 100, what)
        _require("--adamw-share", self.adamw_share, 0, 1000)
        _require("--memory", self.memory, 0, 1_000_000)
        _require("--dropout", self.dropout, 0, 0.95)
        _require("--weight-drop", self.weight_drop, 0, 0.95)
        _require("--softmax-sample", self.softmax_sample, 0, 10_000_000)
        _require("--seed", self.seed, 0, 2**63 - 1)
        _require("the warm-up's share", self.warmup_fraction, 0, 1)
        _require("--weight-decay", self.weight_decay, 0, 1_000_000)
        _require("the norm that gradients are clipped to", self.clip_norm, 1e-12, 1e12)


@dataclass(frozen=True, kw_only=True)
class Position(JsonConfig):
    """How far a run has come. The best score on the validation part is kept by its parts."""

    step: int = 0
    seconds: float = 0.0
    deadline: float | None = None
    best_nats: float | None = None
    best_tokens: int = 0
    best_characters: int = 0
    best_unknown_tokens: int = 0
    best_step: int = field(default=0, metadata=LATER)  # 0 where it is not known
    retreats: int = field(default=0, metadata=LATER)  # how often the loss blew up
    most_nats_per_token: float | None = field(default=None, metadata=LATER)  # more has blown up
    device: str = field(default="", metadata=LATER)  # what it ran on

    def __post_init__(self) -> None:
        _require("the step of the run", self.step, 0, MAX_COUNT)
        _require("the time that the run has taken", self.seconds, 0, MAX_SECONDS)
        if self.deadline is not None:
            _require("the time that the run was given", self.deadline, 0, MAX_SECONDS)
        _require("the number of retreats", self.retreats, 0, MOST_RETREATS)
        if self.most_nats_per_token is not None:
            _require("the most that a token may cost", self.most_nats_per_token, 0, MAX_NATS)
        if self.best_nats is not None:
            _require("the best loss", self.best_nats, 0, MAX_NATS)
            _require("the tokens of the best loss", self.best_tokens, 1, MAX_COUNT)
            _require("the characters of the best loss", self.best_characters, 1, MAX_COUNT)
            _require("the unknown tokens of the best loss", self.best_unknown_tokens, 0, MAX_COUNT)
            _require("the step of the best loss", self.best_step, 0, self.step)


@dataclass(frozen=True, kw_only=True)
class CorpusConfig(JsonConfig):
    """How text is read and cut into tokens, and which part of it is held out."""

    level: Level = "char"
    words: Words = "prose"
    min_count: int = 2
    max_vocab: int | None = None
    valid_fraction: float = 0.1

    def __post_init__(self) -> None:
        _require("--min-count", self.min_count, 1)
        if self.max_vocab is not None:
            _require("--max-vocab", self.max_vocab, 2)
        what = "above 0 and below 1"
        _require("--valid-fraction", self.valid_fraction, 1e-9, 1 - 1e-9, what)


@dataclass(frozen=True, kw_only=True)
class DecodingConfig(JsonConfig):
    """How the next token is chosen from the model's distribution."""

    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    def __post_init__(self) -> None:
        _require("--temperature", self.temperature, 0, 1_000_000)
        if self.top_k is not None:
            require_whole("--top-k", self.top_k, 1)
        if self.top_p is not None:
            _require("--top-p", self.top_p, 1e-12, 1, "above 0 and at most 1")
        if self.min_p is not None:
            _require("--min-p", self.min_p, 0, 1)
        if self.repetition_penalty is not None:
            _require("--repetition-penalty", self.repetition_penalty, 0.001, 1000)


@dataclass(frozen=True, kw_only=True)
class DynamicConfig(JsonConfig):
    """How a network goes on learning from the text that it scores."""

    rate: float = 2e-4  # how far a weight moves a window, where gradients are as large as usual
    decay: float = 1e-3  # the share of its way that it goes back
    floor: float = 1e-4  # added to what gradients are divided by
    window: int = 32  # tokens

    def __post_init__(self) -> None:
        _require("--dynamic-rate", self.rate, 0, 1)
        _require("--dynamic-decay", self.decay, 0, 1)
        _require("what is added to the root of squares", self.floor, 1e-12)
        _require("the window", self.window, 1, 1_000_000)


@dataclass(frozen=True, kw_only=True)
class CacheConfig(JsonConfig):
    """How much a score listens to what came after states like the present one."""

    size: int  # tokens
    share: float = 0.2
    sharpness: float = 0.2
    window: int = 64  # tokens

    def __post_init__(self) -> None:
        _require("--cache", self.size, 1, 100_000)
        _require("--cache-share", self.share, 0, 1 - 1e-9, "at least 0 and below 1")
        _require("--cache-sharpness", self.sharpness, 0, 1_000_000)
        _require("the window", self.window, 1, 1_000_000)


DEFAULT_MODEL_FOLDER = "lstmgen-model"
MODEL_VARIABLE = "LSTMGEN_MODEL"  # of the environment; names another
DEFAULT_MINUTES = 5.0
MOST_HELD_OUT = 1_000_000  # characters to validate on, where no share is given
DEFAULT_LENGTH = 500
DEFAULT_ENCODING = "utf-8"
FINE_TUNING_RATE = 0.01  # of weights that know something already, which they should not forget
LARGE_VOCABULARY = 8192  # symbols, of which a step meets only some
SOFTMAX_SAMPLE = 2048  # symbols drawn a step then
MOST_RETREATS = 4  # of a run that goes astray; they take the learning rate to a thousandth
MAX_SECONDS, MAX_COUNT, MAX_NATS = 1e12, 10**15, 1e300  # beyond what any run comes to
