"""From what somebody asks of a schedule to the command that makes it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw.children import children_of
from goclaw.submission import request_of
from goclaw_actors.schedule.naming import NAME_CHARS_MAX, planned_text
from goclaw_actors.scheduling import SetSchedule
from goclaw_events.durations import format_duration, parse_duration
from goclaw_events.ids import check_id
from goclaw_events.schedule import ScheduleInvalid, Timetable, timetable_of
from goclaw_events.value import pack

if TYPE_CHECKING:
    from goclaw.engine import Engine
    from goclaw.submission import Prepared, Submittable

DAY_S: Final = 86_400.0
_STRING: Final = "string"


class Asked(NamedTuple):
    """What is asked of a schedule besides what it runs: see `operations.schedules`."""

    schedule: str
    input: dict[str, Any]
    labels: dict[str, str]
    cron: str
    every: str | float | None
    zone: str
    jitter: str | float
    overlap: str
    missed: str
    late: str | float
    waiting_max: int
    planned_input: str
    paused: bool
    replace: bool


def setting_of(
    engine: Engine, what: Submittable, asked: Asked, set_by: str
) -> tuple[SetSchedule, dict[bytes, bytes]]:
    """Return the command, and the blobs that it refers to; the definition is kept as it is now.

    Whether the agents are known is asked of an engine that works only. Raises `ScheduleInvalid`,
    `BadDuration`, and what submitting a run raises.
    """
    _check_name(asked.schedule)
    if asked.missed == "all" and asked.overlap != "queue":
        msg = "`missed: all` begins runs one after the other, and they cannot wait for each other"
        raise ScheduleInvalid(msg, hint="take `overlap: queue`, or `missed: one`")
    table = timetable_of(asked.cron, asked.every, asked.zone, engine.parts.clock.now_ns())
    jitter_ns = _jitter_ns(asked.jitter, table)
    late_ns = _duration_ns(asked.late, "what counts as late")
    find = engine.compiled if engine.idle else engine.child
    prepared = engine.compiled(what) if engine.idle else engine.prepare(what)
    children = children_of(prepared, find)
    given = dict(asked.input)
    if asked.planned_input:
        _check_planned(prepared, asked.planned_input)
        given[asked.planned_input] = planned_text(0)
    request = request_of(prepared, given, asked.labels)
    for one in children.values():
        request.blobs[one.ref.sha256] = one.data
    for one in (prepared, *children.values()):
        engine.parts.contents.hold(one.ref, one.plan)
    if any(one.plan.steps for one in (prepared, *children.values())):
        engine.parts.declare_sagas()
    refs = {name: child.ref for name, child in children.items()} or None
    rules = (
        table.cron, table.zone, table.every_ns, jitter_ns, asked.overlap, asked.missed, late_ns,
        asked.waiting_max, asked.planned_input,
    )  # fmt: skip
    said = [request.digest, sorted((name, ref.sha256) for name, ref in (refs or {}).items())]
    digest = sha256(pack([*said, rules])).digest()
    name = prepared.plan.name
    setting = SetSchedule(
        prepared.ref, name, request.input, request.labels, refs, digest, *rules,
        paused=asked.paused, replace=asked.replace, set_by=set_by,
        is_saga=bool(prepared.plan.steps),
    )  # fmt: skip
    return setting, request.blobs


def _check_name(name: str) -> None:
    check_id(name, "schedule name")
    if len(name) > NAME_CHARS_MAX:
        msg = f"the name of a schedule has at most {NAME_CHARS_MAX} characters"
        raise ScheduleInvalid(msg, hint="its runs are named after it", length=len(name))


def _check_planned(prepared: Prepared, name: str) -> None:
    known = {item.name for item in prepared.plan.inputs if item.type == _STRING}
    if name not in known:
        msg = f"{prepared.plan.name} declares no input {name!r} of type string"
        raise ScheduleInvalid(msg, hint="the planned time is a text", inputs=sorted(known))


def _jitter_ns(jitter: str | float, table: Timetable) -> int:
    jitter_ns = _duration_ns(jitter, "a jitter")
    if table.every_ns and jitter_ns > table.every_ns:
        every = format_duration(table.every_ns / 1e9)
        msg = f"the jitter is longer than the interval of {every}"
        raise ScheduleInvalid(msg)
    return jitter_ns


def _duration_ns(value: str | float, what: str) -> int:
    seconds = parse_duration(value)
    if seconds > DAY_S:
        msg = f"{what} is at most a day, not {format_duration(seconds)}"
        raise ScheduleInvalid(msg)
    return int(seconds * 1e9)
