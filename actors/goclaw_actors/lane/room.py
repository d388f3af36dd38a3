"""Room in the queue of a lane that blocks: the runs that wait for it, and what is kept for them.

A lane keeps one waiter a run, in the order in which they came, however many tasks of it found no
room: those the run itself holds back (`blocked.py`). When there is room, places are kept
for the first runs, each lets so many tasks ask again, and lines up anew if it has more. So nothing
waits inside a turn, runs take turns, and who comes later does not take the place of who waits.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.lending import LeaveRoom, ReturnRoom, WaitForRoom
from goclaw_actors.messages import RoomFor
from goclaw_events.facts import LaneRoomChanged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_events.value import Value

PLACES_MAX: Final = 256
"""Places for one run at a time: as many tasks as it can tell in one turn."""
RUNS_PER_TURN_MAX: Final = 64
STEP_MAX: Final = 32
STEP_DIVISOR: Final = 16
"""Room is given once a sixteenth of the capacity is free, so that it comes some at a time."""


class Room:
    """`waiters`: runs in order. `kept`: places kept for runs, `places` how many these are."""

    __slots__ = ("kept", "places", "waiters")

    def __init__(self) -> None:
        self.waiters: dict[str, None] = {}
        self.kept: dict[str, int] = {}
        self.places = 0

    def apply(self, fact: LaneRoomChanged) -> None:
        """Change in place."""
        for run, count in fact.used:
            self._keep(run, -count)
        for run in fact.left:
            del self.waiters[run]
        self.waiters.update(dict.fromkeys(fact.came))
        for run, count in fact.given:
            del self.waiters[run]
            self._keep(run, count)

    def _keep(self, run: str, count: int) -> None:
        self.places += count
        left = self.kept.get(run, 0) + count
        if left:
            self.kept[run] = left
        else:
            del self.kept[run]


def room_root(room: Room) -> Value:
    """Return the room as plain data."""
    return [list(room.waiters), dict(room.kept)]


def restored_room(root: Any) -> Room:
    """Undo `room_root`."""
    room = Room()
    waiters, room.kept = root
    room.waiters = dict.fromkeys(waiters)
    room.places = sum(room.kept.values())
    return room


class RoomDraft:
    """The room as it would be after a turn."""

    __slots__ = ("_came", "_given", "_left", "_room", "_used", "places")

    def __init__(self, room: Room) -> None:
        self._room = room
        self.places = room.places
        self._used: dict[str, int] = {}
        self._left: dict[str, None] = {}
        self._came: dict[str, None] = {}
        self._given: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._room.waiters) - len(self._left) + len(self._came) - len(self._given)

    def take(self, message: WaitForRoom | LeaveRoom | ReturnRoom) -> None:
        """Take in what a run says."""
        match message:
            case WaitForRoom(run):
                self.wait(run)
            case LeaveRoom(run):
                self._leave(run)
            case ReturnRoom(run, places):
                self.use(run, places)

    def waits(self, run: str) -> bool:
        """Tell whether a run waits for room, or hears in this turn that there is some."""
        if run in self._came:
            return True
        return run in self._room.waiters and run not in self._left

    def wait(self, run: str) -> None:
        """Line a run up, unless it waits already."""
        if not self.waits(run):
            self._came[run] = None

    def _leave(self, run: str) -> None:
        if run in self._came:
            del self._came[run]
        elif run in self._room.waiters:
            self._left[run] = None

    def use(self, run: str, places: int = 1) -> bool:
        """Keep places less for a run; False if none was kept for it."""
        used = self._used.get(run, 0)
        count = min(places, self._room.kept.get(run, 0) - used)
        if count <= 0:
            return False
        self._used[run] = used + count
        self.places -= count
        return True

    def use_all(self) -> None:
        """Keep nothing for anybody: what was said about it may be gone."""
        for run in self._room.kept:
            self.use(run, PLACES_MAX * PLACES_MAX)

    def give(self, free: int, capacity: int) -> bool:
        """Keep what is free for those who wait, in order; True if there is more to be given.

        Those who came meanwhile may be given the rest by another call.
        """
        if free < step_of(capacity) or not len(self):
            return False
        runs = list(islice(self._line(), RUNS_PER_TURN_MAX))
        each, more = divmod(free, len(runs))
        for at, run in enumerate(runs):
            places = min(PLACES_MAX, each + (at < more))
            if not places:
                break
            self._given[run] = places
            self.places += places
            free -= places
        return free >= step_of(capacity) and len(self) > 0

    def _line(self) -> Iterator[str]:
        for run in self._room.waiters:
            if run not in self._left and run not in self._given:
                yield run
        for run in self._came:
            if run not in self._given:
                yield run

    def fact(self) -> LaneRoomChanged | None:
        """Return what changes; None: nothing."""
        used, given = ([[run, n] for run, n in of.items()] for of in (self._used, self._given))
        fact = LaneRoomChanged(used, list(self._left), list(self._came), given)
        return fact if any(fact) else None

    def told(self, lane: str) -> Iterator[tuple[str, RoomFor]]:
        """Yield what runs are told: (run, message)."""
        for run, places in self._given.items():
            yield run, RoomFor(lane, places)


def step_of(capacity: int) -> int:
    """Return how much room there has to be before any of it is given."""
    return max(1, min(STEP_MAX, capacity // STEP_DIVISOR))
