"""The view `workers`: who holds attempts, which ones, and how those of the past ended."""

from __future__ import annotations

from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from goclaw_events import facts
from goclaw_events.value import unpack
from goclaw_projections.page import PAGE_LIMIT, Page, page_of
from goclaw_projections.served import ServedRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from goclaw_projections.projection import ReadFrame, ReadTurn
    from goclaw_projections.rows import Rows
    from goclaw_projections.store import ViewStore


class WorkerView(NamedTuple):
    """One holder of attempts: a start of a node's process (`node:boot`), or a worker.

    `state`: `open`; `closed` once it stopped as it was asked to; `gone` once a later start of its
    node was seen. `running` is how many attempts it holds; the totals say how attempts that it
    held ended. `version` is that of Goclaw, '' for who never opened a partition.
    """

    holder: str
    node: str
    state: str
    version: str
    running: int
    started_total: int
    completed_total: int
    failed_total: int
    cancelled_total: int
    lost_total: int
    first_seen_ns: int
    last_seen_ns: int


class RunningAttempt(NamedTuple):
    """An attempt that a holder has."""

    run_id: str
    task_id: str
    attempt: int
    holder: str
    started_at_ns: int


# A row: what one partition saw of a holder. All of it is sums, a minimum and a maximum.
(
    _RUNNING, _STARTED, _COMPLETED, _FAILED, _CANCELLED, _LOST, _FIRST, _LAST, _OPENED, _CLOSED,
    _VERSION,
) = range(11)  # fmt: skip

_ENDS: dict[type, int] = {
    facts.TaskCompleted: _COMPLETED,
    facts.AttemptFailed: _FAILED,
    facts.TaskCancelled: _CANCELLED,
    facts.AttemptLost: _LOST,
}


class WorkersProjection:
    """Fold attempts and the coming and going of processes.

    Rows: `holder/<holder>/<partition>`, and while it runs `attempt/<run id>/<task>`.
    """

    name = "workers"
    version = 1

    def apply(self, frame: ReadFrame, rows: Rows) -> None:
        """Change the rows by one frame."""
        holders = _Holders(frame, rows)
        for turn in frame.turns:
            if turn.kind == "task":
                _apply_task(turn, frame, holders, rows)
            elif turn.kind != "workflow":
                _apply_partition(turn, holders, rows)

    def reads(self, frame: ReadFrame, rows: Rows) -> Iterator[str]:  # noqa: ARG002 - all are named
        """Yield the attempts of tasks that began before."""
        for turn in frame.turns:
            if turn.kind == "task" and turn.seq > 1:
                yield "attempt/" + turn.name


class _Holders:
    """The rows of the holders that a frame names, fetched and put once."""

    __slots__ = ("_found", "_frame", "_rows")

    def __init__(self, frame: ReadFrame, rows: Rows) -> None:
        self._frame = frame
        self._rows = rows
        self._found: dict[str, list[Any]] = {}

    def of(self, holder: str) -> list[Any]:
        """Return what the frame's partition saw of a holder, to be changed."""
        row = self._found.get(holder)
        if row is None:
            row = self._found[holder] = _holder(holder, self._frame, self._rows)
        return row


def _apply_task(turn: ReadTurn, frame: ReadFrame, holders: _Holders, rows: Rows) -> None:
    key = "attempt/" + turn.name
    if turn.seq == 1:
        rows.absent(key)
    for fact in turn.facts:
        kind = type(fact)
        if kind is facts.AttemptStarted:
            before = rows.get(key)
            if before is not None:
                holders.of(before[0])[_RUNNING] -= 1
            rows.put(key, (fact.holder, fact.attempt, frame.time_ns))
            row = holders.of(fact.holder)
            row[_RUNNING] += 1
            row[_STARTED] += 1
        elif kind in _ENDS:
            attempt = rows.get(key)
            if attempt is not None:
                rows.delete(key)
                row = holders.of(attempt[0])
                row[_RUNNING] -= 1
                row[_ENDS[kind]] += 1
        elif kind in (facts.AttemptLimited, facts.AttemptSlept, facts.EndPutOff):
            attempt = rows.get(key)
            if attempt is not None:  # it ended, and is counted among those that began only
                rows.delete(key)
                holders.of(attempt[0])[_RUNNING] -= 1


