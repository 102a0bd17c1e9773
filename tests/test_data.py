"""Turns the generator and files of data/ into a verdict: they agree, and hold what they promise."""

import importlib.util
import json
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DATA = Path(__file__).resolve().parent.parent / "data"
FILES = ("lives.txt", "lives.choices.jsonl")
BUCKETS = {"0-50": (0, 50), "50-100": (50, 100), "100-200": (100, 200)} | {
    "200-400": (200, 400),
    "400+": (400, 1100),
}


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_lives", DATA / "make_lives.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_lives"] = module  # where its dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tables(maker: ModuleType) -> dict[str, Any]:
    loaded: dict[str, Any] = maker.load_tables()
    return loaded


@pytest.fixture(scope="module")
def corpus() -> str:
    return (DATA / "lives.txt").read_bytes().decode("ascii")


@pytest.fixture(scope="module")
def stories(corpus: str) -> list[str]:
    return corpus.rstrip("\n").split("\n\n")


@pytest.fixture(scope="module")
def questions() -> list[dict[str, Any]]:
    lines = (DATA / "lives.choices.jsonl").read_bytes().decode("ascii").splitlines()
    return [json.loads(line) for line in lines]


def test_generator_makes_the_files_again_byte_for_byte(maker: ModuleType, tmp_path: Path) -> None:
    maker.main(["--out", str(tmp_path)])
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), name


def test_options_change_seed_and_sizes(maker: ModuleType, tmp_path: Path) -> None:
    for seed in ("1", "2"):
        size = ["--characters", "5000", "--questions", "53"]
        maker.main(["--seed", seed, *size, "--out", str(tmp_path / seed)])
    texts = [(tmp_path / seed / "lives.txt").read_text(encoding="ascii") for seed in ("1", "2")]
    assert texts[0] != texts[1]
    assert all(5000 <= len(text) < 5000 + 1100 for text in texts)
    lines = (tmp_path / "1" / "lives.choices.jsonl").read_text(encoding="ascii").splitlines()
    assert len(lines) == 53


