"""The rules of a schedule that is asked for: checked together, every fault is told at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_actors.schedule.naming import NAME_CHARS_MAX
from goclaw_events.durations import BadDuration, format_duration, parse_duration
from goclaw_events.errors import CodedError
from goclaw_events.ids import check_id
from goclaw_events.schedule import ScheduleInvalid, Timetable, check_zone, timetable_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw.schedule_setting import Asked

DAY_S: Final = 86_400.0


class Rules(NamedTuple):
    """When a schedule is due, and what counts as late."""

    table: Timetable
    jitter_ns: int
    late_ns: int


class Faults:
    """What is wrong with something, told at once."""

    def __init__(self) -> None:
        self._found: list[CodedError] = []

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Keep the error that is raised within, and go on behind it."""
        try:
            yield
        except CodedError as error:
            self._found.append(error)

    def __bool__(self) -> bool:
        return bool(self._found)

    def check(self) -> None:
        """Raise what was found: the one fault as it is, several as `ScheduleInvalid`."""
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            lines = "".join("\n  " + str(error).replace("\n", "\n  ") for error in self._found)
            msg = f"a schedule cannot be made so: {len(self._found)} faults{lines}"
            raise ScheduleInvalid(msg, faults=[error.message for error in self._found])


def rules_of(asked: Asked, now_ns: int, faults: Faults) -> Rules | None:
    """Return the rules that are asked for; None: `faults` say why not."""
    with faults.gathered():
        _check_name(asked.schedule)
    if asked.missed == "all" and asked.overlap != "queue":
        with faults.gathered():
            msg = "`missed: all` begins runs one after the other, and they cannot wait for each"
            raise ScheduleInvalid(f"{msg} other", hint="take `overlap: queue`, or `missed: one`")
    zone, table = asked.zone, None
    if asked.cron and zone:
        with faults.gathered():
            zone = ""
            check_zone(asked.zone)
            zone = asked.zone
    with faults.gathered():
        table = timetable_of(asked.cron, asked.every, zone, now_ns)
    jitter_ns = late_ns = 0
    with faults.gathered():
        jitter_ns = _jitter_ns(asked.jitter, table)
    with faults.gathered():
        late_ns = _duration_ns(asked.late, "what counts as late")
    return None if faults or table is None else Rules(table, jitter_ns, late_ns)


def _check_name(name: str) -> None:
    check_id(name, "schedule name")
    if len(name) > NAME_CHARS_MAX:
        msg = f"the name of a schedule has at most {NAME_CHARS_MAX} characters"
        raise ScheduleInvalid(msg, hint="its runs are named after it", length=len(name))


def _jitter_ns(jitter: str | float, table: Timetable | None) -> int:
    jitter_ns = _duration_ns(jitter, "a jitter")
    if table is not None and table.every_ns and jitter_ns > table.every_ns:
        every = format_duration(table.every_ns / 1e9)
        msg = f"the jitter is longer than the interval of {every}"
        raise ScheduleInvalid(msg)
    return jitter_ns


def _duration_ns(value: str | float, what: str) -> int:
    try:
        seconds = parse_duration(value)
    except BadDuration as error:
        raise ScheduleInvalid(f"{what}: {error.message}", hint=error.hint) from None
    if seconds > DAY_S:
        msg = f"{what} is at most a day, not {format_duration(seconds)}"
        raise ScheduleInvalid(msg)
    return int(seconds * 1e9)
