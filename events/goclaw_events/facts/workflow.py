"""What happened to a run. Stream `workflow/<run id>`; the time of a fact is its frame's."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from goclaw_events.facts.adjust import RunDeadlineSet
from goclaw_events.facts.answer import RunMailFact
from goclaw_events.facts.hold import RunHoldFact
from goclaw_events.facts.letter import LetterFact
from goclaw_events.facts.path import PathFact

if TYPE_CHECKING:
    from goclaw_events.value import BlobRef, Value


class RunSubmitted(NamedTuple):
    """A run was accepted. `definition` is the plan's blob, `digest` that of the whole request.

    `parent`: the stream of the task whose child the run is ('' for a run of its own), `depth`: how
    many runs are above it. `deadline_ns`: when it has to have ended (0: there is no such time).
    `children`: the plans of the definitions that its tasks run as children, by name; theirs, too.
    """

    definition: BlobRef
    name: str
    input: Value
    labels: dict[str, str]
    digest: bytes
    idempotency_key: str | None
    submitted_by: str
    parent: str = ""
    depth: int = 0
    deadline_ns: int = 0
    children: dict[str, BlobRef] | None = None


class TaskEnded(NamedTuple):
    """The run heard that a task ended: completed, failed or cancelled.

    `result` is kept only where something of the run reads it; `error` is [code, message].
    """

    task: str
    generation: int
    status: str
    result: Value
    error: list[str] | None


class TasksSkipped(NamedTuple):
    """Tasks will not run: `condition` (theirs was false), `needs_skipped` or `needs_failed`."""

    tasks: list[str]
    reason: str


class TaskSignalled(NamedTuple):
    """Something was said to a task for the first time, so its stream may begin before it does."""

    task: str


class TasksBlocked(NamedTuple):
    """A lane that blocks has no room for tasks of the run: they ask again when it has."""

    lane: str
    tasks: list[str]


class TasksUnblocked(NamedTuple):
    """The lane has room for these tasks now (or was given up, which they hear)."""

    lane: str
    tasks: list[str]


class TasksWatched(NamedTuple):
    """A collector is to hear how these tasks end, by plan index; -1 is the run itself.

    `by`: where in a result the vote stands that it wants to know; None: none is wanted.
    """

    collector: str
    tasks: list[int]
    by: list[str | int] | None


class TasksUnwatched(NamedTuple):
    """A collector wants to hear nothing more."""

    collector: str


class RunCancelRequested(NamedTuple):
    """Somebody asked to cancel the run: nothing new starts, what runs is stopped."""

    reason: str
    requested_by: str


class RunTimedOut(NamedTuple):
    """The run did not end before its deadline: nothing new starts, what runs is stopped."""

    message: str


class RunStuck(NamedTuple):
    """Nothing will wake the run, or tasks of it: a fault of the engine, seen by its auditor.

    `evidence`: [stream, what is missing] of each place, some of them.
    """

    evidence: list[list[str]]


class RunUnstuck(NamedTuple):
    """What was missing to a stuck run has come: it goes on."""


class RunCompleted(NamedTuple):
    """Every task ended well (or was skipped by its condition)."""

    result: Value


class RunFailed(NamedTuple):
    """The run ended badly; `task` is the first that failed ('' where it was not a task)."""

    code: str
    message: str
    task: str


class RunCancelled(NamedTuple):
    """The run was cancelled and nothing of it runs any more."""

    reason: str


WorkflowFact: TypeAlias = (
    RunSubmitted
    | TaskEnded
    | TasksSkipped
    | TaskSignalled
    | TasksBlocked
    | TasksUnblocked
    | RunHoldFact
    | RunDeadlineSet
    | PathFact
    | LetterFact
    | TasksWatched
    | TasksUnwatched
    | RunMailFact
    | RunCancelRequested
    | RunTimedOut
    | RunStuck
    | RunUnstuck
    | RunCompleted
    | RunFailed
    | RunCancelled
)
