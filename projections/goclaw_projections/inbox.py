"""The view `inbox`: one row for each task that waits for a person, or for a signal.

The most urgent comes first: by deadline, what has none behind all that have one; then the oldest.
"""

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


_NO_DEADLINE: Final = "none"
"""Comes behind every time."""


class InboxProjection:
    """Fold the facts of tasks into rows `by/<deadline>/<since>/<run id>/<task id>`.

    Where that of a task stands is a row `at/<run id>/<task id>`.
    """

    name = "inbox"
    version = 2

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
    place: str | None = rows.get(_at(turn.name)) if turn.seq > 1 else None
    row: list[Any] | None = None if place is None else rows.get(place)
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
    stands = None if row is None else _place(turn.name, row)
    if place is not None and place != stands:
        rows.delete(place)
    if stands is not None:
        rows.put(stands, row)
    if stands != place:
        _note(turn.name, stands, rows)


def _at(name: str) -> str:
    return "at/" + name


def _place(name: str, row: list[Any]) -> str:
    """Return the key of a row: keys are in the order in which rows are listed."""
    due = _NO_DEADLINE if row[_DUE] is None else f"{row[_DUE]:020d}"
    return f"by/{due}/{row[_ASKED_AT]:020d}/{name}"


def _note(name: str, place: str | None, rows: Rows) -> None:
    """Keep where the row of a task stands; None: there is none any more."""
    if place is None:
        rows.delete(_at(name))
    else:
        rows.put(_at(name), place)


def _forget(name: str, rows: Rows) -> None:
    place = rows.get(_at(name))
    if place is not None:
        rows.delete(place)
        _note(name, None, rows)


class InboxReader:
    """Answer what waits for people, and for signals. Any thread; sees what the runner wrote."""

    def __init__(self, store: ViewStore) -> None:
        self._rows = ServedRows(store, "inbox")

    def get(self, run_id: str, task_id: str) -> InboxView | None:
        """Return what a task waits for, or None."""
        place = self._rows.get(_at(f"{run_id}/{task_id}"))
        data = None if place is None else self._rows.get(unpack(place))
        return None if data is None else InboxView(run_id, task_id, *unpack(data))

    def list(
        self,
        *,
        wanted: Callable[[InboxView], bool] | None = None,
        limit: int = PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[InboxView]:
        """Return what waits, the most urgent first; `wanted`: only what it says yes to."""
        return page_of(self._all(cursor), limit, wanted)

    def _all(self, cursor: str | None) -> Iterator[tuple[str, InboxView]]:
        for key, data in self._rows.scan("by/", after=cursor):
            run_id, task_id = key.split("/")[3:]
            yield key, InboxView(run_id, task_id, *unpack(data))
