"""Forget what is kept beside facts: which runs there were, and what tasks emitted."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final

from goclaw_events.output import OUTPUT, output_prefix, read_chunk
from goclaw_events.poisoned import POISONED
from goclaw_events.segments.records import read_ended
from goclaw_events.tables import Row, u16

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from goclaw_events.rocks.journal import RocksJournal

BATCH_ROWS_MAX: Final = 1000
SLOT_NS: Final = 10 * 10**9
"""What was emitted within so long goes together, where it is too much."""
_RUN_PLACE: Final = 2
"""Where in a key of `ended` the run begins."""


def forget_ended(
    journal: RocksJournal, partition: int, before_ns: int, check: Callable[[], None]
) -> int:
    """Delete from `ended` runs that ended before a time and have no fact left; return how many.

    What their tasks emitted goes first: the id may be used again, by another run.
    Kept are runs of which a segment is still there, runs that a bug ended (their streams take
    nothing any more), and rows that older versions wrote, which say no time. `check` is called
    before each batch is deleted, and may raise. Blocks: reads the whole table. Raises `LogDamaged`,
    `JournalUnavailable`.
    """
    count = 0
    doomed = _doomed(journal, partition, before_ns)
    while keys := list(islice(doomed, BATCH_ROWS_MAX)):
        for key in keys:
            _delete(journal, OUTPUT, _keys_of(journal, partition, key[_RUN_PLACE:].decode()), check)
        count += _delete(journal, "ended", iter(keys), check)
    return count


def _doomed(journal: RocksJournal, partition: int, before_ns: int) -> Iterator[bytes]:
    history = journal.history(partition)
    for key, value in journal.rows("ended", u16(partition)):
        ended = read_ended(value)
        is_gone = ended.segment < history and ended.state != POISONED
        if is_gone and 0 < ended.time_ns <= before_ns:
            yield key


def _keys_of(journal: RocksJournal, partition: int, run_id: str) -> Iterator[bytes]:
    return (key for key, _ in journal.rows(OUTPUT, output_prefix(partition, run_id)))


def forget_output_of(
    journal: RocksJournal, partition: int, runs: Iterable[str], check: Callable[[], None]
) -> int:
    """Delete what the tasks of some runs emitted; return how many chunks. As `forget_output`."""
    return sum(_delete(journal, OUTPUT, _keys_of(journal, partition, run), check) for run in runs)


def forget_output(
    journal: RocksJournal, partition: int, before_ns: int, check: Callable[[], None]
) -> int:
    """Delete the chunks that tasks emitted before a time; return how many.

    `check` is called before each batch is deleted, and may raise. Blocks: reads the whole table.
    Raises `LogDamaged`, `JournalUnavailable`.
    """
    old = (
        key
        for key, value in journal.rows(OUTPUT, u16(partition))
        if read_chunk(key, value).time_ns < before_ns
    )
    return _delete(journal, OUTPUT, old, check)


def output_sizes(journal: RocksJournal, partition: int, check: Callable[[], None]) -> Counter[int]:
    """Return how many bytes of output came in which slot of `SLOT_NS`. As `forget_output`."""
    sizes: Counter[int] = Counter()
    for number, (key, value) in enumerate(journal.rows(OUTPUT, u16(partition))):
        if number % BATCH_ROWS_MAX == 0:
            check()
        sizes[read_chunk(key, value).time_ns // SLOT_NS] += len(key) + len(value)
    return sizes


def first_kept_ns(sizes: Counter[int], bytes_max: int) -> int:
    """Return from when on to keep output, so that it takes no more than `bytes_max`."""
    kept = 0
    for slot in sorted(sizes, reverse=True):
        kept += sizes[slot]
        if kept > bytes_max:
            return (slot + 1) * SLOT_NS
    return 0


def _delete(
    journal: RocksJournal, table: str, keys: Iterator[bytes], check: Callable[[], None]
) -> int:
    count = 0
    while rows := [Row(table, key, None) for key in islice(keys, BATCH_ROWS_MAX)]:
        check()
        journal.rewrite(lambda store, rows=rows: store.write(rows))  # type: ignore[misc]
        count += len(rows)
    return count
