"""Standing still: tasks and runs that are interrupted or paused, and go on."""

from __future__ import annotations

from typing import Any

import pytest

from goclaw_actors.decider import Accepted, Refused
from goclaw_actors.message import Message
from goclaw_actors.messages import (
    CheckAttempt,
    ChildEnded,
    LoseAttempt,
    ScheduleTask,
    SlotLeased,
    TaskReported,
    TimerFired,
    WaitTask,
)
from goclaw_actors.ports import Limits
from goclaw_actors.signalling import HoldWork, ResumeWork
from goclaw_actors.task import task_decider
from goclaw_actors.work import (
    Consumed,
    Interrupt,
    Outcome,
    Pause,
    Saved,
    StartAttempt,
    TellAttempt,
)
from goclaw_events.facts import (
    ChildStarted,
    TaskInterrupted,
    TaskPaused,
    TaskResumed,
    TaskScheduled,
)
from goclaw_events.ids import workflow_stream
from goclaw_events.plan import pack_plan
from goclaw_events.value import BlobRef, blob_of
from tests.actors.given import NOW_NS, Scenario, Shelf, kinds, plan_of
from tests.actors.stage import CHAIN, LANES, MANY, Stage
from tests.actors.test_signals import REF, STREAM, begin, outcome, reply, say, start_of, task

INTERRUPT = HoldWork("a", "interrupted", "stop it", "me", 5.0, definition=REF)
PAUSE = HoldWork("a", "paused", "wait", "me", 0.0, definition=REF)
RESUME = ResumeWork("a", "me", definition=REF)


def test_an_interrupted_task_goes_on_with_what_it_saved() -> None:
    """It is asked, it saves, it stops, its slot is given back; resumed it asks for another one."""
    scenario = task()
    scenario.when(say("m1"))
    scenario.when(say("m2"))
    start = begin(scenario)
    asked = scenario.when(INTERRUPT)
    assert asked.effects == (TellAttempt(start.token, Interrupt("stop it", 5.0)),)
    assert scenario.state.status == "interrupting"
    scenario.when(Consumed(STREAM, start.token, ["m1"]))
    scenario.when(Saved(STREAM, start.token, 1, {"at": 7}))
    scenario.when(Consumed(STREAM, start.token, ["m2"]))
    stopped = scenario.when(outcome(start, "cancelled"))
    assert stopped.facts == (TaskInterrupted("stop it", "me"),)
    assert [send.target for send in stopped.sends] == ["lane/w/io"]
    assert scenario.when(INTERRUPT).reply == Accepted("a", repeated=True)
    resumed = scenario.when(RESUME)
    assert resumed.facts == (TaskResumed("scheduled", "me", 0),)
    assert kinds(resumed.sends) == ["Enqueue"]
    assert resumed.sends[0].body.at_head
    again = start_of(scenario.when(SlotLeased()))
    assert (again.attempt, again.state) == (2, {"at": 7})
    assert [(one.id, one.redelivered) for one in again.signals] == [("m2", True)]
    assert scenario.encoded() == scenario.replayed()


def test_what_has_not_begun_is_cancelled_and_says_so_when_it_is_wanted() -> None:
    """Queued it leaves its lane; before that, its run hears of it when it schedules the task."""
    queued = task()
    queued.when(ScheduleTask(REF, 0, {}, "w/io", 0))
    ended = queued.when(INTERRUPT)
    assert kinds(ended.facts) == ["TaskCancelled"]
    assert kinds(ended.sends) == ["Withdraw", "TaskReported"]
    early = task()
    assert kinds(early.when(INTERRUPT).facts) == ["TaskCancelled"]
    wanted = early.when(ScheduleTask(REF, 0, {}, "w/io", 0))
    assert wanted.facts == ()
    assert [send.body for send in wanted.sends] == [TaskReported("a", 0, "cancelled", None, None)]


