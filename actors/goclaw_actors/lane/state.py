"""A lane's state and how facts change it. Every change costs O(log n) of what is queued."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never

from goclaw_actors.chunked import Chunked
from goclaw_actors.decider import SnapshotForm
from goclaw_actors.lane.sweep import sweep
from goclaw_events.facts import LaneAdvanced, LaneDeclared, LaneFact, LaneRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_actors.decider import MapChunks
    from goclaw_events.value import Value

Entry: TypeAlias = tuple[int, int, str]
"""A task that waits: (-priority, order, task)."""


CONCURRENCY_DEFAULT: Final = 16
CAPACITY_DEFAULT: Final = 100_000
CHUNK_BITS: Final = 10


class Lane:
    """Who waits and who holds a slot.

    `queue` is a heap of (-priority, order, task); an entry whose task is not in `queued` with
    the same order was withdrawn; they are swept out once they are more than half. The top
    of the heap is never a withdrawn one. Order counts up
    for arrivals and down for those that come back at the head. `entries` holds those of the heap
    that were not withdrawn, by order: what a snapshot keeps, and makes the two others from.
    """

    __slots__ = (
        "capacity", "concurrency", "declared_by", "entries", "head", "leased", "next", "overflow",
        "queue", "queued", "stream",
    )  # fmt: skip

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.concurrency = CONCURRENCY_DEFAULT
        self.capacity = CAPACITY_DEFAULT
        self.overflow = "reject"
        self.declared_by = ""
        self.queue: list[Entry] = []
        self.queued: dict[str, int] = {}
        self.entries: Chunked[Entry] = Chunked(CHUNK_BITS)
        self.leased: dict[str, None] = {}
        self.next = 1
        self.head = 0


def evolve(lane: Lane, fact: LaneFact) -> Lane:
    """Apply a fact in place."""
    match fact:
        case LaneAdvanced():
            _advance(lane, fact)
        case LaneDeclared(concurrency, capacity, overflow, declared_by):
            lane.concurrency = concurrency
            lane.capacity = capacity
            lane.overflow = overflow
            lane.declared_by = declared_by
        case LaneRefused():
            pass
        case _:
            assert_never(fact)
    return lane


def _advance(lane: Lane, fact: LaneAdvanced) -> None:
    for task in fact.released:
        del lane.leased[task]
    for task in fact.withdrawn:
        order = lane.queued.pop(task)
        lane.entries.remove(order)
        sweep(lane.queue, lane.queued, order)
    if fact.withdrawn:
        _clean_top(lane)
    for task, priority, at_head in fact.queued:
        if at_head:
            lane.head -= 1
            order = lane.head
        else:
            order = lane.next
            lane.next += 1
        entry = (-priority, order, task)
        lane.queued[task] = order
        lane.entries.put(order, entry)
        heappush(lane.queue, entry)
    for task in fact.leased:
        lane.entries.remove(lane.queued.pop(task))
        heappop(lane.queue)
        lane.leased[task] = None
        _clean_top(lane)


def _clean_top(lane: Lane) -> None:
    queue, queued = lane.queue, lane.queued
    while queue and queued.get(queue[0][2]) != queue[0][1]:
        heappop(queue)


def waiting(lane: Lane) -> Iterator[Entry]:
    """Yield who waits, first to be leased first; an entry costs O(log n) of those before it."""
    queue, queued = lane.queue, lane.queued
    frontier = [(entry, 0) for entry in queue[:1]]
    while frontier:
        entry, at = heappop(frontier)
        below = 2 * at + 1
        for child, place in enumerate(queue[below : below + 2], below):
            heappush(frontier, (place, child))
        if queued.get(entry[2]) == entry[1]:
            yield entry


def encode(lane: Lane) -> dict[str, Any]:
    """Return the lane as plain data: equal lanes give equal data."""
    waiting = sorted(entry for entry in lane.queue if lane.queued.get(entry[2]) == entry[1])
    return {
        "concurrency": lane.concurrency,
        "capacity": lane.capacity,
        "overflow": lane.overflow,
        "declared_by": lane.declared_by,
        "queued": [[task, -priority, order] for priority, order, task in waiting],
        "leased": list(lane.leased),
        "orders": [lane.head, lane.next],
    }


def _root(lane: Lane) -> Value:
    return [
        lane.concurrency, lane.capacity, lane.overflow, lane.declared_by, list(lane.leased),
        lane.next, lane.head,
    ]  # fmt: skip


def _maps(lane: Lane) -> tuple[Chunked[Entry]]:
    return (lane.entries,)


def _restore(stream: str, root: Value, maps: MapChunks) -> Lane:
    lane, chunks = Lane(stream), maps.get(0, {})
    (lane.concurrency, lane.capacity, lane.overflow, lane.declared_by, leased, lane.next,
     lane.head) = root  # fmt: skip
    lane.leased = dict.fromkeys(leased)
    queue, queued = lane.queue, lane.queued
    for chunk in chunks.values():
        for order, (priority, _, task) in chunk.items():
            entry = (priority, order, task)
            chunk[order] = entry
            queued[task] = order
            queue.append(entry)
    heapify(queue)
    lane.entries = Chunked(CHUNK_BITS, chunks)
    return lane


FORM: Final = SnapshotForm(1, _root, _maps, _restore)
"""How a lane is kept: its limits, who holds a slot, and who waits."""
