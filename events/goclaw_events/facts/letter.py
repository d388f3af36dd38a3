"""What happened to dead letters: in the stream of the task that is one, and in that of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from goclaw_events.value import Value


class TaskDied(NamedTuple):
    """The task is a dead letter: no attempt follows in this generation, and its run waits.

    `reason`: `exhausted` (no attempt is left, and its policy says so), `lost_too_often` or
    `kills_its_worker`. `code` and `message` are those of the last failure.
    """

    code: str
    message: str
    reason: str


class LetterLeft(NamedTuple):
    """The run heard that a task is a dead letter: it waits until somebody decides about it."""

    task: str
    generation: int


class RedrivePlanned(NamedTuple):
    """Somebody has a dead letter run again as soon as the lane `/redrive` lets it.

    It is one until then; `generation` is that in which it died. The rest as in `LetterRedriven`.
    """

    task: str
    generation: int
    edits: Value
    reason: str
    by: str


class LetterRedriven(NamedTuple):
    """Somebody has a dead letter run again, as the next generation of its task.

    `edits` are laid over its parameters, and over earlier edits (None: all stays as it was);
    `generation` is the new one.
    """

    task: str
    generation: int
    edits: Value
    reason: str
    by: str


class LetterDiscarded(NamedTuple):
    """Somebody gave a dead letter up: its task fails, and the run goes on as after a failure."""

    task: str
    generation: int
    reason: str
    by: str


LetterFact: TypeAlias = LetterLeft | RedrivePlanned | LetterRedriven | LetterDiscarded
