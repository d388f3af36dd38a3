"""A task that is adjusted: every later attempt goes by it, and no slot is given twice."""

from __future__ import annotations

from typing import Any

import pytest

from goclaw_actors.adjusting import AdjustTask, LeaveQueue, LeftQueue, LimitRun, Rerank
from goclaw_actors.decider import Accepted, ClearTimer, Refused, SetTimer
from goclaw_actors.lane import LANE
from goclaw_actors.lane.decide import decide_together
from goclaw_actors.lending import Defer, Enqueue, Release, ReturnRoom
from goclaw_actors.message import Message
from goclaw_actors.messages import (
    AskAgain,
    CheckAttempt,
    CheckSlot,
    LoseAttempt,
    ScheduleTask,
    SlotLeased,
    SlotRedirected,
    SlotRefused,
    SubmitRun,
    TimerFired,
    WaitTask,
)
from goclaw_actors.pathing import DropTask
from goclaw_actors.signalling import HoldWork, ResumeWork
from goclaw_actors.task import task_decider
from goclaw_actors.work import RETURNED, Limit, Outcome, Pause
from goclaw_actors.workflow import workflow_decider
from goclaw_events.facts import (
    ChildStarted,
    LaneControlled,
    LaneDeclared,
    RunDeadlineSet,
    TaskAdjusted,
    TaskMoved,
    TaskScheduled,
)
from goclaw_events.ids import kept_slot, workflow_stream
from tests.actors.given import NOW_NS, Scenario, Shelf, kinds, moment, plan_of
from tests.actors.stage import Stage
from tests.actors.test_signals import REF, STREAM, begin, outcome, reply, start_of, task, told

S = 10**9


def adjust(**changes: Any) -> AdjustTask:
    """Return what changes the task."""
    return AdjustTask("a", "j", changes, "me", b"", REF)


def queued(**more: Any) -> Scenario[Any]:
    """Return a task that waits for a slot of `w/io`."""
    scenario = task(**more)
    scenario.when(ScheduleTask(REF, 0, {"topic": "cats", "n": 1}, "w/io", 0))
    return scenario


def test_what_is_changed_before_the_start_is_what_it_starts_with() -> None:
    """Its lane and priority, the timeout of each attempt, and when it has to have ended."""
    scenario = task(total_timeout="1h")
    changes = {"priority": 7, "lane": "w/other", "timeout_s": 4.0, "deadline_ns": NOW_NS + 9 * S}
    accepted = scenario.when(adjust(**changes))
    assert accepted.facts == (TaskAdjusted("j", changes, "me"),)
    assert (accepted.reply, accepted.sends, accepted.effects) == (Accepted("j"), [], [])
    scheduled = scenario.when(ScheduleTask(REF, 0, {"n": 1}, "w/io", 0))
    assert [send.target for send in scheduled.sends] == ["lane/w/other"]
    assert scheduled.sends[0].body.priority == 7
    assert scheduled.effects == [SetTimer("total", NOW_NS + 9 * S)]
    assert start_of(scenario.when(SlotLeased())).timeout_s == 4.0
    over = scenario.when(LoseAttempt(scenario.state.token, 10), NOW_NS + 9 * S)
    assert over.facts[-1].message == "the task did not end before the deadline that it was given"
    assert scenario.encoded() == scenario.replayed()


def test_a_policy_that_is_changed_decides_of_the_next_failure() -> None:
    """Fields that were not named stay as they are; each change lies over those before."""
    scenario = task(retry={"attempts": 2, "backoff": "fixed", "initial": "1s", "jitter": "none"})
    scenario.when(adjust(retry={"attempts_max": 3}))
    scenario.when(adjust(retry={"initial_s": 5.0, "retry_on": ["boom"]}))
    for attempt in (1, 2):
        start = begin(scenario)
        failed = scenario.when(outcome(start, "failed"))
        assert failed.facts[0].retry_due_ns == NOW_NS + 5 * S, attempt
        scenario.when(TimerFired("due"))
    last = scenario.when(outcome(begin(scenario), "failed"))
    assert kinds(last.facts) == ["AttemptFailed", "TaskFailed"]


