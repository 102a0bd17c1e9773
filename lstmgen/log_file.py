"""Records of a run <-> the lines of its log, whatever a crash left of the last one."""

import json
import os
from collections.abc import Mapping
from operator import index
from pathlib import Path
from typing import Any

from lstmgen.errors import CheckpointError, OptionError, reason
from lstmgen.folders import LOG_FILE, blaming_system
from lstmgen.ranges import RANGES, Range

STEPS = Range(0, RANGES["--steps"].high)  # 0 is before the first


def append(folder: Path, record: Mapping[str, Any]) -> None:
    """Add one line to the log of a folder; a line that a crash cut short is closed first.

    `CheckpointError` where it cannot be written; no part of it is then left.
    """
    path, line = folder / LOG_FILE, json.dumps(record).encode() + b"\n"
    with blaming_system(path), path.open("ab+", buffering=0) as file:
        if end := file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = b"\n" + line
        try:
            while line:
                line = line[file.write(line) :]
        except OSError:  # of a disk that had room for a part
            file.truncate(end)
            raise


def require_writable(folder: Path) -> None:
    """`CheckpointError` where there is a log that cannot be gone on with."""
    path = folder / LOG_FILE
    with blaming_system(path):
        if path.exists():
            if not path.is_file():  # as a named pipe, which would have to be waited for
                raise CheckpointError(
                    f"{path}: this is no file; remove it, and the log begins anew"
                )
            path.open("ab").close()


def sync(folder: Path) -> None:
    """Make all of the log durable, if there is one; `CheckpointError` where that cannot be done."""
    path = folder / LOG_FILE
    with blaming_system(path):
        if path.exists():
            with path.open("ab") as file:
                os.fsync(file.fileno())


def read(folder: Path) -> list[dict[str, Any]]:
    """The records of a folder by rising step; where the run went back, without those that later ones replace.

    Raises `CheckpointError` where the file cannot be read or a line of it is not a record.
    """
    path = folder / LOG_FILE
    try:
        # A power cut can leave zeros where the end of the file was not on the disk yet.
        lines = [line.rstrip(b"\0") for line in path.read_bytes().split(b"\n")]
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read: {reason(error)}; check its permissions"
        ) from None
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            step = index(record["step"])
            STEPS.require("step", step)
            while records and records[-1]["step"] >= step:
                records.pop()
            records.append(record)
        except (ValueError, TypeError, KeyError, RecursionError, OptionError):
            # A crash can cut the line that is being written. It is the last one until the run is
            # resumed, which ends it, writes on below it and comes by the same step again.
            if line[:1] in (b"", b"{") and b"}" not in line:
                continue
            raise CheckpointError(
                f"{path}, line {number}: not a record of a training log; "
                "remove the line or restore a copy"
            ) from None
    return records
