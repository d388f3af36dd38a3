"""The segments of a log from which its readers read; a new value whenever they change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.errors import LogDamaged
from goclaw_events.segments.cache import BlockCache
from goclaw_events.segments.reader import SegmentReader
from goclaw_events.segments.records import (
    history_key,
    read_history,
    read_info,
    segment_prefix,
    shelved_key,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from goclaw_events.reading import RowSource
    from goclaw_events.segments.records import History, SegmentInfo

_HINT: Final = "restore the directory `segments` from a copy"


class Shelf(NamedTuple):
    """What is read of one partition's segments: facts in [`begin`, `floor`).

    Below `begin` history was given up. Rows of tables below `floor` are not looked at: they are
    dropped, or about to be.
    """

    begin: int
    floor: int
    readers: tuple[SegmentReader, ...]

    def holding(self, number: int) -> SegmentReader | None:
        """Return the segment that holds a fact (None: no segment does)."""
        for reader in reversed(self.readers):
            if reader.info.first <= number:
                return reader if number <= reader.info.last else None
        return None


class Shelves:
    """Keep the shelf of each partition that has one. Readers take `current` once and keep it."""

    def __init__(self, directory: Path, log_id: bytes, partitions: int) -> None:
        self.directory = directory
        self.log_id = log_id
        self._partitions = partitions
        self._cache = BlockCache()
        self.current: dict[int, Shelf] = {}

    def load(self, tables: RowSource) -> None:
        """Read which segments there are. Raises `LogDamaged` where one is missing.

        A segment's contents are compared when they are read.
        """
        found = {}
        for partition in range(self._partitions):
            shelf = self._load(tables, partition)
            if shelf is not None:
                found[partition] = shelf
        self.current = found

    def _load(self, tables: RowSource, partition: int) -> Shelf | None:
        shelved = tables.get("meta", shelved_key(partition))
        if shelved is None:
            return None
        floor = int.from_bytes(shelved, "big")
        history = read_history(tables.get("meta", history_key(partition)))
        begin = 1 if history is None else history.below
        kept = [
            info
            for info in read_infos(tables, partition)
            if begin <= info.first and info.last < floor
        ]
        self._check(partition, begin, floor, kept)
        return Shelf(begin, floor, tuple(self.reader(partition, info) for info in kept))

    def _check(self, partition: int, begin: int, floor: int, infos: Sequence[SegmentInfo]) -> None:
        expected = begin
        for info in infos:
            path = self.directory / info.name
            try:
                size = path.stat().st_size
            except OSError as error:
                msg = f"segments/{info.name} cannot be read: {error.strerror}"
                raise _missing(msg, partition, info.first) from error
            if size != info.file_bytes:
                msg = f"segments/{info.name} has {size} bytes instead of {info.file_bytes}"
                raise _missing(msg, partition, info.first)
            if info.first != expected:
                break
            expected = info.last + 1
        if expected != floor:
            msg = f"no segment holds the facts of partition {partition} from {expected} on"
            raise _missing(msg, partition, expected)

    def reader(self, partition: int, info: SegmentInfo) -> SegmentReader:
        """Return a reader of a segment."""
        return SegmentReader(self.directory, partition, info, self.log_id, self._cache)

    def replace(self, partition: int, shelf: Shelf) -> None:
        """Let readers read from `shelf` from now on."""
        self.current = {**self.current, partition: shelf}


def read_infos(tables: RowSource, partition: int) -> list[SegmentInfo]:
    """Return every segment that was sealed of a partition, expired ones too, in order."""
    prefix = segment_prefix(partition)
    rows = tables.scan("meta", prefix, prefix + b"\xff")
    return [read_info(value) for _, value in rows]


def begin_of(tables: RowSource, partition: int) -> History | None:
    """Return where history begins if some was given up."""
    return read_history(tables.get("meta", history_key(partition)))


def _missing(text: str, partition: int, number: int) -> LogDamaged:
    return LogDamaged(text, hint=_HINT, partition=partition, number=number)
