"""What actors say to each other, by receiver; a name registered here may stand in a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.adjusting import AdjustTask, LeaveQueue, LeftQueue, LimitRun, Rerank
from goclaw_actors.answering import ANSWER_MESSAGES
from goclaw_actors.collecting import COLLECT_MESSAGES
from goclaw_actors.compensating import (
    CompensateSaga,
    ResolveSaga,
    RetrySaga,
    RetryTask,
    TaskRested,
)
from goclaw_actors.lending import LANE_MESSAGES
from goclaw_actors.letters import LETTER_MESSAGES
from goclaw_actors.pathing import PATH_MESSAGES
from goclaw_actors.scheduling import SCHEDULE_MESSAGES
from goclaw_actors.signalling import (
    EndSignals,
    HoldMore,
    HoldWork,
    ResumeMore,
    ResumeWork,
    SendSignal,
    WithdrawSignal,
)
from goclaw_actors.work import Consumed, Outcome, Progress, Saved, Stepped
from goclaw_events.codec import Codec

if TYPE_CHECKING:
    from goclaw_events.value import BlobRef, Value


POISONED: Final = "stream_poisoned"
"""Why an actor refuses whose stream was given up."""


# To a run.
class SubmitRun(NamedTuple):
    """Begin a run of a compiled plan. `digest` is that of the request, to tell repeats apart.

    `parent`, `depth`, `children`: see `RunSubmitted`. `deadline_ns`: the parent's, 0: none.
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


class ScheduleMore(NamedTuple):
    """Go on scheduling tasks that became ready in a turn too large for one (plan indexes)."""

    tasks: list[int]


class StopMore(NamedTuple):
    """Go on stopping active tasks, from a plan index; the rest as in `CancelTask`."""

    start: int
    reason: str
    queued_only: bool = False
    graceful: bool = False


class TaskReported(NamedTuple):
    """A task ended: completed, failed or cancelled, or is a dead letter (`dead`).

    `error` is [code, message].

    `attempts`: how many began. `in_doubt`: one that did not complete may have taken effect.
    `is_running`: the code of one that was abandoned may still run; `TaskRested` follows.
    """

    task: str
    generation: int
    status: str
    result: Value
    error: list[str] | None
    attempts: int = 0
    in_doubt: bool = False
    is_running: bool = False


class CancelRun(NamedTuple):
    """Cancel the run: nothing new starts, what runs is stopped."""

    reason: str
    requested_by: str


class FailRun(NamedTuple):
    """An actor of the run cannot go on because of a bug."""

    code: str
    message: str
    task: str


class LaneFull(NamedTuple):
    """A lane that blocks has no room for tasks of the run (by their streams); the run waits."""

    lane: str
    tasks: list[str]


class RoomFor(NamedTuple):
    """The lane keeps so many places for tasks of the run, which does not wait any more."""

    lane: str
    places: int


class RoomRefused(NamedTuple):
    """The lane will never have room."""

    lane: str
    reason: str


class JudgeRun(NamedTuple):
    """The auditor looked at the run twice. `evidence` as in `RunStuck`; none: it is not stuck."""

    evidence: list[list[str]]


# To a task.
class ScheduleTask(NamedTuple):
    """The task's needs are met: run it through its lane. The rest as in `TaskScheduled`."""

    definition: BlobRef
    generation: int
    params: Value
    lane: str
    priority: int
    deadline_ns: int = 0
    child: list[Any] | None = None
    tenant: str = ""
    key: str = ""
    unique: list[Any] | None = None
    collect: list[Any] | None = None
    wish: Value = None
    """Of the collector that the task opens: [rule, wanted, by, failures_max, deadline in s,
    members, select, live], as in `CollectorOpened`."""


class WaitTask(NamedTuple):
    """The task's needs are met: complete it at `due_ns`."""

    definition: BlobRef
    generation: int
    due_ns: int


class SlotLeased(NamedTuple):
    """The lane gives the task a slot; '' for its name: the one that the task asked last."""

    lane: str = ""


class SlotRefused(NamedTuple):
    """The lane does not take the task in."""

    reason: str


class SlotRedirected(NamedTuple):
    """The lane is full: ask this one."""

    lane: str


class KeyGranted(NamedTuple):
    """The task has its key: it may begin."""


class KeyShared(NamedTuple):
    """Another task has the key, and this one hears when it ends."""

    task: str


class KeyRefused(NamedTuple):
    """The task does not get its key; `code` is that of its failure."""

    code: str
    message: str


