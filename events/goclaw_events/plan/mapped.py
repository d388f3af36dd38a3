"""Plans of runs that work on the items of a list: one task an item, made when it is asked for.

Such a plan is not stored. It follows from the plan that has the `foreach:` task, that task and the
number of items, which stand together in one reference (`mapped_ref`): so 100,000 items cost the
log no more than one. Item 17 of task `fetch` is the task `fetch:17`; the items stand in the input
of the run, beside what its templates read of the run above (`goclaw_events.items`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Final, overload

from goclaw_events.errors import LogDamaged
from goclaw_events.items import FOREACH
from goclaw_events.plan.model import Mapped, Plan, PlannedTask
from goclaw_events.value import BlobRef

_FIELDS: Final = tuple(field.name for field in fields(PlannedTask))[2:]
"""All but the index and the id."""


def mapped_ref(definition: BlobRef, task_id: str, count: int) -> BlobRef:
    """Name the plan of a run that works on `count` items for a task of `definition`."""
    return BlobRef(definition.sha256, definition.size, (*definition.path, FOREACH, task_id, count))


def mapped_plan(plan: Plan, task_id: str, count: int) -> Plan:
    """Return the plan of a run that works on `count` items; raises `LogDamaged`."""
    index = plan.index.get(task_id)
    foreach = None if index is None else plan.tasks[index].foreach
    if foreach is None:
        msg = f"task {task_id} of {plan.name} works on no list"
        raise LogDamaged(msg)
    return Plan(
        name=plan.name,
        version=plan.version,
        tasks=_ItemTasks(foreach.item, count),
        index=_ItemIndex(foreach.item.id, count),
        needs_count=(),
        roots=range(min(foreach.parallel, count)),
        sinks=range(count),
        lanes={},
        output=None,
        on_failure=foreach.on_failure,
        inputs=(),
        labels=plan.labels,
        metadata={},
        mapped=Mapped(task_id, count, foreach),
    )


def item_id(task_id: str, index: int) -> str:
    """Name the task of an item."""
    return f"{task_id}:{index}"


def task_over(plan: Plan, name: str) -> str | None:
    """Return the task of a plan among whose items `name` would be, or what one of them spawned.

    None: there is no such task, or `name` is that of a task of the plan itself.
    """
    root = name.partition("/")[0]
    task_id, _, number = root.rpartition(":")
    index = None if root in plan.index else plan.index.get(task_id)
    if index is None or not number.isdecimal() or plan.tasks[index].foreach is None:
        return None
    return task_id


class _ItemTasks(Sequence[PlannedTask]):
    """The tasks of items, each made when it is asked for: they differ in index and id."""

    __slots__ = ("_count", "_id", "_last", "_rest")

    def __init__(self, item: PlannedTask, count: int) -> None:
        self._id = item.id
        self._rest = [getattr(item, name) for name in _FIELDS]
        self._count = count
        self._last = item

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> PlannedTask: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PlannedTask]: ...
    def __getitem__(self, index: int | slice) -> PlannedTask | Sequence[PlannedTask]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        at = index % self._count
        last = self._last  # most are asked for several times in a row
        if last.index != at or last.id == self._id:
            last = self._last = PlannedTask(at, item_id(self._id, at), *self._rest)
        return last


class _ItemIndex(Mapping[str, int]):
    """From the id of an item's task to its place."""

    __slots__ = ("_count", "_prefix")

    def __init__(self, task_id: str, count: int) -> None:
        self._prefix = task_id + ":"
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return (f"{self._prefix}{at}" for at in range(self._count))

    def __getitem__(self, task_id: str) -> int:
        text = task_id.removeprefix(self._prefix)
        plain = text.isdecimal() and text.isascii() and text == str(int(text[:9]))
        if not plain or len(text) == len(task_id) or int(text) >= self._count:
            raise KeyError(task_id)
        return int(text)


def work_of(task: PlannedTask) -> PlannedTask:
    """Return what runs for a task: for one that works on a list, that of any item."""
    return task if task.foreach is None else task.foreach.item
