"""Which tasks of a plan wait for which signals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from goclaw_events.plan.model import Plan

WAIT_FOR: Final = "wait_for"
APPROVAL: Final = "approval"
ANSWERED: Final = (WAIT_FOR, APPROVAL)
"""Kinds of tasks that wait for an answer."""


def awaiting(plan: Plan) -> dict[str, list[int]]:
    """Return the tasks, by plan index, that wait for each signal by its name.

    Looked up when it is asked for first: most plans have none.
    """
    if plan.heard is None:
        plan.heard = {}
        for task in plan.tasks:
            if task.kind == WAIT_FOR and task.index not in plan.removed:
                plan.heard.setdefault(task.params.body["signal"], []).append(task.index)
    return plan.heard
