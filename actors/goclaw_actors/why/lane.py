"""What keeps a task in the queue of a lane: every limit that holds it up, and who is before it.

Counted anew from who waits and who holds a slot: the heaps that the lane itself asks are not
looked at, so one can be held against the other.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.lane.control import PAUSED
from goclaw_actors.lane.draft import Draft
from goclaw_actors.lane.entry import COST, KEY, NO_LEASE, PARTY, TASK, UNITS
from goclaw_actors.lane.rates import ready_ns
from goclaw_actors.messages import SlotLeased
from goclaw_actors.why.reason import (
    LANE_BEHIND,
    LANE_HELD,
    LANE_KEY,
    LANE_ORDER,
    LANE_PAUSED,
    LANE_RATE,
    LANE_SHARE,
    LANE_SLOTS,
    LANE_TENANT,
    LANE_UNITS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from goclaw_actors.lane.entry import Entry
    from goclaw_actors.lane.state import Lane

COUNTED_MAX: Final = 10_000
"""In a longer queue it is not counted how many are before a task, unless they are few."""
WALKED_MAX: Final = 1_000


class HeldUp(NamedTuple):
    """One thing that a task waits for. `by`: those who have it; `until_ns` 0: not known."""

    kind: str
    details: dict[str, Any]
    by: tuple[str, ...] = ()
    until_ns: int = 0


def held_up(lane: Lane, task: str, now_ns: int) -> list[HeldUp]:
    """Return everything that keeps a queued task waiting; empty: the lane's next turn lends to it.

    Costs as much as there are slots held, and the queue up to `COUNTED_MAX`.
    """
    entry = lane.queued[task]
    found = [*_of_mode(lane, now_ns), *_of_slots(lane)]
    if lane.shares is not None:
        found += _of_limits(lane, entry, now_ns)
    found += _of_order(lane, entry)
    is_free = len(lane.leased) < lane.control.slots(lane.concurrency, now_ns)
    if is_free and lane.shares is not None:
        found += _of_the_next(lane, task, now_ns)
    return found


def lends_now(lane: Lane, now_ns: int) -> bool:
    """Tell whether the lane would lend one of the slots it has, if it had a turn now."""
    if not lane.queued:
        return False
    slots = lane.control.slots(lane.concurrency, now_ns)
    given = Draft(lane, slots, lane.capacity, now_ns).decision()
    return any(type(send.body) is SlotLeased for send in given.sends)


def wake_ns_of(lane: Lane) -> int:
    """Return when the timer of a lane's rate wakes it (0: it has none)."""
    return 0 if lane.shares is None else lane.shares.wake_ns


def _of_mode(lane: Lane, now_ns: int) -> Iterator[HeldUp]:
    if lane.control.mode == PAUSED:
        yield HeldUp(LANE_PAUSED, {"version": lane.control.version})
    if lane.control.held_ns > now_ns:
        yield HeldUp(LANE_HELD, {}, (), lane.control.held_ns)


def _of_slots(lane: Lane) -> Iterator[HeldUp]:
    if len(lane.leased) >= lane.concurrency:
        details = {"held": len(lane.leased), "concurrency": lane.concurrency}
        yield HeldUp(LANE_SLOTS, details, tuple(lane.leased))


def _of_limits(lane: Lane, entry: Entry, now_ns: int) -> Iterator[HeldUp]:
    assert lane.shares is not None, "only a lane with limits is asked for them"
    limits = lane.shares.limits
    party, key, cost = entry[PARTY], entry[KEY], entry[COST]
    ours = _held_by(lane, lambda held: held[PARTY] == party)
    same = [slot for slot in ours if _held(lane, slot)[KEY] == key]
    if key and len(same) >= limits.per_key:
        yield HeldUp(LANE_KEY, {"key": key, "per_key": limits.per_key}, tuple(same))
    if limits.per_tenant and len(ours) >= limits.per_tenant:
        details = {limits.fair_by: party, "per_tenant": limits.per_tenant}
        yield HeldUp(LANE_TENANT, details, tuple(ours))
    for unit, count in sorted((entry[UNITS] or {}).items()):
        yield from _of_units(lane, unit, count, limits.resources.get(unit, 0))
    if limits.rate is not None:
        due_ns = ready_ns(limits.rate, lane.shares.rate_ns, cost)
        if due_ns > now_ns:
            told = {"per_second": limits.rate.per_second, "cost": cost}
            yield HeldUp(LANE_RATE, told, (), due_ns)


def _of_units(lane: Lane, unit: str, count: int, there: int) -> Iterator[HeldUp]:
    takers = _held_by(lane, lambda held: unit in (held[UNITS] or {}))
    used = sum(_held(lane, slot)[UNITS][unit] for slot in takers)
    if used + count > there:
        details = {"unit": unit, "asked": count, "used": used, "units": there}
        yield HeldUp(LANE_UNITS, details, tuple(takers))


def _held(lane: Lane, slot: str) -> Entry:
    """Return what whoever holds a slot had asked for."""
    return (lane.leased[slot] or NO_LEASE)[0]


def _held_by(lane: Lane, wanted: Callable[[Entry], bool]) -> list[str]:
    return [slot for slot in lane.leased if wanted(_held(lane, slot))]


def _of_order(lane: Lane, entry: Entry) -> Iterator[HeldUp]:
    """Say how many are before a task: of all, or where shares decide, of its own party."""
    if lane.shares is None:
        ahead = _ahead(lane, entry)
    else:
        party = entry[PARTY]
        parties = lane.shares.parties
        tag = parties[party].tag
        first = sorted(each.name for each in parties.values() if each.alive and each.tag < tag)
        if first:
            details = {"fair_by": lane.shares.limits.fair_by, "parties": first[:WALKED_MAX]}
            yield HeldUp(LANE_SHARE, details)
        ahead = _ahead(lane, entry, party)
    if ahead is None:
        yield HeldUp(LANE_ORDER, {"ahead": None, "queued": len(lane.queued)})
    elif ahead:
        yield HeldUp(LANE_ORDER, {"ahead": ahead, "queued": len(lane.queued)})


def _ahead(lane: Lane, entry: Entry, party: str | None = None) -> int | None:
    """Count those before an entry (of its party); None: there are too many to count."""
    if len(lane.queued) <= COUNTED_MAX:
        before = (other for other in lane.queued.values() if other < entry)
        return sum(1 for other in before if party is None or other[PARTY] == party)
    if lane.shares is None:
        for at, other in enumerate(islice(lane.queue, WALKED_MAX)):
            if other[TASK] == entry[TASK]:
                return at
    return None


def _of_the_next(lane: Lane, task: str, now_ns: int) -> Iterator[HeldUp]:
    """Name whoever is next, if a slot is free and it is not the task that keeps it."""
    draft = Draft(lane, lane.concurrency, lane.capacity, now_ns)
    draft.picks()
    if draft.held_up not in ("", task):
        yield HeldUp(LANE_BEHIND, {}, (draft.held_up,))
