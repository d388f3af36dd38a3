"""Delete the blobs that nothing kept refers to any more: rows, files, and files never named."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events.errors import CodedError, LogDamaged
from goclaw_events.frame import HASH_BYTES, HEADER
from goclaw_events.segments.shelf import read_infos
from goclaw_events.snapshots import HASH_BYTES as SNAPSHOT_HASH_BYTES
from goclaw_events.value import BlobRef, references, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from goclaw_events.rocks.journal import RocksJournal

BATCH_BLOBS_MAX: Final = 64
"""How many blobs are deleted between two commits."""
REFERRING: Final = ("chunks", "timers", "attempts", "inbox", "outbox", "open", "parked", "ended")
"""Tables whose values are msgpack and may hold references, besides frames and snapshots."""
_NAME_LENGTH: Final = 64


class Collected(NamedTuple):
    """What was deleted: blobs, their bytes, and files of the archive that nothing names."""

    blobs: int
    bytes: int
    files: int


def _go_on() -> None:
    return


def collect_blobs(journal: RocksJournal, check: Callable[[], None] = _go_on) -> Collected:
    """Delete every blob that no durable frame, snapshot, row or baseline refers to.

    Safe while the log is written: only what was there when it began is deleted, after the frames
    that were appended meanwhile were read too, and what a frame brings again is written again.
    Memory grows by about 100 bytes a blob. Blocks: reads the whole log; run it off the threads
    that decide. Raises `LogDamaged` (nothing was deleted), `JournalUnavailable`, and what
    `check` raises, which is called with every frame.
    """
    with journal.files_stay:
        return _Collection(journal, check).run()


class _Collection:
    """One collection under way."""

    def __init__(self, journal: RocksJournal, check: Callable[[], None]) -> None:
        self._journal = journal
        self._check = check
        self._kept: set[bytes] = set()
        self._read = [journal.history(p) - 1 for p in range(journal.partitions)]

    def run(self) -> Collected:
        """Find what there is, then what is referred to, then delete the rest."""
        candidates = set(self._stored())
        if candidates:
            self._mark_rows()
            self._mark_frames()
        count = size = 0
        doomed = iter(sorted(candidates - self._kept))
        try:
            while batch := list(islice(doomed, BATCH_BLOBS_MAX)):
                self._journal.watch_blobs(on=True)
                self._mark_frames()
                gone = [sha256 for sha256 in batch if sha256 not in self._kept]
                blobs, freed = self._journal.remove_blobs(gone)
                count, size = count + blobs, size + freed
        finally:
            self._journal.watch_blobs(on=False)
        return Collected(count, size, self._sweep())

    def _stored(self) -> Iterator[bytes]:
        for key, _ in self._journal.rows("blobs"):
            yield key
        for name in self._journal.blob_files.names():
            if len(name) == _NAME_LENGTH:
                with suppress(ValueError):
                    yield bytes.fromhex(name)

    # what is referred to

    def _mark_frames(self) -> None:
        """Read the frames that are durable and were not read yet."""
        for partition in range(self._journal.partitions):
            start, stop = self._read[partition] + 1, self._journal.durable(partition)
            if start > stop:
                continue
            for data in self._journal.frames(partition, start, stop):
                self._check()
                self._mark([unpack(data[HEADER.size : -HASH_BYTES])])
            self._read[partition] = stop

    def _mark_rows(self) -> None:
        journal = self._journal
        for table in REFERRING:
            for _, value in journal.rows(table):
                self._mark(_nested(value))
        for _, value in journal.rows("snapshots"):
            self._mark(_nested(value[:-SNAPSHOT_HASH_BYTES]))
        for partition in range(journal.partitions):
            baseline = journal.baseline(partition)
            for section in baseline.sections if baseline is not None else ():
                assert baseline is not None, "it has sections"
                for _, value in baseline.rows(section):
                    self._mark(_nested(value))

    def _mark(self, values: Iterable[Any]) -> None:
        """Keep what some values refer to, directly or through another blob."""
        waiting = [ref for value in values for ref in references(value)]
        while waiting:
            ref = waiting.pop()
            if ref.sha256 in self._kept:
                continue
            self._kept.add(ref.sha256)
            waiting.extend(self._inside_blob(ref))

    def _inside_blob(self, ref: BlobRef) -> list[BlobRef]:
        try:
            data = self._journal.blob(ref)
        except CodedError:
            return []  # missing or damaged: the verification names it, and it holds nothing
        return [found for value in _inside(data) for found in references(value)]

    def _sweep(self) -> int:
        """Delete files of the archive that no row names: a crash left them behind."""
        journal = self._journal
        named = set()
        for partition in range(journal.partitions):
            named |= {info.name for info in read_infos(journal.tables, partition)}
            baseline = journal.baseline(partition)
            if baseline is not None:
                named.add(baseline.name)
        return journal.sweep_segments(named)


def _inside(data: bytes) -> list[Any]:
    """Return what some bytes hold; nothing if they are no msgpack."""
    try:
        return [unpack(data)]
    except LogDamaged:
        return []


def _nested(data: bytes) -> list[Any]:
    """Return what some bytes hold, and what the bytes in it hold: rows within rows."""
    found = _inside(data)
    waiting = list(found)
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, bytes):
            inner = _inside(item)
            found += inner
            waiting += inner
    return found
