"""Those who wait in order, and of each priority who is first: a line for each priority."""

from __future__ import annotations

from heapq import merge
from typing import TYPE_CHECKING

from goclaw_actors.lane.entry import PRIORITY
from goclaw_actors.lane.line import Line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from goclaw_actors.lane.entry import Entry


class Levels:
    """Entries by rank and order, the least first. No line is empty.

    What comes back goes before all of its priority, wherever those stand among the others: one
    line of all would have to be searched for them. Most lanes have one priority, or few.
    """

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[int, Line] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __iter__(self) -> Iterator[Entry]:
        """Return all in order; nothing may come or go meanwhile."""
        lines = self._lines.values()
        if len(lines) == 1:
            for line in lines:
                return iter(line)
        return merge(*lines)

    def first(self) -> Entry | None:
        """Return the entry that comes before all others; None if there is none."""
        return next(iter(self), None)

    def first_of(self, priority: int) -> Entry | None:
        """Return the first entry of a priority; None if there is none."""
        line = self._lines.get(priority)
        return None if line is None else line.first()

    def put(self, entry: Entry) -> None:
        """Add an entry."""
        self._line(entry[PRIORITY]).put(entry)

    def put_all(self, entries: list[Entry]) -> None:
        """Add entries in ascending order."""
        for priority, same in _by_priority(entries):
            self._line(priority).put_all(same)

    def _line(self, priority: int) -> Line:
        line = self._lines.get(priority)
        if line is None:
            line = self._lines[priority] = Line()
        return line

    def remove(self, entry: Entry) -> None:
        """Take an entry out, wherever it is; raises KeyError."""
        if self._lines[entry[PRIORITY]].remove(entry):
            del self._lines[entry[PRIORITY]]

    def remove_all(self, entries: list[Entry]) -> None:
        """Take entries out, wherever they are; raises KeyError."""
        one = len(self._lines) == 1 and entries
        by_priority = [(entries[0][PRIORITY], entries)] if one else _by_priority(entries)
        for priority, same in by_priority:
            if self._lines[priority].remove_all(same):
                del self._lines[priority]


def _by_priority(entries: list[Entry]) -> Iterable[tuple[int, list[Entry]]]:
    """Return entries by priority, those of one in the order in which they are."""
    found: dict[int, list[Entry]] = {}
    for entry in entries:
        same = found.get(entry[PRIORITY])
        if same is None:
            found[entry[PRIORITY]] = [entry]
        else:
            same.append(entry)
    return found.items()
