"""Measure durable steps: steps a second, and how long one takes, with many attempts in flight.

Everything is real, as in `goclaw.bench.engine`: the same engine, the same disk, and every step is
durable before its agent goes on. The step itself does nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from goclaw.bench.machine import measure_on_disk, percentiles
from goclaw.builder import Workflow
from goclaw.engine import Engine
from goclaw_actors.executors.agents import AgentRegistry

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw_actors.executors.context import TaskContext


class StepLoad(NamedTuple):
    """How much is done: `in_flight` attempts at once, `steps` one after the other in each.

    `samples`: as many by a single attempt, alone.
    """

    in_flight: int = 64
    steps: int = 200
    samples: int = 500


def nothing(number: int) -> int:
    """Be a step."""
    return number


async def walk(ctx: TaskContext, steps: int) -> list[float]:
    """Take steps; return how long each took, in seconds."""
    took = []
    for number in range(steps):
        began_s = time.perf_counter()
        await ctx.step("nothing", nothing, number, key=str(number))
        took.append(time.perf_counter() - began_s)
    return took


def measure_steps(directory: Path, load: StepLoad, tell: Any = lambda _: None) -> Any:
    """Return the figures; `tell` hears of progress. The data is written below `directory`."""
    return measure_on_disk(
        directory, load._asdict(), lambda path: measure_walks(path, load, tell), tell
    )


async def measure_walks(data_dir: Path, load: StepLoad, tell: Any) -> dict[str, Any]:
    """Return the figures of steps in a new directory."""
    agents = AgentRegistry()
    agents.register("bench.walk", walk)
    async with Engine(data_dir, agents=agents) as engine:
        tell("one attempt alone")
        alone, _, _ = await _walk(engine, "alone", 1, load.samples)
        tell(f"{load.in_flight} attempts at once")
        took, wall_s, cpu_s = await _walk(engine, "many", load.in_flight, load.steps)
    return {
        "steps_per_s": round(len(took) / wall_s, 1),
        "step_ms": round(wall_s * 1e3 / len(took), 4),
        "step_cpu_ms": round(cpu_s * 1e3 / len(took), 4),
        "latency_ms": percentiles([seconds * 1e3 for seconds in took]),
        "alone_ms": percentiles([seconds * 1e3 for seconds in alone]),
    }


async def _walk(
    engine: Engine, run_id: str, tasks: int, steps: int
) -> tuple[list[float], float, float]:
    """Return how long each step took, and all of them together, on the clock and of the CPU."""
    workflow = Workflow("bench-steps")
    for number in range(tasks):
        workflow.task(f"t{number}", agent="bench.walk", with_={"steps": steps})
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    await engine.submit(workflow, run_id=run_id)
    result = (await engine.result(run_id)).unwrap()
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    found = result.values() if tasks > 1 else [result]
    return [seconds for took in found for seconds in took], wall_s, cpu_s
