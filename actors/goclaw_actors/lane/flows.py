"""Who waits of one party, and of one key of it: the parts that `Shares` puts in order.

A party's line holds only tasks whose key lets them have a slot: of a key that may have two more,
the first two. The others of it are parked. So who is next in a party is the head of its line,
and a task that neither meets nor leaves a full key costs no more than one without a key.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from goclaw_actors.lane.entry import KEY
from goclaw_actors.lane.levels import Levels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw_actors.lane.entry import Entry


class Flow:
    """The tasks of one key of one party.

    `listed` are in the party's line, in order: at most as many as may run. `parked` come behind
    them. `running` hold a slot.
    """

    __slots__ = ("listed", "parked", "running")

    def __init__(self, running: int = 0) -> None:
        self.listed: list[Entry] = []
        self.parked: Levels | None = None
        self.running = running

    def unlist(self, entry: Entry) -> bool:
        """Take an entry out of those listed; False if it is not one."""
        at = bisect_left(self.listed, entry)
        if at == len(self.listed) or self.listed[at] != entry:
            return False
        del self.listed[at]
        return True


class Party:
    """A tenant, or a workflow, of which `alive` tasks wait and `running` hold a slot.

    Of those that wait `parked` are not in its line.

    `tag` is the virtual time at which its next lease starts, `turn` counts the lane's leases up
    to its last one, `mean_s` is how long its tasks hold a slot. `placed` is (tag, turn) with
    which it stands in the lane's heap, None: it cannot be next. `flows` are its keys but "".
    """

    __slots__ = (
        "alive", "flows", "line", "mean_s", "name", "parked", "placed", "running", "tag", "turn",
        "weight",
    )  # fmt: skip

    def __init__(self, name: str, mean_s: float, weight: float) -> None:
        self.name = name
        self.mean_s = mean_s
        self.weight = weight
        self.alive = 0
        self.flows: dict[str, Flow] = {}
        self.line = Levels()
        self.parked = 0
        self.placed: tuple[float, int] | None = None
        self.running = 0
        self.tag = 0.0
        self.turn = 0

    def enter(self, entries: list[Entry], per_key: int) -> None:
        """Let tasks wait, in ascending order; `per_key` of each key may run."""
        self.alive += len(entries)
        flows = self.flows
        lined_up = []
        for entry in entries:
            if key := entry[KEY]:
                flow = flows.get(key)
                if flow is None:
                    flow = flows[key] = Flow()
                listed = flow.listed
                if flow.running + len(listed) >= per_key and not self._give_way(flow, entry):
                    self._park(flow, entry)
                    continue
                if listed and entry < listed[-1]:
                    insort(listed, entry)
                else:
                    listed.append(entry)
            lined_up.append(entry)
        if lined_up:
            self.line.put_all(lined_up)

    def _give_way(self, flow: Flow, entry: Entry) -> bool:
        """Park the last that is listed of a full key if it comes behind an entry."""
        if not flow.listed or flow.listed[-1] < entry:
            return False
        self._park_last(flow)
        return True

    def _park_last(self, flow: Flow) -> None:
        """Park the last that is listed of a key."""
        last = flow.listed.pop()
        self.line.remove(last)
        self._park(flow, last)

    def _park(self, flow: Flow, entry: Entry) -> None:
        if flow.parked is None:
            flow.parked = Levels()
        flow.parked.put(entry)
        self.parked += 1

    def leave(self, entries: list[Entry]) -> None:
        """Take out tasks that waited; `count` their keys after that."""
        self.alive -= len(entries)
        flows = self.flows
        lined_up = []
        for entry in entries:
            if key := entry[KEY]:
                flow = flows[key]
                if flow.listed and flow.listed[0] is entry:
                    del flow.listed[0]
                elif not flow.unlist(entry):
                    assert flow.parked is not None, "who waits is listed or parked"
                    flow.parked.remove(entry)
                    self.parked -= 1
                    continue
            lined_up.append(entry)
        if lined_up:
            self.line.remove_all(lined_up)

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
        self.alive, self.parked, self.line = 0, 0, Levels()
        running = ((key, flow.running) for key, flow in self.flows.items())
        self.flows = {key: Flow(count) for key, count in running if count}

    def limit(self, per_key: int) -> None:
        """Let another number of each key run. Looks at every key."""
        for flow in self.flows.values():
            while flow.listed and flow.running + len(flow.listed) > per_key:
                self._park_last(flow)
            self._fill(flow, per_key)

    def _fill(self, flow: Flow, per_key: int) -> None:
        """List the first of those that are parked while there is room."""
        while flow.parked and flow.running + len(flow.listed) < per_key:
            entry = flow.parked.first()
            assert entry is not None, "a line that is not empty has a first"
            flow.parked.remove(entry)
            self.parked -= 1
            flow.listed.append(entry)
            self.line.put(entry)
        if not flow.parked:
            flow.parked = None
