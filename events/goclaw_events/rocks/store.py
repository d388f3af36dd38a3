"""RocksDB as ordered rows: every handle and iterator in one place, so that it can be let go of."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from rocksdict import Checkpoint, CompactOptions, Rdict, ReadOptions, WriteBatch, WriteOptions

from goclaw_events.errors import JournalUnavailable
from goclaw_events.rocks.failure import classify
from goclaw_events.rocks.options import database_options, table_options
from goclaw_events.rocks.wal import check_wal
from goclaw_events.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rocksdict import ColumnFamily, RdictIter

    from goclaw_events.tables import Row

CHUNK_ROWS_MAX: Final = 256
CHUNK_BYTES_MAX: Final = 1024 * 1024


class RocksStore:
    """Rows in RocksDB, a column family a table. Any thread may read; one thread writes.

    RocksDB keeps its lock file while any iterator or column family handle lives, so none leaves
    this class: iterators stand in a registry, are read a chunk at a time under the lock, and are
    dropped before the database is. A reader whose store was closed gets `JournalUnavailable`.
    """

    def __init__(self, path: Path, *, create: bool, salvage: bool = False) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._scans: set[_Scan] = set()
        self._tables: dict[str, Rdict] = {}
        self._handles: dict[str, ColumnFamily] = {}
        self._unsynced = WriteOptions()
        self._unsynced.sync = False
        check_wal(path)
        try:
            options = database_options(create=create, salvage=salvage)
            self._db: Rdict | None = Rdict(str(path), options, column_families=table_options())
            for table in TABLES:
                self._tables[table] = self._db.get_column_family(table)
                self._handles[table] = self._db.get_column_family_handle(table)
        except Exception as error:
            raise classify(error, f"opening {path}") from error

    def write(self, rows: Iterable[Row]) -> None:
        """Write rows as one batch, not flushed: readers see them, a power cut may lose them."""
        batch = WriteBatch(raw_mode=True)
        put, delete, last = batch.put, batch.delete, ""
        for table, key, value in rows:
            if table != last:  # said once for many rows: with each of them it takes twice as long
                batch.set_default_column_family(self._handles[table])
                last = table
            if value is None:
                delete(key)
            else:
                put(key, value)
        try:
            self._open_db().write(batch, self._unsynced)
        except Exception as error:
            raise classify(error, "writing to the log") from error

    def delete_range(self, table: str, start: bytes, stop: bytes) -> None:
        """Delete the rows from `start` (included) to `stop` (excluded) at once, not flushed."""
        batch = WriteBatch(raw_mode=True)
        batch.delete_range(start, stop, self._handles[table])
        try:
            self._open_db().write(batch, self._unsynced)
        except Exception as error:
            raise classify(error, "writing to the log") from error

    def compact(self, table: str, start: bytes | None = None, stop: bytes | None = None) -> None:
        """Write the files of a table anew without what was deleted. Blocks, for seconds a GiB."""
        try:
            self._open_db()
            options = CompactOptions()
            options.set_exclusive_manual_compaction(False)  # RocksDB's own work goes on
            self._tables[table].compact_range(start, stop, options)
        except Exception as error:
            raise classify(error, f"compacting table {table}") from error

    def flush(self) -> None:
        """Make everything written durable; lets other threads run meanwhile."""
        try:
            self._open_db().flush_wal(True)
        except Exception as error:
            raise classify(error, "flushing the log") from error

    def checkpoint(self, path: Path) -> None:
        """Copy the database as it stands into `path`, which must not exist.

        Files that never change are linked where the file system can. Nothing else of the process
        runs meanwhile: RocksDB first writes out what it holds in memory (at most 96 MiB).
        """
        with self._lock:
            try:
                Checkpoint(self._open_db()).create_checkpoint(str(path))
            except Exception as error:
                raise classify(error, f"copying the log to {path}") from error

    def _open_db(self) -> Rdict:
        if self._db is None:
            msg = "the log is closed"
            raise JournalUnavailable(msg)
        return self._db

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return one row's value."""
        with self._lock:
            self._open_db()
            try:
                value: bytes | None = self._tables[table].get(key)
            except Exception as error:
                raise classify(error, f"reading table {table}") from error
            return value

    def has(self, table: str, key: bytes) -> bool:
        """Tell whether a row is there, asking the filters first."""
        with self._lock:
            self._open_db()
            if not self._tables[table].key_may_exist(key):
                return False
        return self.get(table, key) is not None

    def floor(self, table: str, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the last row whose key is `key` or less."""
        with self._lock:
            self._open_db()
            try:
                found = self._tables[table].iter(_read_options(None))
                found.seek_for_prev(key)
                if found.valid():
                    return found.key(), found.value()
                found.status()
            except Exception as error:
                del found
                raise classify(error, f"reading table {table}") from error
            return None

    def scan(self, table: str, start: bytes, stop: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows from `start` (included) to `stop` (excluded; None: the table's end).

        What is written after the first row was asked for is not seen. Raises `LogDamaged` where a
        block cannot be read: it never ends early in silence.
        """
        if stop is not None and stop <= start:
            return
        scan = self._begin(table, start, stop)
        try:
            while chunk := self._chunk(scan, table):
                yield from chunk
        finally:
            with self._lock:
                self._scans.discard(scan)
                scan.rows = None

    def _begin(self, table: str, start: bytes, stop: bytes | None) -> _Scan:
        with self._lock:
            self._open_db()
            scan = _Scan(self._tables[table].iter(_read_options(stop)))
            self._scans.add(scan)
            if scan.rows is not None:
                scan.rows.seek(start)
            return scan

    def _chunk(self, scan: _Scan, table: str) -> list[tuple[bytes, bytes]]:
        with self._lock:
            if scan.rows is None:
                msg = "the log was closed while it was being read"
                raise JournalUnavailable(msg)
            try:
                return scan.read()
            except Exception as error:
                raise classify(error, f"reading table {table}") from error

    def close(self) -> None:
        """Drop iterators, handles and the database, in this order. Idempotent."""
        with self._lock:
            for scan in self._scans:
                scan.rows = None
            self._scans.clear()
            self._handles.clear()
            self._tables.clear()
            database, self._db = self._db, None
            if database is not None:
                try:
                    database.close()
                except Exception as error:
                    raise classify(error, f"closing {self._path}") from error


class _Scan:
    """A running iteration; `rows` is None once its store was closed."""

    __slots__ = ("rows",)

    def __init__(self, rows: RdictIter) -> None:
        self.rows: RdictIter | None = rows

    def read(self) -> list[tuple[bytes, bytes]]:
        """Return the next rows; an empty list is the end, compared with the iterator's status.

        Rows before a block that cannot be read are returned first; the call after that raises.
        """
        chunk: list[tuple[bytes, bytes]] = []
        size = 0
        if self.rows is None:
            return chunk
        while self.rows.valid() and len(chunk) < CHUNK_ROWS_MAX and size < CHUNK_BYTES_MAX:
            row = (self.rows.key(), self.rows.value())
            chunk.append(row)
            size += len(row[1])
            self.rows.next()
        if not chunk:
            self.rows.status()
        return chunk


def _read_options(stop: bytes | None) -> ReadOptions:
    options = ReadOptions()
    options.set_verify_checksums(True)
    if stop is not None:
        options.set_iterate_upper_bound(stop)
    return options
