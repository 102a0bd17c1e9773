"""The records of a run -> its learning curves, as an SVG picture or as text for a terminal."""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from textwrap import wrap
from typing import Any, NamedTuple

import numpy as np

Records = Sequence[Mapping[str, Any]]
Points = list[tuple[int, float]]  # steps and values

ROWS, MIN_WIDTH = 8, 40  # of the text, in characters
LARGE = 1e15  # what no loss comes to; beyond it nothing is drawn
WIDTH, HEIGHT, LEFT, RIGHT = 720, 392, 72, 600  # of the picture and of the two panels in it
LOSS_TOP, LOSS_BOTTOM, RATE_TOP, RATE_BOTTOM = 72, 270, 306, 340
# On white and on near black alike, text has a contrast of 4:1 and a curve of 3:1.
INK, TRAIN, VALID = "#767676", "#3b82f6", "#d97706"


class _Scale(NamedTuple):
    """Rising values -> their places, straight in between; a value outside goes to the nearer end."""

    values: Sequence[float]
    places: Sequence[float]

    def __call__(self, value: float) -> float:
        return float(np.interp(value, self.values, self.places))


class _View(NamedTuple):
    """What both pictures show: two curves, and the part of the plane that is looked at."""

    train: Points
    valid: Points
    best: Points  # the lowest of `valid`, the first of equals; none where there is no validation
    last: int  # step; the first is 0
    low: float  # in nats per token, as the next two
    high: float
    peak: float  # the highest point; drawn at the upper end where it lies above


def _view(records: Records) -> _View:
    """A loss falls steeply at first, then by little, and the little is what one wants to see.

    So the view reaches up to the highest point after the first tenth of the steps.
    """
    train, valid = _points(records, "train_nats_per_token"), _points(records, "nats_per_token")
    best = [min(valid, key=lambda point: point[1])] if valid else []
    last = max((record["step"] for record in records), default=0)
    values = [value for _, value in train + valid] or [0.0]
    late = [value for step, value in train + valid if step >= last / 10]
    low, high, peak = min(values), max(late or values), max(values)
    if low == high:  # a level line goes through the middle
        low, high = low - 0.5, high + 0.5
    return _View(train, valid, best, max(1, last), low, high, peak)


def _points(records: Records, key: str) -> Points:
    """The records in which there is a value that can be drawn."""
    found = [(record["step"], record.get(key)) for record in records]
    return [(step, v) for step, v in found if isinstance(v, int | float) and abs(v) < LARGE]


def terminal(records: Records, width: int = 60) -> str:
    """The losses, drawn with characters on at most `width` columns, with a legend below.

    `ValueError` where there are fewer than `MIN_WIDTH` columns.
    """
    if width < MIN_WIDTH:
        raise ValueError(f"width must be at least {MIN_WIDTH}, not {width}")
    view = _view(records)
    above = "≥" if view.peak > view.high else ""
    labels = {0: f"{above}{view.high:#.4g} ┤", ROWS - 1: f"{view.low:#.4g} ┤"}
    margin = max(map(len, labels.values()))
    x = _Scale((0, view.last), (0, width - margin - 1))
    y = _Scale((view.low, view.high), (ROWS - 1, 0))
    cells = [[" "] * (width - margin) for _ in range(ROWS)]

    if view.train:
        row = _Scale([x(step) for step, _ in view.train], [y(value) for _, value in view.train])
        for column in range(round(row.values[0]), round(row.values[-1]) + 1):
            cells[round(row(column))][column] = "·"
    for symbol, points in ("o", view.valid), ("@", view.best):
        for step, value in points:
            cells[round(y(value))][round(x(step))] = symbol

    lines = [f"{labels.get(i, '│'):>{margin}}{''.join(line)}" for i, line in enumerate(cells)]
    end = f" {view.last:,}"
    lines.append(f"{'└':>{margin}}{' step 0 ':─<{width - margin - len(end)}}{end}")
    legend = ["· train"] * bool(view.train) + ["o validation"] * bool(view.valid)
    legend += [f"@ best {value:.3f} nats at step {step:,}" for step, value in view.best]
    return "\n".join(line.rstrip() for line in [*lines, *wrap("   ".join(legend), width)])


