"""The command line: three commands, and the one place that catches user errors and exits."""

import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from inspect import cleandoc
from io import StringIO
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from lstmgen import __version__, leaving
from lstmgen.cli import console, faults
from lstmgen.cli.eval import evaluate
from lstmgen.cli.sample import sample
from lstmgen.cli.train import train
from lstmgen.errors import LstmgenError
from lstmgen.ranges import RANGES


class _Helping:
    """Help that goes the way of all output, so that a closed pipe or a full disk is met as elsewhere.

    Flags are shown without a kind of value, as they take none.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # the commands' own
        for option in params:
            if getattr(option, "is_flag", False):
                option.metavar = ""
        return params

    def format_help(self, ctx: Any, formatter: Any) -> None:
        if console.shows_output():
            super().format_help(ctx, formatter)  # type: ignore[misc]
            return
        with redirect_stdout(StringIO()) as told:
            super().format_help(ctx, formatter)  # type: ignore[misc]
        # Without rich, typer leaves it to whoever asked for it to write what it says.
        console.emit(told.getvalue() or formatter.getvalue())
        raise typer.Exit  # before an empty line is written past all that


class _Group(_Helping, TyperGroup):
    pass


class _Command(_Helping, TyperCommand):
    """A command whose help tells the range of each number that `ranges` has one for."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        params: list[Any] = self.params
        for option in params:
            for name in RANGES.keys() & set(option.opts):
                option.help += f" Range: {RANGES[name]}."


app = typer.Typer(
    cls=_Group,
    name="lstmgen",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _help(command: Any) -> str:
    """Its docstring, a line a paragraph, for the terminal to break."""
    paragraphs = cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


app.command("train", cls=_Command, help=_help(train))(train)
# A text without --prime before it is told what it lacks.
app.command(
    "sample", cls=_Command, help=_help(sample), context_settings={"allow_extra_args": True}
)(sample)
app.command("eval", cls=_Command, help=_help(evaluate))(evaluate)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.emit(f"lstmgen {__version__}\n")
        raise typer.Exit


@app.callback()
def general(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Train a recurrent language model on your own text, then generate and score text with it.

    To begin: lstmgen sample writes with a small built-in model; lstmgen train your.txt makes your own.
    """


def _refuse(why: str) -> NoReturn:
    console.say(f"error: {console.one_line(why)}")
    sys.exit(1)


def main() -> None:
    """Run the command line; exit codes are 0, 1 user's mistake, 2 usage, 128 and the number of a signal."""
    # Help takes its width from these; by 0 nothing would be left of it.
    for name in ("COLUMNS", "TERMINAL_WIDTH"):
        width = os.environ.get(name, "1")
        if not (width.isdecimal() and int(width)):
            del os.environ[name]
    try:
        with redirect_stderr(console.Talk(sys.stderr)):  # a usage error is told by typer itself
            app()
    except LstmgenError as error:
        _refuse(str(error))
    except (OSError, MemoryError, RuntimeError) as error:
        if told := faults.advice(error):
            _refuse(told)
        raise
    finally:
        leaving.settle(sys.stderr)
