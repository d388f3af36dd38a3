"""A task that is unique: it asks for its key before it asks its lane, and hears what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import NOTHING, Decision, Send
from goclaw_actors.lending import ClaimKey, Withdraw
from goclaw_actors.task.ending import ASKING, cleared, end
from goclaw_actors.task.limits import QUEUE
from goclaw_actors.task.state import CLAIMING, COMPLETED, SCHEDULED
from goclaw_events.facts import TaskCompleted, TaskFailed, TaskJoined
from goclaw_events.ids import lane_stream

if TYPE_CHECKING:
    from goclaw_actors.decider import Moment
    from goclaw_actors.messages import KeyEnded, KeyRefused, KeyShared, KeyTaken
    from goclaw_actors.task.state import Task

REPLACED: Final = "task_replaced"


def claim(task: Task, unique: list[Any]) -> Send:
    """Return what asks for the key."""
    keys, key, window_ns, on_duplicate = unique
    return Send(keys, ClaimKey(key, task.stream, window_ns, on_duplicate))


def share(task: Task, message: KeyShared, _moment: Moment) -> Decision:
    """Wait for the task that has the key."""
    if task.status != CLAIMING:
        return NOTHING
    return Decision((TaskJoined(message.task),))


def key_refused(task: Task, message: KeyRefused, _moment: Moment) -> Decision:
    """Fail, as the key is another task's."""
    if task.status not in ASKING:
        return NOTHING
    error = [message.code, message.message]
    return end(task, (TaskFailed(*error),), "failed", error=error, slot=False, key=False)


def key_ended(task: Task, message: KeyEnded, _moment: Moment) -> Decision:
    """End as the task did that had the key."""
    if task.status not in ASKING:
        return NOTHING
    status, result, error = message
    if error is None:
        completed = (TaskCompleted(0, 0, result),)
        return end(task, completed, COMPLETED, result=result, slot=False, key=False)
    return end(task, (TaskFailed(*error),), status, error=error, slot=False, key=False)


def key_taken(task: Task, message: KeyTaken, _moment: Moment) -> Decision:
    """Make way for another task, unless this one has begun."""
    if task.status != SCHEDULED or task.attempt:
        return NOTHING
    error = [REPLACED, f"{message.task.partition('/')[2]} came in its place"]
    effects = cleared((QUEUE, task.queue_due_ns))
    decision = end(task, (TaskFailed(*error),), "failed", effects, error=error, slot=False)
    if not task.lane:
        return decision
    withdraw = Send(lane_stream(task.lane), Withdraw(task.stream))
    return decision._replace(sends=(withdraw, *decision.sends))
