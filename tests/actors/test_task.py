"""The task: every state and message, tokens, lost attempts, cancelling, waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.decider import ClearTimer, CloseAttempt, OpenAttempt, SetTimer
from goclaw_actors.lending import KeepSlot, Release
from goclaw_actors.messages import (
    CancelTask,
    CheckAttempt,
    CheckSlot,
    LoseAttempt,
    ScheduleTask,
    SlotLeased,
    SlotRefused,
    TaskReported,
    TimerFired,
    WaitTask,
)
from goclaw_actors.task import task_decider
from goclaw_actors.task.state import FINAL
from goclaw_actors.work import (
    AttemptToken,
    Outcome,
    Pause,
    Progress,
    StartAttempt,
    StopAttempt,
    TellAttempt,
)
from goclaw_events.facts import (
    AttemptFailed,
    AttemptLost,
    AttemptReturned,
    AttemptStarted,
    OutcomeRefused,
    ProgressReported,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskScheduled,
)
from goclaw_events.ids import kept_slot
from goclaw_events.value import BlobRef
from scripts.state_tables import answers
from scripts.task_states import task as drawn_task
from tests.actors.given import HOLDER, NOW_NS, Scenario, Shelf, kinds, plan_of

if TYPE_CHECKING:
    from goclaw_actors.decider import Decision
    from goclaw_actors.task import Task
    from scripts.aggregates import Aggregate

STREAM = "task/r/a"
REF = BlobRef(bytes(32), 1)
RETRY = {"attempts": 3, "backoff": "fixed", "initial": "2s", "jitter": "none"}
DRAWN: Aggregate = drawn_task()

# Which facts a message leads to; what is not named leads to none.
REFUSED = {
    name: ["OutcomeRefused"]
    for name in (
        "Outcome completed",
        "Outcome failed (may be retried)",
        "Outcome failed (not to be retried)",
        "Outcome cancelled",
        "Outcome failed (abandoned)",
        "Outcome failed (rate limited)",
        "Outcome completed (a step is unused)",
        "Outcome slept",
        "Outcome slept (for what it spawned)",
        "Outcome of another attempt",
    )
}
ADJUSTED = {f"AdjustTask ({what})": ["TaskAdjusted"] for what in ("priority", "lane", "deadline")}
QUEUED = {"LeftQueue": ["TaskMoved"]}
SIGNALLED = {
    f"SendSignal ({how})": ["SignalAccepted"]
    for how in ("parameters", "message", "rejecting", "merging")
}
TOLD = ADJUSTED | SIGNALLED
TOLD_AT_WORK = {name: said for name, said in TOLD.items() if "rejecting" not in name}
STEPS = {
    "Stepped": ["StepRecorded"],
    "Outcome completed (a step is unused)": ["StepsUnused", "TaskCompleted"],
    "Stepped (it spawns)": ["StepRecorded"],
    "Outcome slept": ["AttemptSlept"],
    "Outcome slept (for what it spawned)": ["AttemptSlept"],
}
"""In a state in which an attempt runs."""
LATE = {"Outcome of another attempt": ["OutcomeRefused"]}
ASKING = {
    "HoldWork interrupt": ["TaskCancelled"],
    "HoldWork interrupt (with its run)": ["TaskPaused"],
    "HoldWork pause": ["TaskPaused"],
    "KeyGranted": ["TaskAdmitted"],
    "KeyRefused": ["TaskFailed"],
    "KeyEnded completed": ["TaskCompleted"],
    "KeyEnded failed": ["TaskFailed"],
    "CancelTask": ["TaskCancelled"],
    "CancelTask (only if queued)": ["TaskCancelled"],
    **TOLD,
    "AdjustTask (lane)": ["TaskAdjusted", "TaskMoved"],
    **REFUSED,
}
EXPECTED: dict[str, dict[str, list[str]]] = {
    "pending": {
        "HoldWork interrupt": ["TaskCancelled"],
        "HoldWork pause": ["TaskPaused"],
        "CancelTask (only if queued)": ["TaskCancelled"],
        "ScheduleTask": ["TaskScheduled"],
        "WaitTask": ["TaskWaiting"],
        "AwaitTask": ["TaskAwaiting"],
        "CancelTask": ["TaskCancelled"],
        **TOLD,
        **REFUSED,
    },
    "pending (a message waits)": {
        "HoldWork interrupt": ["SignalEnded", "TaskCancelled"],
        "HoldWork pause": ["TaskPaused"],
        "ScheduleTask": ["TaskScheduled"],
        "WaitTask": ["TaskWaiting"],
        "AwaitTask": ["TaskAwaiting"],
        "CancelTask": ["SignalEnded", "TaskCancelled"],
        "CancelTask (only if queued)": ["SignalEnded", "TaskCancelled"],
        "WithdrawSignal": ["SignalEnded"],
        "EndSignals": ["SignalEnded"],
        **{name: said for name, said in TOLD.items() if name != "SendSignal (message)"},
        **REFUSED,
    },
    "running (a message waits)": {
        **ADJUSTED,
        "Outcome failed (rate limited)": ["AttemptLimited"],
        "HoldWork interrupt": ["TaskInterruptRequested"],
        "HoldWork interrupt (with its run)": ["TaskInterruptRequested"],
        "HoldWork pause": ["TaskPaused"],
        "Outcome failed (abandoned)": ["AttemptFailed"],
        "Outcome completed": ["SignalEnded", "TaskCompleted"],
        "Outcome failed (may be retried)": ["AttemptFailed"],
        "Outcome failed (not to be retried)": ["SignalEnded", "AttemptFailed", "TaskFailed"],
        "Outcome cancelled": ["SignalEnded", "AttemptFailed", "TaskFailed"],
        "Progress": ["ProgressReported"],
        "LoseAttempt": ["AttemptLost", "AttemptStarted"],
        "LoseAttempt (once too often)": ["SignalEnded", "AttemptLost", "TaskDied"],
        "LoseAttempt (process asked to stop)": ["AttemptLost", "AttemptStarted"],
        "CancelTask": ["TaskCancelRequested"],
        "WithdrawSignal": ["SignalEnded"],
        "EndSignals": ["SignalEnded"],
        "Consumed": ["SignalConsumed"],
        "Saved": ["StateSaved"],
        **STEPS,
        "SendSignal (parameters)": ["SignalAccepted"],
        "SendSignal (merging)": ["SignalAccepted"],
        **LATE,
        "Outcome completed (a step is unused)": ["SignalEnded", "StepsUnused", "TaskCompleted"],
    },
    "running (it was taken)": {
        **ADJUSTED,
        "Outcome failed (rate limited)": ["AttemptLimited"],
        "HoldWork interrupt": ["TaskInterruptRequested"],
        "HoldWork interrupt (with its run)": ["TaskInterruptRequested"],
        "HoldWork pause": ["TaskPaused"],
        "Outcome failed (abandoned)": ["AttemptFailed"],
        "Outcome completed": ["TaskCompleted"],
        "Outcome failed (may be retried)": ["AttemptFailed"],
        "Outcome failed (not to be retried)": ["SignalEnded", "AttemptFailed", "TaskFailed"],
        "Outcome cancelled": ["SignalEnded", "AttemptFailed", "TaskFailed"],
        "Progress": ["ProgressReported"],
        "LoseAttempt": ["AttemptLost", "AttemptStarted"],
        "LoseAttempt (once too often)": ["SignalEnded", "AttemptLost", "TaskDied"],
        "LoseAttempt (process asked to stop)": ["AttemptLost", "AttemptStarted"],
        "CancelTask": ["TaskCancelRequested"],
        "Saved": ["StateSaved"],
        **STEPS,
        "SendSignal (parameters)": ["SignalAccepted"],
        "SendSignal (merging)": ["SignalAccepted"],
        **LATE,
    },
    "scheduled": {
        **QUEUED,
        "KeyTaken": ["TaskFailed"],
        "HoldWork interrupt": ["TaskCancelled"],
        "HoldWork interrupt (with its run)": ["TaskInterrupted"],
        "HoldWork pause": ["TaskPaused"],
        "CancelTask (only if queued)": ["TaskCancelled"],
        "SlotLeased": ["AttemptStarted"],
        "SlotRefused": ["TaskFailed"],
        "SlotRedirected": ["TaskRedirected"],
        "CancelTask": ["TaskCancelled"],
        **TOLD,
        **REFUSED,
    },
    "scheduled (it has its key)": {
        **QUEUED,
        "HoldWork interrupt": ["TaskCancelled"],
        "HoldWork interrupt (with its run)": ["TaskInterrupted"],
        "HoldWork pause": ["TaskPaused"],
        "KeyTaken": ["TaskFailed"],
        "CancelTask (only if queued)": ["TaskCancelled"],
        "SlotLeased": ["AttemptStarted"],
        "SlotRefused": ["TaskFailed"],
        "SlotRedirected": ["TaskRedirected"],
        "CancelTask": ["TaskCancelled"],
        **TOLD,
        **REFUSED,
    },
    "claiming": {**ASKING, "KeyShared": ["TaskJoined"]},
    "joined": ASKING,
    "collecting": {
        **{message: said for message, said in ASKING.items() if not message.startswith("Key")},
        "CollectorDone": ["TaskAdmitted"],
        "DropTask": ["TaskDropped"],
        "StandAside": ["TaskPaused"],
        "StandAside (or stop)": ["TaskPaused"],
    },
    "running": {
        "HoldWork interrupt": ["TaskInterruptRequested"],
        "HoldWork interrupt (with its run)": ["TaskInterruptRequested"],
        "HoldWork pause": ["TaskPaused"],
        "Outcome completed": ["TaskCompleted"],
        "Outcome failed (may be retried)": ["AttemptFailed"],
        "Outcome failed (not to be retried)": ["AttemptFailed", "TaskFailed"],
        "Outcome cancelled": ["AttemptFailed", "TaskFailed"],
        "Outcome failed (abandoned)": ["AttemptFailed"],
        "Outcome failed (rate limited)": ["AttemptLimited"],
        "Progress": ["ProgressReported"],
        "LoseAttempt": ["AttemptLost", "AttemptStarted"],
        "LoseAttempt (once too often)": ["AttemptLost", "TaskDied"],
        "LoseAttempt (process asked to stop)": ["AttemptLost", "AttemptStarted"],
        "CancelTask": ["TaskCancelRequested"],
        "Saved": ["StateSaved"],
        **STEPS,
        **TOLD_AT_WORK,
        **LATE,
    },
    "cancelling": {
        "Outcome completed": ["TaskCompleted"],
        "Outcome failed (may be retried)": ["TaskCancelled"],
        "Outcome failed (not to be retried)": ["TaskCancelled"],
        "Outcome cancelled": ["TaskCancelled"],
        "Outcome failed (abandoned)": ["TaskCancelled"],
        "Outcome failed (rate limited)": ["TaskCancelled"],
        "Progress": ["ProgressReported"],
        "LoseAttempt": ["AttemptLost", "TaskCancelled"],
        "LoseAttempt (once too often)": ["AttemptLost", "TaskCancelled"],
        "LoseAttempt (process asked to stop)": ["AttemptLost", "TaskCancelled"],
        "Saved": ["StateSaved"],
        **STEPS,
        **TOLD_AT_WORK,
        **LATE,
        "Outcome slept": ["TaskCancelled"],
        "Outcome slept (for what it spawned)": ["TaskCancelled"],
    },
    "scheduled (for another lane)": {
        "KeyTaken": ["TaskFailed"],
        "HoldWork interrupt": ["TaskCancelled"],
        "HoldWork interrupt (with its run)": ["TaskInterrupted"],
        "HoldWork pause": ["TaskPaused"],
        "SlotLeased": ["AttemptStarted"],
        "SlotRefused": ["TaskMoved"],
        "CancelTask": ["TaskCancelled"],
        "CancelTask (only if queued)": ["TaskCancelled"],
        **QUEUED,
        **TOLD,
        **REFUSED,
    },
    "scheduled (its times are over)": {
        **QUEUED,
        "KeyTaken": ["TaskFailed"],
        "HoldWork interrupt": ["TaskCancelled"],
        "HoldWork interrupt (with its run)": ["TaskInterrupted"],
        "HoldWork pause": ["TaskPaused"],
        "SlotLeased": ["TaskFailed"],
        "SlotRefused": ["TaskFailed"],
        "SlotRedirected": ["TaskRedirected"],
        "TimerFired queue": ["TaskFailed"],
        "TimerFired total": ["TaskFailed"],
        "CancelTask": ["TaskCancelled"],
        "CancelTask (only if queued)": ["TaskCancelled"],
        **TOLD,
        **REFUSED,
    },
    "child": {
        "HoldWork interrupt": ["TaskInterrupted"],
        "HoldWork interrupt (with its run)": ["TaskInterrupted"],
        "HoldWork pause": ["TaskPaused"],
        "ChildEnded completed": ["TaskCompleted"],
        "ChildEnded failed (may be retried)": ["AttemptFailed"],
        "ChildEnded cancelled": ["AttemptFailed", "TaskFailed"],
        "CancelTask": ["TaskCancelRequested"],
        **TOLD,
        **REFUSED,
    },
    "cancelling (a child)": {
        "ChildEnded completed": ["TaskCompleted"],
        "ChildEnded failed (may be retried)": ["TaskCancelled"],
        "ChildEnded cancelled": ["TaskCancelled"],
        **TOLD_AT_WORK,
        **REFUSED,
    },
    "waiting (asleep)": {
        "TimerFired": ["TaskRequeued"],
        "HoldWork interrupt": ["TaskInterrupted"],
        "HoldWork interrupt (with its run)": ["TaskInterrupted"],
        "HoldWork pause": ["TaskPaused"],
        "CancelTask": ["TaskCancelled"],
        **TOLD,
        **LATE,
    },
    "waiting": {
        "HoldWork interrupt": ["TaskInterrupted"],
        "HoldWork interrupt (with its run)": ["TaskInterrupted"],
        "HoldWork pause": ["TaskPaused"],
        "TimerFired": ["TaskCompleted"],
        "CancelTask": ["TaskCancelled"],
        **TOLD,
        **REFUSED,
    },
    "waiting (for a signal)": {
        "HoldWork interrupt": ["TaskInterrupted"],
        "HoldWork interrupt (with its run)": ["TaskInterrupted"],
        "HoldWork pause": ["TaskPaused"],
        "AnswerTask": ["TaskAnswered", "TaskCompleted"],
        "TimerFired": ["TaskFailed"],
        "CancelTask": ["TaskCancelled"],
        **TOLD,
        **REFUSED,
    },
    "waiting (for a person)": {
        "HoldWork interrupt": ["TaskInterrupted"],
        "HoldWork interrupt (with its run)": ["TaskInterrupted"],
        "HoldWork pause": ["TaskPaused"],
        "DecideTask (approved)": ["TaskAnswered", "TaskCompleted"],
        "DecideTask (rejected)": ["TaskAnswered", "TaskFailed"],
        "TimerFired": ["TaskFailed"],
        "CancelTask": ["TaskCancelled"],
        **TOLD,
        **REFUSED,
    },
    "completed (it was approved)": REFUSED,
    "paused (its signal came)": {
        "HoldWork interrupt": ["TaskInterrupted"],
        "HoldWork interrupt (with its run)": ["TaskInterrupted"],
        "ResumeWork": ["TaskResumed", "TaskCompleted"],
        "CancelTask": ["TaskCancelled"],
        **TOLD,
        **REFUSED,
    },
    "retrying": {
        "HoldWork interrupt": ["TaskInterrupted"],
        "HoldWork interrupt (with its run)": ["TaskInterrupted"],
        "HoldWork pause": ["TaskPaused"],
        "TimerFired": ["TaskRequeued"],
        "CancelTask": ["TaskCancelled"],
        **TOLD,
        "AdjustTask (lane)": ["TaskAdjusted", "TaskMoved"],
        **LATE,
    },
    "retrying (abandoned)": {
        "HoldWork interrupt": ["TaskInterrupted"],
        "HoldWork interrupt (with its run)": ["TaskInterrupted"],
        "HoldWork pause": ["TaskPaused"],
        "TimerFired": ["TaskRequeued"],
        "CancelTask": ["TaskCancelled"],
        "Outcome returned": ["AttemptReturned"],
        "LoseAttempt": ["AttemptReturned"],
        "LoseAttempt (once too often)": ["AttemptReturned"],
        "LoseAttempt (process asked to stop)": ["AttemptReturned"],
        **TOLD,
        "AdjustTask (lane)": ["TaskAdjusted", "TaskMoved"],
        **LATE,
    },
    "running (to be paused)": {
        "Outcome failed (rate limited)": ["AttemptLimited", "TaskPaused"],
        "Outcome completed": ["TaskCompleted"],
        "Outcome failed (may be retried)": ["AttemptFailed", "TaskPaused"],
        "Outcome failed (not to be retried)": ["AttemptFailed", "TaskFailed"],
        "Outcome cancelled": ["AttemptFailed", "TaskFailed"],
        "Outcome failed (abandoned)": ["AttemptFailed", "TaskPaused"],
        "Progress": ["ProgressReported"],
        "LoseAttempt": ["AttemptLost", "TaskPaused"],
        "LoseAttempt (once too often)": ["AttemptLost", "TaskPaused"],
        "LoseAttempt (process asked to stop)": ["AttemptLost", "TaskPaused"],
        "HoldWork interrupt": ["TaskInterruptRequested"],
        "HoldWork interrupt (with its run)": ["TaskInterruptRequested"],
        "ResumeWork": ["TaskResumed"],
        "Saved": ["StateSaved"],
        **STEPS,
        "CancelTask": ["TaskCancelRequested"],
        **TOLD_AT_WORK,
        **LATE,
        "Outcome slept": ["AttemptSlept", "TaskPaused"],
        "Outcome slept (for what it spawned)": ["AttemptSlept", "TaskPaused"],
    },
    "interrupting": {
        "Outcome failed (rate limited)": ["TaskInterrupted"],
        "Outcome completed": ["TaskCompleted"],
        "Outcome failed (may be retried)": ["TaskInterrupted"],
        "Outcome failed (not to be retried)": ["TaskInterrupted"],
        "Outcome cancelled": ["TaskInterrupted"],
        "Outcome failed (abandoned)": ["TaskInterrupted"],
        "Progress": ["ProgressReported"],
        "LoseAttempt": ["AttemptLost", "TaskInterrupted"],
        "LoseAttempt (once too often)": ["AttemptLost", "TaskInterrupted"],
        "LoseAttempt (process asked to stop)": ["AttemptLost", "TaskInterrupted"],
        "HoldWork interrupt": ["TaskInterruptRequested"],
        "HoldWork interrupt (with its run)": ["TaskInterruptRequested"],
        "Saved": ["StateSaved"],
        **STEPS,
        "CancelTask": ["TaskCancelRequested"],
        **TOLD_AT_WORK,
        **LATE,
        "Outcome slept": ["TaskInterrupted"],
        "Outcome slept (for what it spawned)": ["TaskInterrupted"],
    },
    "interrupted": {
        **QUEUED,
        "ResumeWork": ["TaskResumed"],
        "CancelTask": ["TaskCancelled"],
        **TOLD,
        **LATE,
    },
    "paused": {
        **QUEUED,
        "HoldWork interrupt": ["TaskCancelled"],
        "HoldWork interrupt (with its run)": ["TaskInterrupted"],
        "ResumeWork": ["TaskResumed"],
        "CancelTask": ["TaskCancelled"],
        **TOLD,
        **REFUSED,
    },
    "paused (a child)": {
        "ChildEnded completed": ["TaskCompleted"],
        "ChildEnded failed (may be retried)": ["AttemptFailed", "TaskPaused"],
        "ChildEnded cancelled": ["AttemptFailed", "TaskFailed"],
        "HoldWork interrupt": ["TaskInterrupted"],
        "HoldWork interrupt (with its run)": ["TaskInterrupted"],
        "ResumeWork": ["TaskResumed"],
        "CancelTask": ["TaskCancelRequested"],
        **TOLD,
        **REFUSED,
    },
    "completed": LATE,
    "failed": REFUSED,
    "dead": {
        "CancelTask": ["TaskCancelled"],
        "CancelTask (only if queued)": ["TaskCancelled"],
        "CancelTask of the next generation": ["TaskCancelled"],
        "BuryTask": ["TaskFailed"],
        **LATE,
    },
    "cancelled": REFUSED,
    "skipped": REFUSED,
}
EXPECTED["running (a step is recorded)"] = {
    message: facts for message, facts in EXPECTED["running"].items() if message != "Stepped"
}


_SPAWNED = ("TaskReported of a spawned task", "TaskReported of a spawned task (failed)")
_ENDS_LATER = {
    "Outcome completed": ["EndPutOff"],
    "Outcome failed (not to be retried)": ["AttemptFailed", "EndPutOff"],
    "Outcome cancelled": ["AttemptFailed", "EndPutOff"],
    "Outcome completed (a step is unused)": ["StepsUnused", "EndPutOff"],
    "LoseAttempt (once too often)": ["AttemptLost", "EndPutOff"],
}
EXPECTED["running (it spawned)"] = {
    **EXPECTED["running"],
    **_ENDS_LATER,
    **{message: ["StepRecorded"] for message in _SPAWNED},
}
EXPECTED["waiting (for what it spawned)"] = {
    "TimerFired": ["TaskRequeued"],
    "HoldWork interrupt": ["TaskInterrupted"],
    "HoldWork interrupt (with its run)": ["TaskInterrupted"],
    "HoldWork pause": ["TaskPaused"],
    **{message: ["StepRecorded", "TaskRequeued"] for message in _SPAWNED},
    "CancelTask": ["EndPutOff"],
    **TOLD,
    **LATE,
}
EXPECTED["ending"] = {
    "TaskReported of a spawned task": ["StepRecorded", "TaskCompleted"],
    "TaskReported of a spawned task (failed)": ["StepRecorded", "TaskFailed"],
    "CancelTask": ["EndPutOff"],
    **SIGNALLED,
    **LATE,
}


_ASIDE: dict[str, list[str]] = {
    "StandAside": ["TaskPaused"],
    "StandAside (or stop)": ["TaskPaused"],
    "DropTask": ["TaskDropped"],
}
_STOPPED = {
    "StandAside (or stop)": ["TaskCancelRequested"],
    "DropTask": ["TaskCancelRequested"],
}
_ENDED = {"StandAside (or stop)": ["TaskCancelled"], "DropTask": ["TaskCancelled"]}
_PUT_OFF = {"StandAside (or stop)": ["EndPutOff"], "DropTask": ["EndPutOff"]}
_AGAIN = {"ScheduleTask of the next generation": ["TaskScheduled"]}
ON_ANOTHER_PATH: dict[str, dict[str, list[str]]] = {
    "pending": {**_AGAIN, "DropTask": ["TaskDropped"]},
    "pending (a message waits)": {**_AGAIN, "DropTask": ["SignalEnded", "TaskDropped"]},
    "scheduled": _ASIDE,
    "claiming": _ASIDE,
    "joined": _ASIDE,
    "scheduled (it has its key)": _ASIDE,
    "scheduled (its times are over)": _ASIDE,
    "scheduled (for another lane)": _ASIDE,
    "waiting": _ASIDE,
    "waiting (for a signal)": _ASIDE,
    "waiting (for a person)": _ASIDE,
    "completed (it was approved)": _AGAIN,
    "paused (its signal came)": {"DropTask": ["TaskDropped"]},
    "paused": {"DropTask": ["TaskDropped"]},
    "running": _STOPPED,
    "running (a message waits)": _STOPPED,
    "running (it was taken)": _STOPPED,
    "running (a step is recorded)": _STOPPED,
    "running (to be paused)": _STOPPED,
    "interrupting": _STOPPED,
    "child": _STOPPED,
    "paused (a child)": _STOPPED,
    "running (it spawned)": _STOPPED,
    "waiting (for what it spawned)": _PUT_OFF,
    "ending": _PUT_OFF,
    "waiting (asleep)": _ENDED,
    "retrying": _ENDED,
    "retrying (abandoned)": _ENDED,
    "interrupted": _ENDED,
    "completed": _AGAIN,
    "failed": _AGAIN,
    "dead": {
        **_AGAIN,
        "StandAside (or stop)": ["TaskCancelled"],
        "DropTask": ["TaskDropped"],
    },
    "cancelled": _AGAIN,
    "skipped": _AGAIN,
}
"""What follows when the path of the run is changed."""


@pytest.mark.parametrize("state", list(DRAWN.states))
def test_each_state_answers_each_message(state: str) -> None:
    """Written down by hand: which facts follow from which message in which state."""
    found = {
        answer.message: kinds(answer.decision.facts)
        for answer in answers(DRAWN, state)
        if answer.decision.facts
    }
    expected = EXPECTED[state] | ON_ANOTHER_PATH.get(state, {})
    if "CancelTask" in expected:  # what differs is how what runs is asked to end
        expected["CancelTask (gracefully)"] = expected["CancelTask"]
    assert found == expected


HEARD_AGAIN = {
    "CancelTask (gracefully)",
    "CancelTask",
    "CancelTask (only if queued)",
    "CancelTask of the next generation",
    "StandAside",
    "StandAside (or stop)",
}
"""What an ended task answers with its end."""


@pytest.mark.parametrize("state", sorted(FINAL))
def test_an_ended_task_stays_as_it_is(state: str) -> None:
    """No message changes a final state or starts anything; only who cancels it hears it again.

    What opens its next generation does.
    """
    for answer in answers(DRAWN, state):
        if answer.message == "ScheduleTask of the next generation":
            assert answer.state_after == "scheduled"
            continue
        assert answer.state_after == state, answer.message
        again = answer.message in HEARD_AGAIN
        assert ("TaskReported" in kinds(answer.decision.sends)) == again, answer.message
        assert not answer.decision.facts or not again
        assert "StartAttempt" not in kinds(answer.decision.effects)


def task(retry: dict[str, Any] | None = None, **more: Any) -> Scenario[Task]:
    """Return a task that nobody scheduled yet."""
    shelf = Shelf()
    shelf.put_plan(plan_of({"a": {"agent": "x", "retry": retry or RETRY, **more}}), REF)
    return Scenario(task_decider(shelf), STREAM)


def running(scenario: Scenario[Task]) -> int:
    """Schedule and start the task; return its token."""
    scenario.when(ScheduleTask(REF, 0, {"p": 1}, "w/io", 3))
    return started(scenario.when(SlotLeased()))


def started(decision: Decision) -> int:
    """Return the token of the attempt that a decision starts."""
    return next(fact.token for fact in decision.facts if isinstance(fact, AttemptStarted))


def outcome(token: int, status: str = "failed", code: str = "boom", **more: Any) -> Outcome:
    """Return what an attempt says."""
    return Outcome(STREAM, AttemptToken(0, 1, token), status, code=code, **more)


def reports(decision: Decision) -> list[TaskReported]:
    """Return what the run is told."""
    return [send.body for send in decision.sends if isinstance(send.body, TaskReported)]


def test_a_plain_task_has_three_facts() -> None:
    """Scheduled, started, completed; the start carries all that an executor needs."""
    scenario = task(timeout="5s")
    asked = scenario.when(ScheduleTask(REF, 0, {"p": 1}, "w/io", 3))
    assert [(send.target, tuple(send.body[:3])) for send in asked.sends] == [
        ("lane/w/io", (STREAM, 3, False))
    ]
    number = scenario.number
    leased = scenario.when(SlotLeased())
    token = AttemptToken(0, 1, number)
    start = StartAttempt(
        STREAM, "r", "a", 0, 1, token, "x", {"p": 1}, 5.0, "agent", "timeout", None, "w/io"
    )
    lease_until_ns = NOW_NS + 30_000_000_000
    assert leased.effects == (OpenAttempt(number, 1, HOLDER, lease_until_ns), start)
    ended = scenario.when(outcome(number, "completed", result={"n": 1}))
    assert ended.effects == (CloseAttempt(number),)
    assert [send.target for send in ended.sends] == ["lane/w/io", "workflow/r"]
    assert reports(ended) == [TaskReported("a", 0, "completed", {"n": 1}, None)]
    assert kinds(scenario.facts) == ["TaskScheduled", "AttemptStarted", "TaskCompleted"]
    assert scenario.encoded() == scenario.replayed()


def test_the_token_is_the_position_of_the_start() -> None:
    """Also where another fact of the turn comes before it: tokens grow and never repeat."""
    scenario = task()
    token = running(scenario)
    number = scenario.number
    lost = scenario.when(LoseAttempt(token, 10))
    assert kinds(lost.facts) == ["AttemptLost", "AttemptStarted"]
    assert started(lost) == number + 1


def test_a_stale_outcome_is_refused_and_changes_nothing() -> None:
    """Only the current attempt can record a result."""
    scenario = task()
    old = running(scenario)
    current = started(scenario.when(LoseAttempt(old, 10)))
    refused = scenario.when(outcome(old, "completed", result="old"))
    assert refused.facts == (OutcomeRefused(old, "completed"),)
    assert refused.sends == ()
    done = scenario.when(outcome(current, "completed", result="new"))
    assert done.facts == (TaskCompleted(2, current, "new"),)


def test_an_outcome_of_another_era_is_refused() -> None:
    """Numbers are given again after data loss was accepted: the era tells the attempts apart."""
    scenario = task()
    token = running(scenario)
    other = AttemptToken(0, 2, token)
    assert scenario.when(Progress(STREAM, other, 0.5, "")).facts == ()
    refused = scenario.when(Outcome(STREAM, other, "completed", "of a lost history"))
    assert refused.facts == (OutcomeRefused(token, "completed"),)
    done = scenario.when(outcome(token, "completed", result="r"))
    assert done.facts == (TaskCompleted(1, token, "r"),)


def test_the_same_outcome_twice_counts_once() -> None:
    """An outcome that is delivered again after a failed commit has no second effect."""
    scenario = task()
    token = running(scenario)
    scenario.when(outcome(token))
    again = scenario.when(outcome(token))
    assert (again.facts, again.sends, again.effects) == ((), (), ())


def test_a_lost_attempt_restarts_at_once_and_is_not_counted() -> None:
    """It keeps its slot, gets a new token, and takes nothing from the retry policy."""
    scenario = task()
    token = running(scenario)
    lost = scenario.when(LoseAttempt(token, 10))
    assert lost.sends == ()
    assert lost.facts[0] == AttemptLost(1, token, HOLDER)
    assert kinds(lost.effects) == ["CloseAttempt", "OpenAttempt", "StartAttempt"]
    assert scenario.state.failures == 0


def test_attempts_are_lost_a_limited_number_of_times() -> None:
    """After `lost_max` restarts the next loss makes a dead letter of it."""
    scenario = task()
    token = running(scenario)
    for _ in range(3):
        token = started(scenario.when(LoseAttempt(token, 3)))
    ended = scenario.when(LoseAttempt(token, 3))
    assert kinds(ended.facts) == ["AttemptLost", "TaskDied"]
    (report,) = reports(ended)
    assert report.status == "dead"
    assert report.error is not None
    assert report.error[0] == "lost_too_often"


def test_losing_an_attempt_that_is_over_only_closes_its_row() -> None:
    """The row of an attempt may outlive it by a crash."""
    scenario = task()
    token = running(scenario)
    scenario.when(outcome(token, "completed"))
    decision = scenario.when(LoseAttempt(token, 10))
    assert (decision.facts, decision.effects) == ((), (CloseAttempt(token),))


def test_a_failed_attempt_waits_without_a_slot() -> None:
    """Its slot goes back, a timer is set, and then it goes to the head of its priority."""
    scenario = task()
    failed = scenario.when(outcome(running(scenario)))
    due_ns = NOW_NS + 2_000_000_000
    assert kinds(failed.sends) == ["Release"]
    assert failed.effects[-1] == SetTimer("due", due_ns)
    back = scenario.when(TimerFired("due"), due_ns)
    assert kinds(back.facts) == ["TaskRequeued"]
    assert [tuple(send.body[:3]) for send in back.sends] == [(STREAM, 3, True)]
    again = scenario.when(SlotLeased())
    assert again.facts[0].attempt == 2


def test_attempts_end_with_the_policy() -> None:
    """The last allowed attempt fails the task with its own code and message."""
    scenario = task()
    token = running(scenario)
    for _ in range(2):
        scenario.when(outcome(token))
        scenario.when(TimerFired("due"))
        token = started(scenario.when(SlotLeased()))
    ended = scenario.when(outcome(token, message="why"))
    assert kinds(ended.facts) == ["AttemptFailed", "TaskFailed"]
    assert ended.facts[0].retry_due_ns is None
    assert reports(ended) == [TaskReported("a", 0, "failed", None, ["boom", "why"], 3)]
    assert scenario.encoded() == scenario.replayed()


@pytest.mark.parametrize(
    ("retry", "said", "retried"),
    [
        ({}, {"code": "boom"}, True),
        ({"retry_on": ["boom"]}, {"code": "boom"}, True),
        ({"retry_on": ["other"]}, {"code": "boom"}, False),
        ({"non_retryable": ["boom"]}, {"code": "boom"}, False),
        ({}, {"code": "boom", "retryable": False}, False),
        ({}, {"code": "bad_params"}, False),
        ({"attempts": 1}, {"code": "boom"}, False),
        ({}, {"code": "timeout"}, True),
        ({}, {"code": ""}, True),
    ],
)
def test_which_failures_are_retried(
    retry: dict[str, Any], said: dict[str, Any], retried: bool
) -> None:
    """By the policy's codes, by what the agent says, and never what cannot be mended."""
    scenario = task({**RETRY, **retry})
    decision = scenario.when(outcome(running(scenario), **said))
    assert scenario.state.status == ("retrying" if retried else "failed")
    assert isinstance(decision.facts[0], AttemptFailed)


