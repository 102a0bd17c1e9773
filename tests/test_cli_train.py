"""`lstmgen train` as a user and a pipeline meet it: what it says, keeps and refuses."""

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import SMALL, TEXT

from lstmgen import checkpoint, device, folders, log_file, training
from lstmgen.training import validate


def test_train_says_its_plan_and_what_to_do_next(corpus: Path, tmp_path: Path, here: Any) -> None:
    options = ("--steps", "2", "--device", "cpu", *SMALL)
    done = here("train", corpus, "-m", tmp_path / "m", *options)
    assert done.code == 0
    assert done.out == ""
    for said in (f"{len(TEXT):,} characters", "vocabulary", "parameters", "2 steps", "cpu",
                 f"lstmgen sample --model {tmp_path / 'm'}", "lstmgen eval"):  # fmt: skip
        assert said in done.err
    assert not re.search("\r|\x1b", done.err)  # progress bars are for terminals


def test_the_network_is_planned_around_the_options_that_are_given(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    def network(*options: str) -> dict[str, Any]:
        done = here("train", corpus, "-m", tmp_path / "m", "--overwrite", "--steps", "1", *options)
        assert done.code == 0, done.err
        return checkpoint.load_model(tmp_path / "m").config.to_json()

    short = network()
    assert short["hidden_size"] < 256  # one step feeds no large network
    assert short["embedding_size"] == 64
    assert network("--hidden-size", "20")["hidden_size"] == 20
    tied = network("--tie")
    assert tied["hidden_size"] == tied["embedding_size"] == short["hidden_size"]
    assert network("--tie", "--embedding-size", "24")["hidden_size"] == 24
    assert network("--embedding-size", "256")["embedding_size"] == 256
    untied = network("--level", "word", "--no-tie")
    assert not untied["tie"]
    assert untied["embedding_size"] == untied["hidden_size"] < 256
    untied = network("--level", "word", "--no-tie", "--hidden-size", "20")
    assert untied["embedding_size"] == 20
    assert network("--level", "word", "--embedding-size", "20", "--hidden-size", "20")["tie"]
    apart = network("--level", "word", "--embedding-size", "24", "--hidden-size", "20")
    assert (apart["tie"], apart["embedding_size"], apart["hidden_size"]) == (False, 24, 20)
    assert network("--embedding-size", "24", "--num-layers", "1") == short | {
        "embedding_size": 24, "num_layers": 1,
    }  # fmt: skip
    many = tmp_path / "many.txt"  # as in Chinese, where each is seen as seldom as a word
    for count in (998, 999):  # and <unk>
        many.write_text("".join(map(chr, range(0x4E00, 0x4E00 + count))) * 9)
        done = here("train", many, "-m", tmp_path / "m", "--overwrite", "--steps", "1")
        assert done.code == 0, done.err
        config = checkpoint.load_model(tmp_path / "m").config
        assert config.tie == (count == 999)
        assert config.embedding_size == (config.hidden_size if config.tie else 64)


def test_a_large_vocabulary_is_trained_on_a_sample_of_it_and_scored_whole(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    options = ("--level", "word", "--steps", "100", "--hidden-size", "16", "--batch-size", "4")
    scores = []
    for sample in ("0", "8"):
        folder = tmp_path / sample
        done = here("train", corpus, "-m", folder, *options, "--softmax-sample", sample)
        assert done.code == 0, done.err
        scores.append(checkpoint.load_model(folder).results["nats_per_token"])
        scored = here("eval", corpus, "-m", folder, "--json")
        assert json.loads(scored.out)["nats_per_token"] < 2  # of log 28 = 3.3 for no knowledge
        held_out = tmp_path / "held-out.txt"
        held_out.write_text(TEXT[int(len(TEXT) * 0.9) :])
        scored = here("eval", held_out, "-m", folder, "--json")
        assert json.loads(scored.out)["nats_per_token"] == pytest.approx(scores[-1], rel=1e-4)
    assert scores[0] != scores[1]
    assert max(scores) < 2


def test_quiet_says_nothing(corpus: Path, tmp_path: Path, here: Any) -> None:
    done = here("train", corpus, "-m", tmp_path / "m", "--steps", "2", "--quiet", *SMALL)
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ((), "LSTM 2 x 16"),
        (("--cell", "gru", "--num-layers", "1"), "GRU 1 x 16"),
        (("--cell", "rnn", "--num-layers", "3"), "RNN 3 x 16"),
        (("--level", "word"), "tied"),
        (("--level", "word", "--words", "space", "--no-tie", "--max-vocab", "20"), "20 symbols"),
    ],
)
def test_every_kind_of_model_is_trained_sampled_and_scored(
    corpus: Path, tmp_path: Path, here: Any, options: tuple[str, ...], shown: str
) -> None:
    folder, small = tmp_path / "m", SMALL[:2] + SMALL[4:]
    done = here("train", corpus, "-m", folder, "--steps", "3", *small, *options)
    assert done.code == 0, done.err
    assert shown in done.err
    sampled = here("sample", "-m", folder, "-l", "9", "--seed", "1", "--json")
    assert json.loads(sampled.out)["tokens"] == 9
    scored = json.loads(here("eval", "-m", folder, corpus, "--json").out)
    assert scored["characters"] == len(TEXT)
    assert 0 < scored["bits_per_character"] < 8


