"""Answers for runs whose every fact is archived: from their row of `ended`, recording nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.adjusting import AdjustTask
from goclaw_actors.collecting import MembersReported, WatchTasks
from goclaw_actors.decider import Accepted, CloseAttempt, Decision, Refused, Send
from goclaw_actors.messages import AskAgain, CancelRun, ChildEnded, ReturnRoom, RoomFor, SubmitRun
from goclaw_actors.signalling import HoldWork, ResumeWork, SendSignal, WithdrawSignal
from goclaw_events.errors import HistoryExpired
from goclaw_events.ids import kind_of, lane_stream, routing_key, workflow_stream

if TYPE_CHECKING:
    from goclaw_actors.decider import Body
    from goclaw_events.journal import Journal
    from goclaw_events.segments.records import Ended

_OF_RUNS: Final = frozenset({"workflow", "task"})
_STATUS: Final = {
    "run.completed": "completed",
    "run.failed": "failed",
    "run.cancelled": "cancelled",
}


def archived_run(journal: Journal, partition: int, stream: str) -> Ended | None:
    """Return how the run of a workflow's or task's stream ended, if all of it is archived."""
    if kind_of(stream) not in _OF_RUNS:
        return None
    return journal.ended(partition, routing_key(stream))


def status_of(ended: Ended) -> str:
    """Return the final state of an archived run; a run that a bug ended has failed."""
    return _STATUS.get(ended.state, "failed")


def answer(stream: str, ended: Ended, body: Body) -> Decision | None:
    """Answer a command to an archived run as its actor would; None: only its actor can.

    A task that asks for a run as its child must not wait for ever: it hears that it gets nothing.
    """
    run_id = routing_key(stream)
    match body:
        case SubmitRun(digest=digest, parent=parent) if digest == ended.body_digest:
            text = f"run {run_id} {status_of(ended)}, and what it recorded was given up"
            sends = _tell(parent, run_id, HistoryExpired.code, text)
            return Decision((), sends, (), Accepted(run_id, repeated=True))
        case SubmitRun(parent=parent):
            text = f"run {run_id} was submitted before with another definition or input"
            refused = Refused("command_conflict", text, "choose another run id")
            return Decision((), _tell(parent, run_id, refused.code, text), (), refused)
        case CancelRun() | HoldWork(task="") | ResumeWork(task=""):
            text = f"run {run_id} is {status_of(ended)} already"
            return Decision(reply=Refused("run_finished", text))
        case (
            SendSignal(task=task)
            | AdjustTask(task=task)
            | WithdrawSignal(task=task)
            | HoldWork(task=task)
            | ResumeWork(task=task)
        ):
            text = f"task {task} of run {run_id} has ended: the run is {status_of(ended)}"
            return Decision(reply=Refused("task_finished", text))
        case RoomFor() | AskAgain() | WatchTasks():
            return Decision((), (_said(run_id, ended, body),))
        case _:
            return None


def _said(run_id: str, ended: Ended, body: RoomFor | AskAgain | WatchTasks) -> Send:
    """Return what gives a lane the places back that it kept for a run, or answers a collector."""
    if isinstance(body, WatchTasks):
        told: list[list[int | str]] = [
            [task, 0, "unknown" if task else status_of(ended), ""] for task in body.tasks
        ]
        return Send(body.collector, MembersReported(run_id, told))
    places = body.places if isinstance(body, RoomFor) else 1
    return Send(lane_stream(body.lane), ReturnRoom(workflow_stream(run_id), places))


def _tell(parent: str, run_id: str, code: str, text: str) -> tuple[Send, ...]:
    return (Send(parent, ChildEnded(run_id, "failed", None, [code, text])),) if parent else ()


def without_facts(decision: Decision) -> Decision:
    """Return a decision that records nothing: the actor's last fact is archived.

    What it says to others still leaves: a lane that offers a slot must get it back. So does the
    row of an attempt that was abandoned.
    """
    closed = tuple(each for each in decision.effects if type(each) is CloseAttempt)
    return Decision((), decision.sends, closed, decision.reply)
