"""A lane, modelled a second time and in the plainest way: a sorted list and a set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_events.facts import LaneAdvanced, LaneControlled, LaneDeclared, LaneHeld, SlotKept
from goclaw_events.ids import kept_slot
from tests.simulation.limits_model import check_limited, is_limited
from tests.simulation.live_model import Live
from tests.simulation.room_model import check_room

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.simulation.history import Entry

CONCURRENCY = 16
AGEING_NS = 60_000_000_000


def check_lane(stream: str, entries: list[Entry], priorities: Mapping[str, set[int]]) -> None:
    """Check limits at every position, the order of leases, and that no slot idles.

    `priorities` are those that tasks ever had, by their streams, as their own facts have them.
    """
    check_room(stream, entries)
    if any(is_limited(entry.decoded) for entry in entries):
        check_limited(stream, entries, priorities)
        return
    model = _Model(stream)
    for at, entry in enumerate(entries):
        model.live.now_ns = entry.time_ns
        match entry.decoded:
            case LaneAdvanced() as fact:
                for task, priority, _ in fact.queued:
                    assert priority in priorities[task], f"{stream} takes {task} for {priority}"
                model.advance(fact)
            case SlotKept(task, token):
                model.leased.remove(task)
                model.leased.add(kept_slot(task, token))
                continue  # nothing is free that was not; a pause may end before the lane hears it
            case LaneHeld() as fact:
                model.live.apply(fact)
                continue  # what is free is lent in the rest of the turn, or in one that follows
            case LaneControlled() as fact:
                model.live.apply(fact)
                model.concurrency, _, _ = model.live.in_force()
                continue  # what is free is lent in a turn that follows
            case LaneDeclared() as fact:
                model.live.apply(fact)
                model.concurrency, _, _ = model.live.in_force()
                following = entries[at + 1] if at + 1 < len(entries) else None
                if following is not None and following.cause == entry.cause:
                    continue  # the same turn goes on
        model.check(entry.number)


class _Model:
    """Who waits, as (arrival less priority in minutes, order, task), and who holds a slot."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.live = Live(stream)
        self.concurrency = CONCURRENCY
        self.queue: list[tuple[int, int, str]] = []
        self.leased: set[str] = set()
        self.arrived = 0
        self.returned = 0
        self.came: dict[str, tuple[int, int]] = {}
        self.served: dict[int, int] = {}

    def advance(self, fact: LaneAdvanced) -> None:
        """Apply a turn of the lane, and check that it was allowed."""
        self.live.check(fact)
        for task in fact.released:
            self.leased.remove(task)
        for task in fact.withdrawn:
            self.queue = [entry for entry in self.queue if entry[2] != task]
        for task, priority, at_head in fact.queued:
            known = self.leased | {entry[2] for entry in self.queue}
            assert task not in known, f"{self.stream} has {task} twice"
            if at_head:
                self.returned -= 1
            else:
                self.arrived += 1
            order = self.returned if at_head else self.arrived
            came_ns = fact.now_ns
            if at_head:
                came_ns = min(came_ns, self.served.get(priority, came_ns))
            self.came[task] = priority, came_ns
            self.queue.append((came_ns - priority * AGEING_NS, order, task))
        self.queue.sort()
        first = [entry[2] for entry in self.queue[: len(fact.leased)]]
        assert fact.leased == first, f"{self.stream} lends to {fact.leased} before {first}"
        self.served.update(self.came[task] for task in fact.leased)
        if fact.leased:
            self.queue = self.queue[len(fact.leased) :]
            self.leased |= set(fact.leased)
            lent = len(self.leased)
            assert lent <= self.concurrency, f"{self.stream} lends {lent} of {self.concurrency}"

    def check(self, number: int) -> None:
        """Check that nobody waits beside a free slot."""
        idle = self.queue and len(self.leased) < self.concurrency and not self.live.is_paused
        assert not idle, f"{self.stream} lets tasks wait beside a free slot at {number}"