def test_an_agent_that_cancels_itself_has_failed() -> None:
    """Without a request to cancel, a cancelled outcome is a failure with a code of its own."""
    scenario = task({**RETRY, "attempts": 1})
    decision = scenario.when(outcome(running(scenario), "cancelled", code=""))
    assert decision.facts[-1] == TaskFailed("agent_cancelled", "")


def test_cancelling_what_runs_stops_the_attempt() -> None:
    """The task ends when its attempt does; it keeps its slot until then."""
    scenario = task()
    token = running(scenario)
    asked = scenario.when(CancelTask("enough"))
    assert asked.effects == (StopAttempt(AttemptToken(0, 1, token), "enough"),)
    assert asked.sends == ()
    ended = scenario.when(outcome(token, "cancelled", abandoned=True))
    assert ended.facts == (TaskCancelled("", abandoned=True),)
    assert kinds(ended.sends) == ["KeepSlot", "TaskReported"]


@pytest.mark.parametrize("ends_with", ["returned", "grace", "gone"])
def test_an_abandoned_attempt_keeps_its_slot_while_the_task_goes_on(ends_with: str) -> None:
    """The task asks for another slot; the first comes back on its own, once, however it ends."""
    scenario = task(retry=RETRY)
    token = running(scenario)
    failed = scenario.when(outcome(token, code="timeout", abandoned=True))
    assert [send.body for send in failed.sends] == [KeepSlot(STREAM, token)]
    assert kinds(failed.effects) == ["SetTimer"]  # the row of the attempt stays
    asked = scenario.when(TimerFired("due"))
    assert kinds(asked.sends) == ["Enqueue"]
    if ends_with == "gone":
        returned = scenario.when(LoseAttempt(token, 10))
    else:
        code = "" if ends_with == "returned" else ends_with
        returned = scenario.when(outcome(token, "returned", code=code))
    assert returned.facts == (AttemptReturned(token, ends_with),)
    assert [send.body for send in returned.sends] == [Release(kept_slot(STREAM, token))]
    assert returned.effects == (CloseAttempt(token),)
    assert scenario.when(outcome(token, "returned")).facts == ()
    assert scenario.state.status == "scheduled"


