"""Turns how much text there is, and how much of it will be read, into a network and numbers that suit.

`text_tokens` are those of the text that is trained on, `tokens` those that are read in the whole run;
`tokens / text_tokens` is the number of epochs.
"""

from math import exp, log2
from typing import NamedTuple

from lstmgen.config import (
    LARGE_VOCABULARY,
    SOFTMAX_SAMPLE,
    CellName,
    Level,
    Precision,
    TrainConfig,
)


class Width(NamedTuple):
    """Units of a layer that did best where so many tokens are read; they grow with a power of the tokens."""

    units: int
    tokens: float
    power: float

    def at(self, tokens: float) -> float:
        size: float = self.units * (tokens / self.tokens) ** self.power
        return size


# As measured, see the tables in tests/benchmarks/LOG.md.
BEST_WIDTHS: dict[Level, Width] = {"char": Width(384, 8e6, 0.1), "word": Width(256, 8e6, 0.1)}
# Upper limits of the width. By character, with few streams, for fewer than `FEW_EPOCHS`:
SELDOM_REPEATED = Width(256, 4e6, 0.25)
# With `MANY_STREAMS`, for `READ_ONCE` epochs or fewer, and for more:
MANY_STREAMS_READ_ONCE = Width(256, 4.5e6, 0.25)
MANY_STREAMS_REPEATED = Width(320, 6.5e6, 0.27)
FEW_EPOCHS, READ_ONCE = 2, 1.6
MANY_WORDS, WORDS_POWER = 15e6, 0.225  # tokens: from these on, width pays more by word
SHORT_TEXT_POWER = 0.2  # of its share of `LONG_TEXT`, by which a shorter text has less
SIZE_STEP, MAX_SIZE = 64, 1024

# With fewer tokens, and less than `FEW_EPOCHS` of the text, one layer does better, as it reads many more: in
# float32, where a step is little else than products, 1.6 to 2.4 times as many. No more was tried.
FEW_TOKENS: dict[tuple[CellName, Precision], float] = {
    ("lstm", "float32"): 5e6,
    ("lstm", "bfloat16"): 2.5e6,
    ("gru", "float32"): 5e6,
}
ONE_LAYER = Width(256, 1e6, 0.25)

# Tokens: a text that is shorter is learned by heart if nothing is done against it.
LONG_TEXT, LONG_TEXT_OF_WORDS = 1e6, 2e6
# A text that is not read often wants many tokens rather than many steps, and so more streams side by side.
MANY_STREAMS = 64
SOME_TOKENS = 250_000  # of a text that may have them, at least
SOME_EPOCHS = 40  # of a long one, at most (by 32 streams, 2 x 256); of a short one far fewer
CUDA_EPOCHS = 400  # the same on CUDA; more than 104 were not tried
# There, by character, what is read so often (by 64 streams, 2 x 256) wants more streams still.
CUDA_STREAMS, CUDA_STREAMS_EPOCHS = 128, 25
# By as many tokens a text that is repeated is learned better with them, one that is read once a bit worse.
# They mostly read more; but a trial as short as there is time for may be off by a tenth.
TOKENS_WITH_MORE = 0.95  # times: they must read so many in the same time
MANY_STREAMS_RATE = 0.056  # the learning rate by character with them, for cells with gates
# CUDA takes all symbols, as steps against a sample cannot be recorded, where so many logits a step, of which
# it holds about four copies in float32, fit into half of the memory that is free.
MAX_CUDA_LOGITS, BYTES_A_LOGIT = 2**28, 16
# What an LSTM reads two and a half times or more, by character, is learned at this rate; or with
# `CUDA_STREAMS`. From one and a half on the rate rises by equal factors, so that a minute that is a bit
# slower has nearly the same.
REPEATED_EPOCHS, REPEATED_RATE = (1.5, 2.5), 0.08
# What another model knows of a text is soon forgotten. One that saves the share `WELL_KNOWN`, or more, of
# what the text costs by a guess from frequencies is trained at `FINE_TUNING_RATES` divided by the epochs to
# the power of `FINE_TUNING_POWER`; one that saves less has less to forget, and its rate lies between that and
# the rate of fresh weights.
FINE_TUNING_RATES: dict[Level, float] = {"char": 0.02, "word": 0.008}
FINE_TUNING_POWER = 0.85
WELL_KNOWN: dict[Level, float] = {"char": 0.5, "word": 0.35}
MOST_DECAY = 0.1  # of weights, a step, times the learning rate
MANY_SYMBOLS = 1000  # from which on each is seldom seen, by character too, as in Chinese


