"""The log in memory: for tests, the simulation, and engines that keep nothing."""

from __future__ import annotations

import secrets
import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections import deque
from typing import TYPE_CHECKING, Final

from goclaw_events.errors import JournalUnavailable
from goclaw_events.reading import StoredLog, next_head
from goclaw_events.tables import TABLES, Row
from goclaw_events.tips import Tips, meta_rows, read_blob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from goclaw_events.errors import CodedError
    from goclaw_events.framing import EncodedFrame
    from goclaw_events.journal import Done
    from goclaw_events.value import BlobRef

_CHUNK_ROWS: Final = 256


class MemoryRows:
    """Tables as dictionaries with their keys in order. Any thread may read and write."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[bytes, bytes]] = {table: {} for table in TABLES}
        self._keys: dict[str, list[bytes]] = {table: [] for table in TABLES}
        self._lock = threading.Lock()

    def copy(self) -> MemoryRows:
        """Return tables of their own with the same rows."""
        other = MemoryRows()
        with self._lock:
            other._tables = {name: dict(rows) for name, rows in self._tables.items()}
            other._keys = {name: list(keys) for name, keys in self._keys.items()}
        return other

    def write(self, rows: Iterable[Row]) -> None:
        """Put and delete rows, all before any reader sees one."""
        with self._lock:
            for table, key, value in rows:
                if value is None:
                    self._delete(table, key)
                    continue
                if key not in self._tables[table]:
                    insort(self._keys[table], key)
                self._tables[table][key] = value

    def _delete(self, table: str, key: bytes) -> None:
        if self._tables[table].pop(key, None) is not None:
            keys = self._keys[table]
            del keys[bisect_left(keys, key)]

    def scan(self, table: str, start: bytes, stop: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows from `start` (included) to `stop` (excluded; None: the table's end)."""
        rows, keys = self._tables[table], self._keys[table]
        at, include = start, True
        while True:
            with self._lock:
                low = bisect_left(keys, at) if include else bisect_right(keys, at)
                high = len(keys) if stop is None else bisect_left(keys, stop)
                chunk = [(key, rows[key]) for key in keys[low : min(high, low + _CHUNK_ROWS)]]
            if not chunk:
                return
            yield from chunk
            at, include = chunk[-1][0], False

    def floor(self, table: str, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the last row whose key is `key` or less."""
        with self._lock:
            keys = self._keys[table]
            place = bisect_right(keys, key)
            return (keys[place - 1], self._tables[table][keys[place - 1]]) if place else None

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return one row's value."""
        return self._tables[table].get(key)


class MemoryJournal(StoredLog):
    """Keep a log in memory, as the bytes that a disk would hold.

    With `autocommit` a frame is durable, and its `done` called, inside `append`; without, frames
    wait for `commit`, so that a test or the simulation says when a flush returns, fails
    (`fail_next`) or never comes (`crash`). No thread of its own; `append` and `commit` are
    called by one thread at a time.
    """

    def __init__(
        self,
        *,
        partitions: int = 1,
        log_id: bytes | None = None,
        autocommit: bool = True,
        rows: MemoryRows | None = None,
    ) -> None:
        name = secrets.token_bytes(16) if log_id is None else log_id
        self._rows = MemoryRows() if rows is None else rows
        if rows is None:
            self._rows.write(meta_rows(name, partitions, time.time_ns()))
        super().__init__(self._rows, name, partitions)
        self._stored = list(self._heads)
        self._tips = Tips(name, self._heads)
        self.autocommit = autocommit
        self._queue: deque[tuple[EncodedFrame, Done]] = deque()
        self._failure: CodedError | None = None
        self._next_failure: tuple[CodedError, bool] | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """Return how many appended frames wait for `commit`."""
        return len(self._queue)

    def append(self, frame: EncodedFrame, done: Done) -> None:
        """Queue a frame; with `autocommit` commit it at once. See `Journal.append`."""
        if self._closed or self._failure is not None:
            msg = "the log is closed" if self._closed else "the log waits to be recovered"
            raise JournalUnavailable(msg) from self._failure
        self._tips.take(frame)
        self._queue.append((frame, done))
        if self.autocommit:
            self.commit()

    def ride(self, rows: Sequence[Row], written: Callable[[], None]) -> None:
        """Write rows that no frame stands for, at once; see `Journal.ride`."""
        self._rows.write(rows)
        written()

    def fail_next(self, error: CodedError, *, stored: bool = False) -> None:
        """Let the next commit fail with `error`; `stored`: its frames were written all the same."""
        self._next_failure = (error, stored)

    def commit(self, count: int | None = None) -> int:
        """Make the next `count` queued frames durable (None: all) as one group; return how many.

        Rows first, then what is durable, then the callbacks in order, as on a disk.
        """
        group = [
            self._queue.popleft()
            for _ in range(len(self._queue) if count is None else min(count, len(self._queue)))
        ]
        if not group:
            return 0
        if self._next_failure is not None:
            self._fail(group)
            return 0
        for frame, _ in group:
            self._store(frame)
        for frame, _ in group:
            self._durable[frame.header.partition] = frame.last
        for _, done in group:
            done(None)
        return len(group)

    def _store(self, frame: EncodedFrame) -> None:
        self._rows.write(Row("blobs", sha256, data) for sha256, data in frame.blobs.items())
        self._rows.write(frame.rows)
        partition = frame.header.partition
        self._stored[partition] = next_head(self._stored[partition], frame)

    def _fail(self, group: list[tuple[EncodedFrame, Done]]) -> None:
        error, stored = self._next_failure or (JournalUnavailable("commit failed"), False)
        self._next_failure = None
        self._failure = error
        if stored:
            for frame, _ in group:
                self._store(frame)
        group.extend(self._queue)
        self._queue.clear()
        for _, done in group:
            done(error)

    def crash(self, survive: int = 0) -> MemoryJournal:
        """Return the log as the next process finds it, and close this one without callbacks.

        `survive` of the frames that wait for `commit` reached the disk before the crash.
        """
        for _ in range(min(survive, len(self._queue))):
            self._store(self._queue.popleft()[0])
        self._queue.clear()
        self._closed = True
        return self.copy()

    def copy(self) -> MemoryJournal:
        """Return another log with what is stored by now, as another process would find it."""
        return MemoryJournal(
            partitions=self._partitions,
            log_id=self._log_id,
            autocommit=self.autocommit,
            rows=self._rows.copy(),
        )

    def blob(self, ref: BlobRef) -> bytes:
        """Return a blob's packed bytes, its hash compared; raises `BlobMissing`, `LogDamaged`."""
        return read_blob(ref, self._rows.get("blobs", ref.sha256))

    def has_blob(self, sha256: bytes) -> bool:
        """Tell whether a blob is stored."""
        return self._rows.get("blobs", sha256) is not None

    def recover(self) -> None:
        """Take work again after a failed commit; heads are then what is really stored."""
        if self._failure is None:
            return
        self._load_heads()
        self._stored = list(self._heads)
        self._tips = Tips(self._log_id, self._heads)
        self._failure = None

    def close(self) -> None:
        """Commit what is queued and take no more. Idempotent."""
        if not self._closed and self._failure is None:
            self.commit()
        self._closed = True
