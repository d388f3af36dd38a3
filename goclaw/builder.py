"""The Python builder: the same definition that a file holds, written with handles.

wf = Workflow("digest")
wf.input("root", type="string", default=".")
scan = wf.task("scan", agent="digest.scan", with_={"root": wf.inputs.root})
wf.task("report", agent="digest.report", with_={"files": scan.result["files"]})
plan = wf.plan()
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypedDict, Unpack

from goclaw_events.conditions import BadCondition, compile_condition, condition_references
from goclaw_events.definition import TaskDefinition, WorkflowDefinition
from goclaw_events.faults import Fault, InvalidDefinition
from goclaw_events.ids import is_plain
from goclaw_events.loading import definition_from
from goclaw_events.plan import compile_plan
from goclaw_events.templates import compile_template, references

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from goclaw_events.definition import InputType
    from goclaw_events.plan import Plan
    from goclaw_events.templates import Reference

OnFailure = Literal["fail_fast", "let_finish", "continue"]
UNSET: Any = object()
"""In place of a default that was not given."""


class Expression:
    """A place that a template reads: `handle.result["url"][0]` stands for `${...}`.

    Its text is the template, so it also works within an f-string.
    """

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __getitem__(self, step: str | int) -> Expression:
        if isinstance(step, int):
            return Expression(f"{self._path}[{step}]")
        if is_plain(step):
            return Expression(f"{self._path}.{step}")
        return Expression(f"{self._path}[{json.dumps(step, ensure_ascii=False)}]")

    def __iter__(self) -> NoReturn:
        msg = "an expression stands for a value that is not there yet, so it cannot be iterated"
        raise TypeError(msg)

    def __bool__(self) -> NoReturn:
        msg = "an expression stands for a value that is not there yet: test it in `when=`"
        raise TypeError(msg)

    def __str__(self) -> str:
        return "${" + self._path + "}"

    def __repr__(self) -> str:
        return f"Expression({str(self)!r})"


class Items(TypedDict, total=False):
    """What a task says that works on the items of a list, as in a file."""

    foreach: object
    parallel: int
    on_item_failure: OnFailure
    item_failures_max: int
    item_results: Literal["values", "outcomes"]


ITEM: Final = Expression("item")
"""The item of a list that a task with `foreach` works on: `ITEM["url"]`."""
INDEX: Final = Expression("index")
"""Its place in the list, from 0."""


class Inputs:
    """The inputs of a workflow by name: `wf.inputs.root`, `wf.inputs["a.b"]`."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names

    def __getitem__(self, name: str) -> Expression:
        if name not in self._names:
            msg = f"there is no input {name!r}: declare it first with `wf.input({name!r})`"
            raise KeyError(msg)
        return Expression("input")[name]

    def __getattr__(self, name: str) -> Expression:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from error


class TaskHandle:
    """A task of a workflow: name it in `needs`, or use what it yields in `with_` and `when`."""

    __slots__ = ("id",)

    def __init__(self, task_id: str) -> None:
        self.id = task_id

    @property
    def result(self) -> Expression:
        """Stand for what the task returns; `[...]` goes into it."""
        return Expression("tasks")[self.id]["result"]

    @property
    def status(self) -> Expression:
        """Stand for the state in which the task ended."""
        return Expression("tasks")[self.id]["status"]

    def __repr__(self) -> str:
        return f"TaskHandle({self.id!r})"


