"""How long a task and a run may take: every limit, and what is left when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.decider import ClearTimer, SetTimer
from goclaw_actors.messages import (
    CancelTask,
    LoseAttempt,
    ScheduleTask,
    SlotLeased,
    SlotRefused,
    TimerFired,
)
from goclaw_actors.task import task_decider
from goclaw_actors.task.retry import delay_s
from goclaw_actors.work import AttemptToken, Outcome, StartAttempt
from goclaw_events.facts import TaskFailed
from goclaw_events.plan import RetryPolicy, pack_plan, unpack_plan
from tests.actors.given import NOW_NS, Scenario, Shelf, kinds, plan_of
from tests.actors.stage import Stage

if TYPE_CHECKING:
    from goclaw_actors.task import Task

S_NS = 10**9
RETRY = {"attempts": 9, "backoff": "fixed", "initial": "2s", "jitter": "none", "max": "1h"}


def task(deadline_ns: int = 0, **fields: Any) -> tuple[Scenario[Task], list[SetTimer]]:
    """Return a task that was scheduled just now, and the timers that it set."""
    shelf = Shelf()
    ref = shelf.put_plan(plan_of({"a": {"agent": "x", **fields}}))
    scenario = Scenario(task_decider(shelf), "task/r/a")
    decision = scenario.when(ScheduleTask(ref, 0, None, "w/io", 0, deadline_ns))
    return scenario, [effect for effect in decision.effects if isinstance(effect, SetTimer)]


def start_of(decision: Any) -> StartAttempt:
    """Return what is to be started."""
    return next(effect for effect in decision.effects if isinstance(effect, StartAttempt))


def outcome(token: int, code: str = "boom", **more: Any) -> Outcome:
    """Return how an attempt failed."""
    return Outcome("task/r/a", AttemptToken(0, 1, token), "failed", code=code, **more)


def test_a_task_waits_for_a_slot_no_longer_than_it_may() -> None:
    """It leaves the queue and fails typed; a slot that comes meanwhile is given back."""
    scenario, timers = task(queue_timeout="5s")
    assert timers == [SetTimer("queue", NOW_NS + 5 * S_NS)]
    late = scenario.when(TimerFired("queue"), NOW_NS + 5 * S_NS)
    assert [fact.code for fact in late.facts] == ["timeout"]
    assert "queue_timeout of 5 s" in late.facts[0].message
    assert kinds(late.sends) == ["Withdraw", "TaskReported"]
    assert kinds(scenario.when(SlotLeased()).sends) == ["Release"]
    assert scenario.encoded() == scenario.replayed()


@pytest.mark.parametrize("message", [SlotLeased(), SlotRefused("lane_full"), CancelTask("why")])
def test_a_wait_that_is_over_leaves_no_timer(message: Any) -> None:
    """Whatever ends the wait for a slot takes the timer away."""
    scenario, timers = task(queue_timeout="5s")
    assert ClearTimer(*timers[0]) in scenario.when(message).effects
    assert scenario.when(TimerFired("queue"), NOW_NS + 9 * S_NS).facts == ()


def test_each_wait_for_a_slot_is_timed_by_itself() -> None:
    """After a backoff the task queues again, with the whole time."""
    scenario, _ = task(queue_timeout="5s", retry=RETRY)
    token = start_of(scenario.when(SlotLeased())).token.number
    scenario.when(outcome(token))
    again = scenario.when(TimerFired("due"), NOW_NS + 2 * S_NS)
    assert again.effects == (SetTimer("queue", NOW_NS + 7 * S_NS),)
    assert scenario.when(TimerFired("queue"), NOW_NS + 6 * S_NS).facts == (), "of the first wait"
    assert kinds(scenario.when(TimerFired("queue"), NOW_NS + 7 * S_NS).facts) == ["TaskFailed"]


@given(
    st.floats(0.5, 100), st.none() | st.floats(0.5, 100), st.none() | st.floats(0.5, 100),
    st.floats(0, 50),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_an_attempt_gets_the_narrowest_of_its_limits(
    timeout_s: float, total_s: float | None, run_s: float | None, queued_s: float
) -> None:
    """Its own timeout, what is left for the task, what is left for the run."""
    fields = {} if total_s is None else {"total_timeout": total_s}
    deadline_ns = 0 if run_s is None else NOW_NS + int(run_s * S_NS)
    scenario, _ = task(deadline_ns, timeout=timeout_s, **fields)
    decision = scenario.when(SlotLeased(), NOW_NS + int(queued_s * S_NS))
    limits = [limit for limit in (total_s, run_s) if limit is not None]
    if any(int(limit * S_NS) <= int(queued_s * S_NS) for limit in limits):
        assert kinds(decision.facts) == ["TaskFailed"]
        assert kinds(decision.sends) == ["Release", "TaskReported"]
        return
    expected = min([timeout_s, *(limit - queued_s for limit in limits)])
    start = start_of(decision)
    assert start.timeout_s == pytest.approx(expected, abs=1e-6)
    assert (start.timeout_of == "timeout") == (start.timeout_s == timeout_s)


def test_the_total_counts_waits_and_attempts() -> None:
    """It ends a wait for a slot and a backoff; what runs has what is left as its own limit."""
    for reach in ("scheduled", "retrying", "running"):
        scenario, timers = task(total_timeout="10s", retry=RETRY)
        assert timers == [SetTimer("total", NOW_NS + 10 * S_NS)]
        if reach != "scheduled":
            started = start_of(scenario.when(SlotLeased(), NOW_NS + 4 * S_NS))
            assert (started.timeout_s, started.timeout_of) == (6.0, "total_timeout")
            if reach == "retrying":
                scenario.when(outcome(started.token.number), NOW_NS + 5 * S_NS)
        over = scenario.when(TimerFired("total"), NOW_NS + 10 * S_NS)
        assert kinds(over.facts) == ([] if reach == "running" else ["TaskFailed"])
        if over.facts:
            assert "total_timeout of 10 s" in over.facts[0].message
        assert scenario.encoded() == scenario.replayed()


def test_no_attempt_begins_for_which_there_is_no_time() -> None:
    """A backoff beyond the limit is not waited for; the failure stays what it was."""
    scenario, _ = task(total_timeout="10s", retry=RETRY)
    token = start_of(scenario.when(SlotLeased())).token.number
    failed = scenario.when(outcome(token), NOW_NS + 8 * S_NS)
    assert kinds(failed.facts) == ["AttemptFailed", "TaskFailed"]
    assert isinstance(failed.facts[1], TaskFailed)
    assert failed.facts[1].code == "boom"
    assert "no time is left" in failed.facts[1].message
    assert ClearTimer("total", NOW_NS + 10 * S_NS) in failed.effects


def test_a_lost_attempt_whose_time_is_over_is_not_made_again() -> None:
    """After a long time without the engine the task fails instead."""
    scenario, _ = task(total_timeout="10s")
    token = start_of(scenario.when(SlotLeased())).token.number
    lost = scenario.when(LoseAttempt(token, 10), NOW_NS + 11 * S_NS)
    assert kinds(lost.facts) == ["AttemptLost", "TaskFailed"]
    assert lost.facts[1].code == "timeout"
    assert kinds(lost.sends) == ["Release", "TaskReported"]


def test_what_an_attempt_asks_for_takes_the_place_of_the_backoff() -> None:
    """Without jitter, and never longer than the policy's longest wait."""
    policy = RetryPolicy(5, "exponential", 1.0, 60.0, "full", (), ())
    assert delay_s(policy, 1, "seed", 7.0) == 7.0
    assert delay_s(policy, 1, "seed", 3600.0) == 60.0
    assert 0 <= delay_s(policy, 1, "seed") < 1
    scenario, _ = task(retry=RETRY)
    token = start_of(scenario.when(SlotLeased())).token.number
    asked = scenario.when(outcome(token, retry_after_s=30.0))
    assert asked.facts[0].retry_due_ns == NOW_NS + 30 * S_NS


