"""From a definition to a plan."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from goclaw_events.checks import check, draft_of
from goclaw_events.collector import collector_paused
from goclaw_events.definition import RetryDefinition
from goclaw_events.facts import WAITERS_MAX_DEFAULT
from goclaw_events.faults import InvalidDefinition
from goclaw_events.inputs import PlannedInput, checked_input, default_findings
from goclaw_events.items import FOREACH, PARALLEL_ANSWERED, PARALLEL_DEFAULT
from goclaw_events.plan.awaits import ANSWERED
from goclaw_events.plan.model import (
    EXPECTED_S_DEFAULT,
    NO_NEEDS,
    NO_TIMEOUTS,
    Foreach,
    LaneLimits,
    Plan,
    PlanHead,
    PlannedTask,
    RetryPolicy,
    SlotNeeds,
    Timeouts,
    UniqueKey,
    assemble,
)
from goclaw_events.templates import NOTHING

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from goclaw_events.checks import Checked, CheckedTask
    from goclaw_events.definition import LaneDefinition, TaskDefinition, WorkflowDefinition


@collector_paused()
def compile_plan(definition: WorkflowDefinition) -> Plan:
    """Compile a definition; raises `InvalidDefinition` with every fault.

    Pure and deterministic: of the tasks that could come next, the first in the definition does.
    """
    checked = check(draft_of(definition))
    findings = default_findings(definition.input) + checked.findings
    if findings:
        raise InvalidDefinition([finding.fault() for finding in findings], definition.name)
    return plan_of(definition, checked)


def plan_of(definition: WorkflowDefinition, checked: Checked) -> Plan:
    """Return the plan of a definition without faults."""
    return assemble(_head(definition, checked), _tasks(definition, checked))


def check_input(plan: Plan, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the input of a run with defaults filled in; raises `InvalidInput`."""
    return checked_input(plan.name, plan.inputs, given)


def _head(definition: WorkflowDefinition, checked: Checked) -> PlanHead:
    return PlanHead(
        name=definition.name,
        version=definition.version,
        lanes={
            f"{definition.name}/{lane_id}": lane_limits_of(definition.name, lane)
            for lane_id, lane in definition.lanes.items()
        },
        output=checked.output,
        on_failure=definition.on_failure,
        inputs=tuple(
            PlannedInput(name, item.type, item.is_required, item.has_default, item.default)
            for name, item in definition.input.items()
        ),
        labels=dict(definition.labels),
        metadata=dict(definition.metadata),
        timeout_s=definition.timeout,
    )


def _tasks(definition: WorkflowDefinition, checked: Checked) -> list[PlannedTask]:
    position = [0] * len(checked.ids)
    for index, node in enumerate(checked.order):
        position[node] = index
    is_needed = bytearray(len(checked.ids))
    for checked_task in checked.tasks:
        for other in checked_task.needs:
            is_needed[other] = 1
    retries: dict[int, RetryPolicy] = {}
    lane_default = default_lane(definition.name, definition.lanes)
    tasks: list[PlannedTask] = []
    for index, node in enumerate(checked.order):
        task_id = checked.ids[node]
        compiled = checked.tasks[node]
        needs = tuple(position[other] for other in compiled.needs)
        read = node in checked.results_read or (checked.output is None and not is_needed[node])
        place = Placed(index, needs, read, definition.name, lane_default)
        tasks.append(planned_task(task_id, definition.tasks[task_id], compiled, place, retries))
    return tasks


class Placed(NamedTuple):
    """What of a task its plan decides; the rest its definition says."""

    at: int
    needs: tuple[int, ...]
    result_read: bool
    name: str
    lane_default: str


def default_lane(name: str, lanes: Container[str]) -> str:
    """Return the lane of tasks that name none."""
    return name + "/default" if "default" in lanes else "/default"


def planned_task(
    task_id: str,
    task: TaskDefinition,
    compiled: CheckedTask,
    place: Placed,
    retries: dict[int, RetryPolicy],
) -> PlannedTask:
    """Return a task as its plan holds it; `retries` has the policies that were seen before."""
    work = _work(task_id, task, compiled, place, retries)
    return work if compiled.items is None else _over_items(work, task, compiled, retries)


def _over_items(
    work: PlannedTask,
    task: TaskDefinition,
    compiled: CheckedTask,
    retries: dict[int, RetryPolicy],
) -> PlannedTask:
    """Return the task that has some work done for each item of a list."""
    item = replace(work, index=0, needs=(), when=None)
    default = PARALLEL_ANSWERED if work.kind in ANSWERED else PARALLEL_DEFAULT
    parallel = task.parallel or default
    outcomes = task.item_results == "outcomes"
    rule = task.on_item_failure or "fail_fast"
    foreach = Foreach(item, parallel, rule, task.item_failures_max, outcomes)
    return replace(
        work,
        kind=FOREACH,
        agent="",
        params=compiled.items or NOTHING,
        wait=None,
        lane="",
        priority=0,
        timeout_s=None,
        retry=_retry(None, retries),
        timeouts=NO_TIMEOUTS,
        slot=NO_NEEDS,
        unique=None,
        foreach=foreach,
    )


