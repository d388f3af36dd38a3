"""Measure signals: how soon a handler hears, or stops; how many a second are durable; a collect.

Everything is real, as in `goclaw.bench.engine`. Handlers say with the monotonic clock, which all
processes share, when they saw a parameter change.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw.bench.collect import measure_collect, stamp
from goclaw.bench.machine import measure_on_disk, percentiles
from goclaw.builder import Workflow
from goclaw.config import Settings, SignalSettings
from goclaw.engine import Engine
from goclaw_actors.executors.agents import AgentOptions, AgentRegistry

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw_actors.executors.context import TaskContext


IN_FLIGHT: Final = 32
"""Messages on their way to a task."""


class SignalLoad(NamedTuple):
    """How much is said; `kills`: how many processes are killed; `tasks`: who is told at once.

    `members`: tasks whose results are collected.
    """

    samples: int = 200
    kills: int = 10
    signals: int = 5_000
    tasks: int = 8
    members: int = 1_000


async def hear(ctx: TaskContext, at: float = 0.0) -> list[float]:  # noqa: ARG001
    """Return how late each change of `at` was seen, in seconds, until it is negative."""
    late: list[float] = []
    ctx.progress(0.0)
    async for signal in ctx.signals():
        if signal.body["at"] < 0:
            return late
        late.append(time.monotonic() - signal.body["at"])
    return late


def hear_there(ctx: TaskContext, at: float = 0.0) -> list[float]:  # noqa: ARG001
    """Do the same in a worker process. At the top: workers find it."""
    late: list[float] = []
    ctx.progress(0.0)
    while (signal := ctx.next_signal()) is not None and signal.body["at"] >= 0:
        late.append(time.monotonic() - signal.body["at"])
    return late


async def wait(ctx: TaskContext) -> None:
    """Wait for an interrupt."""
    ctx.progress(0.0)
    async for _ in ctx.signals():
        ctx.log.debug("heard something")


def sleep(ctx: TaskContext) -> None:
    """Hear nothing."""
    ctx.progress(0.0)
    time.sleep(3600)


def measure_signals(directory: Path, load: SignalLoad, tell: Any = lambda _: None) -> Any:
    """Return the figures; `tell` hears of progress. The data is written below `directory`."""
    return measure_on_disk(directory, load._asdict(), lambda path: _measure(path, load, tell), tell)


async def _measure(data_dir: Path, load: SignalLoad, tell: Any) -> dict[str, Any]:
    agents = AgentRegistry()
    agents.register("bench.hear", hear)
    agents.register("bench.hear_there", hear_there, options=AgentOptions(executor="process"))
    agents.register("bench.wait", wait)
    agents.register("bench.stamp", stamp)
    agents.register("bench.sleep", sleep, options=AgentOptions(executor="process"))
    figures: dict[str, Any] = {}
    settings = Settings(signals=SignalSettings(waiting_max=1_000))
    async with Engine(data_dir, settings=settings, agents=agents) as engine:
        for key, agent in (("steer_async_ms", "hear"), ("steer_process_ms", "hear_there")):
            tell(key)
            figures[key] = await _steer(engine, agent, load.samples)
        tell("interrupts")
        figures["interrupt_ms"] = await _interrupt(engine, "wait", load.samples, graceful=True)
        figures["kill_ms"] = await _interrupt(engine, "sleep", load.kills, graceful=False)
        tell("collect")
        figures["collect_ms"] = await measure_collect(engine, load.members)
        tell("signals a second")
        figures["signals_per_s"] = await _storm(engine, load)
    return figures


async def _begin(engine: Engine, agent: str, run_id: str, tasks: int = 1) -> None:
    """Begin a run, and wait until the handlers of its tasks say that they run."""
    workflow = Workflow("bench-signals")
    for number in range(tasks):
        workflow.task(f"t{number}", agent=f"bench.{agent}")
    await engine.submit(workflow, run_id=run_id)
    left = tasks
    async for told in engine.subscribe(run_id=run_id):
        left -= told.type == "task.progress_reported"
        if not left:
            return


async def _steer(engine: Engine, agent: str, samples: int) -> Any:
    run_id = f"steer-{agent}"
    await _begin(engine, agent, run_id)
    for _ in range(samples):
        await engine.steer(run_id, {"at": time.monotonic()})
    await engine.steer(run_id, {"at": -1.0})
    late = (await engine.result(run_id)).unwrap()
    return percentiles([seconds * 1e3 for seconds in late])


async def _interrupt(engine: Engine, agent: str, samples: int, *, graceful: bool) -> Any:
    took = []
    for number in range(samples):
        run_id = f"stop-{agent}-{number}"
        await _begin(engine, agent, run_id)
        began_s = time.monotonic()
        await engine.interrupt(run_id, "t0", graceful=graceful, wait_s=60)
        took.append((time.monotonic() - began_s) * 1e3)
        await engine.cancel(run_id)
    return percentiles(took)


async def _storm(engine: Engine, load: SignalLoad) -> float:
    """Return how many messages a second are durable, of senders that do not wait for each other."""
    await _begin(engine, "wait", "storm", load.tasks)
    began_s = time.monotonic()

    async def send(number: int) -> None:
        task = f"t{number % load.tasks}"
        await engine.message("storm", number, task=task, signal_id=f"m{number}")

    at_once = IN_FLIGHT * load.tasks
    for first in range(0, load.signals, at_once):
        last = min(first + at_once, load.signals)
        await asyncio.gather(*(send(number) for number in range(first, last)))
    took_s = time.monotonic() - began_s
    await engine.cancel("storm")
    return round(load.signals / took_s, 1)
