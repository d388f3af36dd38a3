"""Who gets the free slots of a lane with limits: a look ahead that leaves its state as it is.

What a turn changes is laid over the state: of the parties and keys that it touches a copy of a
few numbers, of their heaps a walk. Units are taken in strict order: whoever is next waits until
there are enough, and nobody overtakes it, so that a large one is not starved by small ones.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from goclaw_actors.lane.flows import ORDER, PLAIN_LEASE, RANK, TASK, Asked, Entry, Lease, asked
from goclaw_actors.lane.rates import ready_ns, taken_ns
from goclaw_actors.lane.shares import LEARNING
from goclaw_actors.lane.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from goclaw_actors.lane.flows import Flow, Party
    from goclaw_actors.lane.shares import Shares


class _Flow:
    """A key of a party as it would be: who waits on, who came."""

    __slots__ = ("came", "running", "walk")

    def __init__(self, flow: Flow | None) -> None:
        self.came: list[Entry] = []
        self.running = flow.running if flow is not None else 0
        self.walk: Walk[Entry] = Walk(flow.heap if flow is not None else [])


class _Party:
    """A party as it would be. `mine` is a heap of (rank, order, key) of the keys touched."""

    __slots__ = ("flows", "mean_s", "mine", "name", "old", "running", "tag", "turn", "walk")

    def __init__(self, name: str, party: Party | None, mean_s: float) -> None:
        self.name = name
        self.old = party
        self.flows: dict[str, _Flow] = {}
        self.mine: list[tuple[int, int, str]] = []
        self.mean_s = party.mean_s if party is not None else mean_s
        self.running = party.running if party is not None else 0
        self.tag = party.tag if party is not None else 0.0
        self.turn = party.turn if party is not None else 0
        self.walk: Walk[tuple[int, int, str]] = Walk(party.ready if party is not None else [])


class Picker:
    """Pick one after the other.

    `wake_ns`: when the rate lets the next one start, if it waits for that; `held_up`: the task
    that waits for it, or for units. `excessive` are those passed over that ask for more than
    there is.
    """

    def __init__(self, shares: Shares, gone: Container[str], now_ns: int) -> None:
        self._shares = shares
        self._limits = shares.limits
        self._gone = gone
        self._now_ns = now_ns
        self._parties: dict[str, _Party] = {}
        self._mine: list[tuple[float, int, str]] = []
        self._walk = Walk(shares.ready)
        self._virtual = shares.virtual
        self._turns = shares.turns
        self._used = dict(shares.used)
        self.rate_ns = shares.rate_ns
        self.wake_ns = 0
        self.held_up = ""
        self.excessive: list[str] = []

    def take_in(
        self,
        released: Iterable[Lease | None],
        withdrawn: Iterable[Entry],
        came: Iterable[Entry],
    ) -> None:
        """Lay what came and went over the state; once, before anything is picked."""
        for lease in released:
            self._release(lease or PLAIN_LEASE)
        for entry in withdrawn:
            name, key, _, _ = asked(entry)
            self._flow(self._party(name), key)
        for entry in came:
            name, key, _, _ = asked(entry)
            party = self._party(name)
            if party.old is None or not party.old.alive:
                party.tag = max(party.tag, self._virtual)
            heappush(self._flow(party, key).came, entry)
        for party in self._parties.values():
            for key, flow in party.flows.items():
                self._list_flow(party, key, flow)
            self._list(party)

    def _release(self, lease: Lease) -> None:
        name, key, units, cost, since_ns, charge = lease
        party = self._party(name)
        if since_ns:
            held_s = max(0, self._now_ns - since_ns) / 1e9
            party.mean_s += (held_s - party.mean_s) * LEARNING
            party.tag += held_s * cost / self._limits.weight(name) - charge
        party.running -= 1
        self._flow(party, key).running -= 1
        for unit, count in (units or {}).items():
            self._used[unit] -= count

    def _party(self, name: str) -> _Party:
        party = self._parties.get(name)
        if party is None:
            old = self._shares.parties.get(name)
            party = self._parties[name] = _Party(name, old, self._shares.mean_s)
        return party

    def _flow(self, party: _Party, key: str) -> _Flow:
        flow = party.flows.get(key)
        if flow is None:
            old = party.old.flows.get(key) if party.old is not None else None
            flow = party.flows[key] = _Flow(old)
        return flow

    def _head(self, flow: _Flow) -> Entry | None:
        queued, gone, walk = self._shares.queued, self._gone, flow.walk
        while (entry := walk.peek()) is not None:
            if queued.get(entry[TASK]) == entry[ORDER] and entry[TASK] not in gone:
                break
            walk.skip()
        if flow.came and (entry is None or flow.came[0] < entry):
            return flow.came[0]
        return entry

    def _list_flow(self, party: _Party, key: str, flow: _Flow) -> None:
        head = self._head(flow)
        if head is not None and self._shares.may_be_next(key, flow.running):
            heappush(party.mine, (head[RANK], head[ORDER], key))

    def _next_flow(self, party: _Party) -> tuple[int, int, str] | None:
        """Return the key that goes next in a party, of those touched and the others."""
        old, walk = party.old, party.walk
        while (item := walk.peek()) is not None:
            assert old is not None, "who was not there has no heap"
            flow = old.flows.get(item[2])
            if flow is not None and flow.listed == item[1] and item[2] not in party.flows:
                break
            walk.skip()
        if party.mine and (item is None or party.mine[0] < item):
            return party.mine[0]
        return item

    def _list(self, party: _Party) -> None:
        most = self._limits.per_tenant
        if (not most or party.running < most) and self._next_flow(party) is not None:
            heappush(self._mine, (party.tag, party.turn, party.name))

    def _next_party(self) -> _Party | None:
        walk, shares = self._walk, self._shares
        while (item := walk.peek()) is not None:
            if item[2] not in self._parties and shares.is_listed(item):
                break
            walk.skip()
        if self._mine and (item is None or self._mine[0] < item):
            return self._parties[self._mine[0][2]]
        if item is None:
            return None
        party = self._party(item[2])
        heappush(self._mine, item)
        return party

    def pick(self) -> str | None:
        """Return the task that gets a slot next; None if nobody can have one now."""
        while (party := self._next_party()) is not None:
            item = self._next_flow(party)
            assert item is not None, "a party is listed while it has a flow"
            flow = self._flow(party, item[2])
            head = self._head(flow)
            assert head is not None, "a flow is listed while it has a head"
            asks = asked(head)
            if self._has(asks, head[TASK]):
                self._take(party, flow, head, asks)
                return str(head[TASK])
            if not asks.units or self._limits.grants(asks.units):
                return None
            self.excessive.append(head[TASK])
            self.held_up = ""
            self._pass(party, flow, head)
            self._list_again(party, asks.key, flow)
        return None

    def _has(self, asks: Asked, task: str) -> bool:
        """Tell whether there are units and tokens for a task now; note what it waits for."""
        resources = self._limits.resources
        for unit, count in (asks.units or {}).items():
            if self._used.get(unit, 0) + count > resources.get(unit, 0):
                self.held_up = task
                return False
        rate = self._limits.rate
        if rate is not None:
            due_ns = ready_ns(rate, self.rate_ns, asks.cost)
            if due_ns > self._now_ns:
                self.wake_ns = due_ns
                self.held_up = task
                return False
            self.rate_ns = taken_ns(rate, self.rate_ns, self._now_ns, asks.cost)
        return True

    def _pass(self, party: _Party, flow: _Flow, head: Entry) -> None:
        """Go on behind the head of a flow."""
        heappop(self._mine)
        if party.mine and party.mine[0][1] == head[ORDER]:
            heappop(party.mine)
        if flow.came and flow.came[0] is head:
            heappop(flow.came)
        else:
            flow.walk.skip()

    def _list_again(self, party: _Party, key: str, flow: _Flow) -> None:
        self._list_flow(party, key, flow)
        self._list(party)

    def _take(self, party: _Party, flow: _Flow, head: Entry, asks: Asked) -> None:
        self._pass(party, flow, head)
        flow.running += 1
        party.running += 1
        self._turns += 1
        party.turn = self._turns
        self._virtual = max(self._virtual, party.tag)
        party.tag += party.mean_s * asks.cost / self._limits.weight(party.name)
        for unit, count in (asks.units or {}).items():
            self._used[unit] = self._used.get(unit, 0) + count
        self._list_again(party, asks.key, flow)
