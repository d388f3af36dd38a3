"""Rebuilding a view while it is served: old rows until the new ones know as much, then those."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from goclaw_events.envelope import Position
from goclaw_events.errors import UnknownType
from goclaw_events.memory_journal import MemoryJournal
from goclaw_projections.errors import (
    ProjectionFailed,
    ProjectionUnknown,
    ViewsBehind,
    ViewsUnavailable,
)
from goclaw_projections.every import all_projections
from goclaw_projections.runner import ProjectionRunner, RunnerSettings
from goclaw_projections.runs import RunsProjection, RunsReader
from goclaw_projections.served import ServedRows, serving_slot
from goclaw_projections.store import MemoryViewStore
from goclaw_projections.verify import differences
from goclaw_projections.views import Views
from tests.projections.log_writer import SECOND_NS, LogWriter, said, submitted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_projections.projection import ReadFrame
    from goclaw_projections.rows import Rows
    from goclaw_projections.store import Change

WAIT_S = 10.0
SMALL = RunnerSettings(frames_max=4)


class Fragile(RunsProjection):
    """The view `runs`, which raises at a number if told to."""

    fails_at: int | None = None

    def apply(self, frame: ReadFrame, rows: Rows) -> None:
        """Fold, or raise."""
        if frame.first == self.fails_at:
            msg = "cannot fold this"
            raise UnknownType(msg)
        super().apply(frame, rows)


class Dying(MemoryViewStore):
    """A store whose process dies after some writes."""

    writes_left: int | None = None

    def write(self, changes: Sequence[Change], dropped: Sequence[bytes] = ()) -> None:
        """Write, or die."""
        if self.writes_left is not None:
            if self.writes_left == 0:
                msg = "died"
                raise ViewsUnavailable(msg)
            self.writes_left -= 1
        super().write(changes, dropped)


def log_of(runs: int) -> tuple[MemoryJournal, LogWriter]:
    """Return a log of finished runs."""
    journal = MemoryJournal()
    writer = LogWriter(journal)
    for number in range(runs):
        writer.run(f"r{number}", ["a", "b"])
    return journal, writer


def test_rows_are_served_and_kept_up_to_date_until_the_new_ones_have_caught_up() -> None:
    """A reader sees every run at every moment of a rebuild, and new ones; then slots change."""
    journal, writer = log_of(5)
    store = MemoryViewStore()
    runner = ProjectionRunner(journal, store, all_projections(), RunnerSettings(frames_max=16))
    runner.catch_up()
    reader = RunsReader(store)
    runner.rebuild("runs")
    steps = 0
    while runner.status()[0].rebuild is not None:
        last = writer.frame(said(f"workflow/new{steps}", submitted()))
        runner._step()
        steps += 1
        assert runner.status()[0].lag == (0,)
        assert len(reader.list(limit=100).runs) == 5 + steps
        assert reader.get(f"new{steps - 1}") is not None
        assert runner.status()[0].places == (last,)
    assert steps > 3
    assert serving_slot(store, "runs") == 1
    assert list(store.scan(b"runs/")) == []
    assert list(differences(journal, store, all_projections())) == []
    runner.rebuild("runs")
    runner.wait_for_rebuild("runs", WAIT_S)
    assert serving_slot(store, "runs") == 0
    assert list(store.scan(b"runs~/")) == []
    assert list(differences(journal, store, all_projections())) == []


@pytest.mark.parametrize("writes", range(9))
def test_rebuild_that_a_crash_interrupts_goes_on_at_the_next_start(writes: int) -> None:
    """Wherever the process dies, rows are served, and after the next start they are the log's."""
    journal, writer = log_of(3)
    store = Dying()
    runner = ProjectionRunner(journal, store, [RunsProjection()], SMALL)
    runner.catch_up()
    store.writes_left = writes
    with contextlib.suppress(ViewsUnavailable):
        runner.rebuild("runs")
        runner.catch_up()
    store.writes_left = None
    assert len(RunsReader(store).list().runs) == 3
    writer.run("later")
    again = ProjectionRunner(journal, store, [RunsProjection()], SMALL)
    again.wait_for(Position(0, journal.durable(0)), WAIT_S)
    assert len(RunsReader(store).list().runs) == 4
    again.catch_up()
    assert again.status()[0].rebuild is None
    assert list(differences(journal, store, [RunsProjection()])) == []
    served = "runs~" if serving_slot(store, "runs") else "runs"
    other = "runs" if served == "runs~" else "runs~"
    assert list(store.scan(f"{other}/".encode())) == []
    assert store.get(f"!checkpoint/{other}".encode()) is None


