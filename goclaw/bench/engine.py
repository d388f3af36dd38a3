"""Measure the engine: throughput by shape, latency under light load, lag of views, time by stage.

Everything is real: RocksDB with the flush on, the projections, the agents' loop; the agents do
nothing. Latencies are measured first, on an idle engine; throughput is the median of runs.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw.bench.lag import LagWatch
from goclaw.bench.machine import describe_machine, percentiles
from goclaw.bench.stages import StageClock
from goclaw.builder import Workflow
from goclaw.config import Settings
from goclaw.doctor import measure_flush
from goclaw.engine import Engine
from goclaw_actors.executors.agents import AgentRegistry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from goclaw_actors.executors.context import TaskContext

IN_FLIGHT_MAX: Final = 2_000
SHAPES: Final = ("chain", "fan", "wide", "single")
TASKS: Final = {"chain": 10, "fan": 10, "wide": 100, "single": 1}
WARM_UP: Final = 50


@dataclass(frozen=True, slots=True)
class Load:
    """How much is run: tasks a shape and run, workflows in flight, runs, latency samples."""

    tasks: int = 20_000
    in_flight: int = 500
    runs: int = 3
    samples: int = 300
    partitions: int = 1
    shapes: tuple[str, ...] = SHAPES


def shape_of(name: str) -> Workflow:
    """Return a workflow of a shape: `chain` 10 in a row, `fan` 1-8-1, `wide` 100, `single` 1."""
    workflow = Workflow(f"bench-{name}")
    count = TASKS[name]
    for index in range(count):
        needs: list[str] = []
        if name == "chain" and index:
            needs = [f"t{index - 1}"]
        elif name == "fan" and index:
            needs = ["t0"] if index < count - 1 else [f"t{i}" for i in range(1, count - 1)]
        workflow.task(f"t{index}", agent="bench.nothing", needs=needs)
    return workflow


def measure_engine(directory: Path, load: Load, tell: Any = lambda _: None) -> dict[str, Any]:
    """Return the figures; `tell` hears of progress. The data is written below `directory`."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="goclaw-bench-") as name:
        root = Path(name)
        tell("flush floor")
        floor = measure_flush(root)
        latencies = asyncio.run(_latencies(root / "latency", load, tell))
        shapes: dict[str, Any] = {}
        for shape in load.shapes:
            tell(f"{shape}: {load.runs} runs of {load.tasks} tasks")
            runs = [
                asyncio.run(throughput(root / f"{shape}-{at}", shape, load, stages=False))
                for at in range(load.runs)
            ]
            middle = sorted(runs, key=lambda run: run["tasks_per_s"])[len(runs) // 2]
            shapes[shape] = middle
        tell("time by stage")
        staged = _stages(root, load)
    best = max(
        (shapes[name] for name in ("chain", "fan") if name in shapes),
        key=lambda run: run["tasks_per_s"],
        default=next(iter(shapes.values())),
    )
    return {
        "machine": describe_machine(),
        "settings": {
            "tasks": load.tasks,
            "in_flight": load.in_flight,
            "runs": load.runs,
            "samples": load.samples,
            "partitions": load.partitions,
            "flush": "on",
        },
        "flush_floor_ms": {"p50": round(floor.p50_ms, 3), "p99": round(floor.p99_ms, 3)},
        "tasks_per_s": best["tasks_per_s"],
        "facts_per_s": best["facts_per_s"],
        "facts_per_task": best["facts_per_task"],
        "views_lag_ms": best["views_lag_ms"],
        **latencies,
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "stages_us_per_task": staged,
        "shapes": shapes,
    }


def _settings(load: Load) -> Settings:
    return Settings(partitions=load.partitions)


async def throughput(path: Path, shape: str, load: Load, *, stages: bool) -> dict[str, Any]:
    """Return the figures of one run of workflows of a shape, in a new directory."""
    agents = AgentRegistry()

    async def nothing(_ctx: TaskContext) -> None:
        return

    agents.register("bench.nothing", nothing)
    count = max(1, load.tasks // TASKS[shape])
    async with Engine(path, settings=_settings(load), agents=agents) as engine:
        prepared = engine.prepare(shape_of(shape))

        async def one() -> None:
            (await engine.run(prepared)).unwrap()

        many = Many(count, count * TASKS[shape], load.in_flight)
        return await measure_many(engine, one, many, stages=stages)


class Many(NamedTuple):
    """How many workflows (or sagas) to run, and at once; `tasks`: of all of them together."""

    runs: int
    tasks: int
    in_flight: int


async def measure_many(
    engine: Engine, one: Callable[[], Awaitable[None]], many: Many, *, stages: bool
) -> dict[str, Any]:
    """Return what it took to run many; `one` runs one of them, and waits for its end."""
    for _ in range(min(WARM_UP, many.runs)):
        await one()
    before = facts_of(engine)
    clock = StageClock(engine.parts, inside=stages)
    lag = LagWatch(engine)
    started, cpu_s = time.perf_counter(), time.process_time()
    await _run_all(one, many.runs, min(many.in_flight, IN_FLIGHT_MAX))
    passed, cpu_s = time.perf_counter() - started, time.process_time() - cpu_s
    behind = lag.stop()
    facts, tasks = facts_of(engine) - before, many.tasks
    return {
        "tasks_per_s": round(tasks / passed),
        "facts_per_s": round(facts / passed),
        "facts_per_task": round(facts / tasks, 2),
        "workflows_per_s": round(many.runs / passed, 1),
        "us_per_task": round(passed / tasks * 1e6, 1),
        "process_cpu_us": round(cpu_s / tasks * 1e6, 1),
        "views_lag_ms": behind,
        "cpu_us_per_task": clock.per_task(tasks),
    }


def facts_of(engine: Engine) -> int:
    """Return how many facts an engine has recorded."""
    journal = engine.parts.journal
    return sum(journal.durable(partition) for partition in range(journal.partitions))


async def _run_all(one: Callable[[], Awaitable[None]], count: int, in_flight: int) -> None:
    """Run `count` workflows, `in_flight` at a time: as one ends, the next is submitted."""
    left = iter(range(count))

    async def lane() -> None:
        for _ in left:
            await one()

    await asyncio.gather(*(lane() for _ in range(min(in_flight, count))))


async def _latencies(path: Path, load: Load, tell: Any) -> dict[str, Any]:
    agents = AgentRegistry()
    began: list[float] = []

    async def nothing(_ctx: TaskContext) -> None:
        began.append(time.perf_counter())

    agents.register("bench.nothing", nothing)
    single, steps = Workflow("bench-start"), Workflow("bench-steps")
    single.task("t0", agent="bench.nothing")
    for index in range(3):
        steps.task(f"t{index}", agent="bench.nothing", needs=[f"t{index - 1}"] if index else [])
    starts, wholes = [], []
    tell(f"latency: {load.samples} workflows of one and of three tasks")
    async with Engine(path, settings=_settings(load), agents=agents) as engine:
        one, three = engine.prepare(single), engine.prepare(steps)
        for _ in range(WARM_UP):
            await engine.run(one)
        for _ in range(load.samples):
            began.clear()
            submitted = time.perf_counter()
            await engine.run(one)
            starts.append((began[0] - submitted) * 1000)
        for _ in range(load.samples):
            submitted = time.perf_counter()
            await engine.run(three)
            wholes.append((time.perf_counter() - submitted) * 1000)
    return {"start_latency_ms": percentiles(starts), "workflow_latency_ms": percentiles(wholes)}


def _stages(root: Path, load: Load) -> dict[str, float]:
    shape = "fan" if "fan" in load.shapes else load.shapes[0]
    run = asyncio.run(throughput(root / "stages", shape, load, stages=True))
    found: dict[str, float] = run["cpu_us_per_task"]
    return found
