"""Baselines: a view that begins with its rows at a place is the view that saw everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_events.errors import HistoryExpired
from goclaw_events.frame import read_header
from goclaw_events.ids import partition_of
from goclaw_events.memory_journal import MemoryJournal
from goclaw_projections.baseline import LogBaselines, ViewRows, fold_views, section_of
from goclaw_projections.every import all_projections
from goclaw_projections.lanes import LanesReader
from goclaw_projections.runner import ProjectionRunner, RunnerSettings
from goclaw_projections.runs import RunsReader
from goclaw_projections.store import MemoryViewStore
from goclaw_projections.verify import differences
from tests.projections.lane_model import LaneModel
from tests.projections.log_writer import LogWriter, Said, said, submitted
from tests.projections.test_rebuild_property import lane_steps, owner_of, turns

if TYPE_CHECKING:
    from collections.abc import Iterator


class Kept(NamedTuple):
    """The rows of a view, read out."""

    version: int
    rows: list[tuple[bytes, bytes]]
    lacks: int


class Begun:
    """Baselines in memory."""

    def __init__(self) -> None:
        self.begins: dict[int, int] = {}
        self.kept: dict[tuple[int, str], Kept] = {}

    def begin(self, partition: int) -> int:
        """Return where a partition begins."""
        return self.begins.get(partition, 1)

    def view(self, partition: int, name: str) -> ViewRows | None:
        """Return a view's rows there."""
        found = self.kept.get((partition, name))
        return (
            None if found is None else ViewRows(name, found.version, iter(found.rows), found.lacks)
        )

    def expire(self, journal: Expired, partition: int, below: int) -> None:
        """Keep what the views are at a place, then let nothing below it be read."""
        made = fold_views(journal, partition, below, self, MemoryViewStore(), all_projections)
        kept = {(partition, each.name): Kept(each[1], list(each.rows), each.lacks) for each in made}
        self.kept.update(kept)
        self.begins[partition] = journal.begins[partition] = below


class Expired(MemoryJournal):
    """A log of which nothing below some places can be read."""

    begins: dict[int, int]

    def frames(self, partition: int, start: int = 1, stop: int | None = None) -> Iterator[bytes]:
        """Yield frames; raise where they are gone."""
        if start < self.begins.get(partition, 1):
            raise HistoryExpired(f"{partition}:{start} is gone")
        return super().frames(partition, start, stop)


def expired(partitions: int = 1) -> Expired:
    """Return an empty log of which nothing is gone yet."""
    journal = Expired(partitions=partitions)
    journal.begins = {}
    return journal


def cut(journal: Expired, partition: int, share: float) -> int:
    """Return a number at which a frame begins, so far along what is left of a partition."""
    begin, durable = journal.begins.get(partition, 1), journal.durable(partition)
    wanted = begin + int(max(0, durable - begin) * share)
    for data in journal.frames(partition, wanted, wanted):
        return read_header(data).first
    return begin


steps = st.lists(st.one_of(turns, turns, turns, st.floats(0, 1)), max_size=40)


@settings(max_examples=80)
@given(partitions=st.sampled_from([1, 3]), frames_max=st.integers(1, 4), plan=steps)
def test_views_do_not_lack_what_expired(
    partitions: int, frames_max: int, plan: list[Said | float]
) -> None:
    """However often history is cut, a rebuild from the baseline makes the rows of whole history."""
    journal, whole, begun = expired(partitions), MemoryJournal(partitions=partitions), Begun()
    writers = [LogWriter(journal), LogWriter(whole)]
    for step in plan:
        if isinstance(step, Said):
            for writer in writers:
                writer.frame(step, partition=partition_of(owner_of(step), partitions))
            continue
        for partition in range(partitions):
            below = cut(journal, partition, step)
            if below > journal.begins.get(partition, 1):
                begun.expire(journal, partition, below)
    store, limits = MemoryViewStore(), RunnerSettings(frames_max=frames_max)
    runner = ProjectionRunner(journal, store, all_projections(), limits, begun)
    runner.catch_up()
    assert {status.state for status in runner.status()} == {"running"}
    assert list(differences(whole, store, all_projections())) == []
    assert list(differences(journal, store, all_projections(), begun)) == []


def two_runs() -> tuple[Expired, LogWriter]:
    """Return a log with a run before and a run after number 2."""
    journal = expired()
    writer = LogWriter(journal)
    writer.frame(said("workflow/a", submitted()))
    writer.frame(said("workflow/b", submitted()))
    return journal, writer


def test_rows_that_stopped_before_history_begins_are_made_again() -> None:
    """Views that had not folded what is now gone begin with the baseline, not with a gap."""
    journal, writer = two_runs()
    begun, store = Begun(), MemoryViewStore()
    ProjectionRunner(journal, store, all_projections()).catch_up()
    writer.frame(said("workflow/c", submitted()))
    writer.frame(said("workflow/d", submitted()))
    begun.expire(journal, 0, 4)
    runner = ProjectionRunner(journal, store, all_projections(), baselines=begun)
    runner.catch_up()
    assert list(differences(journal, store, all_projections(), begun)) == []
    assert len(list(store.scan(b"runs/run/"))) == 4


