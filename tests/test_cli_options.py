"""Options held against each other, and against the run or the model that they go with."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from jobs import make_job

from lstmgen import (
    batching,
    checkpoint,
    dataset,
    device,
    planning,
)
from lstmgen.cli import options
from lstmgen.config import (
    SOFTMAX_SAMPLE,
    CorpusConfig,
)
from lstmgen.corpus import Text
from lstmgen.errors import OptionError

ONE_OF = {
    "sample": (("--prime", "a"), ("--prime-file", "CORPUS"), ("--each-line",)),
    "eval": (("--by", "corpus"), ("--by", "line"), ("--by", "token"), ("--context", "1"), ("--choices",),
             ("--dynamic",), ("--cache", "9")),
    "train": (("--minutes", "1"), ("--epochs", "1"), ("--steps", "1")),
}  # fmt: skip


PAIRS = [
    (command, one, other)
    for command, options in ONE_OF.items()
    for one, other in combinations(options, 2)
    if one[0] != other[0]
]


@pytest.mark.parametrize(("command", "one", "other"), PAIRS)
def test_what_cannot_be_done_at_once_is_refused(
    command: str, one: tuple[str, ...], other: tuple[str, ...], model: Path, corpus: Path, here: Any,
) -> None:  # fmt: skip
    words = (str(corpus) if word == "CORPUS" else word for word in (*one, *other))
    text = () if command == "sample" else (corpus,)
    assert "give only one of" in here(command, *text, "-m", model, *words).error


@pytest.mark.parametrize("option", [one for one in ONE_OF["eval"] if "corpus" not in one])
def test_several_models_are_compared_in_one_way(
    option: tuple[str, ...], model: Path, corpus: Path, here: Any
) -> None:
    error = here("eval", corpus, "-m", model, "-m", model, *option).error
    assert "several models are compared on whole texts; leave out" in error


def test_whole_texts_may_be_asked_for_by_name(model: Path, corpus: Path, here: Any) -> None:
    assert here("eval", corpus, "-m", model, "-m", model, "--by", "corpus").code == 0


@pytest.mark.parametrize(("cell", "code"), [("lstm", 0), ("gru", 0), ("rnn", 1)])
def test_a_memory_is_for_cells_with_gates(
    cell: str, code: int, corpus: Path, tmp_path: Path, here: Any
) -> None:
    options = ("--memory", "20", "--cell", cell, "--steps", "1", "--hidden-size", "8")
    done = here("train", corpus, "-m", tmp_path / "m", *options)
    assert done.code == code
    assert ("plain RNN" in done.err) == bool(code)


@pytest.mark.parametrize(
    "option", [("--overwrite",), ("--init-from", "MODEL"), ("--overwrite", "--init-from", "MODEL")]
)
def test_a_run_that_goes_on_begins_with_nothing_else(
    option: tuple[str, ...], model: Path, corpus: Path, here: Any
) -> None:
    words = (str(model) if word == "MODEL" else word for word in option)
    error = here("train", corpus, "-m", model, "--resume", *words).error
    named = [word for word in option if word.startswith("--")]
    assert error.endswith(f"leave out {' and '.join(named)}")


@pytest.mark.parametrize("given", [{}, {"precision": "float32"}])
def test_precision_is_what_suits_the_machine_unless_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    job = make_job(tmp_path)
    monkeypatch.setattr(
        device, "choose_precision", lambda asked, where: {"auto": "bfloat16"}.get(asked, asked)
    )
    found = options.training(given, job.data, job.device)
    assert found.precision == given.get("precision", "bfloat16")


@pytest.mark.parametrize("other", [("--cell", "rnn"), ("--init-from", "m")])
def test_memory_is_for_fresh_gates(corpus: Path, here: Any, other: tuple[str, str]) -> None:
    assert "--memory 20 is for" in here("train", corpus, "--memory", "20", *other).error


@pytest.mark.parametrize(
    "given", [{}, {"batch_size": 8}, {"window": 16}, {"batch_size": 8, "window": 16}]
)
def test_memory_for_logits_is_that_of_the_streams_and_the_window_there_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, int]
) -> None:
    asked = list[int]()

    def seen(memory: int | None, tokens: int) -> int:
        asked.append(tokens)
        return 9

    monkeypatch.setattr(planning, "symbols_that_fit", seen)
    options.training(given, make_job(tmp_path).data, torch.device("cpu"))
    assert asked == [given.get("batch_size", 64) * given.get("window", 64)]


def test_streams_that_a_short_text_cannot_fill_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_job(tmp_path).data
    streams = len(data.train_ids) // 64
    config = options.training({"batch_size": 10**4, "window": 64}, data, torch.device("cpu"))
    assert streams <= config.batch_size < 10**4
    told = f"fills a window of 64 tokens in {config.batch_size} of 10000 streams; so {config.batch_size} are"
    assert told in " ".join(capsys.readouterr().err.split())


def test_an_empty_name_of_a_folder_is_refused(corpus: Path, here: Any) -> None:
    assert "--model is empty; name the folder" in here("train", corpus, "-m", "").error


def test_init_from_keeps_the_level_of_the_other_model(
    model: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    options = ("train", corpus, "-m", tmp_path / "m", "--init-from", model, "--steps", "1")
    for other in (("--level", "word"), ("--words", "space"), ("--words", "prose")):
        error = here(*options, *other).error
        assert (
            f"{other[0]} {other[1]}: the model of --init-from is by char; leave out {other[0]}"
            in error
        )
    assert here(*options, "--level", "char").code == 0
    resumed = ("train", corpus, "-m", tmp_path / "m", "--resume", "--steps", "2")
    assert (
        "--words prose: the run is by char; leave out --words"
        in here(*resumed, "--words", "prose").error
    )
    words = tmp_path / "words"
    small = ("--steps", "1", "--hidden-size", "8", "--batch-size", "4", "--window", "16")
    spaced, on = tmp_path / "spaced", tmp_path / "on"
    by_space = ("--level", "word", "--words", "space")
    assert here("train", corpus, "-m", spaced, *by_space, *small).code == 0
    assert here("train", corpus, "-m", on, "--init-from", spaced, "--steps", "1").code == 0
    of_on = checkpoint.load_model(on).vocabulary
    assert (of_on.level, of_on.words) == ("word", "space")
    assert here("train", corpus, "-m", words, "--level", "word", *small).code == 0
    options = ("train", corpus, "-m", tmp_path / "n", "--init-from", words, "--steps", "1")
    for other, is_ in (
        (("--level", "char"), "is by word"),
        (("--words", "space"), "has --words prose"),
    ):
        error = here(*options, *other).error
        assert f"the model of --init-from {is_}; leave out {other[0]}" in error
    # Words are tied, so that the other option would have to follow, which is none of the user's.
    error = here(*options, "--hidden-size", "12", "--num-layers", "1").error
    has = "--num-layers 2 --hidden-size 8; leave out --num-layers 1 --hidden-size 12"
    assert f"the model of --init-from has {has}" in error
    assert here(*options, "--hidden-size", "8").code == 0


def test_a_short_text_is_cut_into_even_windows_unless_their_length_is_given(tmp_path: Path) -> None:
    text = "She sells sea shells.\n" * 175
    data = dataset.prepare(Text("text", text), CorpusConfig(), seed=1)
    even = options.training({"precision": "float32"}, data, torch.device("cpu"))
    assert even.window == batching.even_window(len(data.train_ids), even.batch_size, 64) != 64
    given = {"precision": "float32", "window": 64}
    assert options.training(given, data, torch.device("cpu")).window == 64


def test_by_word_fewer_symbols_are_many_than_by_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "LARGE_VOCABULARY", 900)
    flock = Text("flock", " ".join(f"{i} sheep" for i in range(9999)))
    config = CorpusConfig(level="word", min_count=1, max_vocab=700)
    data = dataset.prepare(flock, config, seed=1)
    numbers = options.training({"precision": "float32"}, data, torch.device("cpu"))
    assert len(data.vocabulary) == 700
    assert numbers.softmax_sample == SOFTMAX_SAMPLE // 2


def test_sizes_that_cannot_be_tied_are_refused_before_a_text_is_read() -> None:
    given: dict[str, Any] = {"corpus": ["-"], "model": "m", "device": "auto", "tie": True}
    given |= {"resume": False, "overwrite": False}
    options.require_sense(given | {"hidden_size": 8})  # which the embedding follows
    with pytest.raises(
        OptionError, match="--embedding-size 4 must equal --hidden-size 8; leave one"
    ):
        options.require_sense(given | {"hidden_size": 8, "embedding_size": 4})
