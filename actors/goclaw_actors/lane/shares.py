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

from goclaw_actors.lane.entry import ARRIVAL_NS, ASKS_NOTHING, KEY, PARTY, UNITS
from goclaw_actors.lane.flows import Party

if TYPE_CHECKING:
    from collections.abc import Iterable

    from goclaw_actors.lane.entry import Entry, Lease
    from goclaw_actors.lane.levels import Levels
    from goclaw_actors.lane.limits import Limits
    from goclaw_actors.lane.turn import Turn

MEAN_S_FIRST: Final = 0.01
"""How long a task is taken to hold a slot before any did: rather too short, since who comes
while others are charged too much begins behind them."""
STALE_MIN: Final = 64
"""So many entries of a heap may be out of date, besides as many as there are others."""


class Shares:
    """The order of a lane.

    `virtual` is the tag of the last lease, `turns` counts leases, `used` are units in use,
    `served` is the lane's own, `rate_ns` the rate's state,
    `wake_ns` the timer that is set for it. `ahead` is the turn that was decided last: it can be
    applied while nothing else was.
    `ready` is a heap of (tag, turn, party); `idle` one of (tag, party) with nothing to do.
    """

    __slots__ = (
        "ahead", "idle", "limits", "mean_s", "parties", "rate_ns", "ready", "served", "turns",
        "used", "virtual", "wake_ns",
    )  # fmt: skip

    def __init__(self, limits: Limits, served: dict[int, int]) -> None:
        self.limits = limits
        self.mean_s = MEAN_S_FIRST
        self.parties: dict[str, Party] = {}
        self.ready: list[tuple[float, int, str]] = []
        self.idle: list[tuple[float, str]] = []
        self.served = served
        self.used: dict[str, int] = {}
        self.rate_ns = 0
        self.ahead: Turn | None = None
        self.turns = 0
        self.virtual = 0.0
        self.wake_ns = 0

    def adopt(self, line: Levels, waiting: int, running: int) -> Shares:
        """Take over a lane that limited nothing but slots: its line is a party's. O(1)."""
        if waiting or running:
            party = self.party("")
            party.line, party.alive, party.running = line, waiting, running
            self.settle([party])
        return self

    def party(self, name: str) -> Party:
        """Return a party; one that was not there is kept from when it is settled."""
        party = self.parties.get(name)
        return party or Party(name, self.mean_s, self.limits.weight(name))

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
        for line in (party.line, None if flow is None else flow.parked):
            first = None if line is None else line.first_of(priority)
            if first is not None:
                found_ns = min(found_ns, first[ARRIVAL_NS])
        return found_ns

    def hold(self, lease: Lease) -> None:
        """Count a task that holds a slot already."""
        entry = lease[0]
        self.parties[entry[PARTY]].hold(entry[KEY])
        for unit, count in (entry[UNITS] or {}).items():
            self.used[unit] = self.used.get(unit, 0) + count

    def settle(self, parties: Iterable[Party]) -> None:
        """List all parties that a turn changed anew, once."""
        for party in parties:
            self.parties[party.name] = party
            self._list(party)
        self._clean()
        if self.ready:  # what was charged too much and given back was no time that passed
            self.virtual = min(self.virtual, self.ready[0][0])
        self._forget()

    def list_all(self) -> None:
        """List every party anew."""
        for party in list(self.parties.values()):
            self._list(party)
        self._clean()

    def line_up(self, entries: Iterable[Entry]) -> None:
        """Let these wait and nobody else, each in the line of its party."""
        for party in self.parties.values():
            party.clear()
        by_party: dict[str, list[Entry]] = {}
        for entry in sorted(entries):
            by_party.setdefault(entry[PARTY], []).append(entry)
        for name, ours in by_party.items():
            self.parties[name].enter(ours, self.limits.per_key)
        self.list_all()

    def limit(self, limits: Limits) -> None:
        """Change the limits; who waits keeps its rank. Looks at every key."""
        per_key, self.limits = self.limits.per_key, limits
        for party in self.parties.values():
            party.weight = limits.weight(party.name)
            if limits.per_key != per_key:
                party.limit(limits.per_key)
        self.list_all()

    def _list(self, party: Party) -> None:
        """Put a party that changed where it belongs; drop it if it is idle."""
        most = self.limits.per_tenant
        if not party.line or (most and party.running >= most):
            party.placed = None
        elif party.placed != (place := (party.tag, party.turn)):
            party.placed = place
            heappush(self.ready, (party.tag, party.turn, party.name))
        if not (party.alive or party.running):
            if party.tag <= self.virtual:
                del self.parties[party.name]
            else:
                heappush(self.idle, (party.tag, party.name))

    def _clean(self) -> None:
        ready = self.ready
        while ready and not self.is_placed(ready[0]):
            heappop(ready)
        if len(ready) > 2 * len(self.parties) + STALE_MIN:
            self.ready = [item for item in ready if self.is_placed(item)]
            heapify(self.ready)

    def is_placed(self, item: tuple[float, int, str]) -> bool:
        """Tell whether an item of `ready` is up to date."""
        party = self.parties.get(item[2])
        return party is not None and party.placed == item[:2]

    def _forget(self) -> None:
        """Drop parties that have nothing to do, and no advance to make good."""
        while self.idle and self.idle[0][0] <= self.virtual:
            _, name = heappop(self.idle)
            party = self.parties.get(name)
            if party is None or party.alive or party.running or party.tag > self.virtual:
                continue
            del self.parties[name]