def test_a_size_of_nothing_and_a_folder_that_cannot_be_are_refused(
    maker: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in (["--characters", "0"], ["--questions", "-5"], ["--questions", "many"]):
        with pytest.raises(SystemExit) as ended:
            maker.main([*wrong, "--out", str(tmp_path)])
        assert ended.value.code == 2
        assert f"{wrong[1]} is not a whole number from 1 on; give one" in capsys.readouterr().err
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        maker.main(["--characters", "2000", "--questions", "50", "--out", str(tmp_path / "file")])
    assert ended.value.code == 1
    assert "cannot be written (File exists); choose another --out" in capsys.readouterr().err


def test_sizes(corpus: str, stories: list[str]) -> None:
    assert 1_000_000 <= len(corpus) <= 1_100_000
    assert all(300 <= len(story) <= 1100 for story in stories)
    assert len(set(stories)) == len(stories)


def test_tables_hold_enough_different_facts(tables: dict[str, Any]) -> None:
    assert len({country for country, _ in tables["countries"]}) >= 40
    assert len({language for _, language in tables["countries"]}) >= 40
    women, men = tables["female_names"], tables["male_names"]
    assert len({*women, *men}) == len(women) + len(men) >= 100
    assert len(women) == len(men)
    assert len({trade[0] for trade in tables["trades"]}) >= 25
    assert len(set(tables["instruments"])) >= 15
    assert len(set(tables["towns"])) >= 40


def test_text_is_plain(corpus: str) -> None:
    assert set(corpus) <= set("\n ',-.:?" + "abcdefghijklmnopqrstuvwxyz".upper()) | set(
        "abcdefghijklmnopqrstuvwxyz"
    )
    assert not re.search(r"  | [,.?:]|,,|\.\.", corpus)
    assert not re.search(r"\ba (?!one)[aeiou]|\ban (?!hour)[^aeiou]", corpus)


def test_each_story_speaks_only_the_language_of_its_country(
    tables: dict[str, Any], stories: list[str]
) -> None:
    countries = dict(tables["countries"])
    country_pattern = re.compile(r"\b(" + "|".join(countries) + r")\b")
    language_pattern = re.compile(r"\b(" + "|".join(countries.values()) + r")\b")
    seen: Counter[str] = Counter()
    spoken: Counter[str] = Counter()
    for story in stories:
        named = set(country_pattern.findall(story))
        assert len(named) == 1, story
        country = named.pop()
        assert set(language_pattern.findall(story)) <= {countries[country]}, story
        seen[country] += 1
        spoken[country] += countries[country] in story
    assert set(seen) == set(countries)
    assert max(seen.values()) <= 2 * min(seen.values())
    assert sum(spoken.values()) > 0.8 * len(stories)


def test_commonest_opening_and_claim(stories: list[str]) -> None:
    assert sum(story.startswith("I grew up in ") for story in stories) > 0.7 * len(stories)
    assert sum(" speak fluent " in story for story in stories) > 0.4 * len(stories)


def test_sentences_seldom_repeat(stories: list[str]) -> None:
    sentences = [part for story in stories for part in re.split(r"(?<=[.?])\s", story)]
    assert len(set(sentences)) / len(sentences) > 0.72


def test_what_follows_a_country_does_not_repeat(tables: dict[str, Any], stories: list[str]) -> None:
    """No sentence other than those on the language clings to one country."""
    together: Counter[tuple[str, str]] = Counter()
    for story in stories:
        parts = re.split(r"(?<=[.?])\s", story)
        for country, language in tables["countries"]:
            if country in parts[0]:
                rest = {part for part in parts[1:] if language not in part}
                together.update((country, part) for part in rest)
    assert max(together.values()) <= 6


def test_questions_are_well_formed(questions: list[dict[str, Any]]) -> None:
    assert len(questions) == 2000
    for question in questions:
        assert list(question) == ["context", "choices", "answer", "group"]
        assert question["context"] == question["context"].strip()
        kind, _, bucket = question["group"].partition(" ")
        assert kind in {"language", "pronoun", "trade", "instrument", "town"}
        assert bucket in BUCKETS
        choices = question["choices"]
        assert len(set(choices)) == len(choices) == (2 if kind == "pronoun" else 4)
        assert all(re.fullmatch(r" [A-Za-z][a-z]*( [a-z]+)*", choice) for choice in choices)
        assert 0 <= question["answer"] < len(choices)


def test_questions_are_shared_out_evenly(questions: list[dict[str, Any]]) -> None:
    groups = Counter(question["group"] for question in questions)
    assert len(groups) == 25
    for group, number in groups.items():
        assert number == (100 if group.startswith("language") else 75)
    for size in (2, 4):
        places = [q["answer"] for q in questions if len(q["choices"]) == size]
        for place in range(size):
            share = places.count(place) / len(places)
            assert abs(share - 1 / size) < 0.06


def test_questions_are_on_fresh_stories(corpus: str, questions: list[dict[str, Any]]) -> None:
    # A short context can be a common opening; a long one would be a story of the corpus.
    longer = [q["context"] for q in questions if len(q["context"]) >= 250]
    assert len(longer) > 500
    assert not [context for context in longer if context in corpus]


def test_right_language_is_neither_leaked_nor_wrongly_placed(
    tables: dict[str, Any], questions: list[dict[str, Any]]
) -> None:
    countries = dict(tables["countries"])
    for question in questions:
        kind, _, bucket = question["group"].partition(" ")
        context, choices = question["context"], question["choices"]
        if kind != "pronoun":
            rivals = [choice for choice in choices if choice != choices[question["answer"]]]
            assert not [word for word in rivals if re.search(rf"\b{word.strip()}\b", context)]
        if kind != "language":
            continue
        country = next(name for name in countries if re.search(rf"\b{name}\b", context))
        assert choices[question["answer"]] == f" {countries[country]}"
        assert not re.search(rf"\b{countries[country]}\b", context)
        low, high = BUCKETS[bucket]
        assert low <= len(context) - context.rindex(country) - len(country) < high
