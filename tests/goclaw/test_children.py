"""Workflows that run other workflows, as a user writes them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.cli import main
from goclaw.errors import meaning_of
from goclaw_actors.errors import ChildUnknown
from goclaw_actors.executors.agents import AgentRegistry
from goclaw_actors.task.child import child_id
from goclaw_events.faults import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw import TaskContext


@pytest.fixture
def agents() -> AgentRegistry:
    """Register what the workflows of the tests call."""
    registry = AgentRegistry()

    async def double(ctx: TaskContext, n: int) -> int:
        return 2 * n

    async def fail(ctx: TaskContext) -> None:
        raise goclaw.RetryAfter(0.0, "later", code="try_later")

    registry.register("double", double)
    registry.register("fail", fail)
    return registry


def doubling(name: str = "doubling") -> goclaw.Workflow:
    """Return a workflow that doubles a number."""
    workflow = goclaw.Workflow(name)
    n = workflow.input("n", type="integer")
    workflow.task("double", agent="double", with_={"n": n})
    return workflow


def calling(child: str = "doubling", **task: Any) -> goclaw.Workflow:
    """Return a workflow that has a number doubled twice."""
    workflow = goclaw.Workflow("calling")
    first = workflow.task("first", workflow=child, with_={"n": 3}, **task)
    workflow.task("second", workflow=child, with_={"n": first.result}, **task)
    return workflow


async def test_a_workflow_runs_another(tmp_path: Path, agents: AgentRegistry) -> None:
    """Results go in and out; views say who is whose child; a restart knows it, too."""
    async with goclaw.Engine(tmp_path, agents=agents) as engine:
        await engine.register(doubling())
        outcome = await engine.run(calling(), run_id="top", timeout_s=30)
        assert outcome.unwrap() == 12
        engine.views.runner.wait_for({0: engine.parts.journal.durable(0)}, timeout_s=20)
        tasks = dict(engine.views.tasks.recorded("top"))
        child = tasks["first"].child
        assert child is not None
        run = engine.views.runs.get(child)
        assert run is not None
        assert (run.parent, run.status, run.result) == ("task/top/first", "completed", 6)
    async with goclaw.Engine(tmp_path, agents=agents) as engine:
        assert (await engine.result(child, timeout_s=30)).unwrap() == 6


def test_the_command_line_names_parent_and_child(
    tmp_path: Path, agents: AgentRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """`runs show` says which run a task began, and whose child a run is."""

    async def begin() -> None:
        async with goclaw.Engine(tmp_path, agents=agents) as engine:
            await engine.register(doubling())
            assert (await engine.run(calling(), run_id="top", timeout_s=30)).ok

    asyncio.run(begin())
    child = child_id("top", "first", 0, 1)
    data = ["--data-dir", str(tmp_path)]
    assert main(["runs", "show", "top", *data]) == 0
    assert child in capsys.readouterr().out
    assert main(["runs", "show", child, *data]) == 0
    assert "task first of run top" in capsys.readouterr().out
    assert main(["runs", "show", child, *data, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["parent"] == {"run_id": "top", "task": "first"}
    assert record["input"] == {"n": 3}
    assert main(["runs", "list", *data]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[-2:] for row in rows if child in row] == [["top", "first"]]
    for command in (["runs", "show", "@last"], ["replay", "--run", "@last"]):
        assert main([*command, *data, "--json"]) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert found["run_id"] == "top", "a run that a run began is not the last one"
    assert main(["log", "show", "--run", "@last", *data]) == 0
    assert "workflow/top" in capsys.readouterr().out


async def test_names_are_looked_up_when_a_run_is_submitted(agents: AgentRegistry) -> None:
    """An unknown one is refused, with what was meant; below the first level, too."""
    async with goclaw.Engine(":memory:", agents=agents) as engine:
        await engine.register(doubling())
        with pytest.raises(ChildUnknown, match="did you mean 'doubling'"):
            await engine.submit(calling("dubling"))
        await engine.register(calling("missing"))
        outer = goclaw.Workflow("outer")
        outer.task("a", workflow="calling")
        with pytest.raises(ChildUnknown, match="'missing'"):
            await engine.submit(outer)
    assert meaning_of(ChildUnknown.code).exit_code == 3


async def test_a_definition_may_call_itself(agents: AgentRegistry) -> None:
    """With a condition that ends it."""
    workflow = goclaw.Workflow("countdown")
    n = workflow.input("n", type="integer")
    less = workflow.task("less", agent="double", with_={"n": -1})
    workflow.task("again", workflow="countdown", with_={"n": less.result}, when=f"{n} > 0")
    workflow.output = {"n": n}
    async with goclaw.Engine(":memory:", agents=agents) as engine:
        assert (await engine.run(workflow, input={"n": 1}, timeout_s=30)).unwrap() == {"n": 1}


async def test_what_fails_below_fails_above(agents: AgentRegistry) -> None:
    """The code goes up; a retry of the task is a child of its own; bad input is typed."""
    below = goclaw.Workflow("below")
    below.task("f", agent="fail", retry={"attempts": 2, "initial": "1h"})
    above = goclaw.Workflow("above")
    above.task("a", workflow="below", retry={"attempts": 2, "initial": 0})
    async with goclaw.Engine(":memory:", agents=agents) as engine:
        await engine.register(below)
        outcome = await engine.run(above, timeout_s=30)
        assert outcome.error is not None
        assert (outcome.error.code, outcome.error.task) == ("try_later", "a")
        assert "later" in outcome.error.message
        await engine.register(doubling())
        strange = goclaw.Workflow("strange")
        strange.task("a", workflow="doubling", with_={"n": "three"})
        failed = await engine.run(strange, timeout_s=30)
        assert failed.error is not None
        assert failed.error.code == InvalidInput.code


async def test_a_run_that_takes_too_long_takes_its_children_with_it(agents: AgentRegistry) -> None:
    """The parent's timeout is the child's deadline."""
    slow = goclaw.Workflow("slow")
    slow.wait("w", "1h")
    top = goclaw.Workflow("top", timeout=0.05)
    top.task("a", workflow="slow")
    async with goclaw.Engine(":memory:", agents=agents) as engine:
        await engine.register(slow)
        outcome = await engine.run(top, timeout_s=30)
        assert outcome.error is not None
        assert outcome.error.code == "timeout"
        engine.views.runner.wait_for({0: engine.parts.journal.durable(0)}, timeout_s=20)
        runs = engine.views.runs.list().runs
        assert sorted(run.name for run in runs) == ["slow", "top"]
        assert all(run.has_ended for run in runs)
