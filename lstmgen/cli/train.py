"""`lstmgen train`: text in, model folder out."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lstmgen import stopwatch
from lstmgen.cli import options, running
from lstmgen.config import (
    DEFAULT_ENCODING,
    DEFAULT_MINUTES,
    DEFAULT_MODEL_FOLDER,
    LARGE_VOCABULARY,
    MAX_HELD_OUT,
    MODEL_VARIABLE,
    SOFTMAX_SAMPLE,
    AskedPrecision,
    CellName,
    CorpusConfig,
    Level,
    ModelConfig,
    TrainConfig,
    Words,
)
from lstmgen.planning import (
    CUDA_STREAMS,
    MANY_STREAMS,
    MANY_SYMBOLS,
    MOST_DECAY,
    REPEATED_RATE,
)

_text, _network, _run, _learning, _machine = (
    partial(typer.Option, rich_help_panel=panel)
    for panel in ("Text", "Network", "The run", "Learning", "Machine")
)


def train(
    corpus: Annotated[
        list[str],
        typer.Argument(help="Text files, gzip too; - is standard input."),
    ],
    model: Annotated[
        str,
        typer.Option("--model", "-m", envvar=MODEL_VARIABLE, help="Folder to keep the model in."),
    ] = DEFAULT_MODEL_FOLDER,
    minutes: Annotated[
        float | None,
        _run(
            help="Time for the whole command, waiting for a pipe not counted; with --resume all training "
            "before counts too.",
            show_default=f"{DEFAULT_MINUTES}; with --resume the end that was planned",
        ),
    ] = None,
    epochs: Annotated[float | None, _run(help="Passes over the text, instead of a time.")] = None,
    steps: Annotated[int | None, _run(help="Updates of the weights, instead of a time.")] = None,
    resume: Annotated[
        bool,
        _run(
            "--resume",
            help="Go on with the run in the folder from where it was last saved; give the same texts again.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, _run("--overwrite", help="Replace the model and the run that are in the folder.")
    ] = False,
    level: Annotated[
        Level | None, _text(help="What a token is.", show_default=str(CorpusConfig.level))
    ] = None,
    words: Annotated[
        Words | None,
        _text(
            help="How words are cut, with --level word: prose sets punctuation apart, space cuts at "
            "white space only.",
            show_default=str(CorpusConfig.words),
        ),
    ] = None,
    min_count: Annotated[
        int | None,
        _text(
            help="Symbols seen fewer times than this in the part to train on become <unk>.",
            show_default=str(CorpusConfig.min_count),
        ),
    ] = None,
    max_vocab: Annotated[
        int | None,
        _text(
            help="Largest size of the vocabulary, <unk> included: the most frequent symbols are kept.",
            show_default="all",
        ),
    ] = None,
    valid_fraction: Annotated[
        float | None,
        _text(
            help="Share of the text, from its end, held out to validate on.",
            show_default=f"{CorpusConfig.valid_fraction}, at most {MAX_HELD_OUT:,} characters",
        ),
    ] = None,
    valid_file: Annotated[
        str | None,
        _text(metavar="FILE", help="Text to validate on instead of the last part of the text."),
    ] = None,
    encoding: Annotated[str, _text(help="Encoding of what is read.")] = DEFAULT_ENCODING,
    cell: Annotated[
        CellName | None, _network(help="Kind of network.", show_default=str(ModelConfig.cell))
    ] = None,
    num_layers: Annotated[
        int | None,
        _network(
            help="Recurrent layers, one above the other.",
            show_default=f"{ModelConfig.num_layers}, or 1 where time is short",
        ),
    ] = None,
    hidden_size: Annotated[
        int | None,
        _network(
            help="Units of each layer.", show_default="by the text and the time, steps or epochs"
        ),
    ] = None,
    embedding_size: Annotated[
        int | None,
        _network(
            help="How many numbers stand for a symbol; with --tie also the units of each layer.",
            show_default=f"{ModelConfig.embedding_size}; for words, many symbols, or tied, the hidden size",
        ),
    ] = None,
    dropout: Annotated[
        float | None,
        _learning(
            help="Share of the outputs of embedding and layers left out in each step.",
            show_default="by the text, epochs and size; less with --init-from",
        ),
    ] = None,
    weight_drop: Annotated[
        float | None,
        _learning(
            help="Share of the recurrent weights left out in each step.",
            show_default="by epochs, from some twenty on; less with --init-from",
        ),
    ] = None,
    tie: Annotated[
        bool | None,
        _network(
            "--tie/--no-tie",
            help="Share one matrix between embedding and output layer.",
            show_default=f"tie for words, or from {MANY_SYMBOLS:,} symbols on, unless --embedding-size "
            "and --hidden-size are given and differ",
        ),
    ] = None,
    skip: Annotated[
        bool | None,
        _network(
            "--skip/--no-skip",
            help="Sum the outputs of all layers for the output layer.",
            show_default="skip",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        _learning(
            help="Streams, the parts of the text that are read side by side.",
            show_default=f"{TrainConfig.batch_size}, or in a run by --minutes {MANY_STREAMS}, on CUDA also "
            f"{CUDA_STREAMS}, where a trial shows that it pays",
        ),
    ] = None,
    window: Annotated[
        int | None,
        _learning(
            help="Tokens of each stream in a step.",
            show_default=f"{TrainConfig.window}, or near it where that cuts a short text evenly",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        _learning(
            help="Highest learning rate of the run, of the recurrent layers' matrices (Muon). It rises for "
            f"{100 * TrainConfig.warmup_fraction:g} % of the steps, then falls in a line to 0.",
            show_default=f"{TrainConfig.learning_rate} to {REPEATED_RATE}, by level, cell, streams and "
            "epochs; less with --init-from, the better that model knows the text",
        ),
    ] = None,
    adamw_share: Annotated[
        float | None,
        _learning(
            help="Learning rate of embedding, biases and output layer (AdamW): a share of --learning-rate.",
            show_default=str(TrainConfig.adamw_share),
        ),
    ] = None,
    memory: Annotated[
        int | None,
        _network(
            metavar="TOKENS",
            help="Let the last layer of an LSTM or GRU begin able to remember for up to this many tokens, "
            "and freeze its biases.",
            show_default="off",
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        _learning(
            help="How fast weights shrink: a step takes off this share of each, times the learning rate.",
            show_default=f"{TrainConfig.weight_decay:g} to {MOST_DECAY:g}, by epochs",
        ),
    ] = None,
    softmax_sample: Annotated[
        int | None,
        _learning(
            help="Train against this many symbols, drawn anew each step, instead of all; 0 takes all.",
            show_default=f"{SOFTMAX_SAMPLE:,} from {LARGE_VOCABULARY:,} symbols on, by word "
            f"{SOFTMAX_SAMPLE // 2:,} from {LARGE_VOCABULARY // 2:,} on; else, and on CUDA where all fit, 0",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        _learning(help="Seed of all random numbers.", show_default=str(TrainConfig.seed)),
    ] = None,
    device: Annotated[
        str, _machine(help="auto (an accelerator where there is one), cpu, cuda, cuda:N or mps.")
    ] = "auto",
    precision: Annotated[
        AskedPrecision | None,
        _machine(help="auto is bfloat16 where the machine is fast at it.", show_default="auto"),
    ] = None,
    threads: Annotated[
        int | None,
        _machine(
            help="Processor threads.",
            show_default="one a core; fewer in a run by time while other programs are busy",
        ),
    ] = None,
    sample_every: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Show a sample of what the model writes, about once in this many seconds.",
            show_default="off",
        ),
    ] = None,
    init_from: Annotated[
        str | None,
        _network(
            metavar="MODEL",
            help="Begin with the weights of this model; the new one takes over its level, cell, sizes and, "
            "without --max-vocab, symbols.",
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but notes, errors and how to go on.")
    ] = False,
) -> None:
    """Train a model on text and keep it in a folder.

    What is not given is chosen by the text and the time, and printed as flags that repeat it. Give at most
    one of --minutes, --epochs and --steps. Ctrl-C stops the run and saves it; the same corpus with --resume
    goes on, to the end that was planned or to another one given with it.
    """
    # Keyed by option; a field of `config` for it has the same name.
    given = {name: value for name, value in locals().items() if value is not None}
    began = stopwatch.now() - time.process_time()  # near to when Python was started
    options.require_sense(given)

    from lstmgen import holding

    if init_from is not None:  # before the folder to train in is made, which may be the same
        from lstmgen import checkpoint

        checkpoint.require_model(init_from)
    folder = Path(model)
    with (
        holding.claimed(folder, resume=resume, overwrite=overwrite) as hold,
        stopwatch.without_suspensions(),
    ):
        running.run(given, hold, began)
