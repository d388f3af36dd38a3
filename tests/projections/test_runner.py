"""The runner: groups, checkpoints, rebuilds, failures, and reading one's own writes."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_events.envelope import Position
from goclaw_events.errors import JournalFull, UnknownType
from goclaw_events.memory_journal import MemoryJournal, MemoryRows
from goclaw_events.tables import Row, u64
from goclaw_projections import groups
from goclaw_projections.checkpoint import Checkpoint, Place, checkpoint_key
from goclaw_projections.errors import (
    ProjectionFailed,
    ViewsBehind,
    ViewsUnavailable,
)
from goclaw_projections.rocks_store import RocksViewStore
from goclaw_projections.runner import ProjectionRunner, RunnerSettings
from goclaw_projections.runs import RunsProjection, RunsReader
from goclaw_projections.store import MemoryViewStore
from goclaw_projections.tasks import TasksProjection
from goclaw_projections.timeline import TimelineProjection
from goclaw_projections.verify import Difference, differences
from tests.projections.log_writer import LogWriter, said, submitted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from goclaw_projections.projection import Projection, ReadFrame
    from goclaw_projections.rows import Rows
    from goclaw_projections.store import Change

WAIT_S = 10.0


def all_projections() -> list[Projection]:
    """Return every projection of this version."""
    return [RunsProjection(), TasksProjection(), TimelineProjection()]


class Counting:
    """A projection that counts facts by kind of stream; it raises at a number if told to."""

    name = "counting"

    def __init__(self, version: int = 1, fails_at: int | None = None, row: Any = 0) -> None:
        self.version = version
        self.fails_at = fails_at
        self.row = row
        self.seen: list[int] = []

    def apply(self, frame: ReadFrame, rows: Rows) -> None:
        """Count."""
        for turn in frame.turns:
            count = rows.get(turn.kind) or [0, self.row]
            count[0] += len(turn.facts)
            rows.put(turn.kind, count)
        if self.fails_at is not None and frame.first <= self.fails_at <= frame.last:
            msg = "cannot fold this"
            raise UnknownType(msg)
        self.seen.append(frame.first)


class FailingStore(MemoryViewStore):
    """A store whose writes can be made to fail."""

    failing = False

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def write(self, changes: Sequence[Change], dropped: Sequence[bytes] = ()) -> None:
        """Write, or fail."""
        if self.failing:
            msg = "no space"
            raise ViewsUnavailable(msg)
        self.sizes.append(len(changes))
        super().write(changes, dropped)


def checkpoint_of(store: MemoryViewStore, name: str) -> Checkpoint:
    """Return a projection's checkpoint."""
    data = store.get(checkpoint_key(name))
    assert data is not None
    found = Checkpoint.read(data)
    assert found is not None
    return found


def log_of_runs(count: int, partitions: int = 1) -> tuple[MemoryJournal, LogWriter]:
    """Return a log with some finished runs of two tasks."""
    journal = MemoryJournal(partitions=partitions)
    writer = LogWriter(journal)
    for number in range(count):
        writer.run(f"r{number}", ["a", "b"])
    return journal, writer


def test_checkpoint_is_the_last_frame_folded() -> None:
    """The checkpoint has log, version, and for each partition era and number of the last frame."""
    journal, _ = log_of_runs(5, partitions=4)
    store = MemoryViewStore()
    runner = ProjectionRunner(journal, store, [Counting(version=3)])
    runner.catch_up()
    checkpoint = checkpoint_of(store, "counting")
    durable = [journal.durable(partition) for partition in range(4)]
    assert checkpoint.version == 3
    assert checkpoint.log_id == journal.log_id
    assert [place.number for place in checkpoint.places] == durable
    assert {place.era for place in checkpoint.places if place.number} == {journal.head(0).era}
    assert [runner.lag(partition) for partition in range(4)] == [0, 0, 0, 0]


