"""`eval` with several models: their difference on the same texts."""

import json
from pathlib import Path
from typing import Any

import pytest
from commands import TEXT


def test_eval_compares_models_on_the_same_text(
    model: Path, by_word: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    both = ("-m", model, "-m", by_word)
    records = [json.loads(line) for line in here("eval", corpus, *both, "--json").out.splitlines()]
    for record, name in zip(records, (model, by_word), strict=False):
        alone = json.loads(here("eval", corpus, "-m", name, "--json").out)
        assert record["model"] == str(name)
        assert record["nats"] == pytest.approx(alone["nats"], rel=1e-6)
    bits = [record["bits_per_character"] for record in records[:2]]
    assert records[2]["difference"] == pytest.approx(bits[1] - bits[0], rel=1e-5)
    assert records[2]["more_than_chance"]
    done = here("eval", corpus, *both)
    assert f"{bits[1] - bits[0]:+.4f}" in done.out
    assert f"{by_word} is worse than {model}, by more than chance" in done.err
    done = here("eval", corpus, "-m", by_word, "-m", model)
    assert f"{model} is better than {by_word}, by more than chance" in done.err
    unseen = tmp_path / "unseen.txt"
    unseen.write_text(f"xylophone quartz\n{TEXT * 8}")
    done = here("eval", unseen, *both)
    assert f"{by_word} does not know" in done.err
    assert "leave out what it would cost to spell these" in done.err
    assert f"than {model}, by more than chance" in done.err  # two words are too few to matter
    unseen.write_text("xylophone quartz\n" * 99 + TEXT)
    done = here("eval", unseen, *both)
    assert f"{by_word} and {model} do not compare: what one of them does not know" in done.err
    record = json.loads(here("eval", unseen, *both, "--json").out.splitlines()[2])
    assert record["more_than_chance"] is None
    assert record["unknown_characters"] == 99 * len("xylophone quartz")  # also what neither knows
    turned = here("eval", unseen, "-m", by_word, "-m", model, "--json").out.splitlines()
    assert json.loads(turned[2])["unknown_characters"] == record["unknown_characters"]
    done = here("eval", corpus, unseen, *both)
    for name in (model, by_word):
        alone = json.loads(here("eval", unseen, "-m", name, "--json").out)["unknown_tokens"]
        known = sum(
            json.loads(here("eval", text, "-m", name, "--json").out)["tokens"]
            for text in (corpus, unseen)
        )
        assert f"{name} does not know {alone:,} of {known:,} tokens" in done.err
    twice = here("eval", unseen, "-m", by_word, "-m", by_word, "--json").out.splitlines()
    assert json.loads(twice[2])["unknown_characters"] == 0  # of which they know the same
    total = json.loads(here("eval", unseen, unseen, *both, "--json").out.splitlines()[8])
    assert total["unknown_characters"] == 2 * record["unknown_characters"]
    third = here(
        "eval", corpus, "-m", by_word, "-m", model, "-m", by_word, "--json"
    ).out.splitlines()
    one, other = map(json.loads, third[3:])
    assert one["difference"] == pytest.approx(bits[0] - bits[1], rel=1e-5)
    assert (other["than"], other["difference"]) == (str(by_word), 0)  # each with the first
    short = tmp_path / "short.txt"
    short.write_text("Ann went to Rome.\nBen")
    done = here("eval", short, *both)
    assert f"2 blocks: the text is too short to tell {by_word} from {model}" in done.err
    assert done.out.splitlines()[2].split()[-4] == "-"
    same = here("eval", corpus, "-m", model, "-m", model)
    assert "+0.0000" in same.out
    assert f"the difference of {model} from {model} may be chance" in same.err
    for more in (["--by", "line"], ["--tune-on", corpus], ["--context", ""]):
        assert "several models" in here("eval", corpus, *both, *more).error


def test_models_are_compared_on_all_texts_together(
    model: Path, by_word: Path, corpus: Path, tmp_path: Path, here: Any
) -> None:
    """Which tells what the first text alone is too short to tell."""
    both, short = ("-m", model, "-m", by_word), tmp_path / "short.txt"
    short.write_text("Ann went to Rome.\n")
    out = here("eval", short, corpus, *both, "--json").out
    records = [json.loads(line) for line in out.splitlines()]
    assert [(r["file"], "difference" in r, r.get("texts")) for r in records] == [
        (str(short), False, None), (str(short), False, None), (str(short), True, None),
        (str(corpus), False, None), (str(corpus), False, None), (str(corpus), True, None),
        ("total", False, 2), ("total", False, 2), ("total", True, 2),
    ]  # fmt: skip
    for first, second, total in zip(records[:2], records[3:5], records[6:8], strict=True):
        assert total["nats"] == pytest.approx(first["nats"] + second["nats"])
        assert total["model"] == first["model"]
    bits = [record["bits_per_character"] for record in records[6:8]]
    assert records[8]["difference"] == pytest.approx(bits[1] - bits[0], rel=1e-5)
    assert records[2]["more_than_chance"] is None
    assert records[8]["more_than_chance"]
    done = here("eval", short, corpus, *both)
    assert "\ntotal:\n" in done.out
    assert f"total, {records[8]['blocks']} blocks: {by_word} is worse" in done.err


def test_what_is_written_as_json_names_the_model(
    model: Path, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("Ann went to Rome.\n" * 3)
    asked = {"context": "Ann went", "choices": [" to Rome", " to Oslo"], "answer": 0}
    Path("answered").write_text(json.dumps(asked))
    Path("open").write_text(json.dumps({**asked, "answer": None}))
    for asked_for in ("text", "text --by line", "text --by token", "text --context 1", "text --dynamic",
                      "answered --choices", "open --choices"):  # fmt: skip
        options = asked_for.split()
        for name, told in ((("-m", model), str(model)), ((), "built-in")):
            lines = here("eval", *options, *name, "--json").out.splitlines()
            assert {json.loads(line)["model"] for line in lines} == {told}
