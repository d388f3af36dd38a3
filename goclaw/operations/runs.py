"""Questions about runs: lists, records, results, plans."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from goclaw.operations.operation import NoParams, Params, read
from goclaw.run_records import run_summary
from goclaw.unfinished import unfinished_runs

if TYPE_CHECKING:
    from goclaw.operations.ground import Ground

LIST_MAX: Final = 100_000
_CURSOR: Final = re.compile(r"[0-9a-f]{16}/.+")

MinPosition = Annotated[
    str | None,
    Field(description="wait for the views: `partition:number`, or `now` for all that is durable"),
]


def _from_a_page(cursor: str | None) -> str | None:
    if cursor is not None and _CURSOR.fullmatch(cursor) is None:
        raise ValueError(f"{cursor[:80]!r} is not the cursor of a page")
    return cursor


Cursor = Annotated[str | None, AfterValidator(_from_a_page)]
"""Where a page of what is listed by time ended."""


class ListRuns(Params):
    """Which runs, newest first."""

    status: (
        Literal[
            "running",
            "failing",
            "cancelling",
            "completed",
            "failed",
            "cancelled",
            "paused",
            "interrupted",
        ]
        | None
    ) = None
    """Only runs in this state."""
    name: str | None = None
    """Only runs of this workflow."""
    labels: Annotated[dict[str, str], Field(default_factory=dict)]
    """Only runs with all these labels."""
    limit: Annotated[int, Field(ge=1, le=LIST_MAX)] = 50
    """At most so many."""
    cursor: Cursor = None
    """Go on where a page ended."""
    min_position: MinPosition = None


class NameRun(Params):
    """Which run: an id, the beginning of one, or `@last`."""

    run: str
    """An id, the beginning of one, or `@last`."""
    min_position: MinPosition = None


class ShowRun(NameRun):
    """Which run, and how much of it."""

    timeline: bool = False
    """With what happened, fact by fact."""
    critical: bool = False
    """With the path that decided when it ended."""
    steps: bool = False
    """With the durable steps of its tasks."""


class ResultOf(NameRun):
    """Which result."""

    task: str | None = None
    """That of this task (None: the run's own)."""
    generation: Annotated[int, Field(ge=0)] | None = None
    """With a task that ran again: in this generation, from 0 (None: the last)."""


class RunIds(Params):
    """Which ids."""

    prefix: str = ""
    """Only ids that begin so."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    """At most so many."""


def _list(ground: Ground, asked: ListRuns) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    page = ground.views.runs.list(
        status=asked.status,
        name=asked.name,
        labels=asked.labels,
        limit=asked.limit,
        cursor=asked.cursor,
    )
    return {"runs": [run_summary(run) for run in page.runs], "cursor": page.cursor}


def _show(ground: Ground, asked: ShowRun) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    run = ground.runs.find(asked.run)
    parts = {"timeline": asked.timeline, "critical": asked.critical, "steps": asked.steps}
    return ground.runs.record_of(run, **parts)


def _find(ground: Ground, asked: NameRun) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    return run_summary(ground.runs.find(asked.run))


def _result(ground: Ground, asked: ResultOf) -> Any:
    ground.wait_for(asked.min_position)
    run = ground.runs.find(asked.run)
    if asked.task is not None:
        run, task = ground.runs.place_of(run, asked.task)
        return ground.runs.task_result_of(run, task, asked.generation)
    return ground.runs.result_of(run)


def _board(ground: Ground, asked: NameRun) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    run = ground.runs.find(asked.run)
    tasks = ground.runs.tasks_of(run)
    return {
        "run_id": run.run_id,
        "status": run.status,
        "submitted_at_ns": run.submitted_at_ns,
        "ended_at_ns": run.ended_at_ns,
        "plan": ground.runs.packed_plan(run.definition),
        "tasks": {
            task_id: [task.status, task.attempts, task.started_at_ns, task.completed_at_ns]
            for task_id, task in tasks.items()
        },
    }


def _ids(ground: Ground, asked: RunIds) -> list[str]:
    if asked.prefix:
        return ground.views.runs.starting_with(asked.prefix, asked.limit)
    return [run.run_id for run in ground.views.runs.list(limit=asked.limit).runs]


def _unfinished(ground: Ground, _: NoParams) -> list[dict[str, Any]]:
    return [run.as_plain() for run in unfinished_runs(ground.journal)]


OPERATIONS: Final = (
    read("runs.list", ListRuns, _list, "List runs, newest first.",
         "`{runs: [summary], cursor}`; a cursor goes on"),
    read("runs.show", ShowRun, _show, "Show a run and its tasks; values are whole.", "the record"),
    read("runs.find", NameRun, _find, "Find the run that a name means.", "its summary"),
    read("runs.result", ResultOf, _result, "Give the result of a run, or a task, that completed.",
         "the value"),
    read("runs.board", NameRun, _board, "Give what is needed to draw a run.",
         "`{run_id, status, submitted_at_ns, ended_at_ns, plan: bytes, tasks: {id: [status, "
         "attempts, started_at_ns, completed_at_ns]}}`"),
    read("runs.ids", RunIds, _ids, "Give ids of runs: by their beginning, or the newest.",
         "a list of ids"),
    read("runs.unfinished", NoParams, _unfinished, "List what has not ended, the oldest first.",
         "`[{run_id, name, agents, programs: {task: program}, secrets, "
         "stuck: [[stream, evidence]]}]`", log_only=True),
)  # fmt: skip
