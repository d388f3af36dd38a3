"""How long a task may take: which limit an attempt has, and what is said when one is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.task.terms import DEADLINE_NS

if TYPE_CHECKING:
    from goclaw_actors.task.state import Task
    from goclaw_events.plan import PlannedTask

TIMEOUT: Final = "timeout"
OF_ATTEMPT: Final = "timeout"
OF_TASK: Final = "total_timeout"
OF_RUN: Final = "deadline of its run"
OF_DEADLINE: Final = "deadline of the task"
QUEUE: Final = "queue"
"""The timer of the wait for a slot."""
LIMITED_MAX: Final = 100
"""So many attempts of a task are not counted because whom they asked served nobody."""
HELD_S_MAX: Final = 3_600.0
"""A lane starts nothing for at most so long because of one of them."""


def after_ns(now_ns: int, seconds: float | None) -> int:
    """Return when so many seconds are over; 0 for no limit."""
    return 0 if seconds is None else now_ns + int(seconds * 1e9)


def left_s(task: Task, timeout_s: float | None, now_ns: int) -> tuple[float | None, str]:
    """Return how long an attempt may take from now on, and which limit says so.

    `timeout_s` is that of one which starts now; None: it has none, or began before.
    """
    found, which = timeout_s, OF_ATTEMPT
    if not (task.total_due_ns or task.deadline_ns):
        return found, which
    of_task = OF_DEADLINE if is_set(task) else OF_TASK
    for due_ns, name in ((task.total_due_ns, of_task), (task.deadline_ns, OF_RUN)):
        left = max(0.0, (due_ns - now_ns) / 1e9)
        if due_ns and (found is None or left < found):
            found, which = left, name
    return found, which


def is_set(task: Task) -> bool:
    """Tell whether somebody set a deadline of the task, in place of its total_timeout."""
    return bool((task.adjusted or {}).get(DEADLINE_NS))


def overdue(task: Task, planned: PlannedTask) -> str:
    """Say that the task's time is over."""
    if task.total_due_ns == task.ends_ns:
        if is_set(task):
            return "the task did not end before the deadline that it was given"
        return f"the task did not end within its total_timeout of {planned.timeouts.total_s:g} s"
    return "the task did not end before the deadline of its run"


def waited(task: Task, planned: PlannedTask) -> str:
    """Say that the task waited too long for a slot."""
    limit = planned.timeouts.queue_s
    return f"no slot of lane {task.lane} came within the queue_timeout of {limit:g} s"
