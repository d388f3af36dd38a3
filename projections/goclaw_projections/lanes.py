"""The view `lanes`: one row a lane, with what waits in it and since when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events import facts
from goclaw_events.value import unpack
from goclaw_projections.page import PAGE_LIMIT, Page, page_of
from goclaw_projections.served import ServedRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from goclaw_projections.projection import ReadFrame, ReadTurn
    from goclaw_projections.rows import Rows
    from goclaw_projections.store import ViewStore


class LaneView(NamedTuple):
    """What is known of a lane: `digest/io`, or `/io` for one that all definitions share.

    The limits are None before anybody declared them; `limits` are declared besides them, by the
    names of a definition, and `live` holds what somebody set over all of these. `mode` is `open`,
    `paused` or `draining`; `version` counts changes of it and of `live`, the last of which came at
    `changed_at_ns`, from `changed_by` (who the transport proved it was, and who they said).
    `scaled` is how many slots a lane that scales had last (0: as few as it may).
    Before `held_until_ns` nothing is lent, because a task met the rate limit of whom it asked.
    `running` tasks hold a slot, `queued` wait
    for one, `queued_by_priority` says how many of each priority, `oldest_queued_at_ns` since when
    the first of them waits. Totals count from the beginning of the log: `arrived` entered the
    queue (retries too), `leased` got a slot, `released` gave it back, `withdrawn` left the
    queue without one; `waited_ns` sums how long the leased had waited. Each task that asks comes to
    one of `arrived`, `refused` (told no), `dropped` (to make room) and `redirected` (to another
    lane); `blocked` counts runs that wait for room.
    `poisoned` is the code of why the lane cannot go on, or ''.
    """

    lane: str
    concurrency: int | None
    capacity: int | None
    overflow: str | None
    declared_by: str
    queued: int
    running: int
    arrived_total: int
    leased_total: int
    released_total: int
    withdrawn_total: int
    refused_total: int
    waited_ns_total: int
    updated_at_ns: int
    poisoned: str
    dropped_total: int
    redirected_total: int
    blocked: int
    queued_by_priority: Mapping[int, int]
    limits: Mapping[str, Any]
    live: Mapping[str, Any]
    mode: str
    version: int
    changed_by: tuple[str, str]
    changed_at_ns: int | None
    held_until_ns: int | None
    scaled: int
    oldest_queued_at_ns: int | None


# A row, in place changed: the fields of LaneView but the id and the last one.
(
    _CONCURRENCY, _CAPACITY, _OVERFLOW, _DECLARED_BY, _QUEUED, _RUNNING, _ARRIVED, _LEASED,
    _RELEASED, _WITHDRAWN, _REFUSED, _WAITED, _UPDATED, _POISONED, _DROPPED, _REDIRECTED,
    _BLOCKED, _PRIORITIES, _LIMITS, _LIVE, _MODE, _VERSION, _CHANGED_BY, _CHANGED_AT, _HELD,
    _SCALED,
) = range(26)  # fmt: skip
_NEW: Final = (None, None, None, "", 0, 0, 0, 0, 0, 0, 0, 0, 0, "", 0, 0, 0)
_OF_REASON: Final = {"lane_dropped": _DROPPED}


class LanesProjection:
    """Fold the facts of lanes.

    Rows: `lane/<lane>`; while a task waits `task/<lane>/<stream>` with its priority and arrival;
    for each time at which waiting tasks came `since/<lane>/<time>` with how many of them are left.
    """

    name = "lanes"
    version = 5

    def apply(self, frame: ReadFrame, rows: Rows) -> None:
        """Change the rows by one frame."""
        for turn in frame.lanes:
            _apply_turn(turn, frame.time_ns, rows)
        for turn in frame.others:
            if turn.kind[0] == "$":
                _apply_poisoned(turn, frame.time_ns, rows)

    def reads(self, frame: ReadFrame, rows: Rows) -> Iterator[str]:  # noqa: ARG002 - all are named
        """Yield those who leave a queue."""
        for turn in frame.lanes:
            for fact in turn.facts:
                if type(fact) is facts.LaneAdvanced:
                    for task in (*fact.withdrawn, *fact.leased):
                        yield f"task/{turn.run_id}/{turn.task_id}/{task}"


def _row_of(lane: str, rows: Rows) -> list[Any]:
    row: list[Any] | None = rows.get("lane/" + lane)
    return [*_NEW, {}, {}, {}, "open", 0, ("", ""), None, None, 0] if row is None else row


def _apply_turn(turn: ReadTurn, time_ns: int, rows: Rows) -> None:
    lane = f"{turn.run_id}/{turn.task_id}"
    row = _row_of(lane, rows)
    for fact in turn.facts:
        if type(fact) is facts.LaneAdvanced:
            _advance(lane, row, fact, time_ns, rows)
        elif type(fact) is facts.LaneDeclared:
            row[:4] = fact[:4]
            row[_LIMITS] = fact.limits or {}
        elif type(fact) is facts.LaneControlled:
            row[_MODE], row[_LIVE], row[_VERSION] = fact[:3]
            row[_CHANGED_BY], row[_CHANGED_AT] = fact[3:], time_ns
        elif type(fact) is facts.LaneScaled:
            row[_SCALED] = fact.concurrency
        elif type(fact) is facts.LaneHeld:
            row[_HELD] = fact.until_ns or None
        elif type(fact) is facts.LaneRefused:
            row[_OF_REASON.get(fact.reason, _REFUSED)] += len(fact.tasks)
        elif type(fact) is facts.LaneRedirected:
            row[_REDIRECTED] += len(fact.tasks)
        elif type(fact) is facts.LaneRoomChanged:
            change = len(fact.came) - len(fact.left) - len(fact.given)
            row[_BLOCKED] = max(0, row[_BLOCKED] + change)  # less: before the view's beginning
    row[_UPDATED] = time_ns
    rows.put("lane/" + lane, row)


def _apply_poisoned(turn: ReadTurn, time_ns: int, rows: Rows) -> None:
    for fact in turn.facts:
        if isinstance(fact, facts.StreamPoisoned) and fact.stream.startswith("lane/"):
            lane = fact.stream.partition("/")[2]
            row = _row_of(lane, rows)
            row[_POISONED], row[_UPDATED] = fact.code, time_ns
            rows.put("lane/" + lane, row)


def _advance(lane: str, row: list[Any], fact: facts.LaneAdvanced, time_ns: int, rows: Rows) -> None:
    released, withdrawn, queued, leased = fact[:4]
    # less than none: they were lent before the view's beginning
    row[_RUNNING] = max(0, row[_RUNNING] + len(leased) - len(released))
    row[_RELEASED] += len(released)
    row[_LEASED] += len(leased)
    row[_ARRIVED] += len(queued)
    row[_WITHDRAWN] += len(withdrawn)
    for task in withdrawn:
        _leave(lane, row, task, rows)
    at_once = set(leased) if queued and leased else ()
    passed = set()
    for task, priority, *_ in queued:
        if task in at_once:
            passed.add(task)
        else:
            _wait(lane, row, task, priority, time_ns, rows)
    for task in leased:
        if task not in passed:
            since_ns = _leave(lane, row, task, rows)
            if since_ns is not None:
                row[_WAITED] += time_ns - since_ns


def _wait(lane: str, row: list[Any], task: str, priority: int, time_ns: int, rows: Rows) -> None:
    row[_QUEUED] += 1
    row[_PRIORITIES][priority] = row[_PRIORITIES].get(priority, 0) + 1
    key = f"task/{lane}/{task}"
    rows.absent(key)  # a lane takes a task in only while it has it not
    rows.put(key, (priority, time_ns))
    since = f"since/{lane}/{time_ns:016x}"
    rows.put(since, (rows.get(since) or 0) + 1)


def _leave(lane: str, row: list[Any], task: str, rows: Rows) -> int | None:
    """Take a task out of those that wait; return when it came, None where it did not wait."""
    key = f"task/{lane}/{task}"
    entry = rows.get(key)
    if entry is None:
        return None
    rows.delete(key)
    priority, since_ns = entry
    row[_QUEUED] -= 1
    left = row[_PRIORITIES][priority] - 1
    if left:
        row[_PRIORITIES][priority] = left
    else:
        del row[_PRIORITIES][priority]
    since = f"since/{lane}/{since_ns:016x}"
    others = rows.get(since) - 1
    if others:
        rows.put(since, others)
    else:
        rows.delete(since)
    return int(since_ns)


def _is_busy(lane: LaneView) -> bool:
    return bool(lane.queued or lane.running)


class LanesReader:
    """Answer questions about lanes. Any thread; sees what the runner has written."""

    def __init__(self, store: ViewStore) -> None:
        self._rows = ServedRows(store, "lanes")

    def get(self, lane: str) -> LaneView | None:
        """Return a lane, or None."""
        data = self._rows.get("lane/" + lane)
        return None if data is None else self._view(lane, data)

    def list(
        self,
        *,
        definition: str | None = None,
        busy: bool = False,
        limit: int = PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[LaneView]:
        """Return lanes in order of id.

        `definition`: only its own ('': only shared ones). `busy`: only with tasks in them.
        """
        prefix = "lane/" if definition is None else f"lane/{definition}/"
        after = None if cursor is None else "lane/" + cursor
        found = self._found(prefix, after)
        return page_of(found, limit, _is_busy if busy else None)

    def _found(self, prefix: str, after: str | None) -> Iterator[tuple[str, LaneView]]:
        for key, data in self._rows.scan(prefix, after=after):
            lane = key.partition("/")[2]
            yield lane, self._view(lane, data)

    def _view(self, lane: str, data: bytes) -> LaneView:
        row = unpack(data)
        oldest_ns = None
        if row[_QUEUED]:
            for key, _ in self._rows.scan(f"since/{lane}/"):
                oldest_ns = int(key.rpartition("/")[2], 16)
                break
        row[_CHANGED_BY] = tuple(row[_CHANGED_BY])
        row[_PRIORITIES] = dict(sorted(row[_PRIORITIES].items(), reverse=True))
        return LaneView._make((lane, *row, oldest_ns))
