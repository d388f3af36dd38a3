"""What happened to a task. Stream `task/<run id>/<task id>`.

A plain task has three facts here: scheduled, attempt started, completed.
Attempts are numbered from 1 within a generation; `token` is the number (position in the
partition) that the attempt's own `AttemptStarted` took, so tokens grow and never repeat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from goclaw_events.facts.adjust import TaskAdjustFact
from goclaw_events.facts.answer import TaskAnswerFact
from goclaw_events.facts.hold import TaskHoldFact
from goclaw_events.facts.letter import TaskDied
from goclaw_events.facts.path import TaskDropped
from goclaw_events.facts.signal import SignalFact
from goclaw_events.facts.spawn import SpawnFact
from goclaw_events.facts.step import StepFact

if TYPE_CHECKING:
    from goclaw_events.value import BlobRef, Value


class TaskScheduled(NamedTuple):
    """The task's needs are met: it asks its lane for a slot. `params` are its `with`, rendered.

    Without a lane (a child run) it begins at once. Times are 0 where there is none: `deadline_ns`
    is the run's, `total_due_ns` the task's own, `queue_due_ns` the end of the wait for a slot.
    `child`: [plan, depth, plans by name] of the run that the task stands for. `tenant`: the run's
    label, `key`: of a keyed lane; '' where there is none. `unique`: [stream of its keys, key,
    window in ns, what a duplicate does] of a task that is unique: it asks for its key first.
    `collect`: [collector, whether the task opens it] of a task that collects: it waits for the
    end of that first.
    """

    definition: BlobRef
    generation: int
    params: Value
    lane: str
    priority: int
    deadline_ns: int = 0
    total_due_ns: int = 0
    queue_due_ns: int = 0
    child: list[Any] | None = None
    tenant: str = ""
    key: str = ""
    unique: list[Any] | None = None
    collect: list[Any] | None = None


class TaskWaiting(NamedTuple):
    """The task waits for a timer and holds no slot."""

    definition: BlobRef
    generation: int
    due_ns: int


class AttemptStarted(NamedTuple):
    """The lane gave a slot and a handler may run. `holder` is `node:boot` or a worker."""

    attempt: int
    token: int
    holder: str


class ChildStarted(NamedTuple):
    """The task submitted a run, and waits for its end. Its id follows from the task and attempt."""

    attempt: int
    run_id: str
    definition: BlobRef


class ProgressReported(NamedTuple):
    """The handler said how far it is: at most one a second, and the last one. 0.0 to 1.0."""

    token: int
    fraction: float | None
    message: str


class AttemptFailed(NamedTuple):
    """An attempt ended badly. `retry_due_ns`: when the next may start; None: there is none.

    `abandoned`: its code could not be stopped and may still run, fenced off by its token; it keeps
    its slot until `AttemptReturned`.
    """

    attempt: int
    token: int
    code: str
    message: str
    trace: str
    abandoned: bool
    retry_due_ns: int | None


class AttemptLost(NamedTuple):
    """The holder of an attempt is gone; it is not counted against the retry policy.

    `stopped`: it ended because somebody asked its process to, so it is no sign of a fault.
    """

    attempt: int
    token: int
    holder: str
    stopped: bool = False


class AttemptLimited(NamedTuple):
    """The attempt met the rate limit of whom it asked; it is not counted as an attempt.

    The task asks its lane again at once, at the head; the lane lends nothing before `until_ns`.
    `queue_due_ns`: as in `TaskRequeued`, counted from then.
    """

    attempt: int
    token: int
    until_ns: int
    message: str
    queue_due_ns: int = 0


class TaskRequeued(NamedTuple):
    """The task asks its lane for a slot again, because its backoff, or its sleep, is over.

    `queue_due_ns`: when the wait for it has to have ended (0: there is no such time).
    """

    attempt: int
    queue_due_ns: int = 0


class TaskRetried(NamedTuple):
    """A task that failed begins anew, with the idempotency key that it had.

    Its failures are forgotten, attempts are counted on. Times as in `TaskScheduled`.
    """

    total_due_ns: int = 0
    queue_due_ns: int = 0


class TaskJoined(NamedTuple):
    """Another task has the key: this one waits for its end, to end as it does or to come next."""

    task: str


class TaskAdmitted(NamedTuple):
    """The task has its key, or what it collects, and asks its lane for a slot.

    `queue_due_ns` as in `TaskScheduled`.
    """

    queue_due_ns: int = 0


class TaskRedirected(NamedTuple):
    """The lane was full and named another one, which the task asks now."""

    lane: str


class OutcomeRefused(NamedTuple):
    """A result came from an attempt that is not the current one: it has no effect."""

    token: int
    status: str


class AttemptReturned(NamedTuple):
    """The slot of an abandoned attempt comes back; the task itself went on, or ended, before.

    `reason`: `returned` (its code has ended), `grace` (its code still runs, but has held the slot
    for as long as it may), `gone` (so is the process that ran it).
    """

    token: int
    reason: str


class TaskCancelRequested(NamedTuple):
    """The running attempt is being stopped."""

    reason: str


class TaskCompleted(NamedTuple):
    """The attempt's result is the task's result; it is never overwritten."""

    attempt: int
    token: int
    result: Value


class TaskFailed(NamedTuple):
    """No attempt is left, or the failure is not one to retry."""

    code: str
    message: str


class TaskCancelled(NamedTuple):
    """The task ended without a result because its run was cancelled or failed.

    `abandoned`: as in `AttemptFailed`.
    """

    reason: str
    abandoned: bool


TaskFact: TypeAlias = (
    TaskScheduled
    | TaskWaiting
    | AttemptStarted
    | ChildStarted
    | ProgressReported
    | AttemptFailed
    | AttemptLost
    | AttemptLimited
    | TaskRequeued
    | TaskRetried
    | TaskJoined
    | TaskAdmitted
    | TaskRedirected
    | OutcomeRefused
    | AttemptReturned
    | TaskCancelRequested
    | TaskCompleted
    | TaskFailed
    | TaskCancelled
    | SignalFact
    | TaskHoldFact
    | TaskAdjustFact
    | TaskDropped
    | TaskDied
    | StepFact
    | TaskAnswerFact
    | SpawnFact
)
