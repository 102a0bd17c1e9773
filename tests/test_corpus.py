"""Files and standard input become one clean text, or a refusal that names file and byte."""

import codecs
import gzip
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from files import lines_of, put
from hypothesis import given
from hypothesis import strategies as st

from lstmgen.corpus import Text, is_sorted, is_waiting, lines, read, read_all, read_each, split
from lstmgen.errors import CorpusError


def test_plain_text_is_read_as_it_is_without_notes(tmp_path: Path) -> None:
    path = put(tmp_path, "Grüße,\n\tworld \x0b\x00\u2028 end".encode())
    assert read(path) == Text(path, "Grüße,\n\tworld \x0b\x00\u2028 end", ())


def test_byte_order_mark_is_dropped_and_noted_once(tmp_path: Path) -> None:
    path = put(tmp_path, codecs.BOM_UTF8 + "a\ufeffb".encode())
    text = read(path)
    assert text.text == "a\ufeffb"  # one inside the text is text
    assert len(text.notes) == 1
    assert path in text.notes[0]
    assert "byte order mark" in text.notes[0]


def test_crlf_and_cr_become_lf_and_are_noted_once(tmp_path: Path) -> None:
    path = put(tmp_path, b"a\r\nb\rc\nd\r\n\r\n")
    text = read(path)
    assert text.text == "a\nb\nc\nd\n\n"
    assert len(text.notes) == 1
    assert path in text.notes[0]


@pytest.mark.parametrize("name", ["file.txt", "file.gz"])
def test_gzip_is_known_by_content_whatever_the_name(tmp_path: Path, name: str) -> None:
    assert read(put(tmp_path, gzip.compress(b"packed\n", mtime=0), name)).text == "packed\n"


def test_plain_text_named_gz_is_read_as_text(tmp_path: Path) -> None:
    assert read(put(tmp_path, b"not packed\n", "file.gz")).text == "not packed\n"


def test_gzip_of_several_members_is_read_whole(tmp_path: Path) -> None:
    path = put(tmp_path, gzip.compress(b"one\n", mtime=0) + gzip.compress(b"two\n"))
    assert read(path).text == "one\ntwo\n"


def test_damaged_gzip_is_refused_by_name(tmp_path: Path) -> None:
    whole = gzip.compress(bytes(range(97, 123)) * 40, mtime=0)
    cut_short = [whole[:size] for size in range(2, len(whole))]
    flipped = [  # anywhere after the header, which holds the time of packing and such
        whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
        for place in range(10, len(whole))
    ]
    for content in cut_short + flipped:
        path = put(tmp_path, content)
        with pytest.raises(CorpusError, match=r"file\.txt: damaged gzip data"):
            read(path)


@pytest.mark.parametrize("content", [b"", codecs.BOM_UTF8, gzip.compress(b"", mtime=0)])
def test_file_without_text_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = put(tmp_path, content)
    with pytest.raises(CorpusError, match=r"file\.txt: there is no text"):
        read(path)


def test_folder_is_refused_with_what_to_give_instead(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="this is a folder; name a file in it"):
        read(str(tmp_path))


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"nowhere\.txt: there is no such file"):
        read(str(tmp_path / "nowhere.txt"))


@pytest.mark.parametrize("odd", ["under/file", "nul\0byte", "x" * 300])
def test_path_that_cannot_be_one_is_refused(tmp_path: Path, odd: str) -> None:
    put(tmp_path, b"a file\n", "under")
    with pytest.raises(CorpusError, match="cannot be read: "):
        read(str(tmp_path / odd))


