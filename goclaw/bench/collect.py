"""Measure a collect: from the end of a task to whoever iterates over the collection."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from goclaw.bench.machine import percentiles
from goclaw.builder import Workflow

if TYPE_CHECKING:
    from goclaw.engine import Engine
    from goclaw_actors.executors.context import TaskContext

APART_S: Final = 0.005
"""Tasks end so long after each other: what is measured is the way, not a queue."""
RUN: Final = "collect"


async def stamp(ctx: TaskContext, after_s: float = 0.0) -> float:  # noqa: ARG001
    """Return the time at which it returns, some time after it began."""
    await asyncio.sleep(after_s)
    return time.monotonic()


async def measure_collect(engine: Engine, tasks: int) -> Any:
    """Return how long it took from each task's return to the subscriber, in milliseconds.

    The agent `bench.stamp` has to be registered.
    """
    workflow = Workflow("bench-collect")
    lane = workflow.lane("wide", concurrency=tasks)
    for number in range(tasks):
        after_s = 1.0 + number * APART_S
        workflow.task(f"t{number}", agent="bench.stamp", with_={"after_s": after_s}, lane=lane)
    await engine.submit(workflow, run_id=RUN)
    late_ms = [(time.monotonic() - one.result) * 1e3 async for one in engine.collect(f"{RUN}/*")]
    return percentiles(late_ms)
