"""Seal a prefix of a partition: write it as a segment file, read it back, compare everything.

Three passes of constant memory but for the runs: which runs have facts in the prefix and none
above it, then the frames, then the rows of `streams` (the table has them in order already).
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from goclaw_events.envelope import InvalidPosition
from goclaw_events.frame import GENESIS, hash_of, read_header, read_turns
from goclaw_events.ids import owner_stream, routing_key
from goclaw_events.journal import Journal
from goclaw_events.segments.bloom import make_filter
from goclaw_events.segments.cache import BlockCache, pack_frame
from goclaw_events.segments.disk import disk_error
from goclaw_events.segments.fold import RunFolds, run_of
from goclaw_events.segments.layout import SEGMENT_MAGIC, FileHeader, FileWriter
from goclaw_events.segments.reader import BLOOM, ENDED, FRAMES, STREAMS, SegmentReader
from goclaw_events.segments.records import SegmentInfo, ended_key
from goclaw_events.segments.writing import NAME_DIGITS, put_rows
from goclaw_events.tables import open_key, u16, u64
from goclaw_events.value import pack
from goclaw_events.watermark import sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from goclaw_events.reading import RowSource

    Step = Callable[[str], None]

FRAMES_BYTES: Final = 1024 * 1024
"""A block of frames is closed at this size; a frame is never cut."""
STEPS: Final = ("frames", "streams", "ended", "rename", "check")


class Sealable(Journal, Protocol):
    """A journal whose prefixes can be sealed: one that keeps files."""

    @property
    def segments_path(self) -> Path:
        """Return the directory of segments."""
        ...

    @property
    def tables(self) -> RowSource:
        """Return the rows as the tables alone have them."""
        ...

    def adopt_file(self, name: str) -> None:
        """Hear that a file of the archive is going to be named by a fact."""
        ...


class _Runs(NamedTuple):
    """What the first pass finds: routing keys in the prefix, runs with nothing above it.

    `above`: the runs with facts above it.
    """

    keys: set[str]
    closed: set[str]
    above: set[str]


def frame_start(journal: Journal, partition: int, number: int) -> int:
    """Return the number at which the frame begins that holds a fact: a place to cut at.

    For what is not durable: the first number that is not.
    """
    for data in journal.frames(partition, number, number):
        return read_header(data).first
    return journal.durable(partition) + 1


def seal(
    journal: Sealable, partition: int, stop: int, *, step: Step = lambda _: None
) -> SegmentInfo:
    """Write the facts from the partition's floor up to `stop` (excluded) as a segment.

    `stop` must be where a durable frame begins, or just behind the last one (`frame_start`). The
    file is durable and was read back, frame by frame, when this returns. Nothing refers to it yet:
    the fact `SegmentSealed(*info)` does, and `drop_archived` after it. What a crash leaves is
    a file that nothing names. Blocks; run it off the threads that decide. `step` is called before
    each of `STEPS`.
    Raises `InvalidPosition`, `LogDamaged`, `JournalFull`, `JournalBroken`.
    """
    first = journal.floor(partition)
    if not first < stop <= journal.durable(partition) + 1:
        msg = f"facts {first} to {stop - 1} of partition {partition} cannot be sealed"
        hint = f"seal up to a number from {first + 1} to {journal.durable(partition) + 1}"
        raise InvalidPosition(msg, hint=hint)
    return _Sealing(journal, partition, first, stop, step).run()


class _Sealing:
    """One sealing under way."""

    def __init__(
        self, journal: Sealable, partition: int, first: int, stop: int, step: Step
    ) -> None:
        self._journal = journal
        self._partition = partition
        self._first, self._stop = first, stop
        self._step = step
        self._frames = 0
        self._last_hash = GENESIS
        self._time_ns = 0
        self._eras: set[int] = set()

    def run(self) -> SegmentInfo:
        """Write, name, read back."""
        directory = self._journal.segments_path
        part = directory / f".sealing-{secrets.token_hex(8)}"
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            sync_directory(directory.parent)
            info = self._write(part)
            self._reach("rename")
            self._journal.adopt_file(info.name)
            part.rename(directory / info.name)
            sync_directory(directory)
        except OSError as error:
            raise disk_error(error, f"writing a segment in {directory}") from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        self._reach("check")
        log_id = self._journal.log_id
        SegmentReader(directory, self._partition, info, log_id, BlockCache()).check(index=True)
        return info

    def _reach(self, step: str) -> None:
        self._step(step)

    def _write(self, part: Path) -> SegmentInfo:
        runs = self._find_runs()
        folds = RunFolds(runs.closed, lambda run: run not in runs.above and not self._is_open(run))
        header = FileHeader(
            SEGMENT_MAGIC,
            self._journal.log_id,
            self._partition,
            self._first,
            self._stop - 1,
            self._previous(),
        )
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(part, flags, 0o600)
        try:
            file = FileWriter(fd, header)
            self._reach("frames")
            self._put_frames(file, folds)
            self._reach("streams")
            rows = put_rows(file, STREAMS, self._stream_rows())
            self._reach("ended")
            found = folds.ended(self._journal, self._partition, self._first, self._time_ns)
            ended = put_rows(
                file,
                ENDED,
                ((ended_key(self._partition, run), pack(kept)) for run, kept in found),
            )
            bits = make_filter(runs.keys)
            file.put(BLOOM, b"", bits)
            about = {
                "frames": self._frames,
                "streams": rows,
                "ended": ended,
                "last_hash": self._last_hash,
                "eras": [min(self._eras), max(self._eras)],
            }
            digest, size = file.finish(about)
        finally:
            os.close(fd)
        name = f"{self._partition}-{self._first:0{NAME_DIGITS}d}-{digest.hex()[:16]}.segment"
        last, facts = self._stop - 1, self._stop - self._first
        return SegmentInfo(
            name, self._first, last, self._frames, facts, size, digest, self._last_hash, ended
        )

    def _previous(self) -> bytes:
        data = next(iter(self._journal.frames(self._partition, self._first, self._first)))
        return read_header(data).previous

    def _table(self) -> Iterator[tuple[bytes, bytes, int]]:
        """Yield the rows of `streams` from the floor on, each with the number of its frame."""
        partition = self._partition
        for key, value in self._journal.tables.scan("streams", u16(partition), u16(partition + 1)):
            number = int.from_bytes(value[:8], "big")
            if number >= self._first:
                yield key, value, number

    def _stream_rows(self) -> Iterator[tuple[bytes, bytes]]:
        for key, value, number in self._table():
            if number < self._stop:
                yield key, value

    def _find_runs(self) -> _Runs:
        keys: set[str] = set()
        below: set[str] = set()
        above: set[str] = set()
        for key, _, number in self._table():
            stream = key[4:-8].decode()
            run = run_of(stream)
            if number < self._stop:
                keys.add(routing_key(stream))
            if run is not None:
                (below if number < self._stop else above).add(run)
        closed = {run for run in below - above if not self._is_open(run)}
        return _Runs(keys, closed, above)

    def _is_open(self, run: str) -> bool:
        key = open_key(self._partition, owner_stream(run))
        return self._journal.get("open", key) is not None

    def _put_frames(self, file: FileWriter, folds: RunFolds) -> None:
        block: list[bytes] = []
        size, begin, expected = 0, self._first, self._first
        for data in self._journal.frames(self._partition, self._first, self._stop - 1):
            header = read_header(data)
            if header.first != expected:
                break
            if block and size + len(data) > FRAMES_BYTES:
                file.put(FRAMES, u64(begin), b"".join(block))
                block, size, begin = [], 0, header.first
            folds.add(read_turns(data))
            block.append(pack_frame(data))
            size += len(data)
            expected = header.first + header.facts_count
            self._frames += 1
            self._last_hash = hash_of(data)
            self._time_ns = header.time_ns
            self._eras.add(header.era)
        if expected != self._stop:
            msg = f"no frame of partition {self._partition} begins at {self._stop}"
            raise InvalidPosition(msg, hint=f"cut where a frame begins, such as {expected}")
        file.put(FRAMES, u64(begin), b"".join(block))
