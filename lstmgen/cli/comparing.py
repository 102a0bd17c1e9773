"""`lstmgen eval` with several models: each one's scores, and by how much they differ from the first one's."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lstmgen.cli import console, tables
from lstmgen.cli.models import engine_to_score
from lstmgen.cli.scores import about_tokens

if TYPE_CHECKING:
    from lstmgen.checkpoint import SavedModel
    from lstmgen.comparison import Costs
    from lstmgen.corpus import Text
    from lstmgen.reading import Engine


def compare(
    models: list["SavedModel"], names: Sequence[str], read: list["Text"], device: str, as_json: bool
) -> None:
    """Each model's score of each text, and by how much it differs from the first one's."""
    from lstmgen import comparison
    from lstmgen.comparison import Costs

    characters = sum(len(text.text) for text in read)
    engines = [engine_to_score(saved, device, about_tokens(saved, characters)) for saved in models]

    def show(text: str, costs: Costs, **more: int) -> None:
        rows, differences = list(zip(names, costs.scores, strict=True)), costs.differences()
        if not as_json:
            if len(read) > 1:
                tables.heading(text)
            tables.comparison(text, rows, differences)
            return
        for name, score in rows:
            console.emit_json({"file": text, "model": name, **more, **score.to_json()})
        for name, one in zip(names[1:], differences, strict=True):
            than = {"file": text, "model": name, "than": names[0]}
            console.emit_json({**than, **more, **one.to_json()})

    found = list[Costs]()
    for text in read:
        found.append(_costs(models, engines, text.text))
        show(text.name, found[-1])
    total = comparison.total(found)
    if len(read) > 1:
        show("total", total, texts=len(read))
    for name, score in zip(names, total.scores, strict=True):
        if score.unknown_tokens:
            console.note(
                f"{name} does not know {score.unknown_tokens:,} of {score.tokens:,} tokens: its bits per "
                "character leave out what it would cost to spell these"
            )


def _costs(models: list["SavedModel"], engines: list["Engine"], text: str) -> "Costs":
    """What a text costs each of the models."""
    import numpy as np

    from lstmgen import comparison
    from lstmgen.breakdown import token_costs
    from lstmgen.scoring import Score
    from lstmgen.vocabulary import UNKNOWN_ID

    ends = comparison.edges(text)
    scores, blocks, unknown = list[Score](), list[Any](), list[Any]()
    for saved, engine in zip(models, engines, strict=True):
        vocabulary = saved.vocabulary
        ids, lengths = vocabulary.encode(text), vocabulary.lengths(text)
        nats = token_costs(engine, ids, vocabulary.start_id, console.watched)
        scores.append(Score.of(float(nats.sum()), vocabulary, ids, len(text)))
        blocks.append(comparison.by_block(lengths, nats, ends))
        unknown.append(np.repeat(ids == UNKNOWN_ID, lengths))
    counts = [  # two models of one vocabulary know the same, and leave as much to guess
        int(np.count_nonzero(of_one | unknown[0]))
        if saved.vocabulary != models[0].vocabulary
        else 0
        for saved, of_one in zip(models, unknown, strict=True)
    ]
    return comparison.Costs(scores, blocks, ends, counts)
