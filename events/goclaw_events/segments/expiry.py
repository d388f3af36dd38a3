"""Give history up: what is kept of it first, then a fact, and only then the files go.

1. `expiry_place`: where a partition may be cut; `runs_below`: whose history would go
2. `seal_baseline`: what history came to at that place, as a file
3. the fact `SegmentsExpired`, durable
4. `goclaw_events.rocks.archiving.drop_expired`
"""

from __future__ import annotations

import heapq
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from goclaw_events.envelope import InvalidPosition
from goclaw_events.errors import LogUnfinished
from goclaw_events.frame import decode_frame
from goclaw_events.ids import owner_stream
from goclaw_events.segments.baseline import DERIVED_ROWS, OWN, SEQS, write_baseline
from goclaw_events.segments.fold import run_of
from goclaw_events.segments.records import dropped_key
from goclaw_events.segments.sealing import Sealable
from goclaw_events.tables import derive, is_of_archive, open_key, u16, u64

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from goclaw_events.segments.baseline import Rows
    from goclaw_events.segments.records import SegmentInfo
    from goclaw_events.segments.shelf import Shelves

UNFINISHED_NAMED_MAX: Final = 10


class Expirable(Sealable, Protocol):
    """A journal whose oldest segments can be given up."""

    @property
    def shelves(self) -> Shelves:
        """Return the segments that are read from."""
        ...


class Baseline(NamedTuple):
    """A sealed baseline: the name of its file, its digest, how many runs lose history."""

    name: str
    digest: bytes
    runs: int


def segments_of(journal: Expirable, partition: int) -> list[SegmentInfo]:
    """Return the segments that are read from, in order."""
    shelf = journal.shelves.current.get(partition)
    return [] if shelf is None else [reader.info for reader in shelf.readers]


def expiry_place(journal: Expirable, partition: int, number: int) -> int:
    """Return the highest place not above `number` where a partition's history may begin.

    That is behind a segment which no unfinished run has facts in, nor in one before it. It is
    the place where history begins now if there is no other.
    """
    place = journal.history(partition)
    limit = min(number, _oldest_open(journal, partition))
    for info in segments_of(journal, partition):
        if info.last >= limit:
            break
        place = info.last + 1
    return place


def _oldest_open(journal: Expirable, partition: int) -> int:
    """Return the number of the oldest frame that has facts of an unfinished run."""
    oldest = journal.durable(partition) + 1
    for key, _ in journal.rows("open", u16(partition)):
        stream = key[4:].decode()
        if run_of(stream) is not None:
            number = next((at for at, _ in journal.stream_frames(partition, stream)), oldest)
            oldest = min(oldest, number)
    return oldest


def runs_below(journal: Expirable, partition: int, below: int) -> Iterator[str]:
    """Yield the runs that have facts which an expiry would give up, each once, in no order.

    Memory grows by about 100 bytes a run.
    """
    named: set[str] = set()
    for info in segments_of(journal, partition):
        if info.first >= below:
            return
        reader = journal.shelves.reader(partition, info)
        for key, _ in reader.rows():
            run = run_of(key[4:-8].decode())
            if run is not None and run not in named:
                named.add(run)
                yield run


def seal_baseline(
    journal: Expirable, partition: int, below: int, sections: Mapping[str, Rows]
) -> Baseline:
    """Write what is kept in place of the facts below `below`; return what the fact will say.

    `sections` are the caller's: rows in order of key, by the section's name. Added to them are the
    derived rows of the tables at that place, and the last seq of each stream that goes on, or of
    which no `ended` row is kept. Nothing refers to the file yet. Blocks: reads what is given up.
    Raises `InvalidPosition`, `LogUnfinished` naming runs, `LogDamaged`, `JournalFull`,
    `JournalBroken`.
    """
    _check(journal, partition, below, sections)
    own = {
        DERIVED_ROWS: _derived(journal, partition, below),
        SEQS: _seqs(journal, partition, below),
    }
    runs = sum(1 for _ in runs_below(journal, partition, below))
    place = (partition, below)
    name, digest = write_baseline(
        journal.segments_path, journal.log_id, place, {**own, **sections}, journal.adopt_file
    )
    return Baseline(name, digest, runs)


