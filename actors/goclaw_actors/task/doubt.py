"""Whether a task that did not complete may have taken effect: what a saga has to undo, too.

An attempt that says itself that it failed is believed. Nobody knows of one that was stopped, timed
out or lost, or sleeps half-way, nor of what a service did whose answer did not come, or was no
success. What has done a durable step of its own has done a part, whatever it says: see `ending`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.task.hold import INTERRUPTING
from goclaw_events.facts import (
    AttemptFailed,
    AttemptLost,
    AttemptSlept,
    TaskCancelled,
    TaskInterrupted,
)
from goclaw_events.ids import is_saga

if TYPE_CHECKING:
    from goclaw_actors.task.state import Task

COMPENSATION_FAILED: Final = "saga_compensation_failed"
UNKNOWN: Final = frozenset(
    {
        "timeout", "cancelled", "agent_cancelled", "child_cancelled", "interrupted",
        "executor_closed", "killed_by_signal", "worker_died", "launcher_died",
        "connection_failed", "http_status", "response_too_large", "response_invalid",
        "value_not_storable", "value_too_large", COMPENSATION_FAILED,
    }
)  # fmt: skip
"""Codes of failed attempts that may have taken effect."""


def leaves_doubt(task: Task, fact: Any) -> bool:
    """Tell whether a fact says of an attempt that it may have taken effect; asked before `evolve`.

    A child run that failed has perhaps done a part; a child saga has undone what it did.
    """
    match fact:
        case AttemptFailed():
            of_run = task.child_run and not is_saga(task.child_run)
            return bool(fact.abandoned or fact.code in UNKNOWN or of_run)
        case TaskCancelled():
            return fact.abandoned or task.status == "cancelling"
        case TaskInterrupted():
            return task.status == INTERRUPTING
        case _:
            return isinstance(fact, (AttemptLost, AttemptSlept))
