"""The timers of one partition that are due soon; the table holds them all."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

from goclaw_events.tables import timer_of, u16, u64

if TYPE_CHECKING:
    from goclaw_events.envelope import TimerRow
    from goclaw_events.journal import Journal

WINDOW_NS: Final = 60_000_000_000


class Timers:
    """A heap over the next minute; later timers wait in the table until their window comes."""

    def __init__(self, journal: Journal, partition: int) -> None:
        self._journal = journal
        self._prefix = u16(partition)
        self._heap: list[TimerRow] = []
        self._armed: set[TimerRow] = set()
        self._fired: set[TimerRow] = set()
        self._loaded_until_ns = 0

    def load(self, now_ns: int) -> None:
        """Read the durable timers of the next window, overdue ones included."""
        until = now_ns + WINDOW_NS
        stop = self._prefix + u64(until)
        for key, _ in self._journal.rows("timers", self._prefix, stop):
            self._push(timer_of(key))
        self._loaded_until_ns = until

    def arm(self, row: TimerRow) -> None:
        """Take in a timer that became durable; one beyond the window is read when it comes near."""
        if row.due_ns < self._loaded_until_ns:
            self._push(row)

    def disarm(self, row: TimerRow) -> None:
        """Forget a timer."""
        self._armed.discard(row)

    def handled(self, row: TimerRow) -> None:
        """Learn that what a timer said was handled: if it still stands in the table, it is anew."""
        self._fired.discard(row)

    def will_fire(self, row: TimerRow) -> bool:
        """Tell whether a timer that stands in the table is armed, or will be when it comes near."""
        return row in self._armed or row.due_ns >= self._loaded_until_ns

    def due(self, now_ns: int) -> list[TimerRow]:
        """Return the timers that are due, in order of time; each once until it was `handled`."""
        if now_ns >= self._loaded_until_ns - WINDOW_NS // 2:
            self.load(now_ns)
        fired = []
        while self._heap and self._heap[0].due_ns <= now_ns:
            row = heappop(self._heap)
            if row in self._armed:
                self._armed.discard(row)
                fired.append(row)
        self._fired.update(fired)
        return fired

    def next_ns(self) -> int:
        """Return when to look again: the next due time, or the middle of the window."""
        while self._heap and self._heap[0] not in self._armed:
            heappop(self._heap)
        later = self._loaded_until_ns - WINDOW_NS // 2
        return min(self._heap[0].due_ns, later) if self._heap else later

    def _push(self, row: TimerRow) -> None:
        if row not in self._armed and row not in self._fired:
            self._armed.add(row)
            heappush(self._heap, row)
