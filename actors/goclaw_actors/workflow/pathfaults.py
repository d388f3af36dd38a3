"""What speaks against a change of the path of a run: every fault, not the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_actors.statuses import ACTIVE, PENDING, STATUS_NAMES
from goclaw_events.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from goclaw_actors.pathing import ChangePath
    from goclaw_actors.workflow.state import Run
    from goclaw_events.plan import Plan

_NOT_ENDED = frozenset({PENDING, ACTIVE})


class Faults:
    """Gather what speaks against a change, as far as the run knows; `plan` is the one it makes."""

    def __init__(self, run: Run, message: ChangePath, plan: Plan) -> None:
        self._run = run
        self._message = message
        self._plan = plan
        self._gone = plan.removed if run.plan is None else run.plan.removed
        self._found: list[Fault] = []

    def all(self) -> list[Fault]:
        """Return every fault."""
        message = self._message
        skipped = [str(skip[0]) for skip in message.skips]
        again = set(self._known(message.reruns, "rerun"))
        for task in self._known(skipped, "skip"):
            self._not_ended(task, "skip")
        for task in self._known(message.altered, "needs"):
            self._not_ended(task, "needs")
        for task in again:
            self._has_begun(task)
        for task in self._known(message.redefined, "tasks"):
            self._never_scheduled(task)
        if again:
            both = cone_of(self._plan, sorted(again)) & {
                self._plan.index[task] for task in skipped if task in self._plan.index
            }
            for index in sorted(both):
                task = self._plan.tasks[index].id
                self._add(
                    "path_conflict", f"{task} cannot be skipped and run again", f"skip.{task}"
                )
        for task in {task for task in skipped if skipped.count(task) > 1}:
            self._add("path_conflict", f"{task} is skipped twice", f"skip.{task}")
        return self._found

    def _add(self, code: str, message: str, path: str, hint: str = "") -> None:
        self._found.append(Fault(code, message, path, hint=hint))

    def _known(self, tasks: Iterable[str], what: str) -> list[str]:
        """Return those that are tasks of the run."""
        known = []
        for task in tasks:
            index = self._plan.index.get(task)
            if index is None or index in self._gone:
                self._add("task_not_found", f"the run has no task {task}", f"{what}.{task}")
            else:
                known.append(task)
        return known

    def _status(self, task: str) -> int:
        index = self._plan.index[task]
        statuses = self._run.statuses
        return statuses[index] if index < len(statuses) else PENDING

    def _not_ended(self, task: str, what: str) -> None:
        status = self._status(task)
        if status not in _NOT_ENDED:
            text = f"{task} is {STATUS_NAMES[status]} already"
            self._add("task_finished", text, f"{what}.{task}", "run it again instead")

    def _has_begun(self, task: str) -> None:
        if self._status(task) == PENDING:
            text = f"{task} has not begun: what it needs has not ended"
            self._add("task_not_begun", text, f"rerun.{task}")

    def _never_scheduled(self, task: str) -> None:
        generations = {} if self._run.path is None else self._run.path.generations
        if self._status(task) != PENDING or self._plan.index[task] in generations:
            text = f"{task} was scheduled before, so it cannot be defined anew"
            self._add("path_task_begun", text, f"tasks.{task}", "give the new one another id")


def cone_of(plan: Plan, tasks: Iterable[str]) -> set[int]:
    """Return these tasks and all that depend on them, by plan index."""
    found = {plan.index[task] for task in tasks if task in plan.index}
    waiting = list(found)
    while waiting:
        for dependent in plan.tasks[waiting.pop()].dependents:
            if dependent not in found:
                found.add(dependent)
                waiting.append(dependent)
    return found
