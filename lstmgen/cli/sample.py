"""`lstmgen sample`: primes in, texts out."""

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstmgen.cli import console, models, primes
from lstmgen.cli.ahead import lines_of
from lstmgen.config import DEFAULT_ENCODING, DEFAULT_LENGTH, DecodingConfig
from lstmgen.errors import OptionError
from lstmgen.ranges import RANGES, require, require_device

if TYPE_CHECKING:
    from lstmgen.generation import Generated
    from lstmgen.vocabulary import Vocabulary

BLINK = 0.005  # seconds


def sample(
    context: typer.Context,
    prime: Annotated[str | None, typer.Option(metavar="TEXT", help="Text to go on from.")] = None,
    prime_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="File with the text to go on from, - for standard input; its last line end is left out.",
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(help="Encoding of what is read.", show_default=DEFAULT_ENCODING),
    ] = None,
    each_line: Annotated[
        bool,
        typer.Option(
            "--each-line", help="Each line of standard input is a prime; answers keep the order."
        ),
    ] = False,
    echo: Annotated[
        bool, typer.Option("--echo/--no-echo", help="Print the prime before what follows it.")
    ] = True,
    num_samples: Annotated[
        int,
        typer.Option("--num-samples", "-n", metavar="N", help="Texts for each prime."),
    ] = 1,
    length: Annotated[
        int,
        typer.Option("--length", "-l", metavar="N", help="Tokens for each text, at most."),
    ] = DEFAULT_LENGTH,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="End a text before this string; may be given several times."
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            "-t",
            help="Lower is tamer, higher wilder; 1 draws as the model has it, 0 takes the likeliest.",
            show_default=str(DecodingConfig.temperature),
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Draw from the K likeliest tokens.", show_default="off")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            help="Draw from the fewest tokens that together have this probability.",
            show_default="off",
        ),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(
            help="Leave out tokens less probable than this share of the likeliest's probability.",
            show_default="off",
        ),
    ] = None,
    repetition_penalty: Annotated[
        float | None,
        typer.Option(
            help="Above 1 makes tokens that have occurred already less likely beside others; 1 is off. "
            "Meant for words.",
            show_default="off",
        ),
    ] = None,
    beams: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Draw nothing: search for the likeliest text, keeping N at a time. Goes with neither --seed "
            "nor what shapes a draw.",
            show_default="off",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the first text; each further text has the next one.",
            show_default="random",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a text instead of the text.")
    ] = False,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="End each text with NUL instead of a line end.")
    ] = False,
    model: models.ModelOption = None,
    device: Annotated[str, models.device_option("the CPU")] = "auto",
) -> None:
    """Generate text with a trained model.

    The prime is read as if it began a line. The options that shape the choice of a token work in
    this order: repetition penalty, temperature, top-k, top-p, min-p. <unk>, which stands for all
    that the model does not know, is never drawn. The same seed gives the same text, alone or beside
    others, except where rounding tips a very close draw. With --beams nothing is drawn: the
    likeliest text found comes first, with -n also those after it. On the CPU torch is not loaded,
    so it starts at once.
    """
    if stray := context.args:
        raise OptionError(
            f"{' '.join(stray):.60} belongs to no option; a text to go on from follows --prime, in quotes if "
            "it has spaces"
        )
    require("--num-samples", num_samples)
    require("--length", length)
    shaping: dict[str, Any] = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
    }
    shaping = {name: value for name, value in shaping.items() if value is not None}
    decoding = DecodingConfig(**shaping)
    if beams is not None:
        _require_nothing_drawn(beams, num_samples, {"seed": seed} | shaping)
    if seed is not None:
        _require_seeds(seed, num_samples)
    if temperature == 0:
        _note_idle(num_samples, {"seed": seed, "top_k": top_k, "top_p": top_p, "min_p": min_p})
    require_device(device)
    if null and as_json:
        raise OptionError("--null ends texts, and --json writes objects; leave one of them out")
    if sum((prime is not None, prime_file is not None, each_line)) > 1:
        raise OptionError("give only one of --prime, --prime-file and --each-line")
    if encoding is not None and prime_file is None and not each_line:
        raise OptionError(
            f"--encoding {encoding} is for what is read; give --prime-file or --each-line too, or "
            "leave it out"
        )
    encoding = DEFAULT_ENCODING if encoding is None else encoding
    from lstmgen import engines
    from lstmgen.beam_search import search
    from lstmgen.generation import generate, stop_strings, stream

    stops = stop_strings([primes.as_utf8("--stop", text) for text in stop or ()])
    saved = models.load(model)
    _note_odd_stops(stops, saved.vocabulary)
    # One text at a time is what NumPy is best at, so "auto" does not look for an accelerator.
    engine = engines.choose(saved, device, 0)
    only_prime = "" if each_line else primes.one(prime, prime_file, encoding)
    if each_line:
        console.note_typing(["-"])
    elif prime is None and prime_file is None:
        primes.note_unread()
    texts = lines_of("-", encoding) if each_line else iter([only_prime])
    if seed is None and beams is None:
        seed = secrets.randbelow(2**31) if decoding.temperature else 0  # where it changes nothing
        if decoding.temperature and length and not as_json:  # each object holds its own
            console.say(f"seed {seed}")
    vocabulary = saved.vocabulary
    written: Iterator[Generated]
    wanted = primes.Primes(texts, num_samples if beams is None else 1, seed or 0, vocabulary)
    if beams is not None:
        found = (
            search(engine, vocabulary, one.text, num_beams=beams, length=length, stops=stops)
            for one in wanted
        )
        written = (text for texts in found for text in _likeliest(texts, num_samples))
    elif num_samples == 1 and not each_line and not as_json:
        only = next(wanted)
        pieces = stream(engine, vocabulary, only, decoding=decoding, length=length, stops=stops)
        _write_as_it_comes(only.text if echo else "", pieces, null)
        return
    else:
        written = generate(
            engine,
            vocabulary,
            wanted,
            decoding=decoding,
            length=length,
            stops=stops,
            ready=wanted.ready,
            with_nats=as_json,
        )
        if not each_line and console.keeps_output():
            written = console.watched(written, num_samples, "sampled")
    for text in written:
        _write(text, echo, as_json, null)