def hidden_size(
    tokens: float, text_tokens: int, level: Level, *, many_streams: bool = False
) -> int:
    """How many units a layer should have where two layers of 256, or as many as are given, read `tokens`.

    With `MANY_STREAMS` they are read in fewer steps, which asks for less. A larger network learns more
    from each token and sees fewer of them in the same time. That nearly cancels, so the size grows
    slowly. It shrinks, slowly too, with a text too short to fill it; and in a short time with one so
    long that it is hardly repeated, as then tokens are what is missing. By word the output layer grows
    with it, so less is better, until there is time for many tokens.
    """
    best: float = (
        BEST_WIDTHS[level].at(tokens) * min(1.0, text_tokens / LONG_TEXT) ** SHORT_TEXT_POWER
    )
    if many_streams:
        read_once = tokens <= READ_ONCE * text_tokens
        most = MANY_STREAMS_READ_ONCE if read_once else MANY_STREAMS_REPEATED
        best = min(best, most.at(tokens))
    elif level == "char" and tokens < FEW_EPOCHS * text_tokens:
        best = min(best, SELDOM_REPEATED.at(tokens))
    if level == "word":
        best *= max(1.0, tokens / MANY_WORDS) ** WORDS_POWER
    return _rounded(best)


def one_layer_size(
    tokens: float,
    text_tokens: int,
    *,
    level: Level,
    vocab_size: int,
    cell: CellName,
    precision: Precision,
) -> int | None:
    """How many units a single layer should have, in the time in which two of 256 would read `tokens`.

    None where two layers do better, as they do where there is more time; or may, as those of a plain RNN,
    and where symbols are many, so that the output layer takes most of it.
    """
    few = tokens < min(FEW_TOKENS.get((cell, precision), 0), FEW_EPOCHS * text_tokens)
    if not few or has_many_symbols(level, vocab_size):
        return None
    return _rounded(ONE_LAYER.at(tokens))


def _rounded(size: float) -> int:
    return min(MAX_SIZE, SIZE_STEP * max(1, round(size / SIZE_STEP)))


def larger_batch(
    batch_size: int,
    tokens: float,
    text_tokens: int,
    *,
    level: Level,
    vocab_size: int,
    cell: CellName,
    cuda: bool,
) -> int | None:
    """How many streams, 64 or 128, may serve a run on `tokens` better, if they are read about as fast here.

    None if no larger number does. By word, and where symbols are many, they do on CUDA only, where a step
    with twice the streams takes hardly longer.
    """
    epochs, few_symbols = tokens / text_tokens, not has_many_symbols(level, vocab_size)
    if batch_size < MANY_STREAMS:
        most = CUDA_EPOCHS if cuda and few_symbols else SOME_EPOCHS
        few = epochs < most * min(1.0, text_tokens / LONG_TEXT) ** 2
        if text_tokens < SOME_TOKENS or not few or not (cuda or few_symbols):
            return None
        return MANY_STREAMS
    often = epochs >= CUDA_STREAMS_EPOCHS and few_symbols and cell == "lstm"
    return CUDA_STREAMS if cuda and often and batch_size < CUDA_STREAMS else None


