"""What is said about the path of a run: which tasks there are, and which of them run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from goclaw_events.value import BlobRef, Value

PASSED: Final = "passed"
NOT_CHOSEN: Final = "not_chosen"
REPLACED: Final = "replaced"
IDLE: Final = "idle"
HELD_STILL: Final = "held"
BEGUN: Final = "begun"
RESULT: Final = "result"
CHANGER: Final = "path:"
"""Before the id of a change: the sender of what it does to tasks."""


# To a run.
class ChangePath(NamedTuple):
    """Change the path of a run: all of it, or, if anything speaks against it, nothing.

    `skips` as in `PathChanged`; `reruns` are tasks that are to run again, with all that depends on
    them. `definition` is the next version of the plan `base` (None: the plan stays as it is), with
    `altered` tasks (other needs or conditions), `redefined` ones (another definition) and `added`
    ones; `read` are tasks whose results are read from now on. `if_version`: the version that the
    plan must still have. `children` as in `PathChanged`. `digest` is that of the request, to tell
    repeats apart.
    """

    change: str
    digest: bytes
    base: BlobRef | None
    definition: BlobRef | None
    skips: list[list[Value]]
    reruns: list[str]
    altered: list[str]
    redefined: list[str]
    added: list[str]
    read: list[str]
    sender: str
    reason: str
    said: Value
    if_version: int | None = None
    children: dict[str, BlobRef] | None = None


class PathAnswer(NamedTuple):
    """A task answers a change that waits for it; as in `PathTaskAnswered`."""

    change: str
    task: str
    answer: str
    result: Value = None


class AskMore(NamedTuple):
    """Go on asking the tasks that a change waits for, from one of them on."""

    change: str
    start: int


class ConcludeChange(NamedTuple):
    """Every task that a change waits for has answered, or ended: make it, or give it up."""

    change: str


class DropMore(NamedTuple):
    """Go on telling tasks that they will not begin; `generations`: that of each, as in `DropTask`.

    None: of an older log.
    """

    tasks: list[str]
    reason: str
    generations: list[int] | None = None


class ScheduleReady(NamedTuple):
    """Schedule what a change made ready."""


class ScheduleActive(NamedTuple):
    """Schedule every active task from a plan index on; those that have begun pass over it."""

    start: int


# To a task.
class StandAside(NamedTuple):
    """Do not begin until the change is made or given up; `stop`: end, if you have begun.

    `generation`: the one that the run knows the task to be in.
    """

    change: str
    definition: BlobRef
    stop: bool
    generation: int = 0


class TellResult(NamedTuple):
    """Tell the run your result: something new of it reads it."""

    change: str


class DropTask(NamedTuple):
    """Do not begin in this generation; leave the queue of the lane.

    `generation`: the one that is meant, as a later one may have been scheduled meanwhile; None, of
    an older log: whichever it is.
    """

    reason: str
    generation: int | None = None


PATH_MESSAGES: Final[tuple[tuple[type, str], ...]] = (
    (ChangePath, "run.change_path"),
    (PathAnswer, "run.path_answer"),
    (AskMore, "run.ask_more"),
    (ConcludeChange, "run.conclude_change"),
    (DropMore, "run.drop_more"),
    (ScheduleReady, "run.schedule_ready"),
    (ScheduleActive, "run.schedule_active"),
    (StandAside, "task.stand_aside"),
    (TellResult, "task.tell_result"),
    (DropTask, "task.drop"),
)
"""Each with the name under which it may stand in a log."""
