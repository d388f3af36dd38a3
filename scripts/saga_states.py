"""The states of the saga, reached by facts, and the messages put to it in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.collecting import UnwatchTasks, WatchTasks
from goclaw_actors.compensating import CompensateSaga, ResolveSaga, RetrySaga, TaskRested
from goclaw_actors.messages import (
    CancelRun,
    CheckSlot,
    FailRun,
    JudgeRun,
    SlotLeased,
    SlotRefused,
    StopMore,
    SubmitRun,
    TaskReported,
    TimerFired,
)
from goclaw_actors.redriving import REDRIVE
from goclaw_actors.saga import Saga, saga_decider
from goclaw_events.facts import (
    CompensationApproved,
    CompensationAwaited,
    CompensationBegun,
    RetryPlanned,
    RunSubmitted,
    SagaAlarmed,
    SagaCompensated,
    SagaCompleted,
    SagaResolved,
    SagaStarted,
    SagaSubmitted,
    StepEnded,
    StepsUnwound,
    TasksWatched,
)
from goclaw_events.ids import saga_stream
from goclaw_events.saga import compile_saga, saga_from
from scripts.aggregates import NOW_NS, REF, Aggregate, OnePlan

if TYPE_CHECKING:
    from collections.abc import Sequence

_STEPS = {
    "a": {"action": {"agent": "x"}, "compensation": {"agent": "y"}, "policy": "manual"},
    "b": {"action": {"agent": "x"}, "compensation": {"agent": "y"}, "needs": ["a"]},
    "c": {"action": {"agent": "x"}, "needs": ["b"]},
}
UNDO_B = "b.compensation"


def saga() -> Aggregate:
    """Return the saga with its states and messages."""
    request = RunSubmitted(REF, "w", {}, {}, b"same", None, "")
    submitted = SagaSubmitted(*request, lane="/sagas")
    begun = (submitted, SagaStarted(NOW_NS + 60_000_000_000))
    done = StepEnded("a", "completed", None, None, in_doubt=False, is_running=False)
    both = (*begun, done, done._replace(task="b"))
    failed = StepEnded("c", "failed", None, ["e", "m"], in_doubt=False, is_running=False)
    back = (*both, failed, CompensationBegun("failed", "e", "m", "c", "", approved=False))
    undoing = (*back, StepsUnwound(["b"], ["c"]))
    undone = StepEnded(UNDO_B, "completed", None, None, in_doubt=False, is_running=False)
    failed_undo = undone._replace(status="failed", error=["e", "m"])
    runs_on = done._replace(task="b", status="failed", in_doubt=True, is_running=True)
    turned = CompensationBegun("timeout", "timeout", "m", "", "", approved=False)
    states: dict[str, Sequence[Any]] = {
        "unknown": (),
        "created": (submitted,),
        "running": begun,
        "running (only c is left)": both,
        "running (only c is left; a schedule waits for it)": (
            *both, TasksWatched("schedule/n", [-1], None),
        ),
        "compensating (a runs still)": (*begun, turned, StepsUnwound([], ["c", "b"])),
        "compensating (b is undone)": undoing,
        "compensating (code of b runs on)": (
            *begun, done, runs_on, turned, StepsUnwound([], ["c"]),
        ),
        "awaiting_compensation": (*undoing, undone, CompensationAwaited(["a"])),
        "compensation_failed": (*undoing, failed_undo, SagaAlarmed([["b", "e", "m"]], ["a", "b"])),
        "compensation_failed (to be tried again at a rate)": (
            *undoing, failed_undo, SagaAlarmed([["b", "e", "m"]], ["a", "b"]),
            RetryPlanned("me", "why"),
        ),
        "completed": (*both, done._replace(task="c"), SagaCompleted(None)),
        "compensated": (
            *undoing, undone, CompensationApproved("", "me"), StepsUnwound(["a"], []),
            undone._replace(task="a.compensation"), SagaCompensated(),
        ),
        "resolved": (*undoing, failed_undo, SagaAlarmed([], []), SagaResolved("why", "me")),
    }  # fmt: skip
    return Aggregate(
        "Saga", ABOUT, saga_decider(OnePlan(PLAN)), saga_stream("s"), states, _messages(request),
        _status,
    )  # fmt: skip


PLAN = compile_saga(saga_from({"name": "w", "steps": _STEPS, "timeout": "1m"}))
ABOUT = (
    "The plan: `b` needs `a`, `c` needs `b`; `a` and `b` have compensations, and that of `a` is\n"
    "`manual`. *Compensating*: what ran is being stopped, or is undone in reverse order."
)


def _messages(request: RunSubmitted) -> dict[str, Any]:
    return {
        "SubmitRun": SubmitRun(*request),
        "SubmitRun of another request": SubmitRun(*request._replace(digest=b"other")),
        "SlotLeased": SlotLeased(),
        "SlotRefused": SlotRefused("lane_full"),
        "CheckSlot": CheckSlot(),
        "TaskReported a completed": TaskReported("a", 0, "completed", None, None),
        "TaskReported a failed": TaskReported("a", 0, "failed", None, ["e", "m"], 1),
        "TaskReported a cancelled, in doubt": TaskReported(
            "a", 0, "cancelled", None, None, 1, in_doubt=True
        ),
        "TaskReported c completed": TaskReported("c", 0, "completed", None, None),
        "TaskReported b.compensation completed": TaskReported(UNDO_B, 0, "completed", None, None),
        "TaskReported b.compensation failed": TaskReported(UNDO_B, 0, "failed", None, ["e", "m"]),
        "TaskRested b": TaskRested("b"),
        "StopMore": StopMore(0, "why"),
        "TimerFired": TimerFired("timeout"),
        "CancelRun": CancelRun("why", ""),
        "WatchTasks": WatchTasks("schedule/n", [""], None),
        "UnwatchTasks": UnwatchTasks("schedule/n"),
        "FailRun": FailRun("internal_bug", "m", "a"),
        "CompensateSaga": CompensateSaga("why", "me"),
        "RetrySaga": RetrySaga("me"),
        "RetrySaga, at a rate": RetrySaga("me", "why", 1.0),
        "SlotLeased by /redrive": SlotLeased(REDRIVE),
        "CheckSlot by /redrive": CheckSlot(0, REDRIVE),
        "ResolveSaga": ResolveSaga("why", "me"),
        "JudgeRun (it is stuck)": JudgeRun([["task/~s/a", "why"]]),
        "JudgeRun (it is not)": JudgeRun([]),
    }


def _status(state: Saga) -> str:
    return state.status
