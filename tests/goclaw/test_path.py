"""The path of a run, changed through the engine: from every face, with what is shown of it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.cli import main
from goclaw.pathing import PathChange
from goclaw.results import CommandRefused
from goclaw_actors.errors import PathRefused
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.errors import CodedError
from goclaw_events.facts import TaskEnded
from goclaw_events.faults import InvalidDefinition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from goclaw import TaskContext

FRAGMENT: dict[str, Any] = {
    "tasks": {"d": {"agent": "path.say", "needs": ["a"], "with": {"word": "${tasks.a.result}"}}},
    "needs": {"c": ["d"]},
    "output": "${tasks.d.result}",
}
GATE = asyncio.Event()


def workflow() -> WorkflowDefinition:
    """Return a chain of three; the first waits to be let go."""
    say = {"agent": "path.say"}
    tasks = {
        "a": {"agent": "path.wait"},
        "b": {**say, "needs": ["a"]},
        "c": {**say, "needs": ["b"], "with": {"word": "${tasks.b.result}"}},
    }
    return WorkflowDefinition.model_validate({"name": "p", "tasks": tasks})


@pytest.fixture(autouse=True)
def _agents() -> None:
    global GATE  # noqa: PLW0603 - an event belongs to the loop of one test
    GATE = asyncio.Event()

    @goclaw.agent("path.wait")
    async def wait(ctx: TaskContext) -> str:
        await GATE.wait()
        return f"g{ctx.generation}"

    @goclaw.agent("path.say")
    async def say(_ctx: TaskContext, word: Any = "none") -> Any:
        return word


@pytest.fixture(name="engine")
async def _engine(tmp_path: Path) -> AsyncIterator[goclaw.Engine]:
    async with goclaw.Engine(tmp_path) as engine:
        yield engine


async def test_a_task_is_skipped_with_a_result(engine: goclaw.Engine) -> None:
    """What needs it sees the result; a repeat of the change is one change."""
    submitted = await engine.submit(workflow())
    run_id = submitted.run_id
    first = await engine.skip_task(run_id, "b", result=[1, 2], change_id="x", sender="me")
    assert first == PathChange("x", run_id, "applied", 2)
    again = await engine.skip_task(run_id, "b", result=[1, 2], change_id="x", sender="me")
    assert again.repeated
    with pytest.raises(CommandRefused) as caught:
        await engine.skip_task(run_id, "c", change_id="x")
    assert caught.value.code == "command_conflict"
    GATE.set()
    outcome = await engine.result(run_id, timeout_s=30)
    assert outcome.unwrap() == [1, 2]
    shown = await client_of(engine).show(run_id)
    assert [task["status"] for task in shown["tasks"].values()] == [
        "completed", "skipped", "completed",
    ]  # fmt: skip
    assert [(one["version"], one["sender"]) for one in shown["path"]] == [(2, "me")]


def client_of(engine: goclaw.Engine) -> goclaw.Client:
    """Return a client that asks an engine of this process."""
    from goclaw.operations.desk import EngineDesk

    return goclaw.Client(desk=EngineDesk(engine))


async def ended(client: goclaw.Client, run_id: str, tasks: list[str]) -> None:
    """Return when tasks have ended, each as often as it is named."""
    left = list(tasks)
    async for recorded in client.subscribe(run_id=run_id):
        if isinstance(recorded.fact, TaskEnded) and recorded.fact.task in left:
            left.remove(recorded.fact.task)
            if not left:
                return


async def test_tasks_are_added_and_versions_are_shown(engine: goclaw.Engine) -> None:
    """A dry run shows the plan and changes nothing; each version of the plan can be seen."""
    run_id = (await engine.submit(workflow())).run_id
    dry = await engine.add_tasks(run_id, FRAGMENT, dry_run=True)
    assert dry.state == "possible"
    assert dry.plan is not None
    assert [task["id"] for task in dry.plan["tasks"]] == ["a", "b", "d", "c"]
    assert (await engine.path_of(run_id))["version"] == 1
    await engine.add_tasks(run_id, FRAGMENT, reason="more")
    GATE.set()
    assert (await engine.result(run_id, timeout_s=30)).unwrap() == "g0"
    found = await engine.path_of(run_id)
    assert [(one["version"], one["reason"]) for one in found["versions"]] == [(2, "more")]
    shown = await client_of(engine).show(run_id, timeline=True)
    assert set(shown["tasks"]) == {"a", "b", "c", "d"}
    assert "version 2: 1 added" in {entry["brief"] for entry in shown["timeline"]}
    assert (await engine.path_of(run_id, version=1))["plan"] != found["plan"]


async def test_a_task_that_ended_runs_again(engine: goclaw.Engine) -> None:
    """It begins its next generation, and what depends on it; results of the first stay readable."""
    run_id = (await engine.submit(workflow())).run_id
    await engine.add_tasks(run_id, {"tasks": {"z": {"wait": "1h"}}})
    GATE.set()
    client = client_of(engine)
    await ended(client, run_id, ["c"])
    changed = await engine.run_again(run_id, "a")
    assert changed.state == "applied"
    await ended(client, run_id, ["c", "c"])
    await engine.skip_task(run_id, "z")
    outcome = await engine.result(run_id, timeout_s=30)
    assert outcome.unwrap() == {"c": "none", "z": None}
    asked = {"run": run_id, "task": "a", "min_position": "now"}
    assert await client.ask("runs.result", **asked) == "g1"
    assert await client.ask("runs.result", **asked, generation=0) == "g0"


async def test_what_cannot_be_is_refused_whole(engine: goclaw.Engine) -> None:
    """Faults of a fragment, of a choice and of a run each have a code; nothing changes."""
    run_id = (await engine.submit(workflow())).run_id
    with pytest.raises(InvalidDefinition) as invalid:
        await engine.add_tasks(run_id, {"tasks": {"a": {"agent": "path.say", "needs": ["q"]}}})
    assert {fault.code for fault in invalid.value.faults} == {"duplicate_task", "dangling_need"}
    with pytest.raises(PathRefused, match="does not need a"):
        await engine.choose_branch(run_id, "a", "c")
    with pytest.raises(CommandRefused) as begun:
        await engine.skip_task(run_id, "a")
    assert begun.value.code == "path_task_begun"
    with pytest.raises(CodedError) as unknown:
        await engine.add_tasks(run_id, {"tasks": {"e": {"agent": "nobody.knows"}}})
    assert unknown.value.code == "agent_unknown"
    GATE.set()
    await engine.result(run_id, timeout_s=30)
    with pytest.raises(CommandRefused) as finished:
        await engine.skip_task(run_id, "c")
    assert finished.value.code == "run_finished"


async def test_a_client_changes_what_an_engine_changes(
    engine: goclaw.Engine, tmp_path: Path
) -> None:
    """The same words over the socket, also blocking; a file's faults have their lines."""
    run_id = (await engine.submit(workflow())).run_id
    file = tmp_path / "rest.yaml"
    file.write_text("tasks:\n  c: {agent: path.say, needs: [nothing]}\n")
    async with goclaw.Client(tmp_path) as client:
        with pytest.raises(CodedError, match="2:32: dangling_need"):
            await client.replace_rest(run_id, file)

    def blocking() -> PathChange:
        file.write_text("tasks:\n  c: {agent: path.say, needs: [a], with: {word: new}}\n")
        with goclaw.SyncClient(tmp_path) as client:
            return client.replace_rest(run_id, file, change_id="rest")

    assert (await asyncio.to_thread(blocking)).version == 2
    GATE.set()
    assert (await engine.result(run_id, timeout_s=30)).unwrap() == "new"


