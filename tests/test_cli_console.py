"""Streams: the product on standard output, talk on standard error, and what is done where one fails."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from commands import SMALL, Ran, piped, run

from lstmgen.cli import console


def test_long_work_has_a_bar_where_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", console.Talk(shown))

    def slow() -> Iterator[float]:
        for _ in range(console.LONG_WORK):
            time.sleep(0.03)
            yield 1.0

    assert sum(console.watched(slow(), console.LONG_WORK, "read")) == console.LONG_WORK
    assert re.search(r"read +\d+% .* \d\d:\d\d left", shown.getvalue())
    before = shown.getvalue()
    assert sum(console.watched(iter([1.0] * 9), 9)) == 9
    assert shown.getvalue() == before


def test_control_characters_are_shown_to_a_terminal() -> None:
    ordinary = "a\u00a0b\u3000c\u200dd\u00ade é 中 👩\u200d🚀"
    assert console.visible(ordinary) == ordinary
    assert console.visible("a\x1b[31mb\x07\n\tc\x7f\x9b\u202e") == "a␛[31mb␇\n\tc␡<U+009B><U+202E>"
    for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A)):
        assert console.visible(chr(code)) == f"<U+{code:04X}>"
    assert console.one_line("name\n") == "name␊"


def test_facts_keep_their_words_whole_at_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = (
        f"corpus      a/{'long' * 9}-name.txt:  9 characters\n            as much again of it all"
    )
    for columns, told in (
        (None, facts),
        (48, facts.replace("  9 ", f"\n{' ' * 12}9 ")),
        (5, None),
    ):
        shown = StringIO()
        monkeypatch.setattr(shown, "isatty", lambda columns=columns: columns is not None)
        monkeypatch.setattr(console, "width", lambda columns=columns: columns)
        monkeypatch.setattr(sys, "stderr", console.Talk(shown))
        console.tell(facts)
        if told:
            assert shown.getvalue() == told + "\n"
        assert shown.getvalue().split() == facts.split()


def test_a_note_is_one_line_and_does_nothing_to_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.note("name\x1b[2J\n of a file")
    assert capsys.readouterr().err == "note: name␛[2J␊ of a file\n"


FULL = pytest.param(
    "> /dev/full",
    "No space left on device; make room or write elsewhere",
    marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here"),
)


@pytest.mark.parametrize(("ending", "said"), [FULL, (">&-", "closed")])
@pytest.mark.parametrize("what", ["sample -l 5 --seed 1", "eval CORPUS", "--help", "train -h"])
def test_output_that_cannot_be_written_is_told_in_one_line(
    model: Path, corpus: Path, ending: str, said: str, what: str
) -> None:
    what = what.replace("CORPUS", str(corpus))
    command = f"LSTMGEN_MODEL={model} {sys.executable} -m lstmgen {what} {ending}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert said in Ran(done.returncode, done.stdout, done.stderr).error


@pytest.mark.parametrize("ending", ["2>&-", "2>&1 | true", FULL.values[0].replace(">", "2>")])  # type: ignore[union-attr]
def test_wrong_usage_is_told_by_its_code_where_nobody_listens(ending: str) -> None:
    for what in ("sample -n x", "eval", "--nonsense", "train x --sample-every often"):
        command = f"{sys.executable} -m lstmgen {what} {ending}; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
        assert (done.stdout, done.stderr) == (b"2\n", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="no such streams there")
def test_a_reader_is_waited_for_whatever_others_made_of_the_stream() -> None:
    code = "from lstmgen.cli import console; [console.emit('x' * 999) for _ in range(999)]"
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE
    ) as process:
        os.close(writing)
        time.sleep(1.0)  # the pipe is full
        with os.fdopen(reading, "rb") as file:
            assert len(file.read()) == 999 * 999
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_stream_without_a_buffer_loses_nothing_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "out"
    code = "from lstmgen.cli import console, main; console.emit('é' * 100_000)"
    for limit, written, fails in (("", 200_000, False), ("ulimit -f 1; ", 1024, True)):
        command = f'{limit}PYTHONUNBUFFERED=1 {sys.executable} -c "{code}" > {path}'
        done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
        assert path.stat().st_size == written
        assert (b"cannot be written: File too large; write elsewhere" in done.stderr) == fails


def test_names_that_are_no_text_can_be_told_apart() -> None:
    code = r"from lstmgen.cli import console; console.emit('a\udcff a\udcfe')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == rb"a\udcff a\udcfe"
    assert json.loads(b'"' + done.stdout + b'"') == "a\udcff a\udcfe"


def test_a_bar_begins_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    from tqdm import tqdm

    monkeypatch.setattr(tqdm, "monitor_interval", 10)
    monkeypatch.setattr(tqdm, "monitor", None)
    console.bar("{bar}", total=1).close()
    assert tqdm.monitor is None


def test_output_is_utf_8_whatever_the_locale(tmp_path: Path, here: Any) -> None:
    path = tmp_path / "greek.txt"
    path.write_text("αβγδε ζη θ\n" * 60)
    small = ("--hidden-size", "8", "--batch-size", "2", "--window", "8")
    assert here("train", path, "-m", tmp_path / "m", "--steps", "2", *small).code == 0
    done = run("sample", "-m", tmp_path / "m", "--prime", "αβγ", "--seed", "1",
               LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii")  # fmt: skip
    assert done.code == 0, done.err
    assert done.out.startswith("αβγ")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such terminal there")
@pytest.mark.parametrize("text", [b"", b"Ann went to Rome.\n" * 99])
@pytest.mark.parametrize(
    "command",
    [
        ("eval", "-"),
        ("eval", "-", "--by", "line"),
        ("train", "-", "--steps", "1", *SMALL),
        ("sample", "--prime-file", "-", "-l", "1"),
        ("sample", "--each-line", "-l", "1"),
    ],
)
def test_who_is_to_type_a_text_is_told_so_and_ends_it_by_one_ctrl_d(
    command: tuple[str, ...], text: bytes, model: Path, tmp_path: Path, here: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    where = tmp_path / "m" if command[0] == "train" else model
    keyboard, terminal = os.openpty()
    os.write(keyboard, text + b"\x04")  # which is Ctrl-D
    closed = list[int]()

    def close() -> None:
        closed.append(keyboard)
        os.close(keyboard)

    timer = Timer(30, close)  # or the test would wait in vain where it fails
    timer.start()
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        typed = here(*command, "-m", where)
    timer.cancel()
    assert not closed
    close()
    with piped(text) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        came = here(*command, "-m", where, *["--overwrite"] * (command[0] == "train"))
    assert "note: what is typed here is read, until Ctrl-D " in typed.err
    assert "typed" not in came.err
    assert came.code == typed.code


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such shell there")
@pytest.mark.parametrize(
    ("to", "told"),
    [("> {0}/file", "True"), ("> /dev/null", "True"), ("| cat", "False"), (">&-", "False")],
)
def test_output_is_kept_by_a_file_and_not_by_a_pipe_that_somebody_may_see(
    tmp_path: Path, to: str, told: str
) -> None:
    script = (
        "import sys; from lstmgen.cli import console; sys.stderr.write(str(console.keeps_output()))"
    )
    line = f"{sys.executable} -c '{script}' {to.format(tmp_path)}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert done.stderr == told
