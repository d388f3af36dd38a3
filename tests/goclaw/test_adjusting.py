"""Tasks that are adjusted while they go on, through an engine and its socket."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.cli import main
from goclaw.errors import InvalidRequest, RunNotFound
from goclaw.results import CommandRefused
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.errors import InvalidId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WAIT_S = 30.0
SLOW = """
import goclaw


@goclaw.agent("adjusted.process", executor="process")
def in_process(ctx):
    while True:
        ctx.sleep(60)
"""


@pytest.fixture(name="engine")
async def _engine(tmp_path: Path) -> AsyncIterator[goclaw.Engine]:
    settings = goclaw.Settings.model_validate(
        {"executors": {"exec": {"allow": ["sleep"]}}, "lanes": {"shared": {}}}
    )
    async with goclaw.Engine(tmp_path / "d", settings=settings) as engine:
        yield engine


def workflow(tasks: dict[str, Any], **head: Any) -> WorkflowDefinition:
    """Return a workflow."""
    return WorkflowDefinition.model_validate({"name": "talk", "tasks": tasks, **head})


async def until_running(engine: goclaw.Engine, run_id: str, *tasks: str) -> None:
    """Wait until an attempt of each task has begun."""
    left = {f"task/{run_id}/{task}" for task in tasks}
    told = engine.subscribe(run_id=run_id)
    async for recorded in told:
        if recorded.type == "task.attempt_started":
            left.discard(recorded.stream)
        if not left:
            break
    await told.aclose()  # type: ignore[attr-defined]


async def facts_of(engine: goclaw.Engine, run_id: str, kind: str) -> list[Any]:
    """Return the facts of a kind that a finished run has."""
    found = []
    told = engine.subscribe(run_id=run_id)
    async for recorded in told:
        if recorded.type == kind:
            found.append(recorded.fact)
        if recorded.type in ("run.completed", "run.failed", "run.cancelled"):
            break
    await told.aclose()  # type: ignore[attr-defined]
    return found


async def test_every_place_of_work_hears_of_a_shorter_time(
    engine: goclaw.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the loop, in a thread, in a process, a program: each is over with code `timeout`."""
    (tmp_path / "slow_agents.py").write_text(SLOW)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("slow_agents")
    sys.modules.pop("slow_agents")

    @goclaw.agent("adjusted.loop")
    async def on_loop(ctx: goclaw.TaskContext) -> None:
        await asyncio.sleep(3600)

    @goclaw.agent("adjusted.thread")
    def in_thread(ctx: goclaw.TaskContext) -> None:
        ctx.sleep(3600)

    tasks: dict[str, Any] = {
        name: {"agent": f"adjusted.{name}", "timeout": "1h"}
        for name in ("loop", "thread", "process")
    }
    tasks["program"] = {"exec": ["sleep", "3600"]}
    await engine.submit(workflow(tasks, on_failure="continue"), run_id="r")
    await until_running(engine, "r", *tasks)
    async with goclaw.Client(tmp_path / "d") as client:
        for task in tasks:
            told = await client.adjust("r", {"timeout": "50ms"}, task=task, sender="me")
            assert (told.state, told.repeated) == ("consumed", False)
        ended = await client.result("r", timeout_s=WAIT_S)
    assert ended.error is not None
    failed = await facts_of(engine, "r", "task.failed")
    assert [fact.code for fact in failed] == ["timeout"] * 4
    senders = {fact.sender for fact in await facts_of(engine, "r", "task.adjusted")}
    assert senders == {f"uid:{os.geteuid()}/me"}


async def test_a_queued_task_changes_its_place(engine: goclaw.Engine) -> None:
    """It goes to a shared lane, or before the others of its own."""
    order: list[str] = []
    first = threading.Event()

    @goclaw.agent("adjusted.noted")
    async def noted(ctx: goclaw.TaskContext) -> None:
        order.append(ctx.task_id)
        if ctx.task_id == "t0":
            await asyncio.to_thread(first.wait, WAIT_S)

    tasks = {f"t{n}": {"agent": "adjusted.noted", "lane": "one"} for n in range(4)}
    await engine.submit(workflow(tasks, lanes={"one": {"concurrency": 1}}), run_id="r")
    await until_running(engine, "r", "t0")
    await engine.adjust("r", {"lane": "/shared"}, task="t2")
    await until_running(engine, "r", "t2")
    await engine.adjust("r", {"priority": 10}, task="t3", signal_id="j")
    again = await engine.adjust("r", {"priority": 10}, task="t3", signal_id="j")
    assert again.repeated
    first.set()
    assert (await engine.result("r", timeout_s=WAIT_S)).ok
    assert order == ["t0", "t2", "t3", "t1"]
    assert [fact.lane for fact in await facts_of(engine, "r", "task.moved")] == ["/shared"]
    with pytest.raises(CommandRefused) as over:
        await engine.adjust("r", {"priority": 1}, task="t1")
    assert over.value.code == "task_finished"


