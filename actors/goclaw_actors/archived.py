"""Answers for runs whose every fact is archived: from their row of `ended`, recording nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.adjusting import AdjustTask
from goclaw_actors.answering import DecideTask, SendNamed, WithdrawNamed
from goclaw_actors.collecting import MembersReported, WatchTasks
from goclaw_actors.compensating import CompensateSaga, ResolveSaga, RetrySaga
from goclaw_actors.decider import Accepted, CloseAttempt, Decision, Refused, Send
from goclaw_actors.lending import ReturnRoom
from goclaw_actors.messages import (
    AskAgain,
    CancelRun,
    ChildEnded,
    RoomFor,
    SubmitRun,
)
from goclaw_actors.signalling import HoldWork, ResumeWork, SendSignal, WithdrawSignal
from goclaw_actors.submitted import submitted_otherwise
from goclaw_events.errors import HistoryExpired
from goclaw_events.ids import (
    OF_RUNS,
    is_saga,
    kind_of,
    lane_stream,
    owner_stream,
    plain_id,
    routing_key,
)

if TYPE_CHECKING:
    from goclaw_actors.decider import Body
    from goclaw_events.journal import Journal
    from goclaw_events.segments.records import Ended

_STATUS: Final = {
    "run.completed": "completed",
    "run.failed": "failed",
    "run.cancelled": "cancelled",
    "saga.completed": "completed",
    "saga.compensated": "compensated",
    "saga.resolved": "resolved",
}


def archived_run(journal: Journal, partition: int, stream: str) -> Ended | None:
    """Return how the run of a workflow's or task's stream ended, if all of it is archived."""
    if kind_of(stream) not in OF_RUNS:
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
    name = f"{'saga' if is_saga(run_id) else 'run'} {plain_id(run_id)}"
    match body:
        case SubmitRun():
            return _submitted_before(run_id, name, ended, body)
        case CancelRun() | SendNamed() | WithdrawNamed() | HoldWork(task="") | ResumeWork(task=""):
            refused = Refused("run_finished", f"{name} is {status_of(ended)} already")
        case CompensateSaga() | RetrySaga() | ResolveSaga():
            refused = Refused("saga_finished", f"{name} is {status_of(ended)} already")
        case (
            SendSignal(task=task)
            | AdjustTask(task=task)
            | WithdrawSignal(task=task)
            | DecideTask(task=task)
            | HoldWork(task=task)
            | ResumeWork(task=task)
        ):
            text = f"task {task} of {name} has ended: the run is {status_of(ended)}"
            refused = Refused("task_finished", text)
        case RoomFor() | AskAgain() | WatchTasks():
            return Decision((), (_said(run_id, ended, body),))
        case _:
            return None
    return Decision(reply=refused)


def _submitted_before(run_id: str, name: str, ended: Ended, message: SubmitRun) -> Decision:
    if message.digest == ended.body_digest:
        text = f"{name} {status_of(ended)}, and what it recorded was given up"
        sends = _tell(message.parent, run_id, HistoryExpired.code, text)
        return Decision((), sends, (), Accepted(plain_id(run_id), repeated=True))
    refused = submitted_otherwise(name, message.idempotency_key)
    return Decision((), _tell(message.parent, run_id, refused.code, refused.message), (), refused)


def _said(run_id: str, ended: Ended, body: RoomFor | AskAgain | WatchTasks) -> Send:
    """Return what gives a lane the places back that it kept for a run, or answers a collector."""
    if isinstance(body, WatchTasks):
        told: list[list[int | str]] = [
            [task, 0, "unknown" if task else status_of(ended), ""] for task in body.tasks
        ]
        return Send(body.collector, MembersReported(run_id, told))
    places = body.places if isinstance(body, RoomFor) else 1
    return Send(lane_stream(body.lane), ReturnRoom(owner_stream(run_id), places))


def _tell(parent: str, run_id: str, code: str, text: str) -> tuple[Send, ...]:
    return (Send(parent, ChildEnded(run_id, "failed", None, [code, text])),) if parent else ()


def without_facts(decision: Decision) -> Decision:
    """Return a decision that records nothing: the actor's last fact is archived.

    What it says to others still leaves: a lane that offers a slot must get it back. So does the
    row of an attempt that was abandoned.
    """
    closed = tuple(each for each in decision.effects if type(each) is CloseAttempt)
    return Decision((), decision.sends, closed, decision.reply)