@pytest.mark.parametrize("end", ["lost", "failed", "completed"])
def test_an_interrupt_ends_however_the_attempt_does(end: str) -> None:
    """A result counts; a failure, or a loss, leaves it interrupted, and costs no try."""
    scenario = task()
    start = begin(scenario)
    scenario.when(INTERRUPT)
    if end == "lost":
        over = scenario.when(LoseAttempt(start.token.number, 0))
        assert kinds(over.facts) == ["AttemptLost", "TaskInterrupted"]
    elif end == "failed":
        over = scenario.when(outcome(start, "failed"))
        assert over.facts == (TaskInterrupted("stop it", "me", False, ["boom", ""]),)
    else:
        scenario.when(outcome(start))
        assert scenario.state.status == "completed"
        assert reply(scenario.when(RESUME)) == "task_finished"
        return
    assert (scenario.state.status, scenario.state.failures) == ("interrupted", 0)
    assert kinds(scenario.when(RESUME).facts) == ["TaskResumed"]
    assert start_of(scenario.when(SlotLeased())).attempt == 2


def test_a_second_interrupt_is_shorter() -> None:
    """Who asked gracefully may ask again, at once; the last reason is the one that is kept."""
    scenario = task()
    start = begin(scenario)
    scenario.when(INTERRUPT)
    again = scenario.when(INTERRUPT._replace(reason="now", timeout_s=0.0))
    assert again.effects == (TellAttempt(start.token, Interrupt("now", 0.0)),)
    assert reply(scenario.when(RESUME)) == "task_busy"
    stopped = scenario.when(Outcome(STREAM, start.token, "cancelled", abandoned=True))
    assert stopped.facts == (TaskInterrupted("now", "me", abandoned=True),)
    assert kinds(stopped.sends) == ["KeepSlot"]


def test_a_paused_task_gives_back_the_slot_that_it_queued_for() -> None:
    """It stays in the queue of its lane, so no slot is given twice; resumed it asks again."""
    scenario = task()
    scenario.when(ScheduleTask(REF, 0, {}, "w/io", 0))
    assert scenario.when(PAUSE).sends == []
    assert kinds(scenario.when(SlotLeased()).sends) == ["Release"]
    assert reply(scenario.when(PAUSE)) == Accepted("a", repeated=True)
    assert kinds(scenario.when(RESUME).sends) == ["Enqueue"]
    assert reply(scenario.when(RESUME)) == "task_not_held"
    start = start_of(scenario.when(SlotLeased()))
    paused = scenario.when(PAUSE)
    assert paused.facts == (TaskPaused("wait", "me", in_force=False),)
    assert paused.effects == (TellAttempt(start.token, Pause(is_on=True)),)
    failed = scenario.when(outcome(start, "failed"))
    assert kinds(failed.facts) == ["AttemptFailed", "TaskPaused"]
    assert scenario.state.status == "paused"
    assert kinds(failed.effects) == ["CloseAttempt"]
    scenario.when(RESUME)
    assert start_of(scenario.when(SlotLeased())).attempt == 2


def test_an_attempt_that_stands_still_is_told_to_go_on() -> None:
    """By a resume; who looks whether it knows tells it again what it is to do."""
    scenario = task()
    start = begin(scenario)
    assert not start.paused
    scenario.when(PAUSE)
    check = CheckAttempt(start.token.number)
    assert TellAttempt(start.token, Pause(is_on=True)) in scenario.when(check).effects
    resumed = scenario.when(RESUME)
    assert resumed.facts == (TaskResumed("running", "me", 0),)
    assert resumed.effects == (TellAttempt(start.token, Pause(is_on=False)),)
    assert TellAttempt(start.token, Pause(is_on=False)) in scenario.when(check).effects
    scenario.when(PAUSE)
    asked = scenario.when(INTERRUPT)
    assert asked.effects == (TellAttempt(start.token, Interrupt("stop it", 5.0)),)


