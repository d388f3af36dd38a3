"""The view `schedules`: one row a schedule, with its next time and what became of the last ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events import facts
from goclaw_events.schedule import Timetable
from goclaw_events.value import unpack
from goclaw_projections.page import PAGE_LIMIT, Page, page_of
from goclaw_projections.served import ServedRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_projections.projection import ReadFrame, ReadTurn
    from goclaw_projections.rows import Rows
    from goclaw_projections.store import ViewStore

ACTIVE: Final = "active"
PAUSED: Final = "paused"
_PREFIX: Final = "schedule/"
_MISSED: Final = "missed"
_REPLACED: Final = "replaced"
_MANY: Final = 1_000
"""More than so many firings of an absence are not counted."""


class ScheduleView(NamedTuple):
    """What is known of a schedule that is there.

    `status`: active or paused. It runs `definition` by `cron` in `zone`, or every `every_ns` from
    `anchor_ns`, `offset_ns` later. `overlap`, `missed`: the rules for firings that meet a run, and
    for those that are more than `late_ns` late; `waiting_max` wait. `planned_ns` is the next time,
    0 where there is none; `running` the run that goes on, ''; `waiting` are the firings that wait
    for its end: [planned time, number of the trigger]. Of the firings so far `fired` began a run,
    `skipped` did not, and `missed_count` were missed (at least: of a long absence not all are
    counted). `last_planned_ns`, `last_fired_ns`: when the last run was planned and begun;
    `last_run`, `last_status`: which it was, how it ended ('': not yet). `reason`: why it is
    paused; `by`: who made, paused or resumed it last. `is_saga`: what it begins are sagas, and
    `running` and `last_run` their keys.
    """

    name: str
    status: str
    definition: str
    cron: str
    zone: str
    every_ns: int
    anchor_ns: int
    offset_ns: int
    overlap: str
    missed: str
    late_ns: int
    waiting_max: int
    planned_ns: int
    running: str
    waiting: list[list[int]]
    fired: int
    skipped: int
    missed_count: int
    last_planned_ns: int | None
    last_fired_ns: int | None
    last_run: str
    last_status: str
    made_at_ns: int
    reason: str
    by: str
    is_saga: bool = False

    @property
    def timetable(self) -> Timetable:
        """Return when it is due."""
        return Timetable(self.cron, self.zone, self.every_ns, self.anchor_ns)


# A row, in place changed: the fields of ScheduleView but the name. The last one stands only where
# it is true, as in rows of before there were such: they may be all that is left of a schedule.
_AT: Final = {name: place for place, name in enumerate(ScheduleView._fields[1:])}
_IS_SAGA: Final = _AT.pop("is_saga")
_STATUS, _WAITING, _RUNNING = _AT["status"], _AT["waiting"], _AT["running"]
_SAID: Final = slice(_AT["definition"], _AT["planned_ns"])


class SchedulesProjection:
    """Fold the facts of schedules into rows `schedule/<name>`; one that is deleted has none."""

    name = "schedules"
    version = 1

    def apply(self, frame: ReadFrame, rows: Rows) -> None:
        """Change the rows by one frame."""
        for turn in frame.schedules:
            _apply_turn(turn, frame.time_ns, rows)


def _apply_turn(turn: ReadTurn, time_ns: int, rows: Rows) -> None:
    key = _PREFIX + turn.name
    row: list[Any] | None = rows.get(key)
    for fact in turn.facts:
        if isinstance(fact, facts.ScheduleSet):
            row = _set(row, fact, time_ns)
        elif isinstance(fact, facts.ScheduleDeleted):
            row = None
        elif row is not None:  # else its beginning was given up
            _change(row, fact)
    if row is None:
        rows.delete(key)
    else:
        rows.put(key, row)


def _set(row: list[Any] | None, fact: facts.ScheduleSet, time_ns: int) -> list[Any]:
    """Return the row of a schedule that was made; one that was made another one keeps its past."""
    if row is None:
        row = [None] * len(_AT)
        row[_AT["running"] : _AT["made_at_ns"]] = ["", [], 0, 0, 0, None, None, "", ""]
        row[_AT["made_at_ns"]] = time_ns
    row[_STATUS] = PAUSED if fact.paused else ACTIVE
    row[_SAID] = [
        fact.name, fact.cron, fact.zone, fact.every_ns, fact.anchor_ns, fact.offset_ns,
        fact.overlap, fact.missed, fact.late_ns, fact.waiting_max,
    ]  # fmt: skip
    row[_AT["planned_ns"]] = 0
    row[_AT["reason"]], row[_AT["by"]] = "", fact.set_by
    row[_IS_SAGA:] = [True] if fact.is_saga else []
    return row


def _change(row: list[Any], fact: Any) -> None:
    match fact:
        case facts.FiringPlanned(planned_ns):
            row[_AT["planned_ns"]] = planned_ns
        case facts.ScheduleFired():
            row[_AT["fired"]] += 1
            row[_RUNNING] = row[_AT["last_run"]] = fact.run_id
            row[_AT["last_planned_ns"]], row[_AT["last_fired_ns"]] = fact[:2]
            row[_AT["last_status"]] = ""
            if row[_WAITING][:1] == [[fact.planned_ns, fact.trigger]]:
                row[_WAITING].pop(0)
        case facts.FiringQueued():
            row[_WAITING].append([fact.planned_ns, fact.trigger])
        case facts.FiringsSkipped():
            _skip(row, fact)
        case facts.FiredRunEnded(_, status):
            row[_RUNNING], row[_AT["last_status"]] = "", status
        case facts.SchedulePaused(reason, by):
            row[_STATUS], row[_AT["planned_ns"]] = PAUSED, 0
            row[_AT["reason"]], row[_AT["by"]] = reason, by
        case facts.ScheduleResumed(by):
            row[_STATUS], row[_AT["reason"]], row[_AT["by"]] = ACTIVE, "", by


def _skip(row: list[Any], fact: facts.FiringsSkipped) -> None:
    if fact.reason == _MISSED:
        row[_AT["missed_count"]] += _MANY if fact.number < 0 else fact.number
        return
    row[_AT["skipped"]] += fact.number
    waiting = row[_WAITING]
    if fact.reason == _REPLACED and waiting and waiting[0][0] == fact.first_ns:
        waiting.pop(0)


class SchedulesReader:
    """Answer questions about schedules. Any thread; sees what the runner has written."""

    def __init__(self, store: ViewStore) -> None:
        self._rows = ServedRows(store, "schedules")

    def get(self, name: str) -> ScheduleView | None:
        """Return a schedule, or None."""
        data = self._rows.get(_PREFIX + name)
        return None if data is None else ScheduleView(name, *unpack(data))

    def list(
        self, *, status: str | None = None, limit: int = PAGE_LIMIT, cursor: str | None = None
    ) -> Page[ScheduleView]:
        """Return schedules in order of their names; `status`: only those in it."""
        wanted = None if status is None else (lambda found: found.status == status)
        return page_of(self._all(cursor), limit, wanted)

    def _all(self, cursor: str | None) -> Iterator[tuple[str, ScheduleView]]:
        after = None if cursor is None else _PREFIX + cursor
        for key, data in self._rows.scan(_PREFIX, after=after):
            name = key[len(_PREFIX) :]
            yield name, ScheduleView(name, *unpack(data))
