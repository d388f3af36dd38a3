"""When nothing of an engine goes on any more, unless time passes or somebody says something.

Work goes in a circle: from the dispatchers to executors, and with their outcomes back. So the
dispatchers are looked at, then the executors and what is on the way back, then the dispatchers
again: where they had nothing to do both times, and recorded nothing between, nothing was anywhere.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from goclaw.errors import EngineClosed
from goclaw.waiting import resolve
from goclaw_events.tables import timer_of, u16

if TYPE_CHECKING:
    from goclaw.bridge import Bridge
    from goclaw.parts import Parts
    from goclaw.testing.world import VirtualWorld

LOOK_EVERY_S: Final = 0.0005
ALIVE_S: Final = 0.05
_BUSY: Final[tuple[int, ...]] = ()


class Stillness:
    """Look at the parts of an engine, from its loop."""

    def __init__(self, parts: Parts, bridge: Bridge, world: VirtualWorld) -> None:
        self._parts = parts
        self._bridge = bridge
        self._world = world

    async def reached(self) -> None:
        """Return once nothing goes on: seen twice, so that whoever was just answered had a turn."""
        seen = 0
        while seen < 2:  # noqa: PLR2004 - as it says
            seen = seen + 1 if await self._is_there() else 0
            await asyncio.sleep(0 if seen else LOOK_EVERY_S)

    async def _is_there(self) -> bool:
        before = await self._recorded()
        if before is _BUSY or self._executors_stir():
            return False
        return await self._recorded() == before

    def _executors_stir(self) -> bool:
        parts, time = self._parts, self._world.time
        acted = sum(kind.called for kind in self._world.acted)
        if time.stirs() or parts.executor.stirring(time.resting_threads()) != acted:
            return True
        return not parts.handover.is_empty

    async def _recorded(self) -> tuple[int, ...]:
        """Return how far each partition is, once the dispatchers have done what was posted."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._parts.thread.post(self._look, future)
        while not future.done():
            await asyncio.wait({future}, timeout=ALIVE_S)
            if not self._parts.thread.works:
                raise EngineClosed("the engine was stopped", hint="open it again")
        found: tuple[int, ...] = future.result()
        return found

    def _look(self, future: asyncio.Future[Any]) -> None:
        """Look, on the dispatchers' thread."""
        journal, node = self._parts.journal, self._parts.node
        found = _BUSY
        due_ns = self._timer_ns()
        if node.idle and (due_ns is None or due_ns > self._world.time.now_ns()):
            found = tuple(journal.head(p).number for p in range(journal.partitions))
        self._bridge.post(resolve, future, found)

    def next_ns(self) -> int | None:
        """Return when time lets something go on; None: it never does."""
        due = [self._timer_ns(), self._world.time.next_ns()]
        return min((due_ns for due_ns in due if due_ns is not None), default=None)

    def _timer_ns(self) -> int | None:
        """Return when the first timer of the log is due."""
        journal = self._parts.journal
        first = (next(journal.rows("timers", u16(p)), None) for p in range(journal.partitions))
        return min((timer_of(row[0]).due_ns for row in first if row is not None), default=None)
