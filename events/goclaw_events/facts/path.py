"""How the path of a run was changed while it went on: in its own stream, and in those of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from goclaw_events.value import BlobRef, Value


class PathChangeAsked(NamedTuple):
    """A change waits for tasks, and nothing of the run starts meanwhile.

    Some are to say that they have not begun, some to stop, some to give their results. `order` is
    the whole change, as it was asked for; `asked` are the tasks that it waits for.
    """

    change: str
    order: list[Any]
    asked: list[str]


class PathTaskAnswered(NamedTuple):
    """A task that a change waits for has answered.

    `answer`: idle (it has not begun), held (neither, and it stands still for the change), begun,
    result (here it is). One that was to stop ends as any other.
    """

    task: str
    answer: str
    result: Value = None


class PathChanged(NamedTuple):
    """The path of the run is another from here on.

    `version` counts from 1, which is what was submitted; `definition` is the plan by now. `skips`:
    [task, how, result] each, where how is `passed` (what needs it goes on), `not_chosen` (as if a
    condition had been false) or `replaced`; `skipped` are those of them that are so at once, the
    others will be when what they need has ended. `reopened`: tasks that begin a new generation,
    whether they had ended or not; `undone`: how many of these had ended, by how. `altered`: tasks
    that have not begun and have other needs, or another definition. `added`: new tasks. `told`:
    those of the skipped that were in a lane, and end by themselves. `said` is what was asked for,
    for people. `children`: plans of definitions that new tasks run as children, by name.
    """

    change: str
    digest: bytes
    version: int
    definition: BlobRef
    skips: list[list[Value]]
    skipped: list[str]
    reopened: list[str]
    undone: dict[str, int]
    altered: list[str]
    added: list[str]
    told: list[str]
    sender: str
    reason: str
    said: Value
    children: dict[str, BlobRef] | None = None


class PathKept(NamedTuple):
    """A change that waited was given up: the path stays as it was."""

    change: str
    code: str
    message: str


class TaskDropped(NamedTuple):
    """The task is skipped in this generation: the path of its run goes without it.

    Or it waited for an answer, and its definition goes without one.
    """

    reason: str


PathFact: TypeAlias = PathChangeAsked | PathTaskAnswered | PathChanged | PathKept