async def test_a_change_outlives_its_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was changed holds after a restart, also where no engine runs."""
    async with goclaw.Engine(tmp_path) as engine:
        run_id = (await engine.submit(workflow())).run_id
        await engine.skip_task(run_id, "b", result=7)
    where = ("--data-dir", str(tmp_path), "--json")
    added = ("path", "add", run_id, "--need", "c=a", *where)
    assert await asyncio.to_thread(main, added) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 3
    assert await asyncio.to_thread(main, ("plan", "--run", run_id, *where)) == 0
    plan = json.loads(capsys.readouterr().out)
    assert {task["id"]: task["needs"] for task in plan["tasks"]}["c"] == ["b", "a"]
    assert [one["version"] for one in plan["versions"]] == [2, 3]
    GATE.set()
    async with goclaw.Engine(tmp_path) as engine:
        assert (await engine.result(run_id, timeout_s=30)).unwrap() == 7


async def test_a_run_that_ended_is_begun_anew_from_its_results(
    engine: goclaw.Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another run skips what need not be done again, with what the first one had for it."""
    GATE.set()
    await engine.submit(workflow(), run_id="old")
    assert (await engine.result("old", timeout_s=30)).ok
    with pytest.raises(CommandRefused) as over:
        await engine.run_again("old", "b")
    assert over.value.code == "run_finished"

    async def called(*args: str) -> str:
        where = ("--data-dir", str(tmp_path))
        assert await asyncio.to_thread(main, (*args, *where)) == 0
        return capsys.readouterr().out.strip()

    await called("lanes", "pause", "/default")
    await engine.submit(workflow(), run_id="new")
    found = await called("runs", "result", "old", "--task", "a")
    assert found == '"g0"'
    await called("path", "skip", "new", "a", "--result", found)
    await called("path", "add", "new", "--need", "c=a")
    await called("lanes", "resume", "/default")
    assert (await engine.result("new", timeout_s=30)).unwrap() == "none"
    tasks = (await client_of(engine).show("new"))["tasks"]
    assert {name: task["status"] for name, task in tasks.items()} == {
        "a": "skipped", "b": "completed", "c": "completed",
    }  # fmt: skip


async def test_a_collector_that_is_opened_later_counts_a_later_generation(
    engine: goclaw.Engine,
) -> None:
    """The first one stays what it was, and so does what it has for it."""

    @goclaw.agent("path.generation")
    async def which(ctx: TaskContext) -> int:
        return ctx.generation

    tasks = {"a": {"agent": "path.generation"}, "other": {"agent": "path.wait"}}
    made = WorkflowDefinition.model_validate({"name": "g", "tasks": tasks})
    await engine.submit(made, run_id="r")
    first = await engine.collect("r/a", collector_id="first")
    assert [(one.generation, one.result) for one in first.gathered] == [(0, 0)]
    await engine.run_again("r", "a")
    later = await engine.collect("r/a")
    assert [(one.generation, one.result) for one in later.gathered] == [(1, 1)]
    again = await engine.collection("first")
    assert [(one.generation, one.result) for one in again.gathered] == [(0, 0)]
    GATE.set()
    assert (await engine.result("r", timeout_s=30)).ok
