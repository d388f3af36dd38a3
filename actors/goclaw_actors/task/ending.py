"""The end of a task: it gives back what it has, and tells its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import ClearTimer, Decision, Send
from goclaw_actors.lending import FreeKey, KeepSlot, Release, Withdraw
from goclaw_actors.messages import TaskReported
from goclaw_actors.statuses import DEAD
from goclaw_actors.task.doubt import leaves_doubt
from goclaw_actors.task.gathering import left
from goclaw_actors.task.hold import HELD
from goclaw_actors.task.limits import QUEUE, TIMEOUT
from goclaw_actors.task.state import CLAIMING, COLLECTING, FAILED, JOINED, SCHEDULED
from goclaw_events.envelope import maker
from goclaw_events.facts import TaskFailed
from goclaw_events.ids import kept_slot, lane_stream, owner_stream, task_stream

if TYPE_CHECKING:
    from goclaw_actors.task.state import Task

_DECISION: Final = maker(Decision, 4)
_SEND: Final = maker(Send, 4)
_REPORT: Final = maker(TaskReported, 8)
_RELEASE: Final = maker(Release, 1)
TIMER: Final = "due"
TOTAL: Final = "total"
ASKING: Final = (CLAIMING, JOINED)
"""States of a task that has not got its key."""
UNREADY: Final = (*ASKING, COLLECTING)
"""States of a task that asks no lane yet: it has not got its key, or not what it collects."""


def cleared(*timers: tuple[str, int]) -> tuple[ClearTimer, ...]:
    """Return what forgets timers: (id, when it is due), 0 for one that is not set."""
    found: tuple[ClearTimer, ...] = ()
    for name, due_ns in timers:  # hardly a task has one
        if due_ns:
            found = (*found, ClearTimer(name, due_ns))
    return found


def release(task: Task, *, kept: bool = False) -> Send:
    """Give the slot back, or (`kept`) leave it to the attempt that was abandoned."""
    said = KeepSlot(task.stream, task.token) if kept else _RELEASE((task.stream,))
    return _SEND((lane_stream(task.lane), said, False, False))


def release_kept(task: Task, token: int) -> Send:
    """Give back the slot that an abandoned attempt kept."""
    slot = kept_slot(task.stream, token)
    return Send(lane_stream(task.kept_in.get(slot, task.lane)), Release(slot))


def report(task: Task, status: str, result: Any, error: list[str] | None) -> Send:
    """Return what tells the run, or who spawned it, how the task ended; again changes nothing."""
    told = _REPORT((task.task_id, task.generation, status, result, error, 0, False, False))
    parent, is_spawned, _ = task.task_id.rpartition("/")
    target = task_stream(task.run_id, parent) if is_spawned else owner_stream(task.run_id)
    return _SEND((target, told, False, False))


def _reported_end(
    task: Task, facts: tuple[object, ...], status: str, result: Any, error: list[str] | None
) -> Send:
    """Return what tells the owner how the task ends with these facts."""
    told = report(task, status, result, error)
    if status == "completed" and not task.kept:
        return told
    has_done = task.steps is not None and task.steps.has_own
    in_doubt = has_done or task.in_doubt or any(leaves_doubt(task, fact) for fact in facts)
    abandoned = any(getattr(fact, "abandoned", False) for fact in facts)
    body = told.body._replace(
        attempts=task.attempt,
        in_doubt=status != "completed" and in_doubt,
        is_running=abandoned or bool(task.kept),
    )
    return told._replace(body=body)


def end(
    task: Task,
    facts: tuple[object, ...],
    status: str,
    effects: tuple[object, ...] = (),
    *,
    result: Any = None,
    error: list[str] | None = None,
    slot: bool = True,
    kept: bool = False,
    key: bool = True,
) -> Decision:
    """End the task: give the slot and the key back, forget its time limit, and tell the run."""
    tells = _reported_end(task, facts, status, result, error)
    sends = (release(task, kept=kept), tells) if slot and task.lane else (tells,)
    if key and task.unique is not None:
        # who comes next need not wait for a person
        sends = (*sends, *freed(task, FAILED if status == DEAD else status, result, error))
    if task.collect is not None:
        sends = (*sends, *left(task))
    if task.total_due_ns:
        effects = (*effects, *cleared((TOTAL, task.total_due_ns)))
    return _DECISION((facts, sends, effects, None))


def freed(task: Task, status: str, result: Any, error: list[str] | None) -> tuple[Send, ...]:
    """Return what gives the key back, or stops waiting for it; nothing where there is none."""
    if task.unique is None:
        return ()
    keys, key, _, _ = task.unique
    if task.status in ASKING:
        status, result, error = "cancelled", None, None
    return (Send(keys, FreeKey(key, task.stream, status, result, error)),)


def time_out(task: Task, text: str, *, slot: bool = False) -> Decision:
    """Fail a task that waits, because its time is over; `slot`: it has just been given one."""
    decision = end(
        task,
        (TaskFailed(TIMEOUT, text),),
        "failed",
        cleared((TIMER, task.due_ns), (QUEUE, task.queue_due_ns)),
        error=[TIMEOUT, text],
        slot=slot,
    )
    waits = task.lane and (task.status == SCHEDULED or task.status in HELD)
    if slot or not waits:
        return decision
    withdraw = Send(lane_stream(task.lane), Withdraw(task.stream))
    return decision._replace(sends=(withdraw, *decision.sends))
