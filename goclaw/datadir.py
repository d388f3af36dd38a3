"""The data directory: what stands where, and how its log is opened."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from goclaw.errors import NotFound
from goclaw_events.errors import DirectoryBusy

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw_events.rocks import RocksJournal


BUSY_S: Final = 10.0
"""Two commands that are no engines cannot have a log open at once: one waits so long."""
PAUSE_S: Final = 0.05


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
        self,
        *,
        create: bool = False,
        partitions: int | None = None,
        read_only: bool = False,
        passing: bool = False,
    ) -> RocksJournal:
        """Open the log, or create it; wait up to `BUSY_S` for commands that have it open.

        `read_only` takes a log that the watermark shows to be damaged too, and no frame.
        `passing`: by a command that is no engine; so is every reader. Raises `NotFound` where
        there is none and none is to be created, and what `RocksJournal` raises:
        `EngineRunning`, `DirectoryBusy`, `LogMismatch`, `LogDamaged`, `LogBehindWatermark`.
        """
        from goclaw_events.rocks import RocksJournal

        if not create:
            self.require()
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                return RocksJournal(
                    self.path,
                    create=create,
                    partitions=partitions,
                    trust_watermark=not read_only,
                    passing=passing or read_only,
                )
            except DirectoryBusy:
                if time.monotonic() > deadline:
                    raise
            time.sleep(PAUSE_S)

    def require(self) -> None:
        """Raise `NotFound` unless a log is there."""
        if not self.exists:
            msg = f"there is no log in {self.path}"
            hint = "name its directory with --data-dir or GOCLAW_DATA_DIR, or run a workflow first"
            raise NotFound(msg, hint=hint, path=str(self.path))
