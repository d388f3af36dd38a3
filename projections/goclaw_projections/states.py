"""The states of runs and tasks as views and watchers name them, and which fact leads to which."""

from __future__ import annotations

from typing import Any, Final

from goclaw_events import facts

RUN_STATES: Final = (
    "running", "failing", "cancelling", "completed", "failed", "cancelled", "paused",
    "interrupted",
)  # fmt: skip
TASK_STATES: Final = (
    "scheduled", "waiting", "running", "retrying", "cancelling", "completed", "failed",
    "cancelled", "skipped", "paused", "interrupting", "interrupted", "dead",
)  # fmt: skip
"""In these orders rows of `counts` hold their numbers."""
RUN_ENDED: Final = frozenset({"completed", "failed", "cancelled"})
TASK_ENDED: Final = RUN_ENDED | {"skipped"}

_TASK_AFTER: Final[dict[type, str]] = {
    facts.TaskAdmitted: "scheduled",
    facts.TaskWaiting: "waiting",
    facts.TaskAwaiting: "waiting",
    facts.AttemptStarted: "running",
    facts.ChildStarted: "waiting",
    facts.AttemptLost: "scheduled",
    facts.AttemptLimited: "scheduled",
    facts.AttemptSlept: "waiting",
    facts.EndPutOff: "waiting",
    facts.TaskRequeued: "scheduled",
    facts.TaskRetried: "scheduled",
    facts.TaskCancelRequested: "cancelling",
    facts.TaskInterruptRequested: "interrupting",
    facts.TaskInterrupted: "interrupted",
    facts.TaskCompleted: "completed",
    facts.TaskFailed: "failed",
    facts.TaskDied: "dead",
    facts.TaskCancelled: "cancelled",
    facts.TaskDropped: "skipped",
}
_RESUMED_AS: Final = {"scheduled": "scheduled", "waiting": "waiting", "child": "waiting",
                      "retrying": "scheduled"}  # fmt: skip
_HELD: Final = frozenset({"running", "paused", "interrupted"})
_RUN_AFTER: Final[dict[type, str]] = {
    facts.RunTimedOut: "failing",
    facts.RunCancelRequested: "cancelling",
    facts.RunInterrupted: "interrupted",
    facts.RunPaused: "paused",
    facts.RunResumed: "running",
    facts.RunCompleted: "completed",
    facts.RunFailed: "failed",
    facts.RunCancelled: "cancelled",
}


def task_after(fact: Any) -> str | None:
    """Return the state of a task after a fact of its own; None: the one it had."""
    if isinstance(fact, facts.TaskScheduled):
        return "scheduled" if fact.collect is None else "waiting"
    if isinstance(fact, facts.AttemptFailed):
        return None if fact.retry_due_ns is None else "retrying"
    if isinstance(fact, facts.TaskPaused):
        return "paused" if fact.in_force else None
    if isinstance(fact, facts.TaskResumed):
        return _RESUMED_AS.get(fact.state)
    return _TASK_AFTER.get(type(fact))


def run_after(before: str, fact: Any) -> str | None:
    """Return the state of a run after a fact of its own; None: the one it had."""
    if isinstance(fact, facts.TaskEnded):
        return "failing" if fact.status == "failed" and before in _HELD else None
    return _RUN_AFTER.get(type(fact))