def test_a_pause_before_the_start_holds_when_it_comes() -> None:
    """The task is scheduled and stands still; taken back before that, nothing is left of it."""
    scenario = task()
    scenario.when(PAUSE)
    assert scenario.state.status == "pending"
    scheduled = scenario.when(ScheduleTask(REF, 0, {}, "w/io", 0))
    assert (kinds(scheduled.facts), scheduled.sends) == (["TaskScheduled", "TaskPaused"], ())
    assert kinds(scenario.when(RESUME).sends) == ["Enqueue"]
    other = task()
    other.when(PAUSE)
    assert other.when(RESUME).facts == (TaskResumed("pending", "me", 0),)
    assert kinds(other.when(ScheduleTask(REF, 0, {}, "w/io", 0)).sends) == ["Enqueue"]


def test_a_wait_that_was_paused_ends_when_it_would_have() -> None:
    """Its timer is cleared, and set again to the same time."""
    scenario = task()
    due_ns = NOW_NS + 10**9
    scenario.when(WaitTask(REF, 0, due_ns))
    assert kinds(scenario.when(PAUSE).effects) == ["ClearTimer"]
    assert scenario.when(TimerFired("due"), due_ns).facts == ()
    (timer,) = scenario.when(RESUME, due_ns + 5).effects
    assert timer.due_ns == due_ns
    assert kinds(scenario.when(TimerFired("due"), due_ns + 6).facts) == ["TaskCompleted"]


# -- runs ---------------------------------------------------------------------------------------


def tell(stage: Stage, body: Any, run: str = "r", command: str = "") -> Any:
    """Say something to a run; return the answer's code, or `True`."""
    message = Message(workflow_stream(run), body)
    message.reply_to = stage.replies.append
    if command:
        message.command_id, message.digest = command, body.digest
    stage.replies.clear()
    stage.node.accept(message)
    stage.rest()
    answer = stage.replies[-1].answer
    return answer.code if isinstance(answer, Refused) else True


def interrupted_ones(stage: Stage) -> list[StartAttempt]:
    """Return the attempts that are asked to stop, and take note that they were."""
    tokens = [tell.token for tell in stage.executor.tells if isinstance(tell.word, Interrupt)]
    stage.executor.tells.clear()
    return [stage.executor.held[token] for token in tokens if token in stage.executor.held]


@pytest.mark.parametrize("limits", [Limits(), Limits(batch_messages_max=2, live_actors_max=3)])
def test_a_run_stands_still_with_all_its_tasks_and_goes_on(limits: Limits) -> None:
    """What runs is asked to stop, what is queued is kept, nothing starts; through a crash, too."""
    stage = Stage(limits=limits)
    stage.submit(MANY, **LANES)
    stage.rest()
    hold = HoldWork("", "interrupted", "all of it", "me", 5.0, "c1", b"d")
    assert tell(stage, hold, command="c1") is True
    asked = interrupted_ones(stage)
    assert len(asked) == 3
    stage.node.accept_outcomes([Saved(asked[0].stream, asked[0].token, 1, "here")])
    for attempt in asked:
        stage.end(attempt, "cancelled")
    stage.rest()
    stage = stage.crash()
    stage.rest()
    assert tell(stage, hold, command="c1") is True
    assert stage.executor.held == {}
    assert stage.rows("timers") == 0
    assert tell(stage, ResumeWork("", "me")) is True
    assert tell(stage, ResumeWork("", "me")) == "task_not_held"
    assert len(stage.executor.held) == 3
    states = {one.task_id: one.state for one in stage.executor.held.values()}
    assert states.get(asked[0].task_id) == "here"
    stage.clock.ns += 2 * 10**9
    stage.finish()
    assert stage.ended["r"][0] == "completed"
    assert stage.rows("timers") + stage.rows("attempts") + stage.rows("inbox") == 0


