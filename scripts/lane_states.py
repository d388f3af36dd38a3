"""The states of the lane, reached by facts, and the messages put to it in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.adjusting import LeaveQueue, Rerank
from goclaw_actors.lane import LANE, Lane
from goclaw_actors.lending import (
    ControlLane,
    DeclareLane,
    Defer,
    Enqueue,
    KeepSlot,
    LeaveRoom,
    LendFree,
    RecheckSlots,
    RefuseWaiting,
    Release,
    ReturnRoom,
    WaitForRoom,
    Withdraw,
)
from goclaw_events.facts import LaneAdvanced, LaneControlled, LaneDeclared, LaneRoomChanged
from scripts.aggregates import NOW_NS, TOKEN, Aggregate

if TYPE_CHECKING:
    from collections.abc import Sequence


def lane() -> Aggregate:
    """Return the lane with its states and messages."""
    declared = LaneDeclared(2, 1, "reject", "w")
    first = LaneAdvanced([], [], [("task/r/a", 0, False)], ["task/r/a"])
    second = LaneAdvanced([], [], [("task/r/b", 0, False)], ["task/r/b"])
    third = LaneAdvanced([], [], [("task/r/c", 0, False)], [])
    more = LaneDeclared(2, 9, "reject", "w")
    blocks = declared._replace(overflow="block")
    waits = LaneRoomChanged([], [], ["workflow/s"], [])
    kept = LaneRoomChanged([], [], ["workflow/r"], [["workflow/r", 1]])
    states: dict[str, Sequence[Any]] = {
        "empty": (declared,),
        "free": (declared, first),
        "taken": (declared, first, second),
        "queueing": (more, first, second, third),
        "full": (declared, first, second, third),
        "paused": (more, first, LaneControlled("paused", {}, 1, "uid:1")),
        "draining": (more, first, second, third, LaneControlled("draining", {}, 1, "uid:1")),
        "full (it blocks)": (blocks, first, second, third),
        "full (it blocks, and a run waits)": (blocks, first, second, third, waits),
        "full (it redirects)": (
            declared._replace(overflow="redirect", redirect_to="w/other"),
            first,
            second,
            third,
        ),
        "taken (room is kept for a run)": (blocks, first, second, kept),
    }
    messages = {
        "Enqueue": Enqueue("task/r/d", 0, at_head=False),
        "Enqueue at head": Enqueue("task/r/d", 0, at_head=True),
        "Enqueue of a task that is here": Enqueue("task/r/a", 0, at_head=False),
        "Enqueue of a task that room is kept for": Enqueue("task/r/d", 0, False, let_in=True),
        "WaitForRoom": WaitForRoom("workflow/s"),
        "LeaveRoom": LeaveRoom("workflow/s"),
        "ReturnRoom": ReturnRoom("workflow/r", 1),
        "Release": Release("task/r/a"),
        "Defer": Defer("task/r/a", 0, True, "", "", "", None, 1.0, NOW_NS + 1),
        "Release of a task that holds no slot": Release("task/r/z"),
        "Rerank of a task that waits": Rerank("task/r/c", 5, False),
        "Rerank of a task that does not wait": Rerank("task/r/z", 5, False),
        "LeaveQueue of a task that waits": LeaveQueue("task/r/c"),
        "LeaveQueue of a task that holds a slot": LeaveQueue("task/r/a"),
        "KeepSlot": KeepSlot("task/r/a", TOKEN),
        "KeepSlot of a task that holds no slot": KeepSlot("task/r/z", TOKEN),
        "Withdraw of a task that waits": Withdraw("task/r/c"),
        "Withdraw of a task that holds a slot": Withdraw("task/r/a"),
        "DeclareLane (one slot more)": DeclareLane(3, 9, "reject", "w"),
        "DeclareLane (one slot less)": DeclareLane(1, 9, "reject", "w"),
        "ControlLane (one slot more)": ControlLane(None, {"concurrency": 3}, False, "uid:1"),
        "ControlLane (pause)": ControlLane("paused", {}, False, "uid:1"),
        "ControlLane (resume)": ControlLane("open", {}, False, "uid:1"),
        "ControlLane (drain)": ControlLane("draining", {}, False, "uid:1"),
        "LendFree": LendFree(),
        "RecheckSlots": RecheckSlots(None),
        "RecheckSlots of one task": RecheckSlots(["task/r/a"]),
        "RefuseWaiting": RefuseWaiting(),
    }
    about = (
        "Two slots. *Free*: one is leased; *taken*: both are; *queueing*: both are, and `c` waits;"
        "\n*full*: as many wait as the capacity allows (1). What comes back at the head of the"
        "\nqueue had a slot before, and is taken in whatever the capacity. *Paused*: one slot is"
        "\nlent, and no other will be; *draining*: as *queueing*, but nobody new is taken in. The"
        "\nothers are of lanes with `overflow: block` or `redirect`."
    )
    return Aggregate("Lane", about, LANE, "lane/w/io", states, messages, _lane_state)


def _lane_state(state: Lane) -> str:
    if state.control.mode != "open":
        return state.control.mode
    if len(state.queued) >= state.capacity:
        return "full"
    if state.queued:
        return "queueing"
    if len(state.leased) >= state.concurrency:
        return "taken"
    return "free" if state.leased else "empty"