def test_a_folder_with_a_model_is_not_overwritten_unasked(
    model: Path, corpus: Path, here: Any
) -> None:
    before = (model / folders.MODEL_FILE).read_bytes()
    assert "--overwrite" in here("train", corpus, "-m", model, "--steps", "1").error
    assert (model / folders.MODEL_FILE).read_bytes() == before


def test_a_loss_that_blows_up_is_said_and_mended(corpus: Path, tmp_path: Path, here: Any) -> None:
    options = ("--steps", "200", "--learning-rate", "40", "--quiet", *SMALL)
    ran = here("train", corpus, "-m", tmp_path / "m", *options)
    assert ran.code == 0
    assert re.search(
        r"note: the loss blew up at step \d+ .*; back to step \d+, to go on with", ran.err
    )
    assert checkpoint.load_model(tmp_path / "m").results["nats_per_token"] < 2  # 3.4 for a guess


def test_init_from_begins_where_the_other_model_ended(model: Path, corpus: Path, tmp_path: Path,
                                                      here: Any) -> None:  # fmt: skip
    losses: list[float] = []
    corpus.with_name("more.txt").write_text(TEXT.replace("figs", "ÄÖÜ").replace("Ann", "En"))
    done = here("train", corpus.with_name("more.txt"), "-m", tmp_path / "more", "--steps", "1",
                *SMALL[4:], "--init-from", model)  # fmt: skip
    theirs = checkpoint.load_model(model).vocabulary
    ours = len(theirs) + 3
    told = rf"init-from   {len(theirs)} of {ours} symbols, 9\d\.\d % of the text, are known to that model; 3 "
    assert re.search(told + "begin afresh\n", done.err)
    assert re.search(r"^ +it saves \d+\.?\d* % of the nats that a guess by", done.err, re.MULTILINE)
    both = checkpoint.load_model(tmp_path / "more").vocabulary
    assert set(both.tokens) == {*theirs.tokens, *"ÄÖÜ"}  # also what only the other text had
    for options in ((), ("--init-from", model)):
        folder = tmp_path / f"m{len(losses)}"
        small = SMALL[4:] if options else SMALL
        done = here("train", corpus, "-m", folder, "--steps", "2", *small, *options)
        assert done.code == 0, done.err
        losses.append(checkpoint.load_model(folder).results["nats_per_token"])
    assert losses[1] < 0.7 * losses[0]
    usual = checkpoint.load_run(folder).training
    assert usual.learning_rate == 0.02  # as the README says of less than an epoch
    assert (usual.dropout, usual.weight_drop) == (0, 0)
    few = ("--steps", "1", *SMALL[4:], "--init-from", model, "--quiet", "--overwrite")
    assert "it saves" not in here("train", corpus, "-m", folder, *few).err
    asked = ("--steps", "1", *SMALL[4:], "--init-from", model, "--learning-rate", "0.003")
    assert here("train", corpus, "-m", folder, "--overwrite", *asked).code == 0
    assert checkpoint.load_run(folder).training.learning_rate == 0.003


