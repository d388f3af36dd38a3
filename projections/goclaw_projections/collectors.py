"""The view `collectors`: one row a collector, with how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events import facts
from goclaw_events.value import unpack
from goclaw_projections.page import PAGE_LIMIT, Page, page_of
from goclaw_projections.served import ServedRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_projections.projection import ReadFrame, ReadTurn
    from goclaw_projections.rows import Rows
    from goclaw_projections.store import ViewStore

OPEN: Final = "open"


class CollectorView(NamedTuple):
    """What is known of a collector.

    `status`: open, met, unmet, partial or cancelled; `reason` says why it ended. Of `members`,
    `ended` have, of which `completed` and `failed`. `more`: it may get further members; `live`:
    until it is closed. `task`: the stream of the task that opened it, '' where a command did;
    `run`: the run that makes a result of what was collected, ''. `vote` is that of a majority.
    """

    collector_id: str
    status: str
    rule: str
    members: int
    ended: int
    completed: int
    failed: int
    live: bool
    more: bool
    task: str
    run: str
    opened_by: str
    opened_at_ns: int
    ended_at_ns: int | None
    deadline_ns: int | None
    reason: str
    vote: str


# A row, in place changed: the fields of CollectorView but the id.
(
    _STATUS, _RULE, _MEMBERS, _ENDED, _COMPLETED, _FAILED, _LIVE, _MORE, _TASK, _RUN, _OPENED_BY,
    _OPENED_AT, _ENDED_AT, _DEADLINE, _REASON, _VOTE,
) = range(16)  # fmt: skip
_NEITHER: Final = frozenset({"completed", "skipped"})


class CollectorsProjection:
    """Fold the facts of collectors into rows `collector/<id>`."""

    name = "collectors"
    version = 1

    def apply(self, frame: ReadFrame, rows: Rows) -> None:
        """Change the rows by one frame."""
        for turn in frame.collectors:
            _apply_turn(turn, frame.time_ns, rows)


def _apply_turn(turn: ReadTurn, time_ns: int, rows: Rows) -> None:
    key = "collector/" + turn.name
    row: list[Any] | None = rows.get(key)
    for fact in turn.facts:
        if isinstance(fact, facts.CollectorOpened):
            row = _opened(fact, time_ns)
        elif row is None:
            continue  # its beginning was given up
        elif isinstance(fact, facts.MembersEnded):
            _count(row, fact)
        elif isinstance(fact, facts.MembersAdded):
            row[_MEMBERS] += sum(len(tasks) for _, tasks in fact.members)
            row[_MORE] = not fact.is_all
        elif isinstance(fact, facts.CollectorEnded):
            row[_STATUS], row[_REASON], row[_VOTE] = fact
            row[_ENDED_AT] = time_ns
    if row is not None:
        rows.put(key, row, final=row[_STATUS] != OPEN)


def _opened(fact: facts.CollectorOpened, time_ns: int) -> list[Any]:
    more = fact.select is not None
    deadline_ns = fact.deadline_ns or None
    return [
        OPEN, fact.rule, fact.members_count, 0, 0, 0, fact.live, more, fact.task, fact.run,
        fact.opened_by, time_ns, None, deadline_ns, "", "",
    ]  # fmt: skip


def _count(row: list[Any], fact: facts.MembersEnded) -> None:
    for _, _, status, _ in fact.ended:
        row[_ENDED] += 1
        row[_COMPLETED] += status == "completed"
        row[_FAILED] += status not in _NEITHER


class CollectorsReader:
    """Answer questions about collectors. Any thread; sees what the runner has written."""

    def __init__(self, store: ViewStore) -> None:
        self._rows = ServedRows(store, "collectors")

    def get(self, collector_id: str) -> CollectorView | None:
        """Return a collector, or None."""
        data = self._rows.get("collector/" + collector_id)
        return None if data is None else CollectorView(collector_id, *unpack(data))

    def list(
        self, *, status: str | None = None, limit: int = PAGE_LIMIT, cursor: str | None = None
    ) -> Page[CollectorView]:
        """Return collectors in order of their ids; `status`: only those in it."""
        wanted = None if status is None else (lambda found: found.status == status)
        return page_of(self._all(cursor), limit, wanted)

    def _all(self, cursor: str | None) -> Iterator[tuple[str, CollectorView]]:
        after = None if cursor is None else "collector/" + cursor
        for key, data in self._rows.scan("collector/", after=after):
            name = key[len("collector/") :]
            yield name, CollectorView(name, *unpack(data))
