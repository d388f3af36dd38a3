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
    from collections.abc import Iterator

    from goclaw_actors.executors.context import TaskContext
    from scripts.harness.ledger import Ledger


SLEEP_S: Final = 0.02
"""Longer than the child lets an agent keep its slot."""


class Flake(Exception):
    """A failure that another attempt mends."""


class _Work:
    """One attempt: what comes before its pause, and what after."""

    def __init__(self, ledger: Ledger, ctx: TaskContext) -> None:
        self._ledger = ledger
        self._ctx = ctx
        self._params = ctx.params
        self.half_s = self._params["pause_ms"] / 2000

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
            if self._params["sleep"]:
                await self._ctx.sleep(SLEEP_S)

    async def _step(self, name: str, counter: str, amount: int, below: list[Any]) -> None:
        await self._ctx.step("add", self._add, counter, amount, key=name)
        await asyncio.gather(*(self._step(*step) for step in below))

    def steps_in_thread(self) -> None:
        """Do the same in a thread, one after the other."""
        waiting = [self._params["steps"]] if "steps" in self._params else []
        sleeps = bool(waiting) and self._params["sleep"]
        while waiting:
            name, counter, amount, below = waiting.pop()
            self._ctx.step("add", self._add, counter, amount, key=name)
            waiting += below
        if sleeps:
            self._ctx.sleep(SLEEP_S)

    def _add(self, counter: str, amount: int) -> int:
        key = step_key()
        self._ledger.write("effect", key, self._ctx.attempt, [counter, amount, key])
        return amount

    def work(self) -> dict[str, Any]:
        """Fail if the attempt is to fail; otherwise have the effect, and return the result."""
        ctx, params = self._ctx, self._params
        key, attempt = ctx.idempotency_key, ctx.attempt
        doom = params.get("doom")
        if doom == "final":
            raise Fail("it was to fail", code="planned")
        if doom or self._ledger.flakes(key, attempt, params.get("flakes", 0)):
            raise Flake(key)
        known = [value["total"] for value in params["upstream"] if value]
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

    return registry
