"""What is said to runs and tasks while they go on: to a run first, which passes it on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.adjusting import AdjustTask
from goclaw_actors.answering import DecideTask, SendNamed
from goclaw_actors.decider import Refused
from goclaw_actors.pathing import ChangePath
from goclaw_events.value import pack

if TYPE_CHECKING:
    from goclaw_events.value import BlobRef, Value


class SendSignal(NamedTuple):
    """Say something to a task: first to its run, which passes it on.

    Most is as in `SignalAccepted`. `names`: which parameters the agent of the task takes, where
    that is known. `quiet_s`: the window of `coalesce`. `digest` is that of the request, to tell
    repeats apart. `definition` is filled in by the run.
    """

    task: str
    signal: str
    kind: str
    mode: str
    body: Value
    sender: str
    digest: bytes
    deadline_ns: int = 0
    quiet_s: float = 0.0
    waiting_max: int = 16
    names: list[str] | None = None
    definition: BlobRef | None = None


class WithdrawSignal(NamedTuple):
    """Take a message back that nobody took yet; goes the same way."""

    task: str
    signal: str
    reason: str


class EndSignals(NamedTuple):
    """The task will not begin: nobody will take what was said to it."""

    reason: str


class HoldWork(NamedTuple):
    """Make a task (`task` '': the run) stand still; `how` is interrupted or paused.

    `timeout_s`: so long what runs may take to stop by itself. `of_run`: its run stands still, so
    what is queued is kept, to go on with it. The rest as in `SendSignal`.
    """

    task: str
    how: str
    reason: str
    sender: str
    timeout_s: float
    command: str = ""
    digest: bytes = b""
    definition: BlobRef | None = None
    of_run: bool = False


class ResumeWork(NamedTuple):
    """Let a task (`task` '': the run) go on that stands still."""

    task: str
    sender: str
    command: str = ""
    digest: bytes = b""
    definition: BlobRef | None = None
    of_run: bool = False


class HoldMore(NamedTuple):
    """Go on making active tasks stand still, from a plan index; the rest as in `HoldWork`."""

    start: int
    how: str
    reason: str
    sender: str
    timeout_s: float


class ResumeMore(NamedTuple):
    """Go on resuming active tasks, from a plan index."""

    start: int
    sender: str


COMMAND_OF: Final[dict[type, str]] = {
    SendSignal: "signal",
    SendNamed: "signal",
    DecideTask: "answer",
    AdjustTask: "signal",
    HoldWork: "command",
    ResumeWork: "command",
    ChangePath: "change",
}
"""Commands that hold their id, and in which field: with it, and their `digest`, a repeat is known
also where the command itself came out of an inbox row."""


def unknown_task(run_id: str, task_id: str) -> Refused:
    """Return what is said to somebody who means a task that there is not."""
    text = f"run {run_id} has no task {task_id}"
    return Refused("task_not_found", text, f"goclaw runs show {run_id}")


def digest_of(body: Any) -> bytes:
    """Return what tells two commands of one id apart: the digest that one has, or all of it."""
    return bytes(body.digest) if type(body) in COMMAND_OF else pack(list(body))
