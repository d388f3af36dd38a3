"""The agents of the journeys: they take effects and undo them, and write that into the ledger."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from goclaw.agents import agent
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_actors.executors.errors import Fail
from scripts.harness.journeys import GHOST_S
from scripts.harness.workers import Flake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_actors.executors.context import TaskContext
    from scripts.harness.ledger import Ledger

FOREVER_S: Final = 3600.0


class _Work:
    """One attempt of an action, or of a compensation."""

    def __init__(self, ledger: Ledger, ctx: TaskContext) -> None:
        self._ledger = ledger
        self._key, self._attempt = ctx.idempotency_key, ctx.attempt
        self._params = ctx.params
        self.pause_s = self._params["pause_ms"] / 1000
        self.way = self._params.get("way", "")

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Write begin and end of the attempt, however it ends; some fail on purpose, before."""
        self._ledger.write("begin", self._key, self._attempt, self._params["lane"])
        try:
            if self._ledger.flakes(self._key, self._attempt, self._params.get("flakes", 0)):
                raise Flake(self._key)
            yield
        finally:
            self._ledger.write("end", self._key, self._attempt)

    def act(self) -> dict[str, Any]:
        """Take effect, unless this is the step that fails."""
        if self.way == "fails":
            raise Fail("it was to fail", code="planned")
        params = self._params
        what = [params["counter"], params["amount"], self._key]
        self._ledger.write("effect", self._key, self._attempt, what)
        return {"key": self._key}

    def undo(self) -> None:
        """Undo what stands under a key."""
        what = [self._params["key"], self._params["in_doubt"]]
        self._ledger.write("undo", self._key, self._attempt, what)


def journey_agents(ledger: Ledger) -> AgentRegistry:
    """Return the agents: of each a coroutine, and one for threads."""
    registry = AgentRegistry()

    @agent("journey.act.soft", registry=registry)
    async def act_soft(ctx: TaskContext) -> dict[str, Any]:
        work = _Work(ledger, ctx)
        with work.recorded():
            await asyncio.sleep(work.pause_s)
            result = work.act()
            await asyncio.sleep(FOREVER_S if work.way == "hangs" else work.pause_s)
            return result

    @agent("journey.act.hard", registry=registry)
    def act_hard(ctx: TaskContext) -> dict[str, Any]:
        work = _Work(ledger, ctx)
        with work.recorded():
            if work.way == "ghost":
                time.sleep(GHOST_S)  # nothing stops this: it is given up, and goes on
            else:
                ctx.sleep(work.pause_s)
            result = work.act()
            ctx.sleep(FOREVER_S if work.way == "hangs" else work.pause_s)
            return result

    @agent("journey.undo.soft", registry=registry)
    async def undo_soft(ctx: TaskContext) -> None:
        work = _Work(ledger, ctx)
        with work.recorded():
            await asyncio.sleep(work.pause_s)
            work.undo()

    @agent("journey.undo.hard", registry=registry)
    def undo_hard(ctx: TaskContext) -> None:
        work = _Work(ledger, ctx)
        with work.recorded():
            work.undo()
            ctx.sleep(work.pause_s)

    return registry
