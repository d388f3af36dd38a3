"""Durable steps through the engine: retries, restarts, workers, sleep without a slot."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.cli import main
from goclaw_actors.executors import sleeping
from goclaw_events.definition import WorkflowDefinition
from tests.goclaw.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from goclaw import TaskContext

WAIT_S = 30.0
RETRY = {"attempts": 3, "initial": "1ms"}
WORKER = """
import pathlib

import goclaw


def note(ledger, size):
    with pathlib.Path(ledger).open("a") as file:
        file.write(goclaw.step_key() + " ")
    return "x" * size


async def noted(ledger, size):
    return note(ledger, size)


@goclaw.agent("far.sync", executor="process")
def far_sync(ctx, ledger):
    sizes = [len(ctx.step("note", note, ledger, size, key=str(size))) for size in (10, 200_000)]
    found = [ctx.random(), ctx.uuid()]
    if ctx.attempt == 1:
        raise RuntimeError("again")
    ctx.sleep(0.3)
    return [sizes, found == [ctx.params and found[0], found[1]], ctx.attempt]


@goclaw.agent("far.async", executor="process")
async def far_async(ctx, ledger):
    small = await ctx.step("note", noted, ledger, 10)
    if ctx.attempt == 1:
        raise RuntimeError("again")
    await ctx.sleep(0.3)
    return [len(small), ctx.attempt]
"""


def workflow(**tasks: Any) -> WorkflowDefinition:
    """Return a workflow of some tasks."""
    return WorkflowDefinition.model_validate({"name": "steps", "tasks": tasks})


@pytest.fixture(name="engine")
async def _engine(tmp_path: Path) -> AsyncIterator[goclaw.Engine]:
    async with goclaw.Engine(tmp_path / "d") as engine:
        yield engine


@pytest.fixture(name="restless")
def _restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let even a short sleep give the slot back."""
    monkeypatch.setattr(sleeping, "SLEEP_HELD_S", 0.1)


async def types(engine: goclaw.Engine, run_id: str) -> list[str]:
    """Return the types of the facts of a run that has ended."""
    assert engine.listener is not None
    client = goclaw.Client(desk=engine.listener._desk)
    return [entry["type"] for entry in (await client.show(run_id, timeline=True))["timeline"]]


async def test_a_retry_gets_what_was_done(engine: goclaw.Engine) -> None:
    """Each step is done once however often the agent begins; large results, too."""
    calls: list[str] = []

    async def work(name: str, size: int) -> str:
        calls.append(goclaw.step_key())
        return name * size

    @goclaw.agent("worker")
    async def worker(ctx: TaskContext) -> Any:
        sizes = [
            len(await ctx.step("work", work, "x", size, key=str(size)))
            for size in (1, 5_000, 200_000)
        ]
        moment = await ctx.now()
        if ctx.attempt < 3:
            raise RuntimeError(str(moment))
        return [sizes, ctx.attempt]

    await engine.submit(workflow(a={"agent": "worker", "retry": RETRY}), run_id="r")
    result = await engine.result("r", timeout_s=WAIT_S)
    assert result.unwrap() == [[1, 5_000, 200_000], 3]
    assert calls == ["r/a/0/work/1", "r/a/0/work/5000", "r/a/0/work/200000"]
    assert (await types(engine, "r")).count("task.step_recorded") == 4


async def rested(client: goclaw.Client, count: int) -> bool | None:
    """Tell whether so many steps are recorded, and the task that waits for their task waits."""
    found = await client.show("r", steps=True)
    return (len(found["steps"]) == count and found["tasks"]["z"]["status"] == "waiting") or None


