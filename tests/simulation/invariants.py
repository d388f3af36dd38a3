"""What must hold of the log after anything that happened."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from goclaw_actors.lane.state import Lane, evolve
from goclaw_actors.rebuild import fold
from goclaw_events.codec import FACTS
from goclaw_events.frame import decode_frame
from goclaw_events.ids import kind_of, partition_of
from goclaw_events.replay import stream_turns
from goclaw_events.verify import verify

if TYPE_CHECKING:
    from goclaw_events.envelope import Fact
    from tests.simulation.world import World

ENDS = {"task.completed", "task.failed", "task.cancelled"}
RUN_ENDS = {"run.completed", "run.failed", "run.cancelled"}


def facts_of(world: World) -> list[tuple[int, int, Fact]]:
    """Return every durable fact: partition, number, fact."""
    return [
        (partition, number, fact)
        for partition in range(world.options.partitions)
        for data in world.journal.frames(partition)
        for number, _, fact in decode_frame(data).facts()
    ]


def check_log(world: World) -> None:
    """Check everything that the log alone shows."""
    report = verify(world.journal)
    assert report.whole, report.problems
    found = facts_of(world)
    by_stream: dict[str, list[tuple[int, Fact]]] = {}
    for partition, number, fact in found:
        by_stream.setdefault(f"{partition} {fact.stream}", []).append((number, fact))
    streams = {key.partition(" ")[2]: facts for key, facts in by_stream.items()}
    _acknowledged_is_in_the_log(world, streams)
    for stream, facts in streams.items():
        kind = kind_of(stream)
        types = [fact.type for _, fact in facts]
        if kind == "task":
            _one_result(stream, types)
            _tokens_grow(facts)
        elif kind == "workflow":
            assert sum(name in RUN_ENDS for name in types) <= 1, f"{stream} ended twice: {types}"
            _dependencies(world, stream, facts, streams)
        elif kind == "lane":
            _limit(stream, facts)
    assert "partition.message_failed" not in {fact.type for _, _, fact in found}, [
        fact.data for _, _, fact in found if fact.type == "partition.message_failed"
    ]


def _acknowledged_is_in_the_log(world: World, streams: dict[str, Any]) -> None:
    for run_id in world.acknowledged:
        assert f"workflow/{run_id}" in streams, f"{run_id} was acknowledged and is lost"


def _one_result(stream: str, types: list[str]) -> None:
    ends = [name for name in types if name in ENDS]
    assert len(ends) <= 1, f"{stream} has the results {ends}"
    if ends:
        after = set(types[types.index(ends[0]) + 1 :]) - {"task.outcome_refused"}
        assert not after, f"{stream} went on after its end with {after}"


def _tokens_grow(facts: list[tuple[int, Fact]]) -> None:
    starts = [(number, fact.data) for number, fact in facts if fact.type == "task.attempt_started"]
    assert [data[0] for _, data in starts] == list(range(1, len(starts) + 1))
    for number, data in starts:
        assert data[1] == number, "a token is the position of its own fact"


def _dependencies(
    world: World,
    stream: str,
    facts: list[tuple[int, Fact]],
    streams: dict[str, list[tuple[int, Fact]]],
) -> None:
    """Check that a task is scheduled once, and only after everything it needs ended."""
    run_id = stream.partition("/")[2]
    plan = world.submitted[run_id][0]
    ended: dict[str, int] = {}
    for number, fact in facts:
        if fact.type == "run.task_ended":
            assert fact.data[0] not in ended, f"{fact.data[0]} ended twice in {run_id}"
            ended[fact.data[0]] = number
        elif fact.type == "run.tasks_skipped":
            for task in fact.data[0]:
                assert task not in ended, f"{task} ended twice in {run_id}"
                ended[task] = number
    for task in plan.tasks:
        own = streams.get(f"task/{run_id}/{task.id}", [])
        scheduled = [n for n, fact in own if fact.type in ("task.scheduled", "task.waiting")]
        assert len(scheduled) <= 1
        for need in task.needs:
            if scheduled:
                assert ended.get(plan.tasks[need].id, 1 << 62) < scheduled[0]


def _limit(stream: str, facts: list[tuple[int, Fact]]) -> None:
    """At no position does a lane lend more slots than it has."""
    lane = Lane(stream)
    for number, fact in facts:
        before = len(lane.leased)
        evolve(lane, FACTS.decode(fact.type, fact.version, fact.data))
        allowed = max(lane.concurrency, before)
        assert len(lane.leased) <= allowed, f"{stream} lends {len(lane.leased)} at {number}"
        assert len(lane.queued) <= lane.capacity + before + len(lane.leased)


def check_executor(world: World) -> None:
    """Nothing was started that was not durable first, and nothing twice."""
    started = Counter(world.executor.started)
    assert all(count == 1 for count in started.values()), "an attempt was started twice"
    durable = {
        (partition, fact.data[1])
        for partition, _, fact in facts_of(world)
        if fact.type == "task.attempt_started"
    }
    for token in started:
        assert (token.partition, token.number) in durable, f"{token} ran before it was durable"


def check_live_is_replayed(world: World) -> None:
    """Compare every live actor with what its durable facts fold to."""
    for entity in world.entities():
        partition = partition_of(entity.stream, world.options.partitions)
        if entity.number > world.journal.durable(partition):
            continue  # on its way to the disk
        decider = world.kinds[kind_of(entity.stream)]
        replayed = fold(decider, entity.stream, stream_turns(world.journal, entity.stream))
        assert decider.encode(entity.state) == decider.encode(replayed), entity.stream


def check_all_ended(world: World) -> None:
    """Once nothing fails any more, every accepted run ends and no slot stays taken."""
    ended = {}
    for _, _, fact in facts_of(world):
        if fact.type in RUN_ENDS:
            ended[fact.stream.partition("/")[2]] = fact.type
    missing = world.acknowledged - set(ended)
    assert not missing, f"runs that never ended: {missing}"
    for partition in range(world.options.partitions):
        for stream in world.journal.streams(partition, "lane/"):
            lane = fold(world.kinds["lane"], stream, stream_turns(world.journal, stream))
            assert not lane.leased, f"{stream} still lends slots to {list(lane.leased)}"
            assert not lane.queued, f"{stream} still queues {list(lane.queued)}"
        prefix = partition.to_bytes(2, "big")
        for table in ("inbox", "attempts", "timers", "open"):
            assert not list(world.journal.rows(table, prefix)), f"rows are left in {table}"
