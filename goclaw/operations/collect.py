"""Collect how tasks and runs end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field

from goclaw.collected import CollectorNotFound
from goclaw.errors import NotFound, RunNotFound, UsageInvalid
from goclaw.following import follow_log
from goclaw.gathering import Gathering
from goclaw.operations.ground import NOW, ground_of
from goclaw.operations.operation import Params, act, follow
from goclaw_actors.collecting import CancelCollector, OpenCollector
from goclaw_actors.collector.state import FINAL, Collector
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.rebuild import actor_at
from goclaw_events.ids import check_id, collector_stream, partition_of
from goclaw_events.value import pack, store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from goclaw.engine import Engine
    from goclaw.operations.ground import Ground
    from goclaw.parts import Parts
    from goclaw_actors.actor import Entity

MEMBERS_MAX: Final = 10_000
FACTS_AT_ONCE: Final = 64
LABELLED_MAX: Final = 10_001
_WILD: Final = frozenset("*?[")


class Open(Params):
    """What to collect; see `Engine.collect`."""

    collector_id: str
    """The same again gives the first answer."""
    members: Annotated[list[str], Field(default_factory=list)]
    """`RUN/TASK` (the task may be a pattern), or `RUN`."""
    labels: Annotated[dict[str, str], Field(default_factory=dict)]
    """All runs that have these labels now; empty: none but `members`."""
    tasks: Annotated[list[str], Field(default_factory=list)]
    """Which tasks of runs that are named without one; empty: the runs themselves."""
    rule: Literal["all", "any", "first_n", "quorum", "majority"] = "all"
    """When there is enough."""
    count: Annotated[int, Field(ge=1)] | None = None
    """How many have to complete, or agree; None: more than half."""
    by: str = ""
    """Where in a result the vote of a `majority` stands, such as `answer.label`."""
    failures_max: Annotated[int, Field(ge=0)] | None = None
    """With more failures it ends; nil: whatever fails."""
    deadline_s: Annotated[float, Field(gt=0)] | None = None
    """It ends after so long with what there is."""
    opened_by: str = ""
    """Who collects; it is recorded."""


class NameCollector(Params):
    """Which collector."""

    collector_id: str
    """Its id."""


class Cancel(NameCollector):
    """A collector to cancel."""

    reason: str = ""
    """Why; it is recorded."""


class Results(NameCollector):
    """Whose results, and from where on."""

    after: Annotated[int, Field(ge=0)] = 0
    """A cursor: behind so many members that ended."""


async def _open(engine: Engine, asked: Open) -> dict[str, Any]:
    parts = engine.parts
    check_id(asked.collector_id, "collector id")
    ground = ground_of(parts, None)
    members = await asyncio.to_thread(_members, ground, parts, asked)
    count = sum(len(tasks) for _, tasks in members)
    wanted = _wanted(asked, count)
    digest = blake2b(pack(asked.model_dump())).digest()
    ns = 0 if asked.deadline_s is None else parts.clock.now_ns() + int(asked.deadline_s * 1e9)
    blobs: dict[bytes, bytes] = {}
    body = OpenCollector(
        asked.rule,
        wanted,
        _place(asked.by) if asked.rule == "majority" else None,
        asked.failures_max,
        ns,
        store(members, blobs),
        digest,
        asked.opened_by,
    )
    accepted, _ = await engine.command(collector_stream(asked.collector_id), body, blobs=blobs)
    return {
        "collector_id": asked.collector_id, "members": count, "repeated": accepted.repeated,
    }  # fmt: skip


def _wanted(asked: Open, members: int) -> int:
    """Return how many have to complete, or to agree; raises `UsageInvalid`."""
    rule, count = asked.rule, asked.count
    if not members:
        raise UsageInvalid("there is nothing to collect", hint="name runs, or tasks of runs")
    if members > MEMBERS_MAX:
        msg = f"{members} members are more than the {MEMBERS_MAX} that one collector takes"
        raise UsageInvalid(msg, hint="collect them in parts")
    if rule in ("all", "any"):
        if count is not None:
            raise UsageInvalid(f"`{rule}` takes no count", hint="say first_n or quorum")
        return int(rule == "any")
    if rule == "first_n" and count is None:
        raise UsageInvalid("`first_n` needs a count", hint="say how many are enough")
    wanted = members // 2 + 1 if count is None else count
    if wanted > members:
        raise UsageInvalid(f"{wanted} of {members} members cannot complete", hint="want fewer")
    return wanted


def _place(by: str) -> list[str | int]:
    """Read where a vote stands: names and numbers, with a dot between."""
    return [int(step) if step.isdecimal() else step for step in by.split(".") if step]


def _members(ground: Ground, parts: Parts, asked: Open) -> list[list[Any]]:
    """Return [run, [task, ...]] of every member, each once, as they were named."""
    found: dict[str, dict[str, None]] = {}
    for name in asked.members:
        run, slash, task = name.partition("/")
        run_id = _run_id(ground, parts, run)
        tasks = [task] if slash else asked.tasks
        found.setdefault(run_id, {}).update(_tasks(parts, run_id, tasks))
    for run_id in _labelled(ground, asked.labels):
        found.setdefault(run_id, {}).update(_tasks(parts, run_id, asked.tasks))
    return [[run_id, list(tasks)] for run_id, tasks in found.items()]


def _run_id(ground: Ground, parts: Parts, text: str) -> str:
    """Return the run that is meant: an id, or what the views know by it; raises `RunNotFound`."""
    try:
        check_id(text, "run id") and parts.plan_of(text)
    except RunNotFound:
        ground.wait_for(NOW)
        return ground.runs.find(text).run_id
    return text


def _labelled(ground: Ground, labels: dict[str, str]) -> Iterator[str]:
    if not labels:
        return
    ground.wait_for(NOW)
    page = ground.views.runs.list(labels=labels, limit=LABELLED_MAX)
    if not page.runs:
        said = ", ".join(f"{key}={value}" for key, value in labels.items())
        raise RunNotFound(f"no run has the labels {said}", hint="goclaw runs list --label")
    yield from (run.run_id for run in reversed(page.runs))


def _tasks(parts: Parts, run_id: str, wanted: list[str]) -> dict[str, None]:
    """Return the tasks of a run that are meant; '' is the run itself. Raises `NotFound`."""
    if not wanted:
        return {"": None}
    plan = parts.plan_of(run_id)
    found: dict[str, None] = {}
    for pattern in wanted:
        if not _WILD & set(pattern):
            matching = [pattern] if pattern in plan.index else []
        else:
            matching = [task.id for task in plan.tasks if fnmatchcase(task.id, pattern)]
        if not matching:
            msg = f"run {run_id} has no task {pattern!r}"
            raise NotFound(msg, hint=f"goclaw runs show {run_id}", task=pattern)
        found.update(dict.fromkeys(matching))
    return found


async def _cancel(engine: Engine, asked: Cancel) -> dict[str, Any]:
    check_id(asked.collector_id, "collector id")
    await engine.command(collector_stream(asked.collector_id), CancelCollector(asked.reason))
    return {"collector_id": asked.collector_id}


async def _results(ground: Ground, asked: Results) -> AsyncGenerator[dict[str, Any], None]:
    check_id(asked.collector_id, "collector id")
    stream, end = collector_stream(asked.collector_id), ground.tail.end()
    kinds = deciders(StoredContents(ground.journal))
    gathering = Gathering(ground.journal, kinds)
    where = partition_of(stream, ground.journal.partitions)
    # the end of the log first: what comes between is told twice, and not missed
    actor = await asyncio.to_thread(actor_at, ground.journal, kinds, where, stream)
    if not actor.seq:
        msg = f"there is no collector {asked.collector_id}"
        raise CollectorNotFound(msg, hint="goclaw collect --help", collector=asked.collector_id)
    collector: Collector = actor.state
    cursor = asked.after
    following = follow_log(ground.tail, ground.bridge, end, stream=stream, at_once=FACTS_AT_ONCE)
    async with aclosing(following) as found:
        while True:
            while cursor < collector.tally.ended:
                records = await asyncio.to_thread(gathering.records, collector, cursor)
                cursor = records[-1]["cursor"]
                yield {"gathered": records, "cursor": cursor, "ended": None}
            if collector.status in FINAL:
                yield {"gathered": [], "cursor": cursor, "ended": _ended(collector)}
                return
            items, _ = await anext(found, (None, None))
            if items is None:
                return
            for item in items:
                _apply(actor, item.seq, item.fact)


def _apply(actor: Entity, seq: int, fact: Any) -> None:
    if seq > actor.seq:
        actor.decider.evolve(actor.state, fact)
        actor.seq = seq


def _ended(collector: Collector) -> dict[str, Any]:
    missing = [f"{run}/{task}" if task else run for run, task in collector.missing()]
    return {
        "status": collector.status, "reason": collector.reason, "vote": collector.vote,
        "missing": missing,
    }  # fmt: skip


OPERATIONS: Final = (
    act("collect.open", Open, _open, "Begin to collect; answers once that is durable.",
        "`{collector_id, members, repeated}`", idle=True),
    act("collect.cancel", Cancel, _cancel, "Collect no more.", "`{collector_id}`", idle=True),
    follow("collect.results", Results, _results,
           "Give how members ended, each once, in order, until the collector ends.",
           "parts `{gathered: [{run_id, task, status, result, error: [code, message], generation, "
           "vote, cursor}], cursor, ended: nil or {status, reason, vote, missing: [RUN/TASK]}}`"),
)  # fmt: skip
