"""Why a run, or a task of it, waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw.expected import Expectations
from goclaw.operations.operation import read
from goclaw.operations.runs import NameRun
from goclaw.why_records import why_record
from goclaw_actors.why.reason import ENDED, Reason
from goclaw_events.ids import task_stream, workflow_stream

if TYPE_CHECKING:
    from goclaw.operations.ground import Ground
    from goclaw_projections.runs import RunView


class Why(NameRun):
    """Which run, and which task of it."""

    task: str | None = None
    """Only this task, and what it needs (None: the whole run)."""


def why(ground: Ground, asked: Why) -> dict[str, Any]:
    """Answer; raises what `RunArchive.find` raises, `NotFound`, `Stopping`."""
    ground.wait_for(asked.min_position)
    run = ground.runs.find(asked.run)
    if asked.task is not None:
        ground.runs.task_of(run, asked.task)
    reason, now_ns = ground.explains.explain(run.run_id, asked.task)
    expected = Expectations(ground.views.durations.of, run.name, now_ns)
    told = why_record(
        reason or _recorded(ground, run, asked.task),
        expected,
        now_ns,
        is_at_work=ground.explains.is_at_work,
    )
    return {"run_id": run.run_id, "name": run.name, "task": asked.task, **told}


def _recorded(ground: Ground, run: RunView, task_id: str | None) -> Reason:
    """Return how a run ended whose facts were given up, or a task of it."""
    if task_id is None:
        error = None if run.error is None else list(run.error)
        details = {"status": run.status, "error": error}
        return Reason(ENDED, workflow_stream(run.run_id), run.ended_at_ns or 0, 0, details)
    task = ground.runs.task_of(run, task_id)
    error = None if task.error is None else list(task.error)
    details = {"status": task.status, "error": error}
    stream = task_stream(run.run_id, task_id)
    return Reason(ENDED, stream, task.completed_at_ns or 0, 0, details)


OPERATIONS: Final = (
    read("why", Why, why, "Say what a run, or a task of it, waits for, down to who holds it.",
         "`{run_id, name, task, asked_at, engine, stuck, reason}`; see why.md"),
)  # fmt: skip
