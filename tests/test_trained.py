"""The face in Python: the same texts and scores as the commands give, and nothing imported too early."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from engines import random_weights

import lstmgen
from lstmgen import checkpoint, engines, folders
from lstmgen.checkpoint import SavedModel
from lstmgen.config import DecodingConfig, ModelConfig
from lstmgen.errors import CheckpointError, DeviceError, OptionError
from lstmgen.trained import Decoding
from lstmgen.vocabulary import Vocabulary

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, letters: Vocabulary) -> Path:
    """A model of letters with random weights."""
    config = ModelConfig(vocab_size=len(letters), hidden_size=12, embedding_size=7)
    weights = random_weights(config, scale=0.8)
    path = tmp_path_factory.mktemp("trained") / "m"
    path.mkdir()
    saved = SavedModel(config, letters, weights, {"step": 3})
    checkpoint.save_model(path / folders.MODEL_FILE, saved)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> lstmgen.TrainedModel:
    return lstmgen.load(folder)


def command(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lstmgen", *map(str, arguments)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_a_sample_is_what_the_command_writes(folder: Path, model: lstmgen.TrainedModel) -> None:
    text = model.sample("hi ", length=60, seed=4, temperature=1.2, top_k=9, stop=["qq", "zz"])
    written = command("sample", "-m", folder, "--prime", "hi ", "-l", "60", "--seed", "4", "-t", "1.2",
                      "--top-k", "9", "--stop", "qq", "--stop", "zz", "--no-echo")  # fmt: skip
    assert len(text) > 10
    assert written.removesuffix("\n") == text.removesuffix("\n")
    assert model.sample("hi ", length=0) == ""


def test_a_text_has_five_hundred_characters_where_nothing_is_said(
    model: lstmgen.TrainedModel,
) -> None:
    assert len(model.sample(seed=1)) == len("".join(model.stream(seed=1))) == 500


def test_a_stream_is_the_sample_in_pieces(model: lstmgen.TrainedModel) -> None:
    pieces = model.stream("hi ", length=10**9, seed=4)
    assert "".join(islice(pieces, 50)) == model.sample("hi ", length=50, seed=4)


def test_options_shape_many_texts_as_they_do_one(model: lstmgen.TrainedModel) -> None:
    shape: dict[str, Any] = {"length": 60, "seed": 4, "temperature": 1.2, "top_k": 9}
    stop = model.sample("hi ", **shape)[20]
    (text,) = model.generate(["hi "], stop=["QQ", stop], **shape)
    assert text.stop == stop
    assert text.text == model.sample("hi ", stop=stop, **shape)


def test_line_ends_are_lf_as_they_are_for_the_commands(model: lstmgen.TrainedModel) -> None:
    assert model.score("a\r\nb\rc") == model.score("a\nb\nc")
    options: dict[str, Any] = {"length": 200, "seed": 3}
    first = model.sample(**options).partition("\n")[0]
    assert 1 < len(first) < 199
    for line_end in ("\r\n", "\r"):
        prime = f"hi{line_end}a"
        assert model.sample(prime, **options) == model.sample("hi\na", **options)
        assert model.sample(stop=first[-1] + line_end, **options) == first[:-1]
        (text,) = model.generate([prime], **options)
        assert (text.prime, text.text) == ("hi\na", model.sample("hi\na", **options))
        assert model.search(prime, length=5) == model.search("hi\na", length=5)


def test_many_texts_have_seeds_in_a_row(model: lstmgen.TrainedModel) -> None:
    texts = list(model.generate(["a", "b", "a"], length=20, seed=7))
    assert [(text.prime, text.seed) for text in texts] == [("a", 7), ("b", 8), ("a", 9)]
    assert texts[2].text == model.sample("a", length=20, seed=9)
    assert texts[0].text != texts[2].text


def test_many_texts_have_no_seed_that_one_text_may_not_have(model: lstmgen.TrainedModel) -> None:
    texts = model.generate(["a", "b"], length=2, seed=2**63 - 1)
    assert next(texts).seed == 2**63 - 1
    with pytest.raises(OptionError, match="--seed is 9223372036854775808"):
        list(texts)


def test_seeds_and_numbers_of_numpy_are_as_good_as_others(model: lstmgen.TrainedModel) -> None:
    seeds = [text.seed for text in model.generate(["a"] * 3, length=2, seed=np.uint8(254))]  # type: ignore[arg-type]
    assert json.dumps(seeds) == "[254, 255, 256]"
    wide = model.search("a", num_beams=np.uint8(100), length=3)  # type: ignore[arg-type]
    assert wide == model.search("a", num_beams=100, length=3)


def test_without_a_seed_each_call_gives_another_text(model: lstmgen.TrainedModel) -> None:
    assert model.sample(length=100) != model.sample(length=100)


def test_a_score_is_what_the_command_says(
    folder: Path, model: lstmgen.TrainedModel, tmp_path: Path
) -> None:
    text = "the quick brown fox\njumps\n"
    path = tmp_path / "text.txt"
    path.write_text(text)
    score = model.score(text)
    assert score.to_json() == {
        name: value
        for name, value in json.loads(command("eval", "-m", folder, path, "--json")).items()
        if name not in ("file", "model")
    }
    assert score.characters == len(text)


def test_a_score_is_that_of_a_few_lines_from_the_file_alone() -> None:
    """The built-in model, one step at a time in float64, from its file as README describes it."""
    raw = folders.BUILT_IN.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    description = json.loads(json.loads(header["__metadata__"]["lstmgen"])["description"])
    w = {name: array.astype(np.float64) for name, array in safetensors.numpy.load(raw).items()}
    ids = {token: i for i, token in enumerate(description["vocabulary"]["tokens"])}
    text = (DATA / "lives.txt").read_text()[:1500]
    size, layers = description["model"]["hidden_size"], range(description["model"]["num_layers"])
    h, c = np.zeros((2, len(layers), size))
    total = 0.0
    for before, token in zip("\n" + text, text, strict=False):
        x = w["embedding.weight"][ids[before]]
        for k in layers:
            of_x = w[f"layers.{k}.weight_ih"] @ x + w[f"layers.{k}.bias_ih"]
            of_h = w[f"layers.{k}.weight_hh"] @ h[k] + w[f"layers.{k}.bias_hh"]
            i, f, g, o = np.split(of_x + of_h, 4)
            c[k] = c[k] / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            x = h[k] = np.tanh(c[k]) / (1 + np.exp(-o))
        logits = w["output.weight"] @ h.sum(axis=0) + w["output.bias"]
        total += np.log(np.exp(logits).sum()) - logits[ids[token]]
    assert lstmgen.load(folders.BUILT_IN).score(text).nats == pytest.approx(total, rel=1e-5)


def test_a_model_tells_what_it_is(model: lstmgen.TrainedModel, letters: Vocabulary) -> None:
    assert model.config.hidden_size == 12
    assert model.vocabulary == letters
    assert model.results["step"] == 3


def test_a_search_is_what_the_command_writes(folder: Path, model: lstmgen.TrainedModel) -> None:
    found = model.search("hi ", num_beams=5, length=30, stop="q")
    written = command("sample", "-m", folder, "--prime", "hi ", "-l", "30", "--beams", "5", "-n", "5",
                      "--stop", "q", "--json")  # fmt: skip
    assert [text.to_json() for text in found] == [json.loads(line) for line in written.splitlines()]


def test_a_search_has_eight_beams_where_nothing_is_said(model: lstmgen.TrainedModel) -> None:
    assert model.search("a", length=5) == model.search("a", num_beams=8, length=5)
    assert len(model.search("a", length=5)) == 8


def test_mistakes_are_refused_when_made_not_when_read(model: lstmgen.TrainedModel) -> None:
    for wrong in ({"temperature": -1}, {"top_p": 0}, {"top_k": 0}, {"stop": ""}, {"length": -1},
                  {"seed": -1}, {"min_p": 2}, {"stop": ["a", ""]}, {"length": 2.5}, {"seed": 0.5},
                  {"top_k": 2.5}, {"seed": 2**63}):  # fmt: skip
        with pytest.raises(OptionError):
            model.stream(**wrong)
        with pytest.raises(OptionError):
            model.generate(["a"], **wrong)
    for few in (
        {"num_beams": 0},
        {"stop": ""},
        {"length": -1},
        {"num_beams": 2.5},
        {"num_beams": 101},
        {"length": 2.5},
    ):
        with pytest.raises(OptionError):
            model.search(**few)
    with pytest.raises(CheckpointError):
        lstmgen.load("no/such/model")
    with pytest.raises(OptionError, match="--model is empty"):
        lstmgen.load("")


@pytest.mark.parametrize("wrong", [None, b"a", 5])
def test_what_is_no_text_is_refused_by_its_name(model: lstmgen.TrainedModel, wrong: Any) -> None:
    for refuse in (
        lambda: model.stream(wrong),
        lambda: model.search(wrong),
        lambda: model.stream(stop=[wrong]),
        lambda: model.score(wrong),
        lambda: lstmgen.load(folders.BUILT_IN, device=wrong),
    ):
        with pytest.raises(ValueError, match=re.escape(f" is {wrong!r}; give a str")):
            refuse()
    texts = model.generate(["a", wrong], length=3)
    assert next(texts).prime == "a"
    with pytest.raises(ValueError, match="--prime is "):
        next(texts)
    with pytest.raises(ValueError, match="primes is one text, 'abc'; give a list of them"):
        model.generate("abc")
    with pytest.raises(ValueError, match="stop is None, not a text or a list of them"):
        model.stream(stop=None)  # type: ignore[arg-type]


def test_any_kind_of_number_will_do(model: lstmgen.TrainedModel) -> None:
    shape: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.75,
        "min_p": 0.125,
        "repetition_penalty": 1.25,
    }
    for kind in (Fraction, np.float32):
        others: dict[str, Any] = {name: kind(value) for name, value in shape.items()}
        assert model.sample("a", length=9, seed=1, **others) == model.sample(
            "a", length=9, seed=1, **shape
        )


@pytest.mark.parametrize("wrong", [None, "0.5", [1]])
def test_what_is_no_number_is_refused_by_its_name(model: lstmgen.TrainedModel, wrong: Any) -> None:
    for name in ("temperature", "repetition_penalty")[: 2 if wrong else 1]:
        words = f"--{name.replace('_', '-')} is {wrong!r}; it must be a number, from "
        with pytest.raises(OptionError, match=re.escape(words)):
            model.sample(**{name: wrong})


def test_a_device_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(DeviceError):
        lstmgen.load(folder, device="cuda:99")


def test_what_is_no_device_is_refused_without_torch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(OptionError, match="--device 'gpu' is not one of"):
        lstmgen.load(folder, device="gpu")


def test_where_nothing_is_named_it_is_the_working_folders_model_or_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert folders.find_model(None) == folders.BUILT_IN
    assert folders.find_model("x") == "x"
    (tmp_path / "lstmgen-model").mkdir()
    assert folders.find_model(None) == "lstmgen-model"
    monkeypatch.setenv("LSTMGEN_MODEL", "named")
    assert folders.find_model(None) == "named"
    assert folders.find_model("x") == "x"
    monkeypatch.setenv("LSTMGEN_MODEL", "")
    assert folders.find_model(None) == "lstmgen-model"


def test_no_text_has_no_score(model: lstmgen.TrainedModel) -> None:
    with pytest.raises(OptionError, match="the text to score is empty"):
        model.score("")


@pytest.mark.parametrize("torch_pays", [0.0, 1e30])
def test_an_engine_is_made_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, torch_pays: float
) -> None:
    monkeypatch.setattr(engines, "TORCH_PAYS", 1e30)
    model = lstmgen.load(folder)
    monkeypatch.setattr(engines, "TORCH_PAYS", torch_pays)
    made, choose = [], engines.choose

    def counted(*about: Any) -> Any:
        made.append(choose(*about))
        return made[-1]

    monkeypatch.setattr(engines, "choose", counted)
    scores = {model.score("hello hello").nats for _ in range(3)}
    assert len(scores) == 1
    assert len(made) == (0 if torch_pays else 1)


def test_the_built_in_model_is_taken_with_a_warning(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.warns(
        UserWarning, match="no lstmgen-model in the working folder.*built-in"
    ) as told:
        assert len(lstmgen.load().vocabulary) > 2
    assert told[0].filename == __file__  # where it was asked for
    lstmgen.load(folders.BUILT_IN)  # by its name, without one
    monkeypatch.setenv("LSTMGEN_MODEL", str(folder))
    lstmgen.load()


def test_the_built_in_model_is_small_and_writes_english() -> None:
    assert folders.BUILT_IN.stat().st_size <= 1_000_000
    model = lstmgen.load(folders.BUILT_IN)
    corpus = (DATA / "lives.txt").read_text()
    assert model.score(corpus[:5000]).bits_per_character < 0.5
    # The words of its corpus, nearly all of them spelled right.
    known = set(re.findall(r"[a-z]+", corpus.lower()))
    words = re.findall(r"[a-z]+", model.sample("I grew up in France", length=2000, seed=0).lower())
    assert sum(word in known for word in words[:-1]) > 0.97 * len(words)


def test_the_package_brings_in_nothing_before_it_is_asked() -> None:
    script = (
        "import sys, lstmgen\nassert 'numpy' not in sys.modules\n"
        "lstmgen.load\nassert 'numpy' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = lstmgen.nonsense
    assert dir(lstmgen) == ["TrainedModel", "__version__", "load"]


def test_what_shapes_a_draw_is_typed_as_it_is_configured() -> None:
    known = {field.name: field.type for field in fields(DecodingConfig)}
    assert Decoding.__annotations__ == known
