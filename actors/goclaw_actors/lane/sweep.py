"""Take entries that were withdrawn out of a line's heap before they come to its top.

A heap forgets an entry in its midst only by looking for it. So withdrawn entries stay until they
surface, unless they are many: then every further one that leaves looks at a few places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.lane.entry import ORDER, Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

WITHDRAWN_MIN: Final = 1_024
"""So many withdrawn entries may lie in the heap, besides as many as wait."""
PLACES: Final = 8
"""Looked at each time: where half of them are withdrawn, four times as many as that one adds."""
_SCATTER: Final = 2_654_435_761
"""Knuth's multiplicative hash: neighbours fall far apart."""


def sweep(queue: list[Entry], alive: Mapping[int, Entry], order: int) -> None:
    """Look at some places of the heap, if withdrawn entries are many; `order` just withdrew.

    `alive` are the entries of this heap that wait, by order; what it does not hold was withdrawn.
    Where it looks is scattered by `order`, so that no part of the heap is left out. O(log n).
    """
    for turn in range(PLACES):
        if len(queue) <= 2 * len(alive) + WITHDRAWN_MIN:
            return
        place = (order * PLACES + turn) * _SCATTER % len(queue)
        if queue[place][ORDER] not in alive:
            _remove(queue, place)


def _remove(queue: list[Entry], place: int) -> None:
    """Put the last entry in the place of another, and where it belongs from there."""
    last = queue.pop()
    if place == len(queue):
        return
    while place > 0 and last < queue[above := (place - 1) >> 1]:
        queue[place] = queue[above]
        place = above
    end = len(queue)
    while (below := 2 * place + 1) < end:
        if below + 1 < end and queue[below + 1] < queue[below]:
            below += 1
        if not queue[below] < last:
            break
        queue[place] = queue[below]
        place = below
    queue[place] = last
