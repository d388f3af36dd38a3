"""Why sagas and their steps wait, forth and back; the auditor finds those that are lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.compensating import TaskRested
from goclaw_actors.lending import DeclareLane, Enqueue
from goclaw_actors.message import Message
from goclaw_actors.messages import (
    JudgeRun,
    ScheduleTask,
    SlotLeased,
    TaskReported,
)
from goclaw_actors.saga.decide import SAGAS
from goclaw_actors.why import explain
from goclaw_actors.why import reason as kinds
from goclaw_actors.work import RETURNED, Outcome
from goclaw_events.facts import RunStuck, RunUnstuck
from goclaw_events.ids import lane_stream, saga_key
from tests.actors.sagas import CHAIN, UNDO, S, SagaStage, step
from tests.actors.test_auditor import audited, auditor_of
from tests.actors.test_why import chain, live, lose, stored

if TYPE_CHECKING:
    from goclaw_actors.why import Reason, Sight

TIMED_OUT = {"status": "failed", "code": "timeout"}


def begun(steps: dict[str, Any] | None = None, **head: Any) -> SagaStage:
    """Return a stage on which the saga `s` was begun."""
    stage = SagaStage()
    stage.begin(CHAIN if steps is None else steps, **head)
    return stage


def why(sight: Sight, task: str | None = None, saga_id: str = "s") -> Reason:
    """Return why a saga, or a step of it, waits."""
    found = explain(sight, saga_key(saga_id), task)
    assert found is not None
    return found


def test_forth_a_step_waits_for_those_that_it_needs() -> None:
    """Down to the action that runs; a compensation waits for what the saga waits for."""
    stage = begun()
    for sight, last in ((live(stage), kinds.RUNNING), (stored(stage), kinds.RESTART)):
        assert chain(why(sight)) == [kinds.SAGA, last]
        assert chain(why(sight, "c")) == [kinds.DEPENDENCY, kinds.DEPENDENCY, last]
        assert why(sight, "c").details["needs"] == ["b"]
        assert chain(why(sight, "a" + UNDO)) == [kinds.SAGA, last]
        assert explain(sight, "~s", "z") is None
        assert explain(sight, "~t") is None
    stage.done("a")
    assert why(live(stage), "a").details["status"] == "completed"


def test_back_a_step_waits_until_what_needs_it_is_undone() -> None:
    """And says so of what will not begin any more, and of what is undone."""
    stage = begun()
    stage.done("a", "b")
    stage.fail("c")
    found = why(live(stage), "a")
    assert chain(found) == [kinds.UNWINDS, kinds.RUNNING]
    assert (found.details["needs"], found.because[0].subject) == (["b"], f"task/~s/b{UNDO}")
    assert chain(why(live(stage))) == [kinds.SAGA, kinds.RUNNING]
    stage.done("b" + UNDO)
    assert why(live(stage), "b").kind == kinds.ENDED
    stage.done("a" + UNDO)
    assert why(live(stage)).details["status"] == "compensated"
    other = begun({"a": step(), "b": step("a")})
    other.compensate()
    assert why(live(other), "b").details["error"][0] == "saga_goes_back"


def test_a_saga_in_line_waits_for_those_that_are_under_way() -> None:
    """Who holds the slot is named; on its way to the lane it says so."""
    stage = SagaStage()
    stage.node.accept(Message(lane_stream(SAGAS), DeclareLane(1, 9, "reject", "test")))
    stage.begin(CHAIN)
    stage.begin(CHAIN, "t")
    for sight in (live(stage), stored(stage)):
        found = why(sight, saga_id="t")
        assert chain(found) == [kinds.SAGA, kinds.LANE, kinds.LANE_SLOTS]
        (holder,) = found.because[0].because[0].holders
        assert (holder.task, holder.definition, holder.status) == (S, "trip", "running")
    stage.done("a", "b", "c")
    assert chain(why(live(stage), saga_id="t")) == [kinds.SAGA, kinds.RUNNING]


def test_who_waits_for_a_person_says_what_for() -> None:
    """The manual steps, or those whose compensation failed."""
    stage = begun({"a": step(policy="manual"), "b": step("a")})
    stage.done("a")
    stage.fail("b")
    found = why(live(stage))
    assert chain(found) == [kinds.SAGA, kinds.PERSON]
    assert found.because[0].details == {"status": "awaiting_compensation", "steps": ["a"]}
    assert why(live(stage), "a").kind == kinds.PERSON
    stage.compensate()
    stage.fail("a" + UNDO)
    found = why(live(stage))
    assert chain(found) == [kinds.ENDED, kinds.PERSON]
    assert found.because[0].details == {"status": "compensation_failed", "steps": ["a"]}
    assert why(live(stage), "a").kind == kinds.PERSON


def test_what_was_given_up_is_waited_for_until_its_code_has_ended() -> None:
    """Its name and since when; when its end was lost on the way, that is found."""
    stage = begun({"a": step(), "b": step("a")})
    stage.done("a")
    attempt = stage.attempt("b")
    stage.end(attempt, **TIMED_OUT, abandoned=True)
    stage.rest()
    for subject in (why(live(stage)).because[0], why(live(stage), "b"), why(stored(stage), "b")):
        assert (subject.kind, subject.subject) == (kinds.REST, "task/~s/b")
        assert subject.since_ns
    assert chain(why(live(stage), "a")) == [kinds.UNWINDS, kinds.REST]
    lose(stage, TaskRested)
    stage.node.accept_outcomes([Outcome(attempt.stream, attempt.token, RETURNED)])
    stage.rest()
    assert [lost.subject for lost in why(live(stage)).lost] == ["task/~s/b"]


@pytest.mark.parametrize("lost", [ScheduleTask, SlotLeased, TaskReported, Enqueue])
@pytest.mark.parametrize("partitions", [1, 4])
def test_a_lost_message_of_a_saga_is_found(lost: type, partitions: int) -> None:
    """Whatever is lost on the way, the saga is judged once, and shown as stuck."""
    stage = SagaStage(partitions=partitions)
    lose(stage, lost)
    stage.begin(CHAIN)
    if lost is TaskReported:
        stage.done("a")
    auditor = auditor_of(stage)
    assert audited(stage, auditor) == ["~s"]
    (fact,) = (f for f in stage.facts(S) if isinstance(f, RunStuck))
    assert stage.saga().stuck == fact.evidence
    assert audited(stage, auditor) == []
    again = stage.crash()
    assert again.saga().stuck == fact.evidence


def test_a_saga_that_goes_on_is_not_judged_and_one_that_does_again_is_told_so() -> None:
    """At any step; a judgement is taken back by the next."""
    stage = begun()
    auditor = auditor_of(stage)
    for task in ("a", "b"):
        assert audited(stage, auditor) == []
        stage.done(task)
    stage.say(JudgeRun([["x", "y"]]))
    assert audited(stage, auditor) == ["~s"]
    assert [type(f) for f in stage.facts(S)][-1] is RunUnstuck
    stage.fail("c")
    assert audited(stage, auditor) == []
    stage.fail("b" + UNDO)
    assert stage.saga().status == "compensation_failed"
    assert audited(stage, auditor) == []
