"""Tasks that a task spawned: begun with their record, heard of, waited for at the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from goclaw_actors.adjusting import AdjustTask
from goclaw_actors.answering import DecideTask
from goclaw_actors.decider import Accepted, ClearTimer, Decision, Refused, Send, SetTimer
from goclaw_actors.lending import Enqueue
from goclaw_actors.messages import (
    CancelTask,
    LaneFull,
    ScheduleTask,
    SlotLeased,
    SlotRefused,
    SubmitRun,
    TaskReported,
    TimerFired,
)
from goclaw_actors.signalling import HoldWork, ResumeWork, SendSignal, WithdrawSignal
from goclaw_actors.task import task_decider
from goclaw_actors.work import SLEPT, Consumed, Outcome, StartAttempt, Stepped
from goclaw_actors.workflow import workflow_decider
from goclaw_events.facts import SPAWN, SPAWNED, StepRecorded, TaskAdjusted, TaskCompleted
from goclaw_events.plan import spawned_ref
from goclaw_events.value import BlobRef
from goclaw_events.verify import verify
from tests.actors.given import NOW_NS, Scenario, Shelf, kinds, plan_of
from tests.actors.stage import Stage
from tests.actors.test_snapshot_forms import Keeper
from tests.actors.test_why import live, why

if TYPE_CHECKING:
    from goclaw_actors.task import Task

REF = BlobRef(bytes(32), 1)
STREAM = "task/r/a"
FAR_NS = NOW_NS + 10**18
SIGNAL = SendSignal("a/k", "s", "message", "steer", "hello", "me", b"d")
ADJUST = AdjustTask("a/k", "s", {"priority": 1}, "me", b"d")
HOLD = HoldWork("a/k", "paused", "", "me", 0.0)
RESUME = ResumeWork("a/k", "me")
DECIDE = DecideTask("a/k", "d", "approved", None, edited=False, sender="me", proved=[], claimed="",
                    reason="", digest=b"d")  # fmt: skip
SAID = json.dumps({"agent": "leaf", "priority": 3})


def task(**more: Any) -> tuple[Scenario[Task], StartAttempt]:
    """Return a task whose attempt runs."""
    shelf = Shelf()
    retry = {"attempts": 2, "backoff": "fixed", "initial": "1s"}
    plan = plan_of({"a": {"agent": "x", "retry": retry, **more}}, lanes={"io": {}})
    shelf.put_plan(plan, REF)
    scenario = Scenario(task_decider(shelf), STREAM)
    scenario.when(ScheduleTask(REF, 0, {}, "/default", 0))
    return scenario, start_of(scenario.when(SlotLeased()))


def start_of(decision: Decision) -> StartAttempt:
    """Return the attempt that a decision starts."""
    return next(effect for effect in decision.effects if isinstance(effect, StartAttempt))


def spawns(
    start: StartAttempt, key: str = "k", said: str = SAID, *, may_fail: bool = False
) -> Stepped:
    """Return what an attempt says that spawns a task."""
    return Stepped(STREAM, start.token, SPAWN, key, b"d", [said, {"n": 1}, may_fail])


def ended(key: str = "k", status: str = "completed", result: Any = None) -> TaskReported:
    """Return how a spawned task reports its end."""
    error = ["boom", "why"] if status == "failed" else None
    return TaskReported(f"a/{key}", 0, status, result, error)


def outcome(start: StartAttempt, status: str = "completed", **more: Any) -> Outcome:
    """Return how an attempt ends."""
    return Outcome(STREAM, start.token, status, code="" if status == "completed" else "e", **more)


def test_it_begins_with_its_record_and_once() -> None:
    """One fact, one order, in one turn; said again, neither: not by another attempt either."""
    scenario, start = task()
    decision = scenario.when(spawns(start))
    assert kinds(decision.facts) == ["StepRecorded"]
    (send,) = decision.sends
    assert send.target == "task/r/a/k"
    order: ScheduleTask = send.body
    assert order.definition == spawned_ref(REF, "a/k", SAID)
    assert (order.params, order.lane, order.priority) == ({"n": 1}, "/default", 3)
    again = scenario.when(spawns(start))
    assert (again.facts, again.sends) == ((), ())
    assert kinds(again.effects) == ["TellAttempt"]


def test_it_goes_through_the_lanes_of_the_definition() -> None:
    """A lane that is not there fails it at once: nothing waits for a lane that nobody declared."""
    scenario, start = task()
    known = scenario.when(spawns(start, "a", json.dumps({"agent": "leaf", "lane": "io"})))
    assert known.sends[0].body.lane == "w/io"
    unknown = scenario.when(spawns(start, "b", json.dumps({"agent": "leaf", "lane": "none"})))
    assert unknown.sends == ()
    assert unknown.facts[1].result == ["failed", None, ["lane_unknown", "there is no lane w/none"]]


def test_a_task_ends_when_all_have_that_it_spawned() -> None:
    """Its result is put off; its slot is given back at once; the run hears at the end."""
    scenario, start = task()
    scenario.when(spawns(start, "a"))
    scenario.when(spawns(start, "b"))
    off = scenario.when(outcome(start, result=7))
    assert kinds(off.facts) == ["EndPutOff"]
    assert kinds(off.sends) == ["Release"]
    assert scenario.when(ended("a")).sends == ()
    last = scenario.when(ended("b"))
    assert kinds(last.facts) == ["StepRecorded", "TaskCompleted"]
    assert last.facts[1] == TaskCompleted(1, start.token.number, 7)
    assert kinds(last.sends) == ["TaskReported"]
    assert scenario.when(ended("b")).facts == ()
    assert scenario.encoded() == scenario.replayed()


def test_what_ended_before_puts_nothing_off() -> None:
    """The end follows in the turn that hears of the attempt's."""
    scenario, start = task()
    scenario.when(spawns(start))
    scenario.when(ended())
    decision = scenario.when(outcome(start, result=7))
    assert kinds(decision.facts) == ["EndPutOff", "TaskCompleted"]
    assert kinds(decision.sends) == ["Release", "TaskReported"]


