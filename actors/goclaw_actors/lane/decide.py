"""What a lane decides: priority first, then arrival; never more slots than its concurrency."""

from __future__ import annotations

from heapq import nsmallest
from typing import Any, Final

from goclaw_actors.decider import NOTHING, ClearOpen, Decider, Decision, Moment, Send, SetOpen
from goclaw_actors.lane.state import FORM, Lane, encode, evolve
from goclaw_actors.messages import (
    CheckSlot,
    DeclareLane,
    Enqueue,
    RecheckSlots,
    RefuseWaiting,
    Release,
    SlotLeased,
    SlotRefused,
    Withdraw,
)
from goclaw_events.facts import LaneAdvanced, LaneDeclared, LaneRefused

LEASES_PER_TURN_MAX: Final = 256
_LEASED: Final = SlotLeased()
_FULL: Final = "lane_full"


def decide(lane: Lane, message: Any, _moment: Moment) -> Decision:  # noqa: PLR0911 - a table
    """Answer a message; see the table in docs/reference/states.md."""
    match message:
        case Enqueue():
            return _enqueue(lane, message)
        case Release(task):
            if task in lane.leased:
                return _advance(lane, released=task)
            return NOTHING
        case Withdraw(task):
            if task in lane.queued:
                return _advance(lane, withdrawn=task)
            if task in lane.leased:
                return _advance(lane, released=task)
            return NOTHING
        case DeclareLane():
            return _declare(lane, message)
        case RecheckSlots(tasks):
            return _recheck(lane, tasks)
        case RefuseWaiting():
            return NOTHING  # it can be read again
        case _:
            msg = f"a lane does not understand {type(message).__name__}"
            raise TypeError(msg)


def _enqueue(lane: Lane, message: Enqueue) -> Decision:
    task = message.task
    if task in lane.queued or task in lane.leased:
        return NOTHING
    free = len(lane.leased) < lane.concurrency
    if len(lane.queued) >= lane.capacity and not message.at_head and not (free and not lane.queue):
        return Decision((LaneRefused([task], _FULL),), (Send(task, SlotRefused(_FULL)),))
    entry = (task, message.priority, message.at_head)
    if free and not lane.queue:
        fact = LaneAdvanced([], [], [entry], [task])
        return Decision((fact,), (Send(task, _LEASED),), _opened(lane))
    return Decision((LaneAdvanced([], [], [entry], []),), (), _opened(lane))


def _opened(lane: Lane) -> tuple[SetOpen, ...]:
    return () if lane.leased or lane.queued else (SetOpen("lane", ""),)


def _advance(lane: Lane, released: str = "", withdrawn: str = "") -> Decision:
    """Take one task out and give what became free to the next in order."""
    running = len(lane.leased) - (1 if released else 0)
    free = lane.concurrency - running
    leased = _next(lane, free, without=withdrawn)
    fact = LaneAdvanced(
        [released] if released else [], [withdrawn] if withdrawn else [], [], leased
    )
    waiting = len(lane.queued) - (1 if withdrawn else 0)
    empty = running == 0 and waiting == 0
    return Decision(
        (fact,), [Send(task, _LEASED) for task in leased], (ClearOpen(),) if empty else ()
    )


def _next(lane: Lane, free: int, without: str = "") -> list[str]:
    """Return the tasks that get the free slots, first in the order of the queue."""
    if free <= 0 or not lane.queue:
        return []
    if free == 1 and lane.queue[0][2] != without:
        return [lane.queue[0][2]]
    stale = len(lane.queue) - len(lane.queued)
    wanted = min(free, LEASES_PER_TURN_MAX)
    entries = nsmallest(wanted + stale + 1, lane.queue)
    valid = [task for _, order, task in entries if lane.queued.get(task) == order]
    return [task for task in valid if task != without][:wanted]


def _declare(lane: Lane, message: DeclareLane) -> Decision:
    same = (lane.concurrency, lane.capacity, lane.overflow) == message[:3]
    facts: list[Any] = [] if same and lane.declared_by else [LaneDeclared(*message)]
    leased = _next(lane, message.concurrency - len(lane.leased))
    if leased:
        facts.append(LaneAdvanced([], [], [], leased))
    sends = [Send(task, _LEASED) for task in leased]
    if len(leased) == LEASES_PER_TURN_MAX:
        sends.append(Send(lane.stream, message))  # more may be free
    return Decision(facts, sends) if facts else NOTHING


def _recheck(lane: Lane, tasks: list[str] | None) -> Decision:
    """Ask some of those that hold slots; all, in messages to the lane itself."""
    if tasks is not None:
        return Decision((), [Send(task, CheckSlot()) for task in tasks if task in lane.leased])
    parts = _batched(list(lane.leased), LEASES_PER_TURN_MAX)
    return Decision((), [Send(lane.stream, RecheckSlots(part)) for part in parts])


def _batched(items: list[str], size: int) -> list[list[str]]:
    """Cut a list into lists of at most `size`."""
    return [items[at : at + size] for at in range(0, len(items), size)]


def _is_final(_lane: Lane) -> bool:
    return False


LANE: Final = Decider(Lane, decide, evolve, _is_final, encode, FORM)
"""The lane as a value."""
