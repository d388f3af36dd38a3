"""Tasks that a task spawned: begun with the step that records them, waited for at its end.

They belong to the run, and are known by their task: it hears how they end, hands that to its
handler, and does not end before they have. What speaks for the end (a result, a failure, a
cancel) is put off until then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import Accepted, Decision, Refused, Send
from goclaw_actors.lending import FreeKey
from goclaw_actors.messages import CancelTask, ScheduleTask, TaskReported
from goclaw_actors.signalling import HoldWork
from goclaw_actors.statuses import DEAD
from goclaw_actors.task.ending import TOTAL, cleared, end
from goclaw_actors.task.hold import PAUSED
from goclaw_actors.task.state import COMPLETED, ENDING, FINAL, WAITING
from goclaw_events.facts import (
    SPAWNED,
    EndPutOff,
    StepRecorded,
    TaskCancelled,
    TaskCompleted,
    TaskDied,
    TaskFailed,
)
from goclaw_events.ids import task_stream
from goclaw_events.plan import spawned_ref
from goclaw_events.value import BlobRef

if TYPE_CHECKING:
    from collections.abc import Iterable

    from goclaw_actors.contents import Contents
    from goclaw_actors.signalling import ResumeWork
    from goclaw_actors.task.state import Task
    from goclaw_actors.work import Stepped

SPAWN_FAILED: Final = "spawn_failed"
LANE_UNKNOWN: Final = "lane_unknown"
_ENDS: Final = frozenset({TaskCompleted, TaskFailed, TaskCancelled, TaskDied})
_TOLD: Final = (TaskReported, FreeKey)
"""What tells of the end of a task."""


def begun(
    task: Task, report: Stepped, contents: Contents
) -> tuple[tuple[StepRecorded, ...], tuple[Send, ...]]:
    """Return what begins the task that a step records.

    Where its lane is not there, the fact that it has failed.
    """
    assert task.definition is not None, "it runs"
    said, params, _ = report.result
    task_id = f"{task.task_id}/{report.key}"
    ref = spawned_ref(task.definition, task_id, said)
    planned = contents.plan(ref).tasks[0]
    lane, own = planned.lane, contents.plan(BlobRef(ref.sha256, ref.size)).lanes
    if not lane.startswith("/") and lane not in own:
        error = [LANE_UNKNOWN, f"there is no lane {lane}"]
        return (StepRecorded(0, 0, SPAWNED, report.key, b"", ["failed", None, error]),), ()
    order = ScheduleTask(
        ref,
        task.generation,
        params,
        planned.lane,
        planned.priority,
        task.ends_ns,
        tenant=task.tenant,
    )
    target = task_stream(task.run_id, task_id)
    sends: tuple[Send, ...] = (Send(target, order),)
    if task.hold is not None:  # it runs on while it is paused; what it spawns begins later
        still = HoldWork(task_id, PAUSED, task.hold.reason, task.hold.sender, 0.0, definition=ref)
        sends = (Send(target, still), *sends)
    return (), sends


def reported(task: Task, message: TaskReported) -> StepRecorded | None:
    """Return the fact that a spawned task ended; None: it is known, or of another generation."""
    key = message.task.rpartition("/")[2]
    steps = task.steps
    if task.status in FINAL or steps is None or key not in steps.open:
        return None
    if message.generation != task.generation:
        return None
    said = [message.status, message.result, message.error]
    return StepRecorded(0, 0, SPAWNED, key, b"", said)


def is_awake(task: Task, ended: Iterable[str] = ()) -> bool:
    """Tell whether all that a handler waits for has ended, `ended` besides what is recorded."""
    return task.status == WAITING and bool(task.awaited) and not waits(task, task.awaited, ended)


def waits(task: Task, awaited: Iterable[str] | None, ended: Iterable[str] = ()) -> bool:
    """Tell whether any of these has not ended."""
    steps = task.steps
    return steps is not None and any(key in steps.open for key in awaited or () if key not in ended)


def slept_for(result: Any) -> tuple[int, list[str] | None]:
    """Return until when an attempt sleeps, and for which spawned tasks it waits."""
    if isinstance(result, int):
        return result, None
    due_ns, *awaited = result
    return due_ns, awaited


def put_off(task: Task, decision: Decision) -> Decision:
    """Let a task that spawned others end only when these have."""
    if task.status == ENDING:
        return decision
    last = decision.facts[-1] if decision.facts else None
    if type(last) not in _ENDS or task.steps is None or not task.steps.has_spawned:
        return decision
    fact = _put_off(task, last)
    kept = tuple(send for send in decision.sends if not isinstance(send.body, _TOLD))
    facts = (*decision.facts[:-1], fact)
    still = _still_open(task, decision.facts)
    if not still:
        ended = ends(task, fact, decision.facts)
        return decision._replace(facts=(*facts, *ended.facts), sends=(*kept, *ended.sends))
    told = _cancels(task, still, "its task has ended") if fact.status != COMPLETED else ()
    return decision._replace(facts=facts, sends=(*kept, *told))


def _put_off(task: Task, last: Any) -> EndPutOff:
    match last:
        case TaskCompleted(_, token, result):
            return EndPutOff(COMPLETED, token, result, None, "")
        case TaskFailed(code, message):
            return EndPutOff("failed", task.token, None, [code, message], "")
        case TaskDied(code, message, died):
            return EndPutOff(DEAD, task.token, None, [code, message], died)
    return EndPutOff("cancelled", task.token, None, None, last.reason, last.abandoned)


def _still_open(task: Task, facts: Iterable[Any]) -> list[str]:
    assert task.steps is not None, "it spawned"
    over = {fact.key for fact in facts if isinstance(fact, StepRecorded) and fact.name == SPAWNED}
    return [key for key in task.steps.open if key not in over]


def _cancels(task: Task, keys: Iterable[str], reason: str) -> tuple[Send, ...]:
    body = CancelTask(reason, generation=task.generation)
    return tuple(Send(task_stream(task.run_id, f"{task.task_id}/{key}"), body) for key in keys)


def ends(task: Task, fact: EndPutOff, facts: Iterable[Any]) -> Decision:
    """End a task as it was put off: all that it spawned has ended, by what is recorded or `facts`.

    One that completed fails where a spawned one did that may not.
    """
    assert task.steps is not None, "it spawned"
    if fact.status == "cancelled":
        return end(task, (TaskCancelled(fact.reason, abandoned=False),), "cancelled", slot=False)
    error = fact.error
    if fact.status == DEAD and error is not None:
        code, message = error
        died = TaskDied(code, message, fact.reason)
        return end(task, (died,), DEAD, error=error, slot=False)
    if error is None:
        failed = task.steps.failed or _failed_in(task, facts)
        if failed is None:
            completed = TaskCompleted(task.attempt, fact.token, fact.result)
            return end(task, (completed,), COMPLETED, result=fact.result, slot=False)
        error = [SPAWN_FAILED, f"task {task.task_id}/{failed[0]}, which it spawned, {failed[1]}"]
    return end(task, (TaskFailed(*error),), "failed", error=error, slot=False)


def _failed_in(task: Task, facts: Iterable[Any]) -> list[str] | None:
    assert task.steps is not None, "it spawned"
    found = (
        task.steps.failure(fact.key, fact.result)
        for fact in facts
        if isinstance(fact, StepRecorded) and fact.name == SPAWNED
    )
    return next((one for one in found if one is not None), None)


def end_reported(task: Task, fact: StepRecorded) -> Decision:
    """Record the end of a spawned task; end the task, if it waits for this one only."""
    if task.status != ENDING or _still_open(task, (fact,)):
        return Decision((fact,))
    assert task.ending is not None, "it was put off"
    ended = ends(task, EndPutOff(*task.ending), (fact,))
    return ended._replace(facts=(fact, *ended.facts))


def cancel_again(task: Task, message: CancelTask) -> Decision:
    """Cancel a task that waits for what it spawned: it will end as cancelled."""
    assert task.ending is not None, "it was put off"
    still = _still_open(task, ())
    told = _cancels(task, still, message.reason)
    if task.ending[0] == "cancelled":
        return Decision((), told)
    fact = EndPutOff("cancelled", task.token, None, None, message.reason)
    return Decision((fact,), told, cleared((TOTAL, task.total_due_ns)))


def with_spawned(task: Task, message: HoldWork | ResumeWork, decision: Decision) -> Decision:
    """Pass on that a task is to stand still, or go on, to what it spawned."""
    if task.steps is None or not task.steps.open:
        return decision
    ending = task.status == ENDING
    if isinstance(decision.reply, Refused) and not ending:
        return decision
    sends = []
    for key in task.steps.open:
        task_id = f"{task.task_id}/{key}"
        body = message._replace(task=task_id, command="", definition=None, of_run=True)
        sends.append(Send(task_stream(task.run_id, task_id), body))
    if ending:
        return Decision((), sends, (), Accepted(task.task_id))
    return decision._replace(sends=(*decision.sends, *sends))
