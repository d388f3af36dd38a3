"""Agents that spawn tasks, through the engine: on the loop, in threads and in workers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Literal

import pytest

import goclaw
from goclaw.cli import main
from goclaw.results import CommandRefused
from goclaw_actors.errors import ActorsError
from goclaw_actors.executors import spawning
from goclaw_actors.executors.agents import AgentOptions, AgentRegistry
from goclaw_actors.executors.errors import SpawnFailed
from tests.goclaw.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from goclaw import TaskContext

WAIT_S = 60.0


async def leaf(ctx: TaskContext, n: int) -> dict[str, Any]:
    """Be a task that is spawned."""
    if n < 0:
        raise goclaw.Fail("it is negative", code="negative")
    return {"n": n, "task": ctx.task_id, "pad": "x" * 2_000}


def registry(**agents: Callable[..., Any]) -> AgentRegistry:
    """Return a registry of some agents, and of `leaf`."""
    made = AgentRegistry()
    made.register("leaf", leaf)
    for name, agent in agents.items():
        made.register(name, agent)
    return made


def one(agent: str, **task: Any) -> goclaw.Workflow:
    """Return a workflow of one task."""
    workflow = goclaw.Workflow("one")
    workflow.lane("io", concurrency=2)
    workflow.task("a", agent=agent, **task)
    return workflow


async def fans_out(ctx: TaskContext, count: int) -> list[Any]:
    """Spawn many, and wait for all of them at once."""
    many = [await ctx.spawn("leaf", {"n": n}, key=f"n{n}", lane="io") for n in range(count)]
    return [done["n"] for done in await asyncio.gather(*(each.result() for each in many))]


def in_a_row(ctx: TaskContext, count: int) -> list[Any]:
    """Spawn one after the other, each with the result of the one before."""
    found, n = [], 1
    for at in range(count):
        n = ctx.spawn("leaf", {"n": n + at}, key=f"n{at}").result()["n"]
        found.append(n)
    return found


async def test_a_handler_waits_for_what_it_spawned_without_its_slot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """More are spawned than the lane lends at a time; each is a task of the run, with its id."""
    agents = registry(fans_out=fans_out)
    async with goclaw.Engine(tmp_path / "d", agents=agents) as engine:
        result = await engine.run(one("fans_out", lane="io", with_={"count": 9}), run_id="r")
        assert result.unwrap() == list(range(9))
        async with goclaw.Client(tmp_path / "d") as client:
            tasks = (await client.show("r"))["tasks"]
            assert [name for name in tasks if name.startswith("a/")] == [
                f"a/n{n}" for n in range(9)
            ]
            assert tasks["a/n3"]["status"] == "completed"
        asked = ["runs", "result", "r", "--task", "a/n3", "--data-dir", str(tmp_path / "d")]
        assert await asyncio.to_thread(main, asked) == 0
        assert json.loads(capsys.readouterr().out)["task"] == "a/n3"


@pytest.mark.parametrize("executor", ["thread", "process"])
async def test_it_may_be_awaited_in_threads_and_workers(
    tmp_path: Path, executor: Literal["thread", "process"]
) -> None:
    """One after the other, each recorded: the handler begins again from the top each time."""
    agents = AgentRegistry()
    agents.register("leaf", leaf)
    agents.register("in_a_row", in_a_row, options=AgentOptions(executor=executor))
    async with goclaw.Engine(tmp_path, agents=agents) as engine:
        result = await engine.run(one("in_a_row", with_={"count": 3}), timeout_s=WAIT_S)
    assert result.unwrap() == [1, 2, 4]


async def test_attempts_after_a_failure_get_the_same_tasks(tmp_path: Path) -> None:
    """What was spawned is spawned once; other arguments under a key are an error."""
    begun: list[int] = []

    async def counted(ctx: TaskContext, n: int) -> int:
        begun.append(n)
        return n

    async def fails_first(ctx: TaskContext) -> Any:
        child = await ctx.spawn("counted", {"n": 5}, key="k")
        if ctx.attempt == 1:
            raise RuntimeError("once")
        return await child.result()

    async def changes(ctx: TaskContext) -> None:
        await ctx.spawn("counted", {"n": ctx.attempt}, key="k")
        raise RuntimeError("again")

    agents = registry(counted=counted, fails_first=fails_first, changes=changes)
    retry = {"attempts": 3, "initial": "1ms"}
    async with goclaw.Engine(tmp_path, agents=agents) as engine:
        assert (await engine.run(one("fails_first", retry=retry))).unwrap() == 5
        failed = await engine.run(one("changes", retry=retry))
        assert failed.error is not None
        assert failed.error.code == "step_changed"
    assert begun.count(5) == 1


async def test_a_failure_is_raised_where_it_is_awaited_and_fails_who_does_not(
    tmp_path: Path,
) -> None:
    """`may_fail` says that the task goes on without."""
    caught: list[Any] = []

    async def catches(ctx: TaskContext) -> str:
        child = await ctx.spawn("leaf", {"n": -1}, key="k", may_fail=True)
        try:
            await child.result()
        except SpawnFailed as error:
            caught.append(error.details)
        return "went on"

    async def leaves(ctx: TaskContext) -> str:
        await ctx.spawn("leaf", {"n": -1}, key="k")
        return "done"

    agents = registry(catches=catches, leaves=leaves)
    async with goclaw.Engine(tmp_path, agents=agents) as engine:
        assert (await engine.run(one("catches"))).unwrap() == "went on"
        failed = await engine.run(one("leaves"))
    assert caught == [{"task": "a/k", "reason": "negative"}]
    assert failed.error is not None
    assert (failed.error.code, failed.error.task) == ("spawn_failed", "a")


async def test_what_cannot_be_spawned_is_refused_at_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad keys and fields, too many, and too deep: a typed error, before anything is recorded."""
    monkeypatch.setattr(spawning, "SPAWNED_MAX", 2)
    monkeypatch.setattr(spawning, "SPAWN_DEPTH_MAX", 1)

    async def asks(ctx: TaskContext) -> list[str]:
        codes = []
        for key, more in (("a/b", {}), ("k", {"timeout": "soon"}), ("k", {"needs": ["x"]})):
            try:
                await ctx.spawn("leaf", {"n": 1}, key=key, **more)
            except ActorsError as error:
                codes.append(error.code)
        for key in ("k1", "k2", "k3"):
            try:
                await ctx.spawn("spawns", key=key, may_fail=True)
            except ActorsError as error:
                codes.append(error.code)
        return codes

    async def spawns(ctx: TaskContext) -> None:
        await ctx.spawn("leaf", {"n": 1}, key="k")

    agents = registry(asks=asks, spawns=spawns)
    async with goclaw.Engine(tmp_path / "d", agents=agents) as engine:
        found = (await engine.run(one("asks"), run_id="r")).unwrap()
        async with goclaw.Client(tmp_path / "d") as client:
            deep = (await client.show("r"))["tasks"]["a/k1"]
    assert found == ["step_invalid"] * 3 + ["fan_out_too_large"]
    assert deep["error"]["code"] == "child_too_deep"


