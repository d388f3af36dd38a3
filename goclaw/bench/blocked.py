"""Measure what an async agent that blocks its loop does to others: nothing it should reach.

Coroutines share one loop, so other async agents wait. Timers, lanes and agents in threads do not.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from goclaw.bench.machine import describe_machine, percentiles
from goclaw.builder import Workflow
from goclaw.engine import Engine
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_events.frame import decode_frame

if TYPE_CHECKING:
    from goclaw_actors.executors.context import TaskContext
    from goclaw_events.journal import Journal

WAIT_S: Final = 0.05
EVERY_S: Final = 0.02


class _Agents:
    """One that blocks the loop, and one in a thread that notes when it began."""

    def __init__(self, block_s: float) -> None:
        self.registry = AgentRegistry()
        self.registry.register("bench.block", self._block)
        self.registry.register("bench.note", self._note)
        self.blocking = threading.Event()
        self.began: dict[str, float] = {}
        self._block_s = block_s

    async def _block(self, _ctx: TaskContext) -> None:
        self.blocking.set()
        time.sleep(self._block_s)  # noqa: ASYNC251 - what is measured

    def _note(self, ctx: TaskContext) -> None:
        self.began[ctx.run_id] = time.perf_counter()


def measure_blocked(directory: Path, block_s: float, tell: Any = lambda _: None) -> dict[str, Any]:
    """Return how late timers and another lane were while a loop was blocked for `block_s`."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="goclaw-bench-") as name:
        tell(f"an async agent that blocks its loop for {block_s} s")
        figures = asyncio.run(_measure(Path(name) / "data", block_s))
    return {"machine": describe_machine(), "blocked": figures}


async def _measure(path: Path, block_s: float) -> dict[str, Any]:
    agents = _Agents(block_s)
    block, note, timer = Workflow("bench-block"), Workflow("bench-note"), Workflow("bench-timer")
    block.task("t", agent="bench.block")
    note.task("t", agent="bench.note", lane=note.lane("other"))
    timer.wait("t", f"{round(WAIT_S * 1000)}ms")
    async with Engine(path, agents=agents.registry) as engine:
        one, other, waits = (engine.prepare(each) for each in (block, note, timer))
        await asyncio.gather(engine.run(other), engine.run(waits))  # the first pays for its thread
        journal = engine.parts.journal
        before = journal.durable(0)
        blocked = await engine.submit(one)
        await asyncio.to_thread(agents.blocking.wait)
        ends_s = time.perf_counter() + block_s
        submitted: dict[str, float] = {}
        timers = []
        while time.perf_counter() + 2 * WAIT_S < ends_s:
            asked_s = time.perf_counter()
            submitted[(await engine.submit(other)).run_id] = asked_s
            timers.append((await engine.submit(waits)).run_id)
            await asyncio.sleep(EVERY_S)
        for run_id in (*submitted, *timers, blocked.run_id):
            (await engine.result(run_id)).unwrap()
        late = _timers_late_ms(journal, before + 1)
    starts = [(agents.began[run] - asked_s) * 1000 for run, asked_s in submitted.items()]
    return {
        "block_s": block_s,
        "timer_late_ms": {**percentiles(late), "max": round(max(late), 3)},
        "other_lane_start_ms": {**percentiles(starts), "max": round(max(starts), 3)},
        "samples": len(starts),
    }


def _timers_late_ms(journal: Journal, start: int) -> list[float]:
    """Return for each wait how long after it was due its end was recorded."""
    due: dict[str, int] = {}
    late = []
    for data in journal.frames(0, start):
        frame = decode_frame(data)
        for _, _, fact in frame.facts():
            if fact.type == "task.waiting":
                due[fact.stream] = fact.data[2]
            elif fact.type == "task.completed" and fact.stream in due:
                late.append((frame.header.time_ns - due.pop(fact.stream)) / 1e6)
    return late
