"""Tasks that work on the items of a list, as a user writes them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.builder import INDEX, ITEM
from goclaw.cli import main
from goclaw.errors import RunNotFound
from goclaw.results import CommandRefused
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_actors.task.child import child_id
from tests.goclaw.eventually import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw import TaskContext

LARGE = "x" * 200


@pytest.fixture
def agents() -> AgentRegistry:
    """Register what the workflows of the tests call."""
    registry = AgentRegistry()

    async def listed(ctx: TaskContext, count: int) -> list[dict[str, Any]]:
        return [{"n": n, "pad": LARGE} for n in range(count)]

    async def double(ctx: TaskContext, n: int, place: int) -> dict[str, Any]:
        assert n == place
        return {"n": 2 * n, "pad": LARGE}

    async def odd(ctx: TaskContext, n: int) -> int:
        if n % 2:
            raise goclaw.Fail("it is odd", code="odd")
        return n

    registry.register("listed", listed)
    registry.register("double", double)
    registry.register("odd", odd)
    return registry


def doubling(**task: Any) -> goclaw.Workflow:
    """Return a workflow that doubles each number of a list."""
    workflow = goclaw.Workflow("doubling")
    count = workflow.input("count", type="integer")
    numbers = workflow.task("numbers", agent="listed", with_={"count": count})
    with_ = {"n": ITEM["n"], "place": INDEX}
    workflow.task("each", agent="double", foreach=numbers.result, with_=with_, **task)
    return workflow


async def test_a_list_too_large_for_a_fact_is_worked_off_in_order(
    tmp_path: Path, agents: AgentRegistry
) -> None:
    """The items, and their results, are some hundred KiB; each agent is handed its own."""
    async with goclaw.Engine(tmp_path, agents=agents) as engine:
        found = (await engine.run(doubling(parallel=32), input={"count": 500})).unwrap()
    assert [item["n"] for item in found] == [2 * n for n in range(500)]


async def test_an_engine_that_stops_goes_on_with_what_is_left(tmp_path: Path) -> None:
    """Items that had ended are not done again; those at work are."""
    begun: list[int] = []
    many, loop = asyncio.Event(), asyncio.get_running_loop()

    async def slow(ctx: TaskContext, n: int) -> int:
        begun.append(n)
        if len(begun) == 6:
            loop.call_soon_threadsafe(many.set)
        if n >= 3 and len(begun) <= 6:
            await asyncio.sleep(3600)
        return n

    agents = AgentRegistry()
    agents.register("slow", slow)
    workflow = goclaw.Workflow("slowly")
    workflow.task("each", agent="slow", foreach=list(range(8)), parallel=3, with_={"n": ITEM})
    async with goclaw.Engine(tmp_path, agents=agents) as engine:
        await engine.submit(workflow, run_id="r")
        await many.wait()
    async with goclaw.Engine(tmp_path, agents=agents) as engine:
        assert (await engine.result("r")).unwrap() == list(range(8))
    assert sorted(begun) == sorted([*range(8), 3, 4, 5])


async def test_items_may_run_workflows_and_those_lists_again(agents: AgentRegistry) -> None:
    """A list of lists: each item is a run, whose tasks work on a list."""
    outer = goclaw.Workflow("outer")
    outer.task("rows", workflow="doubling", foreach=[1, 0, 3], with_={"count": ITEM})
    async with goclaw.Engine(":memory:", agents=agents) as engine:
        await engine.register(doubling())
        found = (await engine.run(outer)).unwrap()
    assert [[item["n"] for item in row] for row in found] == [[0], [], [0, 2, 4]]


async def test_failures_are_the_tasks_or_are_told_by_item(agents: AgentRegistry) -> None:
    """The error of the first item that failed is the task's; with `continue` each has its own."""
    strict, lax = goclaw.Workflow("strict"), goclaw.Workflow("lax")
    each: dict[str, Any] = {"agent": "odd", "foreach": [0, 1, 2], "with_": {"n": ITEM}}
    strict.task("each", **each, parallel=1)
    lax.task("each", **each, on_item_failure="continue", item_results="outcomes")
    async with goclaw.Engine(":memory:", agents=agents) as engine:
        failed = await engine.run(strict)
        assert failed.error is not None
        assert (failed.error.code, failed.error.task) == ("odd", "each")
        found = (await engine.run(lax)).unwrap()
    assert [outcome["status"] for outcome in found] == ["completed", "failed", "completed"]
    assert found[1]["error"] == {"code": "odd", "message": "it is odd"}


