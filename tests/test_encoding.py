"""Bytes become text by their encoding, or a refusal that says what may help: at once, and by line."""

import codecs
import sys
from pathlib import Path

import pytest
from files import lines_of, put

from lstmgen import encoding as encoding_module
from lstmgen.corpus import lines, read
from lstmgen.errors import CorpusError, OptionError


def test_byte_that_does_not_decode_is_named_with_file_offset_and_fix(tmp_path: Path) -> None:
    path = put(tmp_path, b"x" * 1233 + b"\xe9t\xe9")
    with pytest.raises(CorpusError) as caught:
        read(path)
    for part in (path, "byte 0xe9 at offset 1,233", "utf-8", "--encoding latin-1"):
        assert part in str(caught.value)


@pytest.mark.parametrize("encoding", ["klingon", "base64", "rot13", "", "a\0b", "ütf", "\udcff"])
def test_encoding_that_is_none_is_refused_by_name(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(OptionError, match="--encoding"):
        read(put(tmp_path, b"text\n"), encoding)


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-8"]
)
def test_text_is_the_same_in_any_encoding_that_is_named(tmp_path: Path, encoding: str) -> None:
    assert read(put(tmp_path, "naïve\ncafé\n".encode(encoding)), encoding).text == "naïve\ncafé\n"


@pytest.mark.parametrize("part", [2, encoding_module.PART])
def test_lone_surrogates_that_a_codec_makes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(encoding_module, "PART", part)
    made = "half a surrogate pair, which unicode_escape made of it, is no text; "
    with pytest.raises(CorpusError, match=made):
        read(put(tmp_path, rb"a \ud800 b"), "unicode_escape")
    found = lines(put(tmp_path, b"one\n\\ud800\n\\x is broken\n"), "unicode_escape")
    assert next(found) == "one\n"
    with pytest.raises(CorpusError, match=r"line 2 of .* is not unicode_escape"):
        next(found)


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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_lines_that_end_by_cr_are_read_and_counted_as_all_others(
    tmp_path: Path, encoding: str
) -> None:
    wrong = b"\xff" if "8" in encoding else b"\x00\xdc"
    for good in ("one\rtwo\r", "one\r\ntwo\n", "one\rtwo\n"):
        found = lines(put(tmp_path, good.encode(encoding) + wrong + b"\r"), encoding)
        assert [next(found), next(found)] == ["one\n", "two\n"]
        with pytest.raises(CorpusError, match=rf"line 3 of .* is not {encoding}"):
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
    with pytest.raises(CorpusError, match=r"line 3 of .*lines\.txt: byte 0xff at offset 0"):
        next(found)


@pytest.mark.parametrize("encoding", ["klingon", "base64", "undefined", "\udcff", "a\0b"])
def test_lines_in_no_encoding_are_refused(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(OptionError, match="is not a text encoding that Python knows"):
        lines_of(tmp_path, b"one\n", encoding)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_line_of_many_pieces_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(encoding_module, "PART", 5)
    text = "ein\n" + "naïve café " * 20 + end
    found = lines_of(tmp_path, text.encode("utf-16"), "utf-16")
    assert found == text.splitlines(keepends=True)


class Odd(bytes):
    """Bytes that a codec refuses without saying which, as some do."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        if encoding == "punycode":
            raise UnicodeError("no place")
        return super().decode(encoding, errors)


def test_what_a_codec_says_without_a_place_is_passed_on() -> None:
    with pytest.raises(CorpusError, match=r"^name: not punycode \(no place\); "):
        encoding_module.decoded("name", Odd(b"x"), "punycode")


def test_a_part_that_a_codec_refuses_without_a_place_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*about: object) -> str:
        raise UnicodeError("no place")

    monkeypatch.setattr(codecs.lookup("utf-16-le").incrementaldecoder, "decode", refuse)
    with pytest.raises(CorpusError, match=r"not utf-16-le \(no place\); "):
        list(lines(put(tmp_path, "a\n".encode("utf-16-le")), "utf-16-le"))
