"""The rows of a log wherever they stand: those of `log` and `streams` in segments, then tables.

Whoever reads a log through this sees no difference between what is archived and what is not.
"""

from __future__ import annotations

import heapq
from itertools import chain
from typing import TYPE_CHECKING, Final

from goclaw_events.errors import HistoryExpired, LogDamaged
from goclaw_events.ids import routing_key
from goclaw_events.segments.bloom import name_hashes
from goclaw_events.tables import log_key, u16

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from goclaw_events.reading import RowSource
    from goclaw_events.segments.reader import SegmentReader
    from goclaw_events.segments.shelf import Shelf, Shelves

    Pair = tuple[bytes, bytes]
    Rows = Iterator[Pair]

ARCHIVED: Final = ("log", "streams")
_SEQ_BYTES: Final = 8
_NAME: Final = 4
"""Where the name of a stream begins in a key: behind partition and length."""


class ArchivedRows:
    """A `RowSource` of tables and segments. Any thread may read, also while rows are dropped.

    Rows move by taking effect in `shelves` first, then being deleted from tables: so what a table
    no longer has is looked for in the segments of that moment, and an iteration that began while
    they changed begins again before it yields anything.
    """

    def __init__(self, tables: RowSource, shelves: Shelves) -> None:
        self.tables = tables
        self._shelves = shelves

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return one row's value."""
        found = self.tables.get(table, key)
        if found is not None or table not in ARCHIVED or not self._shelves.current:
            return found
        shelf = self._shelves.current.get(int.from_bytes(key[:2], "big"))
        if shelf is None:
            return None
        row = _log_floor(shelf, key) if table == "log" else _stream_floor(shelf, key)
        return row[1] if row is not None and row[0] == key else None

    def floor(self, table: str, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the last row whose key is `key` or less.

        For a key of `streams` that names a whole stream: the last row of that stream, or any row
        of another one if it has none there.
        """
        found = self.tables.floor(table, key)
        if table not in ARCHIVED or not self._shelves.current:
            return found
        if found is not None and _is_newest(table, found[0], key):
            return found
        shelf = self._shelves.current.get(int.from_bytes(key[:2], "big"))
        if shelf is None:
            return found
        row = _log_floor(shelf, key) if table == "log" else _stream_floor(shelf, key)
        return max((pair for pair in (found, row) if pair is not None), default=None)

    def scan(self, table: str, start: bytes, stop: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows from `start` (included) to `stop` (excluded; None: the table's end)."""
        if table not in ARCHIVED:
            return self.tables.scan(table, start, stop)
        return self._scan(table, start, stop)

    def _scan(self, table: str, start: bytes, stop: bytes | None) -> Rows:
        while True:
            shelves = self._shelves.current
            rows = self.tables.scan(table, _above(shelves, table, start), stop)
            first = next(rows, None)
            if self._shelves.current is shelves:
                break
        stored = rows if first is None else chain((first,), rows)
        concerned = _concerned(shelves, start, stop)
        if not concerned:
            yield from stored
            return
        kept = _kept(shelves, table, stored)
        try:
            if table == "log":
                yield from heapq.merge(_log_rows(concerned, start, stop), kept)
            else:
                archived = _readers_of(concerned, start, stop)
                yield from heapq.merge(*(r.rows(start=start, stop=stop) for r in archived), kept)
        except LogDamaged as error:
            raise self._explained(error) from error

    def _explained(self, error: LogDamaged) -> LogDamaged | HistoryExpired:
        """Return why a segment could not be read: it may have been given up meanwhile."""
        partition, number = error.details.get("partition"), error.details.get("number")
        if isinstance(partition, int) and isinstance(number, int):
            shelf = self._shelves.current.get(partition)
            if shelf is not None and number < shelf.begin:
                msg = f"what stands at {partition}:{number} was given up while it was read"
                return HistoryExpired(msg, partition=partition, number=shelf.begin)
        return error


def _concerned(shelves: Mapping[int, Shelf], start: bytes, stop: bytes | None) -> list[Shelf]:
    """Return the shelves, in order of partition, of which rows may be in a range of keys."""
    found = []
    for partition in sorted(shelves):
        shelf = shelves[partition]
        if start < u16(partition + 1) and (stop is None or stop > u16(partition)):
            found.append(shelf)
    return found


def _above(shelves: Mapping[int, Shelf], table: str, start: bytes) -> bytes:
    """Return where to begin in the table itself: what was dropped costs time to pass over."""
    if table == "log" and shelves and len(start) >= len(u16(0)):
        partition = int.from_bytes(start[:2], "big")
        if partition in shelves:
            return max(start, log_key(partition, shelves[partition].floor))
    return start


def _kept(shelves: Mapping[int, Shelf], table: str, rows: Rows) -> Rows:
    """Leave out the rows of tables that stand in segments too."""
    floors = {
        u16(partition): shelf.floor.to_bytes(8, "big") for partition, shelf in shelves.items()
    }
    for row in rows:
        key, value = row
        number = key[2:] if table == "log" else value[:8]
        if number >= floors.get(key[:2], b""):
            yield row


def _log_rows(shelves: list[Shelf], start: bytes, stop: bytes | None) -> Rows:
    for shelf in shelves:
        for reader in shelf.readers:
            if log_key(reader.partition, reader.info.last) < start:
                continue
            if stop is not None and log_key(reader.partition, reader.info.first) >= stop:
                break
            yield from reader.log_rows(start, stop)


def _readers_of(shelves: list[Shelf], start: bytes, stop: bytes | None) -> list[SegmentReader]:
    """Return the segments that may have rows of streams in a range; few if it is of one stream."""
    readers = [reader for shelf in shelves for reader in shelf.readers]
    name = _stream_of(start)
    if name is None or stop is None or not _within(name, stop):
        return readers
    hashes = name_hashes(routing_key(name[_NAME:].decode()))
    return [reader for reader in readers if reader.may_hold(hashes)]


def _stream_of(key: bytes) -> bytes | None:
    """Return the part of a key that names a whole stream, with its partition (None: none does)."""
    end = _NAME + int.from_bytes(key[2:_NAME], "big")
    return key[:end] if len(key) >= end else None


def _within(name: bytes, stop: bytes) -> bool:
    """Tell whether no other stream's keys lie between those of `name` and `stop`."""
    stem = name.rstrip(b"\xff")
    return stop.startswith(name) or stop == stem[:-1] + bytes((stem[-1] + 1,))


def _is_newest(table: str, found: bytes, key: bytes) -> bool:
    """Tell whether no segment can have a row nearer to `key` than the one found in the table."""
    if table == "log":
        return found[:2] == key[:2]
    name = _stream_of(found)
    return name is not None and key.startswith(name) and len(key) == len(name) + _SEQ_BYTES


def _log_floor(shelf: Shelf, key: bytes) -> Pair | None:
    number = min(int.from_bytes(key[2:10].ljust(8, b"\0"), "big"), shelf.floor - 1)
    reader = shelf.holding(number)
    row = None if reader is None else reader.frame_floor(number)
    return None if row is None or reader is None else (log_key(reader.partition, row[0]), row[1])


def _stream_floor(shelf: Shelf, key: bytes) -> Pair | None:
    """Return the nearest row: that of the newest segment which has the stream, if one has it."""
    name = _stream_of(key)
    best: Pair | None = None
    if name is not None and len(key) == len(name) + _SEQ_BYTES:
        hashes = name_hashes(routing_key(name[_NAME:].decode()))
        for reader in reversed(shelf.readers):
            row = reader.row_floor(key) if reader.may_hold(hashes) else None
            if row is not None and row[0].startswith(name):
                return row
        return None
    for reader in shelf.readers:
        row = reader.row_floor(key)
        if row is not None and (best is None or row > best):
            best = row
    return best
