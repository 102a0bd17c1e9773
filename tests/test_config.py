"""The numbers that define a model and a run: what is refused, what survives JSON, what shapes follow."""

import json
from collections.abc import Callable
from math import inf, nan, nextafter
from typing import Any

import pytest
from torch import nn

from lstmgen.config import (
    CacheConfig,
    CellName,
    CorpusConfig,
    DecodingConfig,
    DynamicConfig,
    JsonConfig,
    ModelConfig,
    Position,
    TrainConfig,
)
from lstmgen.errors import OptionError
from lstmgen.model import Network

MODEL = ModelConfig(
    vocab_size=7, cell="gru", num_layers=3, hidden_size=5, embedding_size=5, tie=True, skip=False,
)  # fmt: skip
TRAIN = TrainConfig(
    num_steps=11,
    report_every=3,
    batch_size=2,
    window=9,
    learning_rate=0.1,
    warmup_fraction=0.2,
    weight_decay=0.3,
    clip_norm=0.5,
    dropout=0.25,
    weight_drop=0.3,
    softmax_sample=9,
    memory=20,
    adamw_share=0.7,
    seed=6,
    precision="bfloat16",
)
POSITION = Position(
    step=7, seconds=2.5, deadline=60.0, best_nats=3.0, best_tokens=4, best_characters=5,
    best_unknown_tokens=1, best_step=6, retreats=2, most_nats_per_token=4.5, device="cpu",
)  # fmt: skip
CORPUS = CorpusConfig(level="word", words="space", min_count=3, max_vocab=100, valid_fraction=0.2)
DECODING = DecodingConfig(temperature=1.5, top_k=4, top_p=0.5, min_p=0.1, repetition_penalty=1.2)
DYNAMIC = DynamicConfig(rate=0.1, decay=0.2, floor=0.3, window=4)
CACHE = CacheConfig(size=5, share=0.6, sharpness=0.7, window=8)
DEFAULT_VALUES = {
    TrainConfig: TrainConfig(num_steps=1, report_every=1).to_json(),
    Position: Position(step=0, seconds=0.0).to_json(),
}
LATER = {"adamw_share", "weight_drop", "memory"}  # that files have not always had
CONFIGS: list[JsonConfig] = [MODEL, TRAIN, CORPUS, DECODING, DYNAMIC, CACHE]
DEFAULTS: list[JsonConfig] = [
    ModelConfig(vocab_size=2),
    TrainConfig(num_steps=1, report_every=1),
    CorpusConfig(),
    DecodingConfig(),
    DynamicConfig(),
    CacheConfig(size=1),
]


def kind(config: JsonConfig) -> str:
    return type(config).__name__


def fields(numbers_only: bool = False) -> list[Any]:
    """Every field of every configuration, as parameters of a test."""
    return [
        pytest.param(config, name, id=f"{kind(config)}.{name}")
        for config in CONFIGS
        for name, value in config.to_json().items()
        if not numbers_only or type(value) in (int, float)
    ]


@pytest.mark.parametrize("config", CONFIGS + DEFAULTS, ids=kind)
def test_every_config_comes_back_equal_through_json(config: JsonConfig) -> None:
    assert type(config).from_json(json.loads(json.dumps(config.to_json()))) == config


def test_configs_of_the_round_trip_leave_no_field_at_its_default() -> None:
    for config, default in zip(CONFIGS, DEFAULTS, strict=True):
        same = set(config.to_json().items()) & set(default.to_json().items())
        assert not same, f"{kind(config)} proves nothing about {same}"


@pytest.mark.parametrize(
    ("config", "name"), [field for field in fields() if field.values[1] not in LATER]
)
def test_missing_value_is_refused_by_name(config: JsonConfig, name: str) -> None:
    data = config.to_json()
    del data[name]
    with pytest.raises(OptionError, match=name):
        type(config).from_json(data)


@pytest.mark.parametrize("config", CONFIGS, ids=kind)
def test_unknown_value_is_refused_by_name(config: JsonConfig) -> None:
    with pytest.raises(OptionError, match="banana"):
        type(config).from_json(config.to_json() | {"banana": 1})


