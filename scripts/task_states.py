"""The states of the task, reached by facts, and the messages put to it in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.adjusting import AdjustTask, LeftQueue
from goclaw_actors.answering import AnswerTask, AwaitTask, DecideTask
from goclaw_actors.collecting import CollectorDone, ReportVote
from goclaw_actors.letters import BuryTask
from goclaw_actors.messages import (
    AskAgain,
    CancelTask,
    CheckAttempt,
    CheckSlot,
    ChildEnded,
    KeyEnded,
    KeyGranted,
    KeyRefused,
    KeyShared,
    KeyTaken,
    LoseAttempt,
    ScheduleTask,
    SlotLeased,
    SlotRedirected,
    SlotRefused,
    TaskReported,
    TimerFired,
    WaitTask,
)
from goclaw_actors.pathing import DropTask, StandAside, TellResult
from goclaw_actors.signalling import EndSignals, HoldWork, ResumeWork, SendSignal, WithdrawSignal
from goclaw_actors.task import Task, task_decider
from goclaw_actors.work import SLEPT, AttemptToken, Consumed, Outcome, Progress, Saved, Stepped
from goclaw_events.facts import (
    SPAWN,
    AttemptFailed,
    AttemptSlept,
    AttemptStarted,
    ChildStarted,
    EndPutOff,
    SignalAccepted,
    SignalConsumed,
    StepRecorded,
    TaskAdjusted,
    TaskAdmitted,
    TaskAnswered,
    TaskAwaiting,
    TaskCancelled,
    TaskCancelRequested,
    TaskCompleted,
    TaskDied,
    TaskDropped,
    TaskFailed,
    TaskInterrupted,
    TaskInterruptRequested,
    TaskJoined,
    TaskPaused,
    TaskScheduled,
    TaskWaiting,
)
from scripts.aggregates import NOW_NS, REF, TOKEN, Aggregate, OnePlan

if TYPE_CHECKING:
    from collections.abc import Sequence


DIED = TaskDied("e", "m", "exhausted")


def _outcome(status: str, number: int, code: str = "") -> Outcome:
    return Outcome("task/r/a", AttemptToken(0, 1, number), status, code=code)


LEAF: Final = '{"agent": "leaf"}'


def task() -> Aggregate:
    """Return the task with its states and messages."""
    scheduled = TaskScheduled(REF, 0, {}, "w/io", 0)
    unique = scheduled._replace(unique=["unique/w/a", "k", 0, "join"])
    collects = scheduled._replace(collect=["c", True])
    started = AttemptStarted(1, TOKEN, "node:boot")
    running = (scheduled, started)
    retry_ns = NOW_NS + 1_000_000_000
    to_begin = TaskScheduled(REF, 0, {}, "", 0, child=[REF, 1, None])
    child = (to_begin, ChildStarted(1, "run_c", REF))
    patient = scheduled._replace(total_due_ns=NOW_NS, queue_due_ns=NOW_NS)
    stuck = AttemptFailed(1, TOKEN, "timeout", "m", "", True, retry_ns)
    patch = SendSignal("a", "p", "params", "steer", {"n": 1}, "", b"", names=["n"], definition=REF)
    message = SendSignal("a", "m", "message", "steer", "hi", "", b"", definition=REF)
    awaits = TaskAwaiting(REF, 0, "go", {"schema": None, "on_deadline": "fail"}, retry_ns)
    question = {
        "who": ["uid:1"], "message": "", "arguments": None, "schema": None, "on_deadline": "fail",
        "on_reject": "fail",
    }  # fmt: skip
    asks = TaskAwaiting(REF, 0, "", question, retry_ns)
    approved = DecideTask("a", "d", "approved", None, False, "uid:1", ["uid:1"], "", "why", b"")
    current = AttemptToken(0, 1, TOKEN)
    step = StepRecorded(1, TOKEN, "s", "", b"", 1)
    spawned = (*running, StepRecorded(1, TOKEN, SPAWN, "k", b"", [LEAF, {}, False]))
    said = SignalAccepted("m", "message", "steer", "hi", "")
    states: dict[str, Sequence[Any]] = {
        "pending": (),
        "pending (a message waits)": (said,),
        "scheduled": (scheduled,),
        "running (a message waits)": (*running, said),
        "running (it was taken)": (*running, said, SignalConsumed("m", 1, TOKEN)),
        "claiming": (unique,),
        "joined": (unique, TaskJoined("task/s/a")),
        "collecting": (collects,),
        "scheduled (it has its key)": (unique, TaskAdmitted()),
        "running": running,
        "cancelling": (*running, TaskCancelRequested("why")),
        "scheduled (for another lane)": (
            scheduled,
            TaskAdjusted("j", {"lane": "w/other"}, "me"),
        ),
        "scheduled (its times are over)": (patient,),
        "child": child,
        "cancelling (a child)": (*child, TaskCancelRequested("why")),
        "running (a step is recorded)": (*running, step),
        "waiting (asleep)": (*running, AttemptSlept(1, TOKEN, retry_ns)),
        "waiting (for what it spawned)": (
            *spawned,
            AttemptSlept(1, TOKEN, retry_ns, ["k"]),
        ),
        "running (it spawned)": spawned,
        "ending": (*spawned, EndPutOff("completed", TOKEN, 1, None, "")),
        "waiting": (TaskWaiting(REF, 0, NOW_NS),),
        "waiting (for a signal)": (awaits,),
        "waiting (for a person)": (asks,),
        "completed (it was approved)": (
            asks,
            TaskAnswered("d", "approved", None, "uid:1", ""),
            TaskCompleted(0, 0, {}),
        ),
        "paused (its signal came)": (
            awaits,
            TaskPaused("why", "me", in_force=True),
            TaskAnswered("s", "signal", 1, "me"),
        ),
        "retrying": (*running, AttemptFailed(1, TOKEN, "e", "m", "", False, retry_ns)),
        "retrying (abandoned)": (*running, stuck),
        "running (to be paused)": (*running, TaskPaused("why", "me", in_force=False)),
        "interrupting": (*running, TaskInterruptRequested("why", "me", 5.0)),
        "interrupted": (
            *running,
            TaskInterruptRequested("why", "me", 5.0),
            TaskInterrupted("why", "me"),
        ),
        "paused": (scheduled, TaskPaused("why", "me", in_force=True)),
        "paused (a child)": (*child, TaskPaused("why", "me", in_force=True)),
        "completed": (*running, TaskCompleted(1, TOKEN, 1)),
        "failed": (scheduled, TaskFailed("lane_full", "m")),
        "dead": (*running, AttemptFailed(1, TOKEN, "e", "m", "", False, None), DIED),
        "cancelled": (scheduled, TaskCancelled("why", abandoned=False)),
        "skipped": (scheduled, TaskDropped("why")),
    }
    messages = {
        "ScheduleTask": ScheduleTask(REF, 0, {}, "w/io", 0),
        "WaitTask": WaitTask(REF, 0, NOW_NS),
        "AwaitTask": AwaitTask(REF, 0, "go", {"schema": None, "on_deadline": "fail"}, NOW_NS),
        "AnswerTask": AnswerTask("s", "signal", "go", 1, "me"),
        "DecideTask (approved)": approved,
        "DecideTask (rejected)": approved._replace(verdict="rejected"),
        "DecideTask (by whoever may not)": approved._replace(proved=["uid:2"]),
        "KeyGranted": KeyGranted(),
        "KeyShared": KeyShared("task/s/a"),
        "KeyRefused": KeyRefused("task_duplicate", "m"),
        "KeyEnded completed": KeyEnded("completed", 1, None),
        "KeyEnded failed": KeyEnded("failed", None, ["e", "m"]),
        "KeyTaken": KeyTaken("task/s/a"),
        "CollectorDone": CollectorDone("c", "met"),
        "SlotLeased": SlotLeased(),
        "SlotRefused": SlotRefused("lane_full"),
        "SlotRedirected": SlotRedirected("w/other"),
        "AskAgain": AskAgain("w/io"),
        "AskAgain (for another lane)": AskAgain("w/other"),
        "Outcome completed": _outcome("completed", TOKEN),
        "Outcome failed (may be retried)": _outcome("failed", TOKEN, "e"),
        "Outcome failed (not to be retried)": _outcome("failed", TOKEN, "bad_params"),
        "Outcome failed (rate limited)": _outcome("failed", TOKEN)._replace(limited=True),
        "Outcome cancelled": _outcome("cancelled", TOKEN, "bad_params"),
        "Outcome failed (abandoned)": _outcome("failed", TOKEN, "e")._replace(abandoned=True),
        "Outcome completed (a step is unused)": _outcome("completed", TOKEN)._replace(
            unused=(("s", ""),)
        ),
        "Outcome slept": _outcome(SLEPT, TOKEN)._replace(result=retry_ns),
        "Outcome returned": _outcome("returned", TOKEN),
        "Outcome of another attempt": _outcome("completed", TOKEN - 1),
        "Progress": Progress("task/r/a", AttemptToken(0, 1, TOKEN), 0.5, "half"),
        "Progress of another attempt": Progress("task/r/a", AttemptToken(0, 1, 6), 0.5, ""),
        "TimerFired": TimerFired("due"),
        "TimerFired queue": TimerFired("queue"),
        "TimerFired total": TimerFired("total"),
        "ChildEnded completed": ChildEnded("run_c", "completed", 1, None),
        "ChildEnded failed (may be retried)": ChildEnded("run_c", "failed", None, ["e", "m"]),
        "ChildEnded cancelled": ChildEnded("run_c", "cancelled", None, None),
        "ChildEnded of another run": ChildEnded("run_d", "completed", 1, None),
        "LoseAttempt": LoseAttempt(TOKEN, 10),
        "LoseAttempt (once too often)": LoseAttempt(TOKEN, 0),
        "LoseAttempt (process asked to stop)": LoseAttempt(TOKEN, 0, stopped=True),
        "LoseAttempt of another attempt": LoseAttempt(TOKEN - 1, 10),
        "SendSignal (parameters)": patch,
        "SendSignal (message)": message,
        "SendSignal (rejecting)": message._replace(signal="r", mode="reject"),
        "SendSignal (merging)": message._replace(signal="c", mode="coalesce", quiet_s=1.0),
        "WithdrawSignal": WithdrawSignal("a", "m", "why"),
        "EndSignals": EndSignals("why"),
        "AdjustTask (priority)": AdjustTask("a", "j", {"priority": 5}, "me", b"", REF),
        "AdjustTask (lane)": AdjustTask("a", "j", {"lane": "w/other"}, "me", b"", REF),
        "AdjustTask (deadline)": AdjustTask("a", "j", {"deadline_ns": retry_ns}, "me", b"", REF),
        "LeftQueue": LeftQueue("w/io"),
        "HoldWork interrupt": HoldWork("a", "interrupted", "why", "me", 5.0, definition=REF),
        "HoldWork interrupt (with its run)": HoldWork(
            "a", "interrupted", "why", "me", 5.0, definition=REF, of_run=True
        ),
        "HoldWork pause": HoldWork("a", "paused", "why", "me", 0.0, definition=REF),
        "ResumeWork": ResumeWork("a", "me", definition=REF),
        "Consumed": Consumed("task/r/a", current, ["m"]),
        "Saved": Saved("task/r/a", current, 1, {"n": 1}),
        "Stepped": Stepped("task/r/a", current, "s", "", b"", 1),
        "Stepped (it spawns)": Stepped("task/r/a", current, SPAWN, "j", b"", [LEAF, {}, False]),
        "Outcome slept (for what it spawned)": _outcome(SLEPT, TOKEN)._replace(
            result=[retry_ns, "k"]
        ),
        "TaskReported of a spawned task": TaskReported("a/k", 0, "completed", 1, None),
        "TaskReported of a spawned task (failed)": TaskReported(
            "a/k", 0, "failed", None, ["e", "m"]
        ),
        "ReportVote": ReportVote("collector/c", []),
        "CheckAttempt": CheckAttempt(TOKEN),
        "CheckSlot": CheckSlot(),
        "CheckSlot of an abandoned attempt": CheckSlot(TOKEN),
        "ScheduleTask of the next generation": ScheduleTask(REF, 1, {}, "w/io", 0),
        "StandAside": StandAside("p", REF, stop=False),
        "StandAside (or stop)": StandAside("p", REF, stop=True),
        "StandAside of the next generation": StandAside("p", REF, stop=True, generation=1),
        "TellResult": TellResult("p"),
        "DropTask": DropTask("why", 0),
        "CancelTask of the next generation": CancelTask("why", generation=1),
        "CancelTask": CancelTask("why"),
        "BuryTask": BuryTask(0),
        "BuryTask of another generation": BuryTask(1),
        "CancelTask (gracefully)": CancelTask("why", graceful=True),
        "CancelTask (only if queued)": CancelTask("why", queued_only=True),
    }
    about = (
        "Here the policy allows two attempts. *Of another attempt*: its token is not the current\n"
        "one. *Cancelling*: its attempt is being stopped; a result that comes first still counts.\n"
        "*Child*: the run that it stands for is under way. *Abandoned*: the code of the attempt\n"
        "could not be stopped, so that it keeps its slot, whatever becomes of the task.\n"
        "*Dead*: no attempt is left, and the task is a dead letter."
    )
    decider = task_decider(OnePlan())
    return Aggregate("Task", about, decider, "task/r/a", states, messages, _task_state)


def _task_state(state: Task) -> str:
    return state.status
