"""Measure child processes: agents in workers, and programs.

Everything is real, as in `goclaw.bench.engine`; the agent does nothing, the program is `true`.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw.bench.machine import measure_on_disk, percentiles
from goclaw.builder import Workflow
from goclaw.config import Settings
from goclaw.engine import Engine
from goclaw_actors.executors.agents import AgentOptions, AgentRegistry

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw.submission import Prepared
    from goclaw_actors.executors.context import TaskContext

STEPS: Final = 10
WARM_UP: Final = 30


class ProcessLoad(NamedTuple):
    """How much is run; `workers`: how many processes; `programs`: how many are started."""

    tasks: int = 10_000
    in_flight: int = 100
    runs: int = 3
    samples: int = 300
    workers: int = 2
    programs: int = 200


def nothing(ctx: TaskContext) -> None:
    """Do nothing: what is measured is the way to a worker and back. At the top: workers find it."""


def now(ctx: TaskContext) -> float:  # noqa: ARG001 - agents are called with it
    """Tell when it was called; the monotonic clock is the same for all processes."""
    return time.monotonic()


def measure_processes(
    directory: Path, load: ProcessLoad, tell: Any = lambda _: None
) -> dict[str, Any]:
    """Return the figures; `tell` hears of progress. The data is written below `directory`."""
    return measure_on_disk(directory, load._asdict(), lambda path: _measure(path, load, tell), tell)


async def _measure(path: Path, load: ProcessLoad, tell: Any) -> dict[str, Any]:
    agents = AgentRegistry()
    for name, function in (("bench.nothing", nothing), ("bench.now", now)):
        agents.register(name, function, options=AgentOptions(executor="process"))
    process = {"workers_max": load.workers, "tasks_max": 0}
    executors = {"process": process, "exec": {"allow": ["true"]}}
    settings = Settings.model_validate({"executors": executors})
    chain, single, program = Workflow("chain"), Workflow("single"), Workflow("program")
    for step in range(STEPS):
        chain.task(f"t{step}", agent="bench.nothing", needs=[f"t{step - 1}"] if step else [])
    single.task("t", agent="bench.now")
    program.task("t", exec=["true"])
    async with Engine(path, settings=settings, agents=agents) as engine:
        began = time.monotonic()
        await engine.run(single)
        cold_s = time.monotonic() - began
        for _ in range(WARM_UP):
            await engine.run(chain)
        tell(f"latency: {load.samples} workflows of one task")
        starts = []
        for _ in range(load.samples):
            submitted = time.monotonic()
            result = (await engine.run(single)).unwrap()
            starts.append((result - submitted) * 1000)
        rates = []
        for _ in range(load.runs):
            tell(f"throughput: {load.tasks} tasks in {load.workers} workers")
            rates.append(await _rate(engine, engine.prepare(chain), load.tasks // STEPS, load))
        tell(f"programs: {load.programs}")
        programs = await _rate(engine, engine.prepare(program), load.programs, load)
    return {
        "tasks_per_s": round(sorted(rates)[len(rates) // 2] * STEPS),
        "programs_per_s": round(programs),
        "start_latency_ms": percentiles(starts),
        "first_worker_s": round(cold_s, 3),
    }


async def _rate(engine: Engine, prepared: Prepared, count: int, load: ProcessLoad) -> float:
    """Return workflows a second, some in flight at a time."""
    left = iter(range(max(1, count)))
    began = time.perf_counter()

    async def lane() -> None:
        for _ in left:
            (await engine.run(prepared)).unwrap()

    await asyncio.gather(*(lane() for _ in range(load.in_flight)))
    return max(1, count) / (time.perf_counter() - began)
