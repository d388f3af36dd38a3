"""A lane that limits more than slots, modelled a second time: plain lists, counted anew each time.

What the model does not know is the order between tenants; shares have tests of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from goclaw_events.facts import (
    LaneAdvanced,
    LaneControlled,
    LaneDeclared,
    LaneHeld,
    LaneScaled,
    SlotKept,
)
from goclaw_events.ids import kept_slot
from tests.simulation.live_model import Live

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.simulation.history import Entry

CONCURRENCY = 16
LEASES_PER_TURN_MAX = 256
SECOND_NS = 1_000_000_000


class Asked(NamedTuple):
    """A task as it asked; `order` counts arrivals, `head` says that it came back."""

    task: str
    order: int
    head: bool
    priority: int
    party: str
    key: str
    units: Mapping[str, int]
    cost: float


def is_limited(fact: Any) -> bool:
    """Tell whether a lane of which this is said limits more than slots."""
    limits: dict[str, Any] = getattr(fact, "limits", None) or {}
    said = limits.keys() - {"concurrency", "capacity"}
    return bool(said) or any(len(queued) > 3 for queued in getattr(fact, "queued", ()))


def check_limited(stream: str, entries: list[Entry], priorities: Mapping[str, set[int]]) -> None:
    """Check at every position that each lease was within every limit, and that nobody idles."""
    model = _Limited(stream)
    for entry in entries:
        model.live.now_ns = entry.time_ns
        match entry.decoded:
            case LaneAdvanced() as fact:
                for task, priority, *_ in fact.queued:
                    assert priority in priorities[task], f"{stream} takes {task} for {priority}"
                model.advance(fact)
            case SlotKept(task, token):
                model.held[kept_slot(task, token)] = model.held.pop(task)
            case LaneHeld() as fact:
                model.live.apply(fact)
            case LaneDeclared() | LaneControlled() | LaneScaled() as fact:
                model.live.apply(fact)
                model.declare(*model.live.in_force())


class _Limited:
    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.live = Live(stream)
        self.concurrency = CONCURRENCY
        self.limits: dict[str, Any] = {}
        self.waiting: dict[str, Asked] = {}
        self.held: dict[str, Asked] = {}
        self.count = 0
        self.level, self.level_ns = 0.0, 0

    def declare(self, concurrency: int, _capacity: int, limits: dict[str, Any]) -> None:
        """Take in limits; a rate that changes may begin with a burst."""
        if limits.get("rate") != self.limits.get("rate"):
            self.level_ns = 0
        self.concurrency, self.limits = concurrency, limits

    def advance(self, fact: LaneAdvanced) -> None:
        """Apply a turn; each lease has to be allowed when it is its turn."""
        for task in fact.released:
            del self.held[task]
        for task in fact.withdrawn:
            del self.waiting[task]
        self.live.check(fact)
        for task, priority, head, *said in fact.queued:
            assert task not in self.held, f"{self.stream} has {task} twice"
            assert task not in self.waiting, f"{self.stream} has {task} twice"
            self.count += 1
            party, key, units, cost = said[0] if said else ("", "", None, 1.0)
            asked = Asked(task, self.count, head, priority, party, key, units or {}, cost)
            self.waiting[task] = asked
        for task in fact.leased:
            self.lend(self.waiting.pop(task), fact.now_ns)
        if len(fact.leased) < LEASES_PER_TURN_MAX:
            self.check_idle()

    def lend(self, asked: Asked, now_ns: int) -> None:
        """Give a slot to a task, which may have it now."""
        where = f"{self.stream} lends to {asked}"
        assert len(self.held) < self.concurrency, where
        assert self.may(asked), where
        for unit, count in asked.units.items():
            used = sum(other.units.get(unit, 0) for other in self.held.values())
            assert used + count <= self.limits.get("resources", {}).get(unit, 0), where
        for other in self.waiting.values():
            same = (other.party, other.key) == (asked.party, asked.key)
            before = not asked.head and other.order < asked.order
            assert not (same and before and other.priority >= asked.priority), f"{where}: {other}"
            ours = (other.party, other.priority) == (asked.party, asked.priority)
            back = other.head and not asked.head and not asked.key and self.may(other)
            assert not (ours and back), f"{where} before {other}, who came back"
        self.held[asked.task] = asked
        self.spend(asked.cost, now_ns, where)

    def may(self, asked: Asked) -> bool:
        """Tell whether the limits of its key and of its tenant let a task have a slot."""
        ours = [other for other in self.held.values() if other.party == asked.party]
        same = [other for other in ours if other.key == asked.key]
        if asked.key and len(same) >= (self.limits.get("per_key") or 1):
            return False
        return len(ours) < (self.limits.get("per_tenant") or self.concurrency + 1)

    def spend(self, cost: float, now_ns: int, where: str) -> None:
        """Count tokens one by one, as they drop in."""
        if "rate" not in self.limits:
            return
        per_second, burst, kind = self.limits["rate"]
        most = 1.0 if kind == "leaky_bucket" else float(burst)
        if not self.level_ns:
            self.level = most
        else:
            dropped = (now_ns - self.level_ns) / SECOND_NS * per_second
            self.level = min(most, self.level + dropped)
        self.level_ns = now_ns
        needed = most if kind == "leaky_bucket" else min(cost, most)
        assert self.level >= needed - 1e-3, f"{where} with {self.level} tokens"
        self.level -= cost

    def check_idle(self) -> None:
        """Check that nobody waits beside a free slot for nothing."""
        if "rate" in self.limits or len(self.held) >= self.concurrency or self.live.is_paused:
            return
        idle = [asked for asked in self.waiting.values() if self.may(asked)]
        resources = self.limits.get("resources", {})
        for asked in idle:
            for unit, count in asked.units.items():
                used = sum(other.units.get(unit, 0) for other in self.held.values())
                if used + count > resources.get(unit, 0):
                    return  # whoever is next may be the one that waits for units
        assert not idle, f"{self.stream} lets {idle} wait beside a free slot"
