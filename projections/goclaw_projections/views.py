"""The views of this version, opened together over one journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_projections.collectors import CollectorsReader
from goclaw_projections.counts import CountsReader
from goclaw_projections.dead_letters import DeadReader
from goclaw_projections.durations import DurationsReader
from goclaw_projections.every import all_projections
from goclaw_projections.inbox import InboxReader
from goclaw_projections.lanes import LanesReader
from goclaw_projections.rocks_store import RocksViewStore
from goclaw_projections.runner import ProjectionRunner
from goclaw_projections.runs import RunsReader
from goclaw_projections.sagas import SagasReader
from goclaw_projections.schedules import SchedulesReader
from goclaw_projections.store import MemoryViewStore
from goclaw_projections.tasks import TasksReader
from goclaw_projections.timeline import TimelineReader
from goclaw_projections.workers import WorkersReader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from goclaw_events.envelope import Position
    from goclaw_events.journal import Journal
    from goclaw_projections.runner import RunnerSettings
    from goclaw_projections.store import ViewStore

MIN_POSITION_TIMEOUT_S: Final = 5.0


class Views:
    """The readers of every view, and the runner that keeps their rows up to date."""

    def __init__(
        self, journal: Journal, store: ViewStore, settings: RunnerSettings | None = None
    ) -> None:
        self._store = store
        self.runner = ProjectionRunner(journal, store, all_projections(), settings)
        self.runs = RunsReader(store)
        self.sagas = SagasReader(store)
        self.tasks = TasksReader(store)
        self.timeline = TimelineReader(store)
        self.lanes = LanesReader(store)
        self.counts = CountsReader(store)
        self.workers = WorkersReader(store)
        self.durations = DurationsReader(store)
        self.collectors = CollectorsReader(store)
        self.dead = DeadReader(store)
        self.schedules = SchedulesReader(store)
        self.inbox = InboxReader(store)

    @classmethod
    def open(
        cls, journal: Journal, path: Path | None, settings: RunnerSettings | None = None
    ) -> Views:
        """Open the database at `path`, or views in memory where it is None."""
        return cls(journal, MemoryViewStore() if path is None else RocksViewStore(path), settings)

    def at(
        self,
        min_position: Position | Mapping[int, int] | None,
        *names: str,
        timeout_s: float = MIN_POSITION_TIMEOUT_S,
    ) -> Views:
        """Return these views once they (only those of `names`, if any) know a position.

        A reader that is handed the position of a reply reads its own writes:
        `views.at(submitted.position).runs.get(run_id)`. None waits for nothing. Blocks; raises
        `ViewsBehind` after `timeout_s`, `ProjectionFailed`, `ProjectionUnknown`.
        """
        if min_position is not None:
            self.runner.wait_for(min_position, timeout_s, names or None)
        return self

    def close(self) -> None:
        """Stop the runner's thread and close the database. Idempotent."""
        self.runner.stop()
        self._store.close()
