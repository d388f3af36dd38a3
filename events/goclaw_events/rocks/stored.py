"""A log as it is stored, for reading alone: to verify it, and to save what can be saved of it.

Unlike the journal it does not mind where the log ends, what the watermark says, or damage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.chain import HINT_DAMAGED
from goclaw_events.errors import LogDamaged, LogMismatch
from goclaw_events.reading import after_prefix
from goclaw_events.rocks.blobfiles import BlobFiles
from goclaw_events.segments.baseline import find_baseline
from goclaw_events.segments.discovery import discover
from goclaw_events.segments.rows import ArchivedRows
from goclaw_events.segments.shelf import Shelves
from goclaw_events.tips import LOG_FORMAT, read_blob
from goclaw_events.value import BLOB_ROW_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from goclaw_events.reading import RowSource
    from goclaw_events.segments.baseline import BaselineReader
    from goclaw_events.value import BlobRef

LOG_DIRECTORY: Final = "log"
BLOB_DIRECTORY: Final = "blobs"
SEGMENT_DIRECTORY: Final = "segments"
WATERMARK_NAME: Final = "watermark"
COPY_NAME: Final = "log.copy"
"""A copy of a log that does not open, while it is tried what can be saved of it."""


class LogName(NamedTuple):
    """What a log is: its 16 bytes of name, and how many partitions it has."""

    log_id: bytes
    partitions: int


def read_name(source: RowSource, place: str) -> LogName:
    """Read what a log is; raises `LogMismatch` for another format, `LogDamaged`."""
    fields = [source.get("meta", key) for key in (b"format", b"log_id", b"partitions")]
    fmt, log_id, count = fields
    if fmt is None or log_id is None or count is None:
        msg = f"the log in {place} does not say what it is"
        raise LogDamaged(msg, hint=HINT_DAMAGED, table="meta")
    if int.from_bytes(fmt, "big") != LOG_FORMAT:
        msg = f"the log in {place} has format {int.from_bytes(fmt, 'big')}"
        raise LogMismatch(msg, hint=f"this version of Goclaw reads format {LOG_FORMAT}")
    return LogName(log_id, int.from_bytes(count, "big"))


class RocksLog:
    """Read a log out of its rows, its segments and its blob files, damaged or not.

    Where the rows that tell of segments are lost, the files themselves do. Raises `LogDamaged`
    where a segment is missing.
    """

    def __init__(self, tables: RowSource, data_dir: Path, name: LogName) -> None:
        self.log_id, self.partitions = name
        self.segments_path = data_dir / SEGMENT_DIRECTORY
        self.shelves = Shelves(self.segments_path, *name)
        self._find_segments(tables)
        self.tables = tables
        self.source = ArchivedRows(tables, self.shelves)
        self.blob_files = BlobFiles(data_dir / BLOB_DIRECTORY)

    def _find_segments(self, tables: RowSource) -> None:
        shelves = self.shelves
        self.segments_found: list[int] = []
        """The partitions whose segments only their files tell of."""
        try:
            shelves.load(tables)
        except LogDamaged:
            shelves.current = {}
        for partition in range(self.partitions):
            if partition not in shelves.current:
                shelf = discover(tables, shelves, partition)
                if shelf is not None:
                    shelves.replace(partition, shelf)
                    self.segments_found.append(partition)

    def rows(
        self, table: str, prefix: bytes = b"", stop: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) in order of key, for keys that begin with `prefix`, below `stop`."""
        end = after_prefix(prefix)
        return self.source.scan(table, prefix, end if stop is None else stop)

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return one row's value."""
        return self.source.get(table, key)

    def baseline(self, partition: int) -> BaselineReader | None:
        """Return what stands for the history that was given up (None: none was, or none knows)."""
        try:
            return find_baseline(self.segments_path, self.tables, partition)
        except LogDamaged:
            return None

    def blob(self, ref: BlobRef) -> bytes:
        """Return a blob's packed bytes, its hash compared; raises `BlobMissing`, `LogDamaged`."""
        if ref.size > BLOB_ROW_BYTES_MAX:
            return read_blob(ref, self.blob_files.get(ref.sha256))
        return read_blob(ref, self.source.get("blobs", ref.sha256))
