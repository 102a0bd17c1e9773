"""`lstmgen eval`: texts in, scores out."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from lstmgen.cli import console, engines

if TYPE_CHECKING:
    from collections.abc import Callable

    from lstmgen.scoring import Score

WIDE = 110  # characters of a terminal that has room for every column


def evaluate(
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="Files to score; - is standard input.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a text instead of a table.")
    ] = False,
    encoding: Annotated[str, typer.Option(help="Encoding of the files.")] = "utf-8",
    model: engines.ModelOption = None,
    device: engines.DeviceOption = "auto",
) -> None:
    """Score text: how well does a trained model predict it?

    Each file is a text of its own, read as if a line end stood before it. Lower is better: bits per
    character compare across models of every kind, perplexity across models with the same tokens.
    """
    from lstmgen import corpus, trained
    from lstmgen.scoring import Score, score_text

    saved = engines.load(model)
    read = [corpus.read(path, encoding) for path in texts]
    for text in read:
        for line in text.notes:
            console.note(line)
    tokens = sum(len(saved.vocabulary.encode(text.text)) for text in read)
    engine = trained.choose_engine(saved, device, tokens)
    scores = []
    for text in read:
        score = score_text(engine, saved.vocabulary, text.text)
        scores.append((text.name, score))
        if as_json:
            console.emit(json.dumps({"file": text.name, **score.to_json()}) + "\n")
    if len(scores) > 1:
        total = sum((score for _, score in scores), Score())
        scores.append(("total", total))
        if as_json:
            console.emit(json.dumps({"file": "total", **total.to_json()}) + "\n")
    if not as_json:
        _show(scores)
    unknown = scores[-1][1].unknown_tokens
    if unknown:
        share = unknown / scores[-1][1].tokens
        console.note(f"{unknown:,} tokens ({share:.2%}) are unknown to the model, scored as <unk>")


def _show(scores: list[tuple[str, "Score"]]) -> None:
    from rich.console import Console
    from rich.table import Table

    # A pipe has no width of its own, so there a row is never broken.
    width = None if console.shows_output() else 1000
    drawing = Console(width=width, highlight=False, markup=False, color_system=None)
    columns: dict[str, Callable[[Score], str]] = {
        "bits/character": lambda score: f"{score.bits_per_character:.4f}",
        "perplexity": lambda score: f"{score.perplexity:,.3f}",
        "nats/token": lambda score: f"{score.nats_per_token:.4f}",
        "nats": lambda score: f"{score.nats:,.1f}",
        "tokens": lambda score: f"{score.tokens:,}",
        "characters": lambda score: f"{score.characters:,}",
        "unknown": lambda score: f"{score.unknown_tokens:,}",
    }
    if drawing.width < WIDE:  # what can be worked out from the others gives way to the name
        del columns["nats"], columns["characters"]
    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold", min_width=12)
    for title in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for name, score in scores:
        cells = [show(score) for show in columns.values()]
        table.add_row(console.visible(name, keep_newlines=False), *cells)
    with drawing.capture() as capture:
        drawing.print(table)
    console.emit("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))
