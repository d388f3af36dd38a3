"""The data directory: what stands where, and how its log is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from goclaw.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw_events.rocks import RocksJournal


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Name the parts of a data directory. Making one touches nothing."""

    path: Path

    @property
    def log(self) -> Path:
        """Return where RocksDB keeps frames and rows."""
        return self.path / "log"

    @property
    def blobs(self) -> Path:
        """Return where large blobs are files."""
        return self.path / "blobs"

    @property
    def watermark(self) -> Path:
        """Return the file that says what was acknowledged."""
        return self.path / "watermark"

    @property
    def lock(self) -> Path:
        """Return the file whose lock the one engine holds."""
        return self.path / "lock"

    @property
    def views(self) -> Path:
        """Return the database of the projections; it may be deleted at any time."""
        return self.path / "views"

    @property
    def processes(self) -> Path:
        """Return where the process groups of a running engine are written down."""
        return self.path / "processes"

    @property
    def segments(self) -> Path:
        """Return where archived parts of the log stand."""
        return self.path / "segments"

    @property
    def logs(self) -> Path:
        """Return where the program's own log files stand."""
        return self.path / "logs"

    @property
    def exists(self) -> bool:
        """Tell whether a log is there."""
        return (self.log / "CURRENT").exists()

    def open_journal(
        self, *, create: bool = False, partitions: int | None = None, read_only: bool = False
    ) -> RocksJournal:
        """Open the log, or create it.

        `read_only` takes a log that the watermark shows to be damaged too, and no frame.
        Raises `NotFound` where there is none and none is to be created, and what `RocksJournal`
        raises: `EngineRunning`, `LogMismatch`, `LogDamaged`, `LogBehindWatermark`.
        """
        from goclaw_events.rocks import RocksJournal

        if not create:
            self.require()
        return RocksJournal(
            self.path, create=create, partitions=partitions, trust_watermark=not read_only
        )

    def require(self) -> None:
        """Raise `NotFound` unless a log is there."""
        if not self.exists:
            msg = f"there is no log in {self.path}"
            hint = "name its directory with --data-dir or GOCLAW_DATA_DIR, or run a workflow first"
            raise NotFound(msg, hint=hint, path=str(self.path))
