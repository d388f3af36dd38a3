"""The simulated disk: what is written is readable at once, but durable only when it is flushed.

It models what the RocksDB adapter does (one write of the queue, one flush, then the callbacks)
and what a disk may do to it: refuse, fail after a good write, fail at any call, lose what was not
flushed, tear the last record.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from goclaw_events.errors import JournalBroken, JournalFull
from goclaw_events.memory_journal import MemoryJournal, MemoryRows
from goclaw_events.tables import Row
from tests.simulation.failpoints import Failpoints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_events.errors import CodedError
    from goclaw_events.framing import EncodedFrame
    from goclaw_events.journal import Done
    from goclaw_events.value import BlobRef


class Written(NamedTuple):
    """A frame in the tables that no flush covers yet, and the rows as they were before it."""

    frame: EncodedFrame
    done: Done
    before: list[Row]


class Trouble(NamedTuple):
    """What is wrong with the disk: the error of the call at which `calls` runs out."""

    calls: int
    error: CodedError


class SimDisk(MemoryJournal):
    """A log in memory whose every step the simulation takes, or lets fail."""

    def __init__(
        self,
        partitions: int,
        log_id: bytes,
        points: Failpoints | None = None,
        rows: MemoryRows | None = None,
    ) -> None:
        self.points = points or Failpoints()
        self.trouble: Trouble | None = None
        self.full_reopens = 0
        self._written: deque[Written] = deque()
        super().__init__(partitions=partitions, log_id=log_id, autocommit=False, rows=rows)

    @property
    def waiting(self) -> int:
        """Return how many frames are queued or written, and not durable."""
        return len(self._queue) + len(self._written)

    @property
    def unflushed(self) -> int:
        """Return how many frames can be read and may still be lost."""
        return len(self._written)

    @property
    def at_rest(self) -> bool:
        """Tell whether what can be read is what is durable."""
        return not self._written and self._failure is None

    # -- writing -------------------------------------------------------------------------------

    def append(self, frame: EncodedFrame, done: Done) -> None:
        """Queue a frame."""
        self.points.hit("append")
        super().append(frame, done)

    def write(self, count: int | None = None) -> int:
        """Put the next queued frames into the tables (None: all); return how many."""
        for at in range(len(self._queue) if count is None else min(count, len(self._queue))):
            self.points.hit("between writes" if at else "write")
            error = self._due()
            if error is not None:
                self._break(error)
                return at
            self._write_next()
        return len(self._written)

    def _write_next(self) -> None:
        frame, done = self._queue.popleft()
        rows = [Row("blobs", sha256, data) for sha256, data in frame.blobs.items()]
        rows += frame.rows
        before = [Row(row.table, row.key, self._rows.get(row.table, row.key)) for row in rows]
        self._store(frame)
        self._written.append(Written(frame, done, before))

    def flush(self) -> int:
        """Make durable what is written, then call back, in order; return how many frames."""
        if not self._written:
            return 0
        self.points.hit("before flush")
        error = self._due()
        if error is not None:
            self._break(error)
            return 0
        flushed = list(self._written)
        self._written.clear()
        for frame, _, _ in flushed:
            self._durable[frame.header.partition] = frame.last
        self.points.hit("after flush")
        for at, (_, done, _) in enumerate(flushed):
            if at:
                self.points.hit("between callbacks")
            done(None)
        return len(flushed)

    def commit(self, count: int | None = None) -> int:
        """Write, then flush."""
        self.write(count)
        return self.flush()

    def fail(self, error: CodedError, lost: int) -> None:
        """Let the commit under way fail; `lost` of the written frames are not there afterwards."""
        self._break(error, lost)

    def _break(self, error: CodedError, lost: int = 0) -> None:
        self._failure = error
        told = [*(written.done for written in self._written), *(done for _, done in self._queue)]
        self._undo(lost)
        self._written.clear()
        self._queue.clear()
        for done in told:
            done(error)

    def _undo(self, count: int) -> None:
        """Take the last written frames out of the tables again."""
        for _ in range(min(count, len(self._written))):
            frame, _, before = self._written.pop()
            self._rows.write(reversed(before))
            assert frame.header.first > self._durable[frame.header.partition]

    # -- trouble -------------------------------------------------------------------------------

    def fail_at(self, calls: int, error: CodedError) -> None:
        """Let the call after `calls` more, of whatever kind, fail."""
        self.trouble = Trouble(calls, error)

    def _due(self) -> CodedError | None:
        if self.trouble is None:
            return None
        calls, error = self.trouble
        if calls > 0:
            self.trouble = Trouble(calls - 1, error)
            return None
        self.trouble = None
        return error

    def _call(self) -> None:
        error = self._due()
        if error is not None:
            raise error

    def recover(self) -> None:
        """Take work again after a failed commit, unless the disk is still full."""
        self.points.hit("recover")
        if self.full_reopens > 0:
            self.full_reopens -= 1
            raise JournalFull("still no space left")
        self._call()
        super().recover()

    def crash(self, survive: int = 0, *, power: bool = False) -> SimDisk:
        """Return the disk as the next process finds it.

        Killed alone, a process loses what it had not written; `survive` of that was just being
        written. With the `power` what was not flushed goes too, but for `survive` frames of it.
        """
        if power:
            self._undo(max(0, len(self._written) - survive))
        else:
            for _ in range(min(survive, len(self._queue))):
                self._write_next()
        self._queue.clear()
        self._written.clear()
        self._closed = True
        return SimDisk(self._partitions, self._log_id, self.points, self._rows)

    # -- reading: every call may fail ------------------------------------------------------------

    def stream_frames(
        self, partition: int, stream: str, from_seq: int = 1
    ) -> Iterator[tuple[int, bytes]]:
        """Read a stream; see `Journal.stream_frames`."""
        self._call()
        return super().stream_frames(partition, stream, from_seq)

    def last_seq(self, partition: int, stream: str) -> int:
        """Read where a stream ends."""
        self._call()
        return super().last_seq(partition, stream)

    def rows(
        self,
        table: str,
        prefix: bytes = b"",
        stop: bytes | None = None,
        *,
        after: bytes | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Read rows in order of key."""
        self.points.hit("open")
        self._call()
        return super().rows(table, prefix, stop, after=after)

    def get(self, table: str, key: bytes) -> bytes | None:
        """Read a row."""
        self._call()
        return super().get(table, key)

    def blob(self, ref: BlobRef) -> bytes:
        """Read a blob."""
        self._call()
        return super().blob(ref)


def broken() -> JournalBroken:
    """Return the error of a disk that reports an input/output error."""
    return JournalBroken("input/output error")


def full() -> JournalFull:
    """Return the error of a disk without space."""
    return JournalFull("no space left on the disk")
