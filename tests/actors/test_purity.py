"""Deciders are pure, and `evolve` takes whatever `decide` said, in any order of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.messages import (
    CancelTask,
    LoseAttempt,
    ScheduleTask,
    SlotLeased,
    SlotRefused,
    TimerFired,
    WaitTask,
)
from goclaw_actors.task import task_decider
from goclaw_actors.work import AttemptToken, Outcome, Progress
from goclaw_events.value import BlobRef
from scripts.collector_states import collector
from scripts.lane_states import lane
from scripts.run_states import run
from scripts.schedule_states import schedule
from scripts.task_states import task
from tests.actors.given import NOW_NS, Scenario, Shelf, plan_of

if TYPE_CHECKING:
    from scripts.aggregates import Aggregate

REF = BlobRef(bytes(32), 1)
STATUSES = ("completed", "failed", "cancelled")


@pytest.mark.parametrize(
    "aggregate", [run(), lane(), task(), collector(), schedule()], ids=lambda found: found.title
)
@given(data=st.data())
@settings(max_examples=60)
def test_any_messages_in_any_order(aggregate: Aggregate, data: st.DataObject) -> None:
    """Deciding leaves the state alone, applying never raises, replay gives the same state."""
    names = data.draw(st.lists(st.sampled_from(sorted(aggregate.messages)), max_size=25))
    scenario: Scenario[Any] = Scenario(aggregate.decider, aggregate.stream)
    for name in names:
        scenario.when(aggregate.messages[name])  # which checks that deciding is pure
        assert scenario.encoded() == scenario.replayed()


@given(st.lists(st.integers(0, 15), max_size=40))
@settings(max_examples=100)
def test_any_messages_with_tokens_of_any_attempt(steps: list[int]) -> None:
    """A task starts no attempt while one runs, and ends once."""
    shelf = Shelf()
    retry = {"attempts": 3, "backoff": "fixed", "initial": "1s"}
    shelf.put_plan(plan_of({"a": {"agent": "x", "retry": retry}}), REF)
    scenario = Scenario(task_decider(shelf), "task/r/a")
    reports = 0
    running = False
    for step in steps:
        decision = scenario.when(_message(step, scenario.state.token))
        for effect in decision.effects:
            kind = type(effect).__name__
            if kind == "StartAttempt":
                assert not running
                running = True
            elif kind == "CloseAttempt" and effect.token == scenario.state.token:
                running = False
            elif kind == "CloseAttempt":  # of the attempt before the one that is started here
                running = running and not any(map(_starts, decision.effects))
        if decision.facts:  # what comes too late has it said again
            reports += sum(type(send.body).__name__ == "TaskReported" for send in decision.sends)
        assert scenario.encoded() == scenario.replayed()
    assert reports == (scenario.state.status in STATUSES)


def _starts(effect: object) -> bool:
    return type(effect).__name__ == "StartAttempt"


def _message(step: int, token: int) -> Any:
    current = AttemptToken(0, 1, token)
    messages: list[Any] = [
        ScheduleTask(REF, 0, {}, "w/io", 0),
        WaitTask(REF, 0, NOW_NS),
        SlotLeased(),
        SlotLeased(),
        SlotRefused("lane_full"),
        TimerFired("due"),
        CancelTask("why"),
        LoseAttempt(token, 2),
        LoseAttempt(token - 1, 2),
        Progress("task/r/a", current, 0.5, ""),
        Outcome("task/r/a", current._replace(number=token - 1), "completed"),
        *(Outcome("task/r/a", current, status, code="e") for status in STATUSES),
        Outcome("task/r/a", current, "failed", code="e", retryable=False),
        TimerFired("due"),
    ]
    return messages[step]
