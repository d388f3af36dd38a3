"""Which tasks of a plan wait for which signals.

The name of a signal stands in the plan. Only items of a list may have names of their own
(`payment-${item.id}`), known when each begins: of any name that fits, an item may wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_events.templates import STATIC, TEXT, Template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_events.plan.model import Plan, PlannedTask

WAIT_FOR: Final = "wait_for"
APPROVAL: Final = "approval"
ANSWERED: Final = (WAIT_FOR, APPROVAL)
"""Kinds of tasks that wait for an answer."""


def awaiting(plan: Plan) -> dict[str, Sequence[int]]:
    """Return the tasks, by plan index, that wait for each signal whose name stands in the plan.

    Looked up when it is asked for first: most plans have none.
    """
    if plan.heard is None:
        plan.heard = _named(plan) if plan.mapped is None else _named_of_items(plan)
    return plan.heard


def _named(plan: Plan) -> dict[str, Sequence[int]]:
    found: dict[str, list[int]] = {}
    for task in plan.tasks:
        if task.kind == WAIT_FOR and task.index not in plan.removed:
            found.setdefault(_term(task, "signal"), []).append(task.index)
    return {**found}


def _named_of_items(plan: Plan) -> dict[str, Sequence[int]]:
    assert plan.mapped is not None, "it is of items"
    item = plan.mapped.foreach.item
    name = _term(item, "signal") if item.kind == WAIT_FOR else None
    return {name: range(plan.mapped.items)} if isinstance(name, str) else {}


def awaited_by(plan: Plan, name: str) -> Sequence[int]:
    """Return the tasks, by plan index, that wait for a signal, or may; of items it is all."""
    if plan.mapped is None:
        return awaiting(plan).get(name, ())
    fits = may_await(plan.mapped.foreach.item, name)
    return range(plan.mapped.items) if fits else ()


def may_await(task: PlannedTask, name: str) -> bool:
    """Tell whether a task, or any item that is as it is, could wait for a signal of this name."""
    if task.kind != WAIT_FOR:
        return False
    said = _term(task, "signal")
    if isinstance(said, str):
        return bool(said == name)
    if said.kind != TEXT:
        return True
    first, last = said.body[0], said.body[-1]
    begins = not isinstance(first, str) or name.startswith(first)
    return begins and (not isinstance(last, str) or name.endswith(last))


def lists_awaiting(plan: Plan, name: str | None = None) -> list[str]:
    """Return the tasks over lists whose items could wait for a signal of this name (None: any)."""
    if plan.mapped is not None:
        return []
    items = ((task.id, task.foreach.item) for task in plan.tasks if task.foreach is not None)
    if name is None:
        return [task_id for task_id, item in items if item.kind == WAIT_FOR]
    return [task_id for task_id, item in items if may_await(item, name)]


def has_own_names(plan: Plan) -> bool:
    """Tell whether each item waits for a signal whose name is known when it begins."""
    item = None if plan.mapped is None else plan.mapped.foreach.item
    return item is not None and item.kind == WAIT_FOR and not awaiting(plan)


def schema_of(task: PlannedTask) -> Any:
    """Return what the payload of a signal has to be for a task; None: anything."""
    return _term(task, "schema")


def _term(task: PlannedTask, name: str) -> Any:
    """Return a term of a task, a template where its value is not known yet."""
    said = task.params.body[name]
    if not isinstance(said, Template):
        return said
    return said.body if said.kind == STATIC else said
