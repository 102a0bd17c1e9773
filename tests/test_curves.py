"""A log -> its curves: what is drawn is measured against the labels beside it, and read back as data."""

import re
from decimal import Decimal
from itertools import pairwise
from math import exp, inf, nan
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lstmgen import curves

Record = dict[str, Any]
SVG = "{http://www.w3.org/2000/svg}"
WIDTHS = (curves.MIN_WIDTH, 60, 79)


def record(step: int, train: float, valid: float | None = None) -> Record:
    values = {"step": step, "seconds": step / 2, "learning_rate": 0.003 * (1 - step / 2000)}
    values |= {"train_nats_per_token": train}
    return values | ({} if valid is None else {"nats_per_token": valid, "perplexity": exp(valid)})


def falling() -> list[Record]:
    """Both losses fall, from above the view; the lowest of validation is at step 840, not the last."""
    return [
        record(s, 1.3 + 1.8 * exp(-s / 100), 1.4 + 1.8 * exp(-s / 150) + max(0, s - 840) / 2000)
        for s in range(60, 1201, 60)
    ]


class Axis(NamedTuple):
    """The labels of an axis, with the place of each in the picture."""

    labels: list[str]
    places: list[float]

    def numbers(self) -> list[Decimal]:
        return [Decimal(label.replace(",", "").removeprefix("≥")) for label in self.labels]

    def value(self, place: float) -> float:
        """What stands at a place, by the first and the last label alone."""
        (low, *_, high), (start, *_, end) = self.numbers(), self.places
        return float(low) + (place - start) / (end - start) * float(high - low)

    def one_pixel(self) -> float:
        return abs(self.value(1) - self.value(0))


class Picture:
    """An SVG picture as one sees it."""

    def __init__(self, svg: str) -> None:
        self.root = ElementTree.fromstring(svg)
        texts = [(t.get("text-anchor"), t) for t in self.root.iter(f"{SVG}text")]
        self.words = ["".join(text.itertext()) for _, text in texts]
        # Values stand to the left of the panels, the losses' above the learning rate's.
        left = [t for anchor, t in texts if anchor == "end" and re.match(r"≥?-?\d", t.text or "")]
        ends = [float(t.get("y", "")) for t in left]
        cut = next(i for i, (one, other) in enumerate(pairwise(ends), 1) if other > one)
        self.losses, self.rates = self.axis(left[:cut], "y"), self.axis(left[cut:], "y")
        below = [t for anchor, t in texts if anchor == "middle"]
        self.steps = self.axis([t for t in below if ":" not in (t.text or "")], "x")
        self.times = self.axis([t for t in below if ":" in (t.text or "")], "x")

    @staticmethod
    def axis(texts: list[ElementTree.Element], along: str) -> Axis:
        return Axis([t.text or "" for t in texts], [float(t.get(along, "")) for t in texts])

    def drawn(self, name: str) -> ElementTree.Element:
        """What carries a name, as a browser shows it under the pointer."""
        (found,) = [g for g in self.root.iter(f"{SVG}g") if g.findtext(f"{SVG}title") == name]
        return found

    def places(self, name: str) -> list[tuple[float, float]]:
        line = self.drawn(name).find(f"{SVG}polyline")
        assert line is not None
        pairs = [pair.split(",") for pair in line.get("points", "").split()]
        return [(float(x), float(y)) for x, y in pairs]


@pytest.mark.parametrize(
    ("name", "key"), [("train", "train_nats_per_token"), ("validation", "nats_per_token")]
)
def test_each_point_of_a_loss_is_where_the_labels_say(name: str, key: str) -> None:
    picture, records = Picture(curves.svg(falling(), "falling")), falling()
    places = picture.places(name)
    top = float(picture.losses.numbers()[-1])
    assert len(places) == len(records)
    assert sum(r[key] < top for r in records) >= len(records) - 2
    for (x, y), r in zip(places, records, strict=True):
        assert picture.steps.value(x) == pytest.approx(r["step"], abs=picture.steps.one_pixel())
        shown = min(r[key], top)
        assert picture.losses.value(y) == pytest.approx(shown, abs=picture.losses.one_pixel())


def test_the_learning_rate_has_its_own_panel_over_the_same_steps() -> None:
    picture, records = Picture(curves.svg(falling(), "falling")), falling()
    for (x, y), r in zip(picture.places("learning rate"), records, strict=True):
        assert picture.steps.value(x) == pytest.approx(r["step"], abs=picture.steps.one_pixel())
        rate = picture.rates.value(y)
        assert rate == pytest.approx(r["learning_rate"], abs=picture.rates.one_pixel())
        assert y > max(picture.losses.places)


def test_labels_between_the_ends_stand_where_their_values_are() -> None:
    picture = Picture(curves.svg(falling(), "falling"))
    for axis in (picture.losses, picture.steps):
        assert len(axis.labels) > 3
        for number, place in zip(axis.numbers(), axis.places, strict=True):
            assert axis.value(place) == pytest.approx(float(number), abs=axis.one_pixel())


