"""What keeps the log small, whether an engine runs or not: archive, give up, compact."""

from __future__ import annotations

from collections import Counter
from logging import getLogger
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw.datadir import DataDirectory
from goclaw_events.rocks.collection import collect_blobs
from goclaw_events.rocks.compaction import compact_tables
from goclaw_events.rocks.forgetting import (
    SLOT_NS,
    first_kept_ns,
    forget_ended,
    forget_output,
    output_sizes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from goclaw.config import RetentionSettings
    from goclaw.expiry import Expirer
    from goclaw_actors.archiving import Archiver
    from goclaw_actors.env import Clock
    from goclaw_events.rocks import RocksJournal
    from goclaw_events.segments.records import SegmentInfo


log = getLogger(__name__)
OUTPUT_LEFT: Final = 0.9
"""Where there is too much output, leave this part of what may be kept."""


class Compacted(NamedTuple):
    """What was deleted, `runs` of which the id was forgotten, and what each part takes."""

    runs: int
    blobs: int
    blob_bytes: int
    files: int
    bytes_before: Mapping[str, int]
    bytes_after: Mapping[str, int]


class Housekeeping:
    """Keep house in an open log. Every call blocks; not for the dispatchers' thread.

    Once `archiver.stop` was called, what goes on ends with `Stopping` at its next step; whatever
    was begun is completed by whoever opens the log next.
    """

    def __init__(
        self,
        journal: RocksJournal,
        archiver: Archiver,
        expirer: Expirer,
        clock: Clock,
        settings: RetentionSettings,
    ) -> None:
        self.journal = journal
        self.archiver = archiver
        self.expirer = expirer
        self.clock = clock
        self.settings = settings

    def archive(self, partition: int, before: int) -> Iterator[SegmentInfo]:
        """Archive everything of a partition below a number; yield each segment that was sealed."""
        step = self.settings.archive_facts_max
        while (floor := self.journal.floor(partition)) < before:
            self.archiver.check()
            part = min(before, floor + step)
            # A frame may be larger than a step; it is not cut.
            info = self.archiver.archive(partition, part) or self.archiver.archive(
                partition, before
            )
            if info is None:
                return
            yield info

    def forget(self) -> int:
        """Forget the runs that `retention.run_id_retention_s` says; return how many those were."""
        age_s = self.settings.run_id_retention_s
        if age_s is None:
            return 0
        before_ns = self.clock.now_ns() - int(age_s * 1e9)
        with self.archiver.busy:
            return sum(
                forget_ended(self.journal, partition, before_ns, self.archiver.check)
                for partition in range(self.journal.partitions)
            )

    def forget_output(self) -> int:
        """Delete output as old as `retention.output_s` says; return how many chunks those were."""
        age_s = self.settings.output_s
        if age_s is None:
            return 0
        return self._forget_output(self.clock.now_ns() - int(age_s * 1e9))

    def bound_output(self) -> int:
        """Delete the oldest output beyond `retention.output_bytes_max`; return the bytes left.

        Reads the whole table. Returns 0 where there is no limit.
        """
        bytes_max = self.settings.output_bytes_max
        if bytes_max is None:
            return 0
        with self.archiver.busy:
            sizes = Counter[int]()
            for partition in range(self.journal.partitions):
                sizes += output_sizes(self.journal, partition, self.archiver.check)
        if sizes.total() <= bytes_max:
            return sizes.total()
        first_ns = first_kept_ns(sizes, int(bytes_max * OUTPUT_LEFT))
        chunks = self._forget_output(first_ns)
        extra = {"action": "output_bounded", "chunks": chunks, "bytes": sizes.total()}
        log.warning("output took %d bytes: the oldest was deleted", sizes.total(), extra=extra)
        return sum(size for slot, size in sizes.items() if slot * SLOT_NS >= first_ns)

    def _forget_output(self, before_ns: int) -> int:
        with self.archiver.busy:
            return sum(
                forget_output(self.journal, partition, before_ns, self.archiver.check)
                for partition in range(self.journal.partitions)
            )

    def compact(self) -> Compacted:
        """Forget runs, delete blobs and files that nothing refers to, write every table anew.

        Commands go on meanwhile, more slowly: the log is read once. Raises `LogDamaged` (then
        nothing was deleted), `JournalFull`, `Stopping`.
        """
        directory = DataDirectory(self.journal.path)
        before = _sizes(directory)
        runs = self.forget()
        self.forget_output()
        self.bound_output()
        collected = collect_blobs(self.journal, self.archiver.check)
        compact_tables(self.journal, self.archiver.check)
        return Compacted(
            runs, collected.blobs, collected.bytes, collected.files, before, _sizes(directory)
        )


def _sizes(directory: DataDirectory) -> dict[str, int]:
    parts = {"log": directory.log, "segments": directory.segments, "blobs": directory.blobs}
    return {name: _size(path) for name, path in parts.items()}


def _size(path: Path) -> int:
    return sum(map(_size_of, path.rglob("*")))


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except FileNotFoundError:  # the engine goes on: files come and go
        return 0
