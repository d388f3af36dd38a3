"""What is said where somebody changes how a task is run: to its run, its lanes, the run below."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from goclaw_events.value import BlobRef, Value


class AdjustTask(NamedTuple):
    """Change how a task is run: said to its run, which passes it on.

    `changes` as in `TaskAdjusted`, the rest as in `SendSignal`.
    """

    task: str
    signal: str
    changes: dict[str, Value]
    sender: str
    digest: bytes
    definition: BlobRef | None = None


class LimitRun(NamedTuple):
    """The task that the run is a child of has to end by `deadline_ns`: so does the run."""

    deadline_ns: int


# To a lane, and from it.
class Rerank(NamedTuple):
    """Let a task wait with another priority, as if it had come now; nothing if it does not wait.

    The fields are those of `Enqueue`.
    """

    task: str
    priority: int
    at_head: bool
    tenant: str = ""
    workflow: str = ""
    key: str = ""
    units: dict[str, int] | None = None
    cost: float = 1.0
    hops: int = 0


class LeaveQueue(NamedTuple):
    """Let a task out of the queue, which hears `LeftQueue`; one that got a slot keeps it.

    So a slot that is on its way is never taken for one of another lane.
    """

    task: str


class LeftQueue(NamedTuple):
    """The task neither waits in the lane nor has a slot of it."""

    lane: str
