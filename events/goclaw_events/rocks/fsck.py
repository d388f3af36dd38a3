"""Check a data directory that no engine holds, and mend what can be mended.

Nothing that was acknowledged is ever given up unless its number was accepted, and the damaged
log is kept beside the mended one, as `log.damaged.N`.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.chain import HINT_DAMAGED
from goclaw_events.cut import Prefix, consistent_ends, whole_prefixes
from goclaw_events.datalock import DataLock
from goclaw_events.eras import era_rows
from goclaw_events.errors import LogDamaged, LogMissing, LossNotAccepted
from goclaw_events.reading import load_era
from goclaw_events.rocks.directory import verify_files, verify_segments
from goclaw_events.rocks.failure import classify
from goclaw_events.rocks.journal import log_exists
from goclaw_events.rocks.probe import probe
from goclaw_events.rocks.rebuild import rebuild
from goclaw_events.rocks.salvage import remove, salvage
from goclaw_events.rocks.store import RocksStore
from goclaw_events.rocks.stored import (
    COPY_NAME,
    LOG_DIRECTORY,
    WATERMARK_NAME,
    LogName,
    RocksLog,
    read_name,
)
from goclaw_events.rocks.tail import find_damage
from goclaw_events.rocks.wal import check_wal
from goclaw_events.verify import Report, verify
from goclaw_events.watermark import Mark, Watermark, find_marks, sync_directory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MENDED_NAME: Final = "log.mended"
DAMAGED_NAME: Final = "log.damaged"
VIEWS_NAME: Final = "views"
_BLOB: Final = "blob"


class PartitionLoss(NamedTuple):
    """What giving up means in one partition: facts behind `ends`, up to `reached`, are gone."""

    partition: int
    ends: int
    reached: int

    @property
    def facts(self) -> int:
        """Return how many facts are given up."""
        return self.reached - self.ends


@dataclass(frozen=True, slots=True)
class Loss:
    """What cannot be saved. Not `certain`: it may be more.

    So it is where the watermark is gone, or whole records stand behind a damaged one: that one had
    been flushed, and a power cut can set back the watermark.
    """

    facts: int
    certain: bool
    partitions: tuple[PartitionLoss, ...]

    @property
    def needs_consent(self) -> bool:
        """Tell whether going on means to give something up, or perhaps does."""
        return bool(self.facts) or not self.certain

    def cut(self, partitions: int) -> set[int]:
        """Return the partitions of which something is, or may be, lost."""
        if not self.certain:
            return set(range(partitions))
        return {part.partition for part in self.partitions}


@dataclass(slots=True)
class Findings:
    """What a check found and did. `report` is of the log as it is now."""

    report: Report
    mended: list[str] = field(default_factory=list)
    loss: Loss | None = None

    @property
    def whole(self) -> bool:
        """Tell whether everything is as it was written, or is again."""
        return self.report.whole


def fsck(path: Path, *, repair: bool = False, accept: int | None = None) -> Findings:
    """Check a data directory; with `repair` or `accept` mend it.

    Damaged files are opened in a process of their own, with a deadline. `repair` derives tables
    again, drops the views and files that were never finished, and writes a log that does not
    open anew if nothing acknowledged is lost with that. `accept` is the number of facts given up
    for that; it must be the very number that a check without it tells.
    Raises `EngineRunning`, `LogMissing`, `LogMismatch`, `LossNotAccepted`, `JournalFull`,
    `JournalBroken`; what is damaged is in the findings.
    """
    if not any((path / name).exists() for name in (LOG_DIRECTORY, WATERMARK_NAME, MENDED_NAME)):
        msg = f"there is no log in {path}"
        raise LogMissing(msg, hint="name another --data-dir", path=str(path))
    with DataLock(path, passing=True):
        return _Check(path).run(repair=repair or accept is not None, accept=accept)


class _Check:
    """One check under way; the lock of the directory is held."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / LOG_DIRECTORY
        self.copy = path / COPY_NAME
        self.mended = path / MENDED_NAME
        self.findings = Findings(Report())
        self.marks = find_marks(path / WATERMARK_NAME)
        self.flushed = False
        """Something that had been flushed is damaged, whatever the watermark says."""

    def run(self, *, repair: bool, accept: int | None) -> Findings:
        """Look, and mend if asked to."""
        self._finish_swap()
        try:
            source = self._source()
            if source is not None:
                self._examine(source, repair=repair, accept=accept)
        finally:
            remove(self.copy)
        return self.findings

    def _finish_swap(self) -> None:
        """Put the mended log in its place if a crash came between the two renames."""
        if self.mended.exists() and not self.log.exists():
            self.mended.rename(self.log)
            sync_directory(self.path)
        remove(self.mended)
        remove(self.copy)

    # looking

    def _source(self) -> Path | None:
        """Return the database to read from: the log itself, a copy that opens, or nothing."""
        report = self.findings.report
        try:
            check_current(self.path)
            check_wal(self.log)
            probe(self.log)
        except LogDamaged as error:
            report.add_error(error, "log/")
            self._look_for_damage()
        else:
            return self.log
        try:
            if self.log.is_dir():
                salvage(self.log, self.copy)
                return self.copy
        except LogDamaged as error:
            report.add_error(error, "log/")
        return None

    def _look_for_damage(self) -> None:
        """Tell a tail that a power cut tore from damage to what had been flushed."""
        try:
            found = find_damage(self.log)
        except OSError as error:
            raise classify(error, f"reading {self.log}") from error
        if found is not None and found.followed is not None:
            self.flushed = True
            what = f"whole records stand behind a damaged one at byte {found.cut}"
            self.findings.report.add(LogDamaged.code, f"log/{found.path.name}", what)

    def _examine(self, source: Path, *, repair: bool, accept: int | None) -> None:
        findings = self.findings
        with closing(RocksStore(source, create=False, salvage=source != self.log)) as store:
            name, nameless = self._name(store)
            if name is None:
                return
            log = self._whole_archive(store, name)
            if log is None:
                return
            inner = verify(log)
            for partition in log.segments_found:
                what = f"nothing tells of the segments of partition {partition} but their files"
                inner.add(LogDamaged.code, "table meta", what)
            prefixes = whole_prefixes(log)
            torn = any(_BLOB not in p.place and p.code == LogDamaged.code for p in inner.problems)
            torn = torn or inner.problems_count > len(inner.problems) or nameless
            _merge(findings, inner)
            verify_files(log.blob_files, findings.report)
            ends = consistent_ends(log, [prefix.last for prefix in prefixes])
            loss = self._loss(prefixes, ends)
            findings.loss = loss if loss.needs_consent else None
            if not repair:
                return
            if not self._agreed(loss, accept):
                return
            torn = torn or ends != [prefix.seen for prefix in prefixes]
            if torn:
                rebuild(log, ends, self.mended, loss.cut(log.partitions))
        self._finish(source, log, ends, loss, torn=torn)

    def _whole_archive(self, store: RocksStore, name: LogName) -> RocksLog | None:
        """Return the log, if its segments are whole: they are mended by nothing but a copy.

        A segment is never changed, so what is missing of it is not given up for that.
        """
        report = self.findings.report
        before = report.problems_count
        try:
            log = RocksLog(store, self.path, name)
            for partition in range(log.partitions):
                baseline = log.baseline(partition)
                if baseline is not None:
                    baseline.check()
        except LogDamaged as error:
            report.add_error(error, "segments/")
            return None
        verify_segments(log, report)
        return log if report.problems_count == before else None

    def _name(self, store: RocksStore) -> tuple[LogName | None, bool]:
        """Return what the log is, and whether only the watermark says so."""
        try:
            return read_name(store, str(self.path)), False
        except LogDamaged as error:
            self.findings.report.add_error(error, "table meta")
        known = self.marks
        return (None if known is None else LogName(known.log_id, len(known.marks))), True

    def _loss(self, prefixes: Sequence[Prefix], ends: Sequence[int]) -> Loss:
        """Compare what can be saved with what was acknowledged; name what the watermark says."""
        report = self.findings.report
        marks = self.marks.marks if self.marks else []
        certain = len(marks) == len(ends)
        if not certain and any(prefix.seen for prefix in prefixes):
            what = "the watermark is missing or damaged: what was acknowledged is not known"
            report.add(LogDamaged.code, "watermark", what)
        elif not certain:
            certain = self.marks is None and not (self.path / WATERMARK_NAME).exists()
        lost = []
        for partition, end in enumerate(ends):
            mark = marks[partition] if partition < len(marks) else Mark(0, 0, bytes(16))
            prefix = prefixes[partition]
            if prefix.last < mark.number:
                what = f"{mark.number} facts were acknowledged, {prefix.last} are there"
                report.add("log_behind_watermark", f"{partition}:{prefix.last + 1}", what)
            reached = max(mark.number, prefix.seen, prefix.last)
            if reached > end:
                lost.append(PartitionLoss(partition, end, reached))
        certain = certain and not self.flushed
        return Loss(sum(part.facts for part in lost), certain, tuple(lost))

    def _agreed(self, loss: Loss, accept: int | None) -> bool:
        """Tell whether mending may go on; raises `LossNotAccepted` for another number."""
        if accept is not None and accept != loss.facts:
            msg = f"{loss.facts} facts cannot be saved, not {accept}: nothing was changed"
            hint = "look at `goclaw fsck` first, then accept that very number"
            raise LossNotAccepted(msg, hint=hint, facts=loss.facts)
        return accept is not None or not loss.needs_consent

    # mending

    def _finish(
        self, source: Path, log: RocksLog, ends: Sequence[int], loss: Loss, *, torn: bool
    ) -> None:
        """Begin new eras, put the mended log in its place, and look at everything again."""
        findings = self.findings
        done = findings.mended
        place = self.mended if torn else source
        if torn:
            done.append(f"wrote the log anew from {sum(ends)} facts")
        elif source != self.log:
            done.append("opened the log from a copy of its files")
        marks = self._begin_eras(place, log, ends, loss)
        if place != self.log:
            done.append(f"kept the damaged log as {self._swap(place)}")
        if loss.needs_consent:
            Watermark(self.path / WATERMARK_NAME, log.log_id, marks).close()
            lost = f"gave up {loss.facts} facts" if loss.facts else "gave nothing up that is known"
            done.append(f"{lost}; what went on from there is told so")
        self._clear_away()
        self._look_again(log)

    def _begin_eras(
        self, place: Path, log: RocksLog, ends: Sequence[int], loss: Loss
    ) -> list[Mark]:
        lost = {part.partition for part in loss.partitions}
        marks = []
        with closing(RocksStore(place, create=False, salvage=place == self.copy)) as store:
            prefixes = whole_prefixes(RocksLog(store, self.path, LogName(log.log_id, len(ends))))
            for partition, prefix in enumerate(prefixes):
                era = max(load_era(store, partition), prefix.era)
                if self.marks and partition < len(self.marks.marks):
                    era = max(era, self.marks.marks[partition].era)
                if partition in lost or not loss.certain:
                    era += 1
                    store.write(era_rows(partition, era, prefix.last + 1))
                marks.append(Mark(era, prefix.last, prefix.hash))
            store.flush()
        return marks

    def _swap(self, place: Path) -> str:
        if place != self.mended:
            place.rename(self.mended)
        sync_directory(self.mended)
        number = 1
        while (kept := self.path / f"{DAMAGED_NAME}.{number}").exists():
            number += 1
        self.log.rename(kept)
        self.mended.rename(self.log)
        sync_directory(self.path)
        return kept.name

    def _clear_away(self) -> None:
        done = self.findings.mended
        views = self.path / VIEWS_NAME
        if views.exists():
            shutil.rmtree(views)
            done.append("dropped the views: they are built again from the log")
        for part in (self.path / "blobs").glob("*/.*"):
            part.unlink()
            done.append(f"removed {part.name}, which was never finished")

    def _look_again(self, log: RocksLog) -> None:
        """Verify what stands there now: that is what is reported."""
        with closing(RocksStore(self.log, create=False)) as store:
            name = LogName(log.log_id, log.partitions)
            again = RocksLog(store, self.path, name)
            report = verify(again)
            verify_segments(again, report)
            verify_files(again.blob_files, report)
        self.findings.report = report
        self.findings.loss = None


def check_current(path: Path) -> None:
    """Raise `LogDamaged` where RocksDB would find no database."""
    if not log_exists(path):
        msg = f"{path / LOG_DIRECTORY / 'CURRENT'} is missing"
        raise LogDamaged(msg, hint=HINT_DAMAGED)


def _merge(findings: Findings, inner: Report) -> None:
    """Take a report over, with the problems that were found before it."""
    before = findings.report
    for problem in before.problems:
        inner.add(problem.code, problem.place, problem.message)
    inner.segments = before.segments
    findings.report = inner
