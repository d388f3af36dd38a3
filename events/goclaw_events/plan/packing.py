"""How a plan is written: a header, then msgpack. The bytes are kept in logs for ever.

One definition gives the same bytes each time: fields are positional, mappings keep the order
of the definition. What can be derived (dependents, index, roots, sinks) is not written.
Version 2 has a field more for each task, its timeouts; version 3 another, what it asks its lane
for, and lanes that limit more than slots; version 4 a third, what makes it unique, and lanes that
block or redirect; version 5 has the steps of a saga behind its tasks; version 6 a fourth field, the
labels of tasks, and tasks that collect; version 7 waits that are over at a point in time, and tasks
that wait for an answer; version 8 policies that make dead letters; version 9 a fifth field, what is
done with each item of a list; version 10 deadlines of answers that are times or templates. Each is
written only where there is something of it: the bytes of any other plan, and so its hash and the
digest of a submission, stay what they were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_events.collector import collector_paused
from goclaw_events.conditions import condition_from
from goclaw_events.errors import LogDamaged, UnknownType
from goclaw_events.inputs import PlannedInput
from goclaw_events.plan.awaits import ANSWERED
from goclaw_events.plan.model import (
    FAIL,
    NO_NEEDS,
    NO_TIMEOUTS,
    Foreach,
    LaneLimits,
    Plan,
    PlanHead,
    PlannedStep,
    PlannedTask,
    RetryPolicy,
    SlotNeeds,
    Timeouts,
    UniqueKey,
    assemble,
)
from goclaw_events.templates import template_from
from goclaw_events.value import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

MAGIC: Final = b"goclaw.plan"
VERSION: Final = 10
_VERSIONS: Final = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
LABELS_SINCE: Final = 6
FOREACH_SINCE: Final = 9
LANE_FIELDS_MIN: Final = 3
_LANE_DEFAULTS: Final = tuple(LaneLimits(0, 0, ""))
_HEADER_LENGTH: Final = len(MAGIC) + 1


def pack_plan(plan: Plan) -> bytes:
    """Write a plan; raises `ValueNotStorable` if its metadata or a default cannot be stored."""
    retries: dict[RetryPolicy, int] = {}
    version = _version_of(plan)
    tasks = [task_fields(task, retries, version) for task in plan.tasks]
    head = [
        plan.name,
        plan.version,
        {name: lane_fields(limits) for name, limits in plan.lanes.items()},
        plan.output,
        plan.on_failure,
        plan.inputs,
        plan.labels,
        plan.metadata,
        plan.timeout_s,
    ]
    steps = [plan.steps] if plan.steps else []
    policies = [retry_fields(policy) for policy in retries]
    return MAGIC + bytes([version]) + pack([head, policies, tasks, *steps])


def task_fields(task: PlannedTask, retries: dict[RetryPolicy, int], version: int) -> list[Any]:
    """Return a task as it is written; its policy by its place in `retries`, where it is put."""
    return [
        task.id,
        task.kind,
        task.agent,
        task.params,
        task.wait,
        task.needs,
        task.lane,
        task.priority,
        task.timeout_s,
        retries.setdefault(task.retry, len(retries)),
        task.when,
        task.result_read,
        task.expected_s,
        *(task.timeouts, task.slot, task.unique)[: version - 1],
        *((task.labels,) if version >= LABELS_SINCE else ()),
        *((_foreach_fields(task.foreach, retries),) if version >= FOREACH_SINCE else ()),
    ]


def retry_fields(policy: RetryPolicy) -> tuple[Any, ...]:
    """Return a policy as it is written: without what becomes of a task that fails."""
    return policy if policy.on_exhausted != FAIL else policy[:-1]


def _foreach_fields(foreach: Foreach | None, retries: dict[RetryPolicy, int]) -> list[Any] | None:
    if foreach is None:
        return None
    item, *rest = foreach
    return [task_fields(item, retries, VERSION), *rest]


def lane_fields(limits: LaneLimits) -> tuple[Any, ...]:
    """Return a lane as it is written: without what it does not say behind the rest."""
    written = tuple(limits)
    while len(written) > LANE_FIELDS_MIN and written[-1] == _LANE_DEFAULTS[len(written) - 1]:
        written = written[:-1]
    return written


def _version_of(plan: Plan) -> int:
    """Return the oldest version that can say what a plan says."""
    return next((version for version, says in _SAID_SINCE if says(plan)), 1)


def _limits_more(plan: Plan) -> bool:
    lanes = plan.lanes.values()
    return any(limits.more for limits in lanes) or any(t.slot is not NO_NEEDS for t in plan.tasks)


def _is_until(task: PlannedTask) -> bool:
    """Tell whether a task waits until a point in time, in place of so long."""
    return task.wait is not None and isinstance(task.wait.body, dict)


def _ends_later(task: PlannedTask) -> bool:
    """Tell whether a task waits for an answer until a time, or for as long as a template says.

    Or has the items of a list do so.
    """
    one = task if task.foreach is None else task.foreach.item
    return one.kind in ANSWERED and one.wait is not None


def _fills_up(plan: Plan) -> bool:
    full = any(limits.overflow in ("block", "redirect") for limits in plan.lanes.values())
    return full or any(task.unique is not None for task in plan.tasks)


_SAID_SINCE: Final[tuple[tuple[int, Callable[[Plan], bool]], ...]] = (
    (10, lambda plan: any(map(_ends_later, plan.tasks))),
    (9, lambda plan: any(task.foreach is not None for task in plan.tasks)),
    (8, lambda plan: any(task.retry.on_exhausted != FAIL for task in plan.tasks)),
    (7, lambda plan: any(_is_until(task) or task.kind in ANSWERED for task in plan.tasks)),
    (6, lambda plan: any(task.labels or task.kind == "collect" for task in plan.tasks)),
    (5, lambda plan: bool(plan.steps)),
    (4, _fills_up),
    (3, _limits_more),
    (2, lambda plan: any(task.timeouts is not NO_TIMEOUTS for task in plan.tasks)),
)
"""What only a version from that one on can say, the newest first."""


@collector_paused()
def unpack_plan(data: bytes) -> Plan:
    """Read what `pack_plan` wrote.

    Raises `UnknownType` for another version, `LogDamaged` for anything else.
    """
    if not data.startswith(MAGIC) or len(data) <= _HEADER_LENGTH:
        msg = f"not a plan: {data[:16]!r}"
        raise LogDamaged(msg)
    if data[len(MAGIC)] not in _VERSIONS:
        msg = f"a plan of version {data[len(MAGIC)]} cannot be read; this build knows {VERSION}"
        raise UnknownType(msg, hint="use the version of Goclaw that wrote the log", type="plan")
    body = unpack(data[_HEADER_LENGTH:])
    try:
        head, retries, tasks, *rest = body
        policies = [retry_from(item) for item in retries]
        plan = assemble(_head(head), [task_from(i, item, policies) for i, item in enumerate(tasks)])
        plan.steps = tuple(_step(*step) for steps in rest for step in steps)
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        msg = f"a plan is not whole: {error}"
        raise LogDamaged(msg) from error
    return plan


def _step(
    action: int, compensation: int, needs: list[int], policy: str, in_doubt: str
) -> PlannedStep:
    return PlannedStep(action, compensation, tuple(needs), policy, in_doubt)


def _head(data: list[Any]) -> PlanHead:
    name, version, lanes, output, on_failure, inputs, labels, metadata, timeout_s = data
    return PlanHead(
        name,
        version,
        {lane_id: LaneLimits(*limits) for lane_id, limits in lanes.items()},
        None if output is None else template_from(output),
        on_failure,
        tuple(PlannedInput(*item) for item in inputs),
        labels,
        metadata,
        timeout_s,
    )


def retry_from(data: list[Any]) -> RetryPolicy:
    """Return a policy from its fields."""
    attempts_max, backoff, initial_s, max_s, jitter, retry_on, non_retryable, *rest = data
    codes = (tuple(retry_on), tuple(non_retryable))
    return RetryPolicy(attempts_max, backoff, initial_s, max_s, jitter, *codes, *rest)


def task_from(index: int, data: list[Any], policies: list[RetryPolicy]) -> PlannedTask:
    """Return the task that `task_fields` wrote."""
    (
        id_,
        kind,
        agent,
        params,
        wait,
        needs,
        lane,
        priority,
        timeout_s,
        retry,
        when,
        read,
        expected_s,
        *rest,
    ) = data
    timeouts, slot, unique, labels, foreach = (*rest, None, None, None, None, None)[:5]
    return PlannedTask(
        index,
        id_,
        kind,
        agent,
        template_from(params),
        None if wait is None else template_from(wait),
        tuple(needs),
        (),
        lane,
        priority,
        timeout_s,
        policies[retry],
        None if when is None else condition_from(when),
        read,
        expected_s,
        Timeouts(*timeouts) if timeouts and any(timeouts) else NO_TIMEOUTS,
        _slot(*slot) if slot else NO_NEEDS,
        _unique(*unique) if unique else None,
        labels or {},
        None if foreach is None else _foreach(foreach, policies),
    )


def _foreach(data: list[Any], policies: list[RetryPolicy]) -> Foreach:
    item, *rest = data
    return Foreach(task_from(0, item, policies), *rest)


def _unique(key: list[Any], window_s: float | None, on_duplicate: str) -> UniqueKey:
    return UniqueKey(template_from(key), window_s, on_duplicate)


def _slot(key: list[Any] | None, units: dict[str, int] | None, cost: float) -> SlotNeeds:
    found = SlotNeeds(None if key is None else template_from(key), units, cost)
    return NO_NEEDS if found == NO_NEEDS else found
