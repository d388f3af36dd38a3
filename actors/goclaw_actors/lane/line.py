"""Those who wait, in order: what comes in order costs the same however many wait."""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import chain
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_actors.lane.entry import Entry

PART_MAX: Final = 512
"""Entries of a part: to move half of them by one place takes less than to look one of them up."""


class Line:
    """Entries by rank and order, the least first, in ascending parts.

    To add one at the end or to take the first out is O(1). Anywhere else it is two binary
    searches, and entries of one part move by one place. No part is empty. `_ends` are the last
    entries of the parts, or what was the last of one before it left.
    """

    __slots__ = ("_ends", "_parts")

    def __init__(self) -> None:
        self._parts: list[list[Entry]] = []
        self._ends: list[Entry] = []

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __bool__(self) -> bool:
        return bool(self._parts)

    def __iter__(self) -> Iterator[Entry]:
        """Yield all in order; the line may not be changed meanwhile."""
        return chain.from_iterable(self._parts)

    def first(self) -> Entry | None:
        """Return the entry that comes before all others; None if there is none."""
        return self._parts[0][0] if self._parts else None

    def put(self, entry: Entry) -> None:
        """Add an entry."""
        ends = self._ends
        if not ends:
            self._parts.append([entry])
            ends.append(entry)
        elif ends[-1] < entry:
            last = self._parts[-1]
            if len(last) < PART_MAX:
                last.append(entry)
                ends[-1] = entry
            else:
                self._parts.append([entry])
                ends.append(entry)
        else:
            at = bisect_left(ends, entry)
            insort(self._parts[at], entry)
            if len(self._parts[at]) > PART_MAX:
                self._cut(at)

    def put_all(self, entries: list[Entry]) -> None:
        """Add entries in ascending order: cheap where they come behind all others."""
        if self._ends and self._ends[-1] < entries[0]:
            last = self._parts[-1]
            if len(last) + len(entries) <= PART_MAX:
                last.extend(entries)
                self._ends[-1] = entries[-1]
                return
        for entry in entries:
            self.put(entry)

    def _cut(self, at: int) -> None:
        """Cut a part in two."""
        part = self._parts[at]
        half = len(part) // 2
        self._parts.insert(at + 1, part[half:])
        del part[half:]
        self._ends.insert(at, part[-1])

    def remove(self, entry: Entry) -> bool:
        """Take an entry out, wherever it is; True if it was the last. Raises KeyError."""
        parts = self._parts
        if parts and parts[0][0] is entry:
            at, place = 0, 0
        else:
            at = bisect_left(self._ends, entry)
            place = bisect_left(parts[at], entry) if at < len(parts) else 0
            if at == len(parts) or place == len(parts[at]) or parts[at][place] != entry:
                raise KeyError(entry)
        del parts[at][place]
        if not parts[at]:
            del parts[at], self._ends[at]
            return not parts
        return False

    def remove_all(self, entries: list[Entry]) -> bool:
        """Take entries out, as `remove` does: cheap where they are the first, in order."""
        parts, count = self._parts, len(entries)
        if not (parts and parts[0][:count] == entries):
            for entry in entries:
                self.remove(entry)
        else:
            del parts[0][:count]
            if not parts[0]:
                del parts[0], self._ends[0]
        return not parts
