"""How an engine is opened, dies and is stopped: its parts, its threads, and who waits for it."""

from __future__ import annotations

import asyncio
import os
import time
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from goclaw.agents import REGISTRY
from goclaw.bridge import Bridge
from goclaw.config import Settings
from goclaw.engine_status import status_of
from goclaw.errors import EngineClosed, EngineOwned
from goclaw.parts import MEMORY, Parts
from goclaw.results import EngineDied
from goclaw.submission import Preparer
from goclaw.waiting import Waiting
from goclaw.world import World
from goclaw_actors.errors import Stopping
from goclaw_events.ids import plain_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from goclaw.wire.listener import Listener
    from goclaw_actors.decider import RunBegun, RunEnded, SelectMembers
    from goclaw_actors.executors.agents import AgentRegistry
    from goclaw_events.envelope import Position


log = getLogger(__name__)


class EngineLife:
    """Open the parts of an engine on a loop, and close them; `Engine` says what they do."""

    _world = World()

    def __init__(
        self,
        data_dir: str | Path | None = None,
        *,
        settings: Settings | None = None,
        agents: AgentRegistry = REGISTRY,
        idle: bool = False,
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        chosen = self.settings.data_dir if data_dir is None else data_dir
        self._data_dir = None if chosen == MEMORY else Path(chosen)
        self._agents = agents
        self._idle = idle
        self._on_stop = on_stop
        self._preparer = Preparer()
        self._parts: Parts | None = None
        self._bridge: Bridge | None = None
        self.listener: Listener | None = None
        self._waiting = Waiting()
        self._stopping = False
        self._started_ns = 0
        self._death: BaseException | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def idle(self) -> bool:
        """Tell whether it takes commands and begins nothing."""
        return self._idle

    async def start(self) -> None:
        """Open the log, and go on with whatever is unfinished."""
        self._bridge = Bridge(asyncio.get_running_loop())
        self._parts = await asyncio.to_thread(self._open)
        self._started_ns = time.time_ns()

    def _open(self) -> Parts:
        parts = Parts(
            self._data_dir,
            self.settings,
            self._agents,
            self._run_ended,
            self._died,
            self._reopened,
            self._search,
            idle=self._idle,
            world=self._world,
        )
        try:
            parts.start()
        except BaseException:
            parts.close()
            raise
        return parts

    async def stop(self) -> None:
        """Take nothing more, stop what runs, write what is decided, close the log.

        What was stopped half way is lost with this process and starts again at the next start.
        """
        if self._parts is None or self._stopping:
            return
        self._stopping = True
        try:
            await asyncio.to_thread(self._parts.rest)
        finally:
            self._waiting.fail(EngineClosed("the engine was stopped", hint="open it again"))
            self._parts.views.runner.release()
            if self.listener is not None:
                await self.listener.close()
            await self._rested()
            await asyncio.to_thread(self._parts.close)
        self._parts = None

    async def _rested(self) -> None:
        """End what reads the log, before it is closed."""

    def _open_parts(self) -> Parts:
        if self._death is not None:
            msg = f"the engine stopped: {self._death}"
            raise EngineDied(msg, hint="see the log of the process, then start it again")
        if self._stopping:
            msg = "the engine is stopping"
            raise Stopping(msg, hint="submit to the next one")
        if self._parts is None:
            msg = "the engine is not open"
            raise EngineClosed(msg, hint="use `async with goclaw.Engine(...)`")
        return self._parts

    @property
    def parts(self) -> Parts:
        """Return what the open engine is made of: for measuring and for tests."""
        return self._open_parts()

    @property
    def bridge(self) -> Bridge:
        """Return the way from the engine's threads to its loop."""
        assert self._bridge is not None, "an open engine has a bridge"
        return self._bridge

    @property
    def state(self) -> str:
        """Return `running`, `stopping` or `failed`; `closed` before and after."""
        if self._parts is None:
            return "closed"
        if self._death is not None:
            return "failed"
        return "stopping" if self._stopping else "running"

    def status(self) -> dict[str, Any]:
        """Return how the engine is, as plain data; while it stops, too."""
        return status_of(self, self._parts or self._open_parts(), self._started_ns)

    def ask_to_stop(self) -> None:
        """Tell whoever opened the engine to stop it; raises `EngineOwned` if nobody listens."""
        if self._on_stop is None:
            msg = f"the engine in process {os.getpid()} belongs to a program that stops it itself"
            raise EngineOwned(msg, hint="stop that program")
        self._on_stop()

    # -- the engine's threads ----------------------------------------------------------------

    def _run_ended(self, ended: RunEnded, position: Position) -> None:
        if ended.status == "compensation_failed":
            log.error(
                "compensations of saga %s failed: somebody has to look", plain_id(ended.run_id)
            )
        if self._waiting.wants(ended.run_id) and self._bridge is not None:
            self._bridge.post(self._waiting.tell, ended, position)

    def _search(self, search: RunBegun | SelectMembers) -> None:
        """Hear, on the dispatchers' thread, of what may concern collectors."""

    def _reopened(self) -> None:
        if self._bridge is not None:
            self._bridge.post(self._look_again)

    def _look_again(self) -> None:
        if self._parts is not None:
            self._waiting.look_again(self._parts)

    def _died(self, error: BaseException) -> None:
        self._death = error
        if self._on_stop is not None and self._bridge is not None:
            self._bridge.post(self._on_stop)
        if self._bridge is not None:
            text = f"the engine stopped: {error}"
            self._bridge.post(self._waiting.fail, EngineDied(text, hint="start it again"))
