"""`eval --dynamic` and `--cache`: a second score beside the usual one, and settings found on another text."""

import json
from collections.abc import Iterator
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from lstmgen import cache, checkpoint, dynamic, engines, folders
from lstmgen.batching import Streams
from lstmgen.cells import Cells
from lstmgen.config import CacheConfig


def test_eval_dynamic_stands_beside_the_static_score_and_changes_no_file(
    model: Path, tmp_path: Path, here: Any
) -> None:
    path = tmp_path / "new.txt"
    path.write_text("Bo met Al in Ulm, and they had jam.\n" * 40)
    before = (model / folders.MODEL_FILE).read_bytes()
    plain = json.loads(here("eval", "-m", model, path, "--json").out)
    fast = ("--dynamic", "--dynamic-rate", "0.002", "--json")
    static, dynamic = map(json.loads, here("eval", "-m", model, path, *fast).out.splitlines())
    assert static == plain
    assert dynamic["nats"] < 0.8 * static["nats"]
    assert dynamic["dynamic"]["rate"] == 0.002
    assert (model / folders.MODEL_FILE).read_bytes() == before
    still = ("--dynamic", "--dynamic-rate", "0", "--json")
    unmoved = json.loads(here("eval", "-m", model, path, *still).out.splitlines()[1])
    assert unmoved["nats"] == pytest.approx(static["nats"], rel=1e-4)
    table = here("eval", "-m", model, path, path, "--dynamic").out.splitlines()
    assert [line.split("  ")[0] for line in table[1:]] == [
        str(path), str(path), "total",
        f"{path} (dynamic)", f"{path} (dynamic)", "total (dynamic)",
    ]  # fmt: skip
    told = here("eval", "-m", model, path, path, "--dynamic", "--json").out.splitlines()
    assert [json.loads(line).get("texts") for line in told] == [None] * 4 + [2, 2]
    wrong = ("--dynamic", "--dynamic-rate", "2")
    assert "--dynamic-rate is 2" in here("eval", "-m", model, path, *wrong).error
    assert "is for --dynamic" in here("eval", "-m", model, path, *wrong[1:]).error


@pytest.mark.parametrize("lost", [inf, nan])
def test_a_model_whose_loss_blows_up_as_it_learns_has_no_score(
    model: Path, corpus: Path, here: Any, monkeypatch: pytest.MonkeyPatch, lost: float
) -> None:
    monkeypatch.setattr(dynamic, "window_nats", lambda *about: iter([1.0, lost]))
    fast = ("--dynamic", "--dynamic-rate", "0.5")
    told = f"error: {corpus}: with --dynamic-rate 0.5 --dynamic-decay 0.001 the loss blows up"
    for how in ((), ("--json",), ("--tune-on", corpus)):
        done = here("eval", "-m", model, corpus, *fast, *how)
        assert told in done.error
        assert done.error.endswith("; give a lower --dynamic-rate")
        assert ("nats" in done.out) == ("--tune-on" not in how)  # of the model as it is

    monkeypatch.setattr(
        dynamic, "window_nats",
        lambda network, streams, settings: iter([lost if settings.rate > 1e-4 else 1.0]),
    )  # fmt: skip
    done = here("eval", "-m", model, corpus, "--dynamic", "--tune-on", corpus, "--json")
    assert json.loads(done.out.splitlines()[1])["dynamic"]["rate"] == 1e-4


