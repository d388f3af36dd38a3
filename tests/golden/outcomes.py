"""What a log comes to: the states of its runs, tasks and lanes, in words that do not change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw.log_records import plain
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.given_up import given_up
from goclaw_actors.rebuild import fold
from goclaw_actors.statuses import STATUS_NAMES
from goclaw_events.ids import kind_of
from goclaw_events.replay import stream_turns

if TYPE_CHECKING:
    from goclaw_events.journal import Journal


def outcomes(journal: Journal) -> dict[str, Any]:
    """Fold every stream and return what became of it, by stream."""
    kinds = deciders(StoredContents(journal))
    found: dict[str, Any] = {}
    for partition in range(journal.partitions):
        for stream in journal.streams(partition):
            kind = kind_of(stream)
            if kind in kinds:
                state = fold(kinds[kind], stream, stream_turns(journal, stream))
                found[stream] = plain(_OF[kind](state))
        for stream in given_up(journal, partition).poisoned:
            found[f"poisoned {stream}"] = True
    return dict(sorted(found.items()))


def _run(run: Any) -> dict[str, Any]:
    tasks = [task.id for task in run.plan.tasks]
    return {
        "status": run.status,
        "result": run.result,
        "error": run.error,
        "reason": run.reason,
        "input": run.input,
        "tasks": {tasks[i]: STATUS_NAMES[status] for i, status in enumerate(run.statuses)},
        **({"stuck": run.stuck} if run.stuck else {}),
    }


def _task(task: Any) -> dict[str, Any]:
    names = ("status", "attempt", "failures", "lost", "lane", "result", "error", "due_ns")
    return {name: getattr(task, name) for name in names}


def _lane(lane: Any) -> dict[str, Any]:
    return {
        "concurrency": lane.concurrency,
        "capacity": lane.capacity,
        "queued": sorted(lane.queued),
        "leased": sorted(lane.leased),
    }


def _catalogue(catalogue: Any) -> dict[str, Any]:
    return {version: ref.hex for version, ref in catalogue.versions.items()}


def _unique(unique: Any) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    for _, row in sorted(unique.rows.items()):
        found.setdefault(row.key, []).append([row.task, row.role, row.done])
    return found


def _collector(collector: Any) -> dict[str, Any]:
    return {
        "status": collector.status,
        "reason": collector.reason,
        "vote": collector.vote,
        "members": [f"{run}/{task}" for run, task in collector.members],
        "outcomes": [outcome for _, outcome in sorted(collector.outcomes.items())],
    }


def _saga(saga: Any) -> dict[str, Any]:
    tasks = [task.id for task in saga.plan.tasks]
    names = ("status", "result", "error", "cause", "resolved", "in_doubt", "unwound")
    found = {name: getattr(saga, name) for name in names}
    found["in_doubt"], found["unwound"] = sorted(saga.in_doubt), list(saga.unwound)
    found["tasks"] = {tasks[i]: STATUS_NAMES[status] for i, status in enumerate(saga.statuses)}
    return found


def _schedule(schedule: Any) -> dict[str, Any]:
    names = ("status", "planned_ns", "due_ns", "running", "triggers")
    found = {name: getattr(schedule, name) for name in names}
    found["waiting"] = [list(firing) for firing in schedule.waiting]
    return found


_OF = {
    "saga": _saga,
    "workflow": _run,
    "task": _task,
    "lane": _lane,
    "unique": _unique,
    "catalogue": _catalogue,
    "collector": _collector,
    "schedule": _schedule,
}
