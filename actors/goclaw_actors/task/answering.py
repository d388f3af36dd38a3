"""A task that waits for an answer: how it begins, what it does with what comes, and when none does.

It asks its run for a signal, which gives it the oldest one, now or later. What comes while the task
stands still is recorded, and is its result when it goes on. What comes after its end goes back.
A person is asked by the fact alone; `deciding` takes their word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_actors.answering import AskSignal, ReturnSignal
from goclaw_actors.decider import NOTHING, Decision, Send, SetTimer
from goclaw_actors.task import deciding, holding
from goclaw_actors.task.deciding import CONTINUE, SKIP
from goclaw_actors.task.ending import TIMER, cleared, end
from goclaw_actors.task.hold import HELD
from goclaw_actors.task.limits import TIMEOUT
from goclaw_actors.task.state import (
    COMPLETED,
    FAILED,
    FINAL,
    PENDING,
    SKIPPED,
    WAITING,
    in_generation,
)
from goclaw_actors.task.stopping import again_reported
from goclaw_events.facts import TaskAnswered, TaskAwaiting, TaskCompleted, TaskDropped, TaskFailed
from goclaw_events.ids import owner_stream
from goclaw_events.value import BlobRef

if TYPE_CHECKING:
    from goclaw_actors.answering import AnswerTask, AwaitTask
    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import Moment
    from goclaw_actors.task.state import Task
    from goclaw_events.facts import TaskResumed


def begin(task: Task, message: AwaitTask) -> Decision:
    """Wait, and ask the run for the signal that is waited for."""
    task = in_generation(task, message.generation)
    if task.status in FINAL:
        return again_reported(task)
    if task.status != PENDING:
        return NOTHING
    fact = TaskAwaiting(*message)
    sends: tuple[Send, ...] = ()
    if message.signal:
        asks = AskSignal(task.task_id, message.generation, message.signal)
        sends = (Send(owner_stream(task.run_id), asks),)
    if task.hold is not None:
        return Decision((fact, holding.held(task)), sends)
    timers = (SetTimer(TIMER, message.due_ns),) if message.due_ns else ()
    return Decision((fact,), sends, timers)


def answer(task: Task, message: AnswerTask, moment: Moment, contents: Contents) -> Decision:
    """Take what the task waits for; give it back if it waits for it no more."""
    is_open = _is_open(task) and not deciding.is_overdue(task, moment)
    if not is_open or task.awaits is None or task.awaits[0] != message.name:
        signal, _, *rest = message
        back = ReturnSignal(signal, *rest)
        return Decision((), (Send(owner_stream(task.run_id), back),))
    body = message.body
    whole = contents.value(body) if isinstance(body, BlobRef) else body
    fact = TaskAnswered(message.answer, message.verdict, whole, message.sender)
    if task.status in HELD:
        return Decision((fact,))
    done = _finish(task, whole)
    return done._replace(facts=(fact, *done.facts))


def _is_open(task: Task) -> bool:
    """Tell whether the task waits for an answer that has not come, also where it stands still."""
    waits = task.status == WAITING or (task.status in HELD and holding.goes_on_as(task) == WAITING)
    return waits and task.awaits is not None and task.answer is None


def resume(task: Task, fact: TaskResumed) -> Decision:
    """Let a task go on for which an answer came while it stood still."""
    assert task.answer is not None, "it came"
    done = _finish(task, task.answer[2])
    return done._replace(facts=(fact, *done.facts))


def _finish(task: Task, result: object) -> Decision:
    """End the task with what came."""
    completed = (TaskCompleted(0, 0, result),)
    timer = cleared((TIMER, task.due_ns))
    return end(task, completed, COMPLETED, timer, result=result, slot=False)


def overdue(task: Task) -> Decision:
    """End a task whose deadline is over, as its definition says."""
    assert task.awaits is not None, "it waits for something"
    signal, asked = task.awaits
    how = asked["on_deadline"]
    if how in deciding.BY_DEADLINE:
        return deciding.by_deadline(task)
    what = f"no signal {signal} came" if signal else "nobody decided"
    text = f"{what} before the deadline"
    if how == CONTINUE:
        return end(task, (TaskCompleted(0, 0, None),), COMPLETED, slot=False)
    if how == SKIP:
        return end(task, (TaskDropped(text),), SKIPPED, slot=False)
    return end(task, (TaskFailed(TIMEOUT, text),), FAILED, error=[TIMEOUT, text], slot=False)
