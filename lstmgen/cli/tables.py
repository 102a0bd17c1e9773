"""Draws what `eval` has found as tables for a person, on standard output."""

from typing import TYPE_CHECKING

from lstmgen.cli import console

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from lstmgen.choices import Tally
    from lstmgen.comparison import Difference
    from lstmgen.context import ContextScore
    from lstmgen.scoring import Score

WIDE = 110  # characters of a terminal that has room for every column
LONG_WORK = 50  # windows, from which on a bar may be worth drawing
BAR = 30  # characters of the longest bar of a curve


def scores(rows: list[tuple[str, "Score"]]) -> None:
    """A row a text."""
    columns: dict[str, Callable[[Score], str]] = {
        "bits/character": lambda score: f"{score.bits_per_character:.4f}",
        "perplexity": lambda score: f"{score.perplexity:,.3f}",
        "nats/token": lambda score: f"{score.nats_per_token:.4f}",
        "nats": lambda score: f"{score.nats:,.1f}",
        "tokens": lambda score: f"{score.tokens:,}",
        "characters": lambda score: f"{score.characters:,}",
        "unknown": lambda score: f"{score.unknown_tokens:,}",
    }
    if _width() < WIDE:  # what can be worked out from the others gives way to the name
        del columns["nats"], columns["characters"]
    table = _table("file", *columns)
    for name, score in rows:
        table.add_row(_plain(name), *(show(score) for show in columns.values()))
    _print(table)


def comparison(name: str, rows: list[tuple[str, "Score"]], found: list["Difference"]) -> None:
    """A row a model, with its difference from the first."""
    table = _table(
        "model", "bits/character", "difference", "95 % interval", "perplexity", "tokens", "unknown"
    )
    for (model, score), one in zip(rows, [None, *found], strict=True):
        told = ("", "")
        if one is not None:
            low, high = one.interval
            told = (f"{one.bits_per_character:+.4f}", f"{low:+.4f} to {high:+.4f}")
        table.add_row(
            _plain(model), f"{score.bits_per_character:.4f}", *told, f"{score.perplexity:,.3f}",
            f"{score.tokens:,}", f"{score.unknown_tokens:,}",
        )  # fmt: skip
    _print(table)
    for (model, _), one in zip(rows[1:], found, strict=True):
        verdict = "more than" if one.is_more_than_chance else "no more than"
        console.note(
            f"{name}, {one.blocks:,} blocks: {model} differs from {rows[0][0]} by {verdict} chance would"
        )


def contexts(name: str, rows: list["ContextScore"], num_tokens: int) -> None:
    """A row for each number of tokens of context, and a bar as long as its bits per character."""
    table = _table("context", "bits/character", "nats/token", "+-", "gain", "+-", "")
    longest = max(row.bits_per_character for row in rows)
    for row in rows:
        bar = "█" * max(1, round(BAR * row.bits_per_character / longest))
        table.add_row(
            f"{row.context:,}", f"{row.bits_per_character:.4f}", f"{row.nats_per_token:.4f}",
            f"{row.standard_error:.4f}", f"{row.gain:.4f}", f"{row.gain_error:.4f}", bar,
        )  # fmt: skip
    _print(table)
    count = rows[0].places
    sample = f"a sample of {count:,} of its" if rows[0].standard_error else f"{count:,} of its"
    console.note(
        f"{name}: {sample} {num_tokens:,} tokens, the same ones in each row; +- is one standard error"
    )


def tallies(rows: list["Tally"]) -> None:
    """A row a group of questions."""
    table = _table(
        "group", "questions", "correct", "accuracy", "95 % interval", "chance", "by token"
    )
    for row in rows:
        low, high = row.interval
        table.add_row(
            _plain(row.group), f"{row.questions:,}", f"{row.correct:,}", f"{row.accuracy:.1%}",
            f"{low:.1%} - {high:.1%}", f"{row.chance:.1%}", f"{row.accuracy_per_token:.1%}",
        )  # fmt: skip
    _print(table)


def _plain(name: str) -> str:
    return console.visible(name, keep_newlines=False)


def _width() -> int:
    import shutil

    # A pipe has no width of its own, so there a row is never broken.
    return shutil.get_terminal_size().columns if console.shows_output() else 1000


def _table(first: str, *others: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column(first, overflow="fold", min_width=12)
    for title in others:
        table.add_column(title, justify="left" if not title else "right", no_wrap=True)
    return table


def _print(table: "Table") -> None:
    from rich.console import Console

    width = None if console.shows_output() else _width()
    drawing = Console(width=width, highlight=False, markup=False, color_system=None)
    with drawing.capture() as capture:
        drawing.print(table)
    console.emit("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))
