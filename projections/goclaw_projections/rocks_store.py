"""Views in a RocksDB database of their own, beside the log."""

from __future__ import annotations

import logging
import shutil
import threading
from typing import TYPE_CHECKING, Final

from rocksdict import (
    BlockBasedOptions,
    DBCompressionType,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)

from goclaw_events.errors import EngineRunning, LogDamaged
from goclaw_events.rocks.failure import classify
from goclaw_projections.errors import ProjectionsError, ViewsDamaged, ViewsUnavailable
from goclaw_projections.store import end_of, raise_closed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rocksdict import RdictIter

    from goclaw_events.errors import CodedError
    from goclaw_projections.store import Change

BUFFER_BYTES: Final = 16 * 1024 * 1024
OPEN_FILES_MAX: Final = 256
_CHUNK_ROWS_FIRST: Final = 32
_CHUNK_ROWS: Final = 512
_BLOOM_BITS: Final = 10
_HINT_DAMAGED: Final = "delete the folder of the views: they are built again from the log"

_log = logging.getLogger(__name__)


class RocksViewStore:
    """Keep views in one column family without a write-ahead log.

    A write goes to one memory table, which is flushed whole: a crash loses the writes since the
    last flush (at most about `BUFFER_BYTES`), never half of one, and what it lost is folded again
    from the log. So nothing here waits for the disk, and no torn log can hinder an open.
    Any thread may call; iterators live only under the lock, so that `close` can let go of all.
    """

    def __init__(self, path: Path, *, keep: bool = False) -> None:
        """Open or create; a damaged database is made anew, with `keep` it raises `ViewsDamaged`."""
        self._path = path
        self._lock = threading.RLock()
        self._unlogged = WriteOptions()
        self._unlogged.disable_wal = True  # type: ignore[assignment, method-assign]  # a property: the stub errs
        self._db: Rdict | None = (_open if keep else _open_or_remake)(path)

    def get(self, key: bytes) -> bytes | None:
        """Return one row's value; raises `ViewsDamaged`, `ViewsUnavailable`."""
        with self._lock:
            try:
                value: bytes | None = self._open_db().get(key)
            except Exception as error:
                raise _typed(error, "reading the views") from error
            return value

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, backwards: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) for the keys that begin with `prefix`, in order of key."""
        wanted = _CHUNK_ROWS_FIRST
        while True:
            rows = self._chunk(prefix, after, wanted, backwards=backwards)
            yield from rows
            if len(rows) < wanted:
                return
            after, wanted = rows[-1][0], _CHUNK_ROWS

    def _chunk(
        self, prefix: bytes, after: bytes | None, wanted: int, *, backwards: bool
    ) -> list[tuple[bytes, bytes]]:
        options = ReadOptions()
        options.set_verify_checksums(True)
        options.set_iterate_upper_bound(end_of(prefix))
        with self._lock:
            try:
                return _read(
                    self._open_db().iter(options), prefix, after, wanted, backwards=backwards
                )
            except Exception as error:  # noqa: BLE001 - raised below, typed
                typed = _typed(error, "reading the views")
            raise typed  # outside the except: its traceback would keep the iterator alive

    def write(self, changes: Sequence[Change], dropped: Sequence[bytes] = ()) -> None:
        """Delete all keys with the prefixes `dropped`, then put (None: delete), as one write."""
        batch = WriteBatch(raw_mode=True)
        for prefix in dropped:
            batch.delete_range(prefix, end_of(prefix))
        put, delete = batch.put, batch.delete
        for key, value in changes:
            if value is None:
                delete(key)
            else:
                put(key, value)
        with self._lock:
            try:
                self._open_db().write(batch, self._unlogged)
            except Exception as error:
                raise _typed(error, "writing the views") from error

    def close(self) -> None:
        """Write what memory holds to disk and let go of the directory; idempotent."""
        with self._lock:
            database, self._db = self._db, None
            if database is None:
                return
            failures = []
            for step in (database.flush, database.close):
                try:
                    step()
                except Exception as error:  # noqa: BLE001 - the other step must be taken too
                    failures.append(error)
            if failures:
                raise _typed(failures[0], "closing the views") from failures[0]

    def _open_db(self) -> Rdict:
        if self._db is None:
            raise_closed()
        return self._db


def _read(
    found: RdictIter, prefix: bytes, after: bytes | None, wanted: int, *, backwards: bool
) -> list[tuple[bytes, bytes]]:
    """Return up to `wanted` rows behind `after`; raises what the iterator's status says.

    The lower end is compared here: rocksdict 0.3.29 sets the upper bound in its place.
    """
    step = found.prev if backwards else found.next
    if backwards:
        found.seek_to_last() if after is None else found.seek_for_prev(after)
    else:
        found.seek(prefix if after is None else after)
    if after is not None and found.valid() and found.key() == after:
        step()
    rows: list[tuple[bytes, bytes]] = []
    while found.valid() and len(rows) < wanted:
        key = found.key()
        if not key.startswith(prefix):
            break
        rows.append((key, found.value()))
        step()
    found.status()
    return rows


def _open_or_remake(path: Path) -> Rdict:
    try:
        return _open(path)
    except ViewsDamaged as damage:
        _log.warning("the views at %s are damaged and are built again: %s", path, damage)
    shutil.rmtree(path)
    return _open(path)


def _open(path: Path) -> Rdict:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return Rdict(str(path), _options())
    except Exception as error:
        raise _typed(error, f"opening {path}") from error


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(BUFFER_BYTES)
    options.set_max_open_files(OPEN_FILES_MAX)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(2)
    options.set_compression_type(DBCompressionType.lz4())
    blocks = BlockBasedOptions()
    blocks.set_bloom_filter(_BLOOM_BITS, False)
    blocks.set_format_version(5)
    options.set_block_based_table_factory(blocks)
    return options


def _typed(error: Exception, doing: str) -> CodedError:
    if isinstance(error, ProjectionsError):
        return error
    found = classify(error, doing)
    if isinstance(found, EngineRunning):
        return found
    if isinstance(found, LogDamaged):
        return ViewsDamaged(found.message, hint=_HINT_DAMAGED)
    return ViewsUnavailable(found.message, hint="the log is whole; free space or mend the disk")
