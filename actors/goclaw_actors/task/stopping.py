"""What stops a task, or has it look whether it was stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_actors.compensating import TaskRested
from goclaw_actors.decider import NOTHING, CloseAttempt, Decision, Send
from goclaw_actors.lending import Release, Withdraw
from goclaw_actors.statuses import DEAD
from goclaw_actors.task import child, hearing, spawning
from goclaw_actors.task.ending import TIMER, UNREADY, cleared, end, release_kept, report
from goclaw_actors.task.hold import HELD, INTERRUPTING
from goclaw_actors.task.limits import QUEUE
from goclaw_actors.task.state import (
    ATTEMPTED,
    CANCELLED,
    CANCELLING,
    CHILD,
    ENDING,
    FINAL,
    PENDING,
    RUNNING,
    SCHEDULED,
)
from goclaw_actors.work import AttemptToken, Interrupt, StopAttempt, TellAttempt
from goclaw_events.facts import AttemptReturned, TaskCancelled, TaskCancelRequested, TaskFailed
from goclaw_events.ids import is_saga, kept_slot, lane_stream, owner_stream

if TYPE_CHECKING:
    from goclaw_actors.decider import Moment
    from goclaw_actors.messages import CancelTask, CheckAttempt, CheckSlot, SlotRefused
    from goclaw_actors.task.state import Task


def cancel(task: Task, message: CancelTask, moment: Moment) -> Decision:
    """End the task without a result: at once, or when what runs of it has been stopped."""
    if message.generation > task.generation:  # that one was never scheduled
        told = report(task, CANCELLED, None, None)
        of_it = told.body._replace(generation=message.generation)
        dead = task.status == DEAD
        facts = (TaskCancelled(message.reason, abandoned=False),) if dead else ()
        return Decision(facts, (told._replace(body=of_it),))
    if task.status in FINAL:
        return Decision((), (report(task, task.status, task.result, task.error),))
    if message.queued_only and task.status not in (PENDING, SCHEDULED, DEAD, *UNREADY):
        return NOTHING
    held_child = task.hold is not None and task.hold.since == CHILD
    if task.status in (*ATTEMPTED, CHILD, ENDING) or held_child:
        return _cancel_active(task, message, moment)
    cancelled = (TaskCancelled(message.reason, abandoned=False),)
    effects = cleared((TIMER, task.due_ns), (QUEUE, task.queue_due_ns))
    decision = end(task, cancelled, "cancelled", effects, slot=False)
    if not task.lane or not (task.status == SCHEDULED or task.status in HELD):
        return decision
    withdraw = Send(lane_stream(task.lane), Withdraw(task.stream))
    return decision._replace(sends=(withdraw, *decision.sends))


def _cancel_active(task: Task, message: CancelTask, moment: Moment) -> Decision:
    """Stop the attempt, or what is below; again, too: what it came to may be lost in a bug."""
    if task.status == ENDING:
        return spawning.cancel_again(task, message)
    reason = message.reason
    facts = () if task.status == CANCELLING else (TaskCancelRequested(reason),)
    if task.child_run:
        return Decision(facts, (child.cancel(task, reason),))
    if message.graceful:
        token = AttemptToken(moment.partition, moment.era, task.token)
        return Decision(facts, (), (TellAttempt(token, Interrupt(reason, None)),))
    return Decision(facts, (), (_stop(task.token, reason, moment),))


def check(task: Task, message: CheckAttempt, moment: Moment) -> Decision:
    """Stop an attempt again whose stop may never have left, or that is not the current one."""
    if message.token in task.kept:
        return NOTHING
    if message.token == task.token and task.status in (RUNNING, INTERRUPTING):
        return Decision((), (), hearing.again(task, moment))
    return Decision((), (), (_stop(message.token, "stopped before", moment),))


def check_slot(task: Task, message: CheckSlot, _moment: Moment) -> Decision:
    """Give a slot back again, if the lane did not hear that it was given back."""
    lane = message.lane or task.lane
    if message.token:
        slot = kept_slot(task.stream, message.token)
        needed = message.token in task.kept
        return NOTHING if needed else Decision((), (Send(lane_stream(lane), Release(slot)),))
    takes = (task.status == SCHEDULED and not task.leaving) or task.status in ATTEMPTED
    needed = lane == task.lane and takes
    back = Send(lane_stream(lane), Release(task.stream))
    return NOTHING if needed or not lane else Decision((), (back,))


def _stop(token: int, reason: str, moment: Moment) -> StopAttempt:
    return StopAttempt(AttemptToken(moment.partition, moment.era, token), reason)


def again_reported(task: Task) -> Decision:
    """Tell the run of a task that had ended before the run began it."""
    told = task.status == CANCELLED and task.definition is None
    return Decision((), (report(task, CANCELLED, None, None),)) if told else NOTHING


def returned(task: Task, token: int, reason: str) -> Decision:
    """Give back the slot that an abandoned attempt kept."""
    fact = AttemptReturned(token, reason)
    sends = [release_kept(task, token)]
    if is_saga(task.run_id) and task.status in FINAL and task.kept == [token]:
        sends.append(Send(owner_stream(task.run_id), TaskRested(task.task_id)))
    return Decision((fact,), sends, (CloseAttempt(token),))


def slot_refused(task: Task, message: SlotRefused, _moment: Moment) -> Decision:
    """Fail a task that its lane does not take in."""
    if task.status != SCHEDULED:
        return NOTHING
    text = f"lane {task.lane} did not take the task in: {message.reason}"
    effects = cleared((QUEUE, task.queue_due_ns))
    return end(
        task, (TaskFailed(message.reason, text),), "failed", effects, slot=False,
        error=[message.reason, text],
    )  # fmt: skip