class KeyEnded(NamedTuple):
    """The task that has the key ended: who joined it ends as it did."""

    status: str
    result: Value
    error: list[str] | None


class KeyTaken(NamedTuple):
    """Another task (its stream) is to have the key: end, if you have not begun."""

    task: str


class AskAgain(NamedTuple):
    """Ask the lane for a slot again: it keeps a place in its queue for the task."""

    lane: str


class CheckSlot(NamedTuple):
    """Give the slot back again if it is not needed: the lane could not be read for a while.

    `token`: it is the one that this attempt kept when it was abandoned. `lane`: who asks.
    """

    token: int = 0
    lane: str = ""


class CheckAttempt(NamedTuple):
    """The attempt still runs, but what was last said to it may have been lost with a commit."""

    token: int


class LoseAttempt(NamedTuple):
    """The process that held the attempt is gone; `stopped`: it was asked to go."""

    token: int
    lost_max: int
    stopped: bool = False


class CancelTask(NamedTuple):
    """The run wants the task to end without a result; `queued_only`: unless it has begun.

    `generation`: the one that the run knows it to be in.
    `graceful`: an attempt that runs may save its state at its next boundary.
    `last`: the run counts the task as over; if a bug strikes this message, nobody is told.
    """

    reason: str
    queued_only: bool = False
    generation: int = 0
    graceful: bool = False
    last: bool = False


class ChildEnded(NamedTuple):
    """The run that the task had submitted ended; `error` is [code, message]."""

    run_id: str
    status: str
    result: Value
    error: list[str] | None


class TimerFired(NamedTuple):
    """A timer of the actor is due."""

    id: str


# To the catalogue of a name.
class RegisterDefinition(NamedTuple):
    """Let a definition be run by name. `version` None: the next number, unless it is known."""

    version: str | None
    definition: BlobRef
    registered_by: str


MESSAGES: Final = Codec()
"""Every message that may stand in an inbox or outbox row."""

for _cls, _name in (
    (SubmitRun, "run.submit"),
    (ScheduleMore, "run.schedule_more"),
    (StopMore, "run.stop_more"),
    (HoldMore, "run.hold_more"),
    (ResumeMore, "run.resume_more"),
    (HoldWork, "hold_work"),
    (ResumeWork, "resume_work"),
    (TaskReported, "run.task_reported"),
    (TaskRested, "saga.task_rested"),
    (CompensateSaga, "saga.compensate"),
    (RetrySaga, "saga.retry"),
    (ResolveSaga, "saga.resolve"),
    (RetryTask, "task.retry"),
    (CancelRun, "run.cancel"),
    (FailRun, "run.fail"),
    (LaneFull, "run.lane_full"),
    (RoomFor, "run.room_for"),
    (RoomRefused, "run.room_refused"),
    (JudgeRun, "run.judge"),
    (ScheduleTask, "task.schedule"),
    (WaitTask, "task.wait"),
    (SlotLeased, "task.slot_leased"),
    (SlotRefused, "task.slot_refused"),
    (SlotRedirected, "task.slot_redirected"),
    (KeyGranted, "task.key_granted"),
    (KeyShared, "task.key_shared"),
    (KeyRefused, "task.key_refused"),
    (KeyEnded, "task.key_ended"),
    (KeyTaken, "task.key_taken"),
    (AskAgain, "task.ask_again"),
    (CheckSlot, "task.check_slot"),
    (CheckAttempt, "task.check_attempt"),
    (LoseAttempt, "task.lose_attempt"),
    (CancelTask, "task.cancel"),
    (SendSignal, "task.send_signal"),
    (WithdrawSignal, "task.withdraw_signal"),
    (EndSignals, "task.end_signals"),
    (ChildEnded, "task.child_ended"),
    (TimerFired, "timer.fired"),
    (RegisterDefinition, "definition.register"),
    *LANE_MESSAGES,
    *PATH_MESSAGES,
    *LETTER_MESSAGES,
    *SCHEDULE_MESSAGES,
    *COLLECT_MESSAGES,
    *ANSWER_MESSAGES,
    (AdjustTask, "task.adjust"),
    (LeftQueue, "task.left_queue"),
    (LimitRun, "run.limit"),
    (Rerank, "lane.rerank"),
    (LeaveQueue, "lane.leave_queue"),
):
    MESSAGES.register(_cls, _name)
MESSAGES.register(Outcome, "task.outcome")
MESSAGES.register(Progress, "task.progress")
MESSAGES.register(Consumed, "task.consumed")
MESSAGES.register(Saved, "task.saved")
MESSAGES.register(Stepped, "task.stepped")
