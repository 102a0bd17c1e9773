"""Files and standard input become one clean text, or a refusal that names file and byte."""

import codecs
import gzip
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmgen import corpus
from lstmgen.corpus import Text, is_sorted, lines, read, read_all, split
from lstmgen.errors import CorpusError, OptionError


def put(folder: Path, content: bytes, name: str = "file.txt") -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


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
    with pytest.raises(CorpusError, match=r"this is a folder.*/\*"):
        read(str(tmp_path))


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"nowhere\.txt: there is no such file"):
        read(str(tmp_path / "nowhere.txt"))


@pytest.mark.parametrize("odd", ["under/file", "nul\0byte", "x" * 300])
def test_path_that_cannot_be_one_is_refused(tmp_path: Path, odd: str) -> None:
    put(tmp_path, b"a file\n", "under")
    with pytest.raises(CorpusError, match="cannot be read: "):
        read(str(tmp_path / odd))


def test_byte_that_does_not_decode_is_named_with_file_offset_and_fix(tmp_path: Path) -> None:
    path = put(tmp_path, b"x" * 1233 + b"\xe9t\xe9")
    with pytest.raises(CorpusError) as caught:
        read(path)
    for part in (path, "byte 0xe9 at byte 1,233", "utf-8", "--encoding latin-1"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "taken_for"),
    [
        ("utf-16-le", "utf-8"),
        ("utf-16-be", "utf-8"),
        ("utf-32-le", "latin-1"),
        ("utf-32-le", "utf-8"),
        ("utf-32-be", "latin-1"),
        ("utf-32-le", "utf-16-le"),
        ("utf-32-be", "utf-16-be"),
    ],
)
def test_utf16_or_utf32_without_a_mark_is_not_taken_for_text_with_zeros(
    tmp_path: Path, encoding: str, taken_for: str
) -> None:
    text = "Я вырос во Франции.\n" if "32" in encoding else "I grew up in France.\n"
    path, name = put(tmp_path, text.encode(encoding)), encoding[:6]
    told = (
        f"as if {name.upper()} were read as {taken_for}; give --encoding {name}-le or {name}-be, "
    )
    with pytest.raises(CorpusError, match=told):
        read(path, taken_for)
    with pytest.raises(CorpusError, match=told):
        list(lines(path, taken_for))
    assert read(path, encoding).text == text
    assert read(put(tmp_path, b"a few \0\0 are text\n")).text == "a few \0\0 are text\n"


def test_nothing_but_zeros_is_no_text_however_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="are zeros; give a file that is text"):
        read(put(tmp_path, b"\0" * 400), "utf-32-le")


def test_zeros_are_counted_alike_in_whole_texts_and_by_line(tmp_path: Path) -> None:
    story = b"I grew up in France, by the sea.\n" * 9
    few = put(tmp_path, b"a\0\n" + story)  # a third of the first line, and next to none of the text
    assert "".join(lines(few)) == read(few).text
    begins_empty = put(tmp_path, "\n".encode("utf-16-le") + story.decode().encode("utf-16-le"))
    for reading in (read, lambda path: list(lines(path))):
        with pytest.raises(CorpusError, match="UTF-16 were read as utf-8"):
            reading(begins_empty)


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
    with pytest.raises(CorpusError, match="0xff at byte 5,000"):
        read(path)


@pytest.mark.parametrize("encoding", ["klingon", "base64", "rot13", "", "a\0b", "ütf", "\udcff"])
def test_encoding_that_is_none_is_refused_by_name(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(OptionError, match="--encoding"):
        read(put(tmp_path, b"text\n"), encoding)


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-8"]
)
def test_text_is_the_same_in_any_encoding_that_is_named(tmp_path: Path, encoding: str) -> None:
    assert read(put(tmp_path, "naïve\ncafé\n".encode(encoding)), encoding).text == "naïve\ncafé\n"


def test_truncated_utf16_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="utf-16"):
        read(put(tmp_path, "abc".encode("utf-16")[:-1]), "utf-16")


def test_lone_surrogates_that_a_codec_makes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="unicode_escape"):
        read(put(tmp_path, rb"a \ud800 b"), "unicode_escape")
    found = lines(put(tmp_path, b"one\n\\ud800\n\\x is broken\n"), "unicode_escape")
    assert next(found) == "one\n"
    with pytest.raises(CorpusError, match=r"line 2 of .* is not unicode_escape"):
        next(found)


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
        with pytest.raises(CorpusError, match="standard input: byte 0xff at byte 2"):
            read("-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CorpusError, match="standard input is closed"):
        read("-")
    with pytest.raises(CorpusError, match="standard input is closed"):
        next(lines("-"))


def test_several_files_are_joined_as_cat_joins_them(tmp_path: Path) -> None:
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
        f"files without a line end at their end, in whose last line the next one goes on: 1 of 3, {paths[0]} "
        "first",
    )
    assert not read_all(paths[2:]).notes
    assert not read_all([paths[1], paths[0]]).notes[1:]  # the last one has none to go on in


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


