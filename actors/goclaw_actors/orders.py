"""What begins a task: the same for whoever owns it, a run or a saga."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Protocol

from goclaw_actors.answering import AwaitTask
from goclaw_actors.approval import check_asked
from goclaw_actors.collects import Collects, collects, own_collector
from goclaw_actors.decider import Send
from goclaw_actors.errors import ChildTooDeep, ChildUnknown, LaneKeyInvalid, SignalInvalid
from goclaw_actors.items import ItemScope, plan_of_items
from goclaw_actors.lending import DeclareLane
from goclaw_actors.messages import ScheduleTask, WaitTask
from goclaw_actors.scope import Scope
from goclaw_events.durations import DURATION_S_MAX, parse_duration
from goclaw_events.envelope import maker
from goclaw_events.ids import is_id, lane_stream, plain_id, unique_stream
from goclaw_events.instants import BadInstant, parse_instant
from goclaw_events.items import FOREACH
from goclaw_events.plan.awaits import ANSWERED, WAIT_FOR
from goclaw_events.templates import STATIC, render

if TYPE_CHECKING:
    from goclaw_actors.contents import Contents
    from goclaw_actors.decider import Moment
    from goclaw_events.plan import Plan, PlannedTask, UniqueKey
    from goclaw_events.templates import Template
    from goclaw_events.value import BlobRef, Value

_SCHEDULE: Final = maker(ScheduleTask, 12)
DEPTH_MAX: Final = 16
"""A run is at most so many runs below the one that was submitted from outside."""
KEY_BYTES_MAX: Final = 200
TENANT: Final = "tenant"
"""The label of a run that says for whom it is."""
CHILDREN: Final = ("workflow", "saga")
"""Kinds of tasks that stand for something which is submitted."""


class Owner(Protocol):
    """Whoever has tasks; `run_id` is the first part of their names."""

    run_id: str


class Orders(ABC):
    """Make the orders of tasks, as the turn being decided makes their owner."""

    __slots__ = ()
    run: Owner
    plan: Plan
    contents: Contents
    moment: Moment
    definition: BlobRef | None
    input: Value
    depth: int
    deadline_ns: int
    children: dict[str, BlobRef] | None
    tenant: str

    @abstractmethod
    def status_of(self, index: int) -> int:
        """Return what will be known of a task."""

    @abstractmethod
    def result_of(self, index: int) -> Value:
        """Return the kept result of a task; None where there is none."""

    def generation(self, index: int) -> int:  # noqa: ARG002 - who has others says so
        """Return in which generation a task is; its first is 0."""
        return 0

    def order(self, index: int) -> ScheduleTask | WaitTask | AwaitTask:
        """Return what begins a task; raises what cannot be made of its templates."""
        task = self.plan.tasks[index]
        definition = self.definition
        assert definition is not None, "the run was submitted"
        if task.kind == "wait":
            assert task.wait is not None, "a wait has a duration"
            return WaitTask(definition, self.generation(index), self._over_ns(task.wait, index))
        if task.kind in ANSWERED:
            return self._awaits(task, definition)
        kind, params = task.params
        if kind != STATIC:
            params = self.render(task.params, index)
        collect = wish = None
        if task.kind == "collect":
            params, collect, wish = self._collects(params, index)
        child = self._child(task.agent) if task.kind in CHILDREN else None
        if task.kind == FOREACH:
            child = self._below(plan_of_items(definition, task.id, params, self.contents))
        key = ""
        if task.slot.key is not None:
            key = self._key(task, task.slot.key, index, f"for lane {task.lane}")
        unique = None if task.unique is None else self._unique(task, task.unique, index)
        which = (definition, self.generation(index), params, task.lane, task.priority)
        rest = (self.deadline_ns, child, self.tenant, key, unique, collect, wish)
        return _SCHEDULE(which + rest)

    def _awaits(self, task: PlannedTask, definition: BlobRef) -> AwaitTask:
        """Return what has a task wait for a signal, or for a person."""
        terms = task.params.body
        if not task.params.is_static:
            terms = self.scope(None).whole(self.render(task.params, task.index))
        due_ns = 0
        if task.wait is not None:
            due_ns = self._over_ns(task.wait, task.index)
        elif terms["deadline"] is not None:
            due_ns = wake_ns(terms["deadline"], self.moment.now_ns)
        signal = terms.get("signal", "")
        if task.kind == WAIT_FOR and not task.params.is_static:
            signal = _signal_name(task.id, signal)
        asked = {name: said for name, said in terms.items() if name not in ("signal", "deadline")}
        check_asked(task.id, asked)
        return AwaitTask(definition, self.generation(task.index), signal, asked, due_ns)

    def _over_ns(self, wait: Template, index: int) -> int:
        """Return when what a task waits for is over, if it begins now."""
        value = wait.body if wait.is_static else self.render(wait, index)
        return wake_ns(value, self.moment.now_ns)

    def _collects(self, rendered: Any, index: int) -> Collects:
        """Return what a task collects; only what is handed on may stay a reference."""
        whole = self.scope(None).whole(rendered["collect"])
        run_id, task_id = self.run.run_id, self.plan.tasks[index].id
        own = own_collector(run_id, task_id, self.generation(index))
        return collects({"with": rendered["with"], "collect": whole}, run_id, own)

    def _unique(self, task: PlannedTask, unique: UniqueKey, index: int) -> list[Any]:
        """Return what makes a task a duplicate: [keys, key, window in ns, what it does then]."""
        template, window_s, on_duplicate = unique
        key = self._key(task, template, index, "that makes it unique")
        mapped = self.plan.mapped
        keys = unique_stream(self.plan.name, task.id if mapped is None else mapped.task)
        return [keys, key, int((window_s or 0.0) * 1e9), on_duplicate]

    def _key(self, task: PlannedTask, template: Template, index: int, what: str) -> str:
        """Return a key of a task; raises `LaneKeyInvalid`."""
        value = self.render(template, index)
        is_text = isinstance(value, (str, int)) and not isinstance(value, bool)
        text = str(value) if is_text else ""
        if not 0 < len(text.encode()) <= KEY_BYTES_MAX:
            msg = f"the key of {task.id} {what} is not 1 to {KEY_BYTES_MAX} bytes"
            raise LaneKeyInvalid(msg, hint="make it a short text or a number", task=task.id)
        return text

    def _child(self, name: str) -> list[Any]:
        """Return the run that a task stands for: [plan, depth, plans by name]."""
        plan = (self.children or {}).get(name)
        if plan is None:
            msg = f"no definition {name!r} was known when the run was submitted"
            raise ChildUnknown(msg, hint="register it, and submit the run again", name=name)
        return self._below(plan)

    def _below(self, plan: BlobRef) -> list[Any]:
        """Return the run of a plan that a task stands for; raises `ChildTooDeep`."""
        if self.depth >= DEPTH_MAX:
            msg = f"{plain_id(self.run.run_id)} is {self.depth} runs below the first one"
            raise ChildTooDeep(msg, hint="end the recursion with `when`", depth=self.depth)
        return [plan, self.depth + 1, self.children]

    def render(self, template: Any, index: int | None) -> Value:
        """Return what a template of a task comes to (None: one of the whole)."""
        scope = self.scope(index)
        return render(template, scope.lookup, scope.text)

    def scope(self, index: int | None) -> Scope:
        """Return what the templates of a task may read."""
        return Scope(self, index) if self.plan.mapped is None else ItemScope(self, index)


def _signal_name(task_id: str, value: Value) -> str:
    """Return the name of the signal that an item waits for; raises `SignalInvalid`."""
    is_text = isinstance(value, (str, int)) and not isinstance(value, bool)
    name = str(value) if is_text else ""
    if not is_id(name):
        msg = f"the signal that {task_id} waits for is no name: {name[:80]!r}"
        hint = "let its template come to 1 to 200 of A-Z a-z 0-9 _ . : -"
        raise SignalInvalid(msg, hint=hint, task=task_id)
    return name


def declared_lanes(plan: Plan) -> list[Send]:
    """Return what tells the lanes of a definition their limits."""
    return [
        Send(lane_stream(lane), DeclareLane(*limits[:3], plan.name, *limits[3:]))
        for lane, limits in plan.lanes.items()
    ]


def wake_ns(value: Value, now_ns: int) -> int:
    """Return when a wait is over that begins now; one until a time that is past is over at once.

    Raises `BadDuration`, `BadInstant`.
    """
    if not (isinstance(value, dict) and value.keys() == {"until"}):
        return now_ns + int(parse_duration(value) * 1e9)
    due_ns = parse_instant(value["until"])
    if due_ns > now_ns + int(DURATION_S_MAX * 1e9):
        msg = f"{value['until']} is more than ten years away"
        raise BadInstant(msg, hint="no timer is further away", value=value["until"])
    return max(due_ns, now_ns)
