"""Runs and tasks as records that people and other programs read: plain JSON data.

Times are RFC 3339 in UTC with nine fractional digits, durations seconds, positions
`partition:number`.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from goclaw.logs import rfc3339
from goclaw_projections.critical import spent_ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from goclaw_projections.critical import Segment
    from goclaw_projections.runs import PathVersion, RunView
    from goclaw_projections.tasks import TaskView


def time_text(time_ns: int | None) -> str | None:
    """Write a time; None stays None."""
    return None if time_ns is None else rfc3339(time_ns)


def duration_s(run: RunView) -> float | None:
    """Return how long a run took; None while it goes on."""
    if run.ended_at_ns is None:
        return None
    return (run.ended_at_ns - run.submitted_at_ns) / 1e9


def task_record(task: TaskView) -> dict[str, Any]:
    """Return a task: its status, its attempts, its times, what went wrong, its child run."""
    return {
        "status": task.status,
        "attempts": task.attempts,
        "started_at": time_text(task.started_at_ns),
        "completed_at": time_text(task.completed_at_ns),
        "error": None if task.error is None else task.error._asdict(),
        **({} if task.child is None else {"child": task.child}),
    }


def run_summary(run: RunView) -> dict[str, Any]:
    """Return what a listing says of a run."""
    return {
        "run_id": run.run_id,
        "name": run.name,
        "status": run.status,
        "version": run.version,
        "submitted_at": time_text(run.submitted_at_ns),
        "ended_at": time_text(run.ended_at_ns),
        "duration_s": duration_s(run),
        "labels": dict(run.labels),
        "error": None if run.error is None else run.error._asdict(),
        "parent": _parent(run.parent),
        "stuck": [{"subject": stream, "evidence": text} for stream, text in run.stuck],
    }


def _parent(stream: str) -> dict[str, str] | None:
    """Return whose child a run is; None: nobody's."""
    if not stream:
        return None
    _, run_id, task = stream.split("/", 2)
    return {"run_id": run_id, "task": task}


def run_outcome(run: RunView, tasks: Mapping[str, TaskView], result: Any) -> dict[str, Any]:
    """Return what `goclaw run --json` says: the run with `result` in full and every task."""
    return {
        "run_id": run.run_id,
        "status": run.status,
        "result": result,
        "error": None if run.error is None else run.error._asdict(),
        "duration_s": duration_s(run),
        "position": str(run.position),
        "tasks": {task_id: task_record(task) for task_id, task in tasks.items()},
    }


def path_record(version: PathVersion) -> dict[str, Any]:
    """Return how a version of a run's plan came about."""
    return {
        "version": version.version,
        "at": time_text(version.at_ns),
        "change": version.change,
        "sender": version.sender,
        "reason": version.reason,
        "said": version.said,
    }


def critical_path_record(segments: Sequence[Segment]) -> dict[str, Any]:
    """Return the path that decided a run's end: a step for each task, then what it adds up to.

    The last step, with task null, is what the run itself took after its last task.
    """
    steps = [
        {
            "task": task or None,
            "started_at": time_text(own[0].start_ns),
            "ended_at": time_text(own[-1].end_ns),
            **_spent_s(own),
        }
        for task, found in groupby(segments, key=lambda segment: segment.task)
        for own in [list(found)]
    ]
    total_ns = sum(segment.end_ns - segment.start_ns for segment in segments)
    return {"duration_s": total_ns / 1e9, "total": _spent_s(segments), "steps": steps}


def _spent_s(segments: Iterable[Segment]) -> dict[str, float]:
    return {f"{kind}_s": spent / 1e9 for kind, spent in spent_ns(segments).items()}
