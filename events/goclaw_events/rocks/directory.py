"""Verify a data directory: its log, its watermark and the files of its blobs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from goclaw_events.errors import LogDamaged, LogMissing
from goclaw_events.rocks.journal import RocksJournal, log_exists
from goclaw_events.verify import Report, verify

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw_events.rocks.blobfiles import BlobFiles
    from goclaw_events.segments.shelf import Shelves

_NAME_LENGTH = 64
_CHUNK_BYTES = 1024 * 1024


def verify_directory(path: Path) -> Report:
    """Open a data directory that no engine holds and verify everything that its log consists of.

    Raises what is no damage: `LogMissing`, `EngineRunning`, `LogMismatch`, `JournalUnavailable`.
    """
    if not log_exists(path):
        msg = f"there is no log in {path}"
        raise LogMissing(msg, hint="name another --data-dir", path=str(path))
    try:
        journal = RocksJournal(path, trust_watermark=False, passing=True)
    except LogDamaged as error:
        report = Report()
        report.add_error(error, "log/")
        return report
    try:
        report = verify(journal)
        for fault in journal.watermark_faults():
            report.add_error(fault, "watermark")
        verify_segments(journal, report)
        verify_files(journal.blob_files, report)
    finally:
        journal.close()
    return report


class Archived(Protocol):
    """What keeps segments: a journal, or what is stored of one."""

    @property
    def shelves(self) -> Shelves:
        """Return the segments that are read from."""
        ...


def verify_segments(log: Archived, report: Report) -> None:
    """Read every block of every segment and compare it with what was sealed."""
    for partition in sorted(log.shelves.current):
        for reader in log.shelves.current[partition].readers:
            report.segments += 1
            try:
                reader.check()
            except LogDamaged as error:
                report.add_error(error, f"segments/{reader.info.name}")


def verify_files(files: BlobFiles, report: Report) -> None:
    """Compare every blob file with the hash that names it."""
    for name in files.names():
        if len(name) != _NAME_LENGTH:
            continue  # begun by a process that died: nothing refers to it
        digest = hashlib.sha256()
        try:
            with files.path_of(bytes.fromhex(name)).open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
        except (OSError, ValueError) as error:
            report.add(LogDamaged.code, f"blobs/{name[:2]}/{name}", str(error))
            continue
        report.blobs += 1
        if digest.hexdigest() != name:
            what = "a blob's file does not match its hash"
            report.add(LogDamaged.code, f"blobs/{name[:2]}/{name}", what)
