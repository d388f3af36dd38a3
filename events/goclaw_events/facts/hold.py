"""Who made a task, or a run, stand still, and let it go on. In its own stream."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class TaskInterruptRequested(NamedTuple):
    """The running attempt is asked to stop and to save its state.

    `timeout_s`: so long it may take by itself; then what it awaits is cancelled; 0.0: at once.
    """

    reason: str
    sender: str
    timeout_s: float


class TaskInterrupted(NamedTuple):
    """The task stands still with the state that it saved last, until it is resumed.

    `abandoned` as in `AttemptFailed`; `error`: [code, message] of what its handler raised instead
    of stopping.
    """

    reason: str
    sender: str
    abandoned: bool = False
    error: list[str] | None = None


class TaskPaused(NamedTuple):
    """Nothing of the task starts until it is resumed.

    `in_force` False: an attempt runs and goes on, or the task waits for others; what it would start
    next is what stands still.
    """

    reason: str
    sender: str
    in_force: bool


class TaskResumed(NamedTuple):
    """The task goes on: `state` is what it is in by that.

    `queue_due_ns` as in `TaskScheduled`.
    """

    state: str
    sender: str
    queue_due_ns: int = 0


class RunInterrupted(NamedTuple):
    """Nothing of the run starts; what runs is asked to stop and to save its state."""

    reason: str
    sender: str
    timeout_s: float


class RunPaused(NamedTuple):
    """Nothing of the run starts; what runs goes on."""

    reason: str
    sender: str


class RunResumed(NamedTuple):
    """The run goes on, and every task of it that stood still."""

    sender: str


TaskHoldFact: TypeAlias = TaskInterruptRequested | TaskInterrupted | TaskPaused | TaskResumed
RunHoldFact: TypeAlias = RunInterrupted | RunPaused | RunResumed
