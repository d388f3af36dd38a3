"""What of the actors is kept where history is given up, and how far it can be given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_actors.alive import alive, runs_of
from goclaw_actors.baseline import snapshot_rows
from goclaw_actors.rebuild import actor_at
from goclaw_events.ids import kind_of
from goclaw_events.segments.expiry import expiry_place, kept_streams, segments_of
from goclaw_events.segments.fold import run_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from goclaw_actors.decider import Decider
    from goclaw_events.rocks import RocksJournal
    from goclaw_events.segments.records import SegmentInfo


def safe_place(
    journal: RocksJournal, kinds: Mapping[str, Decider[Any]], partition: int, number: int
) -> int:
    """Return the highest place not above `number` where a partition's history may begin.

    Every run with facts below it has ended, nothing of it is still at work, and what is kept of
    it stands in `ended`: all of it is archived.
    """
    place = expiry_place(journal, partition, number)
    busy = runs_of(alive(journal, kinds, partition))
    begin = journal.history(partition)
    for info in segments_of(journal, partition):
        if info.last >= place:
            break
        if any(
            _is_held(journal, partition, run, busy) for run in runs_in(journal, partition, info)
        ):
            return begin
        begin = info.last + 1
    return begin


def _is_held(journal: RocksJournal, partition: int, run: str, busy: set[str]) -> bool:
    return run in busy or journal.ended(partition, run) is None


def runs_in(journal: RocksJournal, partition: int, info: SegmentInfo) -> Iterator[str]:
    """Yield the runs that have facts in a segment, a run again for each of its kinds of streams."""
    last = None
    for key, _ in journal.shelves.reader(partition, info).rows():
        run = run_of(key[4:-8].decode())
        if run is not None and run != last:
            yield run
            last = run


def actor_rows(
    journal: RocksJournal, kinds: Mapping[str, Decider[Any]], partition: int, below: int
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of the baseline's section for actors: of all that goes on at `below`.

    Holds one actor at a time in memory. Raises what reading a log raises.
    """
    era = journal.head(partition).era
    for stream in kept_streams(journal, partition, below):
        if kind_of(stream) in kinds:
            entity = actor_at(journal, kinds, partition, stream, below)
            yield from snapshot_rows(entity, partition, era)