def test_a_text_that_another_model_cannot_read_is_planned_as_from_scratch(
    model: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    odd = tmp_path / "odd.txt"
    odd.write_text("".join(chr(ord(c) + 1000) if c.islower() else c for c in TEXT))
    small = ("--steps", "40", *SMALL[4:])
    plans: list[tuple[float, float]] = []
    for text, start in (
        (odd, ("--init-from", model)),
        (odd, SMALL[:4]),
        (corpus, ("--init-from", model)),
    ):
        folder = tmp_path / str(len(plans))
        done = here("train", text, "-m", folder, *small, *start)
        assert done.code == 0, done.err
        run = checkpoint.load_run(folder).training
        plans.append((run.learning_rate, run.dropout))
    assert plans[0] == plans[1] != plans[2]


def test_with_max_vocab_the_symbols_are_the_most_frequent_of_the_new_text_alone(
    model: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    few = ("--steps", "1", *SMALL[4:], "--init-from", model, "--max-vocab", "9")
    done = here("train", corpus, "-m", tmp_path / "m", *few)
    left = len(checkpoint.load_model(model).vocabulary) - 9
    assert "init-from   9 of 9 symbols, " in done.err
    assert (
        f"known to that model; {left} of the model's own are left out by --max-vocab\n" in done.err
    )
    assert len(checkpoint.load_model(tmp_path / "m").vocabulary) == 9


def test_a_model_that_training_does_not_better_is_kept_as_it_was(
    model: Path, corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And stays the best of a run that goes on to a later end."""
    times = itertools.count(1)
    monkeypatch.setattr(
        training,
        "validate",
        lambda *about: replace(s := validate(*about), nats=next(times) * s.nats),
    )
    folder, before = tmp_path / "m", checkpoint.load_model(model)
    few = ("--steps", "6", *SMALL[4:], "--init-from", model)
    done = here("train", corpus, "-m", folder, *few)
    assert done.code == 0
    first = next(line for line in done.err.splitlines() if line.startswith("step "))
    score = before.results["nats_per_token"]
    assert first.startswith("step 0 of 6: loss ")
    assert f"validation {score:.4f}" in first
    assert "characters/s" not in first
    as_it_began = "note: the model that is kept is that of --init-from as it began: no later"
    assert as_it_began in done.err
    after = checkpoint.load_model(folder)
    assert after.results["step"] == 0
    assert after.results["nats_per_token"] == pytest.approx(score, rel=1e-6)
    for name, weight in before.weights.items():
        np.testing.assert_array_equal(after.weights[name], weight)
    again = here("train", corpus, "-m", folder, "--resume", "--steps", "8", "--quiet")
    assert again.code == 0
    assert again.err.startswith(as_it_began)
    assert [r["step"] for r in log_file.read(folder)] == list(range(9))
    # One that training does better is not.
    monkeypatch.undo()
    more = ("--steps", "40", *SMALL[4:], "--init-from", model)
    done = here("train", corpus, "-m", folder, "--overwrite", *more)
    assert "as it began" not in done.err
    assert checkpoint.load_model(folder).results["nats_per_token"] < score


def test_the_encoding_is_that_of_the_valid_file_too(tmp_path: Path, here: Any) -> None:
    for name in ("a.txt", "v.txt"):
        (tmp_path / name).write_bytes(f"{name} crème brûlée\n".encode("latin-1") * 60)
    options = ("--valid-file", tmp_path / "v.txt", "--encoding", "latin-1", "--steps", "1", *SMALL)
    done = here("train", tmp_path / "a.txt", "-m", tmp_path / "m", *options)
    assert done.code == 0, done.err
    assert "60 of them unknown" in done.err  # the v alone


@pytest.mark.parametrize("command", ["train", "sample", "eval"])
def test_what_is_changed_in_a_text_is_told(
    model: Path, tmp_path: Path, here: Any, command: str
) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    how: tuple[Any, ...] = {
        "train": (path, "-m", tmp_path / "m", "--steps", "1", *SMALL),
        "sample": ("-m", model, "--prime-file", path, "-l", "1", "--seed", "1"),
        "eval": ("-m", model, path),
    }[command]
    done = here(command, *how)
    assert f"note: {path}: dropped the byte order mark" in done.err
    assert f"note: {path}: made CRLF and CR line ends into LF" in done.err
    if command == "train":
        clean = tmp_path / "clean.txt"
        clean.write_text(TEXT)
        done = here("train", clean, "--valid-file", *how, "--overwrite")
        assert f"note: {path}: dropped the byte order mark" in done.err


def test_a_step_that_ruins_the_weights_is_not_where_a_run_goes_back_to(
    corpus: Path, tmp_path: Path, here: Any
) -> None:
    options = ("--steps", "10", "--hidden-size", "16", "--learning-rate", "50", "--window", "16")
    done = here("train", corpus, "-m", tmp_path / "m", *options)
    assert "blew up" in done.err
    assert done.code == 0, done.err
    assert checkpoint.load_run(tmp_path / "m").position.step == 10


def test_a_device_that_is_not_there_is_refused_whoever_asks(
    corpus: Path, model: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    there = ("-m", tmp_path / "m", "--steps", "1", *SMALL)
    for command in (
        ("train", corpus, *there),
        ("sample", "-m", model),
        ("eval", "-m", model, corpus),
    ):
        assert "--device mps" in here(*command, "--device", "mps").error
    assert not (tmp_path / "m").exists()


def test_threads_and_precision_are_as_asked(
    corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "can_bfloat16", lambda where: True)  # as for a GRU it is everywhere
    ends = []
    for name, threads in (("float32", 2), ("bfloat16", 1)):
        options = ("--precision", name, "--threads", str(threads), "--steps", "2")
        where = ("-m", tmp_path / name, "--device", "cpu")
        done = here("train", corpus, *where, *options, "--cell", "gru", *SMALL)
        assert f"cpu, {threads} thread" in done.err
        assert torch.get_num_threads() == threads
        saved = checkpoint.load_run(tmp_path / name)
        assert saved.training.precision == name
        ends.append(saved.model.weights["layers.0.weight_hh"])
    assert 0 < abs(ends[0] - ends[1]).max() < 0.1  # it is rounded, and not something else
