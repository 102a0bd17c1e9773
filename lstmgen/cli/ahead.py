"""Reads ahead in a thread, so that a command can ask whether the next line has come."""

from collections.abc import Iterator
from queue import Queue
from threading import Thread

MAX_AHEAD = 1024  # read ahead, so that an endless input fits into memory


class Ahead(Iterator[str]):
    """The lines of an iterator. A mistake in one is raised when all before it have been taken.

    Of a `file` all lines are at hand, so which of them are taken together is the same each time.
    """

    def __init__(self, lines: Iterator[str], file: bool = False) -> None:
        self._lines: Queue[str | Exception | None] = Queue(MAX_AHEAD)
        self._file = file
        Thread(target=self._read, args=(lines,), daemon=True).start()

    def _read(self, lines: Iterator[str]) -> None:
        try:
            for line in lines:
                self._lines.put(line)
            self._lines.put(None)
        except Exception as error:  # raised where the line would have been taken, never lost
            self._lines.put(error)

    def ready(self) -> bool:
        """Whether a line, or the end, is there already. A mistake can wait."""
        with self._lines.not_empty:
            waiting = self._lines.queue
            while self._file and not waiting:
                self._lines.not_empty.wait()
            return bool(waiting) and not isinstance(waiting[0], Exception)

    def __next__(self) -> str:
        line = self._lines.get()
        if isinstance(line, Exception):
            raise line
        if line is None:
            self._lines.put(None)  # asked again, it is still the end
            raise StopIteration
        return line