async def test_whoever_spawns_is_told_all_that_is_wrong_in_the_words_of_a_definition() -> None:
    """Unknown fields, bad values, no agent; a name that nobody registered; a key used twice."""
    said: list[ActorsError] = []

    async def asks(ctx: TaskContext) -> None:
        wrong: dict[str, Any] = {"timeout": "soon", "lan": "io", "retry": {"attempts": -1}}
        asked: list[tuple[Any, dict[str, Any]]]
        asked = [(asks, wrong), ("laef", {}), ("leaf", {}), ("leaf", {})]
        for agent, more in asked:
            try:
                await ctx.spawn(agent, {"n": 1}, key="k", **more)
            except ActorsError as error:
                said.append(error)

    async with goclaw.Engine(":memory:", agents=registry(asks=asks)) as engine:
        assert (await engine.run(one("asks"))).ok
    assert [error.code for error in said] == ["step_invalid", "agent_unknown", "step_repeated"]
    wrong, unknown, twice = (str(error) for error in said)
    for text in ("a/k", "'lan' cannot", "neither a registered", "'soon' is not a duration",
                 "retry.attempts: 'attempts' should be greater"):  # fmt: skip
        assert text in wrong
    assert "pydantic" not in wrong
    assert "leaf" in unknown
    assert "a spawned task with the key 'k'" in twice
    assert "ctx.spawn(" in twice


