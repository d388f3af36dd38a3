"""Cut off what a power cut left of the last record, where that gives up nothing acknowledged.

RocksDB refuses a log whose write-ahead log ends in zeros, holes or garbage. What was not flushed
was not acknowledged; so the log may go on without it, if three things can be shown: nothing whole
stands behind the damage (`tail`), a copy without it opens, and that copy reaches the watermark,
its chain unbroken to its end. The bytes are set aside first: nothing is destroyed.
"""

from __future__ import annotations

import logging
import os
from contextlib import closing
from typing import TYPE_CHECKING, Final

from goclaw_events.errors import LogDamaged
from goclaw_events.reading import StoredLog
from goclaw_events.rocks.acknowledged import watermark_faults
from goclaw_events.rocks.failure import classify
from goclaw_events.rocks.probe import probe
from goclaw_events.rocks.salvage import copy_files, remove
from goclaw_events.rocks.store import RocksStore
from goclaw_events.rocks.stored import COPY_NAME, LOG_DIRECTORY, WATERMARK_NAME, read_name
from goclaw_events.rocks.tail import find_tail
from goclaw_events.watermark import read_watermark, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw_events.rocks.tail import Tail

TORN_NAME: Final = "log.torn"

_log = logging.getLogger(__name__)


def cut_tail(path: Path, refused: LogDamaged) -> bool:
    """Set aside what is torn at the end of the log in the data directory `path`.

    Returns whether it was; nothing was changed otherwise, and what RocksDB said (`refused`)
    stands. The lock of the directory is held. May be called again after a crash at any point.
    Raises `LogDamaged` where the damage has whole records behind it, `JournalFull`,
    `JournalBroken`.
    """
    directory = path / LOG_DIRECTORY
    try:
        tail = find_tail(directory)
        if tail is None:
            return False
        if tail.followed is not None:
            raise _flushed(tail)
        if not _opens_without(path, tail):
            return False
        kept = _set_aside(path, tail)
    except OSError as error:
        raise classify(error, f"looking for a torn tail in {directory}") from error
    _log.warning(
        "%s: the last %d bytes of %s were never acknowledged and are not whole (%s); kept as %s",
        path, tail.bytes, tail.path.name, refused.message, kept.name,
    )  # fmt: skip
    return True


def _flushed(tail: Tail) -> LogDamaged:
    name = tail.path.name
    msg = f"{name} is damaged from byte {tail.cut} on, with a whole record at {tail.followed}"
    hint = "what is damaged had been stored: restore a copy, or see `goclaw fsck`"
    return LogDamaged(msg, hint=hint, file=name, offset=tail.cut)


def _opens_without(path: Path, tail: Tail) -> bool:
    """Tell whether a copy without the tail opens and holds all that was acknowledged."""
    copy = path / COPY_NAME
    try:
        copy_files(path / LOG_DIRECTORY, copy)
        os.truncate(copy / tail.path.name, tail.cut)
        probe(copy)
        with closing(RocksStore(copy, create=False)) as store:
            log_id, partitions = read_name(store, str(path))
            log = StoredLog(store, log_id, partitions)
            heads = [log.head(partition) for partition in range(partitions)]
            for fault in watermark_faults(store, path / WATERMARK_NAME, log_id, heads):
                raise fault
            _follow_chains(path, log)
    except LogDamaged:
        return False
    finally:
        remove(copy)
    return True


def _follow_chains(path: Path, log: StoredLog) -> None:
    """Read every frame from the watermark on; raises `LogDamaged` where one is not whole."""
    marks = read_watermark(path / WATERMARK_NAME, log.log_id, log.partitions)
    if marks is None:
        msg = f"{path / WATERMARK_NAME} is missing: what was acknowledged is not known"
        raise LogDamaged(msg)
    for partition, mark in enumerate(marks):
        for _ in log.frames(partition, mark.number):
            pass


def _set_aside(path: Path, tail: Tail) -> Path:
    """Copy the tail beside the log, durably, and cut it off."""
    number = 1
    while any(path.glob(f"{TORN_NAME}.{number}.*")):
        number += 1
    kept = path / f"{TORN_NAME}.{number}.{tail.path.stem}.{tail.cut}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with tail.path.open("r+b") as wal:
        wal.seek(tail.cut)
        with os.fdopen(os.open(kept, flags, 0o600), "wb") as file:
            file.write(wal.read())
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path)
        wal.truncate(tail.cut)
        os.fsync(wal.fileno())
    return kept
