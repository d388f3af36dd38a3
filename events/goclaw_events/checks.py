"""What one field cannot tell: kinds, needs, cycles, lanes, templates. Every fault, not the first.

A draft is a definition as plain mappings, perhaps with faults of its own: what has the wrong type
is passed over here, because the model reports it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from goclaw_events import dag
from goclaw_events.await_checks import approval_terms, awaited, is_later
from goclaw_events.collect_checks import TEMPLATES, collected
from goclaw_events.conditions import (
    BadCondition,
    Condition,
    compile_condition,
    condition_references,
)
from goclaw_events.definition import EDGES_MAX, KINDS
from goclaw_events.faults import Finding, Suggester, Where
from goclaw_events.foreach_checks import KEYS as FOREACH_KEYS
from goclaw_events.foreach_checks import foreach_findings
from goclaw_events.items import FOREACH, ITEM_ROOTS, fields_of
from goclaw_events.lane_checks import LaneChecker, mapping
from goclaw_events.templates import (
    STATIC,
    Reference,
    Template,
    compile_template,
    placed_references,
    template_of_fields,
)
from goclaw_events.waits import WaitUntil

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from goclaw_events.definition import WorkflowDefinition

NO_FIELDS: Final = Template(STATIC, {})

_TIMEOUTS: Final = ("queue_timeout", "total_timeout", "heartbeat_timeout")
_OF_A_SLOT: Final = ("lane", "units", "priority", "unique", *_TIMEOUTS)
_NOT_APPLICABLE: Final = {
    "agent": ("stdin",),
    "exec": ("with", "heartbeat_timeout"),
    "http": ("with", "stdin", "heartbeat_timeout"),
    "workflow": ("stdin", "heartbeat_timeout"),
    "saga": ("stdin", "heartbeat_timeout"),
    "wait": (*_OF_A_SLOT, "with", "stdin", "timeout", "retry"),
    "wait_for": (*_OF_A_SLOT, "with", "stdin", "timeout", "retry"),
    "approval": (*_OF_A_SLOT, "with", "stdin", "timeout", "retry"),
    "collect": ("stdin", "unique"),
}
_ROOTS_OF_CONDITION: Final = frozenset(("input", "tasks", "needs", "run", "task"))
_ROOTS_OF_OUTPUT: Final = frozenset(("input", "tasks", "run"))
_ROOTS_OF_TASK: Final = _ROOTS_OF_CONDITION | {"secret"}


@dataclass(slots=True)
class CheckedTask:
    """What was compiled of one task. `needs` holds the indexes of known tasks, each once."""

    needs: list[int] = field(default_factory=list)
    params: Template = NO_FIELDS
    wait: Template | None = None
    when: Condition | None = None
    key: Template | None = None
    unique: Template | None = None
    agent: str = ""
    items: Template | None = None


@dataclass(slots=True)
class Checked:
    """A draft, compiled as far as its faults allow. Indexes are those of the draft's tasks."""

    ids: list[str]
    index: dict[str, int]
    tasks: list[CheckedTask]
    order: list[int] = field(default_factory=list)
    output: Template | None = None
    results_read: set[int] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)


def draft_of(definition: WorkflowDefinition) -> dict[str, Any]:
    """Return what of a definition is checked here, as the mappings that a file would hold."""
    tasks = {}
    for task_id, task in definition.tasks.items():
        draft: dict[str, Any] = {kind: getattr(task, kind) for kind in KINDS}
        if isinstance(task.wait, WaitUntil):
            draft["wait"] = task.wait.model_dump()
        if task.wait_for is not None:
            draft["wait_for"] = task.wait_for.model_dump(by_alias=True)
        if task.http is not None:
            draft["http"] = task.http.model_dump()
        if task.approval is not None:
            draft["approval"] = task.approval.model_dump(by_alias=True)
        if task.collect is not None:
            draft["collect"] = task.collect.model_dump()
        lane = task.lane
        draft |= {
            "needs": task.needs,
            "with": task.with_,
            "labels": task.labels,
            "when": task.when,
            "stdin": task.stdin,
            "timeout": task.timeout,
            "retry": task.retry,
            **{key: getattr(task, key) for key in _TIMEOUTS},
            "priority": task.priority,
            "units": task.units,
            "unique": None if task.unique is None else task.unique.model_dump(),
            "lane": lane if lane is None or isinstance(lane, str) else lane.model_dump(),
            **{key: getattr(task, key) for key in FOREACH_KEYS},
        }
        tasks[task_id] = draft
    return {
        "input": {name: item.model_dump() for name, item in definition.input.items()},
        "lanes": {name: lane.model_dump() for name, lane in definition.lanes.items()},
        "tasks": tasks,
        "output": definition.output,
    }


