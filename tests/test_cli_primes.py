"""Where primes come from, in which encoding, and what is said of them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import Ran, run

from lstmgen.cli import primes


@pytest.mark.parametrize("flag", ["--prime", "--stop"])
def test_a_prime_or_a_stop_string_that_is_not_utf_8_is_refused(model: Path, flag: str) -> None:
    done = subprocess.run(
        [sys.executable.encode(), b"-m", b"lstmgen", b"sample", b"-m", bytes(model), flag.encode(), b"\xff"],
        capture_output=True, check=False,
    )  # fmt: skip
    error = Ran(done.returncode, done.stdout, done.stderr).error
    assert error.startswith(f"error: {flag} ")
    assert "is not UTF-8" in error


def test_a_prime_is_utf_8_whatever_the_locale_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("latin-1"))
    assert primes.as_utf8("--prime", "\xc3\xa9") == "\xe9"


@pytest.mark.parametrize("given", [("hello",), ("--prime", "I", "grew up")])
def test_a_text_without_its_option_is_told_of_it(model: Path, here: Any, given: Any) -> None:
    done = here("sample", "-m", model, *given)
    assert (done.code, done.out) == (1, "")
    assert done.error.startswith(f"error: {given[-1]} belongs to no option")
    assert "--prime, in quotes" in done.error


@pytest.mark.parametrize("given", [(), ("--prime", "Ann"), ("--each-line",)])
def test_text_that_is_piped_in_unasked_is_told_of(model: Path, given: Any, tmp_path: Path) -> None:
    options = ("sample", "-m", model, "-l", "3", "--seed", "1", *given)
    told = "note: there is text on standard input, which is not read: give --prime-file - to"
    assert (told in run(*options, stdin=b"Ben went").err) == (not given)
    assert run(*options).err == ""  # a pipe with nothing in it
    (tmp_path / "list.txt").write_text("Ben went\n")
    command = [sys.executable, "-m", "lstmgen", *map(str, options)]
    with (tmp_path / "list.txt").open("rb") as file:  # as of a loop that reads it line by line
        done = subprocess.run(command, stdin=file, capture_output=True, check=True)
    assert done.stderr == b""


def test_an_encoding_that_there_is_not_is_told_before_a_line_is_waited_for(model: Path) -> None:
    command = [sys.executable, "-m", "lstmgen", "sample", "-m", str(model), "--each-line"]
    with subprocess.Popen(
        [*command, "--encoding", "utf9"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert b"--encoding 'utf9' is not a text encoding" in process.stderr.read()


def test_a_prime_comes_from_a_file_or_standard_input(
    model: Path, tmp_path: Path, here: Any
) -> None:
    path = tmp_path / "prime.txt"
    path.write_text("Cleo went")
    options = ("sample", "-m", model, "--seed", "4", "-l", "20")
    expected = here(*options, "--prime", "Cleo went").out
    assert here(*options, "--prime-file", path).out == expected
    path.write_text("Cleo went\n")  # as an editor leaves it
    assert here(*options, "--prime-file", path).out == expected
    path.write_text("Cleo went\n\n")
    assert here(*options, "--prime-file", path).out == here(*options, "--prime", "Cleo went\n").out
    assert run(*options, "--prime-file", "-", stdin=b"Cleo went").out == expected
    lines = here(*options, "--prime", "Cleo went\nAnn\n").out
    assert here(*options, "--prime", "Cleo went\r\nAnn\r").out == lines
    stopped = here(*options, "-l", "200", "--stop", ".\n").out
    assert stopped != here(*options, "-l", "200").out
    assert here(*options, "-l", "200", "--stop", ".\r\n").out == stopped


def test_unknown_symbols_in_a_prime_are_named(model: Path, here: Any) -> None:
    done = here("sample", "-m", model, "--prime", "Zoë", "--seed", "1", "-l", "3")
    assert done.code == 0
    assert "'Z'" in done.err
    assert "'ë'" in done.err


def test_unknown_symbols_are_told_of_so_often_and_no_oftener(
    model: Path, here: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys.modules["lstmgen.cli.primes"], "MAX_WARNED", 3)
    (tmp_path / "primes").write_text("\n".join("ÀÁÂÃÄÅÆ"))
    with (tmp_path / "primes").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        done = here("sample", "-m", model, "--each-line", "--seed", "1", "-l", "3")
    assert done.code == 0
    assert done.err.count("what the model does not know") == 3
    assert " more" not in done.err
    assert done.err.count("are not told") == 1


def test_of_many_unknown_symbols_some_are_named_and_all_are_counted(model: Path, here: Any) -> None:
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 150)))
    done = here("sample", "-m", model, "--prime", many, "--seed", "1", "-l", "3")
    (note,) = [line for line in done.err.splitlines() if line.startswith("note: the prime")]
    named = ", ".join(repr(character) for character in many[:20])
    assert note == f"note: the prime holds what the model does not know: {named} and 130 more"


def test_the_same_unknown_symbol_is_told_of_once(model: Path) -> None:
    done = run("sample", "-m", model, "--each-line", "-l", "1", "--seed", "1", stdin=b"Zap\nZap\n")
    assert done.err.count("what the model does not know") == 1


def test_a_prime_is_read_in_its_encoding(model: Path, tmp_path: Path, here: Any) -> None:
    (tmp_path / "prime").write_bytes("Zoë\n".encode("utf-16"))
    options = ("sample", "-m", model, "-l", "3", "--seed", "1", "--prime-file", tmp_path / "prime")
    assert here(*options, "--encoding", "utf-16").out.startswith("Zoë")
    assert "--encoding utf-16" in here(*options).error
    done = run("sample", "-m", model, "--each-line", "-l", "1", "--seed", "1", "--encoding", "latin-1",
               stdin=b"Zo\xeb\n")  # fmt: skip
    assert done.out.startswith("Zoë")
    unread = here("sample", "-m", model, "--prime", "Ann", "--encoding", "latin-1").error
    assert "--encoding latin-1" in unread
    assert "--prime-file" in unread
