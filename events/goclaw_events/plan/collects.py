"""Whom of its own run a planned task collects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_events.templates import STATIC

if TYPE_CHECKING:
    from goclaw_events.plan.model import PlannedTask


def collected_in(task: PlannedTask) -> list[str]:
    """Return the tasks of the same run that a task collects, in order: they are never templates."""
    if task.kind != "collect":
        return []
    kind, fields = task.params
    if kind == STATIC:
        return list(fields["collect"]["tasks"])
    kind, fields = fields["collect"]
    return list(fields["tasks"] if kind == STATIC else fields["tasks"].body)
