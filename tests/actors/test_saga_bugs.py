"""Bugs that strike a task of a saga: its slot comes back, and a person can have it tried again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.message import Message
from goclaw_actors.messages import SlotLeased, TimerFired
from goclaw_actors.work import Outcome, Stepped
from goclaw_events.ids import task_stream
from tests.actors.sagas import CHAIN, UNDO, SagaStage, step
from tests.actors.test_saga import check_over

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.decider import Decider

LANE: dict[str, Any] = {"lanes": {"io": {"concurrency": 1}}}


def strikes(task: str, body: type) -> Callable[[dict[str, Decider[Any]]], None]:
    """Make the first message of a type to a task raise."""
    armed = [True]

    def change(kinds: dict[str, Decider[Any]]) -> None:
        decider = kinds["task"]

        def decide(state: Any, message: Any, moment: Any) -> Any:
            if armed and isinstance(message, body) and state.task_id == task:
                armed.clear()
                msg = "a bug"
                raise RuntimeError(msg)
            return decider.decide(state, message, moment)

        kinds["task"] = replace(decider, decide=decide)

    return change


def in_one_lane(*, attempts: int = 1) -> dict[str, Any]:
    """Return three steps, one after the other, that all take their slot of one lane."""
    steps = {name: step(*needs) for name, needs in (("a", ()), ("b", ("a",)), ("c", ("b",)))}
    for said in steps.values():
        said["action"]["lane"] = said["compensation"]["lane"] = "io"
        said["compensation"]["retry"] = {"attempts": attempts, "initial": 1, "jitter": "none"}
    return steps


def test_an_action_that_a_bug_strikes_as_it_gets_its_slot_keeps_none() -> None:
    """The only slot is there for what undoes the steps."""
    stage = SagaStage(change=strikes("b", SlotLeased))
    stage.begin(in_one_lane(), **LANE)
    stage.done("a")
    stage.done("b" + UNDO, "a" + UNDO)
    check_over(stage, "compensated")


@pytest.mark.parametrize("body", [SlotLeased, Outcome, TimerFired])
def test_a_compensation_that_a_bug_strikes_keeps_no_slot_and_is_tried_again(body: type) -> None:
    """The alarm is raised at once; another saga goes on in the lane, and so does the retry."""
    stage = SagaStage(change=strikes("b" + UNDO, body))
    stage.begin(in_one_lane(attempts=2), **LANE)
    stage.done("a", "b")
    stage.fail("c")
    if body is Outcome:
        stage.done("b" + UNDO)
    elif body is TimerFired:
        stage.fail("b" + UNDO)
        stage.clock.ns += 2_000_000_000
        stage.rest()
    assert stage.saga().status == "compensation_failed"
    assert (stage.rows("attempts"), stage.running) == (0, [])
    stage.begin(in_one_lane(), "other", **LANE)
    stage.done("a", "b", "c")
    assert stage.ended["~other"][0] == "completed"
    stage.retry()
    stage.done("b" + UNDO, "a" + UNDO)
    check_over(stage, "compensated")


def test_what_a_compensation_recorded_outlives_the_bug() -> None:
    """Tried again, it has the key and the recorded steps of the attempt that the bug cost."""
    stage = SagaStage(change=strikes("b" + UNDO, Outcome))
    stage.begin(CHAIN)
    stage.done("a", "b")
    stage.fail("c")
    first = stage.attempt("b" + UNDO)
    task = task_stream("~s", "b" + UNDO)
    stage.node.accept(Message(task, Stepped(task, first.token, "refund", "", b"d", 5)))
    stage.rest()
    stage.done("b" + UNDO)
    assert stage.saga().status == "compensation_failed"
    stage.retry()
    again = stage.attempt("b" + UNDO)
    assert again.idempotency_key == first.idempotency_key
    assert [recorded[0] for recorded in again.steps] == ["refund"]
    assert stage.names(task).count("TaskRetried") == 1
