"""Measure the engine with very many tasks that wait: in a lane for a slot, or for a timer.

While they wait nothing may cost by their number: not the next start, nor the memory of a process
that keeps most of them on disk, nor the processor when nothing is due.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from goclaw.bench.machine import describe_machine, percentiles
from goclaw.builder import Workflow
from goclaw.engine import Engine
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_events.ids import lane_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw.submission import Prepared
    from goclaw_actors.executors.context import TaskContext

WIDE_TASKS: Final = 10_000
IN_FLIGHT_MAX: Final = 1_000
LOOK_EVERY_S: Final = 0.05
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_STATM: Final = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many tasks wait for a slot, how many runs for a timer; samples, and seconds of rest."""

    queued: int = 0
    waiting: int = 0
    samples: int = 300
    rest_s: float = 10.0


class _Gate:
    """An agent that holds its slot until it is let go; notes when slots come back and are taken."""

    def __init__(self) -> None:
        self.agents = AgentRegistry()
        self.agents.register("bench.gate", self._run)
        self.open = asyncio.Event()
        self.freed: list[float] = []
        self.began: list[float] = []
        self._loop = asyncio.get_running_loop()

    async def _run(self, _ctx: TaskContext) -> None:
        self.began.append(time.perf_counter())
        if len(self.began) == 1:
            waiter = asyncio.run_coroutine_threadsafe(self.open.wait(), self._loop)
            await asyncio.wrap_future(waiter)
        self.freed.append(time.perf_counter())

    def gaps_ms(self) -> list[float]:
        """Return the times from a slot that came back to the start of the next task."""
        pairs = zip(self.freed, self.began[1:], strict=False)
        return [(start - end) * 1000 for end, start in pairs]


def measure_crowd(directory: Path, crowd: Crowd, tell: Any = lambda _: None) -> dict[str, Any]:
    """Return the figures; `tell` hears of progress. The data is written below `directory`."""
    found: dict[str, Any] = {"machine": describe_machine()}
    with tempfile.TemporaryDirectory(dir=directory, prefix="goclaw-bench-") as name:
        root = Path(name)
        if crowd.queued:
            for shape, tasks in (("wide", min(WIDE_TASKS, crowd.queued)), ("single", 1)):
                tell(f"{crowd.queued} tasks queued by runs of {tasks}")
                figures = asyncio.run(_queued(root / shape, crowd, tasks))
                found[f"queued_{shape}"] = figures
        if crowd.waiting:
            tell(f"{crowd.waiting} runs that wait for a timer")
            found["waiting"] = asyncio.run(_waiting(root / "waiting", crowd))
    return found


async def _queued(path: Path, crowd: Crowd, tasks: int) -> dict[str, Any]:
    gate = _Gate()
    workflow = Workflow("bench-queued")
    lane = workflow.lane("one", concurrency=1, capacity=crowd.queued)
    for index in range(tasks):
        workflow.task(f"t{index}", agent="bench.gate", lane=lane)
    async with Engine(path, agents=gate.agents) as engine:
        prepared = engine.prepare(workflow)
        before = _memory_bytes()
        started = time.perf_counter()
        await _submit_all(engine, prepared, crowd.queued // tasks)
        count = crowd.queued // tasks * tasks
        live = engine.parts.node.dispatchers[0].turns.directory.live
        stream = lane_stream("bench-queued/one")
        await _until(lambda: stream in live and len(live[stream].state.queued) >= count - 1)
        filled_s = time.perf_counter() - started
        await asyncio.to_thread(_wait_for_views, engine)
        grown = _memory_bytes() - before
        samples = min(crowd.samples, count - 1)
        gate.open.set()
        await _until(lambda: len(gate.began) > samples)
        gaps = gate.gaps_ms()[:samples]
    return {
        "tasks": count,
        "runs": count // tasks,
        "queued_per_s": round(count / filled_s),
        "slot_to_start_ms": {**percentiles(gaps), "max": round(max(gaps, default=0.0), 3)},
        "rss_growth_bytes_per_task": round(grown / count),
        "rss_mb": round(_memory_bytes() / 1e6),
        "live_actors": len(live),
    }


async def _waiting(path: Path, crowd: Crowd) -> dict[str, Any]:
    workflow = Workflow("bench-waiting")
    workflow.wait("later", "1h")
    async with Engine(path, agents=AgentRegistry()) as engine:
        before = _memory_bytes()
        await _submit_all(engine, engine.prepare(workflow), crowd.waiting)
        node = engine.parts.node
        await _until(lambda: node.idle)
        await asyncio.to_thread(_wait_for_views, engine)
        await asyncio.sleep(1.0)  # the last flush of the views' tables is not rest
        grown, used_s = _memory_bytes() - before, time.process_time()
        await asyncio.sleep(crowd.rest_s)
        used_s = time.process_time() - used_s
        live = sum(len(each.turns.directory.live) for each in node.dispatchers)
    return {
        "runs": crowd.waiting,
        "idle_cpu_percent": round(used_s / crowd.rest_s * 100, 3),
        "rest_s": crowd.rest_s,
        "live_actors": live,
        "rss_growth_bytes_per_run": round(grown / crowd.waiting),
    }


async def _submit_all(engine: Engine, prepared: Prepared, runs: int) -> None:
    left = iter(range(runs))

    async def line() -> None:
        for _ in left:
            await engine.submit(prepared)

    await asyncio.gather(*(line() for _ in range(min(runs, IN_FLIGHT_MAX))))


async def _until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110 - nobody tells how many wait in a lane
        await asyncio.sleep(LOOK_EVERY_S)


def _wait_for_views(engine: Engine) -> None:
    journal = engine.parts.journal
    ends = {partition: journal.durable(partition) for partition in range(journal.partitions)}
    engine.views.runner.wait_for(ends, timeout_s=600.0)


def _memory_bytes() -> int:
    """Return how much of the process is in memory now."""
    gc.collect()
    return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
