"""How a task is made to stand still: paused or interrupted, by whom, and what leaves then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.decider import NOTHING, Accepted, CloseAttempt, Decision, Refused, Send
from goclaw_actors.messages import CancelTask
from goclaw_actors.pathing import CHANGER
from goclaw_actors.signalling import unknown_task
from goclaw_actors.statuses import DEAD
from goclaw_actors.task import hearing
from goclaw_actors.task.ending import TIMER, UNREADY, cleared, release
from goclaw_actors.task.hold import HELD, INTERRUPTED, INTERRUPTING, PAUSED
from goclaw_actors.task.limits import QUEUE
from goclaw_actors.task.state import CANCELLING, CHILD, OVER, PENDING, RUNNING, SCHEDULED
from goclaw_actors.task.stopping import cancel
from goclaw_actors.work import AttemptToken, Interrupt, Pause, TellAttempt
from goclaw_events.facts import TaskInterrupted, TaskInterruptRequested, TaskPaused
from goclaw_events.ids import is_spawned, owner_stream

if TYPE_CHECKING:
    from goclaw_actors.decider import Moment
    from goclaw_actors.signalling import HoldWork
    from goclaw_actors.task.state import Task
    from goclaw_actors.work import Outcome
    from goclaw_events.facts import AttemptLost


def hold(task: Task, message: HoldWork, moment: Moment) -> Decision:
    """Make the task stand still, or say why not."""
    name = f"task {task.task_id} of run {task.run_id}"
    if message.of_run and task.status in (PENDING, DEAD):
        return NOTHING  # its run schedules nothing, or waits for a person
    unbegun = hearing.refused_unbegun(task, message)
    if unbegun is not None:
        return Decision(reply=unbegun)
    if task.status in OVER:
        return Decision(reply=Refused("task_finished", f"{name} is {task.status} already"))
    if task.status == CANCELLING:
        return Decision(reply=Refused("task_finished", f"{name} is being cancelled"))
    accepted = Accepted(task.task_id)
    how = message.how
    if _is_so(task, how):
        return Decision(reply=Accepted(task.task_id, repeated=True))
    if how == PAUSED or (message.of_run and task.status in UNREADY):
        decision = _pause(task, message, moment)
    elif task.status in (RUNNING, INTERRUPTING):
        decision = _interrupt(task, message, moment)
    elif not message.of_run and task.attempt == 0 and _is_queued(task):
        decision = cancel(task, CancelTask(message.reason), moment)
    else:
        fact = TaskInterrupted(message.reason, message.sender)
        decision = _stand_still(task, fact, message)
    return decision._replace(reply=accepted)


def _is_so(task: Task, how: str) -> bool:
    """Tell whether there is nothing left to do."""
    if how == INTERRUPTED:
        return task.status == INTERRUPTED
    return task.hold is not None


def _is_queued(task: Task) -> bool:
    """Tell whether the task has not begun, also where it is paused."""
    status = task.hold.since if task.hold is not None and task.hold.since else task.status
    return status in (PENDING, SCHEDULED, *UNREADY)


def _pause(task: Task, message: HoldWork, moment: Moment) -> Decision:
    in_force = task.status not in (RUNNING, PENDING, *UNREADY)
    fact = TaskPaused(message.reason, message.sender, in_force)
    if in_force:
        return _stand_still(task, fact, message)
    return Decision((fact,), (), tell_pause(task, moment))


def tell_pause(task: Task, moment: Moment, *, is_on: bool = True) -> tuple[TellAttempt, ...]:
    """Return what has the running attempt, if one runs, stand still at a boundary, or go on."""
    if task.status != RUNNING:
        return ()
    token = AttemptToken(moment.partition, moment.era, task.token)
    return (TellAttempt(token, Pause(is_on)),)


def _stand_still(task: Task, fact: Any, message: HoldWork) -> Decision:
    """Stop what the task waits for; a slot that it queues for is given back when it comes."""
    timers = cleared((TIMER, task.due_ns), (QUEUE, task.queue_due_ns))
    sends = []
    if task.status == CHILD or is_held_child(task):
        below = message._replace(task="", command="", definition=None, of_run=False)
        sends.append(Send(owner_stream(task.child_run), below))
    return Decision((fact,), sends, timers)


def _interrupt(task: Task, message: HoldWork, moment: Moment) -> Decision:
    fact = TaskInterruptRequested(message.reason, message.sender, message.timeout_s)
    return Decision((fact,), (), (tell_interrupt(task, message.reason, message.timeout_s, moment),))


def tell_interrupt(task: Task, reason: str, timeout_s: float, moment: Moment) -> TellAttempt:
    """Return what asks the running attempt to stop."""
    token = AttemptToken(moment.partition, moment.era, task.token)
    return TellAttempt(token, Interrupt(reason, timeout_s))


def stopped(task: Task, outcome: Outcome, closed: tuple[object, ...]) -> Decision:
    """Take the end of an attempt that was interrupted: the task can be resumed."""
    assert task.hold is not None, "who asked is known"
    error = [outcome.code, outcome.message] if outcome.status == "failed" else None
    fact = TaskInterrupted(task.hold.reason, task.hold.sender, outcome.abandoned, error)
    return Decision((fact,), _released(task, kept=outcome.abandoned), closed)


def held(task: Task) -> TaskInterrupted | TaskPaused:
    """Return the fact that a task stands still now, because somebody said so before."""
    assert task.hold is not None, "somebody did"
    if task.hold.how == INTERRUPTED:
        return TaskInterrupted(task.hold.reason, task.hold.sender)
    return TaskPaused(task.hold.reason, task.hold.sender, in_force=True)


def also_held(task: Task, decision: Decision, closed: tuple[object, ...]) -> Decision:
    """Let a task stand still that would have asked its lane again."""
    return decision._replace(facts=(*decision.facts, held(task)), effects=closed)


def lost(task: Task, fact: AttemptLost) -> Decision:
    """Let a task stand still whose attempt was lost."""
    return Decision((fact, held(task)), _released(task), (CloseAttempt(task.token),))


def is_held_child(task: Task) -> bool:
    """Tell whether a task stands still while the run that it stands for is under way."""
    return task.status in HELD and task.hold is not None and task.hold.since == CHILD


def _released(task: Task, *, kept: bool = False) -> tuple[Send, ...]:
    return (release(task, kept=kept),) if task.lane else ()


def refused_resume(task: Task, sender: str) -> Refused | None:
    """Return why a task cannot be resumed by somebody; None: it can."""
    name = f"task {task.task_id} of run {task.run_id}"
    if task.status in OVER:
        return Refused("task_finished", f"{name} is {task.status} already")
    if task.status == INTERRUPTING:
        return Refused("task_busy", f"{name} is being interrupted", "resume it when it has stopped")
    if task.hold is None:
        if task.status == PENDING and is_spawned(task.task_id):
            return unknown_task(task.run_id, task.task_id)
        return Refused("task_not_held", f"{name} is {task.status}: it does not stand still")
    if task.hold.sender.startswith(CHANGER) and task.hold.sender != sender:
        text = f"{name} stands aside for a change of the path of its run"
        return Refused("path_busy", text, "it goes on when that is made or given up")
    return None


def goes_on_as(task: Task) -> str:
    """Return the state of a task that is resumed."""
    assert task.hold is not None, "it stands still"
    return task.hold.since if task.status in HELD else task.status