def test_one_that_failed_fails_its_task_unless_it_may() -> None:
    """The task that completed fails with a code of its own, and says which."""
    for may_fail, status in ((False, "failed"), (True, "completed")):
        for before in (True, False):
            scenario, start = task()
            scenario.when(spawns(start, may_fail=may_fail))
            messages = [outcome(start), ended(status="failed")]
            for message in reversed(messages) if before else messages:
                decision = scenario.when(message)
            assert scenario.state.status == status
            report = decision.sends[-1].body
            assert isinstance(report, TaskReported)
            if not may_fail:
                text = "task a/k, which it spawned, failed: why"
                assert report.error == ["spawn_failed", text]
            assert scenario.encoded() == scenario.replayed()


def test_a_task_that_fails_or_is_cancelled_cancels_what_it_spawned() -> None:
    """And ends so when they have; retries leave them at work."""
    scenario, start = task()
    scenario.when(spawns(start))
    assert kinds(scenario.when(outcome(start, "failed")).facts) == ["AttemptFailed"]
    scenario.when(CancelTask("enough"))
    assert scenario.state.status == "ending"
    last = scenario.when(ended(status="cancelled"))
    assert kinds(last.facts) == ["StepRecorded", "TaskCancelled"]
    scenario, start = task(retry={"attempts": 1})
    scenario.when(spawns(start))
    failed = scenario.when(outcome(start, "failed", message="why"))
    assert kinds(failed.facts) == ["AttemptFailed", "EndPutOff"]
    assert [send.target for send in failed.sends if isinstance(send.body, CancelTask)] == [
        "task/r/a/k"
    ]
    last = scenario.when(ended())
    assert last.facts[-1].code == "e"
    assert scenario.encoded() == scenario.replayed()


def test_a_cancel_reaches_a_task_that_waits_at_its_end() -> None:
    """It ends as cancelled then, whatever its handler returned."""
    scenario, start = task()
    scenario.when(spawns(start))
    scenario.when(outcome(start, result=7))
    cancelled = scenario.when(CancelTask("enough"))
    assert kinds(cancelled.facts) == ["EndPutOff"]
    assert kinds(cancelled.sends) == ["CancelTask"]
    assert kinds(scenario.when(CancelTask("again")).facts) == []
    assert kinds(scenario.when(ended(status="cancelled")).facts)[-1] == "TaskCancelled"


def test_what_waits_for_others_at_its_end_is_adjusted_no_more() -> None:
    """No attempt of it follows, so there is nothing that a lane or a deadline would change."""
    scenario, start = task()
    scenario.when(spawns(start))
    scenario.when(outcome(start, result=7))
    later = scenario.when(ADJUST._replace(task="a", changes={"deadline_ns": NOW_NS + 5}))
    assert (later.facts, refusal_of(later)) == ((), "task_finished")


