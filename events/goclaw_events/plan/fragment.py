"""A fragment of a definition: tasks and needs for a plan that is under way.

It is checked as if the whole definition stood there: what its tasks need and read may be tasks that
the plan has already.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from pydantic import Field

from goclaw_events.checks import check, draft_of
from goclaw_events.definition import (
    TASKS_MAX,
    LaneDefinition,
    TaskDefinition,
    WorkflowDefinition,
)
from goclaw_events.faults import Finding, InvalidDefinition
from goclaw_events.loading import Format, fields_of, load_as
from goclaw_events.part import Id, Part
from goclaw_events.plan.collects import collected_in
from goclaw_events.plan.compiler import Placed, default_lane, lane_limits_of, planned_task
from goclaw_events.plan.versions import PlanChange, changed_plan
from goclaw_events.templates import references

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from goclaw_events.checks import Checked
    from goclaw_events.faults import Fault
    from goclaw_events.plan.model import Plan, PlannedTask

_STAND_IN: Final = "agent"
"""A task of the plan stands in the draft as an agent without parameters: it was checked before."""


class Fragment(Part):
    """What is added to a plan, or takes the place of the rest of it."""

    lanes: dict[Id, LaneDefinition] = Field(default_factory=dict)
    tasks: dict[Id, TaskDefinition] = Field(default_factory=dict)
    needs: dict[Id, Annotated[tuple[Id, ...], Field(strict=False)]] = Field(
        default_factory=dict, description="further needs of tasks that are there"
    )
    output: Any = Field(default=None, description="the run's result from now on")


class Selection(NamedTuple):
    """What of the plan itself changes, by index.

    `removed` is no part of it any more; `freed` runs without its condition. A task of `removed`
    that the fragment defines is defined anew.
    """

    removed: frozenset[int] = frozenset()
    freed: frozenset[int] = frozenset()


class Compiled(NamedTuple):
    """A change of a plan, and the ids of the tasks that it concerns.

    `altered`: other needs or conditions; `redefined`: another task under the id; `read`: tasks of
    the plan whose results were not read before.
    """

    plan: Plan
    change: PlanChange
    added: list[str]
    altered: list[str]
    redefined: list[str]
    removed: list[str]
    read: list[str]


def load_fragment(text: str | bytes, text_format: Format, source: str) -> Fragment:
    """Return the fragment that a text holds: its fields are right, the rest is not checked.

    Raises `InvalidDefinition` with every fault, each with its line and column.
    """
    return load_as(_validate, text, text_format, source)


def fragment_from(raw: Mapping[str, Any], source: str = "fragment") -> Fragment:
    """Return the fragment that plain mappings hold; raises `InvalidDefinition`."""
    fragment, findings = _validate(dict(raw))
    if fragment is None:
        raise InvalidDefinition(_placeless(findings), source)
    return fragment


def _validate(raw: object) -> tuple[Fragment | None, list[Finding]]:
    if not isinstance(raw, dict):
        return None, [Finding("bad_type", "a fragment is a mapping with `tasks`", ())]
    return fields_of(Fragment, raw)


NO_FRAGMENT: Final = Fragment()
NOTHING_SELECTED: Final = Selection()


def _placeless(findings: list[Finding]) -> list[Fault]:
    return [finding.fault() for finding in findings]


def compile_change(
    plan: Plan,
    fragment: Fragment = NO_FRAGMENT,
    chosen: Selection = NOTHING_SELECTED,
    locate: Callable[[list[Finding]], list[Fault]] = _placeless,
) -> Compiled:
    """Return what a fragment and a selection make of a plan; O(V + E).

    Raises `InvalidDefinition` with every fault of the whole; `locate` says where they stand.
    """
    return _Compiling(plan, fragment, chosen).compile(locate)


class _Compiling:
    """One change being compiled."""

    def __init__(self, plan: Plan, fragment: Fragment, chosen: Selection) -> None:
        self._plan = plan
        self._fragment = fragment
        self._removed = chosen.removed
        self._freed = chosen.freed
        gone = plan.removed | chosen.removed
        self._kept = [task for task in plan.tasks if task.index not in gone]
        self._kept_ids = {task.id for task in self._kept}
        self._own = _own_lanes(plan)
        fresh = (id_ for id_ in fragment.tasks if id_ not in plan.index)
        new = {id_: len(plan.tasks) + at for at, id_ in enumerate(fresh)}
        self._places = {**plan.index, **new}

    def compile(self, locate: Callable[[list[Finding]], list[Fault]]) -> Compiled:
        checked, findings = self._check()
        if findings:
            raise InvalidDefinition(locate(findings), self._plan.name)
        tasks = self._defined(checked)
        needs = self._needs(checked)
        tasks += [
            replace(task, needs=needs.get(task.index, task.needs), when=self._when(task))
            for task in self._kept
            if task.index in needs or (task.index in self._freed and task.when is not None)
        ]
        altered = [task.id for task in tasks if task.id not in self._fragment.tasks]
        redefined = [id_ for id_ in self._fragment.tasks if id_ in self._plan.index]
        lanes = {
            f"{self._plan.name}/{name}": lane_limits_of(self._plan.name, lane)
            for name, lane in self._fragment.lanes.items()
        }
        output = checked.output if self._fragment.output is not None else None
        removed = self._removed - {self._plan.index[id_] for id_ in redefined}
        change = PlanChange(tasks, frozenset(removed), lanes or None, output)
        change, read = self._with_reads(change, checked)
        return Compiled(
            changed_plan(self._plan, change),
            change,
            [id_ for id_ in self._fragment.tasks if id_ not in self._plan.index],
            altered,
            redefined,
            [self._plan.tasks[index].id for index in sorted(removed)],
            read,
        )

    def _check(self) -> tuple[Checked, list[Finding]]:
        """Check the whole as it will be: the tasks that stay stand in as what they need."""
        plan, fragment = self._plan, self._fragment
        definition = WorkflowDefinition.model_construct(
            name=plan.name, input={}, lanes=fragment.lanes, tasks=fragment.tasks, output=None
        )
        draft = draft_of(definition)
        known: dict[str, Any] = {
            task.id: {
                **self._stand_in(task),
                "needs": [
                    *(plan.tasks[need].id for need in task.needs),
                    *fragment.needs.get(task.id, ()),
                ],
            }
            for task in self._kept
        }
        draft["tasks"] = {**known, **draft["tasks"]}
        draft["input"] = {item.name: {} for item in plan.inputs}
        draft["lanes"] = {**self._own, **draft["lanes"]}
        draft["output"] = fragment.output
        checked = check(draft)
        return checked, [*self._clashes(), *checked.findings]

    def _stand_in(self, task: PlannedTask) -> dict[str, Any]:
        """Return what a task of the plan is for the check: one that collects waits for others."""
        own = [other for other in collected_in(task) if other in self._kept_ids]
        kind: dict[str, Any] = {"collect": {"tasks": own}} if own else {_STAND_IN: "x"}
        return {**kind, "labels": task.labels}

    def _clashes(self) -> list[Finding]:
        """Return what the fragment says of tasks and lanes that are, or are not, there."""
        plan, fragment = self._plan, self._fragment
        found = []
        kept = self._kept_ids
        for id_ in fragment.tasks:
            if id_ in kept or (id_ in plan.index and plan.index[id_] not in self._removed):
                message = f"the run has a task {id_!r} already"
                found.append(
                    Finding("duplicate_task", message, ("tasks", id_), "name it otherwise")
                )
        for id_ in fragment.needs:
            if id_ not in kept:
                hint = "say it of the task itself" if id_ in fragment.tasks else ""
                message = f"the run has no task {id_!r}"
                found.append(Finding("unknown_task", message, ("needs", id_), hint))
        for name in fragment.lanes:
            if name in self._own:
                message = f"the run has a lane {name!r} already"
                found.append(
                    Finding(
                        "duplicate_lane", message, ("lanes", name), "goclaw lanes set changes it"
                    )
                )
        if len(plan.tasks) + len(fragment.tasks) > TASKS_MAX:
            message = f"with these the run has more than {TASKS_MAX} tasks, replaced ones counted"
            found.append(Finding("too_large", message, ("tasks",)))
        return found + self._lost_output()

    def _lost_output(self) -> list[Finding]:
        """Return what the run's output reads of tasks that are removed."""
        output = self._plan.output
        if output is None or output.is_static or self._fragment.output is not None:
            return []
        gone = {self._plan.tasks[i].id for i in self._removed} - set(self._fragment.tasks)
        read = dict.fromkeys(one.task for one in references(output) if one.root == "tasks")
        return [
            Finding("unknown_task", f"the output of the run reads {id_!r}, which would be gone",
                    ("output",), "give another `output`")
            for id_ in read if id_ in gone
        ]  # fmt: skip

    def _defined(self, checked: Checked) -> list[PlannedTask]:
        """Return the tasks of the fragment."""
        places = self._places
        is_needed = {other for task in checked.tasks for other in task.needs}
        has_output = self._plan.output is not None or checked.output is not None
        lane_default = default_lane(self._plan.name, {**self._own, **self._fragment.lanes})
        found = []
        for id_, task in self._fragment.tasks.items():
            node = checked.index[id_]
            compiled = checked.tasks[node]
            read = node in checked.results_read or not (has_output or node in is_needed)
            needs = tuple(places[checked.ids[other]] for other in compiled.needs)
            place = Placed(places[id_], needs, read, self._plan.name, lane_default)
            found.append(planned_task(id_, task, compiled, place, {}))
        return found

    def _needs(self, checked: Checked) -> dict[int, tuple[int, ...]]:
        """Return the needs of the tasks of the plan that get further ones."""
        places = self._places
        return {
            places[id_]: tuple(
                places[checked.ids[other]] for other in checked.tasks[checked.index[id_]].needs
            )
            for id_, more in self._fragment.needs.items()
            if more
        }

    def _when(self, task: PlannedTask) -> Any:
        return None if task.index in self._freed else task.when

    def _with_reads(self, change: PlanChange, checked: Checked) -> tuple[PlanChange, list[str]]:
        """Have the results kept that are read from now on, of tasks that are in the plan."""
        read = {checked.ids[node] for node in checked.results_read}
        plan = changed_plan(self._plan, change)
        if plan.output is None:
            read |= {plan.tasks[index].id for index in plan.sinks}
        unread = [id_ for id_ in read if not plan.tasks[plan.index[id_]].result_read]
        again = {plan.index[id_] for id_ in unread}
        more = [replace(plan.tasks[index], result_read=True) for index in sorted(again)]
        kept = [task for task in change.tasks if task.index not in again]
        return change._replace(tasks=[*kept, *more]), sorted(unread)


def _own_lanes(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the lanes that a plan declares, by their short names, as far as checks ask for it."""
    prefix = plan.name + "/"
    return {
        lane.removeprefix(prefix): {"resources": (limits.more or {}).get("resources")}
        for lane, limits in plan.lanes.items()
        if lane.startswith(prefix)
    }
