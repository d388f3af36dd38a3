"""Verify that replay and what is kept agree: actors, snapshots, tables, views."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from goclaw.garbage import collect_seldom
from goclaw_actors.actor import Entity
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.rebuild import (
    Folded,
    Unheard,
    begin,
    find_snapshots,
    first_state,
    fold_durable,
    fold_frames,
    load,
)
from goclaw_actors.recent import RecentFrames
from goclaw_events.errors import CodedError
from goclaw_events.ids import kind_of
from goclaw_events.verify import PROBLEMS_MAX, Problem, verify
from goclaw_projections.every import all_projections
from goclaw_projections.rocks_store import RocksViewStore
from goclaw_projections.verify import differences
from goclaw_projections.views import Views

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw_events.journal import Journal

DIFFERS: Final = "replay_differs"
STREAMS_AT_ONCE: Final = 50_000
"""States held at a time; a log of more streams is read as often as it takes."""


@dataclass(slots=True)
class ReplayReport:
    """What was compared, and where it differs (at most 100 places are kept, all are counted)."""

    facts: int = 0
    frames: int = 0
    streams: int = 0
    snapshots: int = 0
    rows: int = 0
    view_rows: int = 0
    problems: list[Problem] = field(default_factory=list)
    problems_count: int = 0

    @property
    def agrees(self) -> bool:
        """Tell whether nothing differs."""
        return not self.problems_count

    def add(self, code: str, place: str, message: str) -> None:
        """Record a place that differs."""
        self.problems_count += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(Problem(code, place, message))


def check_replay(journal: Journal, views: Path) -> ReplayReport:
    """Compare tables with frames, activation with full replay, views with their rebuild.

    Every snapshot that is kept is compared too: with the facts after it, it must give the same.
    Brings the views up to date first. A log that is not whole is not replayed. Memory grows with
    50,000 streams, with what is unfinished, and with the views.
    """
    collect_seldom()
    report = ReplayReport()
    found = verify(journal)
    report.frames, report.facts = found.frames, found.facts
    report.rows = sum(found.rows.values())
    report.problems, report.problems_count = found.problems, found.problems_count
    if report.agrees:
        actors = _Actors(journal, report)
        for partition in range(journal.partitions):
            actors.check(partition)
        _check_views(journal, views, report)
    return report


class _Actors:
    """Compare what every stream folds to with what its actor activates with, and its snapshots."""

    def __init__(self, journal: Journal, report: ReplayReport) -> None:
        self._journal = journal
        self._report = report
        self._kinds = deciders(StoredContents(journal))

    def check(self, partition: int) -> None:
        """Read a partition as often as its streams need, and compare each of them once."""
        passes = 1 + sum(1 for _ in self._journal.streams(partition)) // STREAMS_AT_ONCE
        for part in range(passes):
            for stream, folded in self._replayed(partition, part, passes).items():
                self._report.streams += 1
                self._compare(partition, stream, folded.state, folded.seq)

    def _replayed(self, partition: int, part: int, parts: int) -> dict[str, Folded]:
        """Fold every frame in order; return the streams of one part."""
        frames = self._journal.frames(partition, self._journal.history(partition))

        def wanted(stream: str) -> bool:
            return parts == 1 or zlib.crc32(stream.encode()) % parts == part

        first = partial(self._first_state, partition)
        return fold_frames(frames, self._kinds, first, wanted)

    def _first_state(self, partition: int, stream: str, _: object) -> Any:
        """Return what an actor is where history begins, or before its first fact."""
        return first_state(self._journal, partition, self._entity(stream)).state

    def _compare(self, partition: int, stream: str, state: Any, seq: int) -> None:
        replayed = self._kinds[kind_of(stream)].encode(state)
        place = f"{partition}:{stream}"
        try:
            entity = self._entity(stream)
            load(entity, self._journal, partition, (), None, 0)
            self._differ(place, entity, replayed, seq)
            if entity.held:
                self._compare_snapshots(partition, stream, replayed, seq)
        except CodedError as error:
            self._report.add(error.code, place, error.message)

    def _entity(self, stream: str) -> Entity:
        return Entity(stream, self._kinds[kind_of(stream)], Unheard())

    def _compare_snapshots(self, partition: int, stream: str, replayed: Any, seq: int) -> None:
        """Compare each kept snapshot and the facts after it with full replay, replies too."""
        full = first_state(self._journal, partition, self._entity(stream))
        fold_durable(full, self._journal, partition, RecentFrames())
        for snapshot in find_snapshots(self._entity(stream), self._journal, partition):
            self._report.snapshots += 1
            place = f"{partition}:{stream} from its snapshot at {snapshot.manifest.number}"
            entity = self._entity(stream)
            begin(entity, (snapshot,))
            if entity.base is None:
                self._report.add(DIFFERS, place, "the snapshot cannot be restored")
                continue
            fold_durable(entity, self._journal, partition, RecentFrames())
            self._differ(place, entity, replayed, seq)
            if list((entity.replies or {}).items()) != list((full.replies or {}).items()):
                text = "the actor remembers other replies than full replay gives"
                self._report.add(DIFFERS, place, text)

    def _differ(self, place: str, entity: Entity, replayed: Any, seq: int) -> None:
        if entity.seq != seq:
            text = f"the actor activates at fact {entity.seq}, the log has {seq}"
            self._report.add(DIFFERS, place, text)
        activated = entity.decider.encode(entity.state)
        if replayed != activated:
            keys = [key for key in replayed if replayed[key] != activated.get(key)]
            text = f"the actor activates with another {', '.join(keys)} than full replay gives"
            self._report.add(DIFFERS, place, text)


def _check_views(journal: Journal, path: Path, report: ReplayReport) -> None:
    store = RocksViewStore(path)
    views = Views(journal, store)
    try:
        views.runner.catch_up()
        for status in views.runner.status():
            if status.state == "failed":
                report.add(status.code, f"view {status.name}", status.message)
        for view, key, stored, rebuilt in differences(journal, store, all_projections()):
            text = "the row differs from its rebuild"
            if stored is None or rebuilt is None:
                text = f"the row is only in the {'rebuild' if stored is None else 'view'}"
            report.add(DIFFERS, f"view {view}: {key}", text)
        for projection in all_projections():
            report.view_rows += sum(1 for _ in store.scan(f"{projection.name}/".encode()))
    finally:
        views.close()
