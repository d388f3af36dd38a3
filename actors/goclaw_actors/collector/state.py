"""A collector's state and how facts change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, assert_never

from goclaw_actors.chunked import Chunked
from goclaw_actors.collector.tally import Tally, Wish
from goclaw_actors.decider import SnapshotForm
from goclaw_events.facts import (
    CollectorEnded,
    CollectorOpened,
    CollectorWatched,
    MembersAdded,
    MembersAsked,
    MembersEnded,
)
from goclaw_events.value import BlobRef

if TYPE_CHECKING:
    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import MapChunks
    from goclaw_events.facts import CollectorFact
    from goclaw_events.value import Value

UNKNOWN: Final = "unknown"
OPEN: Final = "open"
FINAL: Final = frozenset({"met", "unmet", "partial", "cancelled"})
CHUNK_BITS: Final = 9


class Member(NamedTuple):
    """Whose outcome is wanted: a task of a run, or (task '') the run."""

    run_id: str
    task: str

    @property
    def name(self) -> str:
        """Return who it is: `RUN/TASK`, or `RUN`."""
        return f"{self.run_id}/{self.task}" if self.task else self.run_id


class Collector:
    """One collector. `outcomes` are [member, generation, status, vote] by the order of their ends.

    `runs` are the members as they were given, by run; `places` says where a member stands in
    `members`. `added` are those, by their place, that came later; `more`: others may still.
    `has_ended` tells by place. `watchers` are the tasks that wait for the end. The rest is as in
    `CollectorOpened`.
    """

    __slots__ = (
        "added", "ask_ns", "asked", "by", "deadline_ns", "digest", "failures_max", "given",
        "has_ended", "live", "members", "more", "opened_by", "outcomes", "places", "reason",
        "rule", "run", "runs", "select", "status", "stream", "tally", "vote", "wanted", "watchers",
    )  # fmt: skip

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.status = UNKNOWN
        self.rule = ""
        self.wanted = 0
        self.by: list[str | int] | None = None
        self.failures_max: int | None = None
        self.deadline_ns = 0
        self.ask_ns = 0
        self.asked = 0
        self.digest = b""
        self.opened_by = ""
        self.given: Value = None
        self.select: Value = None
        self.live = False
        self.more = False
        self.run = ""
        self.watchers: list[str] = []
        self.added: Chunked[list[str]] = Chunked(CHUNK_BITS)
        self.runs: list[tuple[str, list[str]]] = []
        self.members: list[Member] = []
        self.places: dict[tuple[str, str], int] = {}
        self.has_ended = bytearray()
        self.outcomes: Chunked[list[Any]] = Chunked(CHUNK_BITS)
        self.tally = Tally()
        self.reason = ""
        self.vote = ""

    @property
    def collector_id(self) -> str:
        """Return the id by which it was opened."""
        return self.stream.partition("/")[2]

    @property
    def wish(self) -> Wish:
        """Return what is wanted of the members."""
        return Wish(self.rule, self.wanted, self.failures_max)

    def missing(self) -> list[Member]:
        """Return the members that have not ended, in order."""
        return [m for m, ended in zip(self.members, self.has_ended, strict=True) if not ended]


class Evolve:
    """Apply facts in place; many members are looked up by the hash that the first fact names."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def __call__(self, collector: Collector, fact: CollectorFact) -> Collector:
        """Apply a fact."""
        match fact:
            case MembersEnded(ended):
                for outcome in ended:
                    _add(collector, outcome)
            case CollectorOpened():
                _set(collector, fact)
                take_members(collector, self._contents)
            case MembersAdded(members, is_all):
                for run_id, tasks in members:
                    _take_run(collector, run_id, tasks, later=True)
                collector.more = not is_all
            case CollectorWatched(task):
                collector.watchers.append(task)
            case MembersAsked(ask_ns, asked):
                collector.ask_ns, collector.asked = ask_ns, asked
            case CollectorEnded(status, reason, vote):
                collector.status, collector.reason, collector.vote = status, reason, vote
            case _:
                assert_never(fact)
        return collector


def _set(collector: Collector, fact: CollectorOpened) -> None:
    collector.status = OPEN
    (collector.rule, collector.wanted, collector.by, collector.failures_max, collector.deadline_ns,
     collector.given, collector.digest, collector.opened_by, collector.ask_ns, task,
     collector.select, collector.live, collector.run, _) = fact  # fmt: skip
    collector.watchers = [task] if task else []
    collector.more = fact.select is not None


def take_members(collector: Collector, contents: Contents) -> None:
    """Look up who the members are that it was opened with."""
    given = collector.given
    for run_id, tasks in contents.value(given) if isinstance(given, BlobRef) else given:
        _take_run(collector, run_id, tasks, later=False)


def _take_run(collector: Collector, run_id: str, tasks: list[str], *, later: bool) -> None:
    collector.runs.append((run_id, tasks))
    for task in tasks:
        member, place = Member(run_id, task), len(collector.members)
        collector.members.append(member)
        collector.places[member] = place
        collector.has_ended.append(0)
        if later:
            collector.added.put(place, [run_id, task])


def _take_added(collector: Collector) -> None:
    """Take in again who was added, by runs."""
    runs: list[tuple[str, list[str]]] = []
    for _, (run_id, task) in sorted(collector.added.items()):
        if not runs or runs[-1][0] != run_id:
            runs.append((run_id, []))
        runs[-1][1].append(task)
    for run_id, tasks in runs:
        _take_run(collector, run_id, tasks, later=False)


def _add(collector: Collector, outcome: list[Any]) -> None:
    place, _, status, vote = outcome
    collector.outcomes.put(collector.tally.ended, outcome)
    collector.has_ended[place] = 1
    collector.tally.add(status, vote)


def encode(collector: Collector) -> dict[str, Any]:
    """Return the collector as plain data: equal ones give equal data."""
    made = ("stream", "runs", "members", "places", "has_ended", "outcomes", "tally", "added")
    names = (name for name in Collector.__slots__ if name not in made)
    data = {name: getattr(collector, name) for name in names}
    data["members"] = [list(member) for member in collector.members]
    data["outcomes"] = [outcome for _, outcome in sorted(collector.outcomes.items())]
    return data


_ROOT: Final = (
    "status", "rule", "wanted", "by", "failures_max", "deadline_ns", "ask_ns", "asked",
    "digest", "opened_by", "given", "reason", "vote", "select", "live", "more", "run", "watchers",
)  # fmt: skip


def _root(collector: Collector) -> Value:
    return [getattr(collector, name) for name in _ROOT]


def _maps(collector: Collector) -> tuple[Chunked[list[Any]], Chunked[list[str]]]:
    return collector.outcomes, collector.added


def snapshot_form(contents: Contents) -> SnapshotForm[Collector]:
    """Return how a collector is kept: many members by reference, its outcomes in chunks."""

    def restore(stream: str, root: Value, maps: MapChunks) -> Collector:
        collector, chunks = Collector(stream), maps.get(0, {})
        collector.added = Chunked(CHUNK_BITS, maps.get(1, {}))
        for name, value in zip(_ROOT, root, strict=True):
            setattr(collector, name, value)
        if collector.status != UNKNOWN:
            take_members(collector, contents)
            _take_added(collector)
        collector.outcomes = Chunked(CHUNK_BITS, chunks)
        for _, (place, _, status, vote) in sorted(collector.outcomes.items()):
            collector.has_ended[place] = 1
            collector.tally.add(status, vote)
        return collector

    return SnapshotForm(2, _root, _maps, restore)
