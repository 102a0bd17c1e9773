"""`lstmgen eval` with several models: each one's scores, and by how much they differ from the first one's."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lstmgen.cli import console, tables
from lstmgen.cli.models import engine_to_score
from lstmgen.cli.scores import about_tokens

if TYPE_CHECKING:
    from lstmgen.checkpoint import SavedModel
    from lstmgen.corpus import Text


def compare(
    models: list["SavedModel"], names: Sequence[str], read: list["Text"], device: str, as_json: bool
) -> None:
    """Each model's score of each text, and by how much it differs from the first one's."""
    import numpy as np

    from lstmgen import comparison
    from lstmgen.breakdown import score_tokens
    from lstmgen.scoring import Score
    from lstmgen.vocabulary import UNKNOWN_ID

    characters = sum(len(text.text) for text in read)
    chosen = [engine_to_score(saved, device, about_tokens(saved, characters)) for saved in models]

    def show(
        text: str, scores: list[Score], blocks: list[Any], ends: Any, unknown: Any, **more: Any
    ) -> None:
        found = [
            comparison.difference(blocks[0], block, ends, int(count))
            for block, count in zip(blocks[1:], unknown[1:], strict=True)
        ]
        rows = list(zip(names, scores, strict=True))
        if not as_json:
            if len(read) > 1:
                tables.heading(text)
            tables.comparison(text, rows, found)
            return
        for name, score in rows:
            console.emit_json({"file": text, "model": name, **more, **score.to_json()})
        for name, one in zip(names[1:], found, strict=True):
            console.emit_json(
                {"file": text, "model": name, "than": names[0], **more, **one.to_json()}
            )

    all_ends, all_blocks = list[Any](), list[list[Any]]()
    totals, all_unknown = [Score()] * len(models), np.zeros(len(models), np.int64)
    for text in read:
        ends = comparison.edges(text.text)
        scores, blocks, unknown = list[Score](), list[Any](), list[Any]()
        for saved, engine, name in zip(models, chosen, names, strict=True):
            vocabulary = saved.vocabulary
            ids = vocabulary.encode(text.text)
            nats, _ = score_tokens(engine, ids, vocabulary.start_id, console.watched)
            scores.append(score := Score.of(float(nats.sum()), vocabulary, ids, len(text.text)))
            lengths = vocabulary.lengths(text.text)
            blocks.append(comparison.by_block(lengths, nats, ends))
            unknown.append(np.repeat(ids == UNKNOWN_ID, lengths))
            if score.unknown_tokens:
                console.note(
                    f"{name} does not know {score.unknown_tokens:,} of the {score.tokens:,} tokens of "
                    f"{text.name}: its bits per character do not compare with those of a model that knows "
                    "them"
                )
        known_to_one = np.array([np.count_nonzero(of_one ^ unknown[0]) for of_one in unknown])
        show(text.name, scores, blocks, ends, known_to_one)
        all_ends.append(ends)
        all_blocks.append(blocks)
        all_unknown += known_to_one
        totals = [total + score for total, score in zip(totals, scores, strict=True)]
    if len(read) > 1:
        joined = [np.concatenate(blocks) for blocks in zip(*all_blocks, strict=True)]
        show("total", totals, joined, comparison.joined(all_ends), all_unknown, texts=len(read))
