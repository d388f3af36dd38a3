"""One turn of a lane with limits: who gets the free slots, and what the lane is after it.

It is worked out beside the state, which stays as it is: of the parties and keys that a turn
touches a few numbers, and who came beside those who wait. `decide` picks; `evolve` applies the
turn that was decided last, or one worked out anew for what a fact says.
Units are taken in strict order: whoever is next waits until there are enough, and nobody
overtakes it, so that a large one is not starved by small ones.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.lane.entry import ARRIVAL_NS, COST, KEY, ORDER, PARTY, PRIORITY, TASK, UNITS
from goclaw_actors.lane.rates import Purse
from goclaw_actors.lane.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from goclaw_actors.lane.entry import Entry, Lease
    from goclaw_actors.lane.flows import Party
    from goclaw_actors.lane.shares import Shares

LEARNING: Final = 0.125
"""Weight of the newest in the moving mean of how long tasks hold a slot."""


class _Ahead:
    """A party as it will be.

    `head` is who goes next, if its key has room; `top` is who follows in its line, `line` those
    behind; `came` are those who came, and those parked for whose key there is room now, the first
    last. `keys` tells how many of a key run.
    """

    __slots__ = (
        "came", "head", "keys", "line", "mean_s", "party", "running", "tag", "top", "turn",
        "weight",
    )  # fmt: skip

    def __init__(self, party: Party) -> None:
        self.party = party
        self.came: list[Entry] = []
        self.head: Entry | None = None
        self.keys: dict[str, int] = {}
        self.line: Iterator[Entry] = iter(party.line)
        self.top = next(self.line, None)
        self.mean_s = party.mean_s
        self.running = party.running
        self.tag = party.tag
        self.turn = party.turn
        self.weight = party.weight

    def of_key(self, key: str) -> int:
        """Return how many of a key run."""
        running = self.keys.get(key)
        if running is None:
            flow = self.party.flows.get(key)
            running = self.keys[key] = flow.running if flow is not None else 0
        return running

    def free_parked(self, per_key: int, gone: Mapping[int, Any]) -> None:
        """Put those parked who may be next to who came; once, before anything is picked."""
        for key, running in self.keys.items():
            flow = self.party.flows.get(key)
            if flow is None or not flow.parked:
                continue
            listed = sum(order not in gone for order in flow.listed) if gone else len(flow.listed)
            if per_key > running + listed:
                stay = iter(flow.parked)
                if gone:
                    stay = (entry for entry in flow.parked if entry[ORDER] not in gone)
                self.came.extend(islice(stay, per_key - running - listed))

    def go_on(self, gone: Mapping[int, Any], per_key: int) -> None:
        """Make the next one whose key has room the head."""
        came, keys = self.came, self.keys
        while True:
            entry = self.top
            if came and (entry is None or came[-1] < entry):
                entry = came.pop()
            elif entry is not None:
                self.top = next(self.line, None)
            else:
                self.head = None
                return
            key = entry[KEY]
            if key and (keys[key] if key in keys else self.of_key(key)) >= per_key:
                continue
            if entry[ORDER] not in gone:
                self.head = entry
                return


class Turn:
    """What comes and goes is told in this order: `release`, `leave`, `enter`.

    Then `pick` or `lend_to`; then `apply`. `lent` are the leases given. `wake_ns`: when the rate
    lets the next one start, if it waits for that; `held_up`: the task that waits for it, or for
    units. `excessive` are those passed over that ask for more than there is. `fact` is what was
    decided to record of it.
    """

    __slots__ = (
        "_came", "_gone", "_left", "_limits", "_mean_s", "_now_ns", "_parties", "_purse", "_ready",
        "_shares", "_turns", "_virtual", "excessive", "fact", "held_up", "lent",
        "wake_ns",
    )  # fmt: skip

    def __init__(self, shares: Shares, now_ns: int) -> None:
        self._shares = shares
        self._limits = limits = shares.limits
        self._now_ns = now_ns
        self._came: dict[int, Entry] = {}
        self._gone: dict[int, Entry] = {}
        self._parties: dict[str, _Ahead] = {}
        self._ready: list[tuple[float, int, str, _Ahead]] = []
        self._mean_s = shares.mean_s
        self._virtual = shares.virtual
        self._turns = shares.turns
        self._left = dict(limits.resources)
        for unit, count in shares.used.items():
            self._left[unit] = self._left.get(unit, 0) - count
        self._purse = None if limits.rate is None else Purse(limits.rate, shares.rate_ns, now_ns)
        self.lent: list[Lease] = []
        self.wake_ns = 0
        self.held_up = ""
        self.excessive: list[str] = []
        self.fact: Any = None

    @property
    def rate_ns(self) -> int:
        """Return the rate's state."""
        return self._shares.rate_ns if self._purse is None else self._purse.state_ns

    def _open(self, name: str) -> _Ahead:
        ahead = self._parties.get(name)
        if ahead is None:
            ahead = self._parties[name] = _Ahead(self._shares.party(name))
        return ahead

    # -- what comes and goes ---------------------------------------------------------------

    def release(self, leases: Iterable[Lease]) -> None:
        """Take slots back: their parties pay for the time they were held."""
        parties, left, now_ns, mean_s = self._parties, self._left, self._now_ns, self._mean_s
        for entry, since_ns, charge in leases:
            name, key, units, cost = entry[PARTY:]
            ahead = parties[name] if name in parties else self._open(name)
            ahead.running -= 1
            if since_ns:
                held_s = (now_ns - since_ns) / 1e9 if now_ns > since_ns else 0.0
                ahead.mean_s += (held_s - ahead.mean_s) * LEARNING
                mean_s += (held_s - mean_s) * LEARNING
                ahead.tag += held_s * cost / ahead.weight - charge
            if key:
                keys = ahead.keys
                keys[key] = (keys[key] if key in keys else ahead.of_key(key)) - 1
            if units:
                for unit, count in units.items():
                    left[unit] += count
        self._mean_s = mean_s

    def leave(self, entries: Iterable[Entry]) -> None:
        """Take out those who waited and withdrew."""
        for entry in entries:
            ahead = self._open(entry[PARTY])
            self._gone[entry[ORDER]] = entry
            if entry[KEY]:
                ahead.of_key(entry[KEY])

    def enter(self, entries: Iterable[Entry]) -> None:
        """Let tasks wait."""
        parties, came = self._parties, self._came
        for entry in entries:
            ahead = parties.get(entry[PARTY]) or self._open(entry[PARTY])
            if not ahead.came and not ahead.party.alive:
                ahead.tag = max(ahead.tag, self._virtual)
            ahead.came.append(entry)
            came[entry[ORDER]] = entry

    # -- who gets a slot -------------------------------------------------------------------

    def pick(self, wanted: int) -> None:
        """Lend slots to those who are next, at most so many."""
        gone, per_key, most = self._gone, self._limits.per_key, self._limits.per_tenant
        ready, others = self._line_up(), Walk(self._shares.ready)
        other, virtual = self._untouched(others), self._virtual
        while wanted:
            if other is not None and not (ready and ready[0] < other):
                ahead = self._open(other[2])
                ahead.go_on(gone, per_key)
                heappush(ready, (*other, ahead))
                other = self._untouched(others)
            if not ready:
                break
            tag, _, name, ahead = ready[0]
            entry = ahead.head
            if entry is None:
                heappop(ready)
                continue
            if self._start(ahead, entry):
                virtual = tag  # the least of all, so it never goes back
                wanted -= 1
                if most and ahead.running >= most:
                    heappop(ready)
                else:
                    heapreplace(ready, (ahead.tag, ahead.turn, name, ahead))
            elif not entry[UNITS] or self._limits.grants(entry[UNITS]):
                break
            else:
                self.excessive.append(entry[TASK])
                self.held_up = ""
            ahead.go_on(gone, per_key)
        self._virtual = max(self._virtual, virtual)

    def _line_up(self) -> list[tuple[float, int, str, _Ahead]]:
        """Order the parties that the turn touched, and in each who came."""
        gone, per_key, most = self._gone, self._limits.per_key, self._limits.per_tenant
        ready = self._ready
        for name, ahead in self._parties.items():
            ahead.free_parked(per_key, gone)
            ahead.came.sort(reverse=True)
            ahead.go_on(gone, per_key)
            if not (most and ahead.running >= most):
                ready.append((ahead.tag, ahead.turn, name, ahead))
        heapify(ready)
        return ready

    def _untouched(self, others: Walk[tuple[float, int, str]]) -> tuple[float, int, str] | None:
        """Return the next party that the turn did not touch."""
        while (item := others.peek()) is not None:
            if item[2] not in self._parties and self._shares.is_listed(item):
                return item
            others.skip()
        return None

    def _start(self, ahead: _Ahead, entry: Entry) -> bool:
        """Give a slot if there are units and tokens for the head of a party now; if not, say so."""
        if units := entry[UNITS]:
            left = self._left
            for unit, count in units.items():
                if count > left.get(unit, 0):
                    self.held_up = entry[TASK]
                    return False
        purse = self._purse
        if purse is not None and not purse.spend(entry[COST]):
            self.wake_ns = purse.due_ns
            self.held_up = entry[TASK]
            return False
        self._lend(ahead, entry)
        return True

    def _lend(self, ahead: _Ahead, entry: Entry) -> None:
        """Give a slot: the party is charged in advance."""
        if key := entry[KEY]:
            keys = ahead.keys
            keys[key] = (keys[key] if key in keys else ahead.of_key(key)) + 1
        if units := entry[UNITS]:
            left = self._left
            for unit, count in units.items():
                left[unit] = left.get(unit, 0) - count
        charge = ahead.mean_s * entry[COST] / ahead.weight
        ahead.tag += charge
        ahead.running += 1
        self._turns = ahead.turn = self._turns + 1
        self.lent.append((entry, self._now_ns, charge))

    def lend_to(self, tasks: Iterable[str], waits: Mapping[str, Entry]) -> None:
        """Give slots to those of whom a fact says so, of `waits` or of those who came."""
        came = {entry[TASK]: entry for entry in self._came.values()}
        for task in tasks:
            entry = came.get(task) or waits[task]
            ahead = self._open(entry[PARTY])
            self._virtual = max(self._virtual, ahead.tag)
            self._lend(ahead, entry)

    # -- what becomes of it ----------------------------------------------------------------

    def apply(self) -> Iterable[Entry]:
        """Make the state what the turn came to, once; return who came and waits on."""
        shares, per_key, parties = self._shares, self._limits.per_key, self._parties
        shares.turns, shares.virtual, shares.mean_s = self._turns, self._virtual, self._mean_s
        resources = self._limits.resources
        used = {unit: resources.get(unit, 0) - left for unit, left in self._left.items()}
        shares.used = {unit: count for unit, count in used.items() if count}
        for ahead in parties.values():
            party = ahead.party
            party.tag, party.turn, party.mean_s = ahead.tag, ahead.turn, ahead.mean_s
            party.running = ahead.running
        for entry in self._gone.values():
            parties[entry[PARTY]].party.leave(entry)
        came, served = self._came, shares.served
        for entry, _, _ in self.lent:
            if came.pop(entry[ORDER], None) is None:
                parties[entry[PARTY]].party.leave(entry)
            if entry[ARRIVAL_NS]:
                served[entry[PRIORITY]] = entry[ARRIVAL_NS]
        for ahead in parties.values():
            ahead.party.count(ahead.keys, per_key)
        for entry in came.values():
            parties[entry[PARTY]].party.enter(entry, per_key)
        shares.settle(ahead.party for ahead in parties.values())
        return came.values()
