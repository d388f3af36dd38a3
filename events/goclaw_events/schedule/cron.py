"""Cron expressions: five fields as Debian's cron reads them, in a time zone (library: cronsim).

Where clocks change, as cron does: a job for fixed times of day that falls into the hour that is
left out is due when that hour would have begun to be over, and one in the hour that comes twice is
due the first time only; what runs every so many minutes, or every hour, goes by real time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND_NS: Final = 1_000_000_000
FIELDS: Final = 5
EXPRESSION_CHARS_MAX: Final = 200
NAMED: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""Names for expressions, as cron knows them."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_MAX: Final = 9_900
"""Beyond this, dates cannot be counted on."""


def parse(text: str) -> str:
    """Return an expression with its name, if it has one, replaced; raises `ValueError`."""
    expression = NAMED.get(text.strip().lower(), " ".join(text.split()))
    if len(expression) > EXPRESSION_CHARS_MAX:
        msg = f"it has more than {EXPRESSION_CHARS_MAX} characters"
        raise ValueError(msg)
    if len(expression.split()) != FIELDS:
        msg = "it has not five fields: minute, hour, day of month, month, day of week"
        raise ValueError(msg)
    try:
        CronSim(expression, _EPOCH)
    except CronSimError as error:
        msg = str(error)
        raise ValueError(msg[:1].lower() + msg[1:]) from None
    return expression


def times_after(expression: str, zone: str, after_ns: int) -> Iterator[int]:
    """Yield the times (ns, UTC) at which an expression is due, each once, in order.

    Ends where fifty years have none. `zone` is an IANA name.
    """
    begin = _EPOCH + timedelta(seconds=after_ns // SECOND_NS)
    if begin.year > _YEAR_MAX:
        return
    told_ns = after_ns
    for found in CronSim(expression, begin.astimezone(ZoneInfo(zone))):
        # An hour that comes twice, or not at all, has local times that say an instant again.
        found_ns = round((found - _EPOCH) / timedelta(seconds=1)) * SECOND_NS
        if found_ns > told_ns:
            yield found_ns
            told_ns = found_ns