def test_a_deadline_that_was_set_at_the_end_goes_with_a_cancel() -> None:
    """As logs of before have it: its timer is not left behind."""
    scenario, start = task()
    scenario.when(spawns(start))
    scenario.when(outcome(start, result=7))
    scenario.given(TaskAdjusted("s", {"deadline_ns": NOW_NS + 5}, "me"))
    cancelled = scenario.when(CancelTask("why"))
    assert cancelled.effects == (ClearTimer("total", NOW_NS + 5),)


def test_a_handler_that_awaits_is_called_again_when_all_have_ended() -> None:
    """Its attempt ends without a slot; the last end asks for one; it is given all results."""
    scenario, start = task()
    for key in "ab":
        scenario.when(spawns(start, key))
    scenario.when(ended("a", result=1))
    slept = scenario.when(Outcome(STREAM, start.token, SLEPT, [FAR_NS, "a", "b"]))
    assert kinds(slept.facts) == ["AttemptSlept"]
    assert SetTimer("due", FAR_NS) in slept.effects
    woken = scenario.when(ended("b", result=2))
    assert kinds(woken.facts) == ["StepRecorded", "TaskRequeued"]
    assert kinds(woken.sends) == ["Enqueue"]
    assert ClearTimer("due", FAR_NS) in woken.effects
    again = start_of(scenario.when(SlotLeased()))
    told = {record.key: record.result for record in again.steps if record.name == SPAWNED}
    assert told == {"a": ["completed", 1, None], "b": ["completed", 2, None]}
    assert scenario.encoded() == scenario.replayed()


def test_what_ended_before_the_attempt_left_wakes_it_at_once() -> None:
    """The end may be recorded while the attempt falls asleep: nothing is missed."""
    scenario, start = task()
    scenario.when(spawns(start))
    scenario.when(ended())
    slept = scenario.when(Outcome(STREAM, start.token, SLEPT, [FAR_NS, "k"]))
    assert SetTimer("due", NOW_NS) in slept.effects


def test_standing_still_goes_down_and_an_end_meanwhile_is_kept() -> None:
    """Pause and resume are passed on; who awaits goes on at the resume if all has ended."""
    scenario, start = task()
    scenario.when(spawns(start))
    scenario.when(Outcome(STREAM, start.token, SLEPT, [FAR_NS, "k"]))
    held = scenario.when(HoldWork("a", "paused", "wait", "me", 0.0))
    assert [send.target for send in held.sends] == ["task/r/a/k"]
    assert kinds(scenario.when(ended()).facts) == ["StepRecorded"]
    resumed = scenario.when(ResumeWork("a", "me"))
    assert kinds(resumed.facts) == ["TaskResumed", "TaskRequeued"]
    assert isinstance(resumed.sends[0].body, Enqueue)
    assert scenario.encoded() == scenario.replayed()


def test_a_task_at_its_end_passes_on_what_its_run_says() -> None:
    """It has nothing of its own to stop, but what it spawned has."""
    scenario, start = task()
    scenario.when(spawns(start))
    scenario.when(outcome(start))
    for message in (HoldWork("a", "paused", "w", "me", 0.0, of_run=True), ResumeWork("a", "me")):
        decision = scenario.when(message)
        assert decision.facts == ()
        assert decision.reply == Accepted("a")
        assert [send.target for send in decision.sends] == ["task/r/a/k"]


def test_what_a_paused_task_spawns_begins_when_it_is_resumed() -> None:
    """A task that is paused runs on; what it spawns stands still from the beginning."""
    scenario, start = task()
    scenario.when(HoldWork("a", "paused", "wait", "me", 0.0))
    decision = scenario.when(spawns(start))
    assert kinds(decision.sends) == ["HoldWork", "ScheduleTask"]
    spawned = Scenario(scenario.decider, "task/r/a/k")
    for send in decision.sends:
        last = spawned.when(send.body)
    assert spawned.state.status == "paused"
    assert last.sends == ()


def test_a_lane_that_blocks_turns_a_spawned_task_away() -> None:
    """Its run does not know it, and holds nothing back for it."""
    shelf = Shelf()
    shelf.put_plan(plan_of({"a": {"agent": "x"}}), REF)
    run = Scenario(workflow_decider(shelf), "workflow/r")
    decision = run.when(LaneFull("w/io", ["task/r/a/k"]))
    assert [(s.target, s.body) for s in decision.sends if isinstance(s.body, SlotRefused)] == [
        ("task/r/a/k", SlotRefused("lane_full"))
    ]


