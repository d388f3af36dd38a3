"""What stops a task, or has it look whether it was stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_actors.decider import NOTHING, Decision, Send
from goclaw_actors.messages import CancelTask, CheckAttempt, CheckSlot, Withdraw
from goclaw_actors.task import child, hearing
from goclaw_actors.task.ending import ASKING, TIMER, cleared, end, release, release_kept, report
from goclaw_actors.task.limits import QUEUE
from goclaw_actors.task.state import CANCELLING, CHILD, FINAL, PENDING, RUNNING, SCHEDULED
from goclaw_actors.work import AttemptToken, StopAttempt
from goclaw_events.facts import TaskCancelled, TaskCancelRequested
from goclaw_events.ids import lane_stream

if TYPE_CHECKING:
    from goclaw_actors.decider import Moment
    from goclaw_actors.task.state import Task


def cancel(task: Task, message: CancelTask, moment: Moment) -> Decision:
    """End the task without a result: at once, or when what runs of it has been stopped."""
    if task.status in FINAL:
        return Decision((), (report(task, task.status, task.result, task.error),))
    if message.queued_only and task.status not in (PENDING, SCHEDULED, *ASKING):
        return NOTHING
    if task.status in (RUNNING, CHILD, CANCELLING):
        return _cancel_active(task, message.reason, moment)
    cancelled = (TaskCancelled(message.reason, abandoned=False),)
    effects = cleared((TIMER, task.due_ns), (QUEUE, task.queue_due_ns))
    decision = end(task, cancelled, "cancelled", effects, slot=False)
    if task.status != SCHEDULED:
        return decision
    withdraw = Send(lane_stream(task.lane), Withdraw(task.stream))
    return decision._replace(sends=(withdraw, *decision.sends))


def _cancel_active(task: Task, reason: str, moment: Moment) -> Decision:
    """Stop the attempt, or the child; again, too: what it came to may have been lost in a bug."""
    facts = () if task.status == CANCELLING else (TaskCancelRequested(reason),)
    if task.child_run:
        return Decision(facts, (child.cancel(task, reason),))
    return Decision(facts, (), (_stop(task.token, reason, moment),))


def check(task: Task, message: CheckAttempt, moment: Moment) -> Decision:
    """Stop an attempt again whose stop may never have left, or that is not the current one."""
    if message.token in task.kept:
        return NOTHING
    if message.token == task.token and task.status == RUNNING:
        return Decision((), (), hearing.again(task, moment))
    return Decision((), (), (_stop(message.token, "stopped before", moment),))


def check_slot(task: Task, message: CheckSlot, _moment: Moment) -> Decision:
    """Give a slot back again, if the lane did not hear that it was given back."""
    if message.token:
        needed = message.token in task.kept
        return NOTHING if needed else Decision((), (release_kept(task, message.token),))
    needed = task.status in (SCHEDULED, RUNNING, CANCELLING)
    return NOTHING if needed or not task.lane else Decision((), (release(task),))


def _stop(token: int, reason: str, moment: Moment) -> StopAttempt:
    return StopAttempt(AttemptToken(moment.partition, moment.era, token), reason)
