"""What was changed of how a task is run while it goes on; and of the run below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from goclaw_events.value import Value


class TaskAdjusted(NamedTuple):
    """Somebody changed how the task is run: from now on, and for every later attempt.

    `changes` by name: `priority`; `lane`, which it asks from the next time on; `timeout_s` of an
    attempt; `retry`, the fields of the policy that are different; `deadline_ns`, in place of the
    task's own `total_timeout`. None or 0 takes a limit back. `sender` as in `SignalAccepted`.
    """

    signal: str
    changes: dict[str, Value]
    sender: str


class TaskMoved(NamedTuple):
    """The task is in no lane's queue, and asks this one from now on: it was adjusted."""

    lane: str


class RunDeadlineSet(NamedTuple):
    """The run has less time than before: that of the task that it is a child of was adjusted."""

    deadline_ns: int


TaskAdjustFact: TypeAlias = TaskAdjusted | TaskMoved
