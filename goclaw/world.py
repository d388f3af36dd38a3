"""What an engine takes of the world around it; the kit for tests (`goclaw.testing`) has another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_actors.env import SystemClock
from goclaw_actors.executors.passing import REAL_TIME
from goclaw_events.memory_journal import MemoryJournal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from goclaw.config import Settings
    from goclaw_actors.env import Clock
    from goclaw_actors.executors.kind import KindFactory
    from goclaw_actors.executors.passing import PassingTime
    from goclaw_events.journal import Journal


class World:
    """The clocks of this machine, and a new log for an engine that keeps nothing."""

    time: PassingTime = REAL_TIME
    """How it passes for agents."""

    def clock(self, least_ns: int, on_jump: Callable[[float], None]) -> Clock:
        """Return the clock of the dispatchers; it never tells less than `least_ns`."""
        return SystemClock(least_ns, on_jump=on_jump)

    def kinds(self, kinds: Mapping[str, KindFactory]) -> Mapping[str, KindFactory]:
        """Return what runs work that is no agent, by kind."""
        return kinds

    def memory(self, settings: Settings) -> Journal:
        """Return a log in memory."""
        return MemoryJournal(partitions=settings.partitions)
