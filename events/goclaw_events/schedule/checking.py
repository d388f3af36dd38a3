"""What is asked of a schedule's times, checked: expression, interval and time zone."""

from __future__ import annotations

from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from goclaw_events.durations import format_duration, parse_duration
from goclaw_events.errors import EventsError
from goclaw_events.faults import Suggester
from goclaw_events.schedule.cron import SECOND_NS, parse
from goclaw_events.schedule.timetable import Timetable, next_after

UTC: Final = "UTC"
EVERY_S_MIN: Final = 1.0
_SHOWN_MAX: Final = 80


class ScheduleInvalid(EventsError):
    """What was asked of a schedule cannot be: its times, its zone, or rules that do not fit."""

    code = "schedule_invalid"


def timetable_of(cron: str, every: object, zone: str, now_ns: int) -> Timetable:
    """Return a timetable that begins now; `every` is a duration, None where `cron` says it.

    Raises `ScheduleInvalid`, `BadDuration`.
    """
    if bool(cron) == (every is not None):
        msg = "a schedule has either a cron expression or an interval"
        raise ScheduleInvalid(msg, hint='cron: "0 2 * * *", or every: 15m')
    if every is not None:
        if zone not in ("", UTC):
            msg = "an interval goes by real time and has no time zone"
            raise ScheduleInvalid(msg, hint="use a cron expression", zone=zone)
        anchor_ns = -(-now_ns // SECOND_NS) * SECOND_NS
        return Timetable("", UTC, _interval_ns(every), anchor_ns)
    check_zone(zone or UTC)
    try:
        expression = parse(cron)
    except ValueError as error:
        msg = f"{cron[:_SHOWN_MAX]!r} is not a cron expression: {error}"
        hint = "minute hour day-of-month month day-of-week, such as `30 2 * * MON-FRI`"
        raise ScheduleInvalid(msg, hint=hint, cron=cron[:_SHOWN_MAX]) from None
    table = Timetable(expression, zone or UTC, 0, 0)
    if not next_after(table, now_ns):
        msg = f"{expression!r} is never due: no day of the next fifty years is like that"
        raise ScheduleInvalid(msg, cron=expression)
    return table


def _interval_ns(every: object) -> int:
    every_s = parse_duration(every)
    if every_s < EVERY_S_MIN or every_s != int(every_s):
        msg = f"an interval of {format_duration(every_s)} is not whole seconds, one or more"
        raise ScheduleInvalid(msg, every=str(every)[:_SHOWN_MAX])
    return int(every_s) * SECOND_NS


def check_zone(zone: str) -> None:
    """Raise `ScheduleInvalid` where no time zone of this name is known."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = Suggester().hint(zone[:_SHOWN_MAX], available_timezones())
        msg = f"there is no time zone {zone[:_SHOWN_MAX]!r}"
        hint = hint or "use a name of the IANA database, such as Europe/Berlin"
        raise ScheduleInvalid(msg, hint=hint, zone=zone[:_SHOWN_MAX]) from None
