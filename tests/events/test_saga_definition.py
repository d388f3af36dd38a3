"""Definitions of sagas: every fault at once with its place, and the plan that they come to."""

from __future__ import annotations

import json

import pytest

from goclaw.saga_builder import Saga
from goclaw_events.definition import WorkflowDefinition
from goclaw_events.faults import InvalidDefinition
from goclaw_events.plan import compile_plan, pack_plan, unpack_plan
from goclaw_events.saga import SagaDefinition, compile_saga, load_saga, saga_from
from goclaw_events.saga.loading import load_any

TRIP = """
name: trip
policy: manual
timeout: 5m
input: {who: {type: string}}
lanes: {io: {concurrency: 2}}
steps:
  flight:
    action: {agent: book, with: {who: "${input.who}"}, lane: io}
    compensation:
      agent: cancel
      with: {id: "${action.result.id}", key: "${action.key}", doubt: "${action.in_doubt}"}
    timeout: 3s
    retry: {attempts: 2}
  hotel:
    action: {agent: book, with: {at: "${steps.flight.result.at}"}}
    compensation: {agent: cancel, with: {why: "${saga.reason}"}, retry: {attempts: 9}}
    needs: [flight]
    policy: auto
output: "${steps.hotel.result}"
"""
FAULTY = """
name: trip
polici: auto
steps:
  a:
    action: {agent: x, needs: [b]}
    needs: [c, zz]
    timeout: 0s
  b:
    needs: [c]
    compensation: {agent: x, with: {y: "${steps.q.result}", z: "${tasks.a.result}"}}
  c:
    action: {agent: x, with: {x: "${action.result}", y: "${saga.reason}"}}
    compensation: {agent: x, exec: [y], lane: nowhere}
    needs: [a]
"""
FAULTS = [
    ("unknown_key", "polici"),
    ("unknown_key", "steps.a.action.needs"),
    ("cycle", "steps.a.needs[0]"),
    ("dangling_need", "steps.a.needs[1]"),
    ("bad_duration", "steps.a.timeout"),
    ("missing_key", "steps.b.action"),
    ("no_kind", "steps.b.action"),
    ("unknown_task", "steps.b.compensation.with.y"),
    ("bad_template", "steps.b.compensation.with.z"),
    ("bad_template", "steps.c.action.with.x"),
    ("bad_template", "steps.c.action.with.y"),
    ("two_kinds", "steps.c.compensation.exec"),
    ("unknown_lane", "steps.c.compensation.lane"),
]


def test_every_fault_of_a_saga_is_told_at_once_with_its_place() -> None:
    """In the order of the text, each at the key that is wrong."""
    with pytest.raises(InvalidDefinition) as raised:
        load_saga(FAULTY)
    faults = raised.value.faults
    assert sorted((fault.code, fault.path) for fault in faults) == sorted(FAULTS)
    assert all(fault.line for fault in faults)
    assert [fault.line for fault in faults] == sorted(fault.line for fault in faults)
    assert "is no step" in str(raised.value)


def test_the_plan_of_a_saga_knows_its_steps() -> None:
    """Actions and compensations are tasks; the step says timeout and retry of the action."""
    plan = compile_saga(load_saga(TRIP))
    tasks = {task.id: task for task in plan.tasks}
    assert list(tasks) == ["flight", "hotel", "flight.compensation", "hotel.compensation"]
    assert (tasks["flight"].timeout_s, tasks["flight"].retry.attempts_max) == (3.0, 2)
    assert tasks["flight.compensation"].timeout_s is None
    assert tasks["flight.compensation"].retry[:4] == (4, "exponential", 0.1, 5.0)
    assert tasks["hotel.compensation"].retry.attempts_max == 9
    assert tasks["flight"].lane == "trip/io"
    flight, hotel = plan.steps
    assert flight == (0, 2, (), "manual", "unknown")
    assert hotel == (1, 3, (0,), "auto", "unknown")
    assert plan.tasks[0].result_read


def test_a_plan_of_a_saga_is_written_and_read() -> None:
    """What is read is what was written; that of a workflow keeps the bytes that it had."""
    plan = compile_saga(load_saga(TRIP))
    assert unpack_plan(pack_plan(plan)) == plan
    workflow = WorkflowDefinition.model_validate({"name": "w", "tasks": {"a": {"agent": "x"}}})
    assert pack_plan(compile_plan(workflow))[11] == 1


def test_json_and_the_builder_say_what_yaml_says() -> None:
    """One model is behind all three."""
    plan = compile_saga(load_saga(TRIP))
    given = load_saga(TRIP).model_dump(by_alias=True, exclude_unset=True, mode="json")
    assert compile_saga(load_saga(json.dumps(given), "json")) == plan
    saga = Saga("trip", policy="manual", timeout="5m")
    who = saga.input("who", type="string")
    saga.lane("io", concurrency=2)
    undone = {
        "agent": "cancel",
        "with": {"id": saga.action.result["id"], "key": saga.action.key,
                 "doubt": saga.action.in_doubt},
    }  # fmt: skip
    flight = saga.step(
        "flight",
        {"agent": "book", "with": {"who": who}, "lane": "io"},
        undo=undone,
        timeout="3s",
        retry={"attempts": 2},
    )
    hotel = saga.step(
        "hotel",
        {"agent": "book", "with": {"at": flight.result["at"]}},
        undo={"agent": "cancel", "with": {"why": "${saga.reason}"}, "retry": {"attempts": 9}},
        policy="auto",
    )
    saga.output = hotel.result
    assert pack_plan(saga.plan()) == pack_plan(plan)


def test_a_text_is_a_saga_if_it_has_steps() -> None:
    """Who reads either finds out by itself."""
    assert isinstance(load_any(TRIP, "yaml", "x"), SagaDefinition)
    workflow = "{name: w, tasks: {a: {agent: x}}}"
    assert isinstance(load_any(workflow, "yaml", "x"), WorkflowDefinition)


def test_a_step_may_not_have_the_name_of_a_compensation() -> None:
    """The task that compensates `a` is `a.compensation`."""
    text = """
    name: s
    steps:
      a: {action: {agent: x}, compensation: {agent: x}}
      a.compensation: {action: {agent: x}}
    """
    with pytest.raises(InvalidDefinition, match="duplicate_key"):
        load_saga(text)


@pytest.mark.parametrize("root", ["steps.a.result", "saga.id", "action.key"])
def test_a_workflow_reads_nothing_of_a_saga(root: str) -> None:
    """There it is a fault of the definition."""
    tasks = {
        "a": {"agent": "x"},
        "b": {"agent": "x", "needs": ["a"], "with": {"v": f"${{{root}}}"}},
    }
    with pytest.raises(InvalidDefinition, match="cannot be read here"):
        compile_plan(WorkflowDefinition.model_validate({"name": "w", "tasks": tasks}))


@pytest.mark.parametrize("key", ["collect", "wait", "approval"])
def test_what_a_step_cannot_be_is_refused_with_what_to_do(key: str) -> None:
    """A step collects nothing, also not its own saga: that is for a workflow below it."""
    steps = {"a": {"action": {"agent": "x"}}, "b": {"action": {key: {"tasks": ["a"]}}}}
    with pytest.raises(InvalidDefinition) as caught:
        saga_from({"name": "s", "steps": steps})
    found = next(f for f in caught.value.faults if f.code == "unknown_key")
    assert (found.path, found.message) == (f"steps.b.action.{key}", f"{key!r} is no key here")
    assert "workflow:" in found.hint