def test_a_slot_that_an_abandoned_attempt_does_not_keep_any_more_is_given_back() -> None:
    """Where the lane did not hear of it: it asks, by the token."""
    scenario = task(retry=RETRY)
    token = running(scenario)
    scenario.when(outcome(token, code="timeout", abandoned=True))
    assert scenario.when(CheckSlot(token)).sends == ()
    scenario.when(outcome(token, "returned"))
    told = scenario.when(CheckSlot(token)).sends
    assert [send.body for send in told] == [Release(kept_slot(STREAM, token))]


def test_an_attempt_is_stopped_again_if_the_stop_may_have_been_lost() -> None:
    """After a failed commit each attempt that still runs is checked; a current one goes on."""
    scenario = task()
    token = running(scenario)
    goes_on = TellAttempt(AttemptToken(0, 1, token), Pause(is_on=False))
    assert scenario.when(CheckAttempt(token)).effects == (goes_on,)
    stop = StopAttempt(AttemptToken(0, 1, token), "stopped before")
    scenario.when(CancelTask("enough"))
    assert scenario.when(CheckAttempt(token)).effects == (stop,)
    assert scenario.when(CheckAttempt(token - 1)).effects == (
        StopAttempt(AttemptToken(0, 1, token - 1), "stopped before"),
    )


