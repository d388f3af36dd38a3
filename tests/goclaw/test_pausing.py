"""A running task is paused at a boundary, in a process too; across a restart; `why` says so."""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.why_records import says
from goclaw_events.definition import WorkflowDefinition
from tests.goclaw.eventually import until

if TYPE_CHECKING:
    from pathlib import Path

WAIT_S = 30.0
WORKER = """
import goclaw


@goclaw.agent("pause.apart", executor="process")
async def apart(ctx):
    number = 0
    while True:
        for message in await ctx.boundary():
            return [message.body, number, ctx.attempt]
        number += 1
        ctx.save(number) if number == 1 else None
        await ctx.sleep(0.001)


@goclaw.agent("pause.apart_sync", executor="process")
def apart_sync(ctx):
    number = 0
    while True:
        for message in ctx.boundary():
            return [message.body, number, ctx.attempt]
        number += 1
        ctx.save(number) if number == 1 else None
        ctx.sleep(0.001)
"""


@pytest.fixture(autouse=True)
def _agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pausing_agents.py").write_text(WORKER)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("pausing_agents")
    sys.modules.pop("pausing_agents")


def workflow(agent: str) -> WorkflowDefinition:
    """Return a workflow of one agent, which has less time than it is paused for."""
    task = {"agent": agent, "timeout": "30s"}
    return WorkflowDefinition.model_validate({"name": "pausing", "tasks": {"a": task}})


async def saved(engine: goclaw.Engine, run_id: str) -> None:
    """Wait until the agent has passed a boundary, and said so."""
    story = engine.subscribe(run_id=run_id)
    async for told in story:
        if told.type == "task.state_saved":
            break
    await story.aclose()  # type: ignore[attr-defined]


async def why(engine: goclaw.Engine, run_id: str) -> tuple[str, dict[str, Any]]:
    """Return what is said of the task, in words and as data."""
    explained = await asyncio.to_thread(engine.parts.explainer.explain, run_id, "a")
    reason = explained.reason
    assert reason is not None
    return says(reason), dict(reason.details)


@pytest.mark.parametrize("agent", ["pause.apart", "pause.apart_sync"])
async def test_a_process_stands_still_at_its_boundary(tmp_path: Path, agent: str) -> None:
    """It keeps what it has in memory, and its slot; what is said meanwhile waits for it."""
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d") as engine:
        await engine.submit(workflow(agent), run_id="r")
        await saved(engine, "r")
        await engine.pause("r", "a", reason="lunch", sender="me")
        place = engine.parts.executor.place_of
        (token,) = engine.parts.executor._held
        await until(lambda: place(token) == "boundary")
        text, details = await why(engine, "r")
        assert "paused at a boundary" in text
        assert (details["reason"], details["attempt"]) == ("lunch", 1)
        told = await engine.message("r", "stop", wait="offered", timeout_s=WAIT_S)
        assert told.state == "offered"
        assert await engine.resume("r", "a") == "running"
        said, number, attempt = (await engine.result("r")).unwrap()
        assert (said, attempt) == ("stop", 1)
        assert number >= 1


async def test_what_stood_still_when_its_engine_stopped_stands_still(tmp_path: Path) -> None:
    """The attempt was lost with it; the task is paused, and goes on when it is resumed."""
    async with asyncio.timeout(WAIT_S):
        async with goclaw.Engine(tmp_path / "d") as engine:
            await engine.submit(workflow("pause.apart_sync"), run_id="r")
            await saved(engine, "r")
            await engine.pause("r", "a")
        async with goclaw.Engine(tmp_path / "d") as engine:
            await until(lambda: _status(engine) == "paused")
            await engine.resume("r", "a")
            await engine.message("r", "stop")
            assert (await engine.result("r")).unwrap()[::2] == ["stop", 2]


async def test_a_paused_run_pauses_what_runs(tmp_path: Path) -> None:
    """And resumes it."""
    async with asyncio.timeout(WAIT_S), goclaw.Engine(tmp_path / "d") as engine:
        await engine.submit(workflow("pause.apart"), run_id="r")
        await saved(engine, "r")
        await engine.pause("r")
        place = engine.parts.executor.place_of
        (token,) = engine.parts.executor._held
        await until(lambda: place(token) == "boundary")
        await engine.resume("r")
        await until(lambda: place(token) == "here")
        await engine.message("r", "stop")
        assert (await engine.result("r")).unwrap()[::2] == ["stop", 1]


def _status(engine: goclaw.Engine) -> str:
    found = engine.views.tasks.get("r", "a")
    return "" if found is None else found.status