async def test_a_cancelled_run_ends_when_what_it_spawned_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where only that is at work; until then it is said what is waited for."""
    begun, loop = asyncio.Event(), asyncio.get_running_loop()

    async def waits(ctx: TaskContext) -> None:
        loop.call_soon_threadsafe(begun.set)
        await asyncio.sleep(3600)

    async def leaves(ctx: TaskContext) -> None:
        await ctx.spawn("waits", key="k")

    agents = registry(waits=waits, leaves=leaves)
    async with goclaw.Engine(tmp_path / "d", agents=agents) as engine:
        await engine.submit(one("leaves"), run_id="r")
        await begun.wait()
        async with goclaw.Client(tmp_path / "d") as client:
            await eventually(lambda: waits_for_spawned(client))
        asked = ["why", "r", "--data-dir", str(tmp_path / "d")]
        assert await asyncio.to_thread(main, asked) == 0
        assert "waits for tasks that it spawned" in capsys.readouterr().out
        await engine.cancel("r")
        assert (await engine.result("r")).status == "cancelled"


async def waits_for_spawned(client: goclaw.Client) -> bool | None:
    """Tell that a run says that it waits for what a task of it spawned."""
    return "spawned" in json.dumps(await client.why("r")) or None


async def test_a_restart_goes_on_with_what_was_spawned(tmp_path: Path) -> None:
    """The task that awaits, and what it awaits, are where they were."""
    begun, loop = asyncio.Event(), asyncio.get_running_loop()
    calls: list[int] = []

    async def waits(ctx: TaskContext) -> int:
        calls.append(ctx.attempt)
        loop.call_soon_threadsafe(begun.set)
        if len(calls) == 1:
            await asyncio.sleep(3600)
        return 7

    async def awaits(ctx: TaskContext) -> Any:
        return await (await ctx.spawn("waits", key="k")).result()

    agents = registry(waits=waits, awaits=awaits)
    async with goclaw.Engine(tmp_path, agents=agents) as engine:
        await engine.submit(one("awaits"), run_id="r")
        await begun.wait()
    async with goclaw.Engine(tmp_path, agents=agents) as engine:
        assert (await engine.result("r")).unwrap() == 7
    assert len(calls) == 2


async def test_what_was_spawned_is_talked_to_by_its_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steered, told, paused, adjusted, explained and interrupted as any task of its run."""

    async def listens(ctx: TaskContext, topic: str) -> Any:
        heard = list(ctx.resumed_state or [])
        await ctx.emit("listening")
        try:
            async for signal in ctx.signals():
                heard += [signal.body] if signal.kind == "message" else []
                if "stop" in heard:
                    break
        except goclaw.Interrupted:
            ctx.save([*heard, "interrupted"])
            raise
        return [*heard, ctx.params["topic"]]

    async def awaits(ctx: TaskContext) -> Any:
        return await (await ctx.spawn("listens", {"topic": "cats"}, key="k:1")).result()

    agents = registry(listens=listens, awaits=awaits)
    async with (
        goclaw.Engine(tmp_path / "d", agents=agents) as engine,
        goclaw.Client(tmp_path / "d") as client,
    ):
        await engine.submit(one("awaits"), run_id="r")
        await eventually(lambda: status_of(client, "r", "a/k:1", "running"))
        told = await client.message("r", "one", task="a/k:1", wait="consumed", timeout_s=WAIT_S)
        assert (told.run_id, told.task, told.state) == ("r", "a/k:1", "consumed")
        assert (await engine.steer("r", {"topic": "dogs"}, task="a/k:1")).state == "consumed"
        with pytest.raises(CommandRefused, match="no parameter 'other'"):
            await engine.steer("r", {"other": 1}, task="a/k:1")
        assert await engine.pause("r", "a/k:1") == "running"
        assert await engine.resume("r", "a/k:1") == "running"
        await engine.adjust("r", {"retry": {"attempts": 3}, "timeout": "1h"}, task="a/k:1")
        assert (await client.why("r", "a/k:1"))["reason"]["kind"] == "running"
        assert await engine.interrupt("r", "a/k:1", wait_s=WAIT_S) == "interrupted"
        assert (await client.why("r"))["reason"]["kind"] != "ended"
        assert await engine.resume("r", "a/k:1") in ("scheduled", "running")
        await eventually(lambda: status_of(client, "r", "a/k:1", "running"))
        await engine.message("r", "stop", task="a/k:1")
        assert (await engine.result("r")).unwrap() == ["one", "interrupted", "stop", "dogs"]
        for task in ("a/zz", "a/zz/k:1", "a/k:1/zz", "b/k:1", "a/", "a/k:1/"):
            with pytest.raises(CommandRefused) as refused:
                await engine.message("r", "one", task=task)
            assert refused.value.code == "task_not_found"
            for word in (engine.pause, engine.interrupt, engine.resume):
                with pytest.raises(CommandRefused) as refused:
                    await word("r", task)
                assert refused.value.code == "task_not_found"
        with pytest.raises(CommandRefused) as refused:
            await engine.message("r", "one", task="a/k:1")
        assert refused.value.code == "task_finished"
        asked = ["runs", "tail", "r", "--output", "--task", "a/k:1", "--data-dir"]
        assert await asyncio.to_thread(main, [*asked, str(tmp_path / "d")]) == 0
        assert capsys.readouterr().out == "listening" * 2


async def status_of(client: goclaw.Client, run: str, task: str, status: str) -> bool | None:
    """Tell that a task of a run has a status."""
    tasks = (await client.show(run))["tasks"]
    return (task in tasks and tasks[task]["status"] == status) or None