async def test_every_fault_of_a_change_is_told_at_once(engine: goclaw.Engine) -> None:
    """And nothing is changed; what cannot be adjusted at all says so."""
    tasks = {"first": {"wait": "1h"}, "then": {"agent": "goclaw.echo", "needs": ["first"]}}
    await engine.submit(workflow(tasks), run_id="r")
    wrong = {"priority": 9999, "lan": 1, "lane": "nope", "retry": {"attempts": 0}}
    with pytest.raises(InvalidRequest) as refused:
        await engine.adjust("r", wrong, task="then")
    for place in ("priority:", "lan:", "lane:", "retry.attempts:"):
        assert f"\n  {place}" in str(refused.value)
    with pytest.raises(InvalidRequest, match="nothing is changed"):
        await engine.adjust("r", {}, task="then")
    with pytest.raises(InvalidId):
        await engine.adjust("r", {"priority": 1}, task="then", signal_id="")
    with pytest.raises(RunNotFound):
        await engine.adjust("nope", {"priority": 1}, task="then")
    with pytest.raises(CommandRefused) as unsupported:
        await engine.adjust("r", {"deadline": "1s"}, task="first")
    assert unsupported.value.code == "signal_unsupported"
    await engine.cancel("r")
    assert await facts_of(engine, "r", "task.adjusted") == []


async def test_an_adjustment_survives_a_restart(tmp_path: Path) -> None:
    """It is part of the task: what begins after the restart goes by it."""

    @goclaw.agent("adjusted.fails_twice")
    async def fails_twice(ctx: goclaw.TaskContext) -> int:
        if ctx.attempt < 3:
            raise RuntimeError(ctx.task_id)
        return ctx.attempt

    held = workflow({"a": {"agent": "adjusted.fails_twice", "retry": {"initial": "1ms"}}})
    async with goclaw.Engine(tmp_path / "d", idle=True) as engine:
        await engine.submit(held, run_id="r")
        told = await engine.adjust("r", {"retry": {"attempts": 3}}, signal_id="j")
        assert told.task == "a"
    async with goclaw.Engine(tmp_path / "d") as engine:
        assert (await engine.result("r", timeout_s=WAIT_S)).unwrap() == 3
        assert len(await facts_of(engine, "r", "task.attempt_failed")) == 2
    async with goclaw.Engine(tmp_path / "d") as engine:
        again = await engine.adjust("r", {"retry": {"attempts": 3}}, signal_id="j")
        assert again.repeated


def test_the_command_line_adjusts_a_task_where_no_engine_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options become changes as a definition writes them; what is wrong ends with code 2."""
    monkeypatch.chdir(tmp_path)

    async def submit() -> None:
        async with goclaw.Engine(goclaw.Settings().data_dir, idle=True) as engine:
            task = {"agent": "goclaw.echo"}
            await engine.submit(workflow({"a": task}, lanes={"one": {}}), run_id="run_cli")

    asyncio.run(submit())
    words = ["signal", "adjust", "run_cli", "--priority", "5", "--lane", "one", "--timeout", "30"]
    words += ["--deadline", "none", "--retries", "3", "--retry", "max=10s", "--sender", "me"]
    assert main([*words, "--id", "j", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["signal"], told["task"], told["state"]) == ("j", "a", "consumed")
    assert main([*words, "--id", "j"]) == 0
    assert "is consumed (sent before)" in capsys.readouterr().err
    adjusted = asyncio.run(_last_adjusted())
    assert adjusted.sender == f"uid:{os.geteuid()}/me"
    assert adjusted.changes == {
        "priority": 5, "lane": "talk/one", "timeout_s": 30.0, "deadline_ns": 0,
        "retry": {"attempts_max": 4, "max_s": 10.0},
    }  # fmt: skip
    assert main(["signal", "adjust", "run_cli", "--timeout", "soon"]) == 2
    assert "'soon' is not a duration" in capsys.readouterr().err


async def _last_adjusted() -> Any:
    async with goclaw.Engine(goclaw.Settings().data_dir, idle=True) as engine:
        async for recorded in engine.subscribe(run_id="run_cli"):
            if recorded.type == "task.adjusted":
                return recorded.fact
    return None
