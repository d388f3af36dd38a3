"""Questions that the views answer, how the views are, and building them again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from goclaw.operations.operation import NoParams, Params, read
from goclaw.operations.runs import MinPosition
from goclaw.view_records import (
    attempt_record,
    counts_record,
    hour_record,
    view_record,
    worker_record,
)
from goclaw_projections.errors import ViewsBehind

if TYPE_CHECKING:
    from goclaw.operations.ground import Ground

REBUILD_WAIT_S_MAX: Final = 2.0
"""An engine that is to stop waits for the questions that it is answering."""
Limit = Annotated[int, Field(ge=1, le=100_000)]


class Paged(Params):
    """Which part of a listing."""

    limit: Limit = 100
    """At most so many."""
    cursor: str | None = None
    """Go on where a page ended."""
    min_position: MinPosition = None


class CountBy(Paged):
    """Which numbers."""

    name: str | None = None
    """Only of this definition."""
    since_ns: Annotated[int, Field(ge=0)] = 0
    """By hour: from this time on, in nanoseconds since 1970."""


class ListWorkers(Paged):
    """Which holders of attempts."""

    state: Annotated[str, Field(pattern="^(open|closed|gone)$")] | None = None
    """Only those in this state."""


class ListAttempts(Paged):
    """Which attempts that run."""

    holder: str | None = None
    """Only those of this holder."""


class NameDefinition(Params):
    """Which definition."""

    name: str
    """Its name."""
    min_position: MinPosition = None


class Rebuild(Params):
    """Which view to make anew."""

    name: str
    """Its name."""
    wait_s: Annotated[float, Field(ge=0, le=REBUILD_WAIT_S_MAX)] = 0.0
    """Wait at most so long for its end; where no engine runs it is finished in any case."""


def _counts(ground: Ground, asked: CountBy) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    counts = ground.views.counts
    if asked.name is not None:
        own = counts_record(counts.of(asked.name))
        return {"total": own, "names": [{"name": asked.name, **own}], "cursor": None}
    page = counts.by_name(limit=asked.limit, cursor=asked.cursor)
    names = [{"name": named.name, **counts_record(named.counts)} for named in page.items]
    return {"total": counts_record(counts.total()), "names": names, "cursor": page.cursor}


def _hours(ground: Ground, asked: CountBy) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    page = ground.views.counts.by_hour(
        since_ns=asked.since_ns, name=asked.name, limit=asked.limit, cursor=asked.cursor
    )
    return {"hours": [hour_record(hour) for hour in page.items], "cursor": page.cursor}


def _workers(ground: Ground, asked: ListWorkers) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    page = ground.views.workers.list(state=asked.state, limit=asked.limit, cursor=asked.cursor)
    return {"workers": [worker_record(worker) for worker in page.items], "cursor": page.cursor}


def _attempts(ground: Ground, asked: ListAttempts) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    page = ground.views.workers.running(holder=asked.holder, limit=asked.limit, cursor=asked.cursor)
    return {"attempts": [attempt_record(one) for one in page.items], "cursor": page.cursor}


def _durations(ground: Ground, asked: NameDefinition) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    learned = ground.views.durations.of(asked.name)
    return {task: duration._asdict() for task, duration in learned.items()}


def _status(ground: Ground, _: NoParams) -> list[dict[str, Any]]:
    return [view_record(status) for status in ground.views.runner.status()]


def _rebuild(ground: Ground, asked: Rebuild) -> dict[str, Any]:
    runner = ground.views.runner
    runner.rebuild(asked.name)
    if asked.wait_s or not runner.follows:
        with suppress(ViewsBehind):
            runner.wait_for_rebuild(asked.name, asked.wait_s)
    return next(view_record(view) for view in runner.status() if view.name == asked.name)


OPERATIONS: Final = (
    read("counts", CountBy, _counts, "Count runs and tasks by state, of each definition.",
         "`{total, names: [{name, ...}], cursor}`"),
    read("counts.hours", CountBy, _hours, "Count what happened, by hour.",
         "`{hours: [{hour, name, ...}], cursor}`"),
    read("workers.list", ListWorkers, _workers, "List who holds or held attempts.",
         "`{workers: [worker], cursor}`"),
    read("attempts.list", ListAttempts, _attempts, "List the attempts that run.",
         "`{attempts: [attempt], cursor}`"),
    read("durations.of", NameDefinition, _durations, "Say how long the tasks of a definition took.",
         "`{task: {median_s, p90_s, samples, completed_total}}`"),
    read("views.status", NoParams, _status, "Say how far each view is.", "`[view]`"),
    read("views.rebuild", Rebuild, _rebuild,
         "Make the rows of a view anew, while the old ones are served.",
         "the view; its `rebuild` is null once the new rows are served"),
)  # fmt: skip