def test_more_is_higher_and_later_is_to_the_right() -> None:
    picture = Picture(curves.svg(falling(), "falling"))
    for axis, up in (picture.losses, True), (picture.rates, True), (picture.steps, False):
        assert axis.numbers() == sorted(axis.numbers())
        assert axis.places == sorted(axis.places, reverse=up)


def test_under_each_step_stands_the_time_of_training() -> None:
    picture = Picture(curves.svg(falling(), "falling"))
    assert picture.times.places == picture.steps.places
    for step, time in zip(picture.steps.numbers(), picture.times.labels, strict=True):
        minutes, seconds = time.split(":")
        assert 60 * int(minutes) + int(seconds) == step / 2


@given(st.floats(-3, 12), st.floats(1e-4, 1e3), st.integers(1, 10**7))
def test_ticks_are_round_and_enclose_the_losses(low: float, span: float, last: int) -> None:
    assume(low + span > low)
    records = [record(0, low), record(last, low + span)]
    picture = Picture(curves.svg(records, "two"))
    for axis in (picture.losses, picture.steps):
        numbers = axis.numbers()
        (unit,) = {two - one for one, two in pairwise(numbers)}
        assert unit.normalize().as_tuple().digits in {(1,), (2,), (5,)}
        assert all(number % unit == 0 for number in numbers)
        assert 2 <= len(numbers) <= 8
    rounding = Decimal(span) / 10**6
    losses, steps = picture.losses.numbers(), picture.steps.numbers()
    assert losses[0] - rounding <= Decimal(low)
    assert Decimal(low) + Decimal(span) <= losses[-1] + rounding
    assert steps[0] == 0
    assert all(step == int(step) for step in steps)
    assert last / 2 < steps[-1] <= last


def test_the_least_rate_that_there_is_can_be_drawn() -> None:
    records = [falling()[0] | {"step": step, "learning_rate": step * 5e-324} for step in (0, 1)]
    assert Picture(curves.svg(records, "still")).words


def test_the_best_is_marked_where_validation_is_lowest() -> None:
    records = falling()
    best = min(records, key=lambda r: r["nats_per_token"])
    assert best["step"] == 840
    picture = Picture(curves.svg(records, "falling"))
    (ring,) = picture.root.iter(f"{SVG}circle")
    place = (float(ring.get("cx", "")), float(ring.get("cy", "")))
    assert place == picture.places("validation")[records.index(best)]
    assert {f"best {best['nats_per_token']:.3f}", "at step 840"} <= set(picture.words)
    text = curves.terminal(records)
    assert f"@ best {best['nats_per_token']:.3f} nats at step 840" in text
    lines = text.splitlines()[: curves.ROWS]
    ((_, column),) = [(r, line.index("@")) for r, line in enumerate(lines) if "@" in line]
    start, end = lines[0].index("┤") + 1, 59
    assert column == round(start + 840 / 1200 * (end - start))


def test_of_equal_losses_the_first_is_the_best() -> None:
    records = [record(s, 2.0, 1.5) for s in (10, 20, 30)]
    assert "at step 10" in Picture(curves.svg(records, "level")).words


def test_a_steep_start_is_cut_off_and_said_to_be() -> None:
    records = [record(s, 9.0 if s < 100 else 2.6 - s / 1000) for s in range(20, 1001, 20)]
    picture = Picture(curves.svg(records, "steep"))
    assert float(picture.losses.numbers()[-1]) <= 3
    assert picture.losses.labels[-1].startswith("≥")
    assert [y for _, y in picture.places("train")[:4]] == [picture.losses.places[-1]] * 4
    top = curves.terminal(records).splitlines()[0]
    assert re.match(r"≥2\.500 ┤ *·", top)
    level = [r for r in records if r["step"] >= 100]
    assert "≥" not in curves.svg(level, "level") + curves.terminal(level)


NASTY = "a <b> & \"c\" 'd' ]]> é 中"


def test_the_title_comes_through_whatever_it_holds() -> None:
    root = ElementTree.fromstring(curves.svg(falling(), NASTY))
    assert root.findtext(f"{SVG}title") == NASTY
    assert root.findtext(f"{SVG}desc") == "Loss and learning rate over 1,200 steps of training"
    assert NASTY in Picture(curves.svg(falling(), NASTY)).words


@given(st.text(st.characters(codec=None)))
def test_no_title_breaks_the_picture(title: str) -> None:
    svg = curves.svg([record(10, 2.0)], title)
    root = ElementTree.fromstring(svg.encode())  # which a lone surrogate would not survive
    shown = root.findtext(f"{SVG}title") or ""
    assert len(shown) == len(title)
    assert all(
        one == other or not other.isprintable() for one, other in zip(shown, title, strict=True)
    )