async def test_the_steps_of_a_run_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By task, name, key and generation, with what they came to; also without an engine."""

    @goclaw.agent("worker")
    async def worker(ctx: TaskContext) -> None:
        await ctx.step("first", lambda n: {"n": n}, 1)
        await ctx.step("second", lambda: "x" * 3_000, key="k")

    async with goclaw.Engine(tmp_path / "d") as engine:
        open_end = {"wait_for": {"signal": "end"}, "needs": ["a"]}
        await engine.submit(workflow(a={"agent": "worker"}, z=open_end), run_id="r")
        async with goclaw.Client(tmp_path / "d") as client:
            await eventually(lambda: rested(client, 2))
            await client.run_again("r", "a")
            await eventually(lambda: rested(client, 4))
            steps = (await client.show("r", steps=True))["steps"]
            assert "steps" not in await client.show("r")
    named = [(s["task"], s["step"], s["key"], s["generation"], s["attempt"]) for s in steps]
    once = [("a", "first", "", 0, 1), ("a", "second", "k", 0, 1)]
    assert named == [*once, *((*step[:3], 1, 1) for step in once)]
    assert [step["result"] for step in steps] == [{"n": 1}, "x" * 3_000] * 2
    asked = ["runs", "show", "r", "--steps", "--data-dir", str(tmp_path / "d")]
    assert await asyncio.to_thread(main, asked) == 0
    shown = capsys.readouterr().out
    assert re.search(r'a +first +1 +1 +\S+Z +{"n": 1}', shown), shown
    assert await asyncio.to_thread(main, [*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == steps


async def test_a_restart_gets_what_was_done(tmp_path: Path) -> None:
    """The attempt of a process that is gone is lost, its steps are not."""
    calls: list[int] = []
    stuck = asyncio.Event()

    @goclaw.agent("worker")
    async def worker(ctx: TaskContext) -> Any:
        await ctx.step("one", calls.append, 1)
        if ctx.attempt == 1:
            stuck.set()
            await asyncio.sleep(3600)
        await ctx.step("two", calls.append, 2)
        return ctx.attempt

    async with goclaw.Engine(tmp_path / "d") as engine:
        await engine.submit(workflow(a={"agent": "worker"}), run_id="r")
        async for told in engine.subscribe(run_id="r"):
            if told.type == "task.step_recorded":
                break
    async with goclaw.Engine(tmp_path / "d") as engine:
        assert (await engine.result("r", timeout_s=WAIT_S)).unwrap() == 2
    assert calls == [1, 2]


@pytest.mark.usefixtures("restless")
async def test_a_sleep_gives_the_slot_to_others(engine: goclaw.Engine) -> None:
    """The only slot of the lane serves the others meanwhile; then the agent goes on."""
    order: list[str] = []

    async def note(name: str) -> None:
        order.append(name)

    @goclaw.agent("sleeper")
    async def sleeper(ctx: TaskContext) -> int:
        await ctx.step("before", note, "before")
        await ctx.sleep(0.4)
        await ctx.step("after", note, "after")
        return ctx.attempt

    @goclaw.agent("other")
    def other(ctx: TaskContext) -> int:
        order.append("other")
        return ctx.attempt

    definition = WorkflowDefinition.model_validate(
        {
            "name": "narrow",
            "lanes": {"one": {"concurrency": 1}},
            "tasks": {
                "a": {"agent": "sleeper", "lane": "one", "priority": 1},
                "b": {"agent": "other", "lane": "one"},
            },
        }
    )
    await engine.submit(definition, run_id="r")
    assert (await engine.result("r", timeout_s=WAIT_S)).unwrap() == {"a": 2, "b": 1}
    assert order == ["before", "other", "after"]
    names = await types(engine, "r")
    assert names.count("task.attempt_slept") == 1
    assert "task.attempt_failed" not in names


@pytest.mark.usefixtures("restless")
async def test_a_sleeper_wakes_after_a_restart(tmp_path: Path) -> None:
    """At its time, also where that is over when the engine is there again."""

    @goclaw.agent("sleeper")
    def sleeper(ctx: TaskContext, seconds: float) -> int:
        ctx.sleep(seconds)
        return ctx.attempt

    tasks = workflow(
        a={"agent": "sleeper", "with": {"seconds": 0.3}},
        b={"agent": "sleeper", "with": {"seconds": 1.5}},
    )
    async with goclaw.Engine(tmp_path / "d") as engine:
        await engine.submit(tasks, run_id="r")
        left = 2
        async for told in engine.subscribe(run_id="r"):
            left -= told.type == "task.attempt_slept"
            if not left:
                break
    async with goclaw.Engine(tmp_path / "d") as engine:
        assert (await engine.result("r", timeout_s=WAIT_S)).unwrap() == {"a": 2, "b": 2}


async def test_worker_processes_have_steps_too(
    engine: goclaw.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a plain agent and an async one: done once, handed back, large results, too."""
    (tmp_path / "far_steps.py").write_text(WORKER)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("far_steps")
    sys.modules.pop("far_steps")
    for kind, expected in (("sync", [[10, 200_000], True, 2]), ("async", [10, 2])):
        ledger = tmp_path / kind
        task = {"agent": f"far.{kind}", "with": {"ledger": str(ledger)}, "retry": RETRY}
        await engine.submit(workflow(a=task), run_id=kind)
        assert (await engine.result(kind, timeout_s=WAIT_S)).unwrap() == expected
        keys = ledger.read_text().split()
        assert len(keys) == len(set(keys)) == len(str(expected[0]).split(","))


async def test_a_step_that_would_show_a_secret_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the call, in a worker as well; nothing of it is written down."""
    (tmp_path / "far_secret.py").write_text(
        "import goclaw\n\n\n"
        "@goclaw.agent('far.leak', executor='process')\n"
        "def leak(ctx, token):\n"
        "    return ctx.step('leak', lambda: token)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("far_secret")
    sys.modules.pop("far_secret")
    monkeypatch.setenv("GOCLAW_SECRET_TOKEN", "hunter2-hunter2")

    @goclaw.agent("leak")
    async def leak(ctx: TaskContext, token: str) -> Any:
        return await ctx.step("leak", lambda: token)

    given = {"token": "${secret.TOKEN}"}
    async with goclaw.Engine(tmp_path / "d") as engine:
        for agent in ("leak", "far.leak"):
            await engine.submit(workflow(a={"agent": agent, "with": given}), run_id=agent)
            result = await engine.result(agent, timeout_s=WAIT_S)
            assert result.error is not None
            assert result.error.code == "step_secret"
            assert "task.step_recorded" not in await types(engine, agent)
