"""Draws what `eval` has found as tables for a person, on standard output."""

import shutil
from io import StringIO
from math import isfinite
from typing import TYPE_CHECKING

from lstmgen.cli import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lstmgen.choices import Tally
    from lstmgen.comparison import Difference
    from lstmgen.context import ContextScore
    from lstmgen.scoring import Score

BAR, SHORT_BAR = 30, 8  # characters of the longest bar of a curve, at most and at least
NAME = 24  # characters of a name, for which other columns are left out
SHORT_NAME = 12  # of one that is folded, at least
LONG_NAME = 10_000  # of one that is not, where there is no terminal
GAP = 2  # characters between columns

Columns = list[tuple[str, list[str]]]  # each its title and its cells


def scores(rows: "Sequence[tuple[str, Score]]") -> None:
    """A row a text."""
    found = [score for _, score in rows]
    columns: Columns = [
        ("file", [console.one_line(name) for name, _ in rows]),
        ("bits/character", [f"{score.bits_per_character:.4f}" for score in found]),
        ("perplexity", [_perplexity(score) for score in found]),
        ("nats/token", [f"{score.nats_per_token:.4f}" for score in found]),
        ("nats", [f"{score.nats:,.1f}" for score in found]),
        ("tokens", [f"{score.tokens:,}" for score in found]),
        ("characters", [f"{score.characters:,}" for score in found]),
        ("unknown", [f"{score.unknown_tokens:,}" for score in found]),
    ]
    _print(_narrowed(columns, "nats", "characters", "nats/token"))


def comparison(
    name: str, rows: "Sequence[tuple[str, Score]]", found: "Sequence[Difference]"
) -> None:
    """A row a model, with its difference from the first."""
    scored = [score for _, score in rows]
    intervals = [
        "{:+.4f} to {:+.4f}".format(*one.interval) if one.interval else "-" for one in found
    ]
    columns: Columns = [
        ("model", [console.one_line(model) for model, _ in rows]),
        ("bits/character", [f"{score.bits_per_character:.4f}" for score in scored]),
        ("difference", ["", *(f"{one.bits_per_character:+.4f}" for one in found)]),
        ("95 % interval", ["", *intervals]),
        ("perplexity", [_perplexity(score) for score in scored]),
        ("tokens", [f"{score.tokens:,}" for score in scored]),
        ("unknown", [f"{score.unknown_tokens:,}" for score in scored]),
    ]
    _print(_narrowed(columns, "perplexity", "tokens", "unknown"))
    for (model, _), one in zip(rows[1:], found, strict=True):
        which = "better" if one.bits_per_character < 0 else "worse"
        told = {
            True: f"{{0}} is {which} than {{1}}, by more than chance",
            False: "the difference of {0} from {1} may be chance",
            None: "the text is too short to tell {0} from {1}"
            if one.interval is None
            else "{0} and {1} do not compare: what one of them does not know may make the difference",
        }[one.is_more_than_chance]
        console.note(
            f"{name}, {console.count(one.num_blocks, 'block')}: " + told.format(model, rows[0][0])
        )


def contexts(name: str, rows: "Sequence[ContextScore]", num_tokens: int) -> None:
    """A row for each number of tokens of context, and a bar as long as its bits per character."""
    columns: Columns = [
        ("context", [f"{row.context:,}" for row in rows]),
        ("bits/character", [f"{row.bits_per_character:.4f}" for row in rows]),
        ("nats/token", [f"{row.nats_per_token:.4f}" for row in rows]),
        ("+-", [f"{row.standard_error:.4f}" for row in rows]),
        ("gain", [_known(row.gain) for row in rows]),
        ("+-", [_known(row.gain_error) for row in rows]),
    ]
    room = min(BAR, _room() - _needed(columns) - GAP)
    if room >= SHORT_BAR:
        bits = [row.bits_per_character for row in rows]
        columns.append(("", ["█" * max(1, round(room * bit / (max(bits) or 1))) for bit in bits]))
    _print(columns)
    count = rows[0].places
    drawn, sampled = "", ""
    if rows[0].standard_error:
        drawn, sampled = ", drawn at random", "of nats/token, as not all are scored, and "
    console.note(
        f"{name}: each row scores the same {count:,} of its {num_tokens:,} tokens{drawn}; +- is one standard "
        f"error {sampled}of the gain, taking the text as a sample of its kind"
    )


def tallies(rows: "Sequence[Tally]") -> None:
    """A row a group of questions."""
    columns: Columns = [
        ("group", [console.one_line(row.group) for row in rows]),
        ("questions", [f"{row.questions:,}" for row in rows]),
        ("correct", [f"{round(row.correct, 2):,.10g}" for row in rows]),
        ("accuracy", [f"{row.accuracy:.1%}" for row in rows]),
        ("95 % interval", [f"{row.interval[0]:.1%} - {row.interval[1]:.1%}" for row in rows]),
        ("chance", [f"{row.chance:.1%}" for row in rows]),
        ("by token", [f"{row.accuracy_per_token:.1%}" for row in rows]),
    ]
    _print(_narrowed(columns, "correct", "by token"))


def _known(value: float) -> str:
    return f"{value:.4f}" if isfinite(value) else "-"


def heading(name: str) -> None:
    """Say which text the table below is of, where there are several."""
    console.emit(f"{console.one_line(name)}:\n")


def _perplexity(score: "Score") -> str:
    value = score.perplexity
    return f"{value:,.3f}" if value < 1e12 else f"{value:.3e}"


def _room() -> int:
    """How many characters a line may have."""
    # A pipe has no width of its own, so there a row is never broken.
    return shutil.get_terminal_size().columns if console.shows_output() else 1000


def _needed(columns: Columns, name: int = NAME) -> int:
    """How wide a table is, with `name` characters for its first column where that is wider."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, (title, *cells))) for title, cells in columns]
    return min(widths[0], name) + sum(GAP + width for width in widths[1:])


def _narrowed(columns: Columns, *spare: str) -> Columns:
    """The columns that a line has room for: those of `spare` say least, and give way in turn."""
    for title in spare:
        if _needed(columns) > _room():
            columns = [column for column in columns if column[0] != title]
    return columns


def _print(columns: Columns) -> None:
    """Names to the left, folded where they are long; numbers to the right, and always whole.

    A table that is still too wide is broken by the terminal.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, GAP // 2))
    for number, (title, _) in enumerate(columns):
        if number:
            table.add_column(title, justify="right" if title else "left", no_wrap=True)
        else:
            table.add_column(title, overflow="fold")
    for row in zip(*(cells for _, cells in columns), strict=True):
        table.add_row(*row)
    name = SHORT_NAME if console.shows_output() else LONG_NAME
    width = max(_room(), _needed(columns, name))
    # With a height too, as otherwise it is 80 wide on a terminal that calls itself dumb.
    drawn = StringIO()
    Console(
        file=drawn,
        width=width,
        height=1,
        highlight=False,
        markup=False,
        emoji=False,
        color_system=None,
    ).print(table)
    console.emit("".join(line.rstrip() + "\n" for line in drawn.getvalue().splitlines()))