def test_standard_input_that_does_not_wait_is_made_to(tmp_path: Path) -> None:
    """As other programs may leave it, which share a terminal or a pipe."""
    code = "import os, sys; os.set_blocking(0, False); from lstmgen import corpus; "
    code += "print(len(corpus.read('-').text))"
    command = (
        f"(sleep 0.5; printf one; sleep 0.5; printf two) | {sys.executable} -c {shlex.quote(code)}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    assert done.stdout == b"6\n"


def test_standard_input_that_cannot_be_told_to_wait_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on Windows, where a file cannot."""

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "set_blocking", refuse)
    with Path(put(tmp_path, b"one\n")).open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert read("-").text == "one\n"


def test_offset_in_packed_text_is_that_of_the_unpacked(tmp_path: Path) -> None:
    path = put(tmp_path, gzip.compress(b"x" * 5000 + b"\xff"))
    with pytest.raises(CorpusError, match="0xff at offset 5,000"):
        read(path)


def test_dash_reads_standard_input_as_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Path(put(tmp_path, gzip.compress("Ünï\r\n".encode()))).open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        text = read("-")
    assert (text.name, text.text) == ("standard input", "Ünï\n")


def test_trouble_with_standard_input_is_told_by_that_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Path(put(tmp_path, b"ab\xff")).open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        with pytest.raises(CorpusError, match="standard input: byte 0xff at offset 2"):
            read("-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CorpusError, match="standard input is closed"):
        read("-")
    with pytest.raises(CorpusError, match="standard input is closed"):
        next(lines("-"))
    assert not is_waiting()


def test_every_file_but_the_last_is_looked_at_for_its_line_end(tmp_path: Path) -> None:
    names = "abcd"
    paths = [put(tmp_path, name.encode(), name) for name in names]
    told = f"goes on in their last line: 3 of 4, {paths[0]} first"
    assert read_all(paths).notes[0].endswith(told)


def test_several_files_are_joined_with_nothing_between(tmp_path: Path) -> None:
    paths = [
        put(tmp_path, b"one", "a"),
        put(tmp_path, b" more\r\n", "b"),
        put(tmp_path, b"\n", "c"),
    ]
    text = read_all(paths)
    assert text.text == "one more\n\n"
    assert text.name == f"3 files, {paths[0]} to {paths[2]}"
    assert text.notes == (
        f"{paths[1]}: made CRLF and CR line ends into LF",
        f"files that do not end with a line end, so that the next one goes on in their last line: 1 of 3, "
        f"{paths[0]} first",
    )
    assert not read_all(paths[2:]).notes
    assert not read_all([paths[1], paths[0]]).notes[1:]  # the last one has none to go on in


def test_some_of_several_files_may_be_empty(tmp_path: Path) -> None:
    empty, other = put(tmp_path, b"", "a"), put(tmp_path, b"text", "b")
    text = read_all([empty, other, empty])
    assert text.text == "text"
    assert text.notes == (f"files without text, which are left out: 2 of 3, {empty} first",)
    with pytest.raises(CorpusError, match=r"2 files, .*: there is no text in it"):
        read_all([empty, empty])


@pytest.mark.parametrize(
    ("raw", "encoding", "odd"),
    [
        ("it’s".encode("cp1252"), "latin-1", True),
        ("it’s".encode("cp1252"), "cp1252", False),
        ("é\x85".encode("latin-1"), "latin-1", False),  # a line end of old
        ("it’s é".encode(), "utf-8", False),
        ("it\x92s é".encode(), "utf-8", False),  # made wrong before, and no longer of Windows
    ],
)
def test_letters_of_windows_that_are_read_as_latin_1_are_noted(
    raw: bytes, encoding: str, odd: bool, tmp_path: Path
) -> None:
    notes = read(put(tmp_path, raw), encoding).notes
    assert [("give --encoding cp1252" in note) for note in notes] == [True] * odd


def test_texts_of_their_own_are_those_that_there_are(tmp_path: Path) -> None:
    empty, first, last = (put(tmp_path, raw, raw.decode() or "none") for raw in (b"", b"a", b"b"))
    texts, notes = read_each([first, empty, last])
    assert [text.text for text in texts] == ["a", "b"]
    assert notes == [f"files without text, which are left out: 1 of 3, {empty} first"]
    with pytest.raises(CorpusError, match=rf"^{empty}: there is no text in it"):
        read_each([empty])


def test_encoding_holds_for_every_file(tmp_path: Path) -> None:
    paths = [put(tmp_path, b"\xe9", "a"), put(tmp_path, b"\xe8", "b")]
    assert read_all(paths, "latin-1").text == "éè"


@given(st.text(max_size=200), st.floats(1e-9, 1 - 1e-9))
def test_split_keeps_all_and_the_tail_is_the_share_asked_for(text: str, fraction: float) -> None:
    train, valid = split(text, fraction)
    assert train + valid == text
    assert abs(len(valid) - fraction * len(text)) <= 1


def test_digest_is_sha256_of_the_text_and_not_of_name_or_notes(tmp_path: Path) -> None:
    one = read(put(tmp_path, "é\nb\n".encode(), "one"))
    two = read(put(tmp_path, codecs.BOM_UTF8 + "é\r\nb\r\n".encode(), "two"))
    # printf 'é\nb\n' | sha256sum
    expected = "76403721986c91f6de39cb8facbc68251d28ef6213151b380321d05dab2e6c0c"
    assert one.digest == two.digest == expected
    assert one != two


def test_digest_tells_texts_apart() -> None:
    assert Text("x", "a\n").digest != Text("x", "b\n").digest


def test_digest_is_the_same_however_many_characters_are_taken_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = Text("x", "Zoë – 1\n" * 3)
    monkeypatch.setattr("lstmgen.corpus.PART", 4)
    assert text.digest == sha256(text.text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", []),
        (b"one", ["one"]),
        (b"one\n\n  two\n", ["one\n", "\n", "  two\n"]),
        (b"one\r\ntwo\rthree\n", ["one\n", "two\n", "three\n"]),
        (b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n", ["one\n", "\ufefftwo\n"]),
        ("a\u2028b\x0bc\x85d\n".encode(), ["a\u2028b\x0bc\x85d\n"]),
        (gzip.compress(b"one\ntwo", mtime=0), ["one\n", "two"]),
    ],
)
def test_lines_come_with_their_ends(tmp_path: Path, raw: bytes, expected: list[str]) -> None:
    assert lines_of(tmp_path, raw) == expected


def test_what_is_changed_in_lines_is_told_once(tmp_path: Path) -> None:
    path, notes = put(tmp_path, b"\xef\xbb\xbfone\r\ntwo\rthree\r\n"), list[str]()
    assert list(lines(path, tell=notes.append)) == ["one\n", "two\n", "three\n"]
    assert notes == list(read(path).notes)
    assert len(notes) == 2


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
def test_the_lines_joined_are_the_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("lines")
    raw = text.encode()
    found = lines_of(folder, raw)
    assert all(line.count("\n") == 1 and line.endswith("\n") for line in found[:-1])
    if found:
        assert "".join(found) == read(str(folder / "lines.txt")).text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig", "utf-32-be"])
def test_lines_are_there_as_soon_as_they_come(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    encode = codecs.getincrementalencoder(encoding)().encode
    with ThreadPoolExecutor(1) as pool:
        found = lines(str(path), encoding)
        first = pool.submit(next, found)
        with path.open("wb", buffering=0) as file:
            file.write(encode("é\nzw"))
            assert first.result(30) == "é\n"
            file.write(encode("ei\n"))
        assert list(found) == ["zwei\n"]


@pytest.mark.parametrize(
    ("raw", "encoding"),
    [
        (gzip.compress("zwei é\n".encode(), mtime=0), "utf-8"),
        ("zwei é\n".encode("utf-16"), "utf-16"),
        (codecs.BOM_UTF16_BE + "zwei é\n".encode("utf-16-be"), "utf-16"),
        ("zwei é\n".encode("utf-32"), "utf-32"),
        (b"\x1f\n", "utf-8"),
        (b"\x1f", "utf-8"),
    ],
)
def test_a_mark_that_a_pipe_brings_in_parts_is_seen(
    tmp_path: Path, raw: bytes, encoding: str
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(list, lines(str(path), encoding))
        with path.open("wb", buffering=0) as file:
            for byte in raw:
                file.write(bytes([byte]))
                time.sleep(0.02)
        assert found.result(30) == [raw.decode() if raw[:2] in (b"\x1f\n", b"\x1f") else "zwei é\n"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.mkdir(), "this is a folder"),
        (lambda path: path.write_bytes(gzip.compress(b"one\n" * 99)[:-9]), "damaged gzip"),
    ],
)
def test_lines_that_cannot_be_read_are_refused(
    tmp_path: Path, make: Callable[[Path], object], said: str
) -> None:
    make(tmp_path / "x")
    with pytest.raises(CorpusError, match=said):
        list(lines(str(tmp_path / "x")))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_nothing_has_no_lines_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "empty.txt"
    path.write_bytes(b"")
    assert list(lines(str(path), encoding)) == []


def test_a_sorted_list_is_known_from_a_text() -> None:
    names = [f"{a}{b}\n" for a in "abcdefghijklmnop" for b in "aeiouyz"]
    assert is_sorted("".join(names))
    assert is_sorted("".join(names[50:] + names[:50]))
    assert is_sorted("".join(2 * name for name in names))
    assert is_sorted("".join(2 * f"{name}\n" for name in names))  # with empty lines between
    assert not is_sorted("".join(names[:20]))  # too few to tell
    assert not is_sorted("".join(names[::-1]))
    assert not is_sorted("".join(names[::2] + names[1::2][::-1]))
    assert not is_sorted("a\n" * 200)
