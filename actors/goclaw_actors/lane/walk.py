"""Read a heap in order while it stays as it is."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")


class Walk(Generic[T]):
    """The items of a heap, least first; an item costs O(log n) of those before it."""

    __slots__ = ("_frontier", "_heap")

    def __init__(self, heap: list[T]) -> None:
        self._heap = heap
        self._frontier: list[tuple[T, int]] = [(heap[0], 0)] if heap else []

    def peek(self) -> T | None:
        """Return the next item; None behind the last."""
        return self._frontier[0][0] if self._frontier else None

    def skip(self) -> None:
        """Go on to the item behind the next."""
        _, at = heappop(self._frontier)
        below = 2 * at + 1
        for child, item in enumerate(self._heap[below : below + 2], below):
            heappush(self._frontier, (item, child))