def _work(
    task_id: str,
    task: TaskDefinition,
    compiled: CheckedTask,
    place: Placed,
    retries: dict[int, RetryPolicy],
) -> PlannedTask:
    kind = task.kind or ""
    return PlannedTask(
        index=place.at,
        id=task_id,
        kind=kind,
        agent=task.agent or task.workflow or task.saga or compiled.agent,
        params=compiled.params,
        wait=compiled.wait,
        needs=place.needs,
        dependents=(),
        lane=_lane(task, kind, place.name + "/", place.lane_default),
        priority=task.priority,
        timeout_s=task.timeout,
        retry=_retry(task.retry, retries),
        when=compiled.when,
        result_read=place.result_read,
        expected_s=_expected_s(task, compiled),
        timeouts=_timeouts(task),
        slot=_slot(task, compiled),
        unique=_unique(task, compiled),
        labels=dict(task.labels),
    )


def _lane(task: TaskDefinition, kind: str, prefix: str, lane_default: str) -> str:
    if task.lane is None:
        return lane_default if kind in ("agent", "exec", "http", "collect") else ""
    name = task.lane if isinstance(task.lane, str) else task.lane.name
    return name if name.startswith("/") else prefix + name


def lane_limits_of(name: str, lane: LaneDefinition) -> LaneLimits:
    """Return the limits of a lane of the definition `name`."""
    slots = (lane.concurrency, lane.capacity, lane.overflow)
    target = lane.redirect_to or ""
    if target and not target.startswith("/"):
        target = f"{name}/{target}"
    waiters_max = WAITERS_MAX_DEFAULT if lane.waiters_max is None else lane.waiters_max
    return LaneLimits(*slots, _limits(lane), target, waiters_max)


def _limits(lane: LaneDefinition) -> dict[str, Any] | None:
    """Return what a lane limits besides slots and capacity; None: nothing."""
    said = limits_said(lane)
    return {name: value for name, value in said.items() if value not in (None, {})} or None


def limits_said(lane: LaneDefinition) -> dict[str, Any]:
    """Return what a definition says of each limit but slots and capacity, as facts have it."""
    rate, scale = lane.rate, lane.scale
    return {
        "scale": None if scale is None else [scale.min, scale.max, scale.wait, scale.idle],
        "rate": None if rate is None else [rate.per_second, rate.burst, rate.kind],
        "resources": lane.resources,
        "per_tenant": lane.per_tenant,
        "per_key": lane.per_key,
        "ageing": lane.ageing,
        "fair_by": lane.fair_by,
        "weights": lane.weights,
    }


def _slot(task: TaskDefinition, compiled: CheckedTask) -> SlotNeeds:
    found = SlotNeeds(compiled.key, dict(task.units) or None, task.cost)
    return NO_NEEDS if found == NO_NEEDS else found


def _unique(task: TaskDefinition, compiled: CheckedTask) -> UniqueKey | None:
    if task.unique is None or compiled.unique is None:
        return None
    return UniqueKey(compiled.unique, task.unique.window, task.unique.on_duplicate)


def _timeouts(task: TaskDefinition) -> Timeouts:
    found = Timeouts(task.queue_timeout, task.total_timeout, task.heartbeat_timeout)
    return NO_TIMEOUTS if found == NO_TIMEOUTS else found


_RETRY_NONE = RetryDefinition()


def _retry(retry: RetryDefinition | None, seen: dict[int, RetryPolicy]) -> RetryPolicy:
    """Return the policy; the same object for the same definition, as most tasks have none."""
    policy = seen.get(id(retry))
    if policy is None:
        given = retry or _RETRY_NONE
        is_bounded = "max" in given.model_fields_set
        policy = seen[id(retry)] = RetryPolicy(
            given.attempts,
            given.backoff,
            given.initial,
            given.max if is_bounded else max(given.max, given.initial),
            given.jitter,
            given.retry_on,
            given.non_retryable,
            given.on_exhausted,
        )
    return policy


def _expected_s(task: TaskDefinition, compiled: CheckedTask) -> float:
    if task.expected is not None:
        return task.expected
    if compiled.wait is not None and isinstance(task.wait, float):
        return task.wait
    return EXPECTED_S_DEFAULT
