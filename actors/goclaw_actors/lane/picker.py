"""Who gets the free slots of a lane with limits: a look ahead that leaves its state as it is.

What a turn changes is laid over the state: of the parties and keys that it touches a few numbers,
and who came beside those who wait. Units are taken in strict order: whoever is next waits until
there are enough, and nobody overtakes it, so that a large one is not starved by small ones.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, Any

from goclaw_actors.lane.entry import COST, KEY, ORDER, PARTY, TASK, UNITS, plain_lease
from goclaw_actors.lane.rates import Purse
from goclaw_actors.lane.shares import LEARNING
from goclaw_actors.lane.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from goclaw_actors.lane.entry import Entry, Lease
    from goclaw_actors.lane.flows import Party
    from goclaw_actors.lane.shares import Shares


class _Party:
    """A party as it would be.

    `top` is who is next of its line, `line` those behind; `came` is a heap of those who came, and
    of those parked for whose key there is room now. `keys` tells how many of a key would run,
    `freed` how many of those parked may be next.
    """

    __slots__ = (
        "came", "freed", "keys", "line", "mean_s", "old", "running", "tag", "top", "turn",
        "weight",
    )  # fmt: skip

    def __init__(self, party: Party | None, mean_s: float, weight: float) -> None:
        self.old = party
        self.came: list[Entry] = []
        self.freed: dict[str, int] = {}
        self.keys: dict[str, int] = {}
        self.line: Iterator[Entry] = iter(party.line) if party is not None else iter(())
        self.top = next(self.line, None)
        self.mean_s = party.mean_s if party is not None else mean_s
        self.running = party.running if party is not None else 0
        self.tag = party.tag if party is not None else 0.0
        self.turn = party.turn if party is not None else 0
        self.weight = weight

    def of_key(self, key: str) -> int:
        """Return how many of a key would run."""
        running = self.keys.get(key)
        if running is None:
            flow = self.old.flows.get(key) if self.old is not None else None
            running = self.keys[key] = flow.running if flow is not None else 0
        return running

    def free(self, key: str) -> None:
        """Note that one more of those parked may be next."""
        self.freed[key] = self.freed.get(key, 0) + 1

    def take_in(self, gone: Mapping[int, Any]) -> None:
        """Put those parked who may be next to who came; once, before anything is picked."""
        for key, count in self.freed.items():
            flow = self.old.flows[key] if self.old is not None else None
            if flow is not None and flow.parked is not None:
                stay = (entry for entry in flow.parked if entry[ORDER] not in gone)
                self.came.extend(islice(stay, count))
        heapify(self.came)

    def skip(self) -> None:
        """Go on behind the head."""
        came, top = self.came, self.top
        if came and (top is None or came[0] < top):
            heappop(came)
        else:
            self.top = next(self.line, None)

    def head(self, gone: Mapping[int, Any], per_key: int) -> Entry | None:
        """Return who goes next of those whose key has room."""
        while True:
            came, entry = self.came, self.top
            if came and (entry is None or came[0] < entry):
                entry = came[0]
            if entry is None:
                return None
            if entry[ORDER] not in gone:
                key = entry[KEY]
                if not key or self.of_key(key) < per_key:
                    return entry
            self.skip()


class Picker:
    """Pick one after the other.

    `wake_ns`: when the rate lets the next one start, if it waits for that; `held_up`: the task
    that waits for it, or for units. `excessive` are those passed over that ask for more than
    there is. `gone` are the entries, by order, that are withdrawn.
    """

    def __init__(self, shares: Shares, gone: Mapping[int, Entry], now_ns: int) -> None:
        self._shares = shares
        self._limits = shares.limits
        self._gone = gone
        self._now_ns = now_ns
        self._parties: dict[str, _Party] = {}
        self._ready: list[tuple[float, int, str]] = []
        self._others = Walk(shares.ready)
        self._virtual = shares.virtual
        self._turns = shares.turns
        self._used = dict(shares.used)
        rate = shares.limits.rate
        self._purse = None if rate is None else Purse(rate, shares.rate_ns, now_ns)
        self.wake_ns = 0
        self.held_up = ""
        self.excessive: list[str] = []

    @property
    def rate_ns(self) -> int:
        """Return the rate's state."""
        return self._shares.rate_ns if self._purse is None else self._purse.state_ns

    def take_in(self, released: Iterable[tuple[str, Lease | None]], came: Iterable[Entry]) -> None:
        """Lay what came and went over the state; once, before anything is picked."""
        for task, lease in released:
            self._release(lease or plain_lease(task))
        for entry in self._gone.values():
            party = self._party(entry[PARTY])
            if entry[KEY]:
                party.free(entry[KEY])
        parties, virtual = self._parties, self._virtual
        for entry in came:
            found = parties.get(entry[PARTY])
            party = found if found is not None else self._party(entry[PARTY])
            if not party.came and (party.old is None or not party.old.alive):
                party.tag = max(party.tag, virtual)
            party.came.append(entry)
        for name, party in parties.items():
            party.take_in(self._gone)
            self._list(name, party)

    def _release(self, lease: Lease) -> None:
        entry, since_ns, charge = lease
        party = self._parties.get(entry[PARTY])
        if party is None:
            party = self._party(entry[PARTY])
        if since_ns:
            held_s = max(0, self._now_ns - since_ns) / 1e9
            party.mean_s += (held_s - party.mean_s) * LEARNING
            party.tag += held_s * entry[COST] / party.weight - charge
        party.running -= 1
        if key := entry[KEY]:
            party.keys[key] = party.of_key(key) - 1
            party.free(key)
        if units := entry[UNITS]:
            for unit, count in units.items():
                self._used[unit] -= count

    def _party(self, name: str) -> _Party:
        party = self._parties.get(name)
        if party is None:
            shares = self._shares
            old = shares.parties.get(name)
            weight = self._limits.weight(name)
            party = self._parties[name] = _Party(old, shares.mean_s, weight)
        return party

    def _list(self, name: str, party: _Party) -> None:
        most = self._limits.per_tenant
        if (party.top is not None or party.came) and not (most and party.running >= most):
            heappush(self._ready, (party.tag, party.turn, name))

    def _next_party(self) -> str | None:
        others, ready = self._others, self._ready
        while (item := others.peek()) is not None:
            if item[2] not in self._parties and self._shares.is_listed(item):
                break
            others.skip()
        if ready and (item is None or ready[0] < item):
            return ready[0][2]
        if item is None:
            return None
        self._party(item[2])
        heappush(ready, item)
        return item[2]

    def pick(self, wanted: int) -> list[str]:
        """Return the tasks that get a slot, at most so many, in order."""
        picked: list[str] = []
        gone, per_key = self._gone, self._limits.per_key
        while len(picked) < wanted and (name := self._next_party()) is not None:
            party = self._parties[name]
            entry = party.head(gone, per_key)
            if entry is None:
                heappop(self._ready)
            elif self._may_start(entry):
                picked.append(entry[TASK])
                self._take(name, party, entry)
            elif not entry[UNITS] or self._limits.grants(entry[UNITS]):
                break
            else:
                self.excessive.append(entry[TASK])
                self.held_up = ""
                party.skip()
        return picked

    def _may_start(self, entry: Entry) -> bool:
        """Tell whether there are units and tokens for a task now; note what it waits for."""
        if units := entry[UNITS]:
            resources = self._limits.resources
            for unit, count in units.items():
                if self._used.get(unit, 0) + count > resources.get(unit, 0):
                    self.held_up = entry[TASK]
                    return False
        purse = self._purse
        if purse is not None and not purse.spend(entry[COST]):
            self.wake_ns = purse.due_ns
            self.held_up = entry[TASK]
            return False
        return True

    def _take(self, name: str, party: _Party, entry: Entry) -> None:
        party.skip()
        if key := entry[KEY]:
            party.keys[key] += 1
        party.running += 1
        self._turns += 1
        party.turn = self._turns
        self._virtual = max(self._virtual, party.tag)
        party.tag += party.mean_s * entry[COST] / party.weight
        if units := entry[UNITS]:
            for unit, count in units.items():
                self._used[unit] = self._used.get(unit, 0) + count
        heappop(self._ready)
        self._list(name, party)
