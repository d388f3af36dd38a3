"""The world of an engine for tests: virtual time, and a log that outlives its process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from goclaw.testing.kinds import ScriptedKind
from goclaw.testing.time import VirtualTime
from goclaw.world import World
from goclaw_events.memory_journal import MemoryJournal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from goclaw.config import Settings
    from goclaw.testing.script import Acting
    from goclaw_actors.env import Clock
    from goclaw_actors.executors.kind import KindFactory
    from goclaw_actors.executors.run import Shared
    from goclaw_events.journal import Journal

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class VirtualWorld(World):
    """One clock for everything, and one log in memory after the other."""

    time: VirtualTime

    def __init__(self, begin: datetime, acting: Acting) -> None:
        self.acted: list[ScriptedKind] = []
        """What does as scripts say, in the process that is."""
        self._acting = acting
        self.time = VirtualTime((begin - _EPOCH) // timedelta(microseconds=1) * 1_000)
        self._journal: MemoryJournal | None = None

    def now(self) -> datetime:
        """Return the virtual time, UTC."""
        return _EPOCH + timedelta(microseconds=self.time.now_ns() // 1_000)

    def clock(self, least_ns: int, on_jump: Callable[[float], None]) -> Clock:
        """Return the clock of the dispatchers."""
        del on_jump
        self.time.move_to(least_ns)
        return self.time

    def kinds(self, kinds: Mapping[str, KindFactory]) -> Mapping[str, KindFactory]:
        """Return what runs work that is no agent: by the script of its task, if there is one."""
        return {kind: partial(self._scripted, kind, make) for kind, make in kinds.items()}

    def _scripted(self, kind: str, make: KindFactory, shared: Shared) -> ScriptedKind:
        found = ScriptedKind(kind, make(shared), shared, self._acting)
        self.acted.append(found)
        return found

    def memory(self, settings: Settings) -> Journal:
        """Return the log."""
        if self._journal is None:
            self._journal = MemoryJournal(partitions=settings.partitions)
        return self._journal

    def copied(self) -> MemoryJournal | None:
        """Return the log as it is recorded by now, for another process; None: there is none."""
        return None if self._journal is None else self._journal.copy()

    def begin_again(self, journal: MemoryJournal | None) -> None:
        """Give the next process its log, and the time that it is."""
        self._journal = journal
        self.acted = []
        self.time = VirtualTime(self.time.now_ns())
