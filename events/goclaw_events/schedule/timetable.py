"""A timetable: the times at which something is due, by a cron expression or every so often."""

from __future__ import annotations

from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.schedule.cron import times_after

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT_MAX: Final = 1_000
"""What was due is counted so far: by cron, each time has to be found to be counted."""
_HOUR_NS: Final = 3_600_000_000_000
_WIDER: Final = 6


class Timetable(NamedTuple):
    """When something is due: by `cron` in `zone`, or (`cron` '') every `every_ns` from `anchor_ns`.

    The anchor itself is not due; the first time is `every_ns` later.
    """

    cron: str
    zone: str
    every_ns: int
    anchor_ns: int


class Due(NamedTuple):
    """What was due in a span: its `number` (-1: over `COUNT_MAX`), and the latest in order."""

    number: int
    latest: list[int]


def times(table: Timetable, after_ns: int) -> Iterator[int]:
    """Yield the times behind `after_ns`, in order."""
    if table.cron:
        yield from times_after(table.cron, table.zone, after_ns)
        return
    at_ns = table.anchor_ns + _turns(table, after_ns) * table.every_ns
    while True:
        at_ns += table.every_ns
        yield at_ns


def next_after(table: Timetable, after_ns: int) -> int:
    """Return the first time behind `after_ns`; 0 if there is none within fifty years."""
    return next(times(table, after_ns), 0)


def due(table: Timetable, first_ns: int, until_ns: int, latest_max: int) -> Due:
    """Return what is due from `first_ns` (a time of the table) until `until_ns`, both included.

    However long that is, it looks at a bounded number of times: the latest ones are found from the
    end, in spans that grow.
    """
    if until_ns < first_ns:
        return Due(0, [])
    if not table.cron:
        return _every(table, first_ns, until_ns, latest_max)
    many = list(islice(_until(table, first_ns - 1, until_ns), COUNT_MAX + 1))
    if len(many) <= COUNT_MAX:
        return Due(len(many), many[-latest_max:])
    span_ns = _HOUR_NS
    while True:
        found = list(_until(table, max(first_ns - 1, until_ns - span_ns), until_ns))
        if len(found) >= latest_max or until_ns - span_ns < first_ns:
            return Due(-1, found[-latest_max:])
        span_ns *= _WIDER


def _until(table: Timetable, after_ns: int, until_ns: int) -> Iterator[int]:
    return takewhile(lambda at_ns: at_ns <= until_ns, times(table, after_ns))


def _every(table: Timetable, first_ns: int, until_ns: int, latest_max: int) -> Due:
    count = (until_ns - first_ns) // table.every_ns + 1
    last_ns = first_ns + (count - 1) * table.every_ns
    shown = min(count, latest_max)
    latest = [last_ns - back * table.every_ns for back in reversed(range(shown))]
    return Due(count if count <= COUNT_MAX else -1, latest)


def _turns(table: Timetable, after_ns: int) -> int:
    """Return how many whole intervals lie before `after_ns`."""
    return max(0, (after_ns - table.anchor_ns) // table.every_ns)