@pytest.mark.parametrize("data", [None, [], "x", 3])
@pytest.mark.parametrize("config", CONFIGS, ids=kind)
def test_what_is_not_an_object_is_refused(config: JsonConfig, data: object) -> None:
    with pytest.raises(OptionError, match=kind(config)):
        type(config).from_json(data)


@pytest.mark.parametrize("value", [["x"], {}, "banana"], ids=repr)
@pytest.mark.parametrize(("config", "name"), fields())
def test_value_of_a_wrong_type_is_refused_by_name(
    config: JsonConfig, name: str, value: object
) -> None:
    with pytest.raises(OptionError, match=name):
        type(config).from_json(config.to_json() | {name: value})


@pytest.mark.parametrize(("config", "name"), fields(numbers_only=True))
def test_bool_is_no_number(config: JsonConfig, name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} is True"):
        type(config).from_json(config.to_json() | {name: True})


@pytest.mark.parametrize("name", ["tie", "skip"])
@pytest.mark.parametrize("value", [1, 0, None])
def test_number_is_no_bool(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=name):
        ModelConfig.from_json(MODEL.to_json() | {name: value})


def test_fraction_is_no_whole_number() -> None:
    with pytest.raises(OptionError, match=r"num_layers is 2\.0"):
        ModelConfig.from_json(MODEL.to_json() | {"num_layers": 2.0})


def test_whole_number_will_do_for_a_fraction() -> None:
    assert DecodingConfig.from_json(DECODING.to_json() | {"temperature": 1}).temperature == 1


def test_none_is_refused_where_a_value_is_needed() -> None:
    with pytest.raises(OptionError, match="--temperature is None; it must be a number, from 0"):
        DecodingConfig(temperature=None)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="temperature is None"):
        DecodingConfig.from_json(DECODING.to_json() | {"temperature": None})


