"""The view `counts`: how many runs and tasks there are of each state, by definition and hour."""

from __future__ import annotations

from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events import facts
from goclaw_events.ids import is_saga
from goclaw_events.value import unpack
from goclaw_projections.page import PAGE_LIMIT, Page, page_of
from goclaw_projections.served import ServedRows
from goclaw_projections.states import (
    RUN_ENDED,
    RUN_STATES,
    TASK_ENDED,
    TASK_STATES,
    run_after,
    task_after,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from goclaw_projections.projection import ReadFrame, ReadTurn
    from goclaw_projections.rows import Rows
    from goclaw_projections.store import ViewStore

HOUR_NS: Final = 3_600 * 10**9
CODE_CHARS_MAX: Final = 100


class Counts(NamedTuple):
    """Numbers of one definition, or summed over several.

    Of a state that is not final: how many are in it now. Of a final one: how often it was
    reached. A task is counted from when it was scheduled, waits or was skipped.
    `failures` has the tasks that failed by code, `run_failures` the runs; `retried` are attempts
    that failed and were followed by another, `lost` those that went with their process.
    """

    runs: Mapping[str, int]
    tasks: Mapping[str, int]
    failures: Mapping[str, int]
    run_failures: Mapping[str, int]
    submitted: int
    retried: int
    lost: int


class NamedCounts(NamedTuple):
    """The numbers of one definition."""

    name: str
    counts: Counts


class HourCounts(NamedTuple):
    """What happened to one definition within an hour (UTC) that begins at `hour_ns`.

    States that are not final stand at 0: they are of no hour.
    """

    hour_ns: int
    name: str
    counts: Counts


# A row: [runs by RUN_STATES, tasks by TASK_STATES, submitted, retried, lost]. Each partition has
# rows of its own: none depends on which was read first, or on where another one's history begins.
_RUNS, _TASKS, _SUBMITTED, _RETRIED, _LOST = range(5)
_RUN_AT: Final = {state: place for place, state in enumerate(RUN_STATES)}
_TASK_AT: Final = {state: place for place, state in enumerate(TASK_STATES)}


class CountsProjection:
    """Count.

    Rows: `name/<definition>/<partition>`, `hour/<hour>/<definition>/<partition>`; for failures
    `code/<definition>/<partition>/<kind>/<code>` and, by hour, the same behind `hourcode/<hour>/`,
    where kind is `task` or `run`; and while it is not over `run/<run id>` with state and name,
    `task/<run id>/<task>` with state and name, `saga/<key>` with the name.
    """

    name = "counts"
    version = 3

    def apply(self, frame: ReadFrame, rows: Rows) -> None:
        """Change the rows by one frame."""
        tally = _Tally(rows, frame)
        for turn in frame.turns:
            if turn.kind == "task":
                _apply_task(turn, tally, rows)
            elif turn.kind == "workflow":
                _apply_run(turn, tally, rows)
            elif turn.kind == "saga":
                _name_saga(turn, rows)
            else:
                for fact in turn.facts:
                    if isinstance(fact, facts.StreamPoisoned):
                        _apply_poisoned(fact, tally, rows)

    def reads(self, frame: ReadFrame, rows: Rows) -> Iterator[str]:  # noqa: ARG002 - all are named
        """Yield the tasks and runs that began before, and the runs of tasks that begin."""
        for turn in frame.turns:
            if turn.kind == "task" and turn.seq > 1:
                yield "task/" + turn.name
            elif turn.kind == "task" or turn.seq > 1:
                yield "run/" + turn.run_id


class _Tally:
    """The rows that a frame counts in, fetched and put once."""

    __slots__ = ("_found", "_hour", "_partition", "_rows")

    def __init__(self, rows: Rows, frame: ReadFrame) -> None:
        self._rows = rows
        self._hour = f"{frame.time_ns // HOUR_NS:08x}"
        self._partition = f"{frame.partition:04x}"
        self._found: dict[str, tuple[list[Any], list[Any]]] = {}

    def of(self, name: str) -> tuple[list[Any], list[Any]]:
        """Return the rows of a definition: of all time, and of the hour."""
        found = self._found.get(name)
        if found is None:
            own = f"{name}/{self._partition}"
            found = self._row("name/" + own), self._row(f"hour/{self._hour}/{own}")
            self._found[name] = found
        return found

    def code(self, name: str, kind: str, code: str) -> None:
        """Count a failure."""
        tail = f"{name}/{self._partition}/{kind}/{code[:CODE_CHARS_MAX]}"
        for key in ("code/" + tail, f"hourcode/{self._hour}/{tail}"):
            self._rows.put(key, (self._rows.get(key) or 0) + 1)

    def _row(self, key: str) -> list[Any]:
        row: list[Any] | None = self._rows.get(key)
        if row is None:
            row = [[0] * len(RUN_STATES), [0] * len(TASK_STATES), 0, 0, 0]
        self._rows.put(key, row)
        return row


def _name_saga(turn: ReadTurn, rows: Rows) -> None:
    """Keep whose tasks those of a saga are, while it is not over; sagas are not runs."""
    key = "saga/" + turn.run_id
    for fact in turn.facts:
        if isinstance(fact, facts.SagaSubmitted):
            rows.put(key, fact.name)
        elif isinstance(fact, _SAGA_ENDS):
            rows.delete(key)


_SAGA_ENDS: Final = (facts.SagaCompleted, facts.SagaCompensated, facts.SagaResolved)


def _name_of(turn: ReadTurn, rows: Rows) -> str:
    if is_saga(turn.run_id):
        return str(rows.get("saga/" + turn.run_id) or "")
    run = rows.get("run/" + turn.run_id)
    return "" if run is None else str(run[1])


def _apply_task(turn: ReadTurn, tally: _Tally, rows: Rows) -> None:
    key = "task/" + turn.name
    if turn.seq == 1:
        rows.absent(key)
        row = None
    else:
        row = rows.get(key)
    if row is None:
        row = ["", _name_of(turn, rows)]
    before, name = row
    after = before
    for fact in turn.facts:
        state = task_after(fact)
        if state is None:
            continue
        after = state
        if state == "failed":
            tally.code(name, "task", fact.code)
        elif state == "retrying":
            for counted in tally.of(name):
                counted[_RETRIED] += 1
        elif type(fact) is facts.AttemptLost:
            for counted in tally.of(name):
                counted[_LOST] += 1
    if after != before:
        _move_task(key, row, after, tally, rows)


def _move_task(key: str, row: list[str], after: str, tally: _Tally, rows: Rows) -> None:
    before, name = row
    ever, hour = tally.of(name)
    if before:
        ever[_TASKS][_TASK_AT[before]] -= 1
    ever[_TASKS][_TASK_AT[after]] += 1
    if after in TASK_ENDED:
        hour[_TASKS][_TASK_AT[after]] += 1
        if before:
            rows.delete(key)
    else:
        row[0] = after
        rows.put(key, row)


def _apply_run(turn: ReadTurn, tally: _Tally, rows: Rows) -> None:
    key = "run/" + turn.run_id
    if turn.seq == 1:
        rows.absent(key)
    row = rows.get(key)
    for fact in turn.facts:
        kind = type(fact)
        if kind is facts.TasksSkipped:
            _count_skipped(len(fact.tasks), row, tally)
        elif kind is facts.PathChanged:
            # those that were in a lane say so themselves
            _count_skipped(len(fact.skipped) - len(fact.told), row, tally)
        elif kind is facts.RunSubmitted and row is None:
            row = ["", fact.name]
            for counted in tally.of(fact.name):
                counted[_SUBMITTED] += 1
            _move_run(key, row, "running", tally, rows)
        elif row is not None and row[0] not in RUN_ENDED:
            after = run_after(row[0], fact)
            if after is not None:
                if after == "failed":
                    tally.code(row[1], "run", fact.code)
                _move_run(key, row, after, tally, rows)


def _count_skipped(count: int, row: list[str] | None, tally: _Tally) -> None:
    for counted in tally.of("" if row is None else row[1]):
        counted[_TASKS][_TASK_AT["skipped"]] += count


def _move_run(key: str, row: list[str], after: str, tally: _Tally, rows: Rows) -> None:
    before, name = row
    ever, hour = tally.of(name)
    if before:
        ever[_RUNS][_RUN_AT[before]] -= 1
    ever[_RUNS][_RUN_AT[after]] += 1
    row[0] = after
    if after in RUN_ENDED:
        hour[_RUNS][_RUN_AT[after]] += 1
        rows.delete(key)
    else:
        rows.put(key, row)


def _apply_poisoned(fact: facts.StreamPoisoned, tally: _Tally, rows: Rows) -> None:
    kind, _, rest = fact.stream.partition("/")
    row = rows.get(f"{kind}/{rest}") if kind == "task" else rows.get("run/" + rest)
    if row is None:
        return
    if kind == "task":
        tally.code(row[1], "task", fact.code)
        _move_task(f"task/{rest}", row, "failed", tally, rows)
    elif kind == "workflow":
        tally.code(row[1], "run", fact.code)
        _move_run("run/" + rest, row, "failed", tally, rows)


class CountsReader:
    """Answer how many there are. Any thread; sees what the runner has written."""

    def __init__(self, store: ViewStore) -> None:
        self._rows = ServedRows(store, "counts")

    def of(self, name: str) -> Counts:
        """Return the numbers of one definition; all are 0 where nothing is known of it."""
        row = _EMPTY
        for _, data in self._rows.scan(f"name/{name}/"):
            row = _sum(row, unpack(data))
        return _counts(row, self._codes(f"code/{name}/"))

    def by_name(self, *, limit: int = PAGE_LIMIT, cursor: str | None = None) -> Page[NamedCounts]:
        """Return the numbers of each definition, in order of name."""
        after = None if cursor is None else f"name/{cursor}/{_BEHIND}"
        found = ((name, NamedCounts(name, self.of(name))) for name in self._names(after))
        return page_of(found, limit)

    def _names(self, after: str | None = None) -> Iterator[str]:
        last = None
        for key, _ in self._rows.scan("name/", after=after):
            name = key.split("/")[1]
            if name != last:
                last = name
                yield name

    def total(self) -> Counts:
        """Return the numbers of all definitions together."""
        return sum_of([self.of(name) for name in self._names()])

    def by_hour(
        self,
        *,
        since_ns: int = 0,
        until_ns: int | None = None,
        name: str | None = None,
        limit: int = PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[HourCounts]:
        """Return what happened hour by hour, earliest first, then by definition.

        Hours that begin at or after `since_ns` (rounded down to its hour) and before `until_ns`.
        Hours in which nothing happened are left out.
        """
        after = f"hour/{since_ns // HOUR_NS:08x}" if cursor is None else f"hour/{cursor}/{_BEHIND}"

        def found() -> Iterator[tuple[str, HourCounts]]:
            for (hour, whose), several in groupby(self._hours(after), key=lambda one: one[0]):
                hour_ns = int(hour, 16) * HOUR_NS
                if until_ns is not None and hour_ns >= until_ns:
                    return
                if name is None or whose == name:
                    row = reduce(_sum, (row for _, row in several), _EMPTY)
                    codes = self._codes(f"hourcode/{hour}/{whose}/")
                    yield f"{hour}/{whose}", HourCounts(hour_ns, whose, _counts(row, codes))

        return page_of(found(), limit)

    def _hours(self, after: str) -> Iterator[tuple[tuple[str, str], list[Any]]]:
        for key, data in self._rows.scan("hour/", after=after):
            _, hour, name, _ = key.split("/")
            yield (hour, name), unpack(data)

    def _codes(self, prefix: str) -> dict[str, dict[str, int]]:
        codes: dict[str, dict[str, int]] = {"task": {}, "run": {}}
        for key, data in self._rows.scan(prefix):
            _, kind, code = key[len(prefix) :].split("/", 2)
            codes[kind][code] = codes[kind].get(code, 0) + unpack(data)
        return codes


_EMPTY: Final[list[Any]] = [[0] * len(RUN_STATES), [0] * len(TASK_STATES), 0, 0, 0]
_BEHIND: Final = "~"
"""Sorts behind every partition."""


def _sum(one: list[Any], other: list[Any]) -> list[Any]:
    return [
        [a + b for a, b in zip(one[_RUNS], other[_RUNS], strict=True)],
        [a + b for a, b in zip(one[_TASKS], other[_TASKS], strict=True)],
        *(one[place] + other[place] for place in (_SUBMITTED, _RETRIED, _LOST)),
    ]


def _counts(row: list[Any], codes: dict[str, dict[str, int]]) -> Counts:
    return Counts(
        dict(zip(RUN_STATES, row[_RUNS], strict=True)),
        dict(zip(TASK_STATES, row[_TASKS], strict=True)),
        codes["task"],
        codes["run"],
        row[_SUBMITTED],
        row[_RETRIED],
        row[_LOST],
    )


def sum_of(several: list[Counts]) -> Counts:
    """Add numbers up."""
    total = _counts(_EMPTY, {"task": {}, "run": {}})
    for counts in several:
        total = Counts(
            _added(total.runs, counts.runs),
            _added(total.tasks, counts.tasks),
            _added(total.failures, counts.failures),
            _added(total.run_failures, counts.run_failures),
            total.submitted + counts.submitted,
            total.retried + counts.retried,
            total.lost + counts.lost,
        )
    return total


def _added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}
