"""Why the run of a task holds it back, and what is on its way between two actors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.lending import WaitForRoom
from goclaw_actors.messages import LaneFull, RoomFor, RoomRefused
from goclaw_actors.why.reason import LANE, LANE_FULL, MESSAGE, OTHER_PARTITION, Reason
from goclaw_actors.why.sight import state_of
from goclaw_events.ids import lane_stream, owner_stream, partition_of

if TYPE_CHECKING:
    from goclaw_actors.lane.state import Lane
    from goclaw_actors.task.state import Task
    from goclaw_actors.why.sight import Sight
    from goclaw_actors.workflow.state import Run


def on_its_way(sight: Sight, sender: str, receiver: str, body: Any) -> Reason:
    """Return the reason of whoever waits for a message that was not handled yet."""
    source, target = (partition_of(each, sight.partitions) for each in (sender, receiver))
    details: dict[str, Any] = {"message": type(body).__name__, "to": receiver}
    if source == target:
        return Reason(MESSAGE, sender, 0, 0, details)
    return Reason(OTHER_PARTITION, sender, 0, 0, {**details, "from": source, "partition": target})


def held_back(sight: Sight, task: Task, lane: Lane | None, since: int) -> Reason | None:
    """Return why the run of a task holds it back; None: it does not, or nobody will tell it."""
    stream, run_stream = lane_stream(task.lane), owner_stream(task.run_id)
    coming = sight.coming(run_stream)
    for body in coming:
        if isinstance(body, LaneFull) and task.stream in body.tasks:
            below = on_its_way(sight, stream, run_stream, body)
            return Reason(LANE, task.stream, since, 0, {"lane": task.lane}, (), (below,))
    if lane is None or not _is_held_back(sight, task):
        return None
    below_or_none = _in_line(lane, run_stream)
    for body in (*coming, *sight.coming(stream)):
        if below_or_none is None and isinstance(body, (RoomFor, RoomRefused, WaitForRoom)):
            below_or_none = on_its_way(sight, stream, run_stream, body)
    if below_or_none is None:
        return None
    return Reason(LANE, task.stream, since, 0, {"lane": task.lane}, (), (below_or_none,))


def _is_held_back(sight: Sight, task: Task) -> bool:
    run: Run | None = state_of(sight, owner_stream(task.run_id))
    if run is None or run.blocked is None or run.plan is None:
        return False
    return run.blocked.lane_of(run.plan.index[task.task_id]) == task.lane


def _in_line(lane: Lane, run_stream: str) -> Reason | None:
    waits = list(lane.room.waiters)
    if run_stream not in waits:
        return None
    details: dict[str, Any] = {
        "queued": len(lane.queued),
        "capacity": lane.capacity,
        "runs_before": waits.index(run_stream),
    }
    return Reason(LANE_FULL, lane.stream, 0, 0, details)
