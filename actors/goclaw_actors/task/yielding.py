"""What a task does for a change of the path of its run: it stands aside, tells, or is dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_actors.decider import NOTHING, Decision, Send
from goclaw_actors.lending import Withdraw
from goclaw_actors.messages import CancelTask
from goclaw_actors.pathing import (
    BEGUN,
    CHANGER,
    HELD_STILL,
    IDLE,
    RESULT,
    DropTask,
    PathAnswer,
    StandAside,
    TellResult,
)
from goclaw_actors.signalling import HoldWork
from goclaw_actors.statuses import DEAD
from goclaw_actors.task.ending import TIMER, TOTAL, UNREADY, cleared, freed, report
from goclaw_actors.task.gathering import left
from goclaw_actors.task.hold import HELD, PAUSED
from goclaw_actors.task.holding import hold
from goclaw_actors.task.limits import QUEUE
from goclaw_actors.task.state import FINAL, PENDING, SCHEDULED, WAITING, Task
from goclaw_actors.task.stopping import cancel
from goclaw_events.facts import TaskDropped
from goclaw_events.ids import lane_stream, workflow_stream

if TYPE_CHECKING:
    from goclaw_actors.decider import Moment

_UNBEGUN = (PENDING, SCHEDULED, WAITING, *UNREADY)


def stand_aside(task: Task, message: StandAside, moment: Moment) -> Decision:
    """Stand still unless the task has begun; end if it has and is to stop."""
    if message.generation > task.generation:  # the run has not scheduled that one
        return Decision((), (_answer(task, message.change, IDLE),))
    if task.status in FINAL:
        return Decision((), (report(task, task.status, task.result, task.error),))
    status = task.hold.since if task.hold is not None and task.hold.since else task.status
    if task.attempt or status not in _UNBEGUN:
        if message.stop:
            return cancel(task, CancelTask("it is to run again"), moment)
        answer = IDLE if task.status == DEAD else BEGUN
        return Decision((), (_answer(task, message.change, answer),))
    if task.status == PENDING or task.hold is not None:
        return Decision((), (_answer(task, message.change, IDLE),))
    sender = CHANGER + message.change
    still = HoldWork(
        "", PAUSED, "its run is being changed", sender, 0.0, definition=message.definition
    )
    decision = hold(task, still, moment)
    sends = (*decision.sends, _answer(task, message.change, HELD_STILL))
    return decision._replace(sends=sends, reply=None)


def _answer(task: Task, change: str, answer: str) -> Send:
    return Send(workflow_stream(task.run_id), PathAnswer(change, task.task_id, answer))


def tell_result(task: Task, message: TellResult, _moment: Moment) -> Decision:
    """Tell the run the result of the task; None if it has none."""
    told = PathAnswer(message.change, task.task_id, RESULT, task.result)
    return Decision((), (Send(workflow_stream(task.run_id), told),))


def drop(task: Task, message: DropTask, moment: Moment) -> Decision:
    """End the task unbegun; one that has begun all the same is stopped."""
    if task.status in FINAL:
        return NOTHING
    if message.generation is not None and message.generation < task.generation:
        return NOTHING  # that one ended by itself, and its run has scheduled the next
    status = task.hold.since if task.hold is not None and task.hold.since else task.status
    if task.status != DEAD and (task.attempt or status not in _UNBEGUN):
        return cancel(task, CancelTask(message.reason), moment)
    sends = (*freed(task, "cancelled", None, None), *left(task))
    if task.lane and (task.status == SCHEDULED or task.status in HELD):
        sends = (Send(lane_stream(task.lane), Withdraw(task.stream)), *sends)
    timers = ((TIMER, task.due_ns), (QUEUE, task.queue_due_ns), (TOTAL, task.total_due_ns))
    return Decision((TaskDropped(message.reason),), sends, cleared(*timers))
