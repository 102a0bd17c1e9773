"""The numbers that define a model and a run: frozen dataclasses, checked when made, kept as JSON.

The fixed defaults of what is kept are written here, once; what follows from the text and the time is in
`planning`.
"""

from dataclasses import asdict, dataclass, field, fields, replace
from math import prod
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from lstmgen.errors import OptionError
from lstmgen.ranges import RANGES, Range, require, require_whole

Level = Literal["char", "word"]
# "prose" sets punctuation apart; "space" cuts at white space only, for text that is tokenised already.
Words = Literal["prose", "space"]
CellName = Literal["lstm", "gru", "rnn"]
Precision = Literal["float32", "bfloat16"]
AskedPrecision = Literal["auto", Precision]

LATER = MappingProxyType({"later": True})  # marks what files of format 1 did not always have

# Blocks of H rows in a layer's matrices: those of its gates, and one of what is let through them.
NUM_BLOCKS: dict[CellName, int] = {"lstm": 4, "gru": 3, "rnn": 1}
STATE_PARTS: dict[CellName, int] = {"lstm": 2, "gru": 1, "rnn": 1}  # (h, C) or (h,)

DEFAULT_MODEL_FOLDER = "lstmgen-model"
MODEL_VARIABLE = "LSTMGEN_MODEL"  # of the environment; names another
DEFAULT_MINUTES = 5.0
MAX_HELD_OUT = 1_000_000  # characters to validate on, where no share is given
DEFAULT_LENGTH = 500
DEFAULT_BEAMS = 8  # from Python; the command line has no beam search unless asked
DEFAULT_ENCODING = "utf-8"
LARGE_VOCABULARY = 8192  # symbols, of which a step meets only some
SOFTMAX_SAMPLE = 2048  # symbols drawn a step then
MAX_RETREATS = 4  # of a run that diverges; they take the learning rate to a thousandth

# Weights that have a row for each symbol.
BY_SYMBOL = ("embedding.weight", "output.weight", "output.bias")


def is_layer_matrix(name: str) -> bool:
    """Whether a weight is a matrix of a recurrent layer."""
    return ".weight_" in name


@dataclass(frozen=True, kw_only=True)
class JsonConfig:
    """A dataclass that can be kept as JSON.

    Ranges are checked when it is made, names and types when it is read back.
    """

    def require_ranges(self) -> None:
        """`OptionError` for a value outside the range of the option that has the field's name.

        None passes where it is the default.
        """
        for one in fields(self):
            value, option = getattr(self, one.name), f"--{one.name.replace('_', '-')}"
            if option in RANGES and (value is not None or one.default is not None):
                require(option, value)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The object that `to_json` described; `OptionError` names what does not fit.

        A file that lacks a value which came `LATER` means the default, as that is what was done.
        """
        if not isinstance(data, dict):
            raise OptionError(f"{cls.__name__} is {data!r:.60}, not a JSON object")
        types = get_type_hints(cls)
        every = fields(cls)
        names = {field.name for field in every}
        needed = {field.name for field in every if "later" not in field.metadata}
        for what, odd in (("lacks", needed - set(data)), ("does not know", set(data) - names)):
            if odd:
                newer = "" if what == "lacks" else " (if a newer lstmgen wrote it, upgrade)"
                raise OptionError(f"{cls.__name__} {what} {', '.join(sorted(odd)):.200}{newer}")
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
        self.require_ranges()
        Range(2, 10_000_000).require("the vocabulary size", self.vocab_size)
        if self.tie and self.embedding_size != self.hidden_size:
            raise OptionError(
                f"--tie shares one matrix between embedding and output layer, so --embedding-size "
                f"{self.embedding_size} must equal --hidden-size {self.hidden_size}; leave one of them "
                "out, or give --no-tie"
            )

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight, in the order of the model file.

        Blocks of H rows lie one below the other, as in `torch.nn`: those of the input gate, the forget gate,
        the candidates and the output gate of an LSTM; reset gate, update gate and candidates of a GRU.
        """
        rows = NUM_BLOCKS[self.cell] * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "embedding.weight": (self.vocab_size, self.embedding_size)
        }
        for layer in range(self.num_layers):
            width = self.hidden_size if layer else self.embedding_size
            shapes[f"layers.{layer}.weight_ih"] = (rows, width)
            shapes[f"layers.{layer}.weight_hh"] = (rows, self.hidden_size)
            shapes[f"layers.{layer}.bias_ih"] = (rows,)
            shapes[f"layers.{layer}.bias_hh"] = (rows,)
        if not self.tie:
            shapes["output.weight"] = (self.vocab_size, self.hidden_size)
        shapes["output.bias"] = (self.vocab_size,)
        return shapes

    @property
    def num_parameters(self) -> int:
        return sum(prod(shape) for shape in self.weight_shapes().values())


