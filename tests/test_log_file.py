"""Records of a run -> its log, and back, also where a crash cut one short."""

import errno
import json
import os
import re
import resource
from pathlib import Path
from typing import Any

import pytest

from lstmgen import folders, log_file
from lstmgen.errors import CheckpointError


def record(step: int, train: float = 2.0) -> dict[str, Any]:
    return {"step": step, "train_nats_per_token": train}


def test_log_is_one_record_a_line(tmp_path: Path) -> None:
    records = [{"step": 1, "name": "é\n"}, {"step": 2, "name": ""}]
    for one in records:
        log_file.append(tmp_path, one)
    lines = (tmp_path / folders.LOG_FILE).read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == records


def test_line_of_the_log_that_a_crash_cut_short_is_closed_first(tmp_path: Path) -> None:
    log = tmp_path / folders.LOG_FILE
    log.write_text('{"step": 1}\n{"step": 2, "na')
    log_file.append(tmp_path, {"step": 3})
    assert log.read_text() == '{"step": 1}\n{"step": 2, "na\n{"step": 3}\n'


@pytest.mark.parametrize("before", ['{"step": 1}\n', '{"step": 1}\n{"step": 2, "na', ""])
def test_a_line_that_there_is_room_for_in_part_is_taken_back(tmp_path: Path, before: str) -> None:
    log = tmp_path / folders.LOG_FILE
    log.write_text(before)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=re.escape(os.strerror(errno.EFBIG))):
            log_file.append(tmp_path, record(3))
        assert log.read_text() == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log_file.append(tmp_path, record(3))
    assert log_file.read(tmp_path)[-1] == record(3)


def test_sync_puts_the_log_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = list[int]()
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    log_file.sync(tmp_path)
    assert not synced  # as there is none
    log_file.append(tmp_path, record(1))
    log_file.sync(tmp_path)
    assert synced == [(tmp_path / folders.LOG_FILE).stat().st_ino]


def test_what_was_logged_is_read(tmp_path: Path) -> None:
    records = [record(step, 3.0 - step / 10) for step in range(1, 9)]
    for one in records:
        log_file.append(tmp_path, one)
    assert log_file.read(tmp_path) == records


def test_a_stretch_that_the_run_went_back_behind_is_not_drawn(tmp_path: Path) -> None:
    logged = [(10, 3.0), (20, 2.0), (40, 0.5), (20, 2.25), (30, 1.25)]
    for step, train in logged:
        log_file.append(tmp_path, record(step, train))
    read = log_file.read(tmp_path)
    assert read == [record(10, 3.0), record(20, 2.25), record(30, 1.25)]


def test_a_line_cut_by_a_crash_is_left_out_before_and_after_resuming(tmp_path: Path) -> None:
    path = tmp_path / folders.LOG_FILE
    whole, cut = (json.dumps(record(step, 2.0)).encode() for step in (10, 20))
    for length in range(len(cut)):
        path.write_bytes(whole + b"\n" + cut[:length])
        assert log_file.read(tmp_path) == [record(10, 2.0)], length
        log_file.append(tmp_path, record(20, 1.5))
        assert log_file.read(tmp_path) == [record(10, 2.0), record(20, 1.5)], length
    path.write_bytes(whole + b"\n" + cut)  # only the line end is missing
    assert log_file.read(tmp_path) == [record(10, 2.0), record(20, 2.0)]


@pytest.mark.parametrize("last", [b"", b"\n", b'\n{"step": 20, "tr', b'\n{"step": 15}'])
def test_zeros_that_a_power_cut_leaves_are_read_over(tmp_path: Path, last: bytes) -> None:
    path = tmp_path / folders.LOG_FILE
    path.write_bytes(json.dumps(record(10)).encode() + last + bytes(900))
    before = [record(10), *([{"step": 15}] if b"15" in last else [])]
    assert log_file.read(tmp_path) == before
    log_file.append(tmp_path, record(20))
    assert log_file.read(tmp_path) == [*before, record(20)]


@pytest.mark.parametrize(
    "line",
    [
        b"not JSON",
        b'{"step": 20, oops}',
        b"{'step': 20}",
        b'[{"step": 20}]',
        b"20",
        b'"step"',
        b"null",
        b'{"epoch": 1.5}',
        b'{"step": "20"}',
        b'{"step": 20.5}',
        b'{"step": -1}',
        b'{"step": 1' + b"0" * 400 + b"}",
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_any_other_broken_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "log.jsonl"
    whole = json.dumps(record(10, 2.0)).encode()
    path.write_bytes(b"\n".join([whole, line, whole, b""]))
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))}, line 2: "):
        log_file.read(tmp_path)


def test_a_log_that_cannot_be_gone_on_with_is_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_file.require_writable(tmp_path)
    log_file.append(tmp_path, record(10, 2.0))
    log_file.require_writable(tmp_path)
    really_open = Path.open

    def read_only(path: Path, mode: str = "r", *rest: Any) -> Any:
        if mode[0] != "r":  # as to anyone but root, who may write all
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return really_open(path, mode, *rest)

    monkeypatch.setattr(Path, "open", read_only)
    with pytest.raises(CheckpointError, match=r"log\.jsonl: cannot be used \(Permission denied\)"):
        log_file.require_writable(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_log_that_would_have_to_be_waited_for_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / folders.LOG_FILE)
    with pytest.raises(CheckpointError, match=r"log\.jsonl: this is no file; remove it"):
        log_file.require_writable(tmp_path)


def test_a_log_that_is_not_there_is_the_users_mistake(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        log_file.read(tmp_path)
    path.mkdir()
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        log_file.read(tmp_path)
