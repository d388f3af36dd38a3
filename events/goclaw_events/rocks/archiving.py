"""Empty the tables of what stands in a sealed segment, in small steps that can stop anywhere."""

from __future__ import annotations

from itertools import groupby, islice
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.reading import after_prefix
from goclaw_events.segments.baseline import BaselineReader
from goclaw_events.segments.disk import disk_error
from goclaw_events.segments.fold import run_of
from goclaw_events.segments.reader import ENDED
from goclaw_events.segments.records import dropped_key, ended_key, shelved_key
from goclaw_events.segments.shelf import Shelf, begin_of, read_infos
from goclaw_events.tables import Row, log_key, u16, u64
from goclaw_events.watermark import sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from goclaw_events.rocks.journal import RocksJournal
    from goclaw_events.rocks.store import RocksStore
    from goclaw_events.segments.reader import SegmentReader

    Step = Callable[[str], None]

BATCH_ROWS_MAX: Final = 1_000
"""How many rows are written between two commits; they wait for about a millisecond."""
STEPS: Final = ("check", "ended", "shelve", "streams", "log", "snapshots", "done")


class Dropped(NamedTuple):
    """What was moved: segments that are read from now on, runs that left a row, rows deleted."""

    segments: int
    ended: int
    rows: int


def drop_archived(journal: RocksJournal, partition: int, *, step: Step = lambda _: None) -> Dropped:
    """Read what was sealed from its segments from now on, and delete it from the tables.

    To be called when the fact `SegmentSealed` is durable, and after every opening: it goes on
    where it was stopped, and does nothing where nothing is left to do. Every segment is read and
    compared before anything is deleted. Blocks; run it off the threads that decide; readers and
    commits go on meanwhile. `step` is called before each of `STEPS`.
    Raises `LogDamaged` (nothing was deleted), `JournalUnavailable`, `JournalFull`.
    """
    tables = journal.tables
    floor = journal.floor(partition)
    if floor == _number(tables, dropped_key(partition)):
        return Dropped(0, 0, 0)
    return _Dropping(journal, partition, floor, step).run()


def drop_expired(journal: RocksJournal, partition: int) -> int:
    """Delete the files of what was given up; return how many.

    To be called when the fact `SegmentsExpired` is durable, and after every opening; nothing is
    done where nothing is left to do. From now on reading below raises `HistoryExpired`. The
    baseline is read and compared before anything is deleted. Waits while files are copied.
    Raises `LogDamaged` (nothing was deleted), `JournalBroken`.
    """
    history = begin_of(journal.tables, partition)
    if history is None:
        return 0
    directory = journal.segments_path
    gone = [
        info.name for info in read_infos(journal.tables, partition) if info.last < history.below
    ]
    baselines = directory.glob(f"{partition}-*.baseline")
    gone += [path.name for path in baselines if path.name != history.baseline]
    gone = [name for name in gone if (directory / name).exists()]
    BaselineReader(directory / history.baseline, history.digest).check()
    journal.begin_later(partition, history.below)
    if not gone:
        return 0
    with journal.files_stay:
        try:
            for name in gone:
                (directory / name).unlink(missing_ok=True)
            sync_directory(directory)
        except OSError as error:
            raise disk_error(error, f"deleting expired segments in {directory}") from error
    return len(gone)


class _Dropping:
    """One cleaning up under way."""

    def __init__(self, journal: RocksJournal, partition: int, floor: int, step: Step) -> None:
        self._journal = journal
        self._partition = partition
        self._floor = floor
        self._step = step
        self._rows = 0

    def run(self) -> Dropped:
        """Check, keep what outlives the rows, let readers change over, delete."""
        journal, partition = self._journal, self._partition
        emptied = _number(journal.tables, dropped_key(partition))
        shelved = _number(journal.tables, shelved_key(partition))
        history = begin_of(journal.tables, partition)
        begin = 1 if history is None else history.below
        infos = [i for i in read_infos(journal.tables, partition) if begin <= i.first < self._floor]
        readers = [journal.shelves.reader(partition, info) for info in infos]
        ended = 0
        if shelved < self._floor:
            self._step("check")
            fresh = [reader for reader in readers if reader.info.first >= shelved]
            for reader in fresh:
                reader.check()
            self._step("ended")
            ended = sum(self._keep_ended(reader) for reader in fresh)
            self._step("shelve")
            row = Row("meta", shelved_key(partition), u64(self._floor))
            journal.rewrite(lambda store: store.write([row]), durable=True)
            journal.shelves.replace(partition, Shelf(begin, self._floor, tuple(readers)))
        self._delete([reader for reader in readers if reader.info.first >= emptied])
        return Dropped(len(infos), ended, self._rows)

    def _keep_ended(self, reader: SegmentReader) -> int:
        count = 0
        for batch in _batches(reader.rows(ENDED)):
            rows = [Row("ended", key, value) for key, value in batch]
            count += len(rows)
            self._journal.rewrite(lambda store, rows=rows: store.write(rows))  # type: ignore[misc]
        return count

    def _delete(self, readers: list[SegmentReader]) -> None:
        partition = self._partition
        self._step("streams")
        for reader in readers:
            for batch in _batches(reader.rows()):
                self._remove("streams", (key for key, _ in batch))
        self._step("log")
        start, stop = log_key(partition, 0), log_key(partition, self._floor)
        self._journal.rewrite(lambda store: store.delete_range("log", start, stop))
        self._step("snapshots")
        for prefix in list(self._streams_of_ended()):
            for table in ("snapshots", "chunks"):
                found = self._journal.tables.scan(table, prefix, after_prefix(prefix))
                for batch in _batches(found):
                    self._remove(table, (key for key, _ in batch))
        self._step("done")
        row = Row("meta", dropped_key(partition), u64(self._floor))
        self._journal.rewrite(lambda store: store.write([row]), durable=True)

    def _remove(self, table: str, keys: Iterable[bytes]) -> None:
        rows = [Row(table, key, None) for key in keys]
        self._rows += len(rows)
        self._journal.rewrite(lambda store: store.write(rows))

    def _streams_of_ended(self) -> Iterator[bytes]:
        """Yield how the keys begin of each stream that has snapshots and is of an ended run."""
        tables, partition = self._journal.tables, self._partition
        rows = tables.scan("snapshots", u16(partition), u16(partition + 1))
        for prefix, _ in groupby(rows, lambda row: row[0][:-8]):
            run = run_of(prefix[4:].decode())
            if run is not None and tables.get("ended", ended_key(partition, run)) is not None:
                yield prefix


def _batches(rows: Iterator[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    while batch := list(islice(rows, BATCH_ROWS_MAX)):
        yield batch


def _number(tables: RocksStore, key: bytes) -> int:
    """Return a number of `meta` (1: it is not there, nothing was moved)."""
    stored = tables.get("meta", key)
    return 1 if stored is None else int.from_bytes(stored, "big")