# Each value just outside its range, and the words that must name it.
OUT_OF_RANGE: list[tuple[JsonConfig, str, Any, str]] = [
    (MODEL, "vocab_size", 1, "vocabulary size is 1"),
    (MODEL, "vocab_size", 10_000_001, "vocabulary size is 10000001"),
    (MODEL, "num_layers", 0, "--num-layers is 0"),
    (MODEL, "num_layers", 101, "--num-layers is 101"),
    (MODEL, "hidden_size", 0, "--hidden-size is 0"),
    (MODEL, "hidden_size", 100_001, "--hidden-size is 100001"),
    (MODEL, "embedding_size", -1, "--embedding-size is -1"),
    (MODEL, "embedding_size", 100_001, "--embedding-size is 100001"),
    (MODEL, "cell", "mamba", "cell is 'mamba'"),
    (TRAIN, "num_steps", 0, "--steps is 0"),
    (TRAIN, "num_steps", 10**12 + 1, "--steps is 1000000000001"),
    (TRAIN, "report_every", 0, "reporting interval is 0"),
    (TRAIN, "batch_size", 0, "--batch-size is 0"),
    (TRAIN, "batch_size", 1_000_001, "--batch-size is 1000001"),
    (TRAIN, "window", 0, "--window is 0"),
    (TRAIN, "window", 1_000_001, "--window is 1000001"),
    (TRAIN, "learning_rate", 0.0, r"--learning-rate is 0\.0"),
    (TRAIN, "learning_rate", 101, "--learning-rate is 101"),
    (TRAIN, "learning_rate", nan, "--learning-rate is nan"),
    (TRAIN, "dropout", -0.1, r"--dropout is -0\.1"),
    (TRAIN, "dropout", 0.951, r"--dropout is 0\.951"),
    (TRAIN, "dropout", nan, "--dropout is nan"),
    (TRAIN, "weight_drop", -0.1, r"--weight-drop is -0\.1"),
    (TRAIN, "weight_drop", 0.951, r"--weight-drop is 0\.951"),
    (TRAIN, "weight_decay", -0.1, r"--weight-decay is -0\.1"),
    (TRAIN, "weight_decay", 1_000_001, "--weight-decay is 1000001"),
    (TRAIN, "adamw_share", -0.1, r"--adamw-share is -0\.1"),
    (TRAIN, "adamw_share", 1001, "--adamw-share is 1001"),
    (TRAIN, "memory", -1, "--memory is -1"),
    (TRAIN, "memory", 1_000_001, "--memory is 1000001"),
    (TRAIN, "softmax_sample", -1, "--softmax-sample is -1"),
    (TRAIN, "softmax_sample", 10**400, "--softmax-sample is 1000"),
    (TRAIN, "clip_norm", 0.0, r"clipped to is 0\.0"),
    (TRAIN, "clip_norm", 10**400, "clipped to is 1000"),
    (TRAIN, "seed", -1, "--seed is -1"),
    (TRAIN, "seed", 2**63, f"--seed is {2**63}"),
    (TRAIN, "precision", "auto", "precision is 'auto'"),
    (CORPUS, "level", "byte", "level is 'byte'"),
    (CORPUS, "words", "poetry", "words is 'poetry'"),
    (CORPUS, "min_count", 0, "--min-count is 0"),
    (CORPUS, "max_vocab", 1, "--max-vocab is 1"),
    (CORPUS, "valid_fraction", 0.0, r"--valid-fraction is 0\.0"),
    (CORPUS, "valid_fraction", 1.0, r"--valid-fraction is 1\.0"),
    (DECODING, "temperature", -0.1, r"--temperature is -0\.1"),
    (DECODING, "temperature", nan, "--temperature is nan"),
    (DECODING, "temperature", 1_000_001, "--temperature is 1000001"),
    (DECODING, "top_k", 0, "--top-k is 0"),
    (DECODING, "top_p", 0.0, r"--top-p is 0\.0"),
    (DECODING, "top_p", 1.1, r"--top-p is 1\.1"),
    (DECODING, "min_p", -0.1, r"--min-p is -0\.1"),
    (DECODING, "min_p", 1.1, r"--min-p is 1\.1"),
    (DECODING, "repetition_penalty", 0.0, r"--repetition-penalty is 0\.0"),
    (DECODING, "repetition_penalty", 1001, "--repetition-penalty is 1001"),
    (DYNAMIC, "rate", -0.1, r"--dynamic-rate is -0\.1"),
    (DYNAMIC, "rate", 1.1, r"--dynamic-rate is 1\.1"),
    (DYNAMIC, "decay", -0.1, r"--dynamic-decay is -0\.1"),
    (DYNAMIC, "decay", 1.1, r"--dynamic-decay is 1\.1"),
    (DYNAMIC, "floor", 0.0, r"root of squares is 0\.0"),
    (DYNAMIC, "window", 0, "the window is 0"),
    (CACHE, "size", 0, "--cache is 0"),
    (CACHE, "size", 100_001, "--cache is 100001"),
    (CACHE, "share", -0.1, r"--cache-share is -0\.1"),
    (CACHE, "share", 1.0, r"--cache-share is 1\.0"),
    (CACHE, "sharpness", -0.1, r"--cache-sharpness is -0\.1"),
    (CACHE, "sharpness", inf, "--cache-sharpness is inf"),
    (CACHE, "window", 0, "the window is 0"),
]


@pytest.mark.parametrize(("config", "name", "value", "words"), OUT_OF_RANGE)
def test_value_out_of_range_is_refused_by_option_and_value(
    config: JsonConfig, name: str, value: object, words: str
) -> None:
    with pytest.raises(OptionError, match=words):
        type(config).from_json(config.to_json() | {name: value})


# The ends of the ranges themselves are inside.
IN_RANGE: list[tuple[JsonConfig, str, Any]] = [
    (MODEL, "vocab_size", 2),
    (MODEL, "num_layers", 1),
    (TRAIN, "dropout", 0),
    (TRAIN, "dropout", 0.95),
    (TRAIN, "seed", 0),
    (TRAIN, "seed", 2**63 - 1),
    (CORPUS, "min_count", 1),
    (CORPUS, "max_vocab", 2),
    (CORPUS, "max_vocab", None),
    (DECODING, "temperature", 0),
    (DECODING, "top_k", 1),
    (DECODING, "top_p", 1),
    (DECODING, "top_p", 5e-324),
    (DECODING, "min_p", 0),
    (DECODING, "min_p", 1),
    (DYNAMIC, "rate", 0),
    (DYNAMIC, "decay", 1),
    (CACHE, "size", 1),
    (CACHE, "size", 100_000),
    (CACHE, "share", 0),
    (CACHE, "share", nextafter(1, 0)),
    (TRAIN, "learning_rate", 5e-324),
]


