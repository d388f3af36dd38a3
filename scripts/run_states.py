"""The states of the run, reached by facts, and the messages put to it in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.adjusting import AdjustTask, LimitRun
from goclaw_actors.answering import AskSignal, DecideTask, ReturnSignal, SendNamed, WithdrawNamed
from goclaw_actors.collecting import UnwatchTasks, WatchTasks
from goclaw_actors.letters import DiscardTask, RedriveTask
from goclaw_actors.messages import (
    CancelRun,
    CheckSlot,
    FailRun,
    JudgeRun,
    LaneFull,
    RoomFor,
    RoomRefused,
    ScheduleMore,
    SlotLeased,
    SlotRefused,
    StopMore,
    SubmitRun,
    TaskReported,
    TimerFired,
)
from goclaw_actors.pathing import (
    ChangePath,
    ConcludeChange,
    PathAnswer,
    ScheduleActive,
    ScheduleReady,
)
from goclaw_actors.redriving import REDRIVE
from goclaw_actors.signalling import HoldWork, ResumeWork, SendSignal, WithdrawSignal
from goclaw_actors.workflow import Run, workflow_decider
from goclaw_events.facts import (
    LetterLeft,
    LetterRedriven,
    PathChangeAsked,
    PathChanged,
    RedrivePlanned,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunPaused,
    RunStuck,
    RunSubmitted,
    SignalAwaited,
    SignalReceived,
    TaskEnded,
    TasksBlocked,
    TasksWatched,
)
from scripts.aggregates import REF, Aggregate, OnePlan

if TYPE_CHECKING:
    from collections.abc import Sequence


SKIP_A: Final = ChangePath(
    "p", b"p", None, None, [["a", "passed", 1]], [], [], [], [], [], "me", "why", None
)
CHANGED: Final = PathChanged(
    "p", b"p", 2, REF, [["c", "passed", 1]], [], [], {}, [], [], [], "me", "why", None
)


def run() -> Aggregate:
    """Return the run with its states and messages."""
    submitted = RunSubmitted(REF, "w", {}, {}, b"same", None, "")
    done = TaskEnded("a", 0, "completed", None, None)
    failed = TaskEnded("b", 0, "failed", None, ["e", "m"])
    redriven = LetterRedriven("a", 1, {"n": 1}, "why", "me")
    states: dict[str, Sequence[Any]] = {
        "unknown": (),
        "running": (submitted,),
        "running (only c is left)": (submitted, done, done._replace(task="b")),
        "running (a is held back)": (submitted, TasksBlocked("w/io", ["a"])),
        "running (stuck)": (submitted, RunStuck([["task/r/a", "why"]])),
        "running (a signal is kept)": (submitted, SignalReceived("k", "go", 1, "me", 1)),
        "running (a waits for a signal)": (submitted, SignalAwaited("go", "a", 0)),
        "running (a collector waits for a)": (submitted, TasksWatched("collector/c", [0], None)),
        "failing": (submitted, failed),
        "cancelling": (submitted, done._replace(task="b"), RunCancelRequested("why", "")),
        "paused": (submitted, RunPaused("why", "me")),
        "interrupted": (submitted, RunInterrupted("why", "me", 5.0)),
        "running (a change waits for a)": (submitted, PathChangeAsked("p", list(SKIP_A), ["a"])),
        "running (c is to be skipped)": (submitted, CHANGED),
        "running (a is a dead letter)": (submitted, LetterLeft("a", 0)),
        "running (a is to run again at a rate)": (
            submitted,
            LetterLeft("a", 0),
            RedrivePlanned("a", 0, None, "why", "me"),
        ),
        "running (a was redriven)": (submitted, LetterLeft("a", 0), redriven),
        "completed": (submitted, RunCompleted(None)),
        "failed": (submitted, RunFailed("e", "m", "b")),
        "cancelled": (submitted, RunCancelled("why")),
    }
    messages = {
        "SubmitRun": SubmitRun(*submitted),
        "SubmitRun of another request": SubmitRun(*submitted._replace(digest=b"other")),
        "TaskReported a completed": TaskReported("a", 0, "completed", None, None),
        "TaskReported a failed": TaskReported("a", 0, "failed", None, ["e", "m"]),
        "TaskReported a cancelled": TaskReported("a", 0, "cancelled", None, None),
        "TaskReported b completed": TaskReported("b", 0, "completed", None, None),
        "TaskReported c completed": TaskReported("c", 0, "completed", None, None),
        "TaskReported a dead": TaskReported("a", 0, "dead", None, ["e", "m"]),
        "RedriveTask a": RedriveTask("a", None, None, "why", "me"),
        "RedriveTask a, at a rate": RedriveTask("a", None, None, "why", "me", 1.0),
        "SlotLeased by /redrive": SlotLeased(REDRIVE),
        "SlotRefused by /redrive": SlotRefused("stream_poisoned"),
        "CheckSlot by /redrive": CheckSlot(0, REDRIVE),
        "DiscardTask a": DiscardTask("a", 0, "why", "me"),
        "ScheduleMore": ScheduleMore([0]),
        "StopMore": StopMore(0, "why"),
        "CancelRun": CancelRun("why", ""),
        "LaneFull": LaneFull("w/io", ["task/r/a"]),
        "RoomFor": RoomFor("w/io", 1),
        "RoomRefused": RoomRefused("w/io", "stream_poisoned"),
        "TimerFired": TimerFired("deadline"),
        "TimerFired of a kept signal": TimerFired("expire/k"),
        "FailRun": FailRun("internal_bug", "m", "a"),
        "SendSignal": SendSignal("a", "m", "message", "steer", "hi", "", b""),
        "SendSignal to no task of it": SendSignal("z", "m", "message", "steer", "hi", "", b""),
        "AdjustTask": AdjustTask("a", "m", {"priority": 5}, "me", b""),
        "LimitRun": LimitRun(1_800_000_000_000_000_000),
        "WithdrawSignal": WithdrawSignal("a", "m", "why"),
        "SendNamed (no task waits for such)": SendNamed("go", "s", 1, "me", b""),
        "WithdrawNamed": WithdrawNamed("k", "why", "me"),
        "DecideTask": DecideTask("a", "d", "approved", None, False, "me", [], "", "", b""),
        "AskSignal": AskSignal("a", 0, "go"),
        "ReturnSignal": ReturnSignal("s", "go", 1, "me"),
        "JudgeRun (it is stuck)": JudgeRun([["task/r/a", "why"]]),
        "JudgeRun (it is not)": JudgeRun([]),
        "HoldWork interrupt": HoldWork("", "interrupted", "why", "me", 5.0),
        "HoldWork pause": HoldWork("", "paused", "why", "me", 0.0),
        "HoldWork pause of a task": HoldWork("a", "paused", "why", "me", 0.0),
        "ResumeWork": ResumeWork("", "me"),
        "WatchTasks": WatchTasks("collector/c", ["a", "b"], None),
        "WatchTasks of no task of it": WatchTasks("collector/c", ["z"], None),
        "UnwatchTasks": UnwatchTasks("collector/c"),
        "ChangePath (skip a)": SKIP_A._replace(change="q", digest=b"q"),
        "ChangePath (skip c)": SKIP_A._replace(change="q", skips=[["c", "passed", 1]]),
        "ChangePath (a again)": SKIP_A._replace(change="q", skips=[], reruns=["a"]),
        "ChangePath (skip z)": SKIP_A._replace(change="q", skips=[["z", "passed", 1]]),
        "ChangePath (the same)": SKIP_A,
        "PathAnswer a held": PathAnswer("p", "a", "held"),
        "PathAnswer a begun": PathAnswer("p", "a", "begun"),
        "ConcludeChange": ConcludeChange("p"),
        "ScheduleReady": ScheduleReady(),
        "ScheduleActive": ScheduleActive(0),
    }
    about = (
        "The plan: `a` and `b` need nothing, `c` needs `a`; `on_failure: fail_fast`.\n"
        "*Running*: `a` and `b` are active; *failing*: `b` has failed, `a` is active (with\n"
        "`let_finish`, `ScheduleMore` would still schedule); *cancelling*: `a` is active. *Held*\n"
        "*back*: its lane is full, and blocks."
    )
    decider = workflow_decider(OnePlan())
    return Aggregate("Run", about, decider, "workflow/r", states, messages, _run_state)


def _run_state(state: Run) -> str:
    return (state.status == "running" and state.held) or state.status
