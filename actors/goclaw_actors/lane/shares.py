"""Who goes next in a lane that limits more than slots: parties by share, keys by age.

Between parties: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996; ADR 0010). A lease
starts at its party's tag, and is charged in advance with how long the party's tasks hold a slot;
when the slot comes back, the charge becomes the time that was taken. So what runs is counted.
Within a party the lowest rank goes first: its arrival, less so much for each level of priority;
that order does not change while time goes on, so heaps hold it. Everything here is changed by
facts only and costs O(log n), but a change of limits, which looks at every key.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.lane.flows import (
    ARRIVAL_NS,
    ORDER,
    PLAIN_LEASE,
    PRIORITY,
    RANK,
    TASK,
    Entry,
    Flow,
    Lease,
    Party,
    asked,
)
from goclaw_actors.lane.sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_actors.lane.limits import Limits

MEAN_S_FIRST: Final = 1.0
"""How long a task is taken to hold a slot before any did."""
LEARNING: Final = 0.125
"""Weight of the newest in the moving mean."""
STALE_MIN: Final = 64
"""So many entries of a heap may be out of date, besides as many as there are others."""


class Shares:
    """The order of a lane. `queued` is the lane's own: tasks that wait, with their order.

    `virtual` is the tag of the last lease, `turns` counts leases, `used` are units in use,
    `served` the arrival of the last task leased of each priority, `rate_ns` the rate's state,
    `wake_ns` the timer that is set for it.
    `ready` is a heap of (tag, turn, party); `idle` one of (tag, party) with nothing to do.
    """

    __slots__ = (
        "_touched", "idle", "limits", "mean_s", "parties", "queued", "rate_ns", "ready", "served",
        "turns", "used", "virtual", "wake_ns",
    )  # fmt: skip

    def __init__(self, limits: Limits, queued: Mapping[str, int]) -> None:
        self.limits = limits
        self.queued = queued
        self.mean_s = MEAN_S_FIRST
        self.parties: dict[str, Party] = {}
        self.ready: list[tuple[float, int, str]] = []
        self.idle: list[tuple[float, str]] = []
        self.served: dict[int, int] = {}
        self.used: dict[str, int] = {}
        self.rate_ns = 0
        self._touched: dict[tuple[str, str], None] = {}
        self.turns = 0
        self.virtual = 0.0
        self.wake_ns = 0

    def adopt(self, queue: list[Entry], running: int) -> Shares:
        """Take over a lane that limited nothing but slots: its queue is one flow. O(1)."""
        if queue or running:
            party = self._party("")
            flow = party.flows[""] = Flow()
            flow.heap = queue
            flow.alive = party.alive = len(self.queued)
            flow.running = party.running = running
            self._relist(party, "", flow)
        return self

    def entry(self, order: int, now_ns: int, queued: tuple[Any, ...]) -> Entry:
        """Return what will wait for an entry of a fact, before it is in `queued`."""
        task, priority, at_head, *said = queued
        party, key, units, cost = said[0] if said else ("", "", None, 1.0)
        arrival_ns = now_ns
        if at_head:
            arrival_ns = min(now_ns, self._head_ns(priority, party, key))
        rank = arrival_ns - priority * self.limits.ageing_ns
        return (rank, order, task, priority, arrival_ns, party, key, units, cost)

    def _head_ns(self, priority: int, party: str, key: str) -> int:
        """Return an arrival that nobody of the priority who waits in a flow was before."""
        served_ns = self.served.get(priority, 2**63)
        known = self.parties.get(party)
        flow = known.flows.get(key) if known is not None else None
        if flow is None or not flow.heap:
            return served_ns
        top = flow.heap[0]
        if len(top) > PRIORITY and top[PRIORITY] == priority:
            return min(served_ns, int(top[ARRIVAL_NS]))
        first = int(top[RANK]) + priority * self.limits.ageing_ns + 1
        return min(served_ns, first)

    def enter(self, entry: Entry) -> None:
        """Let a task wait that is in `queued`."""
        name, key, _, _ = asked(entry)
        party = self._party(name)
        flow = party.flows.get(key)
        if flow is None:
            flow = party.flows[key] = Flow()
        if not party.alive:
            party.tag = max(party.tag, self.virtual)
        party.alive += 1
        flow.alive += 1
        heappush(flow.heap, entry)
        self._touched[name, key] = None

    def leave(self, entry: Entry) -> None:
        """Take a task out that waited, and is not in `queued` any more."""
        name, key, _, _ = asked(entry)
        party = self.parties[name]
        flow = party.flows[key]
        party.alive -= 1
        flow.alive -= 1
        sweep(flow.heap, self.queued, entry[ORDER], flow.alive)
        self._touched[name, key] = None

    def lend(self, entry: Entry, now_ns: int) -> Lease:
        """Give a slot to a task that waited, and is not in `queued` any more."""
        name, key, units, cost = asked(entry)
        party = self.parties[name]
        flow = party.flows[key]
        party.alive -= 1
        flow.alive -= 1
        party.running += 1
        flow.running += 1
        self.turns += 1
        party.turn = self.turns
        self.virtual = max(self.virtual, party.tag)
        charge = party.mean_s * cost / self.limits.weight(name)
        party.tag += charge
        if len(entry) > PRIORITY:
            self.served[entry[PRIORITY]] = entry[ARRIVAL_NS]
        for unit, count in (units or {}).items():
            self.used[unit] = self.used.get(unit, 0) + count
        self._touched[name, key] = None
        return Lease(name, key, units, cost, now_ns, charge)

    def take_back(self, lease: Lease | None, now_ns: int) -> None:
        """Take a slot back: its party pays for the time it was held."""
        name, key, units, cost, since_ns, charge = lease or PLAIN_LEASE
        party = self.parties[name]
        flow = party.flows[key]
        if since_ns:
            held_s = max(0, now_ns - since_ns) / 1e9
            party.mean_s += (held_s - party.mean_s) * LEARNING
            self.mean_s += (held_s - self.mean_s) * LEARNING
            party.tag += held_s * cost / self.limits.weight(name) - charge
        for unit, count in (units or {}).items():
            left = self.used[unit] - count
            if left:
                self.used[unit] = left
            else:
                del self.used[unit]
        party.running -= 1
        flow.running -= 1
        self._touched[name, key] = None

    def settle(self) -> None:
        """Put all that a turn changed where it belongs, once; call it after each turn."""
        touched, self._touched = self._touched, {}
        for name, key in touched:
            party = self.parties[name]
            self._relist_flow(party, key, party.flows[key])
        for name in {name for name, _ in touched}:
            self._relist_party(self.parties[name])
        self._clean()
        self._forget()

    def rebuild(self) -> None:
        """List everything anew: flows and parties hold what they hold, in no order yet."""
        for party in list(self.parties.values()):
            for flow in party.flows.values():
                heapify(flow.heap)
            for key, flow in list(party.flows.items()):
                self._relist(party, key, flow)
            if not party.flows:
                heappush(self.idle, (party.tag, party.name))

    def limit(self, limits: Limits) -> None:
        """Change the limits; who waits keeps its rank. Looks at every key."""
        self.limits = limits
        for party in list(self.parties.values()):
            for key, flow in list(party.flows.items()):
                self._relist(party, key, flow)
        self._clean()

    def _party(self, name: str) -> Party:
        party = self.parties.get(name)
        if party is None:
            party = self.parties[name] = Party(name, self.mean_s)
        return party

    def may_be_next(self, key: str, running: int) -> bool:
        """Tell whether a key that has so many slots may have one more."""
        return not key or running < self.limits.per_key

    def _relist(self, party: Party, key: str, flow: Flow) -> None:
        self._relist_flow(party, key, flow)
        self._relist_party(party)

    def _relist_flow(self, party: Party, key: str, flow: Flow) -> None:
        """Put a flow that changed where it belongs; drop it if it is idle."""
        heap, queued = flow.heap, self.queued
        while heap and queued.get(heap[0][TASK]) != heap[0][ORDER]:
            heappop(heap)
        head = heap[0] if heap and self.may_be_next(key, flow.running) else None
        order: int | None = head[ORDER] if head is not None else None
        if flow.listed != order:
            flow.listed = order
            if head is not None:
                listed: tuple[int, int, str] = (head[RANK], head[ORDER], key)
                heappush(party.ready, listed)
        if not (flow.alive or flow.running):
            del party.flows[key]

    def _relist_party(self, party: Party) -> None:
        ready, flows = party.ready, party.flows
        while ready and not _is_listed(flows, ready[0]):
            heappop(ready)
        if len(ready) > 2 * len(flows) + STALE_MIN:
            party.ready = ready = [item for item in ready if _is_listed(flows, item)]
            heapify(ready)
        most = self.limits.per_tenant
        if not ready or (most and party.running >= most):
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


def _is_listed(flows: Mapping[str, Flow], item: tuple[int, int, str]) -> bool:
    flow = flows.get(item[2])
    return flow is not None and flow.listed == item[1]
