"""Write a log anew from the frames of another: every table is derived again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from goclaw_events.cut import frames_to
from goclaw_events.errors import CodedError, LogDamaged
from goclaw_events.frame import decode_frame
from goclaw_events.reading import era_key
from goclaw_events.rocks.store import RocksStore
from goclaw_events.tables import Row, derive
from goclaw_events.tips import meta_rows
from goclaw_events.value import BLOB_ROW_BYTES_MAX, references, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from goclaw_events.frame import Frame
    from goclaw_events.rocks.stored import RocksLog

BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
KEPT: Final = ("ended", "output")
"""Tables that do not follow from frames: their rows are copied as far as they can be read."""


def rebuild(log: RocksLog, ends: Sequence[int], target: Path) -> None:
    """Make `target` a log of the frames up to `ends`, with their rows and blobs.

    Snapshots are left out: actors are then folded from the start, and get new ones. The frames
    must be whole (`whole_prefixes`). Raises `LogDamaged`, `JournalFull`, `JournalBroken`.
    """
    target.mkdir(mode=0o700)
    store = RocksStore(target, create=True)
    try:
        _Copy(log, store).run(ends)
    finally:
        store.close()


class _Copy:
    """One copy under way: rows collect until they are worth a write."""

    def __init__(self, log: RocksLog, store: RocksStore) -> None:
        self.log = log
        self.store = store
        self.rows: list[Row] = []
        self.bytes = 0
        self.blobs: set[bytes] = set()

    def run(self, ends: Sequence[int]) -> None:
        """Copy everything; durable when it returns."""
        log = self.log
        self.put(meta_rows(log.log_id, log.partitions, time.time_ns()))
        eras = [era_key(partition) for partition in range(log.partitions)]
        self.put(self.readable("meta", (b"created", *eras)))
        for partition, end in enumerate(ends):
            for data in frames_to(log, partition, end):
                frame = decode_frame(data)
                self.copy_blobs(frame)
                self.put(derive(frame, data))
        for table in KEPT:
            self.copy_table(table)
        self.write()
        self.store.flush()

    def readable(self, table: str, keys: Sequence[bytes]) -> list[Row]:
        """Return the rows of `keys` that can be read."""
        found = []
        for key in keys:
            try:
                value = self.log.get(table, key)
            except LogDamaged:
                continue
            if value is not None:
                found.append(Row(table, key, value))
        return found

    def copy_table(self, table: str) -> None:
        """Copy the rows of a table up to the first that cannot be read."""
        try:
            for key, value in self.log.rows(table):
                self.put([Row(table, key, value)])
        except LogDamaged:
            return

    def copy_blobs(self, frame: Frame) -> None:
        """Copy the blobs that a frame refers to, directly or through another blob."""
        body = frame.body
        values: list[Any] = [fact.data for _, _, fact in frame.facts()]
        values += [left.message.data for left in body.left]
        values += [message.data for out in body.out for message in out.messages]
        while values:
            for ref in references(values.pop()):
                if ref.sha256 in self.blobs:
                    continue
                self.blobs.add(ref.sha256)
                try:
                    data = self.log.blob(ref)
                except CodedError:
                    continue  # `verify` names it, before and after
                if ref.size <= BLOB_ROW_BYTES_MAX:
                    self.put([Row("blobs", ref.sha256, data)])
                values.extend(_inside(data))

    def put(self, rows: Sequence[Row]) -> None:
        """Take rows in; write them when they are many."""
        self.rows.extend(rows)
        self.bytes += sum(len(row.key) + len(row.value or b"") for row in rows)
        if self.bytes >= BATCH_BYTES_MAX:
            self.write()

    def write(self) -> None:
        """Write what was taken in."""
        self.store.write(self.rows)
        self.rows, self.bytes = [], 0


def _inside(data: bytes) -> Iterator[Any]:
    try:
        yield unpack(data)
    except LogDamaged:
        return
