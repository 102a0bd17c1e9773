"""Text in another encoding than it is said to be, or none at all, is told or refused with what may help."""

import bz2
import gzip
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest
from files import put

from lstmgen.corpus import lines, read
from lstmgen.errors import CorpusError


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
    with pytest.raises(CorpusError, match="are NUL; give a file that is text"):
        read(put(tmp_path, b"\0" * 400), "utf-32-le")


@pytest.mark.parametrize(("zeros", "refused"), [(50, False), (51, True)])
def test_a_quarter_of_zeros_is_let_pass_and_no_more(
    tmp_path: Path, zeros: int, refused: bool
) -> None:
    path = put(tmp_path, b"\0aa" * zeros + b"a" * (200 - 3 * zeros))
    if refused:
        with pytest.raises(CorpusError, match="more than a quarter of its characters are NUL"):
            read(path)
    else:
        assert read(path).text.count("\0") == zeros


def test_zeros_are_counted_alike_in_whole_texts_and_by_line(tmp_path: Path) -> None:
    story = b"I grew up in France, by the sea.\n" * 9
    few = put(tmp_path, b"a\0\n" + story)  # a third of the first line, and next to none of the text
    assert "".join(lines(few)) == read(few).text
    begins_empty = put(tmp_path, "\n".encode("utf-16-le") + story.decode().encode("utf-16-le"))
    for reading in (read, lambda path: list(lines(path))):
        with pytest.raises(CorpusError, match="UTF-16 were read as utf-8"):
            reading(begins_empty)


def test_truncated_utf16_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="utf-16"):
        read(put(tmp_path, "abc".encode("utf-16")[:-1]), "utf-16")
    cut = put(tmp_path, "abc".encode("utf-16-le")[:-1])  # which decodes as UTF-8
    with pytest.raises(CorpusError, match="it was cut, or is not UTF-16"):
        read(cut, "utf-16-le")
    with pytest.raises(CorpusError, match="name the right encoding"):
        list(lines(cut, "utf-16-le"))


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        ("naïve".encode("utf-16"), "give --encoding utf-16"),
        ("naïve".encode("utf-32"), "give --encoding utf-32"),
        ("ï".encode("utf-16-be") + b"\0a", "holds bytes of zero"),
        (b"\x7fELF\2\1\1\0\0\xff", "holds bytes of zero"),
        ("naïve".encode("latin-1"), "for example --encoding latin-1"),
        ("naïve “x”".encode("cp1252"), "for example --encoding cp1252"),
        ("naïve ".encode() * 11 + b"\xe9", "nearly all of the rest is: .* iconv -c -f utf-8"),
        (("есть" * 4).encode()[1:], "nearly all of the rest is"),  # as `tail -c` cuts
        ("中文字符中文字符中文字符".encode()[:-1], "nearly all of the rest is"),
        ("naïve ".encode() * 9 + b"\xe9", "for example --encoding latin-1"),
    ],
)
def test_bytes_that_are_not_utf_8_are_told_what_they_may_be(
    tmp_path: Path, raw: bytes, hint: str
) -> None:
    path = tmp_path / "odd"
    path.write_bytes(raw)
    with pytest.raises(CorpusError, match=hint):
        read(str(path))


@pytest.mark.parametrize(
    ("text", "encoding"), [("日本語\n", "iso2022_jp"), ("한국어 텍스트\n", "iso2022_kr")]
)
def test_seven_bits_that_turn_to_other_letters_are_doubted(
    tmp_path: Path, text: str, encoding: str
) -> None:
    path, notes = put(tmp_path, ("plain\n" + text).encode(encoding)), list[str]()
    assert read(path, encoding).notes == ()
    for other in ("utf-8", "latin-1", "ascii"):
        (note,) = read(path, other).notes
        assert f"sequences as {encoding} has them: give --encoding {encoding}" in note
    list(lines(path, "utf-8", notes.append))
    assert notes == [note]
    assert read(put(tmp_path, b"\x1b[1mbold\x1b[0m $B\n")).notes == ()  # of a terminal


@pytest.mark.parametrize("encoding", ["ascii", "utf-16", "utf-7"])
def test_a_text_in_utf_8_that_is_said_to_be_something_else_is_known(
    tmp_path: Path, encoding: str
) -> None:
    with pytest.raises(CorpusError, match="can be read as UTF-8: give --encoding utf-8, or leave"):
        read(put(tmp_path, "it’s ñ".encode()), encoding)


def test_the_encoding_that_has_failed_is_not_the_example(tmp_path: Path) -> None:
    path = put(tmp_path, "日本語 テスト ー".encode("shift_jis"))
    with pytest.raises(
        CorpusError, match="the right encoding, for example --encoding cp1252, or convert"
    ):
        read(path)
    for name in ("cp1252", "windows-1252"):
        with pytest.raises(CorpusError, match="name the right encoding, or convert the file"):
            read(path, name)


