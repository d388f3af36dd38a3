"""What questions are answered from: a log, its views, and how to hear of more of it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from goclaw.catalogue import CatalogueReader
from goclaw.datadir import DataDirectory
from goclaw.explaining import Stored
from goclaw.run_archive import RunArchive
from goclaw_events.envelope import Position, numbers
from goclaw_events.value import unpack
from goclaw_projections.runner import RunnerSettings
from goclaw_projections.subscription import Tail
from goclaw_projections.views import Views

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw.bridge import Bridge
    from goclaw.config import Settings
    from goclaw.explaining import Explainer
    from goclaw.outputs import Outputs
    from goclaw.parts import Parts
    from goclaw_events.journal import Journal
    from goclaw_events.value import BlobRef, Value

NOW: Final = "now"
"""As a position to wait for: all that is durable when the question comes."""
VIEWS_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Ground:
    """A log and its views, open. `bridge` None: nobody writes it, so nothing more will come."""

    journal: Journal
    views: Views
    tail: Tail
    catalogue: CatalogueReader
    settings: Settings
    bridge: Bridge | None = None
    explainer: Explainer | None = None
    outputs: Outputs | None = None

    @property
    def runs(self) -> RunArchive:
        """Return the reader of runs."""
        return RunArchive(self.journal, self.views)

    @property
    def explains(self) -> Explainer:
        """Return who says why something waits: the engine, or the log where none runs."""
        return self.explainer or Stored(self.journal)

    def load(self, ref: BlobRef) -> Value:
        """Return the whole value under a reference's hash."""
        return unpack(self.journal.blob(ref))

    def wait_for(self, min_position: str | None, timeout_s: float = VIEWS_S) -> None:
        """Return once the views have folded a position (`NOW`: what is durable now; None: any).

        Raises `ViewsBehind` after `timeout_s`, `InvalidPosition`, `ProjectionFailed`.
        """
        if min_position == NOW:
            self.views.runner.wait_for(numbers(self.tail.end()), timeout_s)
        elif min_position is not None:
            self.views.runner.wait_for(Position.parse(min_position), timeout_s)


def ground_of(parts: Parts, bridge: Bridge | None) -> Ground:
    """Return what an open engine answers from."""
    return Ground(
        parts.journal,
        parts.views,
        parts.tail,
        parts.catalogue,
        parts.settings,
        bridge,
        parts.explainer,
        parts.outputs,
    )


@contextmanager
def opened_ground(settings: Settings, *, log_only: bool = False) -> Iterator[Ground]:
    """Open a data directory that no engine is using, and close it again.

    `log_only` leaves its views alone, and refuses a log that is damaged. Raises `NotFound` where
    there is no log, `EngineRunning` or `DirectoryBusy` where it is in use.
    """
    directory = DataDirectory(settings.data_dir)
    journal = directory.open_journal(read_only=not log_only, passing=True)
    try:
        limits = RunnerSettings(**settings.views.model_dump())
        views = Views.open(journal, None if log_only else directory.views, limits)
        try:
            yield Ground(journal, views, Tail(journal), CatalogueReader(journal), settings)
        finally:
            views.close()
    finally:
        journal.close()
