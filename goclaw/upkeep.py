"""The log of a data directory that no engine uses, opened to keep house in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from goclaw.cli.version import goclaw_version
from goclaw.datadir import DataDirectory
from goclaw.results import EngineDied
from goclaw.retention import housekeeping_of
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.env import Identity, SystemClock, new_boot
from goclaw_actors.executors.idle import IdleExecutor
from goclaw_actors.node import Node, NodeThread
from goclaw_actors.ports import Limits, Ports

if TYPE_CHECKING:
    from goclaw.config import Settings

STOP_S: Final = 60.0


class Upkeep:
    """Keep house in the place of an engine: its dispatchers stand by, nothing that waits goes on.

    Raises `NotFound` where there is no log, `EngineRunning` where one is in use, and what opening
    a log raises.
    """

    def __init__(self, settings: Settings) -> None:
        self.journal = DataDirectory(settings.data_dir).open_journal(passing=True)
        try:
            heads = (self.journal.head(p) for p in range(self.journal.partitions))
            self.clock = SystemClock(max(head.time_ns for head in heads))
            self._thread = NodeThread(self._died)
            node = Node(self._ports(), Limits(**settings.engine.model_dump()))
            node.stand_by()
        except BaseException:
            self.journal.close()
            raise
        self.house = housekeeping_of(self.journal, node, self._thread.post, settings)
        self.archiver = self.house.archiver
        self.expirer = self.house.expirer
        self._thread.start(node, self.clock.now_ns)

    def _ports(self) -> Ports:
        contents = StoredContents(self.journal)
        return Ports(
            self.journal,
            IdleExecutor(),
            self.clock,
            Identity(self.journal.log_id.hex()[:8], new_boot()),
            deciders(contents),
            goclaw_version(),
            self._thread.post,
            lambda _, __: None,
            lambda _, __: None,
            contents,
        )

    def _died(self, error: BaseException) -> None:
        self.archiver.stop(EngineDied(f"the dispatchers stopped: {error}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the dispatchers end, close the log."""
        self.archiver.stop()
        self._thread.stop(STOP_S)
        self.journal.close()
