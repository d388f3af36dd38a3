"""The versions of a plan: what a change of the path of a run makes of one.

A version keeps the index of every task: what a run knows by index stays true. It is written as what
differs from the version before it, which it names; after `DEPTH_MAX` of those, or when together
they are half as large as the plan, the whole plan is written again. It is plain msgpack, so that
whoever looks for references finds the version before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events import dag
from goclaw_events.collector import collector_paused
from goclaw_events.errors import LogDamaged, UnknownType
from goclaw_events.plan.model import LaneLimits, Plan, PlannedTask, RetryPolicy, assemble, head_of
from goclaw_events.plan.packing import (
    MAGIC,
    VERSION,
    lane_fields,
    pack_plan,
    retry_fields,
    retry_from,
    task_fields,
    task_from,
    unpack_plan,
)
from goclaw_events.templates import template_from
from goclaw_events.value import BlobRef, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw_events.templates import Template

KIND: Final = "goclaw.plan.version"
FORMAT: Final = 1
DEPTH_MAX: Final = 32
"""So many versions at most are read, one after the other, to know the last."""


class PlanChange(NamedTuple):
    """What makes a plan another version of itself.

    `tasks` are those that are new (their indexes follow the last one) or other than before;
    `removed` those that are no part of it any more. `lanes` are declared besides. `output` None:
    as before.
    """

    tasks: Sequence[PlannedTask] = ()
    removed: frozenset[int] = frozenset()
    lanes: dict[str, LaneLimits] | None = None
    output: Template | None = None


def changed_plan(plan: Plan, change: PlanChange) -> Plan:
    """Return the next version of a plan; the tasks that stay as they are, are shared with it."""
    tasks = list(plan.tasks)
    touched = {task.index for task in change.tasks}
    near = {need for index in touched if index < len(tasks) for need in tasks[index].needs}
    for task in sorted(change.tasks, key=lambda task: task.index):
        tasks[task.index : task.index + 1] = [replace(task)]
        near.update(task.needs)
    removed = plan.removed | change.removed
    for index in change.removed:
        near.update(tasks[index].needs)
        tasks[index] = replace(tasks[index], needs=(), when=None)
    # `assemble` fills in dependents in place: whoever has others now must not be shared
    for index in near | touched | change.removed:
        tasks[index] = replace(tasks[index])
    head = head_of(plan)._replace(lanes={**plan.lanes, **(change.lanes or {})})
    if change.output is not None:
        head = head._replace(output=change.output)
    return assemble(head, tasks, removed)


def pack_version(plan: Plan, change: PlanChange, base: BlobRef, base_data: bytes) -> bytes:
    """Write the version of a plan that a change makes of `base`."""
    depth, written, whole = _chain_of(base_data)
    retries: dict[RetryPolicy, int] = {}
    tasks = [[task.index, task_fields(task, retries, VERSION)] for task in change.tasks]
    lanes = {name: lane_fields(limits) for name, limits in (change.lanes or {}).items()}
    output = [] if change.output is None else [change.output]
    said = [
        sorted(change.removed),
        lanes,
        output,
        [retry_fields(policy) for policy in retries],
        tasks,
    ]
    size = len(pack(said))
    if depth + 1 > DEPTH_MAX or 2 * (written + size) > whole:
        data = pack_plan(plan)
        return pack([KIND, FORMAT, [0, 0, len(data)], data, [sorted(plan.removed), {}, [], [], []]])
    return pack([KIND, FORMAT, [depth + 1, written + size, whole], base, said])


def _chain_of(data: bytes) -> tuple[int, int, int]:
    """Return how many versions stand behind each other, their bytes, and those of the whole."""
    if data.startswith(MAGIC):
        return 0, 0, len(data)
    _, _, (depth, written, whole), _, _ = unpack(data)
    return depth, written, whole


@collector_paused()
def read_plan(
    data: bytes, load: Callable[[BlobRef], bytes], known: Callable[[BlobRef], Plan | None]
) -> Plan:
    """Read a plan, or a version of one.

    `load` reads a blob; `known` is asked first for the plan of one. Raises `UnknownType`,
    `LogDamaged`, and what `load` raises.
    """
    changes: list[list[Any]] = []
    plan: Plan | None = None
    while plan is None:
        if data.startswith(MAGIC):
            plan = unpack_plan(data)
            break
        base, said = _read(data)
        changes.append(said)
        if isinstance(base, bytes):
            data = base
        else:
            plan = known(base)
            data = b"" if plan is not None else load(base)
    for said in reversed(changes):
        plan = _apply(plan, said)
    return plan


def _read(data: bytes) -> tuple[BlobRef | bytes, list[Any]]:
    try:
        kind, version, _, base, said = unpack(data)
    except (ValueError, TypeError) as error:
        msg = f"not a plan: {data[:16]!r}"
        raise LogDamaged(msg) from error
    if kind != KIND or not isinstance(base, BlobRef | bytes):
        msg = f"not a version of a plan: {data[:16]!r}"
        raise LogDamaged(msg)
    if version != FORMAT:
        msg = f"a version of a plan in format {version} cannot be read; this build knows {FORMAT}"
        raise UnknownType(msg, hint="use the version of Goclaw that wrote the log", type="plan")
    return base, said


def _apply(plan: Plan, said: list[Any]) -> Plan:
    try:
        removed, lanes, output, retries, tasks = said
        policies = [retry_from(item) for item in retries]
        change = PlanChange(
            [task_from(index, fields, policies) for index, fields in tasks],
            frozenset(removed),
            {name: LaneLimits(*limits) for name, limits in lanes.items()},
            template_from(output[0]) if output else None,
        )
        return changed_plan(plan, change)
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        msg = f"a version of a plan is not whole: {error}"
        raise LogDamaged(msg) from error


def in_order(plan: Plan) -> Plan:
    """Return a plan for people: in topological order, without what was removed from it."""
    needs = [task.needs for task in plan.tasks]
    order = [index for index in dag.topological_order(needs) if index not in plan.removed]
    if order == list(range(len(plan.tasks))):
        return plan
    place = {index: at for at, index in enumerate(order)}
    tasks = [
        replace(
            plan.tasks[index],
            index=place[index],
            needs=tuple(place[need] for need in plan.tasks[index].needs),
        )
        for index in order
    ]
    return assemble(head_of(plan), tasks)
