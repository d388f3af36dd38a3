"""Write the tables of a log anew without what was deleted, in slices between which one may stop."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from goclaw_events.tables import TABLES, log_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from goclaw_events.rocks.journal import RocksJournal

SLICES: Final = 16
"""The largest tables, frames and blobs, are written anew in so many parts (frames: a partition)."""


def compact_tables(journal: RocksJournal, check: Callable[[], None]) -> None:
    """Compact every table; `check` is called before each slice, and may raise to end it.

    Safe while the log is written. Blocks, for seconds a GiB; other threads run meanwhile.
    Raises `JournalFull`, `JournalUnavailable`.
    """
    for table in TABLES:
        borders = [None, *_borders(journal, table), None]
        for start, stop in pairwise(borders):
            check()
            journal.tables.compact(table, start, stop)


def _borders(journal: RocksJournal, table: str) -> Iterator[bytes]:
    if table == "blobs":  # their keys are hashes
        yield from (bytes([first]) for first in range(0, 256, 256 // SLICES) if first)
    elif table == "log":
        for partition in range(journal.partitions):
            floor = journal.floor(partition)
            step = (journal.durable(partition) - floor) // SLICES + 1
            yield from (log_key(partition, floor + slot * step) for slot in range(SLICES))
