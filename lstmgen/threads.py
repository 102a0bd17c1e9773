"""How many threads a run takes: one a core, and fewer while other programs keep some of the cores busy.

torch shares each product among its threads and goes on when the last of them is done. If another program
has the core of one, all wait until the system gives it back, some milliseconds later, many times a step: on
two cores, one thread may then take half of the time that two take, or a tenth.

A thread that waits for the others keeps its core busy for a while. So a process that has all of its cores
takes as many seconds of processor time a second as it has threads; what is missing, others had.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

ENOUGH = 0.9  # of the processor time that its threads could have; with less, others are at work
NEARLY = 0.2  # of a core, which makes a whole one of what a thread got
SPAN, SHORT_SPAN = 0.3, 0.1  # seconds of work, after which it is judged
MOST_ON_TRIALS = (
    0.05  # of the time: so much for a number of threads that turns out not to be the one
)
PAUSE = 2.0  # seconds before all are tried for the first time, where it begins with fewer
SIZE = 256  # of the square matrices whose products stand for a step before there are any

Clocks = Callable[
    [], tuple[float, float]
]  # seconds of the day and of processor time, whenever they began


def clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


class Threads:
    """Has pieces of work, such as steps, done by as many threads as do most of them.

    These are all, as long as they get nearly all of their cores; else as many as they got cores, if they
    do more; and from time to time all are tried again. It begins with what torch takes now.
    """

    def __init__(
        self,
        most: int,
        span: float = SPAN,
        clocks: Clocks = clocks,
        take: Callable[[int], None] = torch.set_num_threads,
    ) -> None:
        self.most, self.span, self.clocks, self.take = most, span, clocks, take
        self.number = torch.get_num_threads()
        self.rate_of_all = self.seconds_of_all = (
            0.0  # pieces a second, while fewer threads are on trial
        )
        self.is_settled = False  # whether all got their cores, or fewer have been tried
        self.prepares, self.in_doubt = True, True
        self.next_trial = clocks()[0] + (0 if self.number == most else PAUSE)
        self._change(self.number)
        self._begin()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Around each piece of work; all should be about as large."""
        began = self.clocks()
        yield
        ended = self.clocks()
        prepared, self.prepares = self.prepares, False
        if (
            prepared and ended[0] - began[0] < self.span
        ):  # the first one after a change may take longer
            return
        self.pieces += 1
        self.seconds += ended[0] - began[0]
        self.of_processor += ended[1] - began[1]
        if self.seconds >= self.span:
            self._judge(ended[0])
            self._begin()

    def take_all(self) -> None:
        """As when others may follow, who are not to find fewer."""
        self._change(self.most)

    def _judge(self, now: float) -> None:
        """What follows from pieces a second, and from seconds of processor time a second."""
        rate, cores = self.pieces / self.seconds, self.of_processor / self.seconds
        lack_cores = cores < ENOUGH * self.number
        had_cores = max(1, int(cores + NEARLY))
        if self.number < self.most and not self.rate_of_all:
            if now >= self.next_trial:
                self._change(self.most)
        elif self.number == self.most and not lack_cores:
            self.is_settled, self.in_doubt = True, False
        elif self.number == self.most:
            if self.in_doubt and now >= self.next_trial:
                self.rate_of_all, self.seconds_of_all = rate, self.seconds
                self._change(had_cores)
            self.in_doubt = True  # what was done by now may be from before the others came
        elif lack_cores and self.number > 1:  # more others have come
            self._change(had_cores)
        else:
            lost = self.seconds_of_all
            if rate < self.rate_of_all:
                lost = self.seconds
                self._change(self.most)
            self.is_settled, self.rate_of_all = True, 0.0
            self.next_trial = now + lost / MOST_ON_TRIALS

    def _change(self, number: int) -> None:
        self.number = number
        self.prepares = self.in_doubt = True
        self.take(number)

    def _begin(self) -> None:
        self.pieces, self.seconds, self.of_processor = 0, 0.0, 0.0


def settle(threads: Threads) -> None:
    """Have it find its number by work made up for that, before anything is timed."""
    matrix = torch.rand(SIZE, SIZE)
    while not threads.is_settled:
        with threads.at_work():
            for _ in range(10):
                _ = matrix @ matrix
