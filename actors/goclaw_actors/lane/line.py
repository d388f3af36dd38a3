"""Those who wait, in order: what comes in order costs the same however many wait.

Most entries come behind all that are there. So a line is a few runs, each a map in ascending
order to which entries are added at its ends, and from which any entry is taken; what fits no run
is in a heap. A run costs O(1), the heap O(log n).
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heappop, heappush, merge
from typing import TYPE_CHECKING, Final

from goclaw_actors.lane.entry import ORDER, Entry
from goclaw_actors.lane.sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RUNS_MAX: Final = 4
"""As many priorities as a lane often has at once."""


class Line:
    """Entries by rank and order, the least first.

    `_lasts` holds for each run what was last added at its end: nothing in it comes behind that.
    `_rest` is the heap, `_scattered` those of it that were not taken out, by order; the top of
    the heap is one of those.
    """

    __slots__ = ("_lasts", "_rest", "_runs", "_scattered")

    def __init__(self) -> None:
        self._runs: list[OrderedDict[int, Entry]] = []
        self._lasts: list[Entry] = []
        self._rest: list[Entry] = []
        self._scattered: dict[int, Entry] = {}

    def __len__(self) -> int:
        return sum(map(len, self._runs)) + len(self._scattered)

    def __bool__(self) -> bool:
        return any(self._runs) or bool(self._scattered)

    def put(self, entry: Entry) -> None:
        """Add an entry."""
        for at, run in enumerate(self._runs):
            if not run or self._lasts[at] < entry:
                self._lasts[at] = entry
                run[entry[ORDER]] = entry
                return
        self._put_before(entry)

    def _put_before(self, entry: Entry) -> None:
        """Add an entry that comes behind the end of no run."""
        order = entry[ORDER]
        for run in self._runs:
            if entry < next(iter(run.values())):
                run[order] = entry
                run.move_to_end(order, last=False)
                return
        if len(self._runs) < RUNS_MAX:
            self._runs.append(OrderedDict({order: entry}))
            self._lasts.append(entry)
            return
        self._scattered[order] = entry
        heappush(self._rest, entry)

    def remove(self, entry: Entry) -> None:
        """Take an entry out, wherever it is; raises KeyError."""
        order = entry[ORDER]
        for run in self._runs:
            if run.pop(order, None) is not None:
                return
        del self._scattered[order]
        rest, scattered = self._rest, self._scattered
        sweep(rest, scattered, order)
        while rest and rest[0][ORDER] not in scattered:
            heappop(rest)

    def first(self) -> Entry | None:
        """Return the entry that comes before all others; None if there is none."""
        found = [next(iter(run.values())) for run in self._runs if run]
        if self._rest:
            found.append(self._rest[0])
        return min(found) if len(found) > 1 else found[0] if found else None

    def __iter__(self) -> Iterator[Entry]:
        """Yield all in order; the line may not be changed meanwhile."""
        parts: list[Iterable[Entry]] = [run.values() for run in self._runs if run]
        if self._rest:
            parts.append(self._in_heap())
        return iter(parts[0]) if len(parts) == 1 else merge(*parts)

    def _in_heap(self) -> Iterator[Entry]:
        """Yield those of the heap in order; one costs O(log n) of those before it."""
        rest, scattered = self._rest, self._scattered
        frontier = [(rest[0], 0)]
        while frontier:
            entry, at = heappop(frontier)
            below = 2 * at + 1
            for child, item in enumerate(rest[below : below + 2], below):
                heappush(frontier, (item, child))
            if entry[ORDER] in scattered:
                yield entry
