"""One turn of a lane with limits: who gets the free slots, and what the lane is after it.

It is worked out beside the state, which stays as it is: of the parties and keys that a turn
touches a few numbers, and who came beside those who wait. `decide` picks; `evolve` applies the
turn that was decided last, or one worked out anew for what a fact says.
Units are taken in strict order: whoever is next waits until there are enough, and nobody
overtakes it, so that a large one is not starved by small ones.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from goclaw_actors.lane.ahead import Ahead
from goclaw_actors.lane.entry import (
    ARRIVAL_NS,
    COST,
    KEY,
    NO_LEASE,
    ORDER,
    PARTY,
    PRIORITY,
    TASK,
    UNITS,
)
from goclaw_actors.lane.rates import Purse
from goclaw_actors.lane.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from goclaw_actors.lane.entry import Entry, Lease
    from goclaw_actors.lane.shares import Shares

_Place: TypeAlias = tuple[float, int, str, Ahead]
"""A party among those that may be next: its tag, its last lease, its name."""

LEARNING: Final = 0.125
"""Weight of the newest in the moving mean of how long tasks hold a slot."""


class Turn:
    """What comes and goes is told in this order: `release`, `leave`, `enter`.

    Then `pick` or `lend_to`; then `apply`. `lent` are the leases given. `wake_ns`: when the rate
    lets the next one start, if it waits for that; `held_up`: the task that waits for it, or for
    units. `excessive` are those passed over that ask for more than there is. `fact` is what was
    decided to record of it.
    """

    __slots__ = (
        "_came", "_gone", "_left", "_limits", "_mean_s", "_now_ns", "_parties", "_purse", "_shares",
        "_turns", "_virtual", "excessive", "fact", "held_up", "lent", "served", "stay", "wake_ns",
    )  # fmt: skip

    def __init__(self, shares: Shares, now_ns: int) -> None:
        self._shares = shares
        self._limits = limits = shares.limits
        self._now_ns = now_ns
        self._came: dict[int, Entry] = {}
        self._gone: dict[int, Entry] = {}
        self._parties: dict[str, Ahead] = {}
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
        self.served: list[Entry] = []
        self.stay: Collection[Entry] = ()

    @property
    def rate_ns(self) -> int:
        """Return the rate's state."""
        return self._shares.rate_ns if self._purse is None else self._purse.state_ns

    def _open(self, name: str) -> Ahead:
        ahead = self._parties.get(name)
        if ahead is None:
            ahead = self._parties[name] = Ahead(self._shares.party(name))
        return ahead

    # -- what comes and goes ---------------------------------------------------------------

    def release(self, leases: Iterable[Lease | None]) -> None:
        """Take slots back: their parties pay for the time they were held."""
        parties, left, mean_s = self._parties, self._left, self._mean_s
        of_ns, held_s = 0, 0.0
        for lease in leases:
            entry, since_ns, charge = lease or NO_LEASE
            _, _, _, _, _, name, key, units, cost = entry
            ahead = parties.get(name) or self._open(name)
            ahead.running -= 1
            if since_ns:
                if since_ns != of_ns:
                    of_ns, held_s = since_ns, max(0, self._now_ns - since_ns) / 1e9
                ahead.mean_s += (held_s - ahead.mean_s) * LEARNING
                mean_s += (held_s - mean_s) * LEARNING
                ahead.tag += held_s * cost / ahead.weight - charge
            if key:
                keys = ahead.keys
                if key in keys:
                    keys[key] -= 1
                else:
                    keys[key] = ahead.flows[key].running - 1
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
        """Let tasks wait, once."""
        parties = self._parties
        self._came = came = {entry[ORDER]: entry for entry in entries}
        for entry in came.values():
            ahead = parties.get(entry[PARTY]) or self._open(entry[PARTY])
            ahead.came.append(entry)
            if not ahead.waits:
                ahead.waits = True
                ahead.tag = max(ahead.tag, self._virtual)

    # -- who gets a slot -------------------------------------------------------------------

    def pick(self, wanted: int) -> None:
        """Lend slots to those who are next, at most so many."""
        most, purse, lent, now_ns = self._limits.per_tenant, self._purse, self.lent, self._now_ns
        ready, others = self._line_up(), Walk(self._shares.ready)
        other, virtual, turns = self._untouched(others), self._virtual, self._turns
        while wanted:
            if other is not None and not (ready and ready[0] < other):
                heappush(ready, (*other, self._line_up_one(other[2])))
                other = self._untouched(others)
            if not ready:
                break
            tag, _, name, ahead = ready[0]
            entry = ahead.head
            if entry is None:
                heappop(ready)
                continue
            _, _, task, _, _, _, key, units, cost = entry
            if units and not self._take(units):
                if self._wait_for(task, units):
                    break
            elif purse is not None and not purse.spend(cost):
                self._give_back(units or {})
                self.held_up, self.wake_ns = task, purse.due_ns
                break
            else:
                charge = ahead.price * cost
                lent.append((entry, now_ns, charge))
                if key:
                    ahead.keys[key] += 1
                virtual = tag  # the least of all, so it never goes back
                wanted -= 1
                turns += 1
                ahead.running += 1
                ahead.tag = tag = tag + charge
                ahead.turn = turns
                if most and ahead.running >= most:
                    heappop(ready)
                else:
                    heapreplace(ready, (tag, turns, name, ahead))
            ahead.head = next(ahead.following, None)
        self._virtual, self._turns = max(self._virtual, virtual), turns

    def _take(self, units: dict[str, int]) -> bool:
        """Take units; False: more than there were."""
        left, enough = self._left, True
        for unit, count in units.items():
            left[unit] = rest = left.get(unit, 0) - count
            if rest < 0:
                enough = False
        return enough

    def _wait_for(self, task: str, units: dict[str, int]) -> bool:
        """Give back units taken that there were not; False: there never are, so pass it over."""
        self._give_back(units)
        if self._limits.grants(units):
            self.held_up = task
            return True
        self.excessive.append(task)
        return False

    def _give_back(self, units: dict[str, int]) -> None:
        for unit, count in units.items():
            self._left[unit] += count

    def _line_up(self) -> list[_Place]:
        """Order the parties that the turn touched, and in each who came."""
        gone, per_key, most = self._gone, self._limits.per_key, self._limits.per_tenant
        ready: list[_Place] = []
        for name, ahead in self._parties.items():
            ahead.line_up(gone, per_key)
            if not (most and ahead.running >= most):
                ready.append((ahead.tag, ahead.turn, name, ahead))
        heapify(ready)
        return ready

    def _line_up_one(self, name: str) -> Ahead:
        """Return a party that the turn did not touch until now."""
        ahead = self._open(name)
        ahead.line_up(self._gone, self._limits.per_key)
        return ahead

    def _untouched(self, others: Walk[tuple[float, int, str]]) -> tuple[float, int, str] | None:
        """Return the next party that the turn did not touch."""
        while (item := others.peek()) is not None:
            if item[2] not in self._parties and self._shares.is_placed(item):
                return item
            others.skip()
        return None

    def lend_to(self, tasks: Iterable[str], waits: Mapping[str, Entry]) -> None:
        """Give slots to those of whom a fact says so, of `waits` or of those who came."""
        came = {entry[TASK]: entry for entry in self._came.values()}
        for task in tasks:
            entry = came.get(task) or waits[task]
            ahead = self._open(entry[PARTY])
            self._virtual = max(self._virtual, ahead.tag)
            if key := entry[KEY]:
                ahead.keys[key] = ahead.of_key(key) + 1
            self._take(entry[UNITS] or {})
            charge = ahead.mean_s / ahead.weight * entry[COST]
            ahead.tag += charge
            ahead.running += 1
            ahead.turn = self._turns = self._turns + 1
            self.lent.append((entry, self._now_ns, charge))

    # -- what becomes of it ----------------------------------------------------------------

    def apply(self) -> None:
        """Make the state what the turn came to, once.

        Then `served` are those that waited and have a slot, and `stay` those who came and wait on.
        """
        shares, per_key, parties = self._shares, self._limits.per_key, self._parties
        shares.turns, shares.virtual, shares.mean_s = self._turns, self._virtual, self._mean_s
        resources = self._limits.resources
        used = {unit: resources.get(unit, 0) - left for unit, left in self._left.items()}
        shares.used = {unit: count for unit, count in used.items() if count}
        for entry in self._gone.values():
            parties[entry[PARTY]].gone.append(entry)
        came, last = self._came, shares.served
        for entry, _, _ in self.lent:
            if came.pop(entry[ORDER], None) is None:
                parties[entry[PARTY]].gone.append(entry)
                self.served.append(entry)
            if entry[ARRIVAL_NS]:
                last[entry[PRIORITY]] = entry[ARRIVAL_NS]
        self.stay = came.values()
        for entry in self.stay:
            parties[entry[PARTY]].stay.append(entry)
        for ahead in parties.values():
            ahead.apply(per_key)
        shares.settle(ahead.party for ahead in parties.values())
