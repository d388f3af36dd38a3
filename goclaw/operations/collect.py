"""Collect how tasks and runs end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from goclaw.collected import CollectorNotFound
from goclaw.collector_records import collector_at, collector_record
from goclaw.errors import RunNotFound, UsageInvalid
from goclaw.following import follow_log
from goclaw.gathering import Gathering
from goclaw.members import Members, Selection
from goclaw.operations.ground import ground_of
from goclaw.operations.operation import Params, act, follow, read
from goclaw.operations.runs import MinPosition
from goclaw.reducer import reducer_of
from goclaw_actors.collecting import CancelCollector, CloseCollector, OpenCollector
from goclaw_actors.collector.state import FINAL, Collector
from goclaw_actors.collector.tally import HALF
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.rebuild import actor_at
from goclaw_events.collect_checks import MEMBERS_MAX, place_of
from goclaw_events.ids import check_id, collector_stream, partition_of
from goclaw_events.value import pack, store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from goclaw.engine import Engine
    from goclaw.operations.ground import Ground
    from goclaw_actors.actor import Entity

FACTS_AT_ONCE: Final = 64
MISSING_SHOWN_MAX: Final = 100


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
    task_labels: Annotated[dict[str, str], Field(default_factory=dict)]
    """Or which by their labels."""
    live: bool = False
    """Take in runs with the labels that are submitted later, until it is closed."""
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
    merge: Literal["list", "object", "by_member"] | None = None
    """Make one result of those of the members."""
    reduce: str | None = None
    """Or have an agent make it."""
    task: Annotated[dict[str, Any], Field(default_factory=dict)]
    """What else the task that makes it is, as in a definition: `lane`, `retry`, `with`..."""
    opened_by: str = ""
    """Who collects; it is recorded."""

    @property
    def makes_result(self) -> bool:
        """Tell whether a run makes a result of what was collected."""
        return self.merge is not None or self.reduce is not None

    @model_validator(mode="after")
    def _fits(self) -> Open:
        if self.merge is not None and self.reduce is not None:
            raise ValueError("give either `merge` or `reduce`")
        if self.task and not self.makes_result:
            raise ValueError("`task` needs `merge` or `reduce`")
        if self.tasks and self.task_labels:
            raise ValueError("tasks are chosen by `tasks` or by `task_labels`, not by both")
        return self


class NameCollector(Params):
    """Which collector."""

    collector_id: str
    """Its id."""


class Cancel(NameCollector):
    """A collector to cancel."""

    reason: str = ""
    """Why; it is recorded."""


class ListCollectors(Params):
    """Which collectors."""

    status: Annotated[str, Field(pattern="^(open|met|unmet|partial|cancelled)$")] | None = None
    """Only those in this state."""
    limit: Annotated[int, Field(ge=1, le=100_000)] = 100
    """At most so many."""
    cursor: str | None = None
    """Go on where a page ended."""
    min_position: MinPosition = None


class ShowCollector(NameCollector):
    """A collector to show."""

    min_position: MinPosition = None


class Results(NameCollector):
    """Whose results, and from where on."""

    after: Annotated[int, Field(ge=0)] = 0
    """A cursor: behind so many members that ended."""


async def _open(engine: Engine, asked: Open) -> dict[str, Any]:
    parts, name = engine.parts, check_id(asked.collector_id, "collector id")
    reducer = reducer_of(asked.merge, asked.reduce, asked.task) if asked.makes_result else None
    prepared = None if reducer is None else engine.prepare(reducer)
    selection = Selection(asked.members, asked.labels, asked.tasks, asked.task_labels)
    members = await asyncio.to_thread(Members(parts, ground_of(parts, None)).strictly, selection)
    count = sum(len(tasks) for _, tasks in members)
    wanted = _wanted(asked, count)
    ns = 0 if asked.deadline_s is None else parts.clock.now_ns() + int(asked.deadline_s * 1e9)
    blobs: dict[bytes, bytes] = {}
    body = OpenCollector(
        asked.rule,
        wanted,
        place_of(asked.by) if asked.rule == "majority" else None,
        asked.failures_max,
        ns,
        store(members, blobs),
        blake2b(pack(asked.model_dump())).digest(),
        asked.opened_by,
        select=selection._replace(members=[])._asdict() if asked.live else None,
        live=asked.live,
        run=name if prepared else "",
        members_count=count,
    )
    accepted, _ = await engine.command(collector_stream(name), body, blobs=blobs)
    if prepared is not None:
        # afterwards, so that it finds it; who heard nothing asks again, and this is done then
        await engine.submit(prepared, input={"collector": name}, run_id=name)
    return {"collector_id": name, "members": count, "repeated": accepted.repeated}


def _wanted(asked: Open, members: int) -> int:
    """Return how many have to complete, or to agree; raises `UsageInvalid`."""
    rule, count = asked.rule, asked.count
    if asked.live and not asked.labels:
        raise UsageInvalid("`live` needs labels", hint="say which runs it takes in")
    if not members and not asked.live:
        said = ", ".join(f"{key}={value}" for key, value in asked.labels.items())
        if said:
            msg = f"no run has the labels {said}, or no task of them is meant"
            raise RunNotFound(msg, hint="goclaw runs list --label")
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
    if asked.live:
        return HALF if count is None else count
    wanted = members // 2 + 1 if count is None else count
    if wanted > members:
        raise UsageInvalid(f"{wanted} of {members} members cannot complete", hint="want fewer")
    return wanted


async def _close(engine: Engine, asked: NameCollector) -> dict[str, Any]:
    name = check_id(asked.collector_id, "collector id")
    await engine.command(collector_stream(name), CloseCollector())
    return {"collector_id": name}


def _list(ground: Ground, asked: ListCollectors) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    page = ground.views.collectors.list(status=asked.status, limit=asked.limit, cursor=asked.cursor)
    return {"collectors": [collector_record(found) for found in page.items], "cursor": page.cursor}


def _show(ground: Ground, asked: ShowCollector) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    found = ground.views.collectors.get(asked.collector_id)
    if found is None:
        raise _not_found(asked.collector_id)
    collector = collector_at(ground.journal, asked.collector_id)
    missing = [member.name for member in collector.missing()[:MISSING_SHOWN_MAX]]
    return {**collector_record(found), "missing": missing}


def _not_found(name: str) -> CollectorNotFound:
    return CollectorNotFound(
        f"there is no collector {name}", hint="goclaw collectors list", collector=name
    )


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
        raise _not_found(asked.collector_id)
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
    missing = [member.name for member in collector.missing()]
    return {
        "status": collector.status, "reason": collector.reason, "vote": collector.vote,
        "missing": missing, "run": collector.run or None,
    }  # fmt: skip


OPERATIONS: Final = (
    act("collect.open", Open, _open, "Begin to collect; answers once that is durable.",
        "`{collector_id, members, repeated}`", idle=True),
    act("collect.cancel", Cancel, _cancel, "Collect no more.", "`{collector_id}`", idle=True),
    act("collect.close", NameCollector, _close,
        "Take no further members; what is there is collected.", "`{collector_id}`", idle=True),
    read("collect.list", ListCollectors, _list, "List collectors.",
         "`{collectors: [collector], cursor}`"),
    read("collect.show", ShowCollector, _show, "Show a collector, and who has not ended.",
         "a collector, with `missing: [RUN/TASK]`"),
    follow("collect.results", Results, _results,
           "Give how members ended, each once, in order, until the collector ends.",
           "parts `{gathered: [{run_id, task, status, result, error: [code, message], generation, "
           "vote, cursor}], cursor, ended: nil or {status, reason, vote, missing: [RUN/TASK], "
           "run}}`"),
)  # fmt: skip