@dataclass(frozen=True, kw_only=True)
class TrainConfig(JsonConfig):
    """How a network is trained.

    With network, corpus, first weights, machine and number of threads it fixes every bit of a run on the CPU,
    unless the run ends by the clock, which moves its number of steps.
    """

    num_steps: int
    report_every: int
    batch_size: int = 32
    window: int = 64
    learning_rate: float = 0.04  # of Muon
    adamw_share: float = field(default=0.4, metadata=LATER)  # AdamW's rate, as a share of that
    warmup_fraction: float = 0.03
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    dropout: float = 0.0
    weight_drop: float = field(default=0.0, metadata=LATER)  # share of the recurrent weights
    # For how many tokens the last layer begins able to remember, its biases frozen; 0: off.
    memory: int = field(default=0, metadata=LATER)
    softmax_sample: int = 0  # symbols drawn a step to stand for the vocabulary; 0 takes all
    seed: int = 0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        self.require_ranges()
        require("--steps", self.num_steps)
        RANGES["--steps"].require("the reporting interval", self.report_every)
        Range(0, 1).require("the warm-up's share", self.warmup_fraction)
        Range(1e-12, 1e12).require("the norm that gradients are clipped to", self.clip_norm)


MAX_SECONDS, MAX_COUNT, MAX_NATS = 1e12, 10**15, 1e300  # beyond what any run comes to


@dataclass(frozen=True, kw_only=True)
class Position(JsonConfig):
    """How far a run has come. The best score on the validation part is kept field by field, as `best_...`."""

    step: int = 0
    seconds: float = 0.0
    deadline: float | None = None  # seconds of training in all, where the clock ends it
    best_nats: float | None = None
    best_tokens: int = 0
    best_characters: int = 0
    best_unknown_tokens: int = 0
    best_step: int | None = field(default=None, metadata=LATER)  # None where it is not known
    retreats: int = field(default=0, metadata=LATER)  # how often the loss blew up
    # With a loss above this it has diverged.
    most_nats_per_token: float | None = field(default=None, metadata=LATER)
    device: str = field(default="", metadata=LATER)  # what it ran on

    def __post_init__(self) -> None:
        Range(0, MAX_COUNT).require("the step of the run", self.step)
        Range(0, MAX_SECONDS).require("the time that the run has taken", self.seconds)
        if self.deadline is not None:
            Range(0, MAX_SECONDS).require("the time that the run was given", self.deadline)
        Range(0, MAX_RETREATS).require("the number of retreats", self.retreats)
        if self.most_nats_per_token is not None:
            Range(0, MAX_NATS).require("the most that a token may cost", self.most_nats_per_token)
        if self.best_nats is not None:
            Range(0, MAX_NATS).require("the best loss", self.best_nats)
            Range(1, MAX_COUNT).require("the tokens of the best loss", self.best_tokens)
            Range(1, MAX_COUNT).require("the characters of the best loss", self.best_characters)
            Range(0, MAX_COUNT).require(
                "the unknown tokens of the best loss", self.best_unknown_tokens
            )
            if self.best_step is not None:
                Range(0, self.step).require("the step of the best loss", self.best_step)

    def with_best_of(self, other: "Position") -> "Position":
        """The same run, whose best score is another's."""
        names = [name for name in vars(other) if name.startswith("best_")]
        return replace(self, **{name: getattr(other, name) for name in names})


@dataclass(frozen=True, kw_only=True)
class CorpusConfig(JsonConfig):
    """How text is cut into tokens, and which part of it is held out."""

    level: Level = "char"
    words: Words = "prose"
    min_count: int = 2
    max_vocab: int | None = None
    valid_fraction: float = 0.1

    def __post_init__(self) -> None:
        self.require_ranges()


@dataclass(frozen=True, kw_only=True)
class DecodingConfig(JsonConfig):
    """How the next token is chosen from the model's distribution."""

    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None:
            require_whole("--top-k", self.top_k)
        self.require_ranges()


@dataclass(frozen=True, kw_only=True)
class DynamicConfig(JsonConfig):
    """How a network goes on learning from the text that it scores."""

    option: ClassVar[str] = "dynamic"  # which asks for it; its name in tables and JSON too
    strength: ClassVar[str] = "rate"  # the setting at 0 of which nothing changes

    rate: float = 2e-4  # how far a weight moves per window, where gradients are as large as usual
    decay: float = 1e-3  # the share of its way that it goes back
    floor: float = 1e-4  # added to what gradients are divided by
    window: int = 32  # tokens

    def __post_init__(self) -> None:
        require("--dynamic-rate", self.rate)
        require("--dynamic-decay", self.decay)
        Range(1e-12).require("what is added to the root of squares", self.floor)
        RANGES["--window"].require("the window", self.window)


@dataclass(frozen=True, kw_only=True)
class CacheConfig(JsonConfig):
    """How much a score listens to what came after states like the present one."""

    option: ClassVar[str] = "cache"
    strength: ClassVar[str] = "share"

    size: int  # tokens
    share: float = 0.2  # of the probability; the paper's lambda
    sharpness: float = 0.2  # how much more what is more alike counts; the paper's theta
    window: int = 64  # tokens

    def __post_init__(self) -> None:
        require("--cache", self.size)
        require("--cache-share", self.share)
        require("--cache-sharpness", self.sharpness)
        RANGES["--window"].require("the window", self.window)
