"""What of a partition is not over yet: the streams that go on, and the runs that they belong to.

All of it is read from durable rows, so any thread may look. What begins meanwhile is missing;
its facts are newer than any that are about to be archived.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.actor import Entity
from goclaw_actors.baseline import standing_of
from goclaw_actors.rebuild import Unheard, load
from goclaw_actors.statuses import ACTIVE
from goclaw_events.envelope import AttemptRow
from goclaw_events.ids import OF_RUNS, keeper_of, kind_of, partition_of, routing_key, task_stream
from goclaw_events.snapshots import BEGUN, read_manifests
from goclaw_events.tables import timer_of, u16
from goclaw_events.value import unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from goclaw_actors.decider import Decider
    from goclaw_actors.saga.state import Saga
    from goclaw_actors.workflow.state import Run
    from goclaw_events.errors import CodedError
    from goclaw_events.journal import Journal

STANDING: Final = ("lane", "catalogue", "unique", "schedule")
"""Kinds of streams that never end."""


def loaded(journal: Journal, kinds: Mapping[str, Decider[Any]], stream: str) -> Entity:
    """Return an actor of one's own as its durable facts leave it; raises what reading raises."""
    entity = Entity(stream, kinds[kind_of(stream)], Unheard())
    load(entity, journal, partition_of(stream, journal.partitions), (), None, 0)
    return entity


def alive(journal: Journal, kinds: Mapping[str, Decider[Any]], partition: int) -> set[str]:
    """Return the streams that go on: unfinished runs, tasks at work, and what never ends.

    A task is at work while it waits in a lane or holds a slot of one, has a timer, or an attempt
    that runs. One that waits for a run or a person is known to its run alone: `active_tasks`.
    """
    found: set[str] = set()
    for kind in STANDING:
        found |= standing(journal, partition, kind)
    found.update(stream for stream in _open(journal, partition) if kind_of(stream) in kinds)
    tasks = (*_running(journal, partition), *_timed(journal, partition), *_in_lanes(journal, kinds))
    found.update(s for s in tasks if partition_of(s, journal.partitions) == partition)
    return found


def active_tasks(
    journal: Journal, kinds: Mapping[str, Decider[Any]], stream: str, below: int
) -> Iterator[str]:
    """Yield the tasks of a run that have begun and not ended, if it began below `below`.

    And those that they spawned, which may have ended.
    """
    partition = partition_of(stream, journal.partitions)
    first = next((number for number, _ in journal.stream_frames(partition, stream)), below)
    if first < below:
        run: Run | Saga = loaded(journal, kinds, stream).state
        for index, status in enumerate(run.statuses):
            if status == ACTIVE and run.plan is not None:
                name = task_stream(run.run_id, run.plan.tasks[index].id)
                yield name
                yield from journal.streams(partition, name + "/")  # what it spawned


def lanes(journal: Journal, partition: int) -> set[str]:
    """Return every lane of a partition, also one whose facts were all given up."""
    return standing(journal, partition, "lane")


def standing(journal: Journal, partition: int, kind: str) -> set[str]:
    """Return every stream of a kind that never ends, also one whose facts were all given up."""
    return {*journal.streams(partition, kind + "/"), *standing_of(journal, partition, kind)}


def runs_of(streams: set[str]) -> set[str]:
    """Return the runs that streams of workflows and tasks belong to."""
    return {routing_key(stream) for stream in streams if kind_of(stream) in OF_RUNS}


def needs_snapshot(journal: Journal, partition: int, stream: str, below: int) -> bool:
    """Tell whether a stream has facts below `below` that its newest snapshot does not hold."""
    newest = 0
    for _, manifest in read_manifests(journal, partition, stream, _pass):
        if manifest is not None and manifest.seq != BEGUN:
            newest = max(newest, manifest.seq)
    for number, _ in journal.stream_frames(partition, stream, newest + 1):
        return number < below
    return False


def _pass(_: CodedError) -> None:
    """Pass over a damaged snapshot: the stream gets a new one."""


def _open(journal: Journal, partition: int) -> Iterator[str]:
    for key, _ in journal.rows("open", u16(partition)):
        yield key[4:].decode()


def _running(journal: Journal, partition: int) -> Iterator[str]:
    for key, value in journal.rows("attempts", u16(partition)):
        yield AttemptRow(int.from_bytes(key[2:], "big"), *unpack(value)).stream


def _timed(journal: Journal, partition: int) -> Iterator[str]:
    for key, _ in journal.rows("timers", u16(partition)):
        yield timer_of(key).stream


def _in_lanes(journal: Journal, kinds: Mapping[str, Decider[Any]]) -> Iterator[str]:
    """Yield the tasks that wait in any lane, or hold a slot: a lane may be of another partition."""
    for partition in range(journal.partitions):
        for stream in lanes(journal, partition):
            lane = loaded(journal, kinds, stream).state
            yield from lane.queued
            yield from (keeper_of(slot)[0] for slot in lane.leased)
