"""The tasks of a run that a lane had no room for: the run holds them back until it has.

The lane knows the run only (`lane/room.py`). Of those held back for one lane the highest priority
asks again first, equal ones in the order in which they were held back.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.chunked import Chunked
from goclaw_actors.lane.line import Line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from goclaw_events.plan import PlannedTask

CHUNK_BITS: Final = 10


class Blocked:
    """`rows` hold [plan index, lane] by order; all else follows from them, but `left`.

    `orders`: order by plan index; `counts`: how many by lane; `left`: lanes that were told that
    the run waits no more, and may have said otherwise before they heard it.
    """

    __slots__ = ("_lines", "_next", "counts", "left", "orders", "rows")

    def __init__(self) -> None:
        self.rows: Chunked[Sequence[Any]] = Chunked(CHUNK_BITS)
        self.orders: dict[int, int] = {}
        self.counts: dict[str, int] = {}
        self.left: set[str] = set()
        self._lines: dict[str, Line] = {}
        self._next = 0

    def add(self, lane: str, task: PlannedTask) -> None:
        """Hold a task back."""
        self.rows.put(self._next, (task.index, lane))
        self._enter(lane, task, self._next)
        self._next += 1
        self.left.discard(lane)

    def _enter(self, lane: str, task: PlannedTask, order: int) -> None:
        self.orders[task.index] = order
        self.counts[lane] = self.counts.get(lane, 0) + 1
        line = self._lines.get(lane)
        if line is None:
            line = self._lines[lane] = Line()
        line.put((-task.priority, order, task.index))

    def remove(self, task: PlannedTask) -> str:
        """Hold a task back no more; return for which lane it was."""
        order = self.orders.pop(task.index)
        row = self.rows.get(order)
        assert row is not None, "who is held back has a row"
        self.rows.remove(order)
        lane: str = row[1]
        self.counts[lane] -= 1
        if self.counts[lane]:
            self._lines[lane].remove((-task.priority, order, task.index))
        else:
            del self.counts[lane]
            del self._lines[lane]
        return lane

    def first(self, lane: str, count: int) -> Iterator[int]:
        """Yield who asks a lane again first, up to so many, as plan indexes."""
        for _, _, index in islice(self._lines.get(lane, ()), count):
            yield index

    def lane_of(self, index: int) -> str | None:
        """Return for which lane a task is held back; None: it is not."""
        order = self.orders.get(index)
        row = None if order is None else self.rows.get(order)
        return None if row is None else row[1]

    def restore(
        self, tasks: Sequence[PlannedTask], chunks: Mapping[int, dict[int, Any]], left: list[str]
    ) -> None:
        """Fill in what was written away."""
        self.rows = Chunked(CHUNK_BITS, chunks)
        self.left = set(left)
        for order, (index, lane) in self.rows.items():
            self._enter(lane, tasks[index], order)
            self._next = max(self._next, order + 1)
