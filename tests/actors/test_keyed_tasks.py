"""From a definition to its lanes: keys, tenants, units and rates of real runs."""

from __future__ import annotations

from typing import Any

import pytest

from goclaw_events.facts import LaneAdvanced, LaneDeclared, TaskFailed, TaskScheduled
from goclaw_events.faults import InvalidDefinition
from goclaw_events.loading import definition_from
from goclaw_events.plan import compile_plan, pack_plan, unpack_plan
from tests.actors.given import plan_of
from tests.actors.play import Play
from tests.actors.stage import Stage

LIMITED: dict[str, Any] = {
    "concurrency": 4,
    "rate": {"per_second": 5, "burst": 2},
    "resources": {"gpu": 2},
    "ageing": "10s",
    "weights": {"x": 2.0},
}
KEYED: dict[str, Any] = {
    "a": {"agent": "x", "lane": {"name": "chat", "key": "${input.user}"}, "units": {"gpu": 1}},
}
HEAD: dict[str, Any] = {"lanes": {"chat": LIMITED}, "input": {"user": {"default": "u"}}}


def test_a_plan_keeps_what_tasks_ask_and_lanes_limit() -> None:
    """Packed and read back it is equal; a plan with nothing of it has the bytes it had before."""
    plan = compile_plan(definition_from({"name": "w", "tasks": KEYED, **HEAD}))
    assert unpack_plan(pack_plan(plan)) == plan
    assert pack_plan(plan)[11] == 3
    assert plan.lanes["w/chat"].more == {
        "rate": [5, 2, "token_bucket"],
        "resources": {"gpu": 2},
        "ageing": 10.0,
        "weights": {"x": 2.0},
    }
    assert pack_plan(plan_of({"a": {"agent": "x"}}, lanes={"io": {}}))[11] == 1


def test_more_units_than_the_lane_has_are_refused_when_defined() -> None:
    """The fault names the place, before any run could wait for ever."""
    tasks = {"a": {"agent": "x", "lane": "chat", "units": {"gpu": 3, "tpu": 1}}}
    with pytest.raises(InvalidDefinition) as raised:
        definition_from({"name": "w", "tasks": tasks, **HEAD})
    found = [(fault.code, fault.path) for fault in raised.value.faults]
    code = "lane_quota_exceeded"
    assert found == [(code, "tasks.a.units.gpu"), (code, "tasks.a.units.tpu")]


@pytest.mark.parametrize(("user", "key"), [("ann", "ann"), (7, "7")])
def test_a_key_is_rendered_when_the_task_is_scheduled(user: object, key: str) -> None:
    """The task is told the key: the lane sees no template."""
    play = Play(KEYED, {"user": user}, **HEAD)
    assert play.active["a"].key == key
    assert play.lanes[0].limits == play.plan.lanes["w/chat"].more


@pytest.mark.parametrize("user", ["", "x" * 201, None, True, ["a"], {"a": 1}, 1.5])
def test_what_cannot_be_a_key_fails_the_task(user: object) -> None:
    """A key is a short text or a whole number; anything else is said, not guessed."""
    play = Play(KEYED, {"user": user}, **HEAD)
    assert play.status == "failed"
    assert play.run.state.error is not None
    assert play.run.state.error[0] == "lane_key_invalid"


def test_a_key_runs_one_at_a_time_over_runs() -> None:
    """Two runs of one user: the second waits for the first, though slots are free."""
    stage = Stage()
    for run in ("one", "two"):
        stage.submit(KEYED, run, given={"user": "u"}, **HEAD)
    stage.finish()
    assert [status for status, _ in stage.ended.values()] == ["completed"] * 2
    facts = stage.facts("lane/w/chat")
    assert isinstance(facts[0], LaneDeclared)
    held: set[str] = set()
    for fact in facts:
        if isinstance(fact, LaneAdvanced):
            held = (held - set(fact.released)) | set(fact.leased)
            assert len(held) <= 1
    assert not held
    (scheduled, *_) = stage.facts("task/one/a")
    assert isinstance(scheduled, TaskScheduled)
    assert scheduled.key == "u"


def test_a_shared_lane_without_the_units_refuses_the_task() -> None:
    """A task that asks a shared lane for what it has not fails with the reason."""
    stage = Stage()
    stage.submit({"a": {"agent": "x", "lane": "/shared", "units": {"gpu": 1}}}, "r")
    stage.finish()
    assert [status for status, _ in stage.ended.values()] == ["failed"]
    last = stage.facts("task/r/a")[-1]
    assert isinstance(last, TaskFailed)
    assert last.code == "lane_quota_exceeded"