def dropout(num_epochs: float, hidden_size: int, text_tokens: int, level: Level) -> float:
    """What a large network that sees a text often should leave out, so as not to know it by heart.

    The share of its layers' outputs. By character it comes the nearer to a limit the more epochs there are
    and the wider the layers: past ten epochs of 256 units, for a shorter text far fewer. The limit is 0.1 for
    a million tokens, and 0.08 more each time that is halved, but at least 0.05. By word it is 0.021 an epoch,
    at most 0.3, for two million tokens; each time these are halved, both numbers grow by two fifths of that.
    It is never above 0.5.
    """
    if level == "word":  # each symbol is rare, and most weights are symbols'
        short = 1 + 0.4 * max(0.0, log2(LONG_TEXT_OF_WORDS / text_tokens))
        return round(min(0.5, 0.3 * short, 0.021 * short * num_epochs), 2)
    wear = num_epochs * (hidden_size / 256) ** 2
    share = min(1.0, text_tokens / LONG_TEXT)
    known = max(0.0, wear - max(5 * share, 10 * share**2))
    most = min(0.5, max(0.05, 0.1 + 0.08 * log2(LONG_TEXT / text_tokens)))
    return round(most * (1 - exp(-known / 7)), 2)


def has_many_symbols(level: Level, vocab_size: int) -> bool:
    """Whether symbols are so many that each is seldom seen.

    Input and output should then share a matrix, which learns from both (Press & Wolf, 2016,
    arXiv:1608.05859).
    """
    return level == "word" or vocab_size >= MANY_SYMBOLS


def learning_rate(num_epochs: float, batch_size: int, level: Level, cell: CellName) -> float:
    """The highest rate of Muon in a run.

    It is higher by character with many streams, whose steps are fewer and surer, and for an LSTM that reads
    its text repeatedly: weight decay and dropout hold it back then. A GRU gains nothing by reading often, and
    a plain RNN, without gates to hold on to, loses by either.
    """
    if level == "word" or cell == "rnn":
        return TrainConfig.learning_rate
    if batch_size >= CUDA_STREAMS:
        return REPEATED_RATE
    rate = MANY_STREAMS_RATE if batch_size >= MANY_STREAMS else TrainConfig.learning_rate
    few, enough = REPEATED_EPOCHS
    share = min(1.0, max(0.0, (num_epochs - few) / (enough - few))) if cell == "lstm" else 0.0
    return round(rate * float((REPEATED_RATE / rate) ** share), 3)


def how_well_known(share_spared: float, level: Level) -> float:
    """How well a model knows a text: 0 if it saves nothing of a guess, 1 if `WELL_KNOWN` or more of it."""
    return min(1.0, max(0.0, share_spared / WELL_KNOWN[level]))


def fine_tuning_rate(num_epochs: float, level: Level, known: float, rate: float) -> float:
    """The highest rate of Muon in a run that begins with another model's weights.

    From `rate`, that of fresh weights, it falls by equal factors with how well the text is `known`.
    """
    of_known = FINE_TUNING_RATES[level] / max(1.0, num_epochs) ** FINE_TUNING_POWER
    return float(f"{of_known**known * rate ** (1 - known):.2g}")


def weight_drop(num_epochs: float) -> float:
    """What share of the recurrent weights to leave out: none up to 20 epochs, 0.15 more at each doubling."""
    return round(min(0.5, max(0.0, 0.15 * log2(max(1.0, num_epochs) / 20))), 2)


def weight_decay(num_epochs: float) -> float:
    """None to speak of for a text that is read once; from two and a half epochs on it is a tenth."""
    least = TrainConfig.weight_decay
    return round(min(MOST_DECAY, max(least, least + 0.06 * (num_epochs - 1))), 3)


def symbols_that_fit(cuda_memory: int, tokens: int) -> int:
    """For how many symbols a GPU with so many bytes free should make all logits of a step; 0 without one."""
    return int(min(MAX_CUDA_LOGITS, cuda_memory / 2 / BYTES_A_LOGIT) / tokens)


def softmax_sample(vocab_size: int, level: Level, *, fitting: int = 0) -> int:
    """How many symbols are drawn a step to stand for a vocabulary; 0 takes all, as where so many fit."""
    if vocab_size <= fitting:
        return 0
    if vocab_size >= LARGE_VOCABULARY:
        return SOFTMAX_SAMPLE
    return SOFTMAX_SAMPLE // 2 if level == "word" and vocab_size >= LARGE_VOCABULARY // 2 else 0
