"""A run that works on the items of a list: which of them are at work, and what one's failure means.

All its tasks are ready; so many are active at a time. Each that ends makes the next one active, in
the order of the list, whichever it was: a slow item holds up no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.statuses import COMPLETED, FAILED, PENDING, STATUS_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_events.plan import Plan
    from goclaw_events.value import Value


class Window:
    """What follows from the statuses: every item before `after` has begun, `failed` have failed."""

    __slots__ = ("after", "failed")

    def __init__(self, statuses: bytearray) -> None:
        self.after = 0
        self.failed = statuses.count(FAILED)

    def next(self, statuses: bytearray) -> int:
        """Return the next item that has not begun; -1: there is none."""
        index = statuses.find(PENDING, self.after)
        self.after = len(statuses) if index < 0 else index
        return index


def gives_up(plan: Plan, failed: int) -> bool:
    """Tell whether a run fails when a task of it fails; `failed`: so many have, of items."""
    if plan.on_failure != "continue":
        return True
    most = None if plan.mapped is None else plan.mapped.foreach.failures_max
    return most is not None and failed > most


def kept_error(plan: Plan, error: list[str] | None) -> dict[str, str] | None:
    """Return what is kept of the failure of a task for the result of the run; None: nothing."""
    if plan.mapped is None or not plan.mapped.foreach.outcomes:
        return None
    code, message = error or ["", ""]
    return {"code": code, "message": message}


def result_of_items(
    plan: Plan, status_of: Callable[[int], int], result_of: Callable[[int], Value]
) -> list[Any]:
    """Return the results of all items, in the order of the list; None for what has none."""
    assert plan.mapped is not None, "it works on a list"
    found: list[Any] = []
    for index in range(plan.mapped.items):
        status, kept = status_of(index), result_of(index)
        if plan.mapped.foreach.outcomes:
            found.append(_outcome(status, kept))
        else:
            found.append(kept if status == COMPLETED else None)
    return found


def _outcome(status: int, kept: Any) -> dict[str, Any]:
    if status == FAILED:
        return {"status": STATUS_NAMES[status], "result": None, "error": kept}
    return {"status": STATUS_NAMES[status], "result": kept, "error": None}