@pytest.mark.parametrize("has", ["another version", "nothing"])
def test_a_view_of_another_version_begins_without_what_was_given_up(has: str) -> None:
    """It says so, after a restart and a rebuild too, and what is given up later is kept of it."""
    journal, writer = two_runs()
    begun, store = Begun(), MemoryViewStore()
    begun.expire(journal, 0, 2)
    if has == "nothing":
        del begun.kept[0, "runs"]
    else:
        begun.kept[0, "runs"] = begun.kept[0, "runs"]._replace(version=99)

    def restarted() -> ProjectionRunner:
        runner = ProjectionRunner(journal, store, all_projections(), baselines=begun)
        runner.catch_up()
        runs, *others = runner.status()
        assert (runs.name, runs.state, runs.lacks) == ("runs", "running", (2,))
        assert {(status.state, status.lacks) for status in others} == {("running", (0,))}
        assert [run.run_id for run in RunsReader(store).list().runs][-1] == "b"
        return runner

    restarted()
    runner = restarted()
    runner.rebuild("runs")
    runner.catch_up()
    restarted()
    writer.frame(said("workflow/c", submitted()))
    writer.frame(said("workflow/d", submitted()))
    begun.expire(journal, 0, 4)
    assert begun.kept[0, "runs"].lacks == 2
    store = MemoryViewStore()
    restarted()
    assert list(differences(journal, store, all_projections(), begun)) == []


@settings(max_examples=40)
@given(plan=st.lists(st.one_of(turns, lane_steps, lane_steps, st.floats(0, 1)), max_size=40))
def test_views_go_on_wherever_they_begin(plan: list[Any]) -> None:
    """What they lack stops none of them, and none counts below nothing."""
    journal, begun = expired(), Begun()
    writer = LogWriter(journal)
    lanes = {"d/io": LaneModel(), "/io": LaneModel()}
    for step in plan:
        if isinstance(step, Said):
            writer.frame(step, partition=0)
        elif isinstance(step, tuple):
            lane, task, priority, at_once = step
            told = lanes[lane].step(f"task/r1/{task}", priority, at_once=at_once)
            writer.frame(said(f"lane/{lane}", told), partition=0)
        elif (below := cut(journal, 0, step)) > journal.begins.get(0, 1):
            begun.begins[0] = journal.begins[0] = below
    store = MemoryViewStore()
    runner = ProjectionRunner(journal, store, all_projections(), baselines=begun)
    runner.catch_up()
    assert {(status.state, status.message) for status in runner.status()} == {("running", "")}
    assert {status.lacks for status in runner.status()} == {(journal.begins.get(0, 0),)}
    for lane in LanesReader(store).list(limit=100).items:
        assert min(lane.running, lane.queued, lane.blocked) >= 0


def test_a_slot_that_was_lent_before_a_view_begins_comes_back_to_nothing() -> None:
    """Then the lane is as it is said to be from there on."""
    journal, begun, lane = expired(), Begun(), LaneModel()
    writer = LogWriter(journal)
    for task in ("task/a/1", "task/a/2", "task/a/1", "task/a/2", "task/b/1"):
        writer.frame(said("lane/d/io", lane.step(task, 0, at_once=True)), partition=0)
    begun.begins[0] = journal.begins[0] = 3
    store = MemoryViewStore()
    ProjectionRunner(journal, store, all_projections(), baselines=begun).catch_up()
    [view] = LanesReader(store).list(limit=2).items
    assert (view.running, view.released_total, view.leased_total) == (1, 2, 1)


class Sealed(NamedTuple):
    """A baseline with sections of the names that `section_of` gives."""

    sections: list[str]

    def rows(self, section: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield the section's name."""
        yield b"of", section.encode()


@pytest.mark.parametrize("lacks", [0, 17])
def test_a_section_is_found_by_the_name_of_its_view(lacks: int) -> None:
    """It says the version, and from where on facts are in the rows."""
    made = [ViewRows("run", 9, iter(()), 3), ViewRows("runs", 12, iter(()), lacks)]

    class Journal(MemoryJournal):
        def baseline(self, _: int) -> Any:
            return Sealed(["actors", *(section_of(rows) for rows in made)])

    found = LogBaselines(Journal()).view(0, "runs")
    assert found is not None
    assert (found.name, found.version, found.lacks) == ("runs", 12, lacks)
    assert list(found.rows) == [(b"of", section_of(made[1]).encode())]
    assert LogBaselines(Journal()).view(0, "un") is None


def test_a_log_that_gave_nothing_up_has_no_baseline() -> None:
    """Then a view begins with nothing, at the first fact."""
    found = LogBaselines(MemoryJournal())
    assert found.begin(0) == 1
    assert found.view(0, "runs") is None
