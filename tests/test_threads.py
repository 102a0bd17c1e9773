"""A run takes all cores, fewer while others have some, and all again."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Thread

import pytest
import torch
from jobs import NUM_STEPS, make_job

from lstmgen import course, training
from lstmgen import threads as threads_module
from lstmgen.keeping import Keeper
from lstmgen.threads import (
    PAUSE,
    SHORT_SPAN,
    SPAN,
    Adjusting,
    Advising,
    Threads,
    clocks,
    settle,
)


class Machine:
    """Cores, how many of them others have, and how long work takes that waits for all of its threads."""

    def __init__(self, cores: int, others: float = 0, late: float = 10) -> None:
        self.cores, self.others, self.late = cores, others, late
        self.wall = self.processor = self.looked = 0.0
        self.taken: list[int] = []

    def clocks(self) -> tuple[float, float]:
        return self.wall, self.processor

    def adjusted(self, most: int) -> Adjusting:
        return Adjusting(most, SPAN, self.clocks, self.taken.append, self.look)

    def kept(self, most: int) -> Advising:
        return Advising(most, SPAN, self.clocks, self.taken.append, self.look)

    def look(self) -> None:
        self.looked += self.do(self.taken[-1], 0.002)

    def do(self, number: int, piece: float) -> float:
        """What takes one core a `piece` of a second, by so many threads: the seconds that it takes."""
        free = self.cores - self.others
        took = piece / number * (1 if number <= free else self.late)
        self.wall += took
        self.processor += took * min(number, free)
        return took

    def work(self, threads: Threads, seconds: float, piece: float = 0.02) -> None:
        """Such pieces for so many seconds."""
        end, of_all = self.wall + seconds, 0.0
        while self.wall < end:
            number = threads.number
            with threads.at_work():
                took = self.do(number, piece)
            of_all += took if number == threads.most else 0.0
        self.share_of_all = of_all / seconds


@pytest.fixture(autouse=True)
def all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it begins with as many as the machines here have."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)


@pytest.mark.parametrize("piece", [0.001, 0.1, 8.0])
@pytest.mark.parametrize("others", [0, 0.4])
def test_all_are_taken_as_long_as_nobody_else_wants_the_cores(piece: float, others: float) -> None:
    machine = Machine(8, others, late=1)
    machine.work(machine.adjusted(8), 1000 * piece, piece)
    assert machine.taken == [8]


@pytest.mark.parametrize(("others", "number"), [(1, 7), (3.9, 4), (6, 2), (7, 1)])
def test_fewer_are_taken_while_others_have_cores_and_all_again_after_them(
    others: float, number: int
) -> None:
    machine = Machine(8)
    threads = machine.adjusted(8)
    machine.work(threads, 1)
    machine.others = others
    machine.work(threads, 2)
    assert threads.number == number
    machine.work(threads, 100)
    assert machine.taken[-3:] == [number, 8, number]
    assert 0 < machine.looked < 1.2 * 100 * SHORT_SPAN / PAUSE  # whether they are gone
    machine.others = 0
    machine.work(threads, PAUSE + 1)
    assert threads.number == 8
    tried = len(machine.taken)
    machine.work(threads, 100)
    assert len(machine.taken) == tried


def test_after_a_burst_as_many_are_taken_as_get_cores_again() -> None:
    machine = Machine(8, others=1)
    threads = machine.adjusted(8)
    machine.work(threads, 5)
    assert threads.number == 7
    machine.others = 6
    machine.work(threads, 5)
    assert threads.number == 2
    machine.others = 1
    machine.work(threads, PAUSE + 1)
    assert threads.number == 7


def test_looks_cost_little_where_a_piece_takes_seconds_too() -> None:
    machine = Machine(8, others=7, late=50)
    threads = machine.adjusted(8)
    machine.work(threads, 400, 0.32)
    assert threads.number == 1
    assert 0 < machine.looked < 1.2 * 400 * SHORT_SPAN / PAUSE
    assert machine.share_of_all < 0.02


def test_many_threads_on_the_few_cores_of_a_container() -> None:
    machine = Machine(2)
    threads = machine.adjusted(8)
    machine.work(threads, 2)
    assert threads.number == 2


def test_all_are_taken_where_they_do_more_though_they_sleep() -> None:
    machine = Machine(8, others=2, late=1)  # two of them sleep, or others are polite
    threads = machine.adjusted(8)
    machine.work(threads, 100)
    assert machine.share_of_all > 0.9
    assert machine.taken[:3] == [8, 6, 8]
    assert 10 < len(machine.taken) < 2 * 100 / PAUSE + 5


class Alone(Machine):
    """On which a single thread works, whatever is taken, as where a library shares products out by itself."""

    def do(self, number: int, piece: float) -> float:
        self.wall += piece
        self.processor += piece
        return piece


def test_all_are_taken_where_a_single_one_works_whatever_is_taken() -> None:
    """Fewer threads would be missed elsewhere."""
    machine = Alone(8)
    threads = machine.adjusted(8)
    machine.work(threads, 100)
    assert machine.share_of_all > 0.8
    assert machine.taken[:4] == [8, 1, 8, 1]


def test_the_first_piece_after_a_change_does_not_count() -> None:
    machine = Machine(8)
    threads = machine.adjusted(8)
    with threads.at_work():
        machine.wall += 0.9 * SPAN  # which prepares, and so takes little of the processor
    machine.work(threads, 10)
    assert machine.taken == [8]


def test_one_slow_piece_at_the_start_is_no_sign_of_others() -> None:
    machine = Machine(8)
    threads = machine.adjusted(8)
    with threads.at_work():
        machine.wall += 2 * SPAN
    machine.work(threads, 10)
    assert machine.taken == [8]


def test_others_who_come_for_a_moment_cost_little() -> None:
    machine = Machine(8)
    threads = machine.adjusted(8)
    for _ in range(5):
        machine.work(threads, 10)
        machine.others = 7
        machine.work(threads, 0.7)
        machine.others = 0
        machine.work(threads, 10)
        assert machine.share_of_all > 0.5


def test_fewer_still_are_taken_where_more_others_come() -> None:
    machine = Machine(8)
    threads = machine.adjusted(8)
    machine.work(threads, 1)
    for others in (2, 5):
        machine.others = others
        machine.work(threads, 1.2)
        assert threads.number == 8 - others
    assert machine.taken == [8, 6, 3]  # before it is time to try all again


def test_fewer_still_are_tried_where_more_others_come_in_a_trial() -> None:
    machine = Machine(8, others=2)
    threads = machine.adjusted(8)
    while threads.number == 8:
        machine.work(threads, 0.01)
    machine.others = 5
    machine.work(threads, 1)
    assert machine.taken == [8, 6, 3]


@pytest.mark.parametrize(("cores", "number"), [(3.85, 4), (3.75, 3), (0.1, 1)])
def test_a_core_that_was_had_nearly_whole_counts(cores: float, number: int) -> None:
    machine = Machine(8, 8 - cores)
    threads = machine.adjusted(8)
    while threads.number == 8:
        machine.work(threads, SPAN)
    assert threads.number == number


def test_a_run_that_begins_with_fewer_tries_all_before_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    machine = Machine(8)
    threads = machine.adjusted(8)
    machine.work(threads, 1)
    assert threads.number == 3
    machine.work(threads, PAUSE)
    assert threads.number == 8


class Ticking(Machine):
    """Whose clocks go on by themselves, so that anything takes as long."""

    def clocks(self) -> tuple[float, float]:
        number, free = self.taken[-1] if self.taken else 8, self.cores - self.others
        self.wall += (took := 0.01 if number <= free else 0.02)
        self.processor += took * min(number, free)
        return super().clocks()


@pytest.mark.parametrize("others", [0, 5])
def test_it_is_settled_before_anything_is_timed(others: int) -> None:
    machine = Ticking(8, others)
    threads = machine.adjusted(8)
    settle(threads)
    assert threads.number == 8 - others
    assert machine.wall < 7 * SPAN


def test_time_and_processor_time_are_of_the_whole_process() -> None:
    other = Thread(target=sha256, args=(bytes(200_000_000),))
    began = clocks()
    other.start()
    other.join()
    ended = clocks()
    assert 0.02 < ended[1] - began[1] <= 1.2 * (ended[0] - began[0]) + 0.02


def test_a_single_thread_is_settled_at_once() -> None:
    settle(Machine(1, others=0.5).adjusted(1))


@pytest.mark.parametrize("most", [3, None])
def test_steps_are_watched_and_all_threads_are_taken_at_the_end(
    most: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[Threads]()
    machine = Ticking(8, others=1)

    for kind in (Adjusting, Advising):

        def watched(number: int, kind: type[Threads] = kind) -> Threads:
            seen.append(kind(number, 1e9, machine.clocks, machine.taken.append))
            return seen[-1]

        monkeypatch.setattr(threads_module, kind.__name__, watched)
    job = replace(make_job(tmp_path / "m"), most_threads=most)
    assert [record.step for record in training.train(job)][-1] == NUM_STEPS
    (threads,) = seen
    assert (threads.most, type(threads)) == (most or 8, Adjusting if most else Advising)
    assert machine.taken == [8, most or 8]
    assert threads.pieces == NUM_STEPS - 1
    assert round(threads.next_change, 2) == 0.02 + (PAUSE if most else 0)


@pytest.mark.parametrize("others", [0, 3.9, 7])
def test_a_number_that_is_kept_is_not_changed_and_how_many_would_do_is_found(others: float) -> None:
    machine = Machine(8, others)
    threads = machine.kept(8)
    machine.work(threads, 200)
    enough = {0: 8, 3.9: 4, 7: 1}[others]
    assert machine.taken == ([8] if enough == 8 else [8, 8, enough, 8])  # tried once
    assert threads.number == 8
    assert threads.enough == enough


def test_fewer_are_not_advised_where_they_would_do_no_more() -> None:
    machine = Alone(8)
    threads = machine.kept(8)
    machine.work(threads, 200)
    assert (threads.number, threads.enough, threads.advice) == (8, 8, "")
    assert SHORT_SPAN < machine.looked < 0.02 * 200  # it is tried once a minute


def test_fewer_are_advised_as_soon_as_others_have_come() -> None:
    machine = Machine(8, others=1)  # of which nothing is said
    threads = machine.kept(8)
    machine.work(threads, 100)
    assert (machine.taken, threads.advice) == ([8], "")
    machine.others = 7
    machine.work(threads, 3)
    assert "of its 8 threads" in threads.advice
    assert "leave cores for 1; --threads 1 may" in threads.advice


def let_run_find(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run tells of each step, and its threads have been at work on the machine when it begins."""

    def kept(number: int) -> Threads:
        threads = machine.kept(number)
        machine.work(threads, 5)
        return threads

    monkeypatch.setattr(threads_module, "Advising", kept)
    monkeypatch.setattr(training, "YIELD_SECONDS", 0.0)


def test_advice_takes_the_place_of_no_other_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_run_find(Machine(8, others=7), monkeypatch)
    monkeypatch.setattr(course, "LOG_LINES", NUM_STEPS)
    refusals = iter(["no room"])  # for the first record
    monkeypatch.setattr(Keeper, "try_to_write", lambda keeper: next(refusals, ""))
    notes = [record.note for record in training.train(make_job(tmp_path / "m"))]
    told = [note for note in notes if note]
    assert told[0] == "no room; it is tried again"
    assert "--threads 1 may be much quicker" in told[1]


@pytest.mark.parametrize(("others", "told"), [(0, 0), (7, 1)])
def test_a_run_that_keeps_its_threads_says_once_that_fewer_would_do(
    others: float, told: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_run_find(Machine(8, others), monkeypatch)
    notes = [record.note for record in training.train(make_job(tmp_path / "m"))]
    assert len(notes) == NUM_STEPS
    assert sum("--threads 1 may be much quicker" in note for note in notes) == told
    assert len(list(filter(None, notes))) == told


def test_where_there_is_one_thread_nothing_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.delattr(threads_module, "Advising")
    list(training.train(make_job(tmp_path / "m")))
