"""Find runs that wait for each other's ends: each collects from another, and none can end.

Nothing looks for such a circle when a task begins to collect: the members of one may be named
before those of the other, in another partition. So it is found by whoever asks why, and by the
auditor. What is told is certain: as long as anything of the runs goes on by itself, or somebody
made it stand still, or a time ends it, there is no circle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.collector.state import OPEN
from goclaw_actors.statuses import ACTIVE
from goclaw_actors.task.state import CHILD, COLLECTING
from goclaw_actors.why.sight import state_of
from goclaw_actors.workflow.state import RUNNING
from goclaw_events.ids import collector_stream, is_saga, task_stream, workflow_stream

if TYPE_CHECKING:
    from goclaw_actors.collector import Collector
    from goclaw_actors.collector.state import Member
    from goclaw_actors.task.state import Task
    from goclaw_actors.why.sight import Sight
    from goclaw_actors.workflow.state import Run

RUNS_MAX: Final = 32
"""So many runs are looked at; who is in a larger circle is not told of it."""
TASKS_MAX: Final = 16
"""A run with more active tasks is not taken for one that stands in a circle."""
MEMBERS_MAX: Final = 64


def circle_of(sight: Sight, task: Task) -> list[str]:
    """Return the runs that wait for each other, that of a collecting task among them; []: none."""
    looked = _Look(sight)
    return looked.found if looked.run(task.run_id) else []


class _Look:
    """One look: `found` are runs that cannot end unless others of them do."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._path: list[str] = []
        self._left = RUNS_MAX
        self.found: list[str] = []

    def run(self, run_id: str) -> bool:
        """Tell whether a run cannot end, if those on the way to it cannot."""
        if run_id in self._path:
            self._note(self._path[self._path.index(run_id) :])
            return True
        self._left -= 1
        stream = workflow_stream(run_id)
        if self._left < 0 or self._sight.is_given_up(stream):
            return False
        run: Run | None = state_of(self._sight, stream)
        if run is None or run.plan is None or run.status != RUNNING:
            return False
        if run.held or run.deadline_ns or self._sight.coming(stream):
            return False
        self._path.append(run_id)
        waits = 0 < run.active <= TASKS_MAX and all(map(self._task, _active(run)))
        self._path.pop()
        return waits

    def _note(self, runs: list[str]) -> None:
        self.found += [run_id for run_id in runs if run_id not in self.found]

    def _task(self, stream: str) -> bool:
        """Tell whether a task waits for runs that cannot end."""
        task: Task | None = state_of(self._sight, stream)
        if task is None or task.ends_ns or self._sight.coming(stream):
            return False
        if task.status == CHILD:
            return not is_saga(task.child_run) and self.run(task.child_run)
        return task.status == COLLECTING and self._collector(task)

    def _collector(self, task: Task) -> bool:
        assert task.collect is not None, "it collects"
        stream = collector_stream(task.collect[0])
        collector: Collector | None = state_of(self._sight, stream)
        if collector is None or collector.status != OPEN or self._sight.coming(stream):
            return False
        if collector.deadline_ns or collector.more:
            return False
        left = collector.missing()
        if not 0 < len(left) <= MEMBERS_MAX:
            return False
        needs_each = collector.rule == "all" and collector.failures_max is None
        return (any if needs_each else all)(map(self._member, left))

    def _member(self, member: Member) -> bool:
        return self.run(member.run_id)


def _active(run: Run) -> list[str]:
    assert run.plan is not None, "it was looked at before"
    found, index = [], -1
    while (index := run.statuses.find(ACTIVE, index + 1)) >= 0:
        found.append(task_stream(run.run_id, run.plan.tasks[index].id))
    return found
