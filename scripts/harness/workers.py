"""The agents of the programs: they pass numbers on, and write what they do into the ledger."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from goclaw.agents import agent, register_builtins
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_actors.executors.errors import Fail
from goclaw_actors.executors.stepping import step_key
from scripts.harness.programs import MODULUS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from goclaw_actors.executors.context import TaskContext
    from scripts.harness.ledger import Ledger


RETRY: Final = {"attempts": 4, "initial": "2ms"}
"""Of tasks that flake three times at most."""
FOREVER: Final = 1 << 60
"""The generation in which a task is mended that never is."""


class Flake(Exception):
    """A failure that another attempt mends."""


class _Work:
    """One attempt: what comes before its pause, and what after."""

    def __init__(self, ledger: Ledger, ctx: TaskContext) -> None:
        self._ledger = ledger
        self._ctx = ctx
        self._params = ctx.params
        self.half_s = self._params["pause_ms"] / 2000
        self._sleep_s = self._params.get("sleep_s", 0.0)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Write begin and end of the attempt, however it ends."""
        key, attempt = self._ctx.idempotency_key, self._ctx.attempt
        self._ledger.write("begin", key, attempt, self._params["lane"])
        try:
            yield
        finally:
            self._ledger.write("end", key, attempt)

    async def steps(self) -> None:
        """Do the tree of durable steps, what stands side by side at once, and sleep after it."""
        if "steps" in self._params:
            await self._step(*self._params["steps"])
        if self._sleep_s:
            await self._ctx.sleep(self._sleep_s)

    async def _step(self, name: str, counter: str, amount: int, below: list[Any]) -> None:
        await self._ctx.step("add", self._add, counter, amount, key=name)
        await asyncio.gather(*(self._step(*step) for step in below))

    def steps_in_thread(self) -> None:
        """Do the same in a thread, one after the other."""
        waiting = [self._params["steps"]] if "steps" in self._params else []
        while waiting:
            name, counter, amount, below = waiting.pop()
            self._ctx.step("add", self._add, counter, amount, key=name)
            waiting += below
        if self._sleep_s:
            self._ctx.sleep(self._sleep_s)

    def _add(self, counter: str, amount: int) -> int:
        key = step_key()
        self._ledger.write("effect", key, self._ctx.attempt, [counter, amount, key])
        return amount

    def work(self, spawned: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        """Fail if the attempt is to fail; otherwise have the effect, and return the result."""
        ctx, params = self._ctx, self._params
        key, attempt = ctx.idempotency_key, ctx.attempt
        mended = int(key.rpartition("/")[2]) >= params.get("mended_in", FOREVER)
        doom = None if mended else params.get("doom")
        if doom == "final":
            raise Fail("it was to fail", code="planned")
        if doom or self._ledger.flakes(key, attempt, params.get("flakes", 0)):
            raise Flake(key)
        known = [value["total"] for value in (*params["upstream"], *spawned) if value]
        total = (params["amount"] + sum(known)) % MODULUS
        item = f"{ctx.run_id}/{ctx.task_id}"
        self._ledger.write("effect", key, attempt, [params["counter"], total, item])
        return {"total": total, "ballast": "x" * params.get("ballast", 0)}


def agents_on(ledger: Ledger) -> AgentRegistry:
    """Return the agents: one coroutine, one for threads."""
    registry = AgentRegistry()
    register_builtins(registry)

    @agent("harness.soft", registry=registry)
    async def soft(ctx: TaskContext) -> dict[str, Any]:
        work = _Work(ledger, ctx)
        with work.recorded():
            await asyncio.sleep(work.half_s)
            await work.steps()
            result = work.work()
            await asyncio.sleep(work.half_s)
            return result

    @agent("harness.hard", registry=registry)
    def hard(ctx: TaskContext) -> dict[str, Any]:
        work = _Work(ledger, ctx)
        with work.recorded():
            ctx.sleep(work.half_s)
            work.steps_in_thread()
            result = work.work()
            ctx.sleep(work.half_s)
            return result

    @agent("harness.spawner", registry=registry)
    async def spawner(ctx: TaskContext) -> dict[str, Any]:
        spawned = [
            await ctx.spawn("harness.soft", params, key=key, retry=RETRY)
            for key, params in ctx.params["spawns"].items()
        ]
        work = _Work(ledger, ctx)
        with work.recorded():
            found = await asyncio.gather(*(each.result() for each in spawned))
            return work.work(found)

    return registry