def test_a_queued_task_is_ranked_anew_by_its_lane() -> None:
    """Said once: the priority that it has already changes nothing."""
    scenario = queued(units={"gpu": 2}, lane="/gpu")
    again = scenario.when(adjust(priority=5))
    asks = Rerank(STREAM, 5, False, "", "", "", {"gpu": 2}, 1.0, 0)
    assert [(send.target, send.body) for send in again.sends] == [("lane/w/io", asks)]
    assert scenario.when(adjust(priority=5)).sends == []


def test_a_queued_task_goes_to_another_lane_once_it_has_left_the_first() -> None:
    """What the first one says meanwhile changes nothing; a slot that was on its way counts."""
    scenario = queued()
    left = scenario.when(adjust(lane="w/other"))
    assert [(send.target, send.body) for send in left.sends] == [("lane/w/io", LeaveQueue(STREAM))]
    assert scenario.when(SlotRedirected("w/third")).facts == ()
    room = scenario.when(AskAgain("w/io"))
    assert [send.body for send in room.sends] == [ReturnRoom("workflow/r", 1)]
    assert scenario.when(LeftQueue("w/third")).facts == ()
    moved = scenario.when(LeftQueue("w/io"))
    assert moved.facts == (TaskMoved("w/other"),)
    assert [(send.target, kinds([send])) for send in moved.sends] == [("lane/w/other", ["Enqueue"])]
    assert scenario.when(LeftQueue("w/io")).facts == ()
    assert start_of(scenario.when(SlotLeased())).lane == "w/other"
    other = queued()
    other.when(adjust(lane="w/other"))
    start = start_of(other.when(SlotLeased()))
    assert start.lane == "w/io"
    assert other.when(outcome(start)).sends[0].target == "lane/w/io"


def test_a_lane_that_refuses_does_not_keep_a_task_that_wants_to_go() -> None:
    """It asks the other one; redirected there, it stays where it was sent."""
    scenario = queued()
    scenario.when(adjust(lane="w/other"))
    refused = scenario.when(SlotRefused("lane_full"))
    assert [send.target for send in refused.sends] == ["lane/w/other"]
    scenario.when(SlotRedirected("w/third"))
    assert scenario.state.lane == "w/third"
    assert kinds(scenario.when(SlotRefused("lane_full")).facts) == ["TaskFailed"]


@pytest.mark.parametrize("abandoned", [False, True])
def test_an_attempt_keeps_its_slot_and_the_next_one_asks_the_other_lane(*, abandoned: bool) -> None:
    """Also the slot of an abandoned attempt goes back to the lane that gave it."""
    scenario = queued()
    start = start_of(scenario.when(SlotLeased()))
    assert scenario.when(adjust(lane="w/other", priority=2)).sends == []
    failed = scenario.when(outcome(start, "failed")._replace(abandoned=abandoned))
    assert kinds(failed.facts) == ["AttemptFailed", "TaskMoved"]
    assert [send.target for send in failed.sends] == ["lane/w/io"]
    asked = scenario.when(TimerFired("due"))
    assert [(send.target, send.body.priority) for send in asked.sends] == [("lane/w/other", 2)]
    if abandoned:
        back = scenario.when(Outcome(STREAM, start.token, RETURNED))
        slot = kept_slot(STREAM, start.token.number)
        assert [(send.target, send.body) for send in back.sends] == [("lane/w/io", Release(slot))]
        asked = scenario.when(CheckSlot(start.token.number, "w/io"))
        assert [(send.target, send.body) for send in asked.sends] == [("lane/w/io", Release(slot))]
    assert kinds(scenario.when(CheckSlot(0, "w/io")).sends) == ["Release"]
    assert scenario.encoded() == scenario.replayed()


def test_a_task_that_waits_for_nobody_goes_at_once() -> None:
    """Between two tries it is in no lane."""
    scenario = queued()
    scenario.when(outcome(start_of(scenario.when(SlotLeased())), "failed"))
    assert kinds(scenario.when(adjust(lane="w/other")).facts) == ["TaskAdjusted", "TaskMoved"]
    assert [send.target for send in scenario.when(TimerFired("due")).sends] == ["lane/w/other"]