async def test_an_item_is_talked_to_by_the_run_above(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its number behind the id of the task is enough: steered, moved, held, explained, read."""

    async def listens(ctx: TaskContext, topic: str) -> Any:
        await ctx.emit(topic)
        async for signal in ctx.signals():
            if signal.kind == "message":
                return [ctx.params["topic"], signal.body]
        raise AssertionError("signals never end")

    agents = AgentRegistry()
    agents.register("listens", listens)
    workflow = goclaw.Workflow("heard")
    workflow.lane("slow", concurrency=1)
    workflow.task("each", agent="listens", foreach=["a", "b", "c"], with_={"topic": ITEM})
    workflow.wait("each:1", "1h", when="1 == 2")
    data = ["--data-dir", str(tmp_path / "d")]
    async with (
        goclaw.Engine(tmp_path / "d", agents=agents) as engine,
        goclaw.Client(tmp_path / "d") as client,
    ):
        await engine.submit(workflow, run_id="r")
        items = child_id("r", "each", 0, 1)
        await eventually(lambda: all_run(client, items))
        steered = await client.steer("r", {"topic": "z"}, task="each:2")
        assert (steered.run_id, steered.task) == (items, "each:2")
        assert await engine.pause("r", "each:2") == "running"
        assert await engine.resume(items, "each:2") == "running"
        await engine.adjust("r", {"lane": "slow", "priority": 3}, task="each:2")
        why = await client.why("r", "each:2")
        assert (why["run_id"], why["reason"]["kind"]) == (items, "running")
        told = await engine.message("r", "yes", task="each:0", wait="consumed")
        assert told.state == "consumed"
        state = await engine.signal_state("r", told.signal, task="each:0")
        assert state.state == "consumed"
        for task, code in (("each:3", "task_not_found"), ("each:1", "task_finished")):
            with pytest.raises(CommandRefused) as refused:
                await engine.message("r", "yes", task=task)
            assert refused.value.code == code, "a task of the run itself is meant first"
        await engine.message(items, "yes", task="each:1")
        await engine.message("r", "yes", task="each:2")
        result = (await engine.result("r")).unwrap()
        assert result["each"] == [["a", "yes"], ["b", "yes"], ["z", "yes"]]
        asked = ["runs", "tail", "r", "--output", "--task", "each:2"]
        assert await asyncio.to_thread(main, [*asked, *data]) == 0
        assert capsys.readouterr().out == "c"
    assert await asyncio.to_thread(main, ["runs", "result", "r", "--task", "each:2", *data]) == 0
    assert json.loads(capsys.readouterr().out) == ["z", "yes"]
    assert await asyncio.to_thread(main, [*asked, *data]) == 0
    assert await asyncio.to_thread(main, ["why", "r", "each:0", *data]) == 0
    assert "completed" in capsys.readouterr().out


async def all_run(client: goclaw.Client, items: str) -> bool | None:
    """Tell that all items of a list are at work."""
    try:
        tasks = (await client.show(items))["tasks"]
    except RunNotFound:
        return None
    return all(task["status"] == "running" for task in tasks.values()) or None


def test_the_command_line_shows_the_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run of the items is named as the child of the task, and explained as any other."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.yaml").write_text(
        "name: w\ntasks:\n  each: {foreach: [{u: 1}, {u: 2}], agent: goclaw.echo,"
        ' with: {one: "${item.u}"}}\n'
    )
    assert main(["plan", "w.yaml"]) == 0
    assert "foreach, 16 at a time: agent goclaw.echo" in capsys.readouterr().out
    assert main(["run", "w.yaml", "--run-id", "r", "--json"]) == 0
    done = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert done["result"] == [{"one": 1}, {"one": 2}]
    items = child_id("r", "each", 0, 1)
    assert main(["runs", "show", "r"]) == 0
    assert items in capsys.readouterr().out
    assert main(["runs", "show", items, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(shown["tasks"]) == ["each:0", "each:1"]
    assert main(["replay", "--run", items]) == 0
    assert main(["replay", "--verify"]) == 0
    assert main(["plan", "--run", items]) == 0
    assert main(["path", "rerun", items, "each:0"]) != 0
