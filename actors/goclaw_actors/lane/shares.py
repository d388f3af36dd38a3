"""Who goes next in a lane that limits more than slots: parties by share, tasks by age.

Between parties: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996; ADR 0010). A lease
starts at its party's tag, and is charged in advance with how long the party's tasks hold a slot;
when the slot comes back, the charge becomes the time that was taken. So what runs is counted.
Within a party the lowest rank goes first: its arrival, less so much for each level of priority;
that order does not change while time goes on. Everything here is changed by facts only and costs
O(log n), but a change of limits, which looks at every key.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.lane.entry import (
    ARRIVAL_NS,
    ASKS_NOTHING,
    COST,
    KEY,
    PARTY,
    PRIORITY,
    RANK,
    UNITS,
    Entry,
    Lease,
)
from goclaw_actors.lane.flows import Party

if TYPE_CHECKING:
    from goclaw_actors.lane.limits import Limits
    from goclaw_actors.lane.line import Line

MEAN_S_FIRST: Final = 1.0
"""How long a task is taken to hold a slot before any did."""
LEARNING: Final = 0.125
"""Weight of the newest in the moving mean."""
STALE_MIN: Final = 64
"""So many entries of a heap may be out of date, besides as many as there are others."""


class Shares:
    """The order of a lane.

    `virtual` is the tag of the last lease, `turns` counts leases, `used` are units in use,
    `served` the arrival of the last task leased of each priority, `rate_ns` the rate's state,
    `wake_ns` the timer that is set for it.
    `ready` is a heap of (tag, turn, party); `idle` one of (tag, party) with nothing to do.
    """

    __slots__ = (
        "_touched", "idle", "limits", "mean_s", "parties", "rate_ns", "ready", "served", "turns",
        "used", "virtual", "wake_ns",
    )  # fmt: skip

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.mean_s = MEAN_S_FIRST
        self.parties: dict[str, Party] = {}
        self.ready: list[tuple[float, int, str]] = []
        self.idle: list[tuple[float, str]] = []
        self.served: dict[int, int] = {}
        self.used: dict[str, int] = {}
        self.rate_ns = 0
        self._touched: dict[str, Party] = {}
        self.turns = 0
        self.virtual = 0.0
        self.wake_ns = 0

    def adopt(self, line: Line, waiting: int, running: int) -> Shares:
        """Take over a lane that limited nothing but slots: its line is a party's. O(1)."""
        if waiting or running:
            party = self._party("")
            party.line, party.alive, party.running = line, waiting, running
            self._list(party)
        return self

    def entry(self, order: int, now_ns: int, queued: tuple[Any, ...]) -> Entry:
        """Return what will wait for an entry of a fact, before it waits."""
        task, priority, at_head, *said = queued
        asks = said[0] if said else ASKS_NOTHING
        arrival_ns = now_ns
        if at_head:
            arrival_ns = min(now_ns, self._head_ns(priority, asks[0], asks[1]))
        rank = arrival_ns - priority * self.limits.ageing_ns
        return (rank, order, task, priority, arrival_ns, *asks)

    def _head_ns(self, priority: int, name: str, key: str) -> int:
        """Return an arrival that nobody of the priority who waits in a party was before."""
        found_ns = self.served.get(priority, 2**63)
        party = self.parties.get(name)
        if party is None:
            return found_ns
        flow = party.flows.get(key)
        for line in (party.line, flow.parked if flow is not None else None):
            first = line.first() if line is not None else None
            if first is not None:
                first_ns = first[RANK] + priority * self.limits.ageing_ns
                found_ns = min(found_ns, first_ns + (first[PRIORITY] != priority))
        return found_ns

    def enter(self, entry: Entry) -> None:
        """Let a task wait."""
        name = entry[PARTY]
        party = self.parties.get(name)
        if party is None:
            party = self._party(name)
        if not party.alive:
            party.tag = max(party.tag, self.virtual)
        party.enter(entry, self.limits.per_key)
        self._touched[name] = party

    def leave(self, entry: Entry) -> None:
        """Take out a task that waited."""
        party = self._touched[entry[PARTY]] = self.parties[entry[PARTY]]
        party.leave(entry, self.limits.per_key)

    def lend(self, entry: Entry, now_ns: int) -> Lease:
        """Give a slot to a task that waited."""
        party = self._touched[entry[PARTY]] = self.parties[entry[PARTY]]
        party.lend(entry)
        self.turns += 1
        party.turn = self.turns
        tag = party.tag
        self.virtual = max(self.virtual, tag)
        charge = party.mean_s * entry[COST] / party.weight
        party.tag = tag + charge
        if entry[ARRIVAL_NS]:
            self.served[entry[PRIORITY]] = entry[ARRIVAL_NS]
        if units := entry[UNITS]:
            self._use(units)
        return entry, now_ns, charge

    def _use(self, units: dict[str, int]) -> None:
        used = self.used
        for unit, count in units.items():
            used[unit] = used.get(unit, 0) + count

    def hold(self, lease: Lease) -> None:
        """Count a task that holds a slot already."""
        entry = lease[0]
        self.parties[entry[PARTY]].hold(entry[KEY])
        self._use(entry[UNITS] or {})

    def take_back(self, lease: Lease, now_ns: int) -> None:
        """Take a slot back: its party pays for the time it was held."""
        entry, since_ns, charge = lease
        party = self._touched[entry[PARTY]] = self.parties[entry[PARTY]]
        if since_ns:
            held_s = max(0, now_ns - since_ns) / 1e9
            party.mean_s += (held_s - party.mean_s) * LEARNING
            self.mean_s += (held_s - self.mean_s) * LEARNING
            party.tag += held_s * entry[COST] / party.weight - charge
        for unit, count in (entry[UNITS] or {}).items():
            left = self.used[unit] - count
            if left:
                self.used[unit] = left
            else:
                del self.used[unit]
        party.take_back(entry[KEY], self.limits.per_key)

    def settle(self) -> None:
        """List all parties that a turn changed anew, once; call it after each turn."""
        touched, self._touched = self._touched, {}
        for party in touched.values():
            self._list(party)
        self._clean()
        self._forget()

    def list_all(self) -> None:
        """List every party anew."""
        for party in list(self.parties.values()):
            self._list(party)
        self._clean()

    def limit(self, limits: Limits) -> None:
        """Change the limits; who waits keeps its rank. Looks at every key."""
        per_key, self.limits = self.limits.per_key, limits
        for party in self.parties.values():
            party.weight = limits.weight(party.name)
            if limits.per_key != per_key:
                party.limit(limits.per_key)
        self.list_all()

    def _party(self, name: str) -> Party:
        party = self.parties.get(name)
        if party is None:
            party = self.parties[name] = Party(name, self.mean_s, self.limits.weight(name))
        return party

    def _list(self, party: Party) -> None:
        """Put a party that changed where it belongs; drop it if it is idle."""
        most = self.limits.per_tenant
        if not party.line or (most and party.running >= most):
            party.listed = None
        elif party.listed != (listed := (party.tag, party.turn)):
            party.listed = listed
            heappush(self.ready, (party.tag, party.turn, party.name))
        if not (party.alive or party.running):
            if party.tag <= self.virtual:
                del self.parties[party.name]
            else:
                heappush(self.idle, (party.tag, party.name))

    def _clean(self) -> None:
        ready = self.ready
        while ready and not self.is_listed(ready[0]):
            heappop(ready)
        if len(ready) > 2 * len(self.parties) + STALE_MIN:
            self.ready = [item for item in ready if self.is_listed(item)]
            heapify(self.ready)

    def is_listed(self, item: tuple[float, int, str]) -> bool:
        """Tell whether an item of `ready` is up to date."""
        party = self.parties.get(item[2])
        return party is not None and party.listed == item[:2]

    def _forget(self) -> None:
        """Drop parties that have nothing to do, and no advance to make good."""
        while self.idle and self.idle[0][0] <= self.virtual:
            _, name = heappop(self.idle)
            party = self.parties.get(name)
            if party is None or party.alive or party.running or party.tag > self.virtual:
                continue
            del self.parties[name]