class Head:
    """What the builders of workflows and sagas have in common: a name, inputs and lanes.

    `said` is what stands at the head of the file, besides the name.
    """

    def __init__(
        self,
        name: str,
        labels: Mapping[str, str] | None,
        metadata: Mapping[str, Any] | None,
        said: Mapping[str, Any],
    ) -> None:
        self.name = name
        named = {"name": name, "labels": dict(labels or {}), "metadata": plain(metadata or {})}
        self._inputs: dict[str, dict[str, Any]] = {}
        self._lanes: dict[str, dict[str, Any]] = {}
        self._head: dict[str, Any] = {
            **named,
            **said,
            "input": self._inputs,
            "lanes": self._lanes,
        }
        self.inputs = Inputs(self._inputs)
        self.output: object = None
        """What a run results in; without it, the results of what nothing else needs."""

    def input(
        self,
        name: str,
        *,
        type: InputType = "any",  # noqa: A002 - the word that definitions use
        default: Any = UNSET,
        description: str = "",
        required: bool | None = None,
    ) -> Expression:
        """Declare an input and return what stands for its value."""
        refuse_twice(name, self._inputs, "input")
        given = {"type": type, "description": description, "required": required}
        if default is not UNSET:
            given["default"] = default
        self._inputs[name] = given
        return self.inputs[name]

    def lane(self, lane_id: str, **limits: Any) -> str:
        """Declare a lane and return its id; `limits` as in a file (`concurrency=8`)."""
        refuse_twice(lane_id, self._lanes, "lanes")
        self._lanes[lane_id] = limits
        return lane_id


class Workflow(Head):
    """Build a definition task by task. Faults are reported by `definition()`, all at once."""

    def __init__(
        self,
        name: str,
        *,
        version: str | None = None,
        description: str = "",
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_failure: OnFailure = "fail_fast",
        timeout: str | float | None = None,
    ) -> None:
        said = {
            "version": version,
            "description": description,
            "on_failure": on_failure,
            "timeout": timeout,
        }
        super().__init__(name, labels, metadata, said)
        self._tasks: dict[str, dict[str, Any]] = {}

    def task(
        self,
        task_id: str,
        *,
        agent: str | Callable[..., Any] | None = None,
        needs: Iterable[TaskHandle | str] = (),
        with_: Mapping[str, Any] | None = None,
        when: object = None,
        lane: str | Mapping[str, Any] | None = None,
        priority: int = 0,
        units: Mapping[str, int] | None = None,
        cost: float | None = None,
        unique: Mapping[str, Any] | None = None,
        timeout: str | float | None = None,
        queue_timeout: str | float | None = None,
        total_timeout: str | float | None = None,
        heartbeat_timeout: str | float | None = None,
        retry: Mapping[str, Any] | None = None,
        expected: str | float | None = None,
        exec: Sequence[object] | None = None,  # noqa: A002 - the word that definitions use
        stdin: object = None,
        http: Mapping[str, Any] | None = None,
        workflow: str | None = None,
        saga: str | None = None,
        wait_for: Mapping[str, Any] | None = None,
        approval: Mapping[str, Any] | None = None,
        collect: Mapping[str, Any] | None = None,
        description: str = "",
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **items: Unpack[Items],
    ) -> TaskHandle:
        """Add a task and return its handle.

        `agent` is a registered name or a decorated function; in `collect` tasks may be handles and
        `reduce` a function; a deadline may be `{"until": datetime}`. Tasks whose results are read
        are needed, named in `needs` or not. `foreach` is a list, or what yields one: see `ITEM`.
        """
        return self._add(
            task_id,
            needs,
            {
                "agent": agent if agent is None else agent_name(agent),
                "exec": exec,
                "stdin": stdin,
                "http": http,
                "workflow": workflow,
                "saga": saga,
                "wait_for": _with_time(wait_for),
                "approval": _with_time(approval),
                "collect": _collect(collect),
                **items,
                "with": with_,
                "when": when if when is None else str(when),
                "lane": lane,
                "priority": priority,
                "units": units,
                "cost": cost,
                "unique": unique,
                "timeout": timeout,
                "queue_timeout": queue_timeout,
                "total_timeout": total_timeout,
                "heartbeat_timeout": heartbeat_timeout,
                "retry": retry,
                "expected": expected,
                "description": description,
                "labels": labels,
                "metadata": metadata,
            },
        )

    def wait(
        self,
        task_id: str,
        duration: str | float | Expression | None = None,
        *,
        until: str | datetime | Expression | None = None,
        needs: Iterable[TaskHandle | str] = (),
        when: object = None,
        description: str = "",
    ) -> TaskHandle:
        """Add a timer: a duration, or what yields one; or `until` a time with its zone."""
        if (duration is None) == (until is None):
            msg = f"{task_id} waits for a duration, or until a time: give one of the two"
            raise TypeError(msg)
        text = when if when is None else str(when)
        wait = duration if until is None else {"until": _time_text(until)}
        fields = {"wait": wait, "when": text, "description": description}
        return self._add(task_id, needs, fields)

    def definition(self) -> WorkflowDefinition:
        """Return the definition; raises `InvalidDefinition` with every fault."""
        said = self._head | {"tasks": self._tasks, "output": plain(self.output)}
        return definition_from(said, self.name)

    def plan(self) -> Plan:
        """Return the compiled plan; raises `InvalidDefinition` with every fault."""
        return compile_plan(self.definition())

    def _add(
        self, task_id: str, needs: Iterable[TaskHandle | str], fields: Mapping[str, Any]
    ) -> TaskHandle:
        refuse_twice(task_id, self._tasks, "tasks")
        task = {key: plain(value) for key, value in fields.items() if value is not None}
        named = [need.id if isinstance(need, TaskHandle) else need for need in needs]
        read = (ref.task for ref in read_by(task) if ref.task in self._tasks)
        task["needs"] = named + [other for other in dict.fromkeys(read) if other not in named]
        self._tasks[task_id] = task
        return TaskHandle(task_id)