def test_one_that_was_not_served_holds_its_lane_and_leaves_it() -> None:
    """Others of the first lane wait as they were asked to; this one does not."""
    scenario = queued()
    start = start_of(scenario.when(SlotLeased()))
    scenario.when(adjust(lane="w/other"))
    limited = Outcome(STREAM, start.token, "failed", retry_after_s=5.0, limited=True)
    said = scenario.when(limited)
    assert [type(send.body) for send in said.sends] == [Defer, LeaveQueue]
    assert [send.target for send in scenario.when(LeftQueue("w/io")).sends] == ["lane/w/other"]


def test_one_that_stands_still_is_in_one_lane_at_most() -> None:
    """Its place may be in the queue still: whoever resumes it lets it leave first."""
    scenario = queued()
    scenario.when(HoldWork("a", "paused", "why", "me", 0.0, definition=REF))
    assert kinds(scenario.when(adjust(lane="w/other")).sends) == ["LeaveQueue"]
    resumed = scenario.when(ResumeWork("a", "me", definition=REF))
    assert kinds(resumed.sends) == ["LeaveQueue"]
    assert kinds(scenario.when(LeftQueue("w/io")).sends) == ["Enqueue"]
    assert scenario.when(LeftQueue("w/io")).sends == ()
    other = queued()
    other.when(HoldWork("a", "paused", "why", "me", 0.0, definition=REF))
    other.when(adjust(lane="w/other"))
    assert other.when(LeftQueue("w/io")).sends == ()
    asked = other.when(ResumeWork("a", "me", definition=REF))
    assert [(send.target, kinds([send])) for send in asked.sends] == [("lane/w/other", ["Enqueue"])]


def test_a_slot_of_an_earlier_generation_is_not_taken_for_that_of_the_next() -> None:
    """It ended in the queue, and a slot may be under way: it asks anew when its lane let go."""
    scenario = queued()
    scenario.when(DropTask("its path was changed"))
    again = ScheduleTask(REF, 1, {"topic": "cats", "n": 1}, "w/other", 0)
    assert [(s.target, s.body) for s in scenario.when(again).sends] == [
        ("lane/w/io", LeaveQueue(STREAM))
    ]
    late = scenario.when(SlotLeased("w/io"))
    assert (late.facts, kinds(late.sends)) == ((), ["Release", "LeaveQueue"])
    for of_before in (SlotRedirected("w/third"), SlotRefused("lane_full"), CheckSlot(0, "w/io")):
        assert scenario.when(of_before).facts == ()
    assert kinds(scenario.when(adjust(priority=5)).sends) == []
    left = scenario.when(LeftQueue("w/io"))
    assert left.facts == (TaskMoved("w/other"),)
    assert [(s.target, s.body.priority) for s in left.sends] == [("lane/w/other", 5)]
    assert scenario.when(LeftQueue("w/io")).facts == ()
    assert start_of(scenario.when(SlotLeased("w/other"))).lane == "w/other"
    assert scenario.encoded() == scenario.replayed()


def test_a_slot_that_came_after_all_is_given_back_before_a_lane_lets_go() -> None:
    """A bug kept the lane from hearing that the task ended; a lane given up lets nobody go."""
    scenario = queued()
    scenario.when(DropTask("its path was changed"))
    scenario.when(ScheduleTask(REF, 1, {"topic": "cats", "n": 1}, "w/io", 0))
    assert kinds(scenario.when(SlotLeased("w/io")).sends) == ["Release", "LeaveQueue"]
    given_up = scenario.when(SlotRefused("stream_poisoned"))
    assert kinds(given_up.facts) == ["TaskFailed"]


