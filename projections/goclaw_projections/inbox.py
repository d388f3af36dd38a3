"""The view `inbox`: one row for each task that waits for a person, or for a signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events import facts
from goclaw_events.value import unpack
from goclaw_projections.page import PAGE_LIMIT, Page, page_of
from goclaw_projections.served import ServedRows
from goclaw_projections.states import task_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from goclaw_projections.projection import ReadFrame, ReadTurn
    from goclaw_projections.rows import Rows
    from goclaw_projections.store import ViewStore


class InboxView(NamedTuple):
    """What a task waits for that others say.

    `signal`: the name of the signal; '': people are asked, and `who` may decide, about `message`
    and `arguments`, which have to be of the shape `schema` to be approved. `due_ns`: the deadline,
    which rests while the task stands still (`is_held`); then nothing can be decided.
    """

    run_id: str
    task: str
    signal: str
    who: list[str]
    message: str
    arguments: Any
    schema: dict[str, Any] | None
    asked_at_ns: int
    due_ns: int | None
    is_held: bool


# A row, in place changed: the fields of InboxView but the ids.
_SIGNAL, _WHO, _MESSAGE, _ARGUMENTS, _SCHEMA, _ASKED_AT, _DUE, _HELD = range(8)
_OF_WAITS: Final = frozenset(
    {
        facts.TaskAwaiting,
        facts.TaskAnswered,
        facts.TaskFailed,
        facts.TaskCancelled,
        facts.TaskDropped,
        facts.TaskPaused,
        facts.TaskInterrupted,
        facts.TaskResumed,
    }
)
"""What may change a row: most tasks record hardly any of these."""
_ENDS: Final = (
    facts.TaskAnswered,
    facts.TaskCompleted,
    facts.TaskFailed,
    facts.TaskCancelled,
    facts.TaskDropped,
)


class InboxProjection:
    """Fold the facts of tasks into rows `<run id>/<task id>` of those that wait for an answer."""

    name = "inbox"
    version = 1

    def apply(self, frame: ReadFrame, rows: Rows) -> None:
        """Change the rows by one frame."""
        for turn in frame.turns:
            if turn.kind == "task":
                if any(_concerns(fact) for fact in turn.facts):
                    _apply_turn(turn, frame.time_ns, rows)
            else:
                for fact in turn.facts:
                    if isinstance(fact, facts.StreamPoisoned) and fact.stream.startswith("task/"):
                        _forget(fact.stream.partition("/")[2], rows)


def _concerns(fact: Any) -> bool:
    kind = type(fact)
    return kind in _OF_WAITS or (kind is facts.TaskCompleted and fact.attempt == 0)


def _apply_turn(turn: ReadTurn, time_ns: int, rows: Rows) -> None:
    key = turn.name
    row: list[Any] | None = rows.get(key) if turn.seq > 1 else None
    was_there = row is not None
    for fact in turn.facts:
        if isinstance(fact, facts.TaskAwaiting):
            asked, due_ns = fact.asked, fact.due_ns or None
            row = [
                fact.signal, asked.get("who", []), asked.get("message", ""),
                asked.get("arguments"), asked["schema"], time_ns, due_ns, False,
            ]  # fmt: skip
        elif row is None:
            continue
        elif isinstance(fact, _ENDS):
            row = None
        else:
            status = task_after(fact)
            row[_HELD] = row[_HELD] if status is None else status != "waiting"
    if row is not None:
        rows.put(key, row)
    elif was_there:
        rows.delete(key)


def _forget(key: str, rows: Rows) -> None:
    if rows.get(key) is not None:
        rows.delete(key)


class InboxReader:
    """Answer what waits for people, and for signals. Any thread; sees what the runner wrote."""

    def __init__(self, store: ViewStore) -> None:
        self._rows = ServedRows(store, "inbox")

    def get(self, run_id: str, task_id: str) -> InboxView | None:
        """Return what a task waits for, or None."""
        data = self._rows.get(f"{run_id}/{task_id}")
        return None if data is None else InboxView(run_id, task_id, *unpack(data))

    def list(
        self,
        *,
        wanted: Callable[[InboxView], bool] | None = None,
        limit: int = PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[InboxView]:
        """Return what waits, in order of run and task; `wanted`: only what it says yes to."""
        return page_of(self._all(cursor), limit, wanted)

    def _all(self, cursor: str | None) -> Iterator[tuple[str, InboxView]]:
        for key, data in self._rows.scan("", after=cursor):
            run_id, _, task_id = key.partition("/")
            yield key, InboxView(run_id, task_id, *unpack(data))
