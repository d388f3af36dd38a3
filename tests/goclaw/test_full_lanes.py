"""Lanes that block or redirect, and unique tasks, as a user writes them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import goclaw
from goclaw.cli import main
from goclaw_actors.executors.agents import AgentRegistry

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw import TaskContext

_calls: Counter[str] = Counter()


@pytest.fixture
def agents() -> AgentRegistry:
    """Register an agent that counts its calls."""
    registry = AgentRegistry()
    _calls.clear()

    async def work(ctx: TaskContext, name: str) -> str:
        _calls[name] += 1
        return name.upper()

    registry.register("work", work)
    return registry


def wide(count: int, lane: str, **lanes: Any) -> goclaw.Workflow:
    """Return a workflow of tasks side by side."""
    workflow = goclaw.Workflow("wide")
    for name, limits in lanes.items():
        workflow.lane(name, **limits)
    for number in range(count):
        workflow.task(f"t{number}", agent="work", with_={"name": f"n{number}"}, lane=lane)
    return workflow


async def test_a_full_lane_holds_back_and_sends_on(tmp_path: Path, agents: AgentRegistry) -> None:
    """Thirty tasks through places for three: all run once; views say what became of each."""
    fast = {"concurrency": 1, "capacity": 1, "overflow": "redirect", "redirect_to": "slow"}
    slow = {"concurrency": 2, "capacity": 2, "overflow": "block"}
    async with goclaw.Engine(tmp_path, agents=agents) as engine:
        outcome = await engine.run(wide(30, "fast", fast=fast, slow=slow), timeout_s=30)
        assert outcome.status == "completed"
        engine.views.runner.wait_for({0: engine.parts.journal.durable(0)}, timeout_s=20)
        first, second = (engine.views.lanes.get(f"wide/{name}") for name in ("fast", "slow"))
    assert _calls == Counter({f"n{number}": 1 for number in range(30)})
    assert first is not None
    assert second is not None
    assert first.arrived_total + first.redirected_total == 30
    assert second.arrived_total == first.redirected_total
    assert (second.blocked, second.refused_total) == (0, 0)


async def test_who_joins_has_the_same_result(tmp_path: Path, agents: AgentRegistry) -> None:
    """Two runs at once call the agent once; a third within the window does not call it at all."""
    workflow = goclaw.Workflow("fetching")
    city = workflow.input("city")
    unique = {"key": city, "window": "1h", "on_duplicate": "join"}
    workflow.task("fetch", agent="work", with_={"name": city}, unique=unique)
    async with goclaw.Engine(tmp_path, agents=agents) as engine:
        given = {"city": "rome"}
        outcomes = await asyncio.gather(
            *(engine.run(workflow, input=given, timeout_s=30) for _ in range(2))
        )
        outcomes.append(await engine.run(workflow, input=given, timeout_s=30))
    assert [outcome.unwrap() for outcome in outcomes] == ["ROME"] * 3
    assert _calls == Counter({"rome": 1})


def test_a_circle_is_refused_by_validate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its place in the file, before anything runs."""
    file = tmp_path / "circle.yaml"
    lane = "{{overflow: redirect, redirect_to: {}}}"
    lanes = f"  a: {lane.format('b')}\n  b: {lane.format('a')}\n"
    file.write_text(f"name: circle\nlanes:\n{lanes}tasks:\n  t: {{agent: x, lane: a}}\n")
    assert main(["validate", str(file)]) == 2
    said = capsys.readouterr()
    assert "full lanes redirect in a circle: a -> b -> a" in said.out + said.err