def test_let_finish_cancels_only_what_is_queued() -> None:
    """`queued_only` ends a task that waits for a slot, and leaves one that runs."""
    queued = task()
    queued.given(TaskScheduled(REF, 0, {}, "l", 0))
    ended = queued.when(CancelTask("another failed", queued_only=True))
    assert kinds(ended.sends) == ["Withdraw", "TaskReported"]
    scenario = task()
    running(scenario)
    left = scenario.when(CancelTask("another failed", queued_only=True))
    assert (left.facts, left.effects) == ((), ())


def test_a_result_that_comes_before_the_stop_counts() -> None:
    """What was done is recorded, whatever was asked meanwhile."""
    scenario = task()
    token = running(scenario)
    scenario.when(CancelTask("enough"))
    ended = scenario.when(outcome(token, "completed", result=1))
    assert reports(ended) == [TaskReported("a", 0, "completed", 1, None)]


def test_a_cancel_said_again_stops_the_attempt_again() -> None:
    """What it came to may have been lost in a bug: whoever stops it finds that nobody holds it."""
    scenario = task()
    running(scenario)
    first = scenario.when(CancelTask("enough"))
    again = scenario.when(CancelTask("the run failed"))
    assert (again.facts, again.sends) == ((), ())
    assert [stop.token for stop in again.effects] == [stop.token for stop in first.effects]


