"""The log of an engine on disk."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from typing import TYPE_CHECKING, Final

from goclaw_events.chain import HINT_DAMAGED
from goclaw_events.committer import Committer
from goclaw_events.datalock import DataLock, prepare_directory
from goclaw_events.eras import era_rows
from goclaw_events.errors import (
    CodedError,
    JournalUnavailable,
    LogDamaged,
    LogMismatch,
    LogMissing,
)
from goclaw_events.reading import StoredLog
from goclaw_events.rocks.acknowledged import watermark_faults
from goclaw_events.rocks.archiving import drop_archived, drop_expired
from goclaw_events.rocks.blobfiles import BlobFiles
from goclaw_events.rocks.blobstore import BlobStore
from goclaw_events.rocks.failure import classify
from goclaw_events.rocks.space import require_space
from goclaw_events.rocks.store import RocksStore
from goclaw_events.rocks.stored import (
    BLOB_DIRECTORY,
    LOG_DIRECTORY,
    SEGMENT_DIRECTORY,
    WATERMARK_NAME,
    read_name,
)
from goclaw_events.rocks.torn import cut_tail
from goclaw_events.rocks.wal import wal_bytes
from goclaw_events.segments.baseline import find_baseline
from goclaw_events.segments.rows import ArchivedRows
from goclaw_events.segments.shelf import Shelf, Shelves
from goclaw_events.spool import Spool, tell
from goclaw_events.tips import Tips, meta_rows
from goclaw_events.watermark import Mark, Watermark

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from goclaw_events.framing import EncodedFrame
    from goclaw_events.journal import Done
    from goclaw_events.segments.baseline import BaselineReader
    from goclaw_events.tables import Row
    from goclaw_events.value import BlobRef

    Step = Callable[[str], None]

_log = logging.getLogger(__name__)

STEPS: Final = ("blobs", "write", "flush", "watermark")
SPACE_BYTES_MIN: Final = 4 * 1024 * 1024
"""What opening a log writes at most, besides a table file of what is in its write-ahead log."""


def log_exists(path: Path) -> bool:
    """Tell whether a data directory holds a log."""
    return (path / LOG_DIRECTORY / "CURRENT").exists()


def _refuse_remains(path: Path) -> None:
    """Raise `LogDamaged` where a log was, but nothing says what it is: none may be begun there."""
    if log_exists(path):
        return
    directory = path / LOG_DIRECTORY
    remains = [*directory.glob("*.sst"), *directory.glob("*.log")]
    if remains or (path / WATERMARK_NAME).exists():
        msg = f"{directory / 'CURRENT'} is missing, but facts were recorded in {path}"
        raise LogDamaged(msg, hint=HINT_DAMAGED, path=str(path))


def _no_step(_: str) -> None:
    return


class RocksJournal(StoredLog):
    """Keep a log in `<path>/log` (RocksDB), `<path>/blobs` and `<path>/watermark`.

    `partitions` None takes what the log has (1 for a new one). `create` False raises `LogMissing`
    where there is none. Opening compares the end of every partition with the watermark; with
    `trust_watermark` False the log is opened for reading only, whatever the watermark says
    (`watermark_faults` tells). `passing`: whoever opens it is no engine, and closes it soon.
    `step` is called on the committer's thread before each of `STEPS`; a test holds a flush by
    blocking in it, and fails one by raising.
    Raises `EngineRunning`, `DirectoryBusy`, `LogMismatch`, `LogDamaged`, `LogBehindWatermark`,
    `JournalUnavailable`.
    """

    def __init__(
        self,
        path: Path,
        *,
        partitions: int | None = None,
        create: bool = False,
        trust_watermark: bool = True,
        passing: bool = False,
        step: Step = _no_step,
    ) -> None:
        _refuse_remains(path)
        if not create and not log_exists(path):
            msg = f"there is no log in {path}"
            raise LogMissing(msg, hint="name another --data-dir", path=str(path))
        prepare_directory(path)
        self.path = path
        self._lock = DataLock(path, passing=passing)
        self._step = step
        self._wanted = partitions
        self._trust = trust_watermark
        self._between_commits = threading.Lock()
        self._strangers: frozenset[str] = frozenset()
        self.files_stay = threading.Lock()
        """Held while files are copied, so that none is removed, and while some are removed."""
        self.blob_files = BlobFiles(path / BLOB_DIRECTORY)
        self._blobs = BlobStore(self.blob_files)
        self._store: RocksStore | None = None
        self._watermark: Watermark | None = None
        try:
            store = self._open_store(create=create)
            log_id, count = self._identity(store)
            self.shelves = Shelves(self.segments_path, log_id, count)
            self.shelves.load(store)
            super().__init__(ArchivedRows(store, self.shelves), log_id, count)
            self._open_watermark()
        except BaseException:
            self._let_go()
            raise
        self._tips = Tips(log_id, self._heads)
        self._committer = Committer(self._commit, self._tick)
        self._spool = Spool(self._committer.nudge)
        self._closed = False
        self._tidy()

    def _tidy(self) -> None:
        """Finish what a crash stopped: dropping what was sealed from tables, and what expired.

        Where a file is damaged nothing is dropped.
        """
        if self.segments_path.is_dir():
            self._strangers = frozenset(path.name for path in self.segments_path.iterdir())
        for partition in range(self._partitions if self._trust else 0):
            try:
                drop_archived(self, partition)
                drop_expired(self, partition)
            except LogDamaged as error:
                _log.warning("what is archived was not tidied up: %s", error)

    @property
    def segments_path(self) -> Path:
        """Return the directory of segments."""
        return self.path / SEGMENT_DIRECTORY

    @property
    def tables(self) -> RocksStore:
        """Return the tables alone, without what stands in segments."""
        if self._store is None:
            msg = "the log is closed"
            raise JournalUnavailable(msg)
        return self._store

    # opening

    def _open_store(self, *, create: bool) -> RocksStore:
        directory = self.path / LOG_DIRECTORY
        directory.mkdir(mode=0o700, exist_ok=True)
        self._store = store = self._open_rows(directory, create=create)
        known = (self.path / WATERMARK_NAME).exists()
        if create and not known and store.get("meta", b"format") is None:
            rows = meta_rows(secrets.token_bytes(16), self._wanted or 1, time.time_ns())
            store.write(rows)
            store.flush()
        return store

    def _open_rows(self, directory: Path, *, create: bool) -> RocksStore:
        """Open the database; a tail that a power cut left out of order is first set aside."""
        try:
            return RocksStore(directory, create=create)
        except LogDamaged as error:
            if not self._trust or not cut_tail(self.path, error):
                raise
            return RocksStore(directory, create=create)

    def _identity(self, store: RocksStore) -> tuple[bytes, int]:
        log_id, partitions = read_name(store, str(self.path))
        if self._wanted not in (None, partitions):
            msg = f"the log in {self.path} has {partitions} partitions, not {self._wanted}"
            raise LogMismatch(
                msg, hint="the number is fixed when a log is created", partitions=partitions
            )
        return log_id, partitions

    def _open_watermark(self) -> None:
        if self._trust:
            for fault in self.watermark_faults():
                raise fault
            marks = [Mark(head.era, head.number, head.hash) for head in self._heads]
            self._watermark = Watermark(self.path / WATERMARK_NAME, self._log_id, marks)

    def watermark_faults(self) -> Iterator[CodedError]:
        """Yield what the watermark says was acknowledged and the log does not hold."""
        path = self.path / WATERMARK_NAME
        return watermark_faults(self._source, path, self._log_id, self._heads)

    # writing

    def append(self, frame: EncodedFrame, done: Done) -> None:
        """Queue a frame for the next group commit; waits while the queue is full.

        Raises `LogMismatch` for a frame that does not continue its partition, and
        `JournalUnavailable` after a failed commit, until `recover`, and after `close`.
        """
        if self._committer.failure is None and not self._closed:
            self._writable()
            self._tips.take(frame)
        self._committer.append(frame, done)

    def _commit(self, frames: Sequence[EncodedFrame]) -> None:
        store, watermark = self._writable()
        self._reach("blobs")
        with self._between_commits:
            rows = self._blobs.rows_for(store, frames)
            for frame in frames:
                rows.extend(frame.rows)
            loads = self._spool.take()
            rows.extend(row for load in loads for row in load.rows)
            try:
                self._reach("write")
                store.write(rows)
            except BaseException:
                self._spool.give_back(loads)
                raise
            tell(loads)
            self._reach("flush")
            store.flush()
            self._reach("watermark")
            for frame in frames:
                header = frame.header
                watermark.marks[header.partition] = Mark(header.era, frame.last, frame.hash)
            watermark.write()
            for frame in frames:
                self._durable[frame.header.partition] = frame.last

    def _reach(self, step: str) -> None:
        try:
            self._step(step)
        except Exception as error:
            raise classify(error, f"before the step {step!r} of a commit") from error

    def _writable(self) -> tuple[RocksStore, Watermark]:
        if self._store is None or self._watermark is None:
            msg = "the log is closed, or was opened for reading only"
            raise JournalUnavailable(msg)
        return self._store, self._watermark

    def _tick(self) -> float | None:
        waits_s = self._write_spool()
        due_s = None if self._watermark is None else self._watermark.sync_if_due()
        return due_s if waits_s is None or (due_s is not None and due_s < waits_s) else waits_s

    def ride(self, rows: Sequence[Row], written: Callable[[], None]) -> None:
        """Write rows that no frame stands for; see `Journal.ride`."""
        self._spool.put(rows, written)

    def _write_spool(self) -> float | None:
        """Write what no frame came for; return in how long that is due (None: nothing waits)."""
        left_s = self._spool.left_s()
        if left_s is None or self._store is None or self._committer.failure is not None:
            return None
        if left_s > 0 and not self._closed:
            return left_s
        with self._between_commits:
            loads = self._spool.take()
            try:
                self._writable()[0].write([row for load in loads for row in load.rows])
            except BaseException:
                self._spool.give_back(loads)
                raise
        tell(loads)
        return None

    def rewrite(self, change: Callable[[RocksStore], None], *, durable: bool = False) -> None:
        """Let `change` write rows that no frame stands for, between two commits; any thread.

        Commits wait meanwhile, so it is to be short. With `durable` it is flushed too. Raises
        `JournalUnavailable`, also while the log waits to be recovered.
        """
        with self._between_commits:
            store, _ = self._writable()
            if self._committer.failure is not None:
                msg = "the log waits to be recovered"
                raise JournalUnavailable(msg) from self._committer.failure
            change(store)
            if durable:
                store.flush()

    def begin_later(self, partition: int, below: int) -> None:
        """Let history begin at `below`: what is before it is no longer read."""
        shelf = self.shelves.current.get(partition)
        if shelf is not None and shelf.begin < below:
            readers = tuple(reader for reader in shelf.readers if reader.info.first >= below)
            self.shelves.replace(partition, Shelf(below, shelf.floor, readers))
        self._load_histories()

    def adopt_file(self, name: str) -> None:
        """Let `sweep_segments` leave a file of the archive alone: a fact is going to name it."""
        self._strangers -= {name}

    def sweep_segments(self, named: Collection[str]) -> int:
        """Delete files of the archive that were there at the opening and are not `named`."""
        gone = self._strangers - set(named)
        try:
            for name in gone:
                (self.segments_path / name).unlink(missing_ok=True)
        except OSError as error:
            raise classify(error, f"deleting in {self.segments_path}") from error
        self._strangers -= gone
        return len(gone)

    # reading

    def baseline(self, partition: int) -> BaselineReader | None:
        """Return what stands for the history that was given up (None: none was)."""
        return find_baseline(self.segments_path, self._source, partition)

    def blob(self, ref: BlobRef) -> bytes:
        """Return a blob's packed bytes, its hash compared; raises `BlobMissing`, `LogDamaged`."""
        return self._blobs.read(ref, self._source)

    def has_blob(self, sha256: bytes) -> bool:
        """Tell whether a blob is stored, as a row or as a file."""
        return self._blobs.has(sha256, self._source)

    def watch_blobs(self, *, on: bool) -> None:
        """Begin, or end, to note which blobs frames bring: `remove_blobs` leaves those alone."""
        with self._between_commits:
            self._blobs.watch(on=on)

    def remove_blobs(self, hashes: Collection[bytes]) -> tuple[int, int]:
        """Delete blobs that nothing refers to, between two commits; return (count, bytes).

        Those stay that a frame brought since `watch_blobs`, or that `has_blob` lately said are
        there. A frame that brings one of the others later writes it again. Raises
        `JournalUnavailable`.
        """
        removed: list[tuple[int, int]] = []
        self.rewrite(lambda store: removed.append(self._blobs.remove(store, hashes)), durable=True)
        return removed[0]

    # copies

    def checkpoint(self, path: Path) -> list[Mark]:
        """Copy tables and watermark, as they stand between two commits, into a directory.

        Returns the ends of the partitions. Commits wait meanwhile. Blob files are not copied:
        those that the copy refers to are there, and stay. Raises `JournalUnavailable`.
        """
        with self._between_commits:
            store, watermark = self._writable()
            if self._committer.failure is not None:
                msg = "the log waits to be recovered: what it holds is not known"
                raise JournalUnavailable(msg) from self._committer.failure
            store.checkpoint(path / LOG_DIRECTORY)
            marks = list(watermark.marks)
        Watermark(path / WATERMARK_NAME, self._log_id, marks).close()
        return marks

    def begin_era(self) -> None:
        """Begin a new era in every partition, behind what is stored; while nothing is appended.

        For a log that goes on from a copy: what else was written behind it is another history.
        """
        store, watermark = self._writable()
        self._committer.settle()
        self._load_heads()
        for partition, head in enumerate(self._heads):
            store.write(era_rows(partition, head.era + 1, head.number + 1))
        store.flush()
        self._load_heads()
        watermark.marks = [Mark(head.era, head.number, head.hash) for head in self._heads]
        watermark.write()
        watermark.sync()

    # ending and beginning again

    def recover(self) -> None:
        """Open the log again after a failed commit; heads are then what is really stored.

        Readers that were under way get `JournalUnavailable`. If it raises, the log stays closed to
        writers, and may be recovered again. While the disk is full it stays open for readers.
        """
        self._committer.settle()
        if self._committer.failure is None:
            return
        if self._store is not None:
            require_space(self.path, wal_bytes(self.path / LOG_DIRECTORY) + SPACE_BYTES_MIN)
        self._close_store()
        self._blobs.forget()
        store = self._open_store(create=False)
        self._identity(store)
        self.shelves.load(store)
        self._source = ArchivedRows(store, self.shelves)
        self._load_heads()
        self._open_watermark()
        self._tips = Tips(self._log_id, self._heads)
        self._committer.reset()
        self._committer.nudge()

    def close(self) -> None:
        """Flush what is queued, write the watermark, let go of the directory. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._committer.close()
        try:
            self._write_spool()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        try:
            self._close_store()
        finally:
            self._lock.release()

    def _close_store(self) -> None:
        watermark, self._watermark = self._watermark, None
        store, self._store = self._store, None
        try:
            if watermark is not None:
                watermark.close()
        finally:
            if store is not None:
                store.close()
