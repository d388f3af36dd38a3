"""The critical path that a run really took: the chain of tasks that decided when it ended.

Found backwards: the task that ended last, the need of it that ended last, and so on to a task
that waited for nothing but the submission. The time of the run is cut at those ends, so every
instant belongs to one segment and the segments add up to the run's duration, to the nanosecond.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from goclaw_projections.timeline import TimelineEntry

KINDS: Final = ("queue", "run", "lost", "backoff", "wait", "handover")
"""What a task on the path spent its time with.

`queue`: it waited for a slot of its lane. `run`: an attempt ran. `lost`: an attempt ran of which
nothing came, and no engine until the next one found that out. `backoff`: an attempt had failed
and the next was not due. `wait`: a timer, or something outside. `handover`: it could go on and
nobody had heard of it yet: what Goclaw itself costs.
"""

_LOST: Final = "task.attempt_lost"
_AFTER: Final = {
    "task.scheduled": "queue",
    "task.requeued": "queue",
    _LOST: "queue",
    "task.attempt_started": "run",
    "task.attempt_failed": "backoff",
    "task.waiting": "wait",
    "task.attempt_slept": "wait",
    "task.child_started": "wait",
}
_ENDS: Final = {
    "task.completed": "completed",
    "task.failed": "failed",
    "task.cancelled": "cancelled",
}


class Segment(NamedTuple):
    """A part of the run's time; `task` is '' for what belongs to the run itself."""

    task: str
    kind: str
    start_ns: int
    end_ns: int


class TaskHistory(NamedTuple):
    """How a task ended, and what it did: (since when, kind) in order of time."""

    status: str
    end_ns: int
    phases: Sequence[tuple[int, str]]


def histories(entries: Iterable[TimelineEntry]) -> dict[str, TaskHistory]:
    """Return the tasks of a timeline that ended; of one that was opened again, its last life."""
    ended: dict[str, TaskHistory] = {}
    phases: dict[str, list[tuple[int, str]]] = {}
    for entry in entries:
        task = entry.task
        if not task:
            continue
        status = _ENDS.get(entry.type)
        if status is not None:
            ended[task] = TaskHistory(status, entry.time_ns, phases.pop(task, []))
        elif entry.type in _AFTER:
            own = phases.setdefault(task, [])
            if entry.type == _LOST and own:
                own[-1] = (own[-1][0], "lost")
            own.append((entry.time_ns, _AFTER[entry.type]))
    return ended


def critical_path(
    submitted_ns: int,
    ended_ns: int,
    tasks: Mapping[str, TaskHistory],
    needs: Mapping[str, Sequence[str]],
    failed_task: str = "",
) -> list[Segment]:
    """Return the segments of a run's time, first to last; none is empty, none is missing.

    `failed_task`: the one that made the run fail; what was cancelled for it follows it.
    """
    chain = _chain(ended_ns, tasks, needs, failed_task)
    segments: list[Segment] = []
    now_ns = submitted_ns
    for place, task in enumerate(chain):
        history = tasks[task]
        end_ns = min(max(history.end_ns, now_ns), ended_ns)
        follows_failure = (
            place > 0 and history.status == "cancelled" and (chain[place - 1] == failed_task)
        )
        phases = [] if follows_failure else history.phases
        segments += _cut(task, now_ns, end_ns, phases)
        now_ns = end_ns
    segments += _cut("", now_ns, ended_ns, [])
    return segments


def _chain(
    ended_ns: int,
    tasks: Mapping[str, TaskHistory],
    needs: Mapping[str, Sequence[str]],
    failed_task: str,
) -> list[str]:
    """Return the tasks of the path in order of time."""
    chain: list[str] = []
    before_ns = ended_ns
    candidates: Iterable[str] = tasks
    while True:
        ended = [t for t in candidates if t in tasks and tasks[t].end_ns <= before_ns]
        if not ended:
            return chain[::-1]
        # of several that ended at once, one that needs none of the others
        last = max(ended, key=lambda task: (tasks[task].end_ns, _opened_ns(tasks[task])))
        chain.append(last)
        before_ns = tasks[last].end_ns
        by_failure = tasks[last].status == "cancelled" and failed_task not in ("", *chain)
        candidates = [failed_task] if by_failure and failed_task in tasks else needs.get(last, ())


def _opened_ns(history: TaskHistory) -> int:
    return history.phases[0][0] if history.phases else history.end_ns


def _cut(task: str, start_ns: int, end_ns: int, phases: Sequence[tuple[int, str]]) -> list[Segment]:
    """Cut a task's time on the path where it began something else."""
    marks = [(start_ns, "handover")]
    for since_ns, kind in phases:
        marks.append((min(max(since_ns, start_ns), end_ns), kind))
    marks.append((end_ns, ""))
    return [
        Segment(task, kind, since_ns, until_ns)
        for (since_ns, kind), (until_ns, _) in pairwise(marks)
        if until_ns > since_ns
    ]


def spent_ns(segments: Iterable[Segment]) -> dict[str, int]:
    """Add up segments by kind."""
    spent = dict.fromkeys(KINDS, 0)
    for segment in segments:
        spent[segment.kind] += segment.end_ns - segment.start_ns
    return spent
