"""What a run answers lanes that block: it holds its tasks back, and lets them ask again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.decider import NOTHING, Decision, Send
from goclaw_actors.messages import (
    AskAgain,
    LaneFull,
    LeaveRoom,
    ReturnRoom,
    RoomFor,
    RoomRefused,
    SlotRefused,
    WaitForRoom,
)
from goclaw_actors.workflow.blocked import Blocked
from goclaw_actors.workflow.state import ACTIVE, FINAL
from goclaw_events.facts import TasksBlocked, TasksUnblocked
from goclaw_events.ids import lane_stream, task_stream, workflow_stream

if TYPE_CHECKING:
    from goclaw_actors.workflow.state import Run

REFUSALS_PER_TURN_MAX: Final = 256
_NONE: Final = Blocked()


def hold_back(run: Run, message: LaneFull) -> Decision:
    """Hold back tasks that found no room; those that ended meanwhile need none."""
    lane, blocked = message.lane, run.blocked or _NONE
    held = [] if run.status in FINAL else _still_active(run, message.tasks)
    stream = workflow_stream(run.run_id)
    if not held:
        # a run that goes on returns the room: tasks that it does not know of yet may wait for it
        leave = (Send(lane_stream(lane), LeaveRoom(stream)),) if run.status in FINAL else ()
        return Decision((), leave)
    # the lane may hear that the run waits no more after it said that it is full
    again = (Send(lane_stream(lane), WaitForRoom(stream)),) if lane in blocked.left else ()
    return Decision((TasksBlocked(lane, held),), again)


def _still_active(run: Run, tasks: list[str]) -> list[str]:
    plan, blocked = run.plan, run.blocked or _NONE
    if plan is None:
        return []
    names = [task.split("/", 2)[2] for task in tasks]
    indexes = [(plan.index[name], name) for name in names]
    return [
        name
        for index, name in indexes
        if run.statuses[index] == ACTIVE and index not in blocked.orders
    ]


def let_ask(run: Run, message: RoomFor) -> Decision:
    """Let as many tasks ask again as there are places for; return the places nobody wants."""
    lane, stream = message.lane, workflow_stream(run.run_id)
    tasks = _first(run, lane, message.places)
    sends = [Send(task_stream(run.run_id, task), AskAgain(lane)) for task in tasks]
    if len(tasks) < message.places:
        back = ReturnRoom(stream, message.places - len(tasks))
        sends.append(Send(lane_stream(lane), back))
    elif (run.blocked or _NONE).counts[lane] > len(tasks):
        sends.append(Send(lane_stream(lane), WaitForRoom(stream)))
    return Decision((TasksUnblocked(lane, tasks),) if tasks else (), sends)


def refuse(run: Run, message: RoomRefused) -> Decision:
    """Tell tasks that a lane was given up, some in each turn."""
    lane = message.lane
    tasks = _first(run, lane, REFUSALS_PER_TURN_MAX)
    if not tasks:
        return NOTHING
    refused = SlotRefused(message.reason)
    sends = [Send(task_stream(run.run_id, task), refused) for task in tasks]
    if (run.blocked or _NONE).counts[lane] > len(tasks):
        sends.append(Send(workflow_stream(run.run_id), message))
    return Decision((TasksUnblocked(lane, tasks),), sends)


def _first(run: Run, lane: str, count: int) -> list[str]:
    """Return the tasks that ask a lane next; a run that ended has none that do."""
    if run.plan is None or run.status in FINAL:
        return []
    tasks = run.plan.tasks
    return [tasks[index].id for index in (run.blocked or _NONE).first(lane, count)]


def leave_all(run: Run) -> tuple[Send, ...]:
    """Return what tells every lane that a run which ends at once does not wait any more."""
    stream = workflow_stream(run.run_id)
    lanes = (run.blocked or _NONE).counts
    return tuple(Send(lane_stream(lane), LeaveRoom(stream)) for lane in lanes)