def svg(records: Records, title: str) -> str:
    """The losses and, in a panel below, the learning rate, over the steps and the time of training."""
    view, rates = _view(records), _points(records, "learning_rate")
    loss_ticks = _ticks(view.low, view.high, 5)
    rate_ticks = _ticks(0, max((rate for _, rate in rates), default=0) or 1, 1)
    step_ticks = [t for t in _ticks(0, view.last, min(6, view.last)) if t[0] <= view.last]
    x = _Scale((0, view.last), (LEFT, RIGHT))
    y = _Scale((loss_ticks[0][0], loss_ticks[-1][0]), (LOSS_BOTTOM, LOSS_TOP))
    z = _Scale((rate_ticks[0][0], rate_ticks[-1][0]), (RATE_BOTTOM, RATE_TOP))
    if view.peak > loss_ticks[-1][0]:
        loss_ticks[-1] = (loss_ticks[-1][0], f"≥{loss_ticks[-1][1]}")

    # XML has no place for control characters and lone surrogates, escaped or not.
    plain = "".join(c if c.isprintable() else " " for c in title)
    size = min(16, (WIDTH - 40) / (0.6 * max(1, len(plain))))  # a letter is about 0.6 em wide
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{INK}">',
        f"<title>{escape(plain)}</title>",
        f"<desc>Loss and learning rate over {view.last:,} steps of training</desc>",
        f'<text x="20" y="26" font-size="{size:.1f}" font-weight="bold">{escape(plain)}</text>',
        _text(LEFT, LOSS_TOP - 16, "nats per token"),
        _text(LEFT, RATE_TOP - 12, "learning rate"),
        _text(LEFT - 24, RATE_BOTTOM + 16, "step", "end"),
    ]
    grid = ""
    for scale, ticks in (y, loss_ticks), (z, rate_ticks):
        grid += "".join(f"M{LEFT},{scale(value):.1f}H{RIGHT}" for value, _ in ticks)
        parts += [_text(LEFT - 8, scale(value), label, "end") for value, label in ticks]
    for step, label in step_ticks:
        grid += f"M{x(step):.1f},{LOSS_TOP}V{LOSS_BOTTOM}M{x(step):.1f},{RATE_TOP}V{RATE_BOTTOM}"
        parts.append(_text(x(step), RATE_BOTTOM + 16, label, "middle"))
    parts.append(f'<path d="{grid}" stroke="{INK}" stroke-opacity="0.25"/>')
    if times := _points(records, "seconds"):
        clock = _Scale([0, *(step for step, _ in times)], [0, *(seconds for _, seconds in times)])
        parts.append(_text(LEFT - 24, RATE_BOTTOM + 32, "min:s", "end"))
        for step, _ in step_ticks:
            minutes, seconds = divmod(round(clock(step)), 60)
            parts.append(_text(x(step), RATE_BOTTOM + 32, f"{minutes}:{seconds:02}", "middle"))

    parts.append(_curve("learning rate", rates, x, z, INK, 1))
    if view.train:
        parts.append(_curve("train", view.train, x, y, TRAIN, 1.5))
        parts.append(_text(RIGHT - 170, LOSS_TOP - 16, f'<tspan fill="{TRAIN}">─•─</tspan> train'))
    if view.valid:
        parts.append(_curve("validation", view.valid, x, y, VALID, 2.5))
        legend = f'<tspan fill="{VALID}">━●━</tspan> validation'
        parts.append(_text(RIGHT - 96, LOSS_TOP - 16, legend))
    for step, value in view.best:
        ring = f'cx="{x(step):.1f}" cy="{y(value):.1f}" r="6" stroke-width="1.5"'
        leader = f"M{x(step) + 6:.1f},{y(value):.1f}H{RIGHT + 8}"
        parts += [
            f'<g fill="none" stroke="{VALID}"><title>best</title><circle {ring}/>'
            f'<path d="{leader}" stroke-dasharray="2 3"/></g>',
            _text(RIGHT + 12, y(value), f"best {value:.3f}"),
            _text(RIGHT + 12, y(value) + 14, f"at step {step:,}"),
        ]
    return "\n".join([*parts, "</svg>\n"])


def _ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """About `count` round values and their labels, the first not above `low`, the last not below `high`."""
    power = max(-300, floor(log10((high - low) / count)))  # with less, 10 to that is nothing
    factor = next((f for f in (1, 2, 5) if f * 10.0**power * count >= high - low), 10)
    unit = factor * 10.0**power
    numbers = range(floor(low / unit), ceil(high / unit) + 1)
    return [(n * unit, f"{n * unit:,.{max(0, -power)}f}") for n in numbers]


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" dy="0.35em" text-anchor="{anchor}">{text}</text>'


def _curve(name: str, points: Points, x: _Scale, y: _Scale, colour: str, width: float) -> str:
    """A line with a dot at each point, which is drawn as a line of no length with round ends."""
    places = [f"{x(step):.1f},{y(value):.1f}" for step, value in points]
    return (
        f'<g fill="none" stroke="{colour}" stroke-linecap="round"><title>{name}</title>'
        f'<polyline points="{" ".join(places)}" stroke-width="{width}"/>'
        f'<path d="{"".join(f"M{place}h0" for place in places)}" stroke-width="{2 * width + 1}"/></g>'
    )