def test_a_running_attempt_hears_of_its_time() -> None:
    """And again where it may not have heard; a limit that is taken back is none."""
    scenario = queued(total_timeout="1h")
    start = start_of(scenario.when(SlotLeased()))
    assert told(scenario.when(adjust(priority=1))) == []
    set_ = scenario.when(adjust(timeout_s=2.0, deadline_ns=NOW_NS + 9 * S))
    assert told(set_) == [Limit(2.0, 9.0, "deadline of the task")]
    cleared = [effect for effect in set_.effects if isinstance(effect, (ClearTimer, SetTimer))]
    assert cleared == [ClearTimer("total", NOW_NS + 3600 * S), SetTimer("total", NOW_NS + 9 * S)]
    again = scenario.when(CheckAttempt(start.token.number))
    assert told(again) == [Pause(is_on=False), Limit(2.0, 9.0, "deadline of the task")]
    none = scenario.when(adjust(timeout_s=None, deadline_ns=0))
    assert told(none) == [Limit(None, None, "timeout")]
    assert ClearTimer("total", NOW_NS + 9 * S) in none.effects


def test_what_cannot_be_adjusted_is_refused() -> None:
    """What has ended says how; a wait, and work without a lane, say what they have not."""
    over = task()
    over.when(outcome(begin(over)))
    assert reply(over.when(adjust(priority=1))) == "task_finished"
    assert reply(task().when(adjust(lane=""))) == "signal_invalid"
    late = task()
    assert reply(late.when(adjust(deadline_ns=NOW_NS))) == "signal_invalid"
    for what in ({"wait": "1h"}, {"workflow": "sub"}):
        shelf = Shelf()
        shelf.put_plan(plan_of({"a": what}), REF)
        scenario = Scenario(task_decider(shelf), STREAM)
        if "wait" in what:
            scenario.when(WaitTask(REF, 0, NOW_NS + S))
        assert reply(scenario.when(adjust(priority=1))) == "signal_unsupported"
        expected = "signal_unsupported" if "wait" in what else Accepted("j")
        assert reply(scenario.when(adjust(deadline_ns=NOW_NS + S))) == expected


def test_a_child_run_has_less_time_when_its_task_has() -> None:
    """Its deadline comes forward and never goes back: it was submitted with what it has."""
    shelf = Shelf()
    shelf.put_plan(plan_of({"a": {"workflow": "sub"}}), REF)
    scenario = Scenario(task_decider(shelf), STREAM)
    scenario.given(TaskScheduled(REF, 0, {}, "", 0, child=[REF, 1, None]))
    scenario.given(ChildStarted(1, "run_c", REF))
    limited = scenario.when(adjust(deadline_ns=NOW_NS + 9 * S))
    assert [(send.target, send.body) for send in limited.sends] == [
        ("workflow/run_c", LimitRun(NOW_NS + 9 * S))
    ]
    run = Scenario(workflow_decider(shelf), "workflow/run_c")
    assert run.when(LimitRun(5)).facts == ()
    ref = shelf.put_plan(plan_of({"c": {"agent": "x"}}))
    run.when(SubmitRun(ref, "w", None, {}, b"", None, "", deadline_ns=NOW_NS + 20 * S))
    sooner = run.when(LimitRun(NOW_NS + 9 * S))
    assert sooner.facts == (RunDeadlineSet(NOW_NS + 9 * S),)
    assert sooner.effects == (
        ClearTimer("deadline", NOW_NS + 20 * S), SetTimer("deadline", NOW_NS + 9 * S)
    )  # fmt: skip
    assert run.when(LimitRun(NOW_NS + 10 * S)).facts == ()
    assert kinds(run.when(TimerFired("deadline")).facts)[0] == "RunTimedOut"


# -- lanes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [None, {"per_tenant": 5, "resources": {"gpu": 1}}])
def test_a_lane_ranks_who_waits_anew(limits: Any) -> None:
    """By the new priority, as one who comes now; who does not wait is passed over."""
    lane = Scenario(LANE, "lane/w/io")
    lane.given(LaneDeclared(1, 9, "reject", "w", limits))
    for name in "abcd":
        lane.when(Enqueue(f"task/r/{name}", 0, at_head=False))
    lane.when(Rerank("task/r/c", 5, at_head=False))
    lane.when(Rerank("task/r/b", 0, at_head=False))
    for other in ("a", "z"):
        assert lane.when(Rerank(f"task/r/{other}", 9, at_head=False)).facts == ()
    order = [lane.when(Release(f"task/r/{name}")).sends[0].target for name in "acd"]
    assert order == ["task/r/c", "task/r/d", "task/r/b"]
    assert lane.encoded() == lane.replayed()


