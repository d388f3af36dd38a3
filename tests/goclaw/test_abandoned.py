"""What cannot be ended, from end to end: its task goes on, its slot does not."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import goclaw
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_events.facts import AttemptReturned

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw import TaskContext
    from goclaw_events.envelope import Position

WAIT_S = 30.0


def running(engine: goclaw.Engine, position: Position | None) -> int:
    """Return how many slots of the lane are taken at a position."""
    lane = engine.views.at(position, "lanes").lanes.get("stuck/two")
    assert lane is not None
    return lane.running


async def test_a_task_is_tried_again_while_its_abandoned_thread_keeps_its_slot(
    tmp_path: Path,
) -> None:
    """The second attempt gets the other slot; the first comes back when the thread returns."""
    gate, registry = threading.Event(), AgentRegistry()

    def stuck(ctx: TaskContext) -> int:
        if ctx.attempt == 1:
            gate.wait(WAIT_S)
        return ctx.attempt

    registry.register("stuck", stuck)
    workflow = goclaw.Workflow("stuck")
    workflow.lane("two", concurrency=2)
    again = {"attempts": 2, "initial": "1ms"}
    workflow.task("a", agent="stuck", lane="two", timeout="50ms", retry=again)
    async with goclaw.Engine(tmp_path, agents=registry) as engine:
        ended = await engine.run(workflow, run_id="r", timeout_s=WAIT_S)
        assert (ended.status, ended.result) == ("completed", 2)
        assert await asyncio.to_thread(running, engine, ended.position) == 1
        gate.set()
        async with asyncio.timeout(WAIT_S):
            async for recorded in engine.subscribe(run_id="r"):
                if isinstance(recorded.fact, AttemptReturned):
                    break
        assert recorded.fact.reason == "returned"
        async with asyncio.timeout(WAIT_S):
            async for recorded in engine.subscribe():
                released = getattr(recorded.fact, "released", None)
                if released and "#" in released[0]:
                    break
        assert await asyncio.to_thread(running, engine, recorded.position) == 0
