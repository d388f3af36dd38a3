"""What a lane decides: priority first, then arrival; never more slots than its concurrency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.adjusting import LeaveQueue, Rerank
from goclaw_actors.decider import NOTHING, Decider, Decision, Moment, Pool, Send
from goclaw_actors.lane.control import control
from goclaw_actors.lane.draft import LEASES_PER_TURN_MAX, Draft
from goclaw_actors.lane.room import RoomDraft
from goclaw_actors.lane.scaling import SCALE, Load, scaled
from goclaw_actors.lane.state import FORM, Lane, encode, evolve
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
from goclaw_actors.messages import CheckSlot, SlotLeased, TimerFired
from goclaw_events.facts import SlotKept
from goclaw_events.ids import keeper_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def decide(lane: Lane, message: Any, moment: Moment) -> Decision:  # noqa: PLR0911 - one case a message
    """Answer a message; see the table in docs/reference/states.md."""
    match message:
        case (
            Enqueue() | Release() | Defer() | Withdraw() | TimerFired()
            | WaitForRoom() | LeaveRoom() | ReturnRoom() | Rerank() | LeaveQueue()
        ):  # fmt: skip
            return decide_together(lane, (message,), moment)
        case LendFree():
            return _lend(lane, (lane.concurrency, lane.capacity), moment)
        case DeclareLane():
            return _declare(lane, message, moment)
        case KeepSlot(task, token):
            return Decision((SlotKept(task, token),)) if task in lane.leased else NOTHING
        case ControlLane():
            return control(lane.stream, lane.control, message, moment.now_ns, len(lane.queued))
        case RecheckSlots(tasks):
            return _recheck(lane, tasks)
        case RefuseWaiting():
            return NOTHING  # it can be read again
        case _:
            msg = f"a lane does not understand {type(message).__name__}"
            raise TypeError(msg)


def decide_together(lane: Lane, messages: Sequence[Any], moment: Moment) -> Decision:
    """Answer what came and went as one: slots are given when all of it is known."""
    draft = Draft(lane, lane.concurrency, lane.capacity, moment.now_ns)
    draft.take(messages)
    if lane.control.scaling.scale is None:
        return draft.decision()
    fired = any(type(message) is TimerFired and message.id == SCALE for message in messages)
    return _scale(lane, draft, moment, fired=fired)


def _scale(lane: Lane, draft: Draft, moment: Moment, *, fired: bool = False) -> Decision:
    """Answer, and have as many slots as it takes from then on."""
    decision = draft.decision()
    leased = sum(type(send.body) is SlotLeased for send in decision.sends)
    waiting = draft.waiting - leased if draft.concurrency else 0  # more slots would not help
    load = Load(waiting, len(lane.leased) - len(draft.released) + leased)
    scaling = lane.control.scaling
    fact, timers = scaled(scaling, lane.concurrency, load, moment.now_ns, fired=fired)
    if fact is None:
        return decision
    sends, effects = decision.sends, (*decision.effects, *timers)
    if fact.concurrency > lane.concurrency:
        sends = [*sends, Send(lane.stream, LendFree())]
    return Decision((*decision.facts, fact), sends, effects)


def _declare(lane: Lane, message: DeclareLane, moment: Moment) -> Decision:
    fact = lane.control.declares(message)
    if fact is None:
        return _lend(lane, (lane.concurrency, lane.capacity), moment)
    limits = lane.control.in_force(fact)
    if lane.limits != limits.limits:
        # who goes next follows from the new limits once they are the lane's
        cleared = lane.control.rescaled(limits)
        return Decision((fact,), (Send(lane.stream, LendFree()),), cleared)
    given = _lend(lane, limits[:2], moment)
    return given._replace(facts=(fact, *given.facts))


def _lend(lane: Lane, in_force: tuple[int, int], moment: Moment) -> Decision:
    """Lend what is free, and go on in another turn if that is too much for one.

    `in_force`: slots and capacity of the lane, or those that are being declared.
    """
    draft = Draft(lane, *in_force, moment.now_ns)
    scales = lane.control.scaling.scale is not None
    given = _scale(lane, draft, moment) if scales else draft.decision()
    if sum(type(send.body) is SlotLeased for send in given.sends) < LEASES_PER_TURN_MAX:
        return given
    return given._replace(sends=[*given.sends, Send(lane.stream, LendFree())])


def _recheck(lane: Lane, tasks: list[str] | None) -> Decision:
    """Ask some of those that hold slots; all, in messages to the lane itself."""
    if tasks is not None:
        held = (keeper_of(slot) for slot in tasks if slot in lane.leased)
        lane_id = lane.stream.partition("/")[2]
        return Decision((), [Send(task, CheckSlot(token, lane_id)) for task, token in held])
    room = RoomDraft(lane.room)
    room.use_all()
    kept_no_more = room.fact()
    parts = _batched(list(lane.leased), LEASES_PER_TURN_MAX)
    sends = [Send(lane.stream, RecheckSlots(part)) for part in parts]
    if kept_no_more is None:
        return Decision((), sends)
    return Decision((kept_no_more,), [*sends, Send(lane.stream, LendFree())])


def _batched(items: list[str], size: int) -> list[list[str]]:
    """Cut a list into lists of at most `size`."""
    return [items[at : at + size] for at in range(0, len(items), size)]


def _is_final(_lane: Lane) -> bool:
    return False


def _version(lane: Lane) -> int | None:
    return None if lane.control.declared is None else lane.control.version


LANE: Final = Decider(
    Lane,
    decide,
    evolve,
    _is_final,
    encode,
    FORM,
    Pool(
        frozenset(
            {Enqueue, Release, Defer, Withdraw, WaitForRoom, LeaveRoom, ReturnRoom, Rerank}
            | {LeaveQueue}
        ),
        decide_together,
        LEASES_PER_TURN_MAX,
    ),
    _version,
)
"""The lane as a value. A turn takes in at most as many messages as it may lease slots, so no slot
stays free while a task waits."""