@pytest.mark.parametrize(
    ("encoding", "raw"), [("utf-32", "text\n".encode("utf-32")[:-1]), ("hz", b"te\xfft\n")]
)
def test_no_encoding_of_bytes_is_the_example_for_a_text_of_another_make(
    tmp_path: Path, encoding: str, raw: bytes
) -> None:
    path = put(tmp_path, raw)
    with pytest.raises(
        CorpusError, match=r"; name the right encoding, or convert the file with iconv$"
    ):
        read(path, encoding)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize(("text", "doubtful"), [("it’s", True), ("it's", False)])
def test_a_text_in_utf_8_that_is_read_by_the_byte_is_doubted(
    tmp_path: Path, encoding: str, text: str, doubtful: bool
) -> None:
    notes = read(put(tmp_path, text.encode()), encoding).notes
    told = f"can be read as UTF-8 too: leave out --encoding {encoding}, unless"
    assert [told in note for note in notes] == [True] * doubtful
    assert read(put(tmp_path, text.encode("cp1252")), "cp1252").notes == ()


@pytest.mark.parametrize("long", [False, True])
def test_lines_are_doubted_once_as_soon_as_there_are_enough(tmp_path: Path, long: bool) -> None:
    line, notes = "it’s" * (50 if long else 1) + "\n", list[str]()
    path = put(tmp_path, ("plain\n" + 3 * line).encode())
    found = lines(path, "latin-1", notes.append)
    next(found)
    assert notes == []
    next(found)
    assert len(notes) == long  # else at the end
    assert len(list(found)) == 2
    assert notes == list(read(path, "latin-1").notes)
    assert len(notes) == 1


def test_lines_are_doubted_by_all_of_them_not_by_their_odd_ones_alone(tmp_path: Path) -> None:
    notes, rule = list[str](), b"\x97" * 120 + b"\n"  # of dashes
    path = put(tmp_path, b"plain English\n" * 100 + rule)
    assert len(list(lines(path, "cp1252", notes.append))) == 101
    assert notes == list(read(path, "cp1252").notes) == []
    assert len(list(lines(path, "latin-1", notes.append))) == 101
    assert notes == list(read(path, "latin-1").notes)
    assert len(notes) == 1  # which Latin-1 has no dashes for


def packed(path: Path, kind: str) -> bytes:
    """A text in a file of some kind."""
    inside = path / "inside.txt"
    inside.write_text("I grew up in France.\n")
    file = path / "packed"
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.write(inside)
    elif kind == "gzip":
        file.write_bytes(gzip.compress(gzip.compress(inside.read_bytes())))
    elif kind.startswith("tar"):
        form = tarfile.GNU_FORMAT if kind == "tar of GNU" else tarfile.PAX_FORMAT
        with tarfile.open(file, "w:gz" if kind == "tar.gz" else "w", format=form) as archived:
            archived.add(inside)
    else:
        file.write_bytes({"xz": lzma, "bzip2": bz2}[kind].compress(inside.read_bytes()))
    return file.read_bytes()


@pytest.mark.parametrize("kind", ["zip", "tar", "tar of GNU", "tar.gz", "xz", "bzip2", "gzip"])
def test_a_file_that_holds_its_text_packed_is_called_by_its_name(tmp_path: Path, kind: str) -> None:
    path = put(tmp_path, packed(tmp_path, kind))
    told = f"{path}: this is .*{kind.removesuffix('.gz').removesuffix(' of GNU')}.*; unpack it"
    for encoding in ("utf-8", "latin-1"):  # in which some would be text
        with pytest.raises(CorpusError, match=f"(?i){told}"):
            read(path, encoding)
        with pytest.raises(CorpusError, match=f"(?i){told}"):
            list(lines(path, encoding))


