"""When a task becomes a dead letter instead of failing, and how a person gives it up.

It holds nothing then, and its run waits: redriven, it begins its next generation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.decider import NOTHING, Decision
from goclaw_actors.statuses import DEAD
from goclaw_actors.task.ending import end
from goclaw_actors.task.state import FAILED, Task
from goclaw_events.facts import TaskDied, TaskFailed
from goclaw_events.ids import is_saga, is_spawned
from goclaw_events.plan.model import DEAD_LETTER

if TYPE_CHECKING:
    from goclaw_actors.decider import Moment
    from goclaw_actors.letters import BuryTask
    from goclaw_events.plan import RetryPolicy

EXHAUSTED: Final = "exhausted"
LOST_TOO_OFTEN: Final = "lost_too_often"
KILLS_ITS_WORKER: Final = "kills_its_worker"
KILLS_MAX: Final = 3
"""So many attempts in a row that take their worker process with them, and there is no other."""
WORKER_DIED: Final = "worker_died"


def kills_too_often(task: Task, code: str) -> bool:
    """Tell whether a failure is one worker too many that died with an attempt of the task."""
    return code == WORKER_DIED and task.kills + 1 >= KILLS_MAX


def has_owner(task: Task) -> bool:
    """Tell whether somebody else than a run hears of the failure, and goes on with that."""
    return is_saga(task.run_id) or is_spawned(task.task_id)


def died_of(task: Task, policy: RetryPolicy, code: str) -> str:
    """Return why a task whose last attempt failed is a dead letter; '': it fails.

    A saga waits for nobody: where an action fails it goes back. Nor does who spawned a task.
    """
    if has_owner(task):
        return ""
    if kills_too_often(task, code):
        return KILLS_ITS_WORKER
    return EXHAUSTED if policy.on_exhausted == DEAD_LETTER else ""


def fail(
    task: Task,
    facts: tuple[object, ...],
    error: list[str],
    died: str,
    effects: tuple[object, ...],
    *,
    kept: bool = False,
) -> Decision:
    """End a task that has no attempt left: it fails, or is a dead letter (`died`: why)."""
    code, message = error
    if not died:
        facts = (*facts, TaskFailed(code, message))
        return end(task, facts, FAILED, effects, error=error, kept=kept)
    facts = (*facts, TaskDied(code, message, died))
    return end(task, facts, DEAD, effects, error=error, kept=kept)


def bury(task: Task, message: BuryTask, _moment: Moment) -> Decision:
    """Fail a dead letter that somebody gave up."""
    if task.status != DEAD or task.generation != message.generation or task.error is None:
        return NOTHING
    code, text = task.error
    return end(task, (TaskFailed(code, text),), FAILED, error=task.error, slot=False)
