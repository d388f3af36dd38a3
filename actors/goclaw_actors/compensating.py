"""What is said to sagas, and what they say to the tasks that compensate."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from goclaw_events.value import Value


# To a saga, which also hears what runs hear.
class TaskRested(NamedTuple):
    """Of a task that ended no code runs any more."""

    task: str


class CompensateSaga(NamedTuple):
    """Stop the saga and undo what it did, or let manual steps be compensated."""

    reason: str
    by: str


class RetrySaga(NamedTuple):
    """Try the compensations that failed again; `rate_per_s` as in `RedriveTask`."""

    by: str
    reason: str = ""
    rate_per_s: float | None = None


class ResolveSaga(NamedTuple):
    """End a saga that needs a person: whatever is left to undo was seen to."""

    reason: str
    by: str


# To a task.
class RetryTask(NamedTuple):
    """Begin the attempts of a task that failed anew, with the same idempotency key.

    `order`: the fields of its `ScheduleTask`, for one that never began; None: it began.
    """

    order: Value = None