def test_groups_are_bounded_and_each_is_one_write() -> None:
    """No write holds more frames than `frames_max`, and the next one continues behind it."""
    journal, _ = log_of_runs(3)
    store = FailingStore()
    counting = Counting()
    ProjectionRunner(journal, store, [counting], RunnerSettings(frames_max=4)).catch_up()
    frames = len(list(journal.frames(0)))
    assert len(counting.seen) == frames
    assert len(store.sizes) == 1 + -(-frames // 4)
    by_bytes = FailingStore()
    ProjectionRunner(journal, by_bytes, [Counting()], RunnerSettings(bytes_max=1)).catch_up()
    assert len(by_bytes.sizes) == 1 + frames


def test_restart_continues_behind_the_checkpoint() -> None:
    """A new runner folds only what is new; nothing is folded twice."""
    journal, writer = log_of_runs(1)
    store = MemoryViewStore()
    ProjectionRunner(journal, store, [Counting()]).catch_up()
    seen = journal.durable(0)
    writer.run("later")
    again = Counting()
    ProjectionRunner(journal, store, [again]).catch_up()
    assert again.seen[0] == seen + 1
    assert list(differences(journal, store, [Counting()])) == []


def test_failed_write_leaves_rows_and_checkpoint_as_they_were() -> None:
    """What was folded for a write that failed is folded again, once, by the next one."""
    journal, writer = log_of_runs(1)
    store = FailingStore()
    runner = ProjectionRunner(journal, store, all_projections())
    runner.catch_up()
    before = list(store.scan(b"runs/")), checkpoint_of(store, "runs")
    writer.frame(said("workflow/r9", submitted()))
    store.failing = True
    with pytest.raises(ViewsUnavailable):
        runner.catch_up()
    assert (list(store.scan(b"runs/")), checkpoint_of(store, "runs")) == before
    store.failing = False
    runner.catch_up()
    assert RunsReader(store).get("r9") is not None
    assert list(differences(journal, store, all_projections())) == []


def test_another_version_builds_the_rows_again() -> None:
    """A checkpoint of another version drops the rows and folds from the start."""
    journal, _ = log_of_runs(2)
    store = MemoryViewStore()
    ProjectionRunner(journal, store, [Counting(version=1)]).catch_up()
    store.write([(b"counting/leftover", b"x")])
    newer = Counting(version=2, row="new")
    ProjectionRunner(journal, store, [newer]).catch_up()
    assert newer.seen[0] == 1
    assert store.get(b"counting/leftover") is None
    assert list(differences(journal, store, [Counting(version=2, row="new")])) == []


def test_checkpoint_that_cannot_be_read_builds_the_rows_again() -> None:
    """A checkpoint of an unknown form is as good as none."""
    journal, _ = log_of_runs(1)
    store = MemoryViewStore()
    store.write([(checkpoint_key("counting"), b"\xc1?"), (b"counting/leftover", b"x")])
    ProjectionRunner(journal, store, [Counting()]).catch_up()
    assert store.get(b"counting/leftover") is None
    assert checkpoint_of(store, "counting").places[0].number == journal.durable(0)


def test_views_ahead_of_the_log_are_built_again() -> None:
    """Rows beyond the end of the log (it was restored from a copy) are dropped."""
    journal, _ = log_of_runs(3)
    store = MemoryViewStore()
    ProjectionRunner(journal, store, all_projections()).catch_up()
    shorter = MemoryJournal(log_id=journal.log_id)
    LogWriter(shorter).run("r0", ["a", "b"])
    ProjectionRunner(shorter, store, all_projections()).catch_up()
    assert RunsReader(store).starting_with("r") == ["r0"]
    assert list(differences(shorter, store, all_projections())) == []


def test_views_of_another_log_are_built_again() -> None:
    """Rows made from a log with another id, or other partitions, are dropped."""
    journal, _ = log_of_runs(2)
    store = MemoryViewStore()
    ProjectionRunner(journal, store, all_projections()).catch_up()
    other = MemoryJournal()
    writer = LogWriter(other)
    for number in range(5):
        writer.run(f"other{number}")
    ProjectionRunner(other, store, all_projections()).catch_up()
    assert RunsReader(store).get("r0") is None
    assert list(differences(other, store, all_projections())) == []


def journal_in_era(era: int, log_id: bytes, runs: Sequence[str]) -> MemoryJournal:
    """Return a log whose frames are of an era."""
    rows = MemoryRows()
    rows.write([Row("meta", b"era/0", u64(era))])
    journal = MemoryJournal(log_id=log_id, rows=rows)
    writer = LogWriter(journal)
    for run in runs:
        writer.run(run)
    return journal


def test_views_beyond_the_start_of_a_later_era_are_built_again() -> None:
    """Where another history stands at the checkpoint's number, the rows are dropped."""
    log_id = bytes(16)
    before = journal_in_era(1, log_id, ["lost"])
    store = MemoryViewStore()
    ProjectionRunner(before, store, all_projections()).catch_up()
    after = journal_in_era(2, log_id, ["kept", "more"])
    ProjectionRunner(after, store, all_projections()).catch_up()
    assert RunsReader(store).starting_with("") == ["kept", "more"]
    assert checkpoint_of(store, "runs").places == (Place(2, after.durable(0)),)


def test_failing_projection_is_stopped_alone(caplog: pytest.LogCaptureFixture) -> None:
    """One that raises keeps its last checkpoint, is logged and reported; the others go on."""
    journal, _ = log_of_runs(2)
    store = MemoryViewStore()
    settings = RunnerSettings(frames_max=2)
    bad = Counting(fails_at=9)
    runner = ProjectionRunner(journal, store, [*all_projections(), bad], settings)
    runner.catch_up()
    runs, *_, failed = runner.status()
    assert (runs.state, runs.lag, runs.code) == ("running", (0,), "")
    assert (failed.state, failed.code, failed.message) == (
        "failed", "unknown_type", "cannot fold this",
    )  # fmt: skip
    assert 0 < failed.places[0] < 9
    assert checkpoint_of(store, "counting").places[0].number == failed.places[0]
    assert "counting is stopped at 0:" in caplog.text
    assert "[unknown_type]" in caplog.text
    assert list(differences(journal, store, all_projections())) == []
    with pytest.raises(ProjectionFailed, match="counting"):
        runner.wait_for(Position(0, journal.durable(0)), WAIT_S)
    runner.wait_for(Position(0, journal.durable(0)), WAIT_S, ["runs", "tasks"])


def test_rows_that_cannot_be_packed_stop_their_projection_alone() -> None:
    """A row that is no value is found when it is packed, and stops only who made it."""
    journal, _ = log_of_runs(1)
    store = MemoryViewStore()
    runner = ProjectionRunner(journal, store, [*all_projections(), Counting(row=object())])
    runner.catch_up()
    assert [status.state for status in runner.status()] == ["running"] * 3 + ["failed"]
    assert runner.status()[3].code == "value_not_storable"
    assert list(store.scan(b"counting/")) == []
    assert list(differences(journal, store, all_projections())) == []


def test_differences_name_what_is_not_as_the_log_makes_it() -> None:
    """A changed, a missing and a foreign row are each found."""
    journal, _ = log_of_runs(1)
    store = MemoryViewStore()
    ProjectionRunner(journal, store, all_projections()).catch_up()
    good = store.get(b"tasks/r0/a")
    missing = store.get(b"tasks/r0/b")
    store.write([(b"tasks/r0/a", b"bad"), (b"tasks/r0/b", None), (b"runs/run/ghost", b"?")])
    assert list(differences(journal, store, all_projections())) == [
        Difference("runs", "run/ghost", b"?", None),
        Difference("tasks", "r0/a", b"bad", good),
        Difference("tasks", "r0/b", None, missing),
    ]
    with pytest.raises(ProjectionFailed, match="unknown_type"):
        list(differences(journal, store, [Counting(fails_at=1)]))


def test_thread_folds_what_is_notified_and_serves_who_waits() -> None:
    """With a thread, a reader who waits for a position sees its row, long before the linger."""
    journal, writer = log_of_runs(1)
    store = MemoryViewStore()
    runner = ProjectionRunner(journal, store, all_projections(), RunnerSettings(linger_s=60.0))
    runner.start()
    runner.start()
    try:
        for number in range(20):
            last = writer.frame(said(f"workflow/w{number}", submitted()))
            runner.notify(0)
            runner.wait_for(Position(0, last), WAIT_S)
            assert RunsReader(store).get(f"w{number}") is not None
    finally:
        runner.stop()
        runner.stop()
    writer.run("unseen")
    runner.notify(0)
    assert RunsReader(store).get("unseen") is None


class Gated(MemoryViewStore):
    """A store that holds a write up until it is let through."""

    def __init__(self, free: int) -> None:
        super().__init__()
        self.free = free
        self.held = threading.Event()
        self.gate = threading.Event()

    def write(self, changes: Sequence[Change], dropped: Sequence[bytes] = ()) -> None:
        """Write; after `free` writes wait for the gate."""
        self.free -= 1
        if self.free < 0:
            self.held.set()
            assert self.gate.wait(WAIT_S)
        super().write(changes, dropped)


def test_who_waits_does_not_wait_for_the_end_of_a_burst() -> None:
    """A reader is served by the group that has its position, however much stands behind it."""
    journal, writer = log_of_runs(0)
    first = writer.frame(said("workflow/first", submitted()))
    for number in range(50):
        writer.frame(said(f"workflow/w{number}", submitted()))
    store = Gated(free=4)  # three views that begin, and one group
    runner = ProjectionRunner(journal, store, all_projections(), RunnerSettings(frames_max=4))
    runner.start()
    runner.wait_for(Position(0, first), WAIT_S)
    assert store.held.wait(WAIT_S)
    assert runner.lag(0) == 51 - 4
    store.gate.set()
    runner.wait_for(Position(0, journal.durable(0)), WAIT_S)
    runner.stop()


def test_who_asks_while_a_group_is_written_is_served_by_the_next() -> None:
    """Without the linger, which is for groups that nobody waits for."""
    journal, writer = log_of_runs(1)
    store = Gated(free=3)
    runner = ProjectionRunner(journal, store, all_projections(), RunnerSettings(linger_s=600.0))
    runner.start()
    before = threading.Thread(
        target=runner.wait_for, args=(Position(0, journal.durable(0)), WAIT_S)
    )
    before.start()
    assert store.held.wait(WAIT_S)
    late = writer.frame(said("workflow/late", submitted()))
    runner.notify(0)
    threading.Timer(0.0, store.gate.set).start()
    runner.wait_for(Position(0, late), WAIT_S)
    assert RunsReader(store).get("late") is not None
    before.join()
    runner.stop()


def test_thread_folds_without_anyone_waiting(tmp_path: Path) -> None:
    """What was durable before the start and what is notified later reaches a store on disk."""
    journal, writer = log_of_runs(2, partitions=4)
    store = RocksViewStore(tmp_path / "views")
    runner = ProjectionRunner(journal, store, all_projections(), RunnerSettings(linger_s=0.001))
    runner.start()
    writer.run("late")
    for partition in range(4):
        runner.notify(partition)
    runner.wait_for({p: journal.durable(p) for p in range(4)}, WAIT_S)
    runner.stop()
    assert list(differences(journal, store, all_projections())) == []
    store.close()


def test_waiting_for_what_does_not_come_times_out() -> None:
    """A position beyond the log is `timeout` after the time given, never an answer."""
    journal, _ = log_of_runs(1)
    runner = ProjectionRunner(journal, MemoryViewStore(), all_projections())
    with pytest.raises(ViewsBehind) as behind:
        runner.wait_for(Position(0, journal.durable(0) + 1), 0.01)
    assert behind.value.code == "timeout"


def test_thread_survives_a_store_that_fails_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """A full disk is told to who waits and logged once; the thread goes on when there is space."""
    journal, writer = log_of_runs(1)
    store = FailingStore()
    settings = RunnerSettings(linger_s=0.0, retry_s=0.001)
    runner = ProjectionRunner(journal, store, all_projections(), settings)
    store.failing = True
    runner.start()
    try:
        last = writer.frame(said("workflow/x", submitted()))
        runner.notify(0)
        with pytest.raises(ViewsUnavailable):
            runner.wait_for(Position(0, last), WAIT_S)
        store.failing = False
        while runner.lag(0):
            runner.wait_for_change(WAIT_S)
    finally:
        runner.stop()
    assert RunsReader(store).get("x") is not None
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1


def test_only_durable_facts_are_folded() -> None:
    """A frame that waits for its flush is not seen, and is folded once it is durable."""
    journal = MemoryJournal(autocommit=False)
    writer = LogWriter(journal)
    writer.frame(said("workflow/a", submitted()))
    journal.commit()
    writer.frame(said("workflow/b", submitted()))
    store = MemoryViewStore()
    runner = ProjectionRunner(journal, store, all_projections())
    runner.catch_up()
    assert RunsReader(store).starting_with("") == ["a"]
    journal.fail_next(JournalFull("no space"))
    journal.commit(0)
    runner.catch_up()
    assert RunsReader(store).starting_with("") == ["a"]


def test_rebuild_while_the_thread_works_ends_equal() -> None:
    """A rebuild asked for while frames keep coming ends with the same rows."""
    journal, writer = log_of_runs(2)
    store = MemoryViewStore()
    settings = RunnerSettings(frames_max=2, linger_s=0.0)
    runner = ProjectionRunner(journal, store, all_projections(), settings)
    runner.start()
    rebuilding = threading.Thread(target=runner.rebuild, args=("tasks",))
    rebuilding.start()
    for number in range(10):
        writer.run(f"more{number}")
        runner.notify(0)
    rebuilding.join()
    runner.wait_for(Position(0, journal.durable(0)), WAIT_S)
    runner.stop()
    assert list(differences(journal, store, all_projections())) == []


def test_what_is_enough_for_a_group_does_not_wait_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of so many bytes are folded at once, however long groups wait to grow."""
    monkeypatch.setattr(groups, "ENOUGH_BYTES", 1_000)
    journal = MemoryJournal()
    writer = LogWriter(journal)
    settings = RunnerSettings(linger_s=60.0)
    runner = ProjectionRunner(journal, MemoryViewStore(), [RunsProjection()], settings)
    runner.start()
    try:
        told = 0
        while told < 2_000:
            writer.run(f"r{told}")
            for frame in writer.frames[-3:]:
                told += len(frame.data)
        for frame in writer.frames:
            runner.notify(0, frame)
        while runner.lag(0):
            assert runner.wait_for_change(WAIT_S) or not runner.lag(0), "it waits for more"
    finally:
        runner.stop()