@pytest.mark.parametrize(("config", "name", "value"), IN_RANGE)
def test_end_of_a_range_is_accepted(config: JsonConfig, name: str, value: object) -> None:
    accepted = type(config).from_json(config.to_json() | {name: value})
    assert getattr(accepted, name) == value


def test_tied_sizes_that_differ_are_refused_with_both() -> None:
    with pytest.raises(OptionError, match=r"--embedding-size 4 .*--hidden-size 5;"):
        ModelConfig(vocab_size=7, hidden_size=5, embedding_size=4, tie=True)


@pytest.mark.parametrize(("cell", "rows"), [("lstm", 20), ("gru", 15), ("rnn", 5)])
def test_weight_shapes_of_each_cell(cell: CellName, rows: int) -> None:
    config = ModelConfig(vocab_size=7, cell=cell, num_layers=2, hidden_size=5, embedding_size=3)
    assert config.weight_shapes() == {
        "embedding.weight": (7, 3),
        "layers.0.weight_ih": (rows, 3),
        "layers.0.weight_hh": (rows, 5),
        "layers.0.bias_ih": (rows,),
        "layers.0.bias_hh": (rows,),
        "layers.1.weight_ih": (rows, 5),
        "layers.1.weight_hh": (rows, 5),
        "layers.1.bias_ih": (rows,),
        "layers.1.bias_hh": (rows,),
        "output.weight": (7, 5),
        "output.bias": (7,),
    }


def test_tied_network_has_the_same_weights_but_for_the_output_matrix() -> None:
    sizes: dict[str, int] = {"vocab_size": 7, "hidden_size": 5, "embedding_size": 5}
    untied = ModelConfig(**sizes).weight_shapes()  # type: ignore[arg-type]
    tied = ModelConfig(tie=True, **sizes).weight_shapes()  # type: ignore[arg-type]
    assert set(untied) - set(tied) == {"output.weight"}
    assert all(untied[name] == shape for name, shape in tied.items())


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize(("cell", "module"), [("lstm", nn.LSTM), ("gru", nn.GRU), ("rnn", nn.RNN)])
def test_num_parameters_is_what_torch_counts(
    cell: CellName, module: Callable[..., nn.Module], num_layers: int, tie: bool
) -> None:
    config = ModelConfig(
        vocab_size=11, cell=cell, num_layers=num_layers, hidden_size=6, embedding_size=6, tie=tie
    )
    parts = [nn.Embedding(11, 6), module(6, 6, num_layers), nn.Linear(6, 11)]
    count = sum(p.numel() for part in parts for p in part.parameters()) - (66 if tie else 0)
    assert config.num_parameters == count
    assert sum(p.numel() for p in Network(config).parameters()) == count


@pytest.mark.parametrize(
    ("config", "later"),
    [
        (TRAIN, LATER),
        (POSITION, {"retreats", "most_nats_per_token", "device", "best_step"}),
    ],
    ids=["training", "position"],
)
def test_a_file_from_before_a_value_came_means_the_default(
    config: JsonConfig, later: set[str]
) -> None:
    data = config.to_json()
    old = {name: value for name, value in data.items() if name not in later}
    read = type(config).from_json(old).to_json()
    fresh = type(config).from_json(DEFAULT_VALUES[type(config)]).to_json()
    assert read == old | {name: fresh[name] for name in later}
    with pytest.raises(OptionError, match=r"does not know newer .*upgrade"):
        type(config).from_json(data | {"newer": 1})
    for name in set(data) - later:
        with pytest.raises(OptionError, match=f"{type(config).__name__} lacks {name}$"):
            type(config).from_json({key: value for key, value in old.items() if key != name})


@pytest.mark.parametrize(
    "odd",
    [{"deadline": inf}, {"seconds": inf}, {"seconds": nan}, {"retreats": 5}, {"best_step": 8}],
    ids=repr,
)
def test_a_position_that_no_run_can_have_is_refused(odd: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="must be"):
        Position.from_json(POSITION.to_json() | odd)