def read_by(task: Mapping[str, Any]) -> Iterator[Reference]:
    """Yield what the templates and the condition of a task read; bad ones are reported later."""
    for key in TaskDefinition.model_fields:
        name = "with" if key == "with_" else key
        if name in task and name not in ("description", "labels", "metadata", "when"):
            yield from references(compile_template(task[name], lambda *_: None))
    if isinstance(task.get("when"), str):
        try:
            condition = compile_condition(task["when"])
        except BadCondition:
            return
        yield from condition_references(condition)


def refuse_twice(name: str, known: Mapping[str, Any], where: str) -> None:
    """Raise `InvalidDefinition` if a name is known already."""
    if name in known:
        message = f"{name!r} is given twice"
        fault = Fault("duplicate_key", message, f"{where}.{name}", hint="rename one of them")
        raise InvalidDefinition([fault])


def agent_name(agent: str | Callable[..., Any]) -> str:
    """Return the registered name of an agent, or of a decorated function."""
    if isinstance(agent, str):
        return agent
    name = getattr(agent, "__goclaw_agent__", None)
    if not isinstance(name, str):
        msg = f"{agent!r} is no agent: decorate it with @goclaw.agent, or give its registered name"
        raise TypeError(msg)
    return name


def _collect(said: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what is collected, with tasks and agents by their names."""
    if said is None:
        return None
    found = dict(said)
    if "tasks" in found:
        tasks = found["tasks"]
        found["tasks"] = [task.id if isinstance(task, TaskHandle) else task for task in tasks]
    if found.get("reduce") is not None:
        found["reduce"] = agent_name(found["reduce"])
    return found


def _time_text(until: Any) -> Any:
    """Write a time as a file says it."""
    return until.isoformat() if isinstance(until, datetime) else until


def _with_time(said: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Write the time of a deadline, if it is one, as a file says it."""
    deadline = None if said is None else said.get("deadline")
    if said is None or not (isinstance(deadline, dict) and "until" in deadline):
        return said
    return {**said, "deadline": {**deadline, "until": _time_text(deadline["until"])}}


def plain(value: Any) -> Any:
    """Copy a value with the text of each expression in its place."""
    if isinstance(value, Expression):
        return str(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
