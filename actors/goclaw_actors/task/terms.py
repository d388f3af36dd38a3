"""How a task is run once somebody has adjusted it: its plan under what was changed, its lane."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, assert_never

from goclaw_events.facts import TaskAdjusted, TaskMoved
from goclaw_events.ids import kept_slot
from goclaw_events.plan import RetryPolicy

if TYPE_CHECKING:
    from goclaw_actors.messages import ScheduleTask
    from goclaw_actors.task.state import Task
    from goclaw_events.facts import TaskAdjustFact
    from goclaw_events.plan import PlannedTask

PRIORITY: Final = "priority"
LANE: Final = "lane"
TIMEOUT_S: Final = "timeout_s"
RETRY: Final = "retry"
DEADLINE_NS: Final = "deadline_ns"


def adjusted(planned: PlannedTask, changes: dict[str, Any] | None) -> PlannedTask:
    """Return a task as its plan has it, under what was changed of timeout and retry policy.

    What was changed of lane, priority and deadline the task itself knows.
    """
    if not changes:
        return planned
    timeout_s = changes.get(TIMEOUT_S, planned.timeout_s)
    policy = {**planned.retry._asdict(), **changes.get(RETRY, {})}
    lists = {name: tuple(policy[name]) for name in ("retry_on", "non_retryable")}
    return replace(planned, timeout_s=timeout_s, retry=RetryPolicy(**{**policy, **lists}))


def lasting(changes: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what of the changes holds also when the task runs again."""
    return {k: v for k, v in (changes or {}).items() if k != DEADLINE_NS} or None


def wanted_lane(task: Task) -> str:
    """Return the lane that the task is to ask next."""
    return str((task.adjusted or {}).get(LANE, task.lane))


def moves(task: Task) -> bool:
    """Tell whether the task is to ask another lane than the one that it is, or was, in."""
    return wanted_lane(task) != task.lane


def asked_for(task: Task, message: ScheduleTask) -> ScheduleTask:
    """Return what schedules the task under what was changed before."""
    changes = task.adjusted
    if not changes:
        return message
    lane, priority = changes.get(LANE, message.lane), changes.get(PRIORITY, message.priority)
    return message._replace(lane=lane, priority=priority)


def total_ns(task: Task, total_due_ns: int) -> int:
    """Return when the task has to have ended: as was said, or as its plan has it."""
    return int(task.adjusted.get(DEADLINE_NS, total_due_ns)) if task.adjusted else total_due_ns


def settle(task: Task, lane: str) -> None:
    """Have the task be in a lane, whatever was wanted before."""
    if task.adjusted is not None and LANE in task.adjusted:
        task.adjusted = {**task.adjusted, LANE: lane}
    task.lane = lane


def evolve(task: Task, fact: TaskAdjustFact) -> None:
    """Apply a fact in place."""
    match fact:
        case TaskAdjusted(_, changes):
            known = task.adjusted or {}
            if RETRY in changes:
                changes = {**changes, RETRY: {**known.get(RETRY, {}), **changes[RETRY]}}
            task.adjusted = {**known, **changes}
            task.priority = changes.get(PRIORITY, task.priority)
            if task.definition is not None:
                task.total_due_ns = changes.get(DEADLINE_NS, task.total_due_ns)
        case TaskMoved(lane):
            kept = (kept_slot(task.stream, token) for token in task.kept)
            task.kept_in = {**dict.fromkeys(kept, task.lane), **task.kept_in}
            settle(task, lane)
            task.leaving = ""
        case _:
            assert_never(fact)
