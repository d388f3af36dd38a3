"""Why a run or a saga, or a task of one, waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw.errors import NotFound, RunNotFound, SagaNotFound
from goclaw.expected import Expectations
from goclaw.operations.operation import read
from goclaw.operations.runs import NameRun
from goclaw.saga_records import find_saga
from goclaw.why_records import why_record
from goclaw_actors.why.reason import ENDED, Reason
from goclaw_events.ids import saga_key, saga_stream, task_stream, workflow_stream

if TYPE_CHECKING:
    from goclaw.operations.ground import Ground
    from goclaw_projections.runs import RunView
    from goclaw_projections.sagas import SagaView


class Why(NameRun):
    """Which run or saga, and which task of it."""

    task: str | None = None
    """Only this task, and what it needs (None: the whole). Of a saga: a step, or
    `STEP.compensation`."""
    saga: bool = False
    """It is a saga; otherwise it is one if there is no such run."""


def why(ground: Ground, asked: Why) -> dict[str, Any]:
    """Answer; raises what `RunArchive.find` and `find_saga` raise, `NotFound`, `Stopping`."""
    ground.wait_for(asked.min_position)
    if asked.saga:
        return _of_saga(ground, find_saga(ground, asked.run), asked.task)
    try:
        run = ground.runs.find(asked.run)
    except RunNotFound:
        try:
            saga = find_saga(ground, asked.run)
        except SagaNotFound:
            saga = None
        if saga is None:
            raise
        return _of_saga(ground, saga, asked.task)
    if asked.task is not None:
        run, _ = ground.runs.place_of(run, asked.task)
        ground.runs.task_of(run, asked.task)
    reason, now_ns = ground.explains.explain(run.run_id, asked.task)
    expected = Expectations(ground.views.durations.of, run.name, now_ns)
    told = why_record(
        reason or _recorded(ground, run, asked.task),
        expected,
        now_ns,
        is_at_work=ground.explains.is_at_work,
    )
    long = ground.explains.long_histories(run.run_id)
    return {
        "run_id": run.run_id,
        "name": run.name,
        "task": asked.task,
        **told,
        "long_histories": long,
    }


def _of_saga(ground: Ground, saga: SagaView, task_id: str | None) -> dict[str, Any]:
    key = saga_key(saga.saga_id)
    reason, now_ns = ground.explains.explain(key, task_id)
    if reason is None and task_id is not None and ground.explains.explain(key, None).reason:
        msg = f"saga {saga.saga_id} has no step {task_id!r}"
        raise NotFound(msg, hint=f"goclaw sagas show {saga.saga_id}", task=task_id)
    if reason is None:  # its facts were given up
        error = None if saga.error is None else list(saga.error)
        details = {"status": saga.status, "error": error}
        reason = Reason(ENDED, saga_stream(saga.saga_id), saga.ended_at_ns or 0, 0, details)
    expected = Expectations(ground.views.durations.of, saga.name, now_ns)
    told = why_record(reason, expected, now_ns, is_at_work=ground.explains.is_at_work)
    long = ground.explains.long_histories(key)
    return {
        "saga_id": saga.saga_id,
        "name": saga.name,
        "task": task_id,
        **told,
        "long_histories": long,
    }


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
    read("why", Why, why,
         "Say what a run or a saga, or a task of one, waits for, down to who holds it.",
         "`{run_id or saga_id, name, task, asked_at, engine, stuck, reason}`; see why.md"),
)  # fmt: skip
