"""Scoring a text a second time, by a model that learns or looks up as it reads: how, and what comes of it."""

from collections.abc import Mapping
from math import inf, isfinite
from typing import TYPE_CHECKING

from lstmgen.cli import console
from lstmgen.cli.models import engine_to_score
from lstmgen.config import CacheConfig, DynamicConfig
from lstmgen.errors import OptionError

if TYPE_CHECKING:
    from lstmgen.checkpoint import SavedModel
    from lstmgen.corpus import Text
    from lstmgen.reading import Engine
    from lstmgen.tuning import Axes
    from lstmgen.vocabulary import Ids

Settings = DynamicConfig | CacheConfig
USUAL_TRIALS = 8  # of settings, or so


def nats(
    saved: "SavedModel",
    engine: "Engine | None",
    ids: "Ids",
    device: str,
    settings: Settings,
    what: str = "scored",
) -> float:
    """What a text costs, in nats; infinite where the loss blew up, as it can with a high rate.

    The engine is for a cache alone: what learns is a network of its own.
    """
    from lstmgen.batching import Streams

    streams = Streams(ids, saved.vocabulary.start_id, 1, settings.window)
    if isinstance(settings, CacheConfig):
        assert engine is not None
        from lstmgen import cache

        parts = cache.window_nats(engine, streams, settings)
    else:
        from lstmgen import engines

        network = engines.network(saved, device)  # first, as it tells where torch cannot be loaded
        from lstmgen import dynamic

        parts = dynamic.window_nats(network, streams, settings)
    total = 0.0
    for part in console.watched(parts, streams.num_windows, what):
        total += part
        if not isfinite(total):  # what has blown up stays so
            return inf
    return total


def require_found(nats: float, text: "Text", settings: Settings) -> None:
    """`OptionError` where the loss blew up, so that there is no score."""
    if nats == inf:
        raise OptionError(
            f"{text.name}: with {flags(settings)} the loss blows up, so there is no score; give a lower "
            "--dynamic-rate"
        )


def axes(tune_on: str | None, settings: Settings | None, given: Mapping[str, float]) -> "Axes":
    """The settings to tune, with the values to try: all that were not given."""
    if tune_on is None:
        return {}
    if settings is None:
        raise OptionError(
            f"--tune-on {tune_on!r} is for --dynamic and --cache; add one of them, or leave it out"
        )
    from lstmgen.tuning import AXES

    if given.get(settings.strength) == 0:
        option = console.option(f"{settings.option}_{settings.strength}", 0)
        raise OptionError(
            f"--tune-on {tune_on!r} has nothing to choose, as with {option} no setting changes anything; "
            "give more than 0"
        )
    free = {n: values for n, values in AXES[settings.option].items() if n not in given}
    if not free:
        raise OptionError(
            f"--tune-on {tune_on!r} has nothing to choose, as all settings are given; leave one of them out"
        )
    return free


def tuned(
    saved: "SavedModel",
    text: "Text",
    scored: list["Text"],
    device: str,
    start: Settings,
    axes: "Axes",
) -> Settings:
    """The settings under which the text costs least; says what it tries.

    `scored` are the texts that they are for, of which the text should not be one.
    """
    from lstmgen import tuning

    ids, engine = saved.vocabulary.encode(text.text), None
    if isinstance(start, CacheConfig):
        engine = engine_to_score(saved, device, USUAL_TRIALS * len(ids))
    unknown = saved.vocabulary.count_unknown(ids)
    told = f", {unknown:,} of them unknown, scored as <unk>" if unknown else ""
    console.note(f"tuning on {text.name}, tokens: {len(ids):,}{told}")
    if text.digest in {other.digest for other in scored}:
        console.note(f"{text.name} is scored too, and what is chosen on it will flatter its score")

    def cost(settings: Settings) -> float:
        return nats(saved, engine, ids, device, settings, f"{flags(settings)}:")

    costs, best = set[float](), start
    for trial in tuning.trials(cost, start, axes):
        costs.add(trial.nats)
        if trial.better and trial.nats < inf:
            best = trial.settings
            console.note(f"{flags(best)}: {trial.nats / len(ids):.4f} nats/token")
    require_found(min(costs), text, best)
    if len(costs) == 1:
        raise OptionError(
            f"--tune-on {text.name}: its {len(ids):,} tokens cost the same whatever is tried; give a "
            "longer text, or leave it out"
        )
    return best


def flags(settings: Settings) -> str:
    """The settings as options, to be given to a later run."""
    from lstmgen.tuning import AXES

    parts = AXES[settings.option]
    return " ".join(
        console.option(f"{settings.option}_{part}", getattr(settings, part)) for part in parts
    )