def test_interrupted_rebuild_keeps_what_it_has() -> None:
    """The next start folds on from the rebuild's own checkpoint."""
    journal, _ = log_of(4)
    store = MemoryViewStore()
    runner = ProjectionRunner(journal, store, [RunsProjection()], SMALL)
    runner.catch_up()
    runner.rebuild("runs")
    runner._step()
    before = runner.status()[0].rebuild
    assert before is not None
    assert 0 < before.places[0] < journal.durable(0)
    assert before.lag == (journal.durable(0) - before.places[0],)
    again = ProjectionRunner(journal, store, [RunsProjection()], SMALL)
    assert again.status()[0].rebuild == before


def test_failed_projection_comes_back_with_its_rebuild() -> None:
    """What it had is served until the rebuild is whole; a rebuild that fails too says so."""
    journal, writer = log_of(3)
    store = MemoryViewStore()
    fragile = Fragile()
    runner = ProjectionRunner(journal, store, [fragile], SMALL)
    runner.catch_up()
    fragile.fails_at = writer.frame(said("workflow/r9", submitted()))
    runner.catch_up()
    assert runner.status()[0].state == "failed"
    runner.rebuild("runs")
    with pytest.raises(ProjectionFailed):
        runner.wait_for_rebuild("runs", WAIT_S)
    rebuild = runner.status()[0].rebuild
    assert rebuild is not None
    assert (rebuild.state, rebuild.code) == ("failed", "unknown_type")
    assert len(RunsReader(store).list().runs) == 3
    fragile.fails_at = None
    runner.rebuild("runs")
    runner.wait_for_rebuild("runs", WAIT_S)
    assert runner.status()[0].state == "running"
    assert RunsReader(store).get("r9") is not None
    with pytest.raises(ProjectionUnknown):
        runner.rebuild("run")


def test_other_version_drops_the_rebuild_with_the_rows() -> None:
    """Rows of another version cannot be served: all of them are made anew at once."""
    journal, _ = log_of(2)
    store = MemoryViewStore()
    runner = ProjectionRunner(journal, store, [RunsProjection()], SMALL)
    runner.catch_up()
    runner.rebuild("runs")
    runner._step()
    newer = RunsProjection()
    newer.version = 99
    again = ProjectionRunner(journal, store, [newer])
    assert again.status()[0].rebuild is None
    again.catch_up()
    assert list(store.scan(b"runs~/")) == []
    assert len(RunsReader(store).list().runs) == 2


def test_scan_goes_on_in_the_new_rows_when_slots_change_under_it() -> None:
    """A listing that a finished rebuild overtakes loses and repeats nothing."""
    journal, _ = log_of(6)
    store = MemoryViewStore()
    runner = ProjectionRunner(journal, store, [RunsProjection()], SMALL)
    runner.catch_up()
    rows = ServedRows(store, "runs")
    scan = rows.scan("run/")
    seen = [next(scan)[0]]
    runner.rebuild("runs")
    runner.catch_up()
    seen += [key for key, _ in scan]
    assert seen == [f"run/r{number}" for number in range(6)]


def test_thread_rebuilds_while_it_serves() -> None:
    """With a thread, a rebuild is waited for by name, and a deadline is kept."""
    journal, _ = log_of(3)
    views = Views(journal, MemoryViewStore())
    views.runner.start()
    try:
        views.runner.rebuild("lanes")
        views.runner.wait_for_rebuild("lanes", WAIT_S)
    finally:
        views.close()
    views = Views(journal, MemoryViewStore())
    views.runner._thread = views.runner  # type: ignore[assignment]  # one that never folds
    views.runner.rebuild("lanes")
    with pytest.raises(ViewsBehind):
        views.runner.wait_for_rebuild("lanes", 0.0)


def test_lag_is_told_in_facts_and_in_seconds_of_the_log() -> None:
    """`lag_s` is the age of the last folded fact against the last durable one; 0 when there."""
    journal, writer = log_of(1)
    views = Views(journal, MemoryViewStore())
    views.runner.catch_up()
    assert (views.runner.status()[0].lag, views.runner.status()[0].lag_s) == ((0,), 0.0)
    writer.time_ns += 4 * SECOND_NS
    writer.frame(said("workflow/r9", submitted()))
    assert (views.runner.status()[0].lag, views.runner.status()[0].lag_s) == ((1,), 5.0)


def test_readers_wait_for_a_position() -> None:
    """`at` gives views that know a position, or says that they do not."""
    journal, writer = log_of(1)
    views = Views(journal, MemoryViewStore())
    last = writer.frame(said("workflow/r9", submitted()))
    assert views.at(None).runs.get("r9") is None
    assert views.at(Position(0, last), "runs").runs.get("r9") is not None
    with pytest.raises(ViewsBehind):
        views.at({0: last + 1}, timeout_s=0.0)
    with pytest.raises(ProjectionUnknown):
        views.at(Position(0, last), "run")
