"""What became of a saga. Stream `saga/~<saga id>`; its tasks are `task/~<saga id>/<task id>`.

An action has the id of its step, what compensates it that of the step and `.compensation`. What
follows from a fact by the plan (which steps a completed one lets begin) is not said again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from goclaw_events.facts.adjust import RunDeadlineSet
from goclaw_events.facts.workflow import (
    RunStuck,
    RunUnstuck,
    TasksBlocked,
    TasksUnblocked,
    TasksUnwatched,
    TasksWatched,
)

if TYPE_CHECKING:
    from goclaw_events.value import BlobRef, Value


class SagaSubmitted(NamedTuple):
    """A saga was accepted, and waits to begin; the fields are those of `RunSubmitted`.

    `lane`: the lane whose slot it waits for ('': none, it begins at once).
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
    lane: str = ""


class SagaStarted(NamedTuple):
    """The saga began: its first actions run. `deadline_ns`: of its actions; 0: there is none."""

    deadline_ns: int


class StepEnded(NamedTuple):
    """An action or a compensation (by the id of its task) ended: completed, failed or cancelled.

    `result` is kept only where something of the saga reads it; `error` is [code, message].
    `in_doubt`: it did not complete, and may have taken effect. `is_running`: an attempt of it could
    not be stopped, so its code may still run.
    """

    task: str
    status: str
    result: Value
    error: list[str] | None
    in_doubt: bool
    is_running: bool


class StepRested(NamedTuple):
    """Of an action that ended no code runs any more (or its grace is over)."""

    task: str


class CompensationBegun(NamedTuple):
    """The saga goes back: no action starts any more, what runs is stopped, what is done is undone.

    `cause`: failed (a step did), timeout, cancelled (somebody said so). `step`: the one that failed
    ('': none). `approved`: somebody said that manual steps are to be compensated, too.
    """

    cause: str
    code: str
    message: str
    step: str
    by: str
    approved: bool


class StepsUnwound(NamedTuple):
    """Steps are as if they had never been, but for those that are being compensated.

    `compensating`: these are undone now. `passed`: these had nothing to undo, or are not to be
    undone.
    """

    compensating: list[str]
    passed: list[str]


class CompensationAwaited(NamedTuple):
    """Only a person can let the compensation go on: `steps` are compensated when one says so."""

    steps: list[str]


class CompensationApproved(NamedTuple):
    """A person lets manual steps be compensated."""

    reason: str
    by: str


class SagaCompleted(NamedTuple):
    """Every action completed."""

    result: Value


class SagaCompensated(NamedTuple):
    """Everything that was to be undone is undone."""


class SagaAlarmed(NamedTuple):
    """The saga is a dead letter: compensations failed, and a person has to look.

    `steps`: [step, code, message] of those whose compensation failed; `left`: the steps that were
    not undone because of them.
    """

    steps: list[list[str]]
    left: list[str]


class RetryPlanned(NamedTuple):
    """A person lets what failed be tried again as soon as the lane `/redrive` lets it."""

    by: str
    reason: str


class CompensationRetried(NamedTuple):
    """A person lets these compensations that failed be tried again, with their old keys."""

    steps: list[str]
    by: str
    reason: str = ""


class SagaResolved(NamedTuple):
    """A person ended the saga by hand: nothing more of it is undone."""

    reason: str
    by: str


SagaFact: TypeAlias = (
    SagaSubmitted
    | SagaStarted
    | StepEnded
    | StepRested
    | CompensationBegun
    | StepsUnwound
    | CompensationAwaited
    | CompensationApproved
    | SagaCompleted
    | SagaCompensated
    | SagaAlarmed
    | RetryPlanned
    | CompensationRetried
    | SagaResolved
    | RunDeadlineSet
    | TasksBlocked
    | TasksUnblocked
    | TasksWatched
    | TasksUnwatched
    | RunStuck
    | RunUnstuck
)
