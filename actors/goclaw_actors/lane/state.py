"""A lane's state and how facts change it. Every change costs O(log n) of what is queued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

from goclaw_actors.chunked import Chunked
from goclaw_actors.decider import SnapshotForm
from goclaw_actors.lane.control import Control
from goclaw_actors.lane.entry import (
    ARRIVAL_NS,
    ASKS_NOTHING,
    ORDER,
    PRIORITY,
    TASK,
    Entry,
    Lease,
    plain_entry,
)
from goclaw_actors.lane.kept import restore_shares, shares_root
from goclaw_actors.lane.levels import Levels
from goclaw_actors.lane.limits import AGEING_NS_DEFAULT, limits_of
from goclaw_actors.lane.room import Room, restored_room, room_root
from goclaw_actors.lane.scaling import Load
from goclaw_actors.lane.shares import Shares
from goclaw_actors.lane.turn import Turn
from goclaw_events.facts import (
    WAITERS_MAX_DEFAULT,
    LaneAdvanced,
    LaneControlled,
    LaneDeclared,
    LaneFact,
    LaneHeld,
    LaneRedirected,
    LaneRefused,
    LaneRoomChanged,
    LaneScaled,
    SlotKept,
)
from goclaw_events.ids import kept_slot

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from goclaw_actors.decider import MapChunks
    from goclaw_events.value import Value

CONCURRENCY_DEFAULT: Final = 16
CAPACITY_DEFAULT: Final = 100_000
DROP_OLDEST: Final = "drop_oldest"
ASKS: Final = 3
"""The place in what a fact queues where it says what more than a slot a task asks for, if so."""
CHUNK_BITS: Final = 10
OLDEST_STEPS_MAX: Final = 1_024
"""A turn brings and leases at most 256."""


class Lane:
    """Who waits and who holds a slot.

    `queue` is who waits in order: by arrival less so much for each level of priority, then by
    order, which counts up for arrivals and down for those that come back at the head; `served`
    is the arrival of the last task leased of each priority. `queued` is who waits by task,
    `entries` by order: what a snapshot keeps, and makes the two others from.
    `oldest` is an order that nobody who waits came before, of those that did not come back; kept
    up where a full lane drops the oldest.
    `room`: the runs that wait for room in the queue, and what of it is kept for them.
    `shares` orders who waits in place of `queue`, from when more than slots and capacity are
    limited; then `leased` tells what each task took. The limits are those in force: what is
    declared, under what `control` says was set live.
    """

    __slots__ = (
        "capacity", "concurrency", "control", "declared_by", "entries", "head", "leased", "limits",
        "next", "oldest", "overflow", "queue", "queued", "redirect_to", "room", "served", "shares",
        "stream", "waiters_max",
    )  # fmt: skip

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.control = Control()
        self.concurrency = CONCURRENCY_DEFAULT
        self.capacity = CAPACITY_DEFAULT
        self.overflow = "reject"
        self.redirect_to = ""
        self.waiters_max = WAITERS_MAX_DEFAULT
        self.room = Room()
        self.declared_by = ""
        self.queue = Levels()
        self.queued: dict[str, Entry] = {}
        self.entries: Chunked[Entry] = Chunked(CHUNK_BITS)
        self.leased: dict[str, Lease | None] = {}
        self.limits: dict[str, Value] | None = None
        self.served: dict[int, int] = {}
        self.shares: Shares | None = None
        self.oldest = 1
        self.next = 1
        self.head = 0


def evolve(lane: Lane, fact: LaneFact) -> Lane:  # noqa: PLR0912 - one case a fact
    """Apply a fact in place."""
    match fact:
        case LaneAdvanced():
            if lane.shares is not None or _asks_more(fact):
                _advance_shares(lane, fact)
            else:
                _advance(lane, fact)
            if lane.overflow == DROP_OLDEST:
                _age(lane)
            if lane.control.scaling.scale is not None:
                load = Load(len(lane.queued), len(lane.leased))
                lane.control.scaling.count(lane.concurrency, load, fact.now_ns)
        case LaneDeclared():
            _declare(lane, fact)
        case SlotKept(task, token):
            lane.leased[kept_slot(task, token)] = lane.leased.pop(task)
        case LaneScaled():
            lane.control.scaling.apply(fact)
            lane.concurrency = fact.concurrency
        case LaneHeld(until_ns):
            lane.control.held_ns = until_ns
        case LaneControlled():
            lane.control.change(fact)
            _limit(lane)
        case LaneRefused() | LaneRedirected():
            pass
        case LaneRoomChanged():
            lane.room.apply(fact)
        case _:
            assert_never(fact)
    return lane


def _advance(lane: Lane, fact: LaneAdvanced) -> None:
    queue, served = lane.queue, lane.served
    _give_back(lane, fact.released)
    for entry in _pop(lane, fact.withdrawn):
        queue.remove(entry)
    came = {entry[TASK]: entry for entry in came_of(lane, fact.queued, fact.now_ns)}
    _count(lane, fact.queued)
    # who gets a slot in the turn in which it comes never waits
    at_once = {task: came.pop(task) for task in fact.leased if task in came}
    waited = _pop(lane, [task for task in fact.leased if task not in at_once])
    if waited:
        queue.remove_all(waited)
    for entry in came.values():
        queue.put(entry)
    _keep(lane, came.values())
    following = iter(waited)
    for task in fact.leased:
        entry = at_once.get(task) or next(following)
        if entry[ARRIVAL_NS]:
            served[entry[PRIORITY]] = entry[ARRIVAL_NS]
    lane.leased.update(dict.fromkeys(fact.leased))


def _asks_more(fact: LaneAdvanced) -> bool:
    """Tell whether a task came that asks for more than a slot."""
    return bool(fact.queued) and max(map(len, fact.queued)) > ASKS


def came_of(lane: Lane, fact_queued: Iterable[Any], now_ns: int) -> Iterator[Entry]:
    """Yield what a turn queues as it will wait, where nothing but slots is limited.

    Who comes back arrives with the last that was leased of its priority: before all that wait.
    Where the log does not tell when a turn was (0, in 0.1.0), priority alone counts.
    """
    head, behind, served, ageing_ns = lane.head, lane.next, lane.served, AGEING_NS_DEFAULT
    for task, priority, at_head in fact_queued:
        if at_head:
            head -= 1
            came_ns = min(now_ns, served.get(priority, now_ns))
            yield plain_entry(came_ns - priority * ageing_ns, head, task, priority, came_ns)
        else:
            yield plain_entry(now_ns - priority * ageing_ns, behind, task, priority, now_ns)
            behind += 1


def _count(lane: Lane, fact_queued: Iterable[Any]) -> None:
    """Note which orders a turn gave away."""
    for queued in fact_queued:
        if queued[2]:
            lane.head -= 1
        else:
            lane.next += 1


def _give_back(lane: Lane, tasks: Iterable[str]) -> None:
    """Have slots taken back."""
    leased = lane.leased
    for task in tasks:
        del leased[task]


def _keep(lane: Lane, entries: Collection[Entry]) -> None:
    """Have tasks wait."""
    lane.queued.update([(entry[TASK], entry) for entry in entries])
    lane.entries.put_all([entry[ORDER] for entry in entries], entries)


def _pop(lane: Lane, tasks: Iterable[str]) -> list[Entry]:
    """Have tasks wait no more; return what they were."""
    entries = list(map(lane.queued.pop, tasks))
    lane.entries.remove_all([entry[ORDER] for entry in entries])
    return entries


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
    lane.redirect_to, lane.waiters_max = fact.redirect_to, fact.waiters_max
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
    lane.control.scaling.limit(limits)
    ageing_ns = AGEING_NS_DEFAULT if lane.shares is None else lane.shares.limits.ageing_ns
    if lane.shares is not None:
        lane.shares.ahead = None
        lane.shares.limit(limits_of(limits))
    elif limits is not None:
        _share(lane)
    if lane.shares is not None and lane.shares.limits.ageing_ns != ageing_ns:
        _rank_anew(lane, lane.shares)


def _rank_anew(lane: Lane, shares: Shares) -> None:
    """Have the ageing hold for who waits already, so that all ranks compare. Looks at everyone."""
    ageing_ns, queued = shares.limits.ageing_ns, lane.queued
    for task, entry in queued.items():
        rank = entry[ARRIVAL_NS] - entry[PRIORITY] * ageing_ns
        queued[task] = ranked = (rank, *entry[ORDER:])
        lane.entries.put(ranked[ORDER], ranked)
    shares.line_up(queued.values())


def _share(lane: Lane) -> Shares:
    """Have the lane ordered by shares from now on."""
    shares = lane.shares = shares_of(lane)
    lane.queue = Levels()
    return shares


def shares_of(lane: Lane) -> Shares:
    """Return the shares of a lane; new ones, which take over its queue, where it has none."""
    if lane.shares is not None:
        return lane.shares
    shares = Shares(limits_of(lane.limits), lane.served)
    return shares.adopt(lane.queue, len(lane.queued), len(lane.leased))


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
        party, key, units, cost = queued[ASKS] if len(queued) > ASKS else ASKS_NOTHING
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
    turn.release(map(leased.__getitem__, released))
    turn.leave(map(waits.__getitem__, withdrawn))
    turn.enter(entries_of(lane, shares, queued, now_ns))
    return turn


def _advance_shares(lane: Lane, fact: LaneAdvanced) -> None:
    shares = lane.shares or _share(lane)
    turn, shares.ahead = shares.ahead, None
    if turn is None or turn.fact is not fact:
        turn = turn_of(lane, fact.now_ns, fact.released, fact.withdrawn, fact.queued)
        turn.lend_to(fact.leased, lane.queued)
    turn.apply()
    _give_back(lane, fact.released)
    _pop(lane, fact.withdrawn)
    _pop(lane, [entry[TASK] for entry in turn.served])
    lane.leased.update(zip(fact.leased, turn.lent, strict=True))
    _keep(lane, turn.stay)
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
        "queued": [[entry[TASK], entry[PRIORITY], entry[ORDER]] for entry in waiting],
        "leased": list(lane.leased),
        "orders": [lane.head, lane.next],
        "served": sorted(lane.served.items()),
    }
    if lane.control.version or lane.control.held_ns or lane.control.scaling.slots:
        data["control"] = lane.control.root()
    if lane.shares is not None:
        data["shares"] = [lane.limits, *shares_root(lane.shares, lane.leased)]
    if lane.overflow in ("block", "redirect"):
        data["full"] = [lane.redirect_to, lane.waiters_max]
    if lane.room.waiters or lane.room.kept:
        data["room"] = room_root(lane.room)
    return data


def _root(lane: Lane) -> Value:
    shares = None if lane.shares is None else shares_root(lane.shares, lane.leased)
    return [
        lane.concurrency, lane.capacity, lane.overflow, lane.declared_by, list(lane.leased),
        lane.next, lane.head, lane.limits, shares, lane.control.root(), list(lane.served.items()),
        lane.redirect_to, lane.waiters_max, room_root(lane.room),
    ]  # fmt: skip


def _maps(lane: Lane) -> tuple[Chunked[Entry]]:
    return (lane.entries,)


def _restore(stream: str, root: Value, maps: MapChunks) -> Lane:
    lane, chunks = Lane(stream), maps.get(0, {})
    (lane.concurrency, lane.capacity, lane.overflow, lane.declared_by, leased, lane.next,
     lane.head, lane.limits, shares, control, served, lane.redirect_to, lane.waiters_max,
     room) = root  # fmt: skip
    lane.served = dict(served)
    lane.control.restore(control)
    lane.room = restored_room(room)
    lane.leased = dict.fromkeys(leased)
    queued = lane.queued
    for chunk in chunks.values():
        for order, data in chunk.items():
            entry = chunk[order] = tuple(data)
            queued[entry[TASK]] = entry
    lane.entries = Chunked(CHUNK_BITS, chunks)
    lane.oldest = _oldest(lane)
    if shares is None:
        for entry in sorted(queued.values()):
            lane.queue.put(entry)
    else:
        limits = limits_of(lane.limits)
        lane.shares = Shares(limits, lane.served)
        restore_shares(lane.shares, shares, queued.values(), lane.leased)
    return lane


FORM: Final = SnapshotForm(7, _root, _maps, _restore)
"""How a lane is kept: its limits, who holds a slot, who waits, and what orders them."""