def test_a_long_title_is_set_smaller_so_that_it_stays_inside() -> None:
    sizes = []
    for title in ("short", "long " * 30):
        root = ElementTree.fromstring(curves.svg(falling(), title))
        (size,) = [t.get("font-size", "") for t in root.iter(f"{SVG}text") if t.text == title]
        sizes.append(float(size))
    assert sizes[0] == 16
    assert sizes[1] * 0.55 * 150 < curves.WIDTH


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("ground", ["#ffffff", "#0d1117"])
def test_what_is_drawn_stands_out_from_a_light_and_from_a_dark_ground(ground: str) -> None:
    svg = curves.svg(falling(), "falling")
    needed = dict.fromkeys(re.findall(r"#[0-9a-f]{6}", svg), 3.0)
    assert len(needed) >= 3
    needed[ElementTree.fromstring(svg).get("fill", "")] = 4.0  # the text
    for colour, ratio in needed.items():
        dark, light = sorted((luminance(colour), luminance(ground)))
        assert (light + 0.05) / (dark + 0.05) >= ratio, colour


def test_the_picture_is_small_and_needs_nothing_from_elsewhere() -> None:
    svg = curves.svg(falling(), "falling")
    assert len(svg.encode()) < 6000
    assert not re.search(r"href|url\(|<script|<style|@import", svg)
    assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]


def crossing() -> list[Record]:
    """Training rises by one a row of the terminal, validation falls by as much."""
    return [record(100 * i, float(i), 7.0 - i) for i in range(curves.ROWS)]


@pytest.mark.parametrize("width", WIDTHS)
def test_straight_lines_go_straight_through_the_cells(width: int) -> None:
    rows = curves.terminal(crossing(), width).splitlines()[: curves.ROWS]
    cells = [row[row.index("│" if "│" in row else "┤") + 1 :] for row in rows]
    num_columns = width - rows[0].index("┤") - 1
    dots = [(r, c) for r, row in enumerate(cells) for c, symbol in enumerate(row) if symbol == "·"]
    columns = [c for _, c in dots]
    assert len(set(columns)) == len(columns) >= num_columns - curves.ROWS
    assert all(abs(c / (num_columns - 1) * 7 - (7 - r)) <= 0.5 for r, c in dots)
    for i in range(curves.ROWS):
        assert cells[i][round(i / 7 * (num_columns - 1))] == ("@" if i == 7 else "o")
    assert sum(row.count("o") for row in cells) == curves.ROWS - 1


def test_the_axes_are_labelled_by_their_ends() -> None:
    lines = curves.terminal(crossing()).splitlines()
    assert len(lines) == curves.ROWS + 2
    assert lines[0].split("┤")[0].strip() == "7.000"
    assert float(lines[curves.ROWS - 1].split("┤")[0]) == 0
    assert re.fullmatch(r" +└ step 0 ─+ 700", lines[curves.ROWS])
    assert len(lines[curves.ROWS]) == 60
    assert lines[-1] == "· train   o validation   @ best 0.000 nats at step 700"


@given(
    st.lists(
        st.tuples(st.integers(0, 10**9), st.floats(-1e38, 1e38), st.floats(-1e38, 1e38)), max_size=5
    ),
    st.integers(curves.MIN_WIDTH, 100),
)
def test_no_line_is_wider_than_the_terminal(
    points: list[tuple[int, float, float]], width: int
) -> None:
    records = [record(s, train) | {"nats_per_token": v} for s, train, v in sorted(points)]
    assert max(map(len, curves.terminal(records, width).splitlines())) <= width


def test_a_terminal_too_narrow_is_refused() -> None:
    with pytest.raises(ValueError, match=str(curves.MIN_WIDTH - 1)):
        curves.terminal(falling(), curves.MIN_WIDTH - 1)


HALF = [record(s, 2.0 - s / 100, 2.1 - s / 100) for s in range(10, 60, 10)]


@pytest.mark.parametrize(
    ("records", "num_train", "num_valid"),
    [
        ([], 0, 0),
        ([{"step": 0}], 0, 0),
        ([record(1, 2.5, 2.5)], 1, 1),
        ([record(10, 2.5)], 1, 0),
        ([record(10, nan, 2.5)], 0, 1),
        ([*HALF, record(60, nan, inf)], 5, 5),
        ([*HALF, record(60, inf) | {"nats_per_token": None, "perplexity": None}], 5, 5),
        ([*HALF[:2], record(30, nan), *HALF[3:]], 4, 4),
        ([*HALF, record(60, 10**400, -1e308)], 5, 5),
    ],
)
def test_what_there_is_is_drawn(records: list[Record], num_train: int, num_valid: int) -> None:
    picture, text = curves.svg(records, "some"), curves.terminal(records)
    assert not re.search(r"\b(nan|inf)\b", picture + text)
    for name, count in ("train", num_train), ("validation", num_valid):
        assert picture.count(f"<title>{name}</title>") == (count > 0)
        assert (name in text) == (count > 0)
        if count:
            assert len(Picture(picture).places(name)) == count
    assert picture.count("<circle") == text.count("@ best") == (num_valid > 0)
    cells = "".join(text.splitlines()[: curves.ROWS])
    assert cells.count("o") + cells.count("@") == num_valid