def lines_of(tmp_path: Path, raw: bytes, encoding: str = "utf-8") -> list[str]:
    path = tmp_path / "lines.txt"
    path.write_bytes(raw)
    return list(lines(str(path), encoding))


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


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
def test_the_lines_joined_are_the_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("lines")
    raw = text.encode()
    found = lines_of(folder, raw)
    assert all(line.count("\n") == 1 and line.endswith("\n") for line in found[:-1])
    if found:
        assert "".join(found) == read(str(folder / "lines.txt")).text


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig"])
def test_lines_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    assert lines_of(tmp_path, "é\nzwei\n".encode(encoding), encoding) == ["é\n", "zwei\n"]


@pytest.mark.parametrize("encoding", ["iso2022_kr", "ISO-2022-KR", "hz", "iso2022_jp"])
def test_lines_in_an_encoding_that_carries_something_from_line_to_line(
    tmp_path: Path, encoding: str
) -> None:
    text = "가나\nabc\n바다\n" if "kr" in encoding.lower() else "中国\nabc\n日本\n"
    raw = text.encode(encoding)
    if encoding == "hz":
        text, raw = text + "abcdef\n", raw + b"abc~\ndef\n"
    assert lines_of(tmp_path, raw, encoding) == text.splitlines(keepends=True)
    for wrong in ("가" if "kr" in encoding.lower() else "中").encode(encoding)[:-1], b"\xff":
        path = put(tmp_path, raw + b"abc\n" + wrong + b"\xff\n")
        found = lines(path, encoding)
        assert [next(found) for _ in range(text.count("\n") + 1)][-1] == "abc\n"
        with pytest.raises(CorpusError, match=f"is not {encoding}"):
            next(found)


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


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16", "utf-8-sig", "UTF 8 SIG"])
@pytest.mark.parametrize("length", [1, 5000])
def test_lines_of_any_encoding_before_a_wrong_one_are_read(
    tmp_path: Path, encoding: str, length: int
) -> None:
    path = tmp_path / "lines.txt"
    good = ["one\n", "é" * length + "\n", "three\n"]
    wrong = b"\xff" if "8" in encoding else b"\x00\xdc"  # half of a pair
    path.write_bytes("".join(good).encode(encoding) + wrong + "\nfour\n".encode("utf-16-le"))
    found = lines(str(path), encoding)
    assert [next(found) for _ in good] == good
    with pytest.raises(CorpusError, match=r"line 4 of .*lines\.txt.* is not utf-"):
        next(found)


def test_lines_before_one_that_makes_no_text_are_read(tmp_path: Path) -> None:
    found = lines(put(tmp_path, rb"one\ntwo \ud800\n"), "unicode_escape")
    assert next(found) == "one\n"
    with pytest.raises(CorpusError, match=r"line 2 of .* is not unicode_escape"):
        next(found)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_without_a_mark_bytes_are_in_the_order_of_the_machine(
    tmp_path: Path, encoding: str
) -> None:
    native = f"{encoding}-{'le' if sys.byteorder == 'little' else 'be'}"
    path = put(tmp_path, "é\nzwei".encode(native))
    assert list(lines(path, encoding)) == ["é\n", "zwei"]
    assert read(path, encoding).text == "é\nzwei"


def test_a_line_that_does_not_decode_is_named_after_those_before_it(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(b"one\ntwo\n\xff\nfour\n")
    found = lines(str(path))
    assert [next(found), next(found)] == ["one\n", "two\n"]
    with pytest.raises(CorpusError, match=r"line 3 of .*lines\.txt: byte 0xff at byte 0"):
        next(found)


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


@pytest.mark.parametrize("encoding", ["klingon", "base64", "undefined", "\udcff", "a\0b"])
def test_lines_in_no_encoding_are_refused(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(OptionError, match="is not a text encoding that Python knows"):
        lines_of(tmp_path, b"one\n", encoding)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_line_of_many_pieces_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(corpus, "SOME", 5)
    text = "ein\n" + "naïve café " * 20 + end
    found = lines_of(tmp_path, text.encode("utf-16"), "utf-16")
    assert found == text.splitlines(keepends=True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_nothing_has_no_lines_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "empty.txt"
    path.write_bytes(b"")
    assert list(lines(str(path), encoding)) == []


def test_a_sorted_list_is_known_from_a_text() -> None:
    names = [f"{a}{b}\n" for a in "abcdefghijklmnop" for b in "aeiouyz"]
    assert is_sorted("".join(names))
    assert is_sorted("".join(names[50:] + names[:50]))
    assert not is_sorted("".join(names[:20]))  # too few to tell
    assert not is_sorted("".join(names[::-1]))
    assert not is_sorted("".join(names[::2] + names[1::2][::-1]))
    assert not is_sorted("a\n" * 200)


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        ("naïve".encode("utf-16"), "give --encoding utf-16"),
        ("naïve".encode("utf-32"), "give --encoding utf-32"),
        ("ï".encode("utf-16-be") + b"\0a", "holds bytes of zero"),
        (b"\x7fELF\2\1\1\0\0\xff", "holds bytes of zero"),
        ("naïve".encode("latin-1"), "for example --encoding latin-1"),
    ],
)
def test_bytes_that_are_not_utf_8_are_told_what_they_may_be(
    tmp_path: Path, raw: bytes, hint: str
) -> None:
    path = tmp_path / "odd"
    path.write_bytes(raw)
    with pytest.raises(CorpusError, match=hint):
        read(str(path))
