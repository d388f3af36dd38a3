"""Forget what is kept beside facts: which runs there were, and what tasks emitted."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from goclaw_events.output import OUTPUT, read_chunk
from goclaw_events.poisoned import POISONED
from goclaw_events.segments.records import read_ended
from goclaw_events.tables import Row, u16

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from goclaw_events.rocks.journal import RocksJournal

BATCH_ROWS_MAX: Final = 1000


def forget_ended(
    journal: RocksJournal, partition: int, before_ns: int, check: Callable[[], None]
) -> int:
    """Delete from `ended` runs that ended before a time and have no fact left; return how many.

    Kept are runs of which a segment is still there, runs that a bug ended (their streams take
    nothing any more), and rows that older versions wrote, which say no time. `check` is called
    before each batch is deleted, and may raise. Blocks: reads the whole table. Raises `LogDamaged`,
    `JournalUnavailable`.
    """
    count = 0
    doomed = _doomed(journal, partition, before_ns)
    while rows := [Row("ended", key, None) for key in islice(doomed, BATCH_ROWS_MAX)]:
        check()
        journal.rewrite(lambda store, rows=rows: store.write(rows))  # type: ignore[misc]
        count += len(rows)
    return count


def _doomed(journal: RocksJournal, partition: int, before_ns: int) -> Iterator[bytes]:
    history = journal.history(partition)
    for key, value in journal.rows("ended", u16(partition)):
        ended = read_ended(value)
        is_gone = ended.segment < history and ended.state != POISONED
        if is_gone and 0 < ended.time_ns <= before_ns:
            yield key


def forget_output(
    journal: RocksJournal, partition: int, before_ns: int, check: Callable[[], None]
) -> int:
    """Delete the chunks that tasks emitted before a time; return how many.

    `check` is called before each batch is deleted, and may raise. Blocks: reads the whole table.
    Raises `LogDamaged`, `JournalUnavailable`.
    """
    count = 0
    old = (
        key
        for key, value in journal.rows(OUTPUT, u16(partition))
        if read_chunk(key, value).time_ns < before_ns
    )
    while rows := [Row(OUTPUT, key, None) for key in islice(old, BATCH_ROWS_MAX)]:
        check()
        journal.rewrite(lambda store, rows=rows: store.write(rows))  # type: ignore[misc]
        count += len(rows)
    return count