def test_cancelling_what_waits_for_a_slot_leaves_the_lane() -> None:
    """The lane hears it before the run; a lease that crosses it is given back."""
    scenario = task()
    scenario.given(TaskScheduled(REF, 0, {}, "l", 0))
    ended = scenario.when(CancelTask("enough"))
    assert kinds(ended.sends) == ["Withdraw", "TaskReported"]
    assert kinds(scenario.when(SlotLeased()).sends) == ["Release"]


def test_cancelling_a_backoff_clears_its_timer() -> None:
    """No slot is held, none is given back."""
    scenario = task()
    scenario.when(outcome(running(scenario)))
    ended = scenario.when(CancelTask("enough"))
    assert ended.effects == (ClearTimer("due", NOW_NS + 2_000_000_000),)
    assert kinds(ended.sends) == ["TaskReported"]
    assert scenario.when(TimerFired("due")).facts == ()


def test_a_task_cancelled_before_it_was_scheduled_is_never_scheduled() -> None:
    """The schedule that comes later finds it ended."""
    scenario = task()
    assert kinds(scenario.when(CancelTask("enough")).sends) == ["TaskReported"]
    assert scenario.when(ScheduleTask(REF, 0, {}, "w/io", 0)).facts == ()


def test_a_wait_completes_with_its_timer_and_holds_no_slot() -> None:
    """It goes through no lane."""
    scenario = task()
    waits = scenario.when(WaitTask(REF, 0, NOW_NS + 5))
    assert (waits.sends, waits.effects) == ((), (SetTimer("due", NOW_NS + 5),))
    ended = scenario.when(TimerFired("due"), NOW_NS + 5)
    assert kinds(ended.sends) == ["TaskReported"]
    assert scenario.state.status == "completed"


def test_a_refused_slot_fails_the_task_with_the_reason() -> None:
    """`lane_full` is the code of the failure; there is no slot to give back."""
    scenario = task()
    scenario.when(ScheduleTask(REF, 0, {}, "w/io", 0))
    ended = scenario.when(SlotRefused("lane_full"))
    assert kinds(ended.sends) == ["TaskReported"]
    (report,) = reports(ended)
    assert report.error is not None
    assert report.error[0] == "lane_full"


def test_progress_counts_only_from_the_current_attempt() -> None:
    """It is a fact, and the last one is kept."""
    scenario = task()
    token = running(scenario)
    said = scenario.when(Progress(STREAM, AttemptToken(0, 1, token), 0.5, "half"))
    assert said.facts == (ProgressReported(token, 0.5, "half"),)
    assert scenario.state.progress == [0.5, "half"]
    assert scenario.when(Progress(STREAM, AttemptToken(0, 1, token - 1), 0.9, "")).facts == ()
