"""Who waits of one party, and of one key of it: the parts that `Shares` puts in order.

A party's line holds only tasks whose key lets them have a slot: of a key that may have two more,
the first two. The others of it are parked. So who is next in a party is the head of its line,
and a task that neither meets nor leaves a full key costs no more than one without a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_actors.lane.entry import KEY, ORDER
from goclaw_actors.lane.line import Line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_actors.lane.entry import Entry


class Flow:
    """The tasks of one key of one party.

    `listed` are in the party's line, by order; `parked` come behind them. `running` hold a slot.
    """

    __slots__ = ("listed", "parked", "running")

    def __init__(self, running: int = 0) -> None:
        self.listed: dict[int, Entry] = {}
        self.parked: Line | None = None
        self.running = running


class Party:
    """A tenant, or a workflow, of which `alive` tasks wait and `running` hold a slot.

    `tag` is the virtual time at which its next lease starts, `turn` counts the lane's leases up
    to its last one, `mean_s` is how long its tasks hold a slot. `listed` is (tag, turn) with
    which it stands in the lane's heap, None: it cannot be next. `flows` are its keys but "".
    """

    __slots__ = (
        "alive", "flows", "line", "listed", "mean_s", "name", "running", "tag", "turn", "weight",
    )  # fmt: skip

    def __init__(self, name: str, mean_s: float, weight: float) -> None:
        self.name = name
        self.mean_s = mean_s
        self.weight = weight
        self.alive = 0
        self.flows: dict[str, Flow] = {}
        self.line = Line()
        self.listed: tuple[float, int] | None = None
        self.running = 0
        self.tag = 0.0
        self.turn = 0

    def enter(self, entry: Entry, per_key: int) -> None:
        """Let a task wait; `per_key` of each key may run."""
        self.alive += 1
        if key := entry[KEY]:
            flow = self.flows.get(key)
            if flow is None:
                flow = self.flows[key] = Flow()
            if flow.running + len(flow.listed) >= per_key and not self._give_way(flow, entry):
                if flow.parked is None:
                    flow.parked = Line()
                flow.parked.put(entry)
                return
            flow.listed[entry[ORDER]] = entry
        self.line.put(entry)

    def _give_way(self, flow: Flow, entry: Entry) -> bool:
        """Park the last that is listed of a full key if it comes behind an entry."""
        first = flow.parked.first() if flow.parked is not None else None
        if not flow.listed or (first is not None and first < entry):
            return False
        last = max(flow.listed.values())
        if last < entry:
            return False
        self._park(flow, last)
        return True

    def _park(self, flow: Flow, entry: Entry) -> None:
        del flow.listed[entry[ORDER]]
        self.line.remove(entry)
        if flow.parked is None:
            flow.parked = Line()
        flow.parked.put(entry)

    def leave(self, entry: Entry) -> None:
        """Take out a task that waited; `count` its key after that."""
        self.alive -= 1
        if key := entry[KEY]:
            flow = self.flows[key]
            if flow.listed.pop(entry[ORDER], None) is None:
                assert flow.parked is not None, "who waits is listed or parked"
                flow.parked.remove(entry)
                return
        self.line.remove(entry)

    def count(self, keys: Mapping[str, int], per_key: int) -> None:
        """Note how many of some keys run, and list more of them where there is room."""
        flows = self.flows
        for key, running in keys.items():
            flow = flows.get(key)
            if flow is None:
                if running:
                    flows[key] = Flow(running)
                continue
            flow.running = running
            if flow.parked:
                self._fill(flow, per_key)
            elif not (running or flow.listed):
                del flows[key]

    def hold(self, key: str) -> None:
        """Count a task that holds a slot already."""
        self.running += 1
        if key:
            self.flows.setdefault(key, Flow()).running += 1

    def clear(self) -> None:
        """Forget who waits."""
        self.alive, self.line = 0, Line()
        running = ((key, flow.running) for key, flow in self.flows.items())
        self.flows = {key: Flow(count) for key, count in running if count}

    def limit(self, per_key: int) -> None:
        """Let another number of each key run. Looks at every key."""
        for flow in self.flows.values():
            for entry in sorted(flow.listed.values())[max(0, per_key - flow.running) :]:
                self._park(flow, entry)
            self._fill(flow, per_key)

    def _fill(self, flow: Flow, per_key: int) -> None:
        """List the first of those that are parked while there is room."""
        parked = flow.parked
        while parked and flow.running + len(flow.listed) < per_key:
            entry = parked.first()
            assert entry is not None, "a line that is not empty has a first"
            parked.remove(entry)
            flow.listed[entry[ORDER]] = entry
            self.line.put(entry)
        if not parked:
            flow.parked = None
