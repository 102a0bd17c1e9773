"""A run as a person sees it while it goes: the bar, samples, signals that stop it; and its curves."""

import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstmgen import folders, leaving
from lstmgen.cli import console
from lstmgen.errors import CheckpointError

if TYPE_CHECKING:
    from lstmgen.progress import Progress

STOPPING = (
    "stopping: the run is saved after the step, or the validation, at hand; to leave at once, let a "
    "second pass and press Ctrl-C again"
)
LEFT = "leaving at once; what is not saved is lost"
AT_ONCE = 1.0  # seconds after a signal in which another counts as the same wish
NARROW = 75  # characters of a terminal, fewer of which have no room for the speed
WIDE = 125  # characters of a terminal that has room for losses in both units beside the bar


def follow(
    records: Any, caught: list[int], quiet: bool, per_token: float
) -> tuple["Progress", int]:
    """Show a run until it ends or a signal stops it: its last record, and the signal or 0.

    `caught` is what `stopping` gives, `per_token` the number of characters to a token.
    """
    last = None
    # Closing the records saves the run, where there is something left to do.
    with closing(_bar(quiet)) as bar, closing(records):
        for record in records:
            if last is None:
                bar.initial = bar.n = bar.last_print_n = record.step
                bar.start_t = bar.last_print_t = time.time()
            scored = record.score is not None and (last is None or record.score is not last.score)
            last = record
            if record.note:
                bar.clear()
                console.note(record.note)
            bar.total = record.num_steps
            told = _describe_record(record, per_token)
            # The bar's own terminal; standard output may be another, or none.
            width = WIDE if bar.disable else bar.format_dict["ncols"] or WIDE
            shown = told if width >= WIDE else _describe_shortly(record, per_token, width)
            bar.set_description_str(shown, refresh=record.step == bar.initial)
            bar.update(record.step - bar.n)
            if record.sample is not None and not quiet:
                _show_sample(bar, record.sample, record.step)
            if scored and bar.disable and not quiet:
                console.say(f"step {record.step:,} of {record.num_steps:,}: {told}")
            if caught:
                break
    assert last is not None  # a job has at least one step left, and the last step is always told
    return last, caught[0] if caught and last.step < last.num_steps else 0


@contextmanager
def stopping(quiet: bool) -> Iterator[list[int]]:
    """Within the block the first signal that asks for an end is put into the list, and does no more.

    Those that follow it at once say the same: the shell and the system both tell of a closed terminal,
    `timeout` asks twice, and a key is held down. A later Ctrl-C is from somebody in a hurry, and not held up.
    """
    caught: list[int] = []
    since = 0.0

    def catch(number: int, frame: object) -> None:
        nonlocal since
        if not caught:
            caught.append(number)
            since = time.monotonic()
            if not quiet:
                leaving.say(STOPPING)
        elif number == signal.SIGINT:
            before, since = since, time.monotonic()
            if since - before > AT_ONCE:
                leaving.say(LEFT)
                signal.signal(number, previous[number])
                signal.raise_signal(number)

    previous = {int(number): signal.getsignal(number) for number in leaving.SIGNALS}
    try:
        for number, handler in previous.items():
            if handler is not signal.SIG_IGN:  # as nohup has it
                signal.signal(number, catch)
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _bar(quiet: bool) -> Any:
    # Where nothing is said, TQDM_DISABLE decides.
    hidden = {"disable": True} if quiet or not console.talk().isatty() else {}
    return console.bar(
        "{percentage:3.0f}% {bar} {remaining} left, {desc}",
        miniters=1,  # or tqdm would guess after how many steps it is time to draw, and be late
        **hidden,
    )


def _show_sample(bar: Any, text: str, step: int) -> None:
    """The sample on lines of its own, above the bar where there is one."""
    bar.clear()
    shown = console.visible(text.strip("\n"))
    console.say(f"a sample at step {step:,}:\n{shown}\n")
    bar.refresh()


def _describe_record(record: "Progress", per_token: float) -> str:
    bits = _bits(record, per_token)
    text = f"loss {record.train_nats_per_token:.3f} ({bits:.3f} bits/character)"
    shown = {"validation": record.score}
    if record.best is not record.score:
        shown["best" if record.score else "best validation"] = record.best
    for name, score in shown.items():
        if score:
            text += f", {name} {score.nats_per_token:.4f} ({score.bits_per_character:.3f})"
    return text + _speed(record, per_token)


def _describe_shortly(record: "Progress", per_token: float, width: int) -> str:
    """The same in bits alone, the best of the validation part beside the loss, the speed if there is room."""
    bits = _bits(record, per_token)
    best = f", best {record.best.bits_per_character:.3f}" if record.best else ""
    speed = _speed(record, per_token) if width >= NARROW else ""
    return f"loss {bits:.3f}{best} bits/character{speed}"


def _bits(record: "Progress", per_token: float) -> float:
    """The training loss a character, of which there are `per_token` in a token."""
    return record.train_nats_per_token / log(2) / per_token


def _speed(record: "Progress", per_token: float) -> str:
    """How fast it goes, which before the first step nobody knows."""
    return f", {record.tokens_per_second * per_token:,.0f} characters/s" if record.step else ""


def draw_curves(folder: Path, title: str, quiet: bool) -> None:
    """The run's losses as a picture in the folder, and in the terminal where somebody looks at one."""
    from lstmgen import curves, durable, log_file

    try:
        records = log_file.read(folder)
        durable.put(folder / folders.CURVES_FILE, curves.svg(records, title).encode())
    except CheckpointError as error:  # the model is there, and a picture is no reason to fail
        console.note(f"the curves are not drawn: {error}")
        return
    if not quiet and console.talk().isatty():
        width = min(80, console.width())
        console.say(curves.terminal(records, max(curves.MIN_WIDTH, width)))