def test_who_is_ranked_anew_keeps_its_room() -> None:
    """In a full lane, in one that runs wait for, and in one that takes nobody in."""
    for overflow, mode in (("reject", "open"), ("block", "open"), ("reject", "draining")):
        lane = Scenario(LANE, "lane/w/io")
        lane.given(LaneDeclared(1, 1, overflow, "w"))
        for name in "abc":
            lane.when(Enqueue(f"task/r/{name}", 0, at_head=False))
        if mode != "open":
            lane.given(LaneControlled(mode, {}, 1, "uid:1"))
        again = lane.when(Rerank("task/r/b", 5, at_head=False))
        assert kinds(again.facts) == ["LaneAdvanced"], (overflow, mode)
        assert kinds(lane.when(Release("task/r/a")).sends)[:1] == ["SlotLeased"]


def test_who_leaves_hears_that_it_is_out_unless_it_was_given_a_slot() -> None:
    """Also one that was never here, or is ranked and leaves in the same turn."""
    lane = Scenario(LANE, "lane/w/io")
    lane.given(LaneDeclared(1, 9, "reject", "w"))
    for name in "ab":
        lane.when(Enqueue(f"task/r/{name}", 0, at_head=False))
    assert lane.when(LeaveQueue("task/r/a")).sends == ()
    for name in "bz":
        left = lane.when(LeaveQueue(f"task/r/{name}"))
        assert [(send.target, send.body) for send in left.sends] == [
            (f"task/r/{name}", LeftQueue("w/io"))
        ]
    lane.when(Enqueue("task/r/b", 0, at_head=False))
    both = (Rerank("task/r/b", 5, at_head=False), LeaveQueue("task/r/b"))
    together = decide_together(lane.state, both, moment())
    assert kinds(together.sends) == ["LeftQueue"]
    lane.given(*together.facts)
    assert lane.when(Release("task/r/a")).sends == []
    assert lane.encoded() == lane.replayed()


# -- on a stage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [1, 3])
def test_tasks_change_places_through_a_crash(partitions: int) -> None:
    """From one lane to another, ahead of others: every task runs once, every slot comes back."""
    lanes = {name: {"concurrency": 1} for name in ("one", "two")}
    tasks = {f"t{n}": {"agent": "x", "lane": "one"} for n in range(4)}
    stage = Stage(partitions=partitions)
    stage.submit(tasks, "r", lanes=lanes)
    stage.rest()
    said: list[tuple[str, dict[str, Any]]] = [
        ("t1", {"lane": "w/two"}), ("t3", {"priority": 9}), ("t0", {"lane": "w/two"}),
    ]  # fmt: skip
    for number, (name, changes) in enumerate(said):
        body = AdjustTask(name, f"j{number}", changes, "me", bytes([number]))
        message = Message(workflow_stream("r"), body)
        message.command_id, message.digest = body.signal, body.digest
        stage.node.accept(message)
    stage.rest()
    assert all(isinstance(one.answer, Accepted) for one in stage.replies), stage.replies
    stage = stage.crash()
    stage.rest()
    order = []
    while stage.executor.held:
        start = next(iter(stage.executor.held.values()))
        order.append((start.task_id, start.lane))
        stage.end(start)
        stage.rest()
    assert stage.ended["r"][0] == "completed"
    assert sorted(order) == [("t0", "w/one"), ("t1", "w/two"), ("t2", "w/one"), ("t3", "w/one")]
    assert order.index(("t3", "w/one")) < order.index(("t2", "w/one"))


def test_an_adjustment_of_an_unknown_task_is_refused() -> None:
    """Like everything that is said to one."""
    stage = Stage()
    stage.submit({"a": {"agent": "x"}}, "r")
    stage.rest()
    stage.replies.clear()
    message = Message(workflow_stream("r"), adjust(priority=1)._replace(task="zz"))
    message.reply_to = stage.replies.append
    stage.node.accept(message)
    stage.rest()
    answer = stage.replies[-1].answer
    assert isinstance(answer, Refused)
    assert answer.code == "task_not_found"
