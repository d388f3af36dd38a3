"""Housekeeping in a partition: required snapshots, recorded facts, and standing by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.ports import Limits
from goclaw_events.errors import CodedError, JournalFull
from goclaw_events.facts import Marked
from goclaw_events.ids import PARTITION_STREAM
from goclaw_events.snapshots import read_manifests
from tests.actors.shadow import check_node
from tests.actors.stage import LANES, MANY, ONE, Stage

if TYPE_CHECKING:
    from goclaw_actors.dispatcher import Dispatcher

STREAMS = ["workflow/r", "lane/w/io", "task/r/t0", "task/r/wait"]


def first(stage: Stage) -> Dispatcher:
    """Return the only dispatcher."""
    return stage.node.dispatchers[0]


def seqs(stage: Stage, stream: str) -> list[int]:
    """Return how many facts each snapshot of a stream holds."""
    found = read_manifests(stage.journal, 0, stream, lambda _: None)
    return [manifest.seq for _, manifest in found if manifest is not None and manifest.seq]


def require(stage: Stage, streams: list[str], told: list[Any] | None = None) -> list[Any]:
    """Ask for snapshots; return what `done` will be told (all of it, if `told` is given)."""
    told = [] if told is None else told
    below = stage.journal.durable(0) + 1
    first(stage).require_snapshots(streams, below, told.append)
    return told


def unfinished() -> Stage:
    """Return a stage with a run of which nothing has ended."""
    stage = Stage()
    stage.submit(MANY, **LANES)
    stage.rest()
    return stage


def test_required_snapshots_are_durable_when_it_is_said() -> None:
    """Each stream, live or not, has a snapshot with all its facts; passive actors leave again."""
    stage = unfinished().crash(1 << 30)
    stage.rest()
    live = set(first(stage).turns.directory.live)
    told = require(stage, STREAMS)
    stage.decide()
    assert told == []
    stage.rest()
    assert told == [None]
    for stream in STREAMS:
        assert seqs(stage, stream) == [stage.journal.last_seq(0, stream)], stream
    assert set(first(stage).turns.directory.live) <= live
    assert check_node(stage.node, stage.journal)[1] == len(STREAMS)


def test_what_is_covered_or_over_is_not_written_again() -> None:
    """A second request finds its snapshots there; final actors and unknown streams need none."""
    stage = unfinished()
    told = require(stage, STREAMS)
    stage.rest()
    rows = stage.rows("snapshots")
    require(stage, [*STREAMS, "workflow/nobody", "$partition"], told)
    stage.rest()
    assert told == [None, None]
    assert stage.rows("snapshots") == rows
    stage.clock.ns += 10**9
    stage.finish()
    require(stage, ["workflow/r", "task/r/t0"], told)
    stage.rest()
    assert told == [None, None, None]
    assert stage.rows("snapshots") == rows


def test_snapshots_take_a_bounded_part_of_each_batch() -> None:
    """With time for one, each batch writes one; a partition at rest makes batches of its own."""
    stage = Stage(limits=Limits(snapshot_time_s=1e-9))
    stage.submit(MANY, **LANES)
    stage.rest()
    before = stage.journal.durable(0)
    told = require(stage, STREAMS)
    stage.rest()
    assert told == [None]
    marks = [said.fact for said in stage.log() if said.number > before]
    assert len(marks) >= len(STREAMS)
    assert {type(fact) for fact in marks} == {Marked}


def test_a_failed_commit_is_told() -> None:
    """Who asked hears of the failure, for snapshots and for facts; asking again works."""
    stage = unfinished()
    told = require(stage, STREAMS)
    first(stage).record([Marked()], told.append)
    stage.decide()
    stage.journal.fail_next(JournalFull("no space"))
    stage.commit()
    assert [type(error) for error in told] == [JournalFull, JournalFull]
    stage.rest()
    told = require(stage, STREAMS)
    stage.rest()
    assert told == [None]


def test_a_stream_that_cannot_be_rebuilt_fails_its_request() -> None:
    """The request is refused by name; what stands behind it goes on."""
    stage = unfinished().crash(1 << 30)
    stage.rest()
    dispatcher = first(stage)
    dispatcher.turns.directory.clear()
    kinds = dispatcher.turns.directory.kinds
    broken = {**kinds, "lane": None}
    dispatcher.turns.directory.kinds = broken  # type: ignore[assignment]
    told = require(stage, ["lane/w/io"])
    other: list[CodedError | None] = []
    dispatcher.require_snapshots(["workflow/r"], 1, other.append)
    stage.rest()
    assert [getattr(error, "code", None) for error in told] == ["snapshot_missing"]
    assert other == [None]


def test_who_stands_by_records_and_nothing_else_happens() -> None:
    """Nothing opens, no attempt is lost, no timer fires; a clean stop stays a clean stop."""
    stage = unfinished()
    stage.node.record_closed()
    stage.rest()
    attempts, timers = stage.rows("attempts"), stage.rows("timers")
    keeper = Stage(stage.journal.crash(), boot=2, standing_by=True)
    keeper.clock.ns = stage.clock.ns + 10**12
    told: list[CodedError | None] = []
    first(keeper).record([Marked()], told.append)
    first(keeper).require_snapshots(STREAMS, 1 << 40, told.append)
    keeper.rest()
    keeper.node.record_closed()
    keeper.rest()
    assert told == [None, None]
    assert keeper.executor.started == []
    assert (keeper.rows("attempts"), keeper.rows("timers")) == (attempts, timers)
    assert keeper.names(PARTITION_STREAM)[-1] == "PartitionClosed"
    assert "PartitionOpened" not in keeper.names(PARTITION_STREAM)[2:]
    after = keeper.crash()
    after.rest()
    lost = [said.fact for said in after.log() if type(said.fact).__name__ == "AttemptLost"]
    assert lost
    assert all(fact.stopped for fact in lost)


def test_who_stands_by_after_a_crash_does_not_make_it_a_stop() -> None:
    """A process that was killed has not closed its partition, whoever keeps house in it."""
    stage = Stage()
    stage.submit(ONE)
    stage.rest()
    keeper = Stage(stage.journal.crash(), boot=2, standing_by=True)
    told: list[CodedError | None] = []
    first(keeper).record([Marked()], told.append)
    keeper.rest()
    assert told == [None]
    after = keeper.crash()
    after.rest()
    lost = [said.fact for said in after.log() if type(said.fact).__name__ == "AttemptLost"]
    assert [fact.stopped for fact in lost] == [False]
