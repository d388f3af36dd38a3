"""A party as it will be after a turn that is being worked out; the party stays as it is."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from goclaw_actors.lane.entry import KEY, ORDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from goclaw_actors.lane.entry import Entry
    from goclaw_actors.lane.flows import Party


class Ahead:
    """`head` is who goes next, if anybody may; `following` are those behind.

    `came` are those who came, and those parked for whose key there is room now. `keys` tells how
    many run of each key that the turn met. `price`: what a task of cost 1 is charged in advance.
    What becomes of it: those that wait no more are `gone`, of those who came some `stay`.
    """

    __slots__ = (
        "came", "flows", "following", "gone", "head", "keys", "mean_s", "party", "price", "running",
        "stay", "tag", "turn", "waits", "weight",
    )  # fmt: skip

    def __init__(self, party: Party) -> None:
        self.party = party
        self.came: list[Entry] = []
        self.flows = party.flows
        self.following: Iterator[Entry]
        self.gone: list[Entry] = []
        self.head: Entry | None = None
        self.keys: dict[str, int] = {}
        self.mean_s = party.mean_s
        self.price = 0.0
        self.running = party.running
        self.stay: list[Entry] = []
        self.tag = party.tag
        self.turn = party.turn
        self.waits = party.alive > 0
        self.weight = party.weight

    def of_key(self, key: str) -> int:
        """Return how many of a key run."""
        running = self.keys.get(key)
        if running is None:
            flow = self.flows.get(key)
            running = self.keys[key] = 0 if flow is None else flow.running
        return running

    def line_up(self, gone: Mapping[int, Any], per_key: int) -> None:
        """Have a head, once all that comes and goes was told."""
        if self.party.parked:
            self._free_parked(gone, per_key)
        self.came.sort(reverse=True)
        self.price = self.mean_s / self.weight
        self.following = self._in_order(gone, per_key)
        self.head = next(self.following, None)

    def _free_parked(self, gone: Mapping[int, Any], per_key: int) -> None:
        """Put those parked for whose key there is room now to who came."""
        for key, running in self.keys.items():
            flow = self.flows.get(key)
            if flow is None or not flow.parked:
                continue
            room = per_key - running - len(flow.listed)
            if gone:
                room += sum(entry[ORDER] in gone for entry in flow.listed)
            if room > 0:
                stay = (entry for entry in flow.parked if entry[ORDER] not in gone)
                self.came.extend(islice(stay, room))

    def _in_order(self, gone: Mapping[int, Any], per_key: int) -> Iterator[Entry]:
        """Yield those whose key has room when it is their turn."""
        came, keys, flows = self.came, self.keys, self.flows
        line = iter(self.party.line)
        top = next(line, None)
        while True:
            if came and (top is None or came[-1] < top):
                entry = came.pop()
            elif top is not None:
                entry, top = top, next(line, None)
            else:
                return
            if key := entry[KEY]:
                running = keys.get(key)
                if running is None:
                    flow = flows.get(key)
                    running = keys[key] = 0 if flow is None else flow.running
                if running >= per_key:
                    continue
            if not (gone and entry[ORDER] in gone):
                yield entry

    def apply(self, per_key: int) -> None:
        """Make the party what it was to be."""
        party = self.party
        party.tag, party.turn, party.mean_s = self.tag, self.turn, self.mean_s
        party.running = self.running
        if self.gone:
            party.leave(self.gone)
        party.count(self.keys, per_key)
        if self.stay:
            self.stay.sort()
            party.enter(self.stay, per_key)