def _require_nothing_drawn(beams: int, num_samples: int, drawing: dict[str, Any]) -> None:
    """A beam search does without what shapes a draw, and finds as many texts as it has beams."""
    require("--beams", beams)
    given = [console.option(name, value) for name, value in drawing.items() if value is not None]
    if given:
        raise OptionError(f"--beams {beams} draws nothing; leave out {' '.join(given)}, or --beams")
    if num_samples > beams:
        raise OptionError(
            f"--num-samples {num_samples} is more than --beams {beams} can find; lower it, or raise "
            f"--beams, to {RANGES['--beams'].high} at most"
        )


def _note_idle(num_samples: int, drawing: dict[str, Any]) -> None:
    """Where the likeliest token is taken, says what changes nothing of a text."""
    given = [console.option(name, value) for name, value in drawing.items() if value is not None]
    if num_samples > 1:
        given.append(console.option("num_samples", num_samples))
    if given:
        console.note(
            f"--temperature 0 always takes the likeliest token, so {' '.join(given)} brings nothing new"
        )


def _require_seeds(seed: int, num_samples: int) -> None:
    require("--seed", seed)
    if seed + num_samples - 1 > RANGES["--seed"].high:
        raise OptionError(
            f"--seed {seed} leaves no seeds for --num-samples {num_samples}, as each text has the next one; "
            "give a lower --seed"
        )


def _note_odd_stops(stops: Sequence[str], vocabulary: "Vocabulary") -> None:
    """Tells of stop strings that will hardly end a text as they were meant to."""
    for string in stops:
        if "\\n" in string:
            console.note(
                f"--stop {string} holds a backslash and an n; a line end is written $'\\n' in bash and zsh"
            )
        elif odd := vocabulary.cannot_write(string):
            console.note(f"--stop {string!r} ends no text, as the model cannot write {odd[0]!r}")


def _write(text: "Generated", echo: bool, as_json: bool, null: bool) -> None:
    """A finished text: as JSON, or after its prime with what ends it."""
    if as_json:
        told = text.to_json()
        if not echo:
            del told["prime"]
        console.emit_json(told)
    else:
        console.emit(text.prime if echo else "", bold=True)
        last = text.text or (text.prime if echo else "")
        console.emit(text.text + _end(last, null))


def _end(last: str, null: bool) -> str:
    """What ends a text whose last part is this: NUL, or a line end where it has none."""
    if null:
        return "\0"
    return "" if last.endswith("\n") else "\n"


def _write_as_it_comes(prime: str, pieces: Iterator[str], null: bool) -> None:
    """A single text after its prime, with what ends it."""
    console.emit(prime, bold=True)
    last = prime
    for part in _gathered(pieces):
        console.emit(part)
        last = part
    console.emit(_end(last, null))


def _likeliest(texts: "Sequence[Generated]", count: int) -> "Sequence[Generated]":
    """The first of the texts that were found; says where there are not so many."""
    if len(texts) < count:
        console.note(f"of {count} texts {len(texts)} were found: the beam came upon no more")
    return texts[:count]


def _gathered(pieces: Iterator[str]) -> Iterator[str]:
    """The pieces as they come, those of a blink together: writing takes as long as sampling."""
    waiting, written = "", 0.0
    for piece in pieces:
        waiting += piece
        now = time.perf_counter()
        if now - written > BLINK:
            yield waiting
            waiting, written = "", now
    if waiting:
        yield waiting
