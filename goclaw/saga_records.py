"""Sagas as records that people and other programs read: plain JSON data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw.errors import SagaNotFound, UsageInvalid
from goclaw.run_records import task_record, time_text
from goclaw.step_records import step_records
from goclaw_actors.executors.resolve import resolved
from goclaw_events.errors import HistoryExpired
from goclaw_events.ids import owner_stream, plain_id, saga_key
from goclaw_events.plan import unpack_plan
from goclaw_events.replay import stream_turns
from goclaw_projections.tasks import PENDING

if TYPE_CHECKING:
    from goclaw.operations.ground import Ground
    from goclaw_events.plan import Plan, PlannedStep
    from goclaw_projections.sagas import SagaView
    from goclaw_projections.tasks import TaskView

LAST = "@last"


def find_saga(ground: Ground, name: str) -> SagaView:
    """Return the saga that an id, the beginning of one, or `@last` means; raises `SagaNotFound`.

    `~ID`, as dead letters and facts name it, is the same.
    """
    sagas = ground.views.sagas
    name = plain_id(name)
    if name == LAST:
        found = sagas.newest()
        if found is None:
            raise SagaNotFound("there is no saga yet", hint="goclaw sagas run FILE")
        return found
    found = sagas.get(name)
    if found is not None:
        return found
    close = sagas.starting_with(name, 10) if name else []
    if len(close) > 1:
        msg = f"{name!r} begins the ids of several sagas: {', '.join(close)}"
        raise UsageInvalid(msg, hint="write more of it")
    found = sagas.get(close[0]) if close else None
    if found is None:
        raise SagaNotFound(f"there is no saga {name!r}", hint="goclaw sagas list")
    return found


def saga_summary(saga: SagaView) -> dict[str, Any]:
    """Return what a listing says of a saga."""
    return {
        "saga_id": saga.saga_id,
        "name": saga.name,
        "status": saga.status,
        "version": saga.version,
        "submitted_at": time_text(saga.submitted_at_ns),
        "started_at": time_text(saga.started_at_ns),
        "ended_at": time_text(saga.ended_at_ns),
        "labels": dict(saga.labels),
        "cause": saga.cause or None,
        "error": _error(saga.error),
        "parent": _parent(saga.parent),
        "alarm": [
            {"step": step, "code": code, "message": message} for step, code, message in saga.alarm
        ],
        "stuck": [{"subject": stream, "evidence": text} for stream, text in saga.stuck],
    }


def saga_record(
    ground: Ground, saga: SagaView, *, timeline: bool = False, durable: bool = False
) -> dict[str, Any]:
    """Return everything that is known of a saga; values are whole.

    `expired`: its facts were given up, and its input with them.
    """
    key = saga_key(saga.saga_id)
    plan = unpack_plan(ground.journal.blob(saga.definition))
    tasks = dict(ground.views.tasks.recorded(key))
    try:
        first = next(stream_turns(ground.journal, owner_stream(key)))
        given, expired = resolved(first.facts[0].data[2], ground.load), False
    except HistoryExpired:
        given, expired = None, True
    resolution = None
    if saga.resolved is not None:
        resolution = {"reason": saga.resolved[0], "by": saga.resolved[1]}
    record = {
        **saga_summary(saga),
        "input": given,
        "expired": expired,
        "result": resolved(saga.result, ground.load),
        "position": str(saga.position),
        "awaited": list(saga.awaited),
        "left": list(saga.left),
        "retried": _retried(saga),
        "resolved": resolution,
        "steps": {
            plan.tasks[step.action].id: _step(saga, plan, step, tasks) for step in plan.steps
        },
    }
    if durable:
        told = ground.views.timeline.entries(key)
        record["durable_steps"] = step_records(ground.journal, key, told, ground.load)
    if timeline:
        record["timeline"] = [
            {
                "position": f"{saga.position.partition}:{entry.number}",
                "time": time_text(entry.time_ns),
                "task": entry.task or None,
                "type": entry.type,
                "brief": entry.brief,
            }
            for entry in ground.views.timeline.entries(key)
        ]
    return record


def _step(
    saga: SagaView, plan: Plan, step: PlannedStep, tasks: dict[str, TaskView]
) -> dict[str, Any]:
    name = plan.tasks[step.action].id
    action = tasks.get(name, PENDING)
    undo = None
    if step.compensation >= 0:
        undo = task_record(tasks.get(plan.tasks[step.compensation].id, PENDING))
    return {
        "policy": step.policy,
        "in_doubt": name in saga.in_doubt,
        "unwound": name in saga.unwound,
        "action": task_record(action),
        "compensation": undo,
    }


def _error(error: tuple[str, str, str] | None) -> dict[str, str] | None:
    if error is None:
        return None
    code, message, step = error
    return {"code": code, "message": message, "step": step}


def _retried(saga: SagaView) -> dict[str, Any] | None:
    """Return how often failed compensations were tried again, and who said so last, and why."""
    if saga.retried is None:
        return None
    times, reason, by, time_ns = saga.retried
    return {"times": times, "reason": reason, "by": by, "at": time_text(time_ns)}


def _parent(stream: str) -> dict[str, str] | None:
    """Return whose child a saga is; None: nobody's."""
    if not stream:
        return None
    _, key, task = stream.split("/", 2)
    return {"run_id": plain_id(key), "task": task}
