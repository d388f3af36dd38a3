"""Find the segments of a log by their files, where the rows that tell of them are lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_events.errors import CodedError, LogDamaged
from goclaw_events.frame import GENESIS
from goclaw_events.segments.layout import SEGMENT_MAGIC, read_directory
from goclaw_events.segments.records import SegmentInfo
from goclaw_events.segments.shelf import Shelf, begin_of
from goclaw_events.tables import u16

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_events.reading import RowSource
    from goclaw_events.segments.layout import FileHeader
    from goclaw_events.segments.shelf import Shelves


def discover(tables: RowSource, shelves: Shelves, partition: int) -> Shelf | None:
    """Return the shelf of a partition whose tables begin above 1, from the files alone.

    The segments must follow each other, by number and by hash, from where history begins up to
    the first frame of the table. None: the tables begin at 1, or hold nothing. Raises
    `LogDamaged` where no files fit.
    """
    first = _first_of_table(tables, partition)
    if first is None or first == 1:
        return None
    begin = _begin(tables, partition)
    if first == begin:
        return Shelf(begin, first, ())
    found = list(_files(shelves, partition))
    chain = _chain(found, begin, GENESIS if begin == 1 else None, first)
    if chain is None:
        msg = f"no segments hold the facts of partition {partition} from {begin} to {first - 1}"
        hint = "restore the directory `segments` from a copy"
        raise LogDamaged(msg, hint=hint, partition=partition, number=begin)
    return Shelf(begin, first, tuple(shelves.reader(partition, info) for info in chain))


def _first_of_table(tables: RowSource, partition: int) -> int | None:
    try:
        row = next(tables.scan("log", u16(partition), u16(partition + 1)), None)
    except LogDamaged:
        return None
    return None if row is None else int.from_bytes(row[0][2:10], "big")


def _begin(tables: RowSource, partition: int) -> int:
    try:
        history = begin_of(tables, partition)
    except LogDamaged:
        return 1
    return 1 if history is None else history.below


def _files(shelves: Shelves, partition: int) -> Iterator[tuple[FileHeader, SegmentInfo]]:
    for path in sorted(shelves.directory.glob(f"{partition}-*.segment")):
        try:
            found = read_directory(path)
        except CodedError:
            continue
        header, about = found.header, found.about
        if (header.magic, header.log_id, header.partition) == (
            SEGMENT_MAGIC,
            shelves.log_id,
            partition,
        ):
            facts = header.last - header.first + 1
            info = SegmentInfo(
                path.name, header.first, header.last, about["frames"], facts,
                found.file_bytes, found.digest, about["last_hash"], about["ended"],
            )  # fmt: skip
            yield header, info


def _chain(
    found: list[tuple[FileHeader, SegmentInfo]], begin: int, before: bytes | None, stop: int
) -> list[SegmentInfo] | None:
    """Return the segments from `begin` to `stop`; among files left by a crash those that fit."""
    if begin == stop:
        return []
    for header, info in found:
        if info.first == begin and info.last < stop and before in (None, header.previous):
            rest = _chain(found, info.last + 1, info.last_hash, stop)
            if rest is not None:
                return [info, *rest]
    return None