def test_a_model_whose_loss_blows_up_reads_no_further(
    model: Path, corpus: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[float]()

    def window_nats(*about: Any) -> Iterator[float]:
        for nats in (1.0, nan, 1.0):
            read.append(nats)
            yield nats

    monkeypatch.setattr(dynamic, "window_nats", window_nats)
    assert "blows up" in here("eval", "-m", model, corpus, "--dynamic").error
    assert len(read) == 2
    done = here("eval", "-m", model, corpus, "--dynamic", "--tune-on", corpus)
    assert "blows up" in done.err
    assert "inf nats/token" not in done.err


def test_the_encoding_is_that_of_the_text_to_tune_on_too(
    model: Path, tmp_path: Path, here: Any
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(f"{name} crème brûlée\n".encode("latin-1") * 9)
    options = ("--cache", "9", "--tune-on", tmp_path / "b.txt", "--encoding", "latin-1")
    done = here("eval", "-m", model, tmp_path / "a.txt", *options)
    assert done.code == 0, done.err
    two = ("-m", model, "-m", model, "--encoding", "latin-1")
    assert here("eval", tmp_path / "a.txt", *two).code == 0


def test_dynamic_scores_on_the_device_that_is_given(
    model: Path, corpus: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices, original = list[str](), engines.network

    def watched(saved: Any, device: str) -> Any:
        devices.append(device)
        return original(saved, device)

    monkeypatch.setattr(engines, "network", watched)
    assert here("eval", corpus, "-m", model, "--dynamic", "--device", "cpu").code == 0
    assert devices == ["cpu"]


def test_eval_takes_the_settings_that_do_best_on_another_text(
    model: Path, tmp_path: Path, here: Any
) -> None:
    path, other = tmp_path / "new.txt", tmp_path / "valid.txt"
    path.write_text("Bo met Al in Ulm, and they had jam.\n" * 20)
    other.write_text("Al met Bo in Ulm, and they had jam.\n" * 30)
    before = (model / folders.MODEL_FILE).read_bytes()

    def scored(text: Path, *options: Any) -> Any:
        done = here("eval", "-m", model, text, "--json", *options)
        return done, json.loads(done.out.splitlines()[1])

    for how, usual in (
        (("--dynamic",), {"--dynamic-rate": 0.0002, "--dynamic-decay": 0.001}),
        (("--cache", "200"), {"--cache-share": 0.2, "--cache-sharpness": 0.2}),
    ):
        done, tuned = scored(path, *how, "--tune-on", other)
        first, *tried = done.err.splitlines()
        assert (
            first == f"note: tuning on {other}, tokens: 1,080, 180 of them unknown, scored as <unk>"
        )
        settings = tuned[how[0].removeprefix("--")]
        flags = [(name, settings[name.split("-")[-1]]) for name in usual]
        assert dict(flags) != usual
        assert scored(path, *how, *flags[0], *flags[1])[1] == tuned
        # The first and the last of what it tells are the usual settings and those that it takes, with what
        # each of them makes of the other text.
        said = [line for line in tried if "nats/token" in line]
        assert len(said) > 1
        costs = [float(line.split()[-2]) for line in said]
        assert costs == sorted(costs, reverse=True)
        for options, line in ((list(usual.items()), said[0]), (flags, said[-1])):
            told = " ".join(f"{name} {value}".removesuffix(".0") for name, value in options)
            cost = scored(other, *how, *options[0], *options[1])[1]["nats_per_token"]
            assert line == f"note: {told}: {cost:.4f} nats/token"
    assert (model / folders.MODEL_FILE).read_bytes() == before


def test_eval_tunes_what_was_not_given(
    model: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    path = tmp_path / "new.txt"
    path.write_text("Bo met Al in Ulm, and they had jam.\n" * 20)
    options = ("--dynamic", "--dynamic-rate", "0.0123", "--tune-on", path, "--json")
    done = here("eval", "-m", model, corpus, *options)
    found = json.loads(done.out.splitlines()[1])["dynamic"]
    assert found["rate"] == 0.0123
    said = [line for line in done.err.splitlines() if "nats/token" in line]
    assert all("--dynamic-rate 0.0123 --dynamic-decay " in line for line in said)
    assert f"--dynamic-decay {found['decay']:g}:" in said[-1]
    assert "flatter" not in done.err
    assert (
        f"note: tuning on {path}, tokens: 720, 120 of them unknown, scored as <unk>\n" in done.err
    )
    done = here("eval", "-m", model, path, *options)
    assert f"{path} is scored too, and what is chosen on it will flatter its score" in done.err


def test_eval_refuses_to_tune_on_what_tells_nothing(
    model: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    options = ("eval", corpus, "-m", model, "--tune-on")
    told = here(*options, corpus).error
    assert f"--tune-on '{corpus}' is for --dynamic and --cache" in told
    given = ("--dynamic", "--dynamic-rate", "0.001", "--dynamic-decay", "0")
    assert "as all settings are given" in here(*options, corpus, *given).error
    still = ("--dynamic", "--dynamic-rate", "0")
    assert "with --dynamic-rate 0 no setting changes" in here(*options, corpus, *still).error
    assert here(*options, corpus, "--dynamic", "--dynamic-decay", "0").code == 0
    assert "no-such.txt" in here(*options, "no-such.txt", "--dynamic").error
    assert "the name of a file is empty" in here(*options, "", "--dynamic").error
    short = tmp_path / "short.txt"
    short.write_text("Al met Bo.\n")
    told = here(*options, short, "--dynamic").error
    assert f"--tune-on {short}: its 11 tokens cost the same whatever is tried" in told
    assert "--tune-on" in here(*options, corpus, "-m", model, "--cache", "9").error
    nothing = ("--cache", "9", "--cache-share", "0")
    assert "with --cache-share 0 no setting changes" in here(*options, corpus, *nothing).error
    assert "standard input" in here("eval", "-", "-m", model, "--dynamic", "--tune-on", "-").error


def test_eval_with_a_cache_stands_beside_the_static_score(
    model: Path, corpus: Path, here: Any
) -> None:
    static = json.loads(here("eval", corpus, "-m", model, "--json").out)
    options = ("--cache", "100", "--cache-share", "0.2", "--json")
    both = [
        json.loads(line) for line in here("eval", corpus, "-m", model, *options).out.splitlines()
    ]
    assert both[0] == static
    assert both[1]["cache"] == {"size": 100, "share": 0.2, "sharpness": 0.2, "window": 64}
    assert both[1]["tokens"] == static["tokens"]
    assert both[1]["nats"] != static["nats"]
    others = ("--cache", "50", "--cache-share", "0.4", "--cache-sharpness", "0.7", "--json")
    told = json.loads(here("eval", corpus, "-m", model, *others).out.splitlines()[1])
    saved = checkpoint.load_model(model)
    ids = saved.vocabulary.encode(corpus.read_text("utf-8"))
    config = CacheConfig(size=50, share=0.4, sharpness=0.7)
    streams = Streams(ids, saved.vocabulary.start_id, 1, config.window)
    nats = sum(cache.window_nats(Cells(saved.config, saved.weights), streams, config))
    assert told["nats"] == pytest.approx(nats, rel=1e-5)
    assert "(cache)" in here("eval", corpus, "-m", model, "--cache", "9").out
    assert "--cache is 0" in here("eval", corpus, "-m", model, "--cache", "0").error
    assert "is for --cache" in here("eval", corpus, "-m", model, "--cache-share", "0.2").error


def test_the_work_of_tuning_is_that_of_some_trials(
    model: Path, corpus: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, original = list[int](), engines.choose

    def watched(saved: Any, device: str, num_tokens: int) -> Any:
        seen.append(num_tokens)
        return original(saved, device, num_tokens)

    monkeypatch.setattr(engines, "choose", watched)
    (other := tmp_path / "other.txt").write_text("Bo met Al in Ulm.\n" * 9)
    assert here("eval", "-m", model, corpus, "--cache", "99", "--tune-on", other).code == 0
    assert seen == [8 * 9 * 18, len(corpus.read_text())]
    seen.clear()
    assert here("eval", "-m", model, corpus, "--dynamic", "--tune-on", other).code == 0
    assert seen == [len(corpus.read_text())]  # what learns is a network of its own
