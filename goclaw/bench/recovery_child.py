"""One process of `goclaw bench recovery`: fill a log and wait to be killed, or go on with it.

Started as `python -m goclaw.bench.recovery_child fill|restart DIRECTORY TASKS RUNS`; says what
happened as JSON lines with the time of the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from goclaw.builder import Workflow
from goclaw.config import Settings
from goclaw.engine import Engine
from goclaw_actors.executors.agents import AgentRegistry

if TYPE_CHECKING:
    from goclaw_actors.executors.context import TaskContext

FOREVER_S: Final = 3600.0
UNFINISHED: Final = "unfinished"


def say(**what: Any) -> None:
    """Tell the parent, with the time; from any thread, a line at a time."""
    line = json.dumps({"at": time.monotonic(), **what}) + "\n"
    os.write(sys.stdout.fileno(), line.encode())


def large_run(tasks: int) -> Workflow:
    """Return a workflow of one task that never ends and many that end at once."""
    workflow = Workflow("bench-recovery")
    workflow.task("hangs", agent="bench.hangs")
    for index in range(tasks):
        workflow.task(f"t{index}", agent="bench.nothing")
    return workflow


def _agents() -> AgentRegistry:
    agents = AgentRegistry()

    async def nothing(_ctx: TaskContext) -> None:
        return

    async def hangs(_ctx: TaskContext) -> None:
        say(event="attempt")
        await asyncio.sleep(FOREVER_S)

    agents.register("bench.nothing", nothing)
    agents.register("bench.hangs", hangs)
    return agents


async def fill(directory: Path, tasks: int, runs: int) -> None:
    """Run `runs` small workflows beside one large one that cannot end; then wait."""
    async with Engine(directory, settings=Settings(), agents=_agents()) as engine:
        await engine.submit(large_run(tasks), run_id=UNFINISHED)
        small = Workflow("bench-small")
        for index in range(tasks):
            small.task(f"t{index}", agent="bench.nothing")
        prepared = engine.prepare(small)
        await asyncio.gather(*(engine.run(prepared) for _ in range(runs)))
        while (run := engine.views.runs.get(UNFINISHED)) is None or (  # noqa: ASYNC110 - a view
            sum(run.counts.values()) < tasks
        ):
            await asyncio.sleep(0.05)
        say(event="filled", facts=_facts(engine))
        await asyncio.sleep(FOREVER_S)


async def restart(directory: Path) -> None:
    """Open the engine and send a command; the lost attempt says itself that it began again."""
    say(event="imported")
    async with Engine(directory, settings=Settings(), agents=_agents()) as engine:
        say(event="open", facts=_facts(engine))
        one = Workflow("bench-one")
        one.task("t0", agent="bench.nothing")
        await engine.submit(one)
        say(event="committed")
        await asyncio.sleep(FOREVER_S)


def _facts(engine: Engine) -> int:
    journal = engine.parts.journal
    return sum(journal.durable(partition) for partition in range(journal.partitions))


def main(arguments: list[str]) -> None:
    """Do what the parent asks."""
    mode, directory, tasks, runs = arguments
    if mode == "fill":
        asyncio.run(fill(Path(directory), int(tasks), int(runs)))
    else:
        asyncio.run(restart(Path(directory)))


if __name__ == "__main__":
    main(sys.argv[1:])
