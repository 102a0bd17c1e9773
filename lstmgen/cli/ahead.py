"""Reads ahead in a thread, so that a command can ask whether the next line has come."""

from collections import deque
from collections.abc import Iterator
from threading import Condition, Thread

from lstmgen.cli import console

# Read ahead, so that an endless input fits into memory: lines, and characters of them.
MAX_AHEAD, MAX_CHARACTERS = 1024, 1 << 22


class Ahead(Iterator[str]):
    """The lines of an iterator. A mistake in one is raised when all before it have been taken.

    Of a `file` the next line is waited for, so that the same lines are taken together each time.
    """

    def __init__(self, lines: Iterator[str], file: bool = False) -> None:
        self._file = file
        self._waiting = deque[str | Exception | None]()  # lines, and what comes after the last
        self._characters = 0  # of them
        self._changed = Condition()
        Thread(target=self._read, args=(lines,), daemon=True).start()

    def _read(self, lines: Iterator[str]) -> None:
        try:
            for line in lines:
                self._put(line, len(line))
            self._put(None)
        except Exception as error:  # raised where the line would have been taken, never lost
            self._put(error)

    def _put(self, what: str | Exception | None, characters: int = 0) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._waiting) < MAX_AHEAD and self._characters < MAX_CHARACTERS
            )
            self._waiting.append(what)
            self._characters += characters
            self._changed.notify_all()

    def ready(self) -> bool:
        """Whether a line, or the end, is there already. A mistake can wait."""
        with self._changed:
            if self._file:
                self._changed.wait_for(lambda: self._waiting)
            return bool(self._waiting) and not isinstance(self._waiting[0], Exception)

    def __next__(self) -> str:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            line = self._waiting[0]
            if isinstance(line, Exception):
                raise line
            if line is None:  # which stays: asked again, it is still the end
                raise StopIteration
            self._waiting.popleft()
            self._characters -= len(line)
            self._changed.notify_all()
            return line


def lines_of(path: str, encoding: str) -> Ahead:
    """The lines of a file, or of standard input for `-`, without their ends."""
    from lstmgen import corpus

    lines = (line.removesuffix("\n") for line in corpus.lines(path, encoding, console.note))
    return Ahead(lines, file=corpus.size(path) > 0)
