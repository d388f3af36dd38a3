"""What a task that stands still remembers, and how facts make it stand still and go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

from goclaw_actors.task.signals import attempt_over
from goclaw_events.facts import (
    TaskInterrupted,
    TaskInterruptRequested,
    TaskPaused,
    TaskResumed,
)

if TYPE_CHECKING:
    from goclaw_actors.task.state import Task
    from goclaw_events.facts import TaskHoldFact

INTERRUPTING: Final = "interrupting"
INTERRUPTED: Final = "interrupted"
PAUSED: Final = "paused"
HELD: Final = frozenset({INTERRUPTED, PAUSED})
_QUEUES_AGAIN: Final = frozenset({"running", INTERRUPTING})


class Hold:
    """Why a task stands still, or is to.

    `since` is the state in which it goes on (`scheduled`: it asks its lane for a slot); '' as long
    as it does not stand still yet. `wake_ns`: when its wait would have been over.
    """

    __slots__ = ("how", "reason", "sender", "since", "wake_ns")

    def __init__(
        self, how: str, reason: str, sender: str, since: str = "", wake_ns: int = 0
    ) -> None:
        self.how = how
        self.reason = reason
        self.sender = sender
        self.since = since
        self.wake_ns = wake_ns

    def as_list(self) -> list[Any]:
        """Return it as plain data, as it is made again."""
        return [self.how, self.reason, self.sender, self.since, self.wake_ns]


def evolve(task: Task, fact: TaskHoldFact) -> None:
    """Apply a fact in place."""
    match fact:
        case TaskInterruptRequested(reason, sender):
            task.status = INTERRUPTING
            task.hold = Hold(INTERRUPTED, reason, sender)
        case TaskInterrupted(reason, sender):
            if task.status == INTERRUPTING and task.signals is not None:
                attempt_over(task.signals, task.attempt, lost=False)
            _stand_still(task, INTERRUPTED, reason, sender)
            if fact.abandoned:
                task.kept.append(task.token)
            if fact.error is not None:
                task.error = fact.error
        case TaskPaused(reason, sender, in_force):
            if in_force:
                _stand_still(task, PAUSED, reason, sender)
            else:
                task.hold = Hold(PAUSED, reason, sender)
        case TaskResumed(state):
            assert task.hold is not None, "it stood still, or was to"
            task.status = state
            task.due_ns = task.hold.wake_ns
            task.queue_due_ns = fact.queue_due_ns
            task.hold = None
        case _:
            assert_never(fact)


def _stand_still(task: Task, how: str, reason: str, sender: str) -> None:
    hold = task.hold
    if hold is not None and hold.since:  # it did so for another reason
        since, wake_ns = hold.since, hold.wake_ns
    elif task.status == "waiting":
        since, wake_ns = task.status, task.due_ns
    else:
        since, wake_ns = _goes_on_as(task), 0
    task.hold = Hold(how, reason, sender, since, wake_ns)
    task.status = how
    task.due_ns = task.queue_due_ns = 0


def _goes_on_as(task: Task) -> str:
    """Return the state in which the task will go on."""
    if task.status == "retrying" and task.lane:
        return "scheduled"
    if task.status == "scheduled" and not task.lane:
        return "retrying"  # a child that is to be submitted, without a lane
    return "scheduled" if task.status in _QUEUES_AGAIN else task.status
