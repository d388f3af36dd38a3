"""The views of this version, opened together over one journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_projections.rocks_store import RocksViewStore
from goclaw_projections.runner import ProjectionRunner
from goclaw_projections.runs import RunsProjection, RunsReader
from goclaw_projections.store import MemoryViewStore
from goclaw_projections.tasks import TasksProjection, TasksReader
from goclaw_projections.timeline import TimelineProjection, TimelineReader

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw_events.journal import Journal
    from goclaw_projections.projection import Projection
    from goclaw_projections.runner import RunnerSettings
    from goclaw_projections.store import ViewStore


def all_projections() -> list[Projection]:
    """Return every projection of this version, new ones."""
    return [RunsProjection(), TasksProjection(), TimelineProjection()]


class Views:
    """The readers of every view, and the runner that keeps their rows up to date."""

    def __init__(
        self, journal: Journal, store: ViewStore, settings: RunnerSettings | None = None
    ) -> None:
        self._store = store
        self.runner = ProjectionRunner(journal, store, all_projections(), settings)
        self.runs = RunsReader(store)
        self.tasks = TasksReader(store)
        self.timeline = TimelineReader(store)

    @classmethod
    def open(
        cls, journal: Journal, path: Path | None, settings: RunnerSettings | None = None
    ) -> Views:
        """Open the database at `path`, or views in memory where it is None."""
        return cls(journal, MemoryViewStore() if path is None else RocksViewStore(path), settings)

    def close(self) -> None:
        """Stop the runner's thread and close the database. Idempotent."""
        self.runner.stop()
        self._store.close()