def _check(journal: Expirable, partition: int, below: int, sections: Mapping[str, Rows]) -> None:
    ends = [info.last + 1 for info in segments_of(journal, partition)]
    emptied = journal.get("meta", dropped_key(partition))
    if below not in ends or emptied is None or int.from_bytes(emptied, "big") < below:
        msg = f"no segment of partition {partition} ends before {below}"
        raise InvalidPosition(msg, hint="history is given up by whole segments")
    if any(name.startswith(OWN) for name in sections):
        msg = f"sections whose names begin with {OWN} are not the caller's"
        raise ValueError(msg)
    open_runs = []
    for run in runs_below(journal, partition, below):
        if journal.get("open", open_key(partition, owner_stream(run))) is not None:
            open_runs.append(run)
            if len(open_runs) == UNFINISHED_NAMED_MAX:
                break
    if open_runs:
        msg = f"unfinished runs have facts below {partition}:{below}: {', '.join(open_runs)}"
        raise LogUnfinished(msg, hint="let them end, or expire less", runs=open_runs)


def live_rows(journal: Expirable, partition: int, below: int) -> dict[tuple[str, bytes], bytes]:
    """Return the derived rows of tables but those of frames and streams, as they were at a place.

    Memory grows with what was unfinished there.
    """
    baseline = journal.baseline(partition)
    rows: dict[tuple[str, bytes], bytes] = {}
    if baseline is not None:
        rows = {(table, key): value for table, key, value in baseline.derived()}
    for data in journal.frames(partition, journal.history(partition), below - 1):
        for row in derive(decode_frame(data, check=False), data):
            if row.table in ("log", "streams") or is_of_archive(row):
                continue
            if row.value is None:
                rows.pop((row.table, row.key), None)
            else:
                rows[row.table, row.key] = row.value
    return rows


def _derived(journal: Expirable, partition: int, below: int) -> Rows:
    rows = live_rows(journal, partition, below)
    return sorted((table.encode() + b"\0" + key, value) for (table, key), value in rows.items())


def _seqs(journal: Expirable, partition: int, below: int) -> Rows:
    """Yield the last seq below a place of every stream that is not done with, in order of key."""
    before = journal.baseline(partition)
    known = before.rows(SEQS) if before is not None else iter(())
    old = ((name, int.from_bytes(seq, "big"), False) for name, seq in known)
    new = (
        (key[:-8], _last(key, value), int.from_bytes(value[:8], "big") >= below)
        for key, value in journal.rows("streams", u16(partition))
    )
    merged = heapq.merge(old, new, key=lambda row: row[0])
    for name, rows in groupby(merged, lambda row: row[0]):
        last, goes_on = 0, False
        for _, seq, above in rows:
            goes_on = goes_on or above
            last = last if above else max(last, seq)
        if last and (goes_on or not _is_kept(journal, partition, name[4:].decode())):
            yield name, u64(last)


def kept_streams(journal: Expirable, partition: int, below: int) -> Iterator[str]:
    """Yield, in order of key, the streams with facts below a place that are not done with there.

    Those that go on above it, and those for which no `ended` row stands.
    """
    for name, _ in _seqs(journal, partition, below):
        yield name[4:].decode()


def _last(key: bytes, value: bytes) -> int:
    return int.from_bytes(key[-8:], "big") + int.from_bytes(value[8:12], "big") - 1


def _is_kept(journal: Expirable, partition: int, stream: str) -> bool:
    """Tell whether an `ended` row stands for a stream."""
    run = run_of(stream)
    return run is not None and journal.ended(partition, run) is not None
