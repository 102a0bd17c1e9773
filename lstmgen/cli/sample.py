"""`lstmgen sample`: primes in, texts out."""

import json
import secrets
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from lstmgen.cli import console, engines
from lstmgen.config import DEFAULT_LENGTH, DecodingConfig
from lstmgen.errors import OptionError

DEFAULTS = DecodingConfig()


def sample(
    prime: Annotated[str | None, typer.Option(help="Text to go on from.")] = None,
    prime_file: Annotated[
        str | None,
        typer.Option(help="File with the text to go on from, less its last line end."),
    ] = None,
    encoding: Annotated[str, typer.Option(help="Encoding of the prime file.")] = "utf-8",
    each_line: Annotated[
        bool,
        typer.Option("--each-line", help="Each line of standard input is a prime; in order."),
    ] = False,
    echo: Annotated[
        bool, typer.Option("--echo/--no-echo", help="Print the prime before what follows it.")
    ] = True,
    num_samples: Annotated[
        int, typer.Option("--num-samples", "-n", min=1, help="Texts for each prime.")
    ] = 1,
    length: Annotated[
        int, typer.Option("--length", "-l", min=0, help="Tokens to sample for each text.")
    ] = DEFAULT_LENGTH,
    stop: Annotated[
        list[str] | None,
        typer.Option(help="End a text before this string; may be given several times."),
    ] = None,
    temperature: Annotated[
        float,
        typer.Option("--temperature", "-t", help="Below 1 safer, above 1 wilder, 0 greedy."),
    ] = DEFAULTS.temperature,
    top_k: Annotated[int | None, typer.Option(help="Draw from the K likeliest tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw from the likeliest tokens that make up this share.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Leave out what is under this share of the likeliest.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1 makes tokens that were there before less likely.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Seed of the first text, one more for each further.", show_default="random"
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a text instead of the text.")
    ] = False,
    model: engines.ModelOption = engines.MODEL_DEFAULT,
    device: engines.DeviceOption = "auto",
) -> None:
    """Generate text with a trained model.

    The prime is read as if it began a line. The options that shape the choice of a token work in
    this order: repetition penalty, temperature, top-k, top-p, min-p. The unknown symbol is never
    drawn. On the CPU, which "auto" means here, no torch is needed.
    """
    decoding = DecodingConfig(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
    )
    stops = tuple(_checked("--stop", text) for text in stop or ())
    if "" in stops:
        raise OptionError("--stop is empty; give the text to stop at, or leave --stop out")
    if sum((prime is not None, prime_file is not None, each_line)) > 1:
        raise OptionError("give only one of --prime, --prime-file and --each-line")

    from lstmgen import checkpoint
    from lstmgen.generation import Prime, generate, stream

    saved = checkpoint.load_model(model)
    vocabulary = saved.vocabulary
    if seed is None:
        seed = secrets.randbelow(2**31)
        console.say(f"seed {seed}")
    warned: set[str] = set()

    def primes(first_seed: int) -> Iterator[Prime]:
        texts = _lines() if each_line else iter([_one_prime(prime, prime_file, encoding)])
        for number, text in enumerate(texts):
            unknown = set(vocabulary.encode_prime(text)[1]) - warned
            if unknown:
                warned.update(unknown)
                named = ", ".join(repr(token) for token in sorted(unknown))
                console.note(f"the prime holds what the model does not know: {named:.300}")
            for i in range(num_samples):
                yield Prime(text, first_seed + number * num_samples + i)

    # One text at a time is what NumPy is best at, so "auto" does not look for an accelerator.
    engine = engines.choose(saved, device, 0)
    if num_samples == 1 and not each_line and not as_json:
        only = next(primes(seed))
        last = only.text if echo else ""
        console.emit(last)
        for piece in stream(engine, vocabulary, only, decoding=decoding, length=length,
                            stops=stops):  # fmt: skip
            console.emit(piece)
            last = piece
        console.emit("" if last.endswith("\n") else "\n")
        return
    for text in generate(engine, vocabulary, primes(seed), decoding=decoding, length=length,
                         stops=stops):  # fmt: skip
        if as_json:
            console.emit(json.dumps(text.to_json(), ensure_ascii=False) + "\n")
        else:
            whole = (text.prime if echo else "") + text.text
            console.emit(whole if whole.endswith("\n") else whole + "\n")


def _one_prime(prime: str | None, prime_file: str | None, encoding: str) -> str:
    if prime_file is not None:
        from lstmgen import corpus

        text = corpus.read(prime_file, encoding)
        for line in text.notes:
            console.note(line)
        return text.text.removesuffix("\n")
    return _checked("--prime", prime or "")


def _checked(name: str, text: str) -> str:
    """An argument as UTF-8, also where the locale made Python read it as something else."""
    try:
        return text.encode("utf-8", "surrogateescape").decode()
    except UnicodeDecodeError:
        raise OptionError(f"{name} {text!r:.60} is not UTF-8; convert it with iconv") from None


def _lines() -> Iterator[str]:
    for number, raw in enumerate(sys.stdin.buffer, 1):
        try:
            yield raw.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise OptionError(
                f"line {number} of standard input is not UTF-8: {raw!r:.60}; convert it with iconv"
            ) from None
