"""Room is asked for before anything is written, and what is in the way is told."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lstmgen import folders
from lstmgen.config import DEFAULT_MODEL_FOLDER, MODEL_VARIABLE
from lstmgen.errors import CheckpointError

TRIED_BY_NOBODY = """
import os, sys
from pathlib import Path
from lstmgen import folders
os.setuid(65534)
folders.require_replaceable(Path(sys.argv[1]))
"""


def test_room_is_asked_for_what_files_grow_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(bytes(10))
    (tmp_path / "b").write_bytes(bytes(500))
    filled = list[int]()
    monkeypatch.setattr(folders, "_fill", lambda path, size: filled.append(size))
    folders.reserve(tmp_path, {"a": 100, "b": 300, "c": 50})
    assert filled == [90, 50, 300]  # and the largest once more, beside its older self


def test_what_a_run_left_that_was_killed_as_it_wrote_takes_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [f".{name}.new" for name in folders.OWN]
    for name in ("a", *left, ".probe.2", ".probe.json", ".other.new"):
        (tmp_path / name).touch()
    seen = list[str]()
    monkeypatch.setattr(
        folders, "_fill", lambda path, size: seen.extend(one.name for one in tmp_path.iterdir())
    )
    folders.reserve(tmp_path, {"a": 0, "b": 0})
    assert sorted(seen) == [".other.new", ".probe.json", "a"]


@pytest.mark.parametrize(
    ("number", "way"),
    [
        (errno.ENOSPC, "make room there or choose another folder"),
        (errno.EDQUOT, "make room there or choose another folder"),
        (errno.EPERM, "; check the permissions or choose another folder"),
        (errno.EIO, "; choose another folder"),
    ],
)
def test_where_there_is_no_room_the_error_says_to_make_some(number: int, way: str) -> None:
    with pytest.raises(CheckpointError, match=way), folders.blaming_system(Path("x")):
        raise OSError(number, "why")


def test_of_a_model_that_cannot_be_read_another_model_is_advised() -> None:
    """And not a folder to write to: the model may be that of --init-from."""
    with pytest.raises(CheckpointError, match=r"cannot be used \(.+\); choose another model$"):
        folders.model_path("x" * 300)


def test_a_link_that_leads_nowhere_is_no_reason_to_take_the_built_in_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(MODEL_VARIABLE, raising=False)
    assert folders.find_model(None) == folders.BUILT_IN
    Path(DEFAULT_MODEL_FOLDER).symlink_to(tmp_path / "away")
    assert folders.find_model(None) == DEFAULT_MODEL_FOLDER


@pytest.mark.skipif(sys.platform != "linux", reason="others say first that it is no folder")
def test_a_file_that_cannot_be_removed_is_told_and_one_that_can_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    path, link = tmp_path / "file", tmp_path / "link"
    folders.require_replaceable(path)  # which is not there
    path.write_text("mine")
    link.symlink_to(tmp_path)  # a link is replaced, wherever it leads
    for one in (path, link):
        folders.require_replaceable(one)
        assert one.exists()
    monkeypatch.setattr(Path, "rmdir", refuse)
    with pytest.raises(CheckpointError, match=r"file: cannot be used \(Read-only file system\);"):
        folders.require_replaceable(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="takes another user")
def test_a_file_of_another_user_where_each_may_remove_his_own_is_told() -> None:
    with TemporaryDirectory() as name:
        Path(name).chmod(0o1777)
        theirs = Path(name) / "theirs"
        theirs.write_text("theirs")
        command = [sys.executable, "-c", TRIED_BY_NOBODY, str(theirs)]
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "theirs: cannot be used (Operation not permitted)" in tried.stderr
        assert theirs.read_text() == "theirs"


def test_room_is_taken_where_it_cannot_be_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    folders._fill(tmp_path / "probe", (2 << 20) + 5)
    assert (tmp_path / "probe").stat().st_size == (2 << 20) + 5