def check(draft: Mapping[str, Any]) -> Checked:
    """Check and compile a draft; what is wrong is in `findings`."""
    return _Checker(draft).check()


class _Checker:
    """Gather findings over a draft; every method adds to `self._out`."""

    def __init__(self, draft: Mapping[str, Any]) -> None:
        tasks = mapping(draft.get("tasks"))
        self._draft = draft
        self._noun = str(draft.get("noun", "task"))
        self._tasks = [mapping(task) for task in tasks.values()]
        ids = [str(task_id) for task_id in tasks]
        self._out = Checked(ids, {task_id: i for i, task_id in enumerate(ids)}, [])
        self._inputs = mapping(draft.get("input"))
        self._suggest = Suggester()
        self._lanes = LaneChecker(mapping(draft.get("lanes")), self._suggest, self._out.findings)
        self._meant: set[tuple[int, int]] = set()
        self._more: frozenset[str] = frozenset()
        self._collects: dict[int, list[int]] = {}
        self._reads: list[tuple[int, int]] = []
        self._read_places: list[Where] = []
        index = self._out.index
        undoes = mapping(draft.get("undoes"))
        self._undoes = {index[undo]: index[action] for undo, action in undoes.items()}

    def check(self) -> Checked:
        out = self._out
        for node, task in enumerate(self._tasks):
            out.tasks.append(CheckedTask(self._check_needs(node, task)))
        for node, task in enumerate(self._tasks):
            self._check_kind(node, task)
            self._more = ITEM_ROOTS if task.get(FOREACH) is not None else frozenset()
            out.findings += foreach_findings(out.ids[node], task)
            self._check_lane(node, task)
            unique = task.get("unique")
            if isinstance(unique, dict):
                place = ("tasks", out.ids[node], "unique", "key")
                out.tasks[node].unique = self._compile_key(node, unique.get("key"), place)
            self._compile_task(node, task)
        self._lanes.check()
        self._compile_output()
        self._check_graph()
        return out

    def _add(self, code: str, message: str, where: Where, hint: str = "") -> None:
        self._out.findings.append(Finding(code, message, where, hint))

    def _add_at_key(self, code: str, message: str, where: Where, hint: str) -> None:
        self._out.findings.append(Finding(code, message, where, hint, at_key=True))

    # Needs and the graph

    def _check_needs(self, node: int, task: Mapping[str, Any]) -> list[int]:
        task_id = self._out.ids[node]
        needs: dict[int, None] = {}
        given = task.get("needs")
        for at, need in enumerate(given if isinstance(given, list | tuple) else ()):
            if not isinstance(need, str):
                continue
            other = self._out.index.get(need)
            where: Where = ("tasks", task_id, "needs", at)
            if other is None:
                near = self._suggest.nearest(need, self._out.index)
                if near:
                    # What was meant counts as needed, so that one slip is one fault.
                    self._meant.add((node, self._out.index[near]))
                hint = f"did you mean {near!r}?" if near else ""
                self._add(
                    "dangling_need",
                    f"{task_id} needs {need!r}, which is no {self._noun}",
                    where,
                    hint,
                )
            elif other == node:
                self._add("self_dependency", f"{task_id} needs itself", where, "remove it")
            elif other in needs:
                message = f"{task_id} needs {need!r} twice"
                self._add("duplicate_need", message, where, "remove one")
            else:
                needs[other] = None
        return list(needs)

    def _check_graph(self) -> None:
        out = self._out
        needs = [task.needs for task in out.tasks]
        edges = sum(map(len, needs))
        if edges > EDGES_MAX:
            self._add("too_large", f"{edges} needs are more than {EDGES_MAX}", ("tasks",))
            return
        out.order = dag.topological_order(needs)
        if len(out.order) < len(needs):
            for cycle in dag.find_cycles(needs):
                self._add_cycle(cycle)
        elif self._collects:
            waits = [[*each, *self._collects.get(node, ())] for node, each in enumerate(needs)]
            for cycle in dag.find_cycles(waits):
                self._add_collect_cycle(cycle)
        for i in dag.unreachable_pairs(needs, out.order, self._reads):
            node, other = self._reads[i]
            if node == other:
                message, hint = f"{out.ids[node]} reads its own result", ""
            else:
                message = f"{out.ids[node]} reads {out.ids[other]!r}, which it does not need"
                hint = f"add {out.ids[other]!r} to its needs"
            if (node, other) not in self._meant:
                self._add("not_needed", message, self._read_places[i], hint)

    def _add_cycle(self, cycle: list[int]) -> None:
        out = self._out
        # Begin with the task that stands first in the file.
        first = cycle.index(min(cycle))
        cycle = [*cycle[first:-1], *cycle[: first + 1]]
        names = " -> ".join(out.ids[node] for node in cycle)
        given = list(self._tasks[cycle[0]]["needs"])
        where: Where = ("tasks", out.ids[cycle[0]], "needs", given.index(out.ids[cycle[1]]))
        message = f"each of these needs the next: {names}"
        self._add("cycle", message, where, "remove one of these needs")

    def _add_collect_cycle(self, cycle: list[int]) -> None:
        """Report a circle of needs through tasks that collect; `cycle` ends where it begins."""
        names = " -> ".join(self._out.ids[node] for node in cycle)
        first = next(node for node in cycle if node in self._collects)
        message = f"each of these needs or collects the next: {names}"
        hint = "collect only what does not wait for it"
        self._add_at_key("cycle", message, ("tasks", self._out.ids[first], "collect"), hint)

    # Kinds and lanes

    def _check_kind(self, node: int, task: Mapping[str, Any]) -> None:
        task_id = self._out.ids[node]
        kinds = [kind for kind in KINDS if task.get(kind) is not None]
        if not kinds:
            message = f"{task_id} has no kind of work"
            hint = "give one of " + ", ".join(self._draft.get("kinds", KINDS))
            self._add_at_key("no_kind", message, ("tasks", task_id), hint)
            return
        if len(kinds) > 1:
            # In the order of the file, where there is one.
            kinds = [key for key in task if key in kinds]
            message = f"{task_id} has {len(kinds)} kinds of work: {', '.join(kinds)}"
            hint = "make them tasks of their own"
            self._add_at_key("two_kinds", message, ("tasks", task_id, kinds[1]), hint)
            return
        for key in _NOT_APPLICABLE[kinds[0]]:
            if task.get(key):
                message = f"{key!r} has no meaning for {kinds[0]!r}"
                self._add_at_key("not_applicable", message, ("tasks", task_id, key), "remove it")

    def _check_lane(self, node: int, task: Mapping[str, Any]) -> None:
        lane = task.get("lane")
        where: Where = ("tasks", self._out.ids[node], "lane")
        if isinstance(lane, dict):
            template = self._compile_key(node, lane.get("key"), (*where, "key"))
            self._out.tasks[node].key = template
            lane, where = lane.get("name"), (*where, "name")
        self._lanes.check_known(lane, where)
        self._lanes.check_units(self._out.ids[node], task, lane)

    def _compile_key(self, node: int, key: object, place: Where) -> Template | None:
        """Compile the key of a lane, or of a unique task."""
        if not isinstance(key, str):
            return None
        template = self._compile(node, key, place, _ROOTS_OF_CONDITION)
        if template.is_static:
            what = "a lane" if place[2] == "lane" else "a unique task"
            message = f"the key of {what} reads nothing, so it is always the same"
            self._add("bad_template", message, place, "write ${input.NAME}")
        return template

    # Templates and conditions

    def _compile_task(self, node: int, task: Mapping[str, Any]) -> None:
        out = self._out.tasks[node]
        base: Where = ("tasks", self._out.ids[node])
        if task.get("wait") is not None:
            out.wait = self._compile(node, task["wait"], (*base, "wait"), _ROOTS_OF_CONDITION)
        elif task.get("exec") is not None:
            fields = {"argv": self._compile(node, task["exec"], (*base, "exec"))}
            if task.get("stdin") is not None:
                fields["stdin"] = self._compile(node, task["stdin"], (*base, "stdin"))
            out.params = template_of_fields(fields)
        elif isinstance(task.get("collect"), dict):
            self._compile_collect(node, task)
        elif isinstance(task.get("wait_for"), dict):
            self._compile_wait_for(node, task)
        elif isinstance(task.get("approval"), dict):
            self._compile_approval(node, task["approval"])
        else:
            key = "with" if task.get("http") is None else "http"
            if task.get(key):
                # what leaves the engine, for another run, holds no secret
                leaves = task.get("workflow") or task.get("saga")
                roots = _ROOTS_OF_CONDITION if leaves else _ROOTS_OF_TASK
                out.params = self._compile(node, task[key], (*base, key), roots)
        self._more = frozenset()
        if task.get(FOREACH) is not None:
            self._compile_foreach(node, task[FOREACH], (*base, FOREACH))
        when = task.get("when")
        if isinstance(when, str):
            self._compile_when(node, when, (*base, "when"))

    def _compile_wait_for(self, node: int, task: Mapping[str, Any]) -> None:
        """Compile which signal is waited for; of items each may have a name of its own."""
        said, where = task["wait_for"], ("tasks", self._out.ids[node], "wait_for")
        is_item = task.get(FOREACH) is not None
        name = said.get("signal")
        signal = self._compile(node, name, (*where, "signal"), _ROOTS_OF_CONDITION)
        terms, found = awaited(said, signal, where, is_item=is_item)
        self._out.tasks[node].params = terms
        self._out.findings += found
        self._compile_deadline(node, said, where)

    def _compile_approval(self, node: int, said: Mapping[str, Any]) -> None:
        """Compile what a person is asked; it leaves the engine, so it holds no secret."""
        where: Where = ("tasks", self._out.ids[node], "approval")
        terms, found = approval_terms(said, where)
        self._out.findings += found
        self._compile_deadline(node, said, where)
        self._out.tasks[node].params = template_of_fields({
            **{name: Template(STATIC, value) for name, value in terms.items()},
            **{
                name: self._compile(node, said.get(name), (*where, name), _ROOTS_OF_CONDITION)
                for name in ("who", "message", "arguments")
            },
        })  # fmt: skip

    def _compile_deadline(self, node: int, said: Mapping[str, Any], where: Where) -> None:
        """Compile until when a task waits for an answer, where that is a time or a template."""
        deadline = said.get("deadline")
        if is_later(deadline):
            place = (*where, "deadline")
            self._out.tasks[node].wait = self._compile(node, deadline, place, _ROOTS_OF_CONDITION)

    def _compile_collect(self, node: int, task: Mapping[str, Any]) -> None:
        """Compile what a task collects, and what it makes a result of it with."""
        out, base = self._out, ("tasks", self._out.ids[node])
        found = collected(out.ids, self._tasks, node, task["collect"], mapping(task.get("with")))
        out.findings += found.findings
        if found.own:
            self._collects[node] = [out.index[task_id] for task_id in found.own]
        fields = {
            "with": self._compile(node, found.params, (*base, "with")),
            "collect": template_of_fields({
                **{
                    name: self._compile(node, task["collect"][name], (*base, "collect", name),
                                        _ROOTS_OF_CONDITION)
                    for name in TEMPLATES if task["collect"].get(name)
                },
                "tasks": Template(STATIC, found.own),
                "how": Template(STATIC, found.how),
            }),
        }  # fmt: skip
        out.tasks[node].params = template_of_fields(fields)
        out.tasks[node].agent = found.agent

    def _compile_foreach(self, node: int, said: object, where: Where) -> None:
        """Compile the list that a task works on, with what its items read of the run."""
        out = self._out.tasks[node]
        items = self._compile(node, said, where, _ROOTS_OF_CONDITION)
        read = (out.params, out.wait, out.key, out.unique)
        out.items = fields_of(items, (template for template in read if template is not None))

    def _compile_when(self, node: int, when: str, where: Where) -> None:
        try:
            condition = compile_condition(when)
        except BadCondition as error:
            self._add("bad_condition", error.message, where, error.hint)
            return
        self._out.tasks[node].when = condition
        for reference in condition_references(condition):
            self._check_reference(node, reference, where, _ROOTS_OF_CONDITION)

    def _compile_output(self) -> None:
        output = self._draft.get("output")
        if output is not None:
            self._out.output = self._compile(None, output, ("output",), _ROOTS_OF_OUTPUT)

    def _compile(
        self,
        node: int | None,
        value: object,
        where: Where,
        roots: frozenset[str] = _ROOTS_OF_TASK,
    ) -> Template:
        def on_problem(inner: Where, message: str, hint: str) -> None:
            self._add("bad_template", message, (*where, *inner), hint)

        template = compile_template(value, on_problem)
        if not template.is_static:
            for inner, reference in placed_references(template):
                self._check_reference(node, reference, (*where, *inner), roots)
        return template

    def _check_reference(
        self, node: int | None, reference: Reference, where: Where, roots: frozenset[str]
    ) -> None:
        root, task, name, path = reference
        roots = self._readable(node, roots)
        if root not in roots or (root == "saga" and name != "id" and node not in self._undoes):
            hint = "here a template reads " + ", ".join(sorted(roots))
            self._add("bad_template", f"{root!r} cannot be read here", where, hint)
        elif root == "input" and path and path[0] not in self._inputs:
            hint = self._suggest.hint(str(path[0]), self._inputs)
            message = f"there is no input {path[0]!r}"
            self._add("unknown_input", message, where, hint or "declare it under `input`")
        elif root == "needs" and node is not None:
            self._check_needs_reference(node, path, where)
        elif root in ("tasks", "steps"):
            self._check_task_reference(node, task, name, where)
        elif root == "action" and node is not None and name == "result":
            self._out.results_read.add(self._undoes[node])

    def _readable(self, node: int | None, roots: frozenset[str]) -> frozenset[str]:
        """Return what a template may read there; a saga has steps in the place of tasks."""
        roots |= self._more
        if self._noun != "step":
            return roots
        more = {"steps", "saga", "action"} if node in self._undoes else {"steps", "saga"}
        return (roots - {"tasks"}) | more

    def _check_needs_reference(self, node: int, path: Sequence[str | int], where: Where) -> None:
        direct = self._out.tasks[node].needs
        self._out.results_read.update(direct)
        if path:
            other = self._out.index.get(str(path[0]))
            if other not in direct and (node, other) not in self._meant:
                message = f"{path[0]!r} is not one of the needs of {self._out.ids[node]}"
                hint = self._suggest.hint(str(path[0]), [self._out.ids[i] for i in direct])
                self._add("not_needed", message, where, hint)

    def _check_task_reference(self, node: int | None, task: str, name: str, where: Where) -> None:
        other = self._out.index.get(task)
        if other is None:
            hint = self._suggest.hint(task, self._out.index)
            self._add("unknown_task", f"there is no {self._noun} {task!r}", where, hint)
            return
        if name == "result":
            self._out.results_read.add(other)
        if node is not None and other not in self._out.tasks[node].needs:
            self._reads.append((node, other))
            self._read_places.append(where)
