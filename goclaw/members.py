"""Who is meant by names, patterns and labels: tasks of runs, or runs, as the log has them now."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw.errors import NotFound, RunNotFound
from goclaw.operations.ground import NOW
from goclaw_events.collect_checks import MEMBERS_MAX, has_labels, is_pattern
from goclaw_events.ids import check_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from goclaw.operations.ground import Ground
    from goclaw.parts import Parts
    from goclaw_events.plan import Plan

LABELLED_MAX: Final = MEMBERS_MAX + 1


class Selection(NamedTuple):
    """Who is meant: `RUN/TASK` (the task may be a pattern), `RUN`, and runs that have labels.

    Of runs that are named without a task, and of those with the labels, it is the tasks that
    `tasks` (names or patterns) or `task_labels` choose; without both, the runs themselves.
    """

    members: Sequence[str] = ()
    labels: Mapping[str, str] = {}
    tasks: Sequence[str] = ()
    task_labels: Mapping[str, str] = {}

    def wants(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a run with these labels is meant by its labels."""
        return bool(self.labels) and has_labels(labels, self.labels)

    def tasks_in(self, plan: Plan) -> list[str]:
        """Return the tasks that are meant of a run that has this plan; `['']`: the run itself."""
        if not self.tasks and not self.task_labels:
            return [""]
        return list(_chosen(plan, self.tasks, self.task_labels))


class Members:
    """Look up who is meant; blocks."""

    def __init__(self, parts: Parts, ground: Ground) -> None:
        self._parts = parts
        self._ground = ground

    def strictly(self, wanted: Selection) -> list[list[Any]]:
        """Return [run, [task, ...]] of every member, each once, as they were named.

        Raises `RunNotFound`, `NotFound` and `InvalidId` for a name that nobody has; for labels
        that no run has, unless something else is meant too.
        """
        found: dict[str, dict[str, None]] = {}
        for name in wanted.members:
            run, slash, task = name.partition("/")
            run_id = self._run_id(run)
            chosen = Selection(tasks=[task]) if slash else wanted
            found.setdefault(run_id, {}).update(self._tasks(run_id, chosen))
        for run_id in self._labelled(wanted.labels):
            found.setdefault(run_id, {}).update(self._tasks(run_id, wanted))
        return [[run_id, list(tasks)] for run_id, tasks in found.items()]

    def as_they_are(self, wanted: Selection) -> list[list[Any]]:
        """Return the same, of whom there are; a run that nobody knows stays: it is `unknown`."""
        found: dict[str, dict[str, None]] = {}
        for name in wanted.members:
            run_id, _, pattern = name.partition("/")
            try:
                tasks = Selection(tasks=[pattern]).tasks_in(self._parts.plan_of(run_id))
            except RunNotFound:
                tasks = [""]
            found.setdefault(run_id, {}).update(dict.fromkeys(tasks))
        for run_id in self._labelled(wanted.labels):
            tasks = wanted.tasks_in(self._parts.plan_of(run_id))
            found.setdefault(run_id, {}).update(dict.fromkeys(tasks))
        return [[run_id, list(tasks)] for run_id, tasks in found.items() if tasks]

    def _run_id(self, text: str) -> str:
        """Return the run that is meant: an id, or what the views know by it."""
        try:
            check_id(text, "run id") and self._parts.plan_of(text)
        except RunNotFound:
            self._ground.wait_for(NOW)
            return self._ground.runs.find(text).run_id
        return text

    def _labelled(self, labels: Mapping[str, str]) -> Iterator[str]:
        """Yield the runs that have labels, in the order in which they were submitted."""
        if not labels:
            return
        self._ground.wait_for(NOW)
        page = self._ground.views.runs.list(labels=labels, limit=LABELLED_MAX)
        yield from (run.run_id for run in reversed(page.runs))

    def _tasks(self, run_id: str, wanted: Selection) -> dict[str, None]:
        """Return the tasks of a run that are meant; '' is the run itself."""
        if not wanted.tasks and not wanted.task_labels:
            return {"": None}
        plan = self._parts.plan_of(run_id)
        for pattern in wanted.tasks:
            if next(_chosen(plan, [pattern], {}), None) is None:
                msg = f"run {run_id} has no task {pattern!r}"
                raise NotFound(msg, hint=f"goclaw runs show {run_id}", task=pattern)
        return dict.fromkeys(_chosen(plan, wanted.tasks, wanted.task_labels))


def _chosen(plan: Plan, names: Sequence[str], labels: Mapping[str, str]) -> Iterator[str]:
    """Yield the tasks of a plan that match one of the names and have all the labels."""
    for name in names or ["*"]:
        if not is_pattern(name):
            index = plan.index.get(name)
            matching = [] if index is None else [plan.tasks[index]]
        else:
            matching = [task for task in plan.tasks if fnmatchcase(task.id, name)]
        yield from (task.id for task in matching if has_labels(task.labels, labels))