def _apply_partition(turn: ReadTurn, holders: _Holders, rows: Rows) -> None:
    for fact in turn.facts:
        if isinstance(fact, facts.PartitionOpened):
            row = holders.of(f"{fact.node}:{fact.boot}")
            row[_OPENED] += 1
            row[_VERSION] = max(row[_VERSION], fact.version)
        elif isinstance(fact, facts.PartitionClosed):
            holders.of(f"{fact.node}:{fact.boot}")[_CLOSED] += 1
        elif isinstance(fact, facts.StreamPoisoned) and fact.stream.startswith("task/"):
            key = "attempt/" + fact.stream.partition("/")[2]
            attempt = rows.get(key)
            if attempt is not None:
                rows.delete(key)
                row = holders.of(attempt[0])
                row[_RUNNING] -= 1
                row[_FAILED] += 1


def _holder(holder: str, frame: ReadFrame, rows: Rows) -> list[Any]:
    key, time_ns = f"holder/{holder}/{frame.partition:04x}", frame.time_ns
    row: list[Any] | None = rows.get(key)
    if row is None:
        row = [0, 0, 0, 0, 0, 0, time_ns, time_ns, 0, 0, ""]
    elif time_ns > row[_LAST]:
        row[_LAST] = time_ns
    elif time_ns < row[_FIRST]:
        row[_FIRST] = time_ns
    rows.put(key, row)
    return row


class WorkersReader:
    """Answer questions about holders. Any thread; sees what the runner has written."""

    def __init__(self, store: ViewStore) -> None:
        self._rows = ServedRows(store, "workers")

    def list(
        self, *, state: str | None = None, limit: int = PAGE_LIMIT, cursor: str | None = None
    ) -> Page[WorkerView]:
        """Return holders in order of name; `state`: only those in it."""
        latest: dict[str, int] = {}
        for holder, row in self._holders(None):
            node = holder.rpartition(":")[0]
            latest[node] = max(latest.get(node, 0), row[_FIRST])
        wanted = None if state is None else (lambda worker: worker.state == state)
        after = None if cursor is None else f"holder/{cursor}/~"
        found = ((holder, _view(holder, row, latest)) for holder, row in self._holders(after))
        return page_of(found, limit, wanted)

    def _holders(self, after: str | None) -> Iterator[tuple[str, Any]]:
        """Yield what all partitions saw of each holder."""
        parts = (
            (key.split("/")[1], unpack(data))
            for key, data in self._rows.scan("holder/", after=after)
        )
        for holder, several in groupby(parts, key=lambda part: part[0]):
            yield holder, reduce(_merged, (row for _, row in several))

    def running(
        self, *, holder: str | None = None, limit: int = PAGE_LIMIT, cursor: str | None = None
    ) -> Page[RunningAttempt]:
        """Return the attempts that run, in order of run and task; `holder`: only its own."""
        wanted = None if holder is None else (lambda attempt: attempt.holder == holder)
        return page_of(self._attempts(cursor), limit, wanted)

    def _attempts(self, cursor: str | None) -> Iterator[tuple[str, RunningAttempt]]:
        after = None if cursor is None else "attempt/" + cursor
        for key, data in self._rows.scan("attempt/", after=after):
            _, run_id, task_id = key.split("/", 2)
            holder, attempt, started_ns = unpack(data)
            yield (
                f"{run_id}/{task_id}",
                RunningAttempt(run_id, task_id, attempt, holder, started_ns),
            )


def _merged(one: list[Any], other: list[Any]) -> list[Any]:
    row = [
        a + b if place < _FIRST else a for place, (a, b) in enumerate(zip(one, other, strict=True))
    ]
    row[_FIRST], row[_LAST] = min(one[_FIRST], other[_FIRST]), max(one[_LAST], other[_LAST])
    row[_OPENED], row[_CLOSED] = one[_OPENED] + other[_OPENED], one[_CLOSED] + other[_CLOSED]
    row[_VERSION] = max(one[_VERSION], other[_VERSION])
    return row


def _view(holder: str, row: list[Any], latest: Mapping[str, int]) -> WorkerView:
    node = holder.rpartition(":")[0]
    if row[_OPENED] and row[_CLOSED] >= row[_OPENED]:
        state = "closed"
    else:
        state = "open" if row[_FIRST] >= latest.get(node, 0) or not node else "gone"
    return WorkerView(
        holder, node, state, row[_VERSION], row[_RUNNING], row[_STARTED], row[_COMPLETED],
        row[_FAILED], row[_CANCELLED], row[_LOST], row[_FIRST], row[_LAST],
    )  # fmt: skip
