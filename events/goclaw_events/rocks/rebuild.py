"""Write a log anew from the frames of another: every table is derived again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from goclaw_events.cut import frames_to
from goclaw_events.errors import CodedError, LogDamaged
from goclaw_events.frame import decode_frame
from goclaw_events.output import OUTPUT, read_chunk
from goclaw_events.reading import era_key
from goclaw_events.rocks.store import RocksStore
from goclaw_events.segments.reader import ENDED
from goclaw_events.segments.records import (
    dropped_key,
    floor_key,
    history_key,
    segment_key,
    shelved_key,
)
from goclaw_events.segments.shelf import read_infos
from goclaw_events.tables import Row, derive, is_of_archive, u64
from goclaw_events.tips import meta_rows
from goclaw_events.value import BLOB_ROW_BYTES_MAX, pack, references, unpack

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from goclaw_events.frame import Frame
    from goclaw_events.journal import Baseline
    from goclaw_events.rocks.stored import RocksLog

BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
KEPT: Final = ("ended", OUTPUT)
"""Tables that do not follow from frames: their rows are copied as far as they can be read."""


def rebuild(log: RocksLog, ends: Sequence[int], target: Path, cut: Collection[int] = ()) -> None:
    """Make `target` a log of the frames up to `ends`, with their rows and blobs.

    Snapshots are left out: actors are then folded from the start, and get new ones. The frames
    must be whole (`whole_prefixes`). Of the partitions in `cut` facts are lost: output that came
    after the last fact that is kept goes with them, for the attempt that emitted it may be one
    that another takes the number of. Raises `LogDamaged`, `JournalFull`, `JournalBroken`.
    """
    target.mkdir(mode=0o700)
    store = RocksStore(target, create=True)
    try:
        _Copy(log, store, cut).run(ends)
    finally:
        store.close()


class _Copy:
    """One copy under way: rows collect until they are worth a write."""

    def __init__(self, log: RocksLog, store: RocksStore, cut: Collection[int]) -> None:
        self.log = log
        self.until_ns = dict.fromkeys(cut, 0)
        """When the last fact was written that is kept, of partitions of which some are lost."""
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
            self.copy_partition(partition, end)
        for table in KEPT:
            self.copy_table(table)
        self.write()
        self.store.flush()

    def copy_partition(self, partition: int, end: int) -> None:
        """Derive the rows of a partition again; frames that its segments hold stay there.

        They are written into the tables if what told of the segments is not kept.
        """
        floor = self.kept_floor(partition, end)
        baseline = self.log.baseline(partition)
        if baseline is not None:
            self.put([Row(*row) for row in baseline.derived()])
            self.copy_sections(baseline)
        for data in frames_to(self.log, partition, end):
            frame = decode_frame(data)
            if partition in self.until_ns:
                self.until_ns[partition] = frame.header.time_ns
            self.copy_blobs(frame)
            rows = derive(frame, data)
            if frame.header.first < floor:
                rows = [row for row in rows if row.table not in ("log", "streams")]
            self.put([row for row in rows if not is_of_archive(row)])
        if floor > 1:
            self.put(self.archive_rows(partition, floor))

    def kept_floor(self, partition: int, end: int) -> int:
        """Return up to where segments stay segments (1: nowhere)."""
        shelf = self.log.shelves.current.get(partition)
        if shelf is None:
            return 1
        for data in frames_to(self.log, partition, end, shelf.floor):
            for row in derive(decode_frame(data), data):
                if row.key == floor_key(partition) and row.value is not None:
                    told = int.from_bytes(row.value[:8], "big")
                    if told == shelf.floor:
                        return shelf.floor
        if shelf.begin > 1:
            msg = f"nothing tells any more of the segments of partition {partition}"
            hint = "restore the directory from a copy: history was given up below"
            raise LogDamaged(msg, hint=hint, partition=partition, number=shelf.begin)
        return 1

    def archive_rows(self, partition: int, floor: int) -> list[Row]:
        """Return the rows that tell of the segments below a floor, and the runs that ended."""
        log, shelf = self.log, self.log.shelves.current[partition]
        infos = [reader.info for reader in shelf.readers]
        if shelf.begin > 1:
            known = read_infos(log.tables, partition)
            infos += [info for info in known if info.last < shelf.begin]
        rows = [Row("meta", segment_key(partition, info.first), pack(info)) for info in infos]
        last = shelf.readers[-1].info.last_hash if shelf.readers else None
        rows.append(Row("meta", shelved_key(partition), u64(floor)))
        rows.append(Row("meta", dropped_key(partition), u64(floor)))
        rows += self.readable("meta", [history_key(partition)])
        if last is None:
            rows += self.readable("meta", [floor_key(partition)])
        else:
            rows.append(Row("meta", floor_key(partition), u64(floor) + last))
        for reader in shelf.readers:
            rows += [Row("ended", key, value) for key, value in reader.rows(ENDED)]
        return rows

    def copy_sections(self, baseline: Baseline) -> None:
        """Copy the blobs that the rows of a baseline refer to."""
        for section in baseline.sections:
            for _, value in baseline.rows(section):
                self.copy_referred(list(_inside(value)))

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
                if table != OUTPUT or self.is_kept_output(key, value):
                    self.put([Row(table, key, value)])
        except LogDamaged:
            return

    def is_kept_output(self, key: bytes, value: bytes) -> bool:
        """Tell whether a row is a chunk of an attempt that the log still knows."""
        try:
            time_ns = read_chunk(key, value).time_ns
        except LogDamaged:
            return False
        return time_ns <= self.until_ns.get(int.from_bytes(key[:2], "big"), time_ns)

    def copy_blobs(self, frame: Frame) -> None:
        """Copy the blobs that a frame refers to, directly or through another blob."""
        body = frame.body
        values: list[Any] = [fact.data for _, _, fact in frame.facts()]
        values += [left.message.data for left in body.left]
        values += [message.data for out in body.out for message in out.messages]
        self.copy_referred(values)

    def copy_referred(self, values: list[Any]) -> None:
        """Copy the blobs that some values refer to, directly or through another blob."""
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
