"""What a run, or a saga, answers lanes that block: it holds its tasks back until there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from goclaw_actors.blocked import Blocked
from goclaw_actors.decider import NOTHING, Decision, Send
from goclaw_actors.lending import LeaveRoom, ReturnRoom, WaitForRoom
from goclaw_actors.messages import (
    AskAgain,
    LaneFull,
    RoomFor,
    RoomRefused,
    SlotRefused,
)
from goclaw_actors.statuses import ACTIVE
from goclaw_events.facts import TasksBlocked, TasksUnblocked
from goclaw_events.ids import lane_stream, owner_stream, task_stream

if TYPE_CHECKING:
    from goclaw_events.plan import Plan, PlannedTask

REFUSALS_PER_TURN_MAX: Final = 256
_NONE: Final = Blocked()
LANE_FULL: Final = "lane_full"
_SLASHES: Final = 2
"""In the name of a task; one that was spawned has more."""


class Holder(Protocol):
    """Whoever has tasks; `statuses` by plan index. `blocked` None: it never held one back."""

    run_id: str
    plan: Plan | None
    statuses: bytearray
    blocked: Blocked | None

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing of it runs any more."""
        ...


def note(run: Holder, fact: TasksBlocked | TasksUnblocked) -> None:
    """Apply a fact: tasks are held back, or no more."""
    if run.blocked is None:
        run.blocked = Blocked()
    for task in planned(run, fact.tasks):
        if isinstance(fact, TasksBlocked):
            run.blocked.add(fact.lane, task)
        else:
            run.blocked.remove(task)


def planned(run: Holder, tasks: list[str]) -> list[PlannedTask]:
    """Return tasks, named by their ids, as the plan has them."""
    plan = run.plan
    assert plan is not None, "its first fact is its submission"
    return [plan.tasks[plan.index[task]] for task in tasks]


def note_end(run: Holder, task: PlannedTask) -> None:
    """Apply the end of a task that may be held back."""
    if run.blocked is not None and task.index in run.blocked.orders:
        lane = run.blocked.remove(task)
        if lane not in run.blocked.counts:
            run.blocked.left.add(lane)


def hold_back(run: Holder, message: LaneFull) -> Decision:
    """Hold back tasks that found no room; those that ended meanwhile need none."""
    lane, blocked = message.lane, run.blocked or _NONE
    spawned = [task for task in message.tasks if task.count("/") > _SLASHES]
    if spawned:  # the run does not know them: they do not wait for room
        full = tuple(Send(task, SlotRefused(LANE_FULL)) for task in spawned)
        rest = [task for task in message.tasks if task not in spawned]
        decision = hold_back(run, LaneFull(lane, rest))
        return decision._replace(sends=(*full, *decision.sends))
    held = [] if run.has_ended else _still_active(run, message.tasks)
    stream = owner_stream(run.run_id)
    if not held:
        # a run that goes on returns the room: tasks that it does not know of yet may wait for it
        leave = (Send(lane_stream(lane), LeaveRoom(stream)),) if run.has_ended else ()
        return Decision((), leave)
    # the lane may hear that the run waits no more after it said that it is full
    again = (Send(lane_stream(lane), WaitForRoom(stream)),) if lane in blocked.left else ()
    return Decision((TasksBlocked(lane, held),), again)


def _still_active(run: Holder, tasks: list[str]) -> list[str]:
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


def let_ask(run: Holder, message: RoomFor) -> Decision:
    """Let as many tasks ask again as there are places for; return the places nobody wants."""
    lane, stream = message.lane, owner_stream(run.run_id)
    tasks = _first(run, lane, message.places)
    sends = [Send(task_stream(run.run_id, task), AskAgain(lane)) for task in tasks]
    if len(tasks) < message.places:
        back = ReturnRoom(stream, message.places - len(tasks))
        sends.append(Send(lane_stream(lane), back))
    elif (run.blocked or _NONE).counts[lane] > len(tasks):
        sends.append(Send(lane_stream(lane), WaitForRoom(stream)))
    return Decision((TasksUnblocked(lane, tasks),) if tasks else (), sends)


def refuse(run: Holder, message: RoomRefused) -> Decision:
    """Tell tasks that a lane was given up, some in each turn."""
    lane = message.lane
    tasks = _first(run, lane, REFUSALS_PER_TURN_MAX)
    if not tasks:
        return NOTHING
    refused = SlotRefused(message.reason)
    sends = [Send(task_stream(run.run_id, task), refused) for task in tasks]
    if (run.blocked or _NONE).counts[lane] > len(tasks):
        sends.append(Send(owner_stream(run.run_id), message))
    return Decision((TasksUnblocked(lane, tasks),), sends)


def _first(run: Holder, lane: str, count: int) -> list[str]:
    """Return the tasks that ask a lane next; a run that ended has none that do."""
    if run.plan is None or run.has_ended:
        return []
    tasks = run.plan.tasks
    return [tasks[index].id for index in (run.blocked or _NONE).first(lane, count)]


def leave_all(run: Holder) -> tuple[Send, ...]:
    """Return what tells every lane that a run which ends at once does not wait any more."""
    stream = owner_stream(run.run_id)
    lanes = (run.blocked or _NONE).counts
    return tuple(Send(lane_stream(lane), LeaveRoom(stream)) for lane in lanes)


def left_room(run: Holder, index: int) -> tuple[Send, ...]:
    """Return what tells a lane that nobody waits any more, if a task that ends was the last."""
    blocked = run.blocked or _NONE
    lane = blocked.lane_of(index)
    if lane is None or blocked.counts[lane] > 1:
        return ()
    return (Send(lane_stream(lane), LeaveRoom(owner_stream(run.run_id))),)
