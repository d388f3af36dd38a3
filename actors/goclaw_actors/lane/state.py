"""A lane's state and how facts change it. Every change costs O(log n) of what is queued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

from goclaw_actors.chunked import Chunked
from goclaw_actors.decider import SnapshotForm
from goclaw_actors.lane.control import Control
from goclaw_actors.lane.entry import (
    ASKS_NOTHING,
    ORDER,
    RANK,
    TASK,
    Entry,
    Lease,
    plain_entry,
    plain_lease,
)
from goclaw_actors.lane.kept import restored_shares, shares_root
from goclaw_actors.lane.limits import limits_of
from goclaw_actors.lane.line import Line
from goclaw_actors.lane.shares import Shares
from goclaw_actors.lane.turn import Turn
from goclaw_events.facts import (
    LaneAdvanced,
    LaneControlled,
    LaneDeclared,
    LaneFact,
    LaneRefused,
    SlotKept,
)
from goclaw_events.ids import kept_slot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from goclaw_actors.decider import MapChunks
    from goclaw_events.value import Value

CONCURRENCY_DEFAULT: Final = 16
CAPACITY_DEFAULT: Final = 100_000
DROP_OLDEST: Final = "drop_oldest"
CHUNK_BITS: Final = 10
OLDEST_STEPS_MAX: Final = 1_024
"""A turn brings and leases at most 256."""


class Lane:
    """Who waits and who holds a slot.

    `queue` is who waits in order: by priority, then by order, which counts up for arrivals and
    down for those that come back at the head. `queued` is the same by task, `entries` by order:
    what a snapshot keeps, and makes the two others from.
    `oldest` is an order that nobody who waits came before, of those that did not come back; kept
    up where a full lane drops the oldest.
    `shares` orders who waits in place of `queue`, from when more than slots and capacity are
    limited; then `leased` tells what each task took. The limits are those in force: what is
    declared, under what `control` says was set live.
    """

    __slots__ = (
        "capacity", "concurrency", "control", "declared_by", "entries", "head", "leased", "limits",
        "next", "oldest", "overflow", "queue", "queued", "shares", "stream",
    )  # fmt: skip

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.control = Control()
        self.concurrency = CONCURRENCY_DEFAULT
        self.capacity = CAPACITY_DEFAULT
        self.overflow = "reject"
        self.declared_by = ""
        self.queue = Line()
        self.queued: dict[str, Entry] = {}
        self.entries: Chunked[Entry] = Chunked(CHUNK_BITS)
        self.leased: dict[str, Lease | None] = {}
        self.limits: dict[str, Value] | None = None
        self.shares: Shares | None = None
        self.oldest = 1
        self.next = 1
        self.head = 0


def evolve(lane: Lane, fact: LaneFact) -> Lane:
    """Apply a fact in place."""
    match fact:
        case LaneAdvanced():
            if lane.shares is not None or fact.now_ns:
                _advance_shares(lane, fact)
            else:
                _advance(lane, fact)
            if lane.overflow == DROP_OLDEST:
                _age(lane)
        case LaneDeclared():
            _declare(lane, fact)
        case SlotKept(task, token):
            lane.leased[kept_slot(task, token)] = lane.leased.pop(task)
        case LaneControlled():
            lane.control.change(fact)
            _limit(lane)
        case LaneRefused():
            pass
        case _:
            assert_never(fact)
    return lane


def _advance(lane: Lane, fact: LaneAdvanced) -> None:
    queue, leased = lane.queue, lane.leased
    for task in fact.released:
        del leased[task]
    for task in fact.withdrawn:
        queue.remove(_pop_entry(lane, task))
    for entry in came_of(lane, fact.queued):
        _keep(lane, entry)
        queue.put(entry)
    _count(lane, fact.queued)
    for task in fact.leased:
        queue.remove(_pop_entry(lane, task))
        leased[task] = None


def came_of(lane: Lane, fact_queued: Iterable[Any]) -> Iterator[Entry]:
    """Yield what a turn queues as it will wait, where nothing but slots is limited."""
    head, behind = lane.head, lane.next
    for task, priority, at_head in fact_queued:
        if at_head:
            head -= 1
            yield plain_entry(-priority, head, task)
        else:
            yield plain_entry(-priority, behind, task)
            behind += 1


def _count(lane: Lane, fact_queued: Iterable[Any]) -> None:
    """Note which orders a turn gave away."""
    for queued in fact_queued:
        if queued[2]:
            lane.head -= 1
        else:
            lane.next += 1


def _keep(lane: Lane, entry: Entry) -> None:
    lane.queued[entry[TASK]] = entry
    lane.entries.put(entry[ORDER], entry)


def _pop_entry(lane: Lane, task: str) -> Entry:
    entry = lane.queued.pop(task)
    lane.entries.remove(entry[ORDER])
    return entry


def _age(lane: Lane) -> None:
    """Move on to the oldest who waits, a few steps at a time: each order is passed once."""
    for _ in range(OLDEST_STEPS_MAX):
        if lane.oldest >= lane.next or lane.entries.get(lane.oldest) is not None:
            return
        lane.oldest += 1


def _oldest(lane: Lane) -> int:
    found = lane.entries.least(1)
    return lane.next if found is None else found


def oldest(lane: Lane) -> Iterator[Entry]:
    """Yield who waits in order of arrival, without those who came back."""
    for order in range(lane.oldest, lane.next):
        entry = lane.entries.get(order)
        if entry is not None:
            yield entry


def _declare(lane: Lane, fact: LaneDeclared) -> None:
    lane.overflow, lane.declared_by = fact.overflow, fact.declared_by
    lane.control.declared = fact
    if lane.overflow == DROP_OLDEST:
        lane.oldest = _oldest(lane)
    _limit(lane)


def _limit(lane: Lane) -> None:
    """Have the limits hold that are declared, under those set live."""
    declared = lane.control.declared
    assert declared is not None, "a lane is declared before it is changed"
    lane.concurrency, lane.capacity, limits = lane.control.in_force(declared)
    lane.limits = limits
    if lane.shares is not None:
        lane.shares.ahead = None
        lane.shares.limit(limits_of(limits))
    elif limits is not None:
        _share(lane)


def _share(lane: Lane) -> Shares:
    """Have the lane ordered by shares from now on."""
    shares = lane.shares = shares_of(lane)
    lane.queue = Line()
    return shares


def shares_of(lane: Lane) -> Shares:
    """Return the shares of a lane; new ones, which take over its queue, where it has none."""
    if lane.shares is not None:
        return lane.shares
    return Shares(limits_of(lane.limits)).adopt(lane.queue, len(lane.queued), len(lane.leased))


def entries_of(
    lane: Lane, shares: Shares, fact_queued: Iterable[Any], now_ns: int
) -> Iterator[Entry]:
    """Yield what a turn queues as it will wait: ranks follow from the state before the turn."""
    head, behind, ageing_ns = lane.head, lane.next, shares.limits.ageing_ns
    for queued in fact_queued:
        if queued[2]:
            head -= 1
            yield shares.entry(head, now_ns, queued)
            continue
        task, priority = queued[:2]
        party, key, units, cost = queued[3] if len(queued) > TASK + 1 else ASKS_NOTHING
        rank = now_ns - priority * ageing_ns
        yield rank, behind, task, priority, now_ns, party, key, units, cost
        behind += 1


def turn_of(
    lane: Lane,
    now_ns: int,
    released: Iterable[str],
    withdrawn: Iterable[str],
    queued: Iterable[Any],
) -> Turn:
    """Return a turn of a lane with limits, as far as what comes and goes."""
    shares = shares_of(lane)
    turn = Turn(shares, now_ns)
    leased, waits = lane.leased, lane.queued
    turn.release(leased[task] or plain_lease(task) for task in released)
    turn.leave(waits[task] for task in withdrawn)
    turn.enter(entries_of(lane, shares, queued, now_ns))
    return turn


def _advance_shares(lane: Lane, fact: LaneAdvanced) -> None:
    shares = lane.shares or _share(lane)
    turn, shares.ahead = shares.ahead, None
    if turn is None or turn.fact is not fact:
        turn = turn_of(lane, fact.now_ns, fact.released, fact.withdrawn, fact.queued)
        turn.lend_to(fact.leased, lane.queued)
    stay = turn.apply()
    for task in fact.released:
        del lane.leased[task]
    for task in fact.withdrawn:
        _pop_entry(lane, task)
    for lease in turn.lent:
        task = lease[0][TASK]
        if task in lane.queued:
            _pop_entry(lane, task)
        lane.leased[task] = lease
    for entry in stay:
        _keep(lane, entry)
    _count(lane, fact.queued)
    if fact.tat_ns:
        shares.rate_ns = fact.tat_ns
    shares.wake_ns = fact.wake_ns


def encode(lane: Lane) -> dict[str, Any]:
    """Return the lane as plain data: equal lanes give equal data."""
    waiting = sorted(entry for _, entry in lane.entries.items())
    data = {
        "concurrency": lane.concurrency,
        "capacity": lane.capacity,
        "overflow": lane.overflow,
        "declared_by": lane.declared_by,
        "queued": [[entry[TASK], -entry[RANK], *entry[ORDER:TASK]] for entry in waiting],
        "leased": list(lane.leased),
        "orders": [lane.head, lane.next],
    }
    if lane.control.version:
        data["control"] = lane.control.root()
    if lane.shares is not None:
        data["shares"] = [lane.limits, *shares_root(lane.shares, lane.leased)]
    return data


def _root(lane: Lane) -> Value:
    shares = None if lane.shares is None else shares_root(lane.shares, lane.leased)
    return [
        lane.concurrency, lane.capacity, lane.overflow, lane.declared_by, list(lane.leased),
        lane.next, lane.head, lane.limits, shares, lane.control.root(),
    ]  # fmt: skip


def _maps(lane: Lane) -> tuple[Chunked[Entry]]:
    return (lane.entries,)


def _restore(stream: str, root: Value, maps: MapChunks) -> Lane:
    lane, chunks = Lane(stream), maps.get(0, {})
    (lane.concurrency, lane.capacity, lane.overflow, lane.declared_by, leased, lane.next,
     lane.head, lane.limits, shares, control) = root  # fmt: skip
    lane.control.restore(control)
    lane.leased = dict.fromkeys(leased)
    queued = lane.queued
    for chunk in chunks.values():
        for order, data in chunk.items():
            entry = tuple(data) if len(data) > TASK + 1 else plain_entry(*data)
            chunk[order] = entry
            queued[entry[TASK]] = entry
    lane.entries = Chunked(CHUNK_BITS, chunks)
    lane.oldest = _oldest(lane)
    if shares is None:
        for entry in sorted(queued.values()):
            lane.queue.put(entry)
    else:
        limits = limits_of(lane.limits)
        lane.shares = restored_shares(shares, limits, queued.values(), lane.leased)
    return lane


FORM: Final = SnapshotForm(3, _root, _maps, _restore)
"""How a lane is kept: its limits, who holds a slot, who waits, and what orders them."""