def test_its_run_passes_on_what_is_said_to_it() -> None:
    """Whether or not there is such a task: the run does not know, but whose it would be."""
    shelf = Shelf()
    shelf.put_plan(plan_of({"a": {"agent": "x"}}), REF)
    run = Scenario(workflow_decider(shelf), "workflow/r")
    run.when(SubmitRun(REF, "w", None, {}, b"", None, ""))
    words: list[Any] = [SIGNAL, WithdrawSignal("", "s", ""), ADJUST, HOLD, RESUME, DECIDE]
    for word in words:
        passed = run.when(word._replace(task="a/k/l:1"))
        assert passed == Decision(
            (), (Send("task/r/a/k/l:1", word._replace(task="a/k/l:1"), passed_on=True),)
        )
        for name in ("b/k", "a/", "a//k", "a/k/", "a/" + "k" * 201, "/k"):
            decision = run.when(word._replace(task=name))
            assert (decision.sends, decision.facts) == ((), ())
            assert refusal_of(decision) == "task_not_found"


def test_one_that_there_is_not_says_so_and_keeps_nothing() -> None:
    """It has no plan to go by; the first word of its stream is that it was scheduled."""
    scenario, _ = task()
    spawned = Scenario(scenario.decider, "task/r/a/k")
    for word in (SIGNAL, ADJUST, HOLD, RESUME):
        decision = spawned.when(word)
        assert (decision.sends, decision.facts) == ((), ())
        assert refusal_of(decision) == "task_not_found"
    assert spawned.state.status == "pending"


def refusal_of(decision: Decision) -> str:
    """Return the code with which something is refused."""
    assert isinstance(decision.reply, Refused)
    return decision.reply.code


def test_a_signal_does_not_expire_behind_the_end() -> None:
    """Its timer may have fired in the very moment in which the attempt that took it failed."""
    scenario, start = task(retry={"attempts": 1})
    scenario.when(SIGNAL._replace(task="a", deadline_ns=NOW_NS + 5))
    scenario.when(Consumed(STREAM, start.token, ["s"]))
    assert "TaskFailed" in kinds(scenario.when(outcome(start, "failed"), NOW_NS + 5).facts)
    assert scenario.when(TimerFired("expire/s"), NOW_NS + 5).facts == ()


def test_a_snapshot_keeps_who_is_waited_for() -> None:
    """A task made again from one knows what it spawned, what failed, and how it ends."""
    scenario, start = task()
    scenario.when(spawns(start, "a"))
    scenario.when(spawns(start, "b"))
    scenario.when(ended("a", "failed"))
    scenario.when(outcome(start, result=7))
    again = Keeper(scenario.decider, STREAM).through(scenario.state)
    assert again.steps is not None
    assert (list(again.steps.open), again.steps.failed) == (["b"], ["a", "failed: why"])
    assert again.ending == scenario.state.ending


def test_a_run_waits_for_it_and_says_why_under_crashes() -> None:
    """Whatever reached the disk: spawned once, heard of once, and the task ends after it."""
    for survive in (0, 1, 2, 3):
        stage = Stage()
        stage.submit({"a": {"agent": "x"}})
        stage.rest()
        (start,) = stage.executor.held.values()
        stage.node.accept_outcomes([spawns(start)])
        stage.decide()
        stage = stage.crash(survive)
        stage.rest()
        (start,) = (one for one in stage.executor.held.values() if one.task_id == "a")
        stage.node.accept_outcomes([spawns(start)])
        stage.rest()
        stage.end(start, value=7)
        stage.rest()
        reason = why(live(stage))
        assert [each.kind for each in reason.walk()] == ["run", "spawned", "running"]
        assert not reason.lost
        stage = stage.crash(survive)
        stage.finish(value=1)
        assert stage.names(STREAM)[-2:] == ["StepRecorded", "TaskCompleted"]
        assert stage.names("workflow/r")[-1] == "RunCompleted"
        spawned = [fact for fact in stage.facts(STREAM) if isinstance(fact, StepRecorded)]
        assert [fact.name for fact in spawned] == [SPAWN, SPAWNED]
        assert verify(stage.journal).whole
