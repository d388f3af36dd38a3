"""What a lane would be after the messages of the turn being decided: the lane stays as it is."""

from __future__ import annotations

from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.decider import NOTHING, ClearOpen, Decision, Send, SetOpen
from goclaw_actors.lane.state import waiting
from goclaw_actors.messages import Enqueue, Release, SlotLeased, SlotRefused
from goclaw_events.facts import LaneAdvanced, LaneRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from goclaw_actors.lane.state import Entry, Lane

LEASES_PER_TURN_MAX: Final = 256
_LEASED: Final = SlotLeased()
_FULL: Final = "lane_full"


class Draft:
    """One turn of a lane: what comes and goes, message by message, then who gets what is free.

    `concurrency` is the lane's, or the one that is being declared.
    """

    __slots__ = ("concurrency", "lane", "queued", "released", "withdrawn")

    def __init__(self, lane: Lane, concurrency: int) -> None:
        self.lane = lane
        self.concurrency = concurrency
        self.released: dict[str, None] = {}
        self.withdrawn: dict[str, None] = {}
        self.queued: dict[str, tuple[str, int, bool]] = {}

    def take(self, messages: Iterable[Any]) -> None:
        """Take in messages, in order of arrival."""
        for message in messages:
            if type(message) is Enqueue:
                self._enqueue(*message)
            elif type(message) is Release:
                self._release(message.task)
            else:
                self._withdraw(message.task)

    def _waits(self, task: str) -> bool:
        if task in self.queued:
            return True
        return task in self.lane.queued and task not in self.withdrawn

    def _holds(self, task: str) -> bool:
        return task in self.lane.leased and task not in self.released

    @property
    def _waiting(self) -> int:
        return len(self.lane.queued) - len(self.withdrawn) + len(self.queued)

    @property
    def _free(self) -> int:
        return max(0, self.concurrency - len(self.lane.leased) + len(self.released))

    def _enqueue(self, task: str, priority: int, at_head: bool) -> None:  # noqa: FBT001 - as the message has it
        if not (self._waits(task) or self._holds(task)):
            self.queued[task] = (task, priority, at_head)

    def _release(self, task: str) -> None:
        if self._holds(task):
            self.released[task] = None

    def _withdraw(self, task: str) -> None:
        if self.queued.pop(task, None) is None and self._waits(task):
            self.withdrawn[task] = None
        else:
            self._release(task)

    def refuse(self) -> list[str]:
        """Take out who came last and has no room to wait; return them in order of arrival.

        Who gets a slot in this turn takes no room. Who comes back at the head had room before.
        """
        excess = self._waiting - self._free - self.lane.capacity
        if excess <= 0:
            return []
        new = [task for task, _, at_head in self.queued.values() if not at_head]
        refused = new[-excess:]
        for task in refused:
            del self.queued[task]
        return refused

    def leases(self) -> list[str]:
        """Return the tasks that get the free slots, first in the order of the queue."""
        wanted = min(self._free, LEASES_PER_TURN_MAX)
        if wanted == 0:
            return []
        new: Iterable[Entry] = sorted(self._new())
        if self.lane.queue:
            gone = self.withdrawn
            new = merge((entry for entry in waiting(self.lane) if entry[2] not in gone), new)
        return [task for _, _, task in islice(new, wanted)]

    def _new(self) -> Iterable[Entry]:
        """Yield what is queued in this turn as `evolve` will enter it."""
        head, behind = self.lane.head, self.lane.next
        for task, priority, at_head in self.queued.values():
            if at_head:
                head -= 1
                yield -priority, head, task
            else:
                yield -priority, behind, task
                behind += 1

    def decision(self) -> Decision:
        """Return what follows: one fact for all that came, went, and got a slot."""
        refused = self.refuse()
        leased = self.leases()
        facts: list[Any] = []
        sends = [Send(task, _LEASED) for task in leased]
        if self.released or self.withdrawn or self.queued or leased:
            queued = list(self.queued.values())
            facts.append(LaneAdvanced(list(self.released), list(self.withdrawn), queued, leased))
        if refused:
            facts.append(LaneRefused(refused, _FULL))
            sends.extend(Send(task, SlotRefused(_FULL)) for task in refused)
        return Decision(tuple(facts), sends, self._opening()) if facts else NOTHING

    def _opening(self) -> tuple[SetOpen | ClearOpen, ...]:
        """Keep the lane unfinished exactly while a task waits or holds a slot."""
        before = bool(self.lane.leased or self.lane.queued)
        after = self._waiting > 0 or len(self.lane.leased) > len(self.released)
        if before == after:
            return ()
        return (SetOpen("lane", ""),) if after else (ClearOpen(),)
