"""Runs that collect each other wait for ever: `why` and the auditor say so, and only then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.config import Settings
from goclaw_events.definition import WorkflowDefinition
from tests.goclaw.eventually import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from goclaw_actors.why.reason import Reason

WAIT_S = 30.0
AUDIT = {"every_s": 0.02, "cpu_share": 1.0}


async def hold(ctx: goclaw.TaskContext) -> None:
    """Work until a message comes."""
    async for _ in ctx.signals():
        return


def workflow(**tasks: Any) -> WorkflowDefinition:
    """Return a workflow of tasks as they would stand in a file."""
    return WorkflowDefinition.model_validate({"name": "w", "tasks": tasks})


def collect(*members: str, **more: Any) -> dict[str, Any]:
    """Return a task that collects members of other runs."""
    return {"collect": {"members": list(members), **more}}


@pytest.fixture(params=[1, 4])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[goclaw.Engine]:
    """Give an engine whose auditor looks all the time."""
    goclaw.agent("circles.hold")(hold)
    settings = Settings.model_validate({"partitions": request.param, "audit": AUDIT})
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d", settings=settings) as opened:
        yield opened


async def gate(engine: goclaw.Engine, run_id: str, task: Any, *, other: bool = False) -> None:
    """Submit a run that goes on to `task` when it is let: by then all others are there."""
    tasks = {"gate": {"agent": "circles.hold"}, "all": {**task, "needs": ["gate"]}}
    if other:
        tasks["other"] = {"agent": "circles.hold"}
    await engine.submit(workflow(**tasks), run_id=run_id)


async def let(engine: goclaw.Engine, *runs: str) -> None:
    """Let runs go on, and wait until they collect."""
    for run_id in runs:
        await engine.message(run_id, "go", task="gate")
    for run_id in runs:
        await until(lambda run_id=run_id: _status(engine, run_id) == "waiting")  # type: ignore[misc]


def _status(engine: goclaw.Engine, run_id: str) -> str:
    found = engine.views.tasks.get(run_id, "all")
    return "" if found is None else found.status


async def circle(engine: goclaw.Engine, run_id: str) -> list[str]:
    """Return the runs of the circle that is told of a run."""
    explained = await asyncio.to_thread(engine.parts.explainer.explain, run_id, None)
    assert explained.reason is not None
    lost: tuple[Reason, ...] = explained.reason.lost
    return sorted(lost[0].details["circle"]) if lost else []


async def stuck(engine: goclaw.Engine, run_id: str) -> str:
    """Wait for what the auditor records of a run."""
    story = engine.subscribe(run_id=run_id)
    async for told in story:
        if told.type == "run.stuck":
            break
    await story.aclose()  # type: ignore[attr-defined]
    return str(told.fact.evidence)


async def test_two_runs_that_collect_each_other(engine: goclaw.Engine) -> None:
    """Each is told of both; the end of one by hand ends the other."""
    await gate(engine, "a", collect("b"))
    await gate(engine, "b", collect("a/all"))
    await let(engine, "a", "b")
    assert await circle(engine, "a") == await circle(engine, "b") == ["a", "b"]
    for run_id in ("a", "b"):
        assert "wait for each other" in await stuck(engine, run_id)
    await engine.cancel("b")
    assert (await engine.result("b")).status == "cancelled"
    assert (await engine.result("a")).status in ("completed", "failed")


async def test_a_circle_of_three_through_a_child(engine: goclaw.Engine) -> None:
    """A run that stands for a task that collects the run that waits for it."""
    child = workflow(all=collect("top"))
    parent = {"gate": {"agent": "circles.hold"}, "all": {"workflow": "inner", "needs": ["gate"]}}
    data = {"name": "w", "tasks": parent}
    await engine.register(child.model_copy(update={"name": "inner"}))
    await engine.submit(WorkflowDefinition.model_validate(data), run_id="top")
    await engine.message("top", "go", task="gate")
    assert "wait for each other" in await stuck(engine, "top")
    found = await circle(engine, "top")
    assert len(found) == 2
    assert "top" in found


@pytest.mark.parametrize(
    "more", [{"deadline": "1h"}, {"rule": "any"}, {"failures_max": 0}, {"rule": "quorum"}]
)
async def test_what_can_still_end_is_no_circle(engine: goclaw.Engine, more: Any) -> None:
    """A deadline, or another member that may end, keeps it from being one."""
    await gate(engine, "c", {"agent": "circles.hold"})
    members = ("b", "c") if "deadline" not in more else ("b",)
    if more.get("rule") == "quorum":
        more, members = {"rule": "quorum", "count": 1}, ("b", "c")
    await gate(engine, "a", collect(*members, **more))
    await gate(engine, "b", collect("a"))
    await let(engine, "a", "b")
    assert await circle(engine, "a") == []
    assert await circle(engine, "b") == []


async def test_a_run_that_goes_on_is_no_part_of_one(engine: goclaw.Engine) -> None:
    """Something of it may fail, and end what collects; once nothing does, it is one."""
    await gate(engine, "a", collect("b"), other=True)
    await gate(engine, "b", collect("a"))
    await let(engine, "a", "b")
    assert await circle(engine, "b") == []
    await engine.message("a", "go", task="other")
    assert "wait for each other" in await stuck(engine, "b")
    assert await circle(engine, "a") == ["a", "b"]