def test_plans_without_these_limits_keep_their_bytes() -> None:
    """So the hash of a definition, and the digest of a submission, stay what they were."""
    plain = pack_plan(plan_of({"a": {"agent": "x", "timeout": "1s"}}))
    timed = plan_of({"a": {"agent": "x", "heartbeat_timeout": "1s"}, "b": {"agent": "x"}})
    assert plain[:12] == b"goclaw.plan\x01"
    assert pack_plan(timed)[:12] == b"goclaw.plan\x02"
    assert unpack_plan(pack_plan(timed)) == timed
    assert [task.timeouts.heartbeat_s for task in timed.tasks] == [1.0, None]


@pytest.mark.parametrize("policy", ["fail_fast", "let_finish", "continue"])
def test_a_run_that_takes_too_long_fails(policy: str) -> None:
    """What runs is stopped, whatever the policy; the run fails when it has ended."""
    stage = Stage()
    tasks = {"a": {"agent": "x"}, "b": {"agent": "x", "needs": ["a"]}, "w": {"wait": "1h"}}
    stage.submit(tasks, timeout="5s", on_failure=policy)
    stage.rest()
    assert stage.rows("timers") == 2
    stage.clock.ns += 5 * S_NS
    stage.rest()
    assert "RunTimedOut" in stage.names("workflow/r")
    assert [stop.token for stop in stage.executor.stops] == list(stage.executor.held)
    assert "r" not in stage.ended
    stage.end(next(iter(stage.executor.held.values())), "cancelled")
    stage.rest()
    assert stage.ended["r"][0] == "failed"
    failed = stage.facts("workflow/r")[-1]
    assert (failed.code, failed.task) == ("timeout", "")
    assert "timeout of 5 s" in failed.message
    assert stage.rows("timers") == 0


def test_a_deadline_outlives_a_crash_and_an_end_takes_it_away() -> None:
    """It fires late after a restart; a run that ends in time leaves no timer."""
    stage = Stage()
    stage.submit({"a": {"agent": "x"}}, "late", timeout="5s")
    stage.submit({"a": {"agent": "x"}}, "early", timeout="5s")
    stage.rest()
    stage.end(next(one for one in stage.executor.held.values() if one.run_id == "early"))
    stage.rest()
    assert stage.rows("timers") == 1
    stage = stage.crash()
    stage.clock.ns += 60 * S_NS
    stage.rest()
    failed = stage.facts("workflow/late")[-1]
    assert failed.code == "timeout"
    assert stage.rows("timers") == 0
