"""Why a task waits for others that it spawned: at its end, or because its handler awaits them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.messages import ScheduleTask, TaskReported
from goclaw_actors.task.state import FINAL, PENDING
from goclaw_actors.why.reason import NOTHING, SPAWNED, Reason
from goclaw_actors.why.room import on_its_way
from goclaw_actors.why.sight import state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from goclaw_actors.task.state import Task
    from goclaw_actors.why.sight import Sight

SHOWN_MAX: Final = 8
"""So many of those waited for are explained; all are counted."""


def for_spawned(
    sight: Sight,
    task: Task,
    keys: Iterable[str],
    since_ns: int,
    explain: Callable[[Sight, Task, str], Reason],
) -> Reason:
    """Return why a task waits for spawned ones, by their keys; `explain` does so for one."""
    names = [f"{task.stream}/{key}" for key in keys]
    because = tuple(_of(sight, task, name, explain) for name in names[:SHOWN_MAX])
    told = {"tasks": [name.split("/", 2)[2] for name in names[:SHOWN_MAX]], "waiting": len(names)}
    return Reason(SPAWNED, task.stream, since_ns, 0, told, (), because)


def _of(
    sight: Sight, task: Task, stream: str, explain: Callable[[Sight, Task, str], Reason]
) -> Reason:
    spawned: Task | None = state_of(sight, stream)
    if spawned is None or spawned.status == PENDING:
        for body in sight.coming(stream):
            if isinstance(body, ScheduleTask):
                return on_its_way(sight, stream, stream, body)
        return Reason(NOTHING, stream, 0, 0, {"evidence": "it was spawned, and never told"})
    if spawned.status not in FINAL:
        return explain(sight, spawned, "")
    for body in sight.coming(task.stream):
        if isinstance(body, TaskReported) and body.task == spawned.task_id:
            return on_its_way(sight, stream, task.stream, body)
    evidence = "it has ended, and who spawned it was never told"
    return Reason(NOTHING, stream, 0, 0, {"evidence": evidence})