@pytest.mark.parametrize(
    ("begin", "told"),
    [
        (b"%PDF-1.7\n", "a PDF file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "older Microsoft Office"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "7z"),
        (b"\x28\xb5\x2f\xfd\x04", "zstd"),
        (b"PAR1\x15\4", "Parquet"),
    ],
)
def test_a_file_that_is_no_plain_text_is_known_by_its_mark(
    tmp_path: Path, begin: bytes, told: str
) -> None:
    with pytest.raises(CorpusError, match=f"this is .*{told}.*; unpack it, or save it as plain"):
        read(put(tmp_path, begin + b" text" * 99))
    assert read(put(tmp_path, b"- " + begin, "later"), "latin-1").text  # elsewhere it is no mark


@pytest.mark.parametrize("order", ["le", "be"])
@pytest.mark.parametrize("text", ["Все люди рождаются свободными и равными. ", "ทุกคน เกิดมา มีอิสระ "])
def test_utf16_whose_bytes_are_ascii_is_known_by_where_its_zeros_stand(
    tmp_path: Path, text: str, order: str
) -> None:
    path = put(tmp_path, (text * 9).encode(f"utf-16-{order}"))
    for encoding in ("utf-8", "latin-1"):
        told = f"as if UTF-16 were read as {encoding}; give --encoding utf-16-{order}, or"
        for reading in (read, lambda path, encoding: list(lines(path, encoding))):
            with pytest.raises(CorpusError, match=told):
                reading(path, encoding)
    assert read(path, f"utf-16-{order}").notes == ()
    other = "be" if order == "le" else "le"
    (note,) = read(path, f"utf-16-{other}").notes
    assert f"other order: give --encoding utf-16-{order}" in note


@pytest.mark.parametrize("name", ["img-00{}.jpg", "img-000{}.jpg"])  # odd and even with its zero
def test_zeros_between_names_are_text(tmp_path: Path, name: str) -> None:
    names = "".join(name.format(i % 10) + "\0" for i in range(90))  # as `find -print0` gives them
    assert read(put(tmp_path, names.encode())).text == names


def test_zeros_between_blanks_are_text_where_they_stand_at_odd_and_even_places(
    tmp_path: Path,
) -> None:
    rows = "ab \0 cd\n" * 20
    assert read(put(tmp_path, f"{rows}x{rows}".encode())).text == f"{rows}x{rows}"


@pytest.mark.parametrize("order", ["le", "be"])
def test_utf16_in_short_lines_is_known_too(tmp_path: Path, order: str) -> None:
    path = put(tmp_path, ("Все люди рождаются.\n" * 50).encode(f"utf-16-{order}"))
    for reading in (read, lambda path: list(lines(path))):
        with pytest.raises(CorpusError, match=f"give --encoding utf-16-{order}, or"):
            reading(path)


@pytest.mark.parametrize("order", ["le", "be"])
def test_the_order_is_that_of_blanks_whatever_other_characters_have_a_zero(
    tmp_path: Path, order: str
) -> None:
    text = ("一最开㈀" * 30 + " \n") * 9  # of which each has its zero at the other place
    with pytest.raises(CorpusError, match=rf"UTF-16 \(--encoding utf-16-{order}\)"):
        read(put(tmp_path, (text + "éé").encode(f"utf-16-{order}")))


def test_a_word_that_ends_as_the_mark_of_tar_reads_is_text(tmp_path: Path) -> None:
    text = "a" * 254 + " ajustar las velas"
    assert text.encode()[257:262] == b"ustar"
    assert read(put(tmp_path, text.encode())).text == text


@pytest.mark.parametrize("order", ["le", "be"])
def test_the_order_of_bytes_is_told_where_it_can_be(tmp_path: Path, order: str) -> None:
    raw = ("à la fin de l’été\n" * 9).encode(f"utf-16-{order}")
    with pytest.raises(
        CorpusError, match=rf"so it is UTF-16 \(--encoding utf-16-{order}\), or not"
    ):
        read(put(tmp_path, raw))
    later = put(tmp_path, ("a\n" + "à la fin de l’été " * 9).encode("utf-16-le"))
    with pytest.raises(CorpusError, match=r"line 2 .* so it is UTF-16 or UTF-32"):
        list(lines(later))
    half = put(tmp_path, "\ud83d".encode("utf-16-le", "surrogatepass"))
    with pytest.raises(CorpusError, match="utf-16-be or utf-16-le for another order of bytes"):
        read(half, "utf-16-le")
    with pytest.raises(
        CorpusError, match="an odd number of bytes, so it was cut, or is not UTF-16"
    ):
        read(put(tmp_path, raw[:-1]), f"utf-16-{order}")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("Все люди рождаются ", "cp1251"), ("人人生而自由 ", "gb18030"), ("모든 사람은 ", "euc_kr")],
)
def test_texts_of_other_letters_are_not_guessed_to_be_western(
    tmp_path: Path, text: str, encoding: str
) -> None:
    path = put(tmp_path, (text * 20).encode(encoding))
    with pytest.raises(CorpusError, match=r"name the right encoding, as cp1251 or .* for Russian"):
        read(path)
    for western in ("latin-1", "cp1252"):
        try:
            (note,) = read(path, western).notes
        except CorpusError:  # as a few bytes are nothing in cp1252
            assert (western, encoding) == ("cp1252", "gb18030")
        else:
            assert (
                "hardly one of its letters is Latin: try another --encoding, as cp1251 or" in note
            )
    assert read(path, encoding).notes == ()


@pytest.mark.parametrize(("digits", "told"), [(1, True), (3, False)])
def test_a_third_of_letters_beyond_ascii_is_more_than_latin_letters_have(
    tmp_path: Path, digits: int, told: bool
) -> None:
    path = put(tmp_path, ("да" + "1 " * digits).encode("cp1251") * 30)
    assert [("is Latin" in note) for note in read(path, "cp1252").notes] == [True] * told


def test_a_text_in_utf_8_that_is_read_as_utf_16_is_doubted(tmp_path: Path) -> None:
    (note,) = read(put(tmp_path, b"even bytes"), "utf-16").notes
    assert "can be read as UTF-8 too: leave out --encoding utf-16" in note
    assert read(put(tmp_path, "naïve".encode("utf-7")), "utf-7").notes == ()


def test_an_encoding_of_seven_bits_that_fails_is_not_told_to_be_utf_8(tmp_path: Path) -> None:
    path = put(tmp_path, "①".encode("iso2022_jp_2004"))
    with pytest.raises(CorpusError, match="name the right encoding"):
        read(path, "iso2022_jp")
