"""A log as it is stored, for reading alone: to verify it, and to save what can be saved of it.

Unlike the journal it does not mind where the log ends, what the watermark says, or damage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.chain import HINT_DAMAGED
from goclaw_events.errors import LogDamaged, LogMismatch
from goclaw_events.reading import after_prefix
from goclaw_events.rocks.blobfiles import BlobFiles
from goclaw_events.tips import LOG_FORMAT, read_blob
from goclaw_events.value import BLOB_ROW_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from goclaw_events.reading import RowSource
    from goclaw_events.value import BlobRef

LOG_DIRECTORY: Final = "log"
BLOB_DIRECTORY: Final = "blobs"
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
    """Read a log out of its rows and its blob files, damaged or not."""

    def __init__(self, source: RowSource, data_dir: Path, name: LogName) -> None:
        self.source = source
        self.log_id, self.partitions = name
        self.blob_files = BlobFiles(data_dir / BLOB_DIRECTORY)

    def rows(
        self, table: str, prefix: bytes = b"", stop: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) in order of key, for keys that begin with `prefix`, below `stop`."""
        end = after_prefix(prefix)
        return self.source.scan(table, prefix, end if stop is None else stop)

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return one row's value."""
        return self.source.get(table, key)

    def blob(self, ref: BlobRef) -> bytes:
        """Return a blob's packed bytes, its hash compared; raises `BlobMissing`, `LogDamaged`."""
        if ref.size > BLOB_ROW_BYTES_MAX:
            return read_blob(ref, self.blob_files.get(ref.sha256))
        return read_blob(ref, self.source.get("blobs", ref.sha256))
