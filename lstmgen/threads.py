"""How many threads a run takes: one a core, and fewer while other programs keep some cores busy.

torch shares each product among its threads and goes on when the last of them is done. If another
program has the core of one, all wait until the system gives it back, some milliseconds later, many
times a step: on two cores, one thread may then take half of the time that two take, or a tenth.

A thread that waits for the others keeps its core busy for a while. So a process that has all of its
cores takes as many seconds of processor time a second as it has threads; what is missing others
had, or a limit withheld, as of a container.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from lstmgen import stopwatch

ENOUGH = 0.9  # of the processor time that its threads could have; with less, others are at work
MORE = 1.1  # fewer threads must do so many times the work of all, or all are taken
NEARLY = 0.2  # of a core: so little short of a whole one counts as one
SPAN = 0.3  # seconds of work, after which it is judged
SHORT_SPAN = 0.2  # the same of products in its place
PAUSE = 4.0  # seconds between two looks whether others are gone, or trials of fewer threads
LONG_PAUSE = 60.0  # the same where nothing but advice comes of it
SIZE = 256  # of the square matrices whose products stand for work

Clocks = Callable[[], tuple[float, float]]  # seconds, and those of processor time, from any zero


def clocks() -> tuple[float, float]:
    return stopwatch.now(), time.process_time()


def products() -> None:
    """A few milliseconds of work like that of a step."""
    matrix = torch.ones(SIZE, SIZE)
    for _ in range(10):
        _ = matrix @ matrix


@dataclass
class Threads(ABC):
    """Watches pieces of work, such as steps: how much gets done, and how many cores its threads get.

    It begins with the number of threads that torch takes now, of which there may be `most`.
    """

    most: int
    span: float = SPAN
    clocks: Clocks = clocks
    take: Callable[[int], None] = torch.set_num_threads
    products: Callable[[], None] = products

    def __post_init__(self) -> None:
        self.number = torch.get_num_threads()
        self.next_change = self.clocks()[0] + (0 if self.number == self.most else PAUSE)
        self.prepares = True  # the first piece after a change may take longer
        self.in_doubt = False  # whether cores were lacking in the span before
        self.take(self.number)
        self._begin()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Around each piece of work; all should be about as large."""
        began = self.clocks()
        yield
        ended = self.clocks()
        seconds = ended[0] - began[0]
        prepared, self.prepares = self.prepares, False
        if prepared and seconds < self.span:
            return
        self.pieces += 1
        self.seconds += seconds
        self.of_processor += ended[1] - began[1]
        if self.seconds >= self.span:
            doubted, self.in_doubt = self.in_doubt, self._cores() < ENOUGH * self.number
            # Not by a span that may have begun before others came.
            self._judge(ended[0], lacks_cores=self.in_doubt and doubted and self.number > 1)
            self._begin()

    def take_all(self) -> None:
        """Give torch all threads back, for whatever the process does next."""
        self._change(self.most)

    @property
    def advice(self) -> str:
        """What to say of the number of threads; nothing if all is well, or is being seen to."""
        return ""

    @abstractmethod
    def _judge(self, now: float, lacks_cores: bool) -> None:
        """What follows from a span of work."""

    def _begin(self) -> None:
        self.pieces, self.seconds, self.of_processor = 0, 0.0, 0.0

    def _cores(self) -> float:
        """How many cores the threads got in a span."""
        return self.of_processor / self.seconds

    def _whole_cores(self) -> int:
        return max(1, int(self._cores() + NEARLY))

    def _by_products(self, number: int) -> tuple[float, float]:
        """Products a second by so many threads, and the cores that they get; as a step may take long."""
        self.take(number)
        self.products()  # to prepare
        began, pieces = self.clocks(), 0
        now = began
        while now[0] < began[0] + SHORT_SPAN:
            self.products()
            now, pieces = self.clocks(), pieces + 1
        seconds = now[0] - began[0]
        return pieces / seconds, (now[1] - began[1]) / seconds

    def _change(self, number: int) -> None:
        self.number = number
        self.prepares = self.in_doubt = True
        self.take(number)


class Adjusting(Threads):
    """Has the work done by as many threads as get most done.

    That is all of them while they get nearly all of their cores. Else it tries as many as they got cores,
    and stays with these if they do `MORE` times as much, until all can have their cores again. Where a
    library shares out its work by itself, fewer do no more, and all are taken.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.is_settled = self.most == 1  # whether all got their cores, or fewer have been tried
        self.rate_of_all = 0.0  # pieces a second, while fewer threads are on trial

    def _judge(self, now: float, lacks_cores: bool) -> None:
        rate = self.pieces / self.seconds
        if self.number == self.most:
            self.is_settled = self.is_settled or not self.in_doubt
            if lacks_cores and now >= self.next_change:
                self.rate_of_all = rate
                self._change(self._whole_cores())
        elif lacks_cores:
            self._change(self._whole_cores())
        elif self.rate_of_all:  # what is taken is on trial
            if rate < MORE * self.rate_of_all:
                self._change(self.most)
            self.is_settled, self.rate_of_all, self.next_change = True, 0.0, now + PAUSE
        elif now >= self.next_change:
            self.next_change = now + PAUSE
            self._look_for_cores()

    def _look_for_cores(self) -> None:
        """Take more threads if more can have cores."""
        _, cores = self._by_products(self.most)
        number = self.most if cores >= ENOUGH * self.most else int(cores + NEARLY)
        if number > self.number:
            self._change(number)
        else:
            self.take(self.number)


class Advising(Threads):
    """Keeps the number of threads, and finds out by products whether half of it or less would be `enough`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.enough = self.most
        self.had = self.most  # cores, in the span before

    @property
    def advice(self) -> str:
        if 2 * self.enough > self.number:
            return ""
        return (
            f"each step waits for all of its {self.number} threads, and other programs, or a limit, leave "
            f"cores for {self.enough}; --threads {self.enough} may be much quicker (its last bits may differ)"
        )

    def _judge(self, now: float, lacks_cores: bool) -> None:
        had, self.had = self.had, self._whole_cores()
        many_less = 2 * self.had <= self.number and self.had < self.enough
        if lacks_cores and many_less and self.had == had and now >= self.next_change:
            self.next_change = now + LONG_PAUSE
            self._look_for_enough(self.had)

    def _look_for_enough(self, number: int) -> None:
        """Know so many threads as enough if they do more than those that there are, which stay."""
        (rate_of_all, _), (rate, _) = self._by_products(self.number), self._by_products(number)
        if rate >= MORE * rate_of_all:
            self.enough = number
        self.take(self.number)


def watched(device: torch.device, most: int | None) -> Threads | None:
    """What watches the threads of a run's steps; None off the CPU, and where there is one thread.

    It takes as many of `most` as serve; where that is None it leaves torch's number as it is, and advises.
    """
    number = most or torch.get_num_threads()
    if device.type != "cpu" or number == 1:
        return None
    return Advising(number) if most is None else Adjusting(number)


def take_what_serves() -> None:
    """Have torch take as many of its threads as get most done at present."""
    settle(Adjusting(torch.get_num_threads(), SHORT_SPAN))


def settle(threads: Adjusting) -> None:
    """Have it find its number by products, before anything is timed."""
    while not threads.is_settled:
        with threads.at_work():
            threads.products()
