"""The agents of a world of signals: they take what they are told, write it down, and say it on.

Functions of a module, for a worker process looks them up by their names.
"""

from __future__ import annotations

import os
import random
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import goclaw
from goclaw_actors.executors.agents import AgentOptions, AgentRegistry
from scripts.harness.ledger import Ledger
from scripts.harness.talk import STOP

if TYPE_CHECKING:
    from goclaw_actors.executors.context import TaskContext
    from goclaw_actors.work import Signal


class _Listener:
    """What an attempt does with what it is told: it writes that down, and saves it now and then."""

    def __init__(self, ctx: TaskContext, home: str, seed: str) -> None:
        self._ledger = _ledger(home)
        self._ctx = ctx
        self._rng = random.Random(f"{seed}/{ctx.idempotency_key}/{ctx.attempt}")  # noqa: S311
        self._ids: list[str] = []
        self.told = 0

    def takes(self, signal: Signal) -> bool:
        """Take a signal; tell whether it is to be said on. Fails seldom."""
        if signal.kind == "params":
            return False
        ctx, self._ids = self._ctx, list(signal.parts or (signal.id,))
        self._ledger.write(
            "took", ctx.idempotency_key, ctx.attempt, [self._ids, signal.redelivered]
        )
        if self._rng.random() < 0.2:  # noqa: PLR2004
            ctx.save(self._ids)
        if self._rng.random() < 0.02:  # noqa: PLR2004
            raise RuntimeError(signal.id)
        return True

    @property
    def chunk(self) -> list[Any]:
        """Return what to emit: which attempt, the number of the chunk in it, what was told."""
        self.told += 1
        return [self._ctx.attempt, self.told, self._ids]


def _is_last(signal: Signal) -> bool:
    return bool(signal.body == STOP or (signal.parts and STOP in signal.body))


async def soft(ctx: TaskContext, home: str, seed: str, knob: int = 0) -> dict[str, int]:
    """Listen on a loop."""
    del knob
    listener = _Listener(ctx, home, seed)
    try:
        async for signal in ctx.signals():
            if listener.takes(signal):
                await ctx.emit(listener.chunk)
            if _is_last(signal):
                break
    except goclaw.Interrupted:
        ctx.save("interrupted")
        raise
    return {"attempt": ctx.attempt, "told": listener.told}


def hard(ctx: TaskContext, home: str, seed: str, knob: int = 0) -> dict[str, int]:
    """Listen in a thread."""
    del knob
    listener = _Listener(ctx, home, seed)
    while True:
        signal = ctx.next_signal()
        if signal is None:
            continue
        if listener.takes(signal):
            ctx.emit(listener.chunk)
        if _is_last(signal):
            return {"attempt": ctx.attempt, "told": listener.told}


async def apart(ctx: TaskContext, home: str, seed: str, knob: int = 0) -> dict[str, int]:
    """Listen in a process."""
    return await soft(ctx, home, seed, knob)


def listeners() -> AgentRegistry:
    """Return them all."""
    registry = AgentRegistry()
    for function, options in (
        (soft, AgentOptions()),
        (hard, AgentOptions()),
        (apart, AgentOptions(executor="process")),
    ):
        registry.register(f"talk.{function.__name__}", function, options=options)
    return registry


@lru_cache(maxsize=1)
def _ledger(home: str) -> Ledger:
    return Ledger(Path(home) / "ledger", os.getpid())