def test_what_becomes_ready_in_a_paused_run_waits() -> None:
    """The attempt that runs goes on to its end; what needs it starts when the run is resumed."""
    stage = Stage()
    stage.submit(CHAIN)
    stage.rest()
    assert tell(stage, HoldWork("", "paused", "", "", 0.0)) is True
    stage.end_all()
    stage.rest()
    assert stage.executor.held == {}
    assert "r" not in stage.ended
    assert tell(stage, ResumeWork("", "")) is True
    assert [one.task_id for one in stage.executor.held.values()] == ["b"]
    stage.finish()
    assert stage.ended["r"][0] == "completed"
    assert tell(stage, HoldWork("", "paused", "", "", 0.0)) == "run_finished"
    assert tell(stage, HoldWork("", "paused", "", "", 0.0), "none") == "run_not_found"


def test_a_run_that_stands_still_can_be_cancelled() -> None:
    """And times out at its deadline; nothing of it stays in a lane."""
    stage = Stage()
    stage.submit(MANY, "c", **LANES)
    stage.submit(MANY, "t", timeout="1m", **LANES)
    stage.rest()
    for run in ("c", "t"):
        tell(stage, HoldWork("", "interrupted", "", "", 0.0), run)
    for attempt in interrupted_ones(stage):
        stage.end(attempt, "cancelled")
    stage.rest()
    stage.cancel("c")
    stage.clock.ns += 61 * 10**9
    stage.finish()
    assert stage.ended["c"][0] == "cancelled"
    assert stage.ended["t"][0] == "failed"
    assert stage.rows("open") == 0


def test_a_child_stands_still_with_the_task_that_waits_for_it() -> None:
    """Interrupt and resume go down to it; ended meanwhile, its result counts."""
    stage = Stage()
    child = plan_of({"c": {"agent": "x"}})
    data = pack_plan(child)
    for run in ("p1", "p2"):
        message = stage.submission({"p": {"workflow": "sub"}}, run)
        message.body = message.body._replace(children={"sub": blob_of(data)})
        assert message.blobs is not None
        message.blobs[blob_of(data).sha256] = data
        stage.node.accept(message)
    stage.rest()
    for run in ("p1", "p2"):
        assert tell(stage, HoldWork("p", "interrupted", "", "", 1.0, run, b""), run) is True
    first, second = interrupted_ones(stage)
    stage.end(first, "cancelled")
    stage.end(second, "completed", "done")
    stage.rest()
    assert tell(stage, ResumeWork("p", ""), "p1") is True
    (again,) = stage.executor.held.values()
    assert (again.run_id, again.attempt) == (first.run_id, 2)
    stage.finish("later")
    assert {run: stage.ended[run] for run in ("p1", "p2")} == {
        "p1": ("completed", "later"), "p2": ("completed", "done"),
    }  # fmt: skip


def test_a_child_that_fails_while_its_task_stands_still_is_tried_again_when_it_goes_on() -> None:
    """Another attempt is another run, and it is not begun before."""
    shelf = Shelf()
    retry = {"attempts": 2, "initial": "1s"}
    shelf.put_plan(plan_of({"a": {"workflow": "s", "retry": retry}}), REF)
    other = BlobRef(b"o" * 32, 1)
    shelf.put_plan(plan_of({"c": {"agent": "x"}}), other)
    scenario = Scenario(task_decider(shelf), STREAM)
    begun = TaskScheduled(REF, 0, {}, "", 0, child=[other, 1, None])
    scenario.given(begun, ChildStarted(1, "run_c", other))
    scenario.when(PAUSE)
    failed = scenario.when(ChildEnded("run_c", "failed", None, ["e", "m"]))
    assert kinds(failed.facts) == ["AttemptFailed", "TaskPaused"]
    resumed = scenario.when(RESUME)
    assert kinds(resumed.facts) == ["TaskResumed", "ChildStarted"]
    assert kinds(resumed.sends) == ["SubmitRun"]
