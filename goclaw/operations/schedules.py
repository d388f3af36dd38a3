"""Schedules: made, looked at, paused, triggered, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from goclaw.asker import asker
from goclaw.errors import ScheduleNotFound
from goclaw.operations.operation import IfVersion, Params, act, read
from goclaw.operations.runs import LIST_MAX, MinPosition
from goclaw.operations.work import Document
from goclaw.results import CommandRefused
from goclaw.schedule_records import schedule_record, schedule_summary
from goclaw.schedule_setting import Asked, setting_of
from goclaw_actors.scheduling import (
    DeleteSchedule,
    PauseSchedule,
    ResumeSchedule,
    TriggerSchedule,
)
from goclaw_events.ids import check_id, is_saga, plain_id, schedule_stream
from goclaw_events.instants import parse_instant

if TYPE_CHECKING:
    from goclaw.engine import Engine
    from goclaw.operations.ground import Ground

REASON_MAX: Final = 1_000
NEXT_MAX: Final = 100
Duration = str | int | float


class CreateSchedule(Params):
    """What to run, when, and by which rules."""

    schedule: str
    """Its name."""
    definition: Document | None = None
    """What to run: the definition itself, of a workflow or a saga."""
    name: str | None = None
    """Or the `NAME` or `NAME@VERSION` under which it is registered: as it is now."""
    input: Annotated[dict[str, Any], Field(default_factory=dict)]
    """The input of each run, by name."""
    labels: Annotated[dict[str, str], Field(default_factory=dict)]
    """Labels of each run, besides those of the definition."""
    cron: str = ""
    """When: minute, hour, day of month, month, day of week; or `@daily` and the like."""
    every: Duration | None = None
    """Or how often: whole seconds, or a duration such as `15m`."""
    zone: str = ""
    """The time zone of `cron` (an IANA name; '': UTC)."""
    jitter: Duration = 0
    """Begin later by an amount below this: for one schedule always the same."""
    overlap: Literal["skip", "queue", "cancel"] = "skip"
    """What becomes of a firing while the run of an earlier one goes on."""
    missed: Literal["skip", "one", "all"] = "one"
    """What becomes of firings that nobody was there for; `all` needs `overlap: queue`."""
    late: Duration = 60
    """What is later than this was missed."""
    waiting_max: Annotated[int, Field(ge=1, le=1_000)] = 100
    """So many firings wait, or are made up for."""
    planned_input: str = ""
    """The input that is given the planned time (`2026-03-01T02:30:00Z`)."""
    paused: bool = False
    """Make it, but let it not be due yet."""
    replace: bool = False
    """Let it take the place of another schedule of the name."""
    command_id: str | None = None
    """The same command again gives the same answer."""
    if_version: IfVersion = None
    """Only if the schedule still has this version."""

    @model_validator(mode="after")
    def _one_of_both(self) -> CreateSchedule:
        if (self.definition is None) == (self.name is None):
            raise ValueError("give either `definition` or `name`")
        return self


class NameSchedule(Params):
    """Which schedule."""

    schedule: str
    """Its name."""
    command_id: str | None = None
    """The same command again gives the same answer."""
    if_version: IfVersion = None
    """Only if the schedule still has this version."""


class Pause(NameSchedule):
    """Which schedule, and why."""

    reason: Annotated[str, Field(max_length=REASON_MAX)] = ""
    """Why; it is recorded."""


class Trigger(NameSchedule):
    """Which schedule, and for which time."""

    at: str | None = None
    """A time of its timetable that is over (RFC 3339); None: none of them, but now."""


class ListSchedules(Params):
    """Which schedules."""

    status: Literal["active", "paused"] | None = None
    """Only those in this state."""
    limit: Annotated[int, Field(ge=1, le=LIST_MAX)] = 100
    """At most so many."""
    cursor: str | None = None
    """Go on where a page ended."""
    next: Annotated[int, Field(ge=0, le=NEXT_MAX)] = 3
    """With so many of the next times of each."""
    min_position: MinPosition = None


class ShowSchedule(Params):
    """Which schedule, and how far ahead."""

    schedule: str
    """Its name."""
    next: Annotated[int, Field(ge=0, le=NEXT_MAX)] = 5
    """With so many of its next times."""
    min_position: MinPosition = None


async def _create(engine: Engine, asked: CreateSchedule) -> dict[str, Any]:
    check_id(asked.schedule, "schedule name")
    what: Any = asked.name
    if asked.definition is not None:
        said = asked.definition
        what = await engine.document(said.text, said.format, said.source)
    rules = asked.model_dump(include=set(Asked._fields))
    body, blobs = setting_of(engine, what, Asked(**rules), asker())
    return await _say(engine, asked, body, blobs)


def _list(ground: Ground, asked: ListSchedules) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    page = ground.views.schedules.list(status=asked.status, limit=asked.limit, cursor=asked.cursor)
    return {
        "schedules": [schedule_summary(found, asked.next) for found in page.items],
        "cursor": page.cursor,
    }


def _show(ground: Ground, asked: ShowSchedule) -> dict[str, Any]:
    ground.wait_for(asked.min_position)
    found = ground.views.schedules.get(asked.schedule)
    if found is None:
        msg = f"there is no schedule {asked.schedule[:200]}"
        raise ScheduleNotFound(msg, hint="goclaw schedules list")
    return schedule_record(ground, found, asked.next)


async def _pause(engine: Engine, asked: Pause) -> dict[str, Any]:
    return await _say(engine, asked, PauseSchedule(asked.reason, asker()))


async def _resume(engine: Engine, asked: NameSchedule) -> dict[str, Any]:
    return await _say(engine, asked, ResumeSchedule(asker()))


async def _delete(engine: Engine, asked: NameSchedule) -> dict[str, Any]:
    return await _say(engine, asked, DeleteSchedule(asker()))


async def _trigger(engine: Engine, asked: Trigger) -> dict[str, Any]:
    at_ns = 0 if asked.at is None else parse_instant(asked.at)
    said = await _say(engine, asked, TriggerSchedule(at_ns, asker()))
    begun = plain_id(said["id"])
    kinds = ("saga_id", "run_id") if is_saga(said["id"]) else ("run_id", "saga_id")
    return {**said, "id": begun, **dict(zip(kinds, (begun, None), strict=True))}


async def _say(
    engine: Engine,
    asked: NameSchedule | CreateSchedule,
    body: Any,
    blobs: dict[bytes, bytes] | None = None,
) -> dict[str, Any]:
    stream = schedule_stream(check_id(asked.schedule, "schedule name"))
    try:
        accepted, position = await engine.command(
            stream, body, asked.command_id, blobs=blobs, if_version=asked.if_version
        )
    except CommandRefused as error:
        if error.code == ScheduleNotFound.code:
            raise ScheduleNotFound(error.message, hint=error.hint) from error
        raise
    return {
        "schedule": asked.schedule,
        "id": accepted.id,
        "repeated": accepted.repeated,
        "position": None if position is None else str(position),
    }


_ANSWER: Final = "`{schedule, id, repeated, position}`"
OPERATIONS: Final = (
    act("schedules.create", CreateSchedule, _create,
        "Make a schedule: runs, or sagas, begin by it while an engine works on the log.", _ANSWER,
        idle=True),
    read("schedules.list", ListSchedules, _list, "List schedules, by name.",
         "`{schedules: [summary], cursor}`; a cursor goes on"),
    read("schedules.show", ShowSchedule, _show, "Show a schedule, and its next times.",
         "the record"),
    act("schedules.pause", Pause, _pause, "Let nothing be due until it is resumed.", _ANSWER,
        idle=True),
    act("schedules.resume", NameSchedule, _resume, "Go on, from now.", _ANSWER, idle=True),
    act("schedules.trigger", Trigger, _trigger, "Fire now, or for a time that is over.",
        "`{schedule, id, repeated, position, run_id, saga_id}`", safe=False),
    act("schedules.delete", NameSchedule, _delete, "Be no more; the run that goes on does so.",
        _ANSWER, idle=True),
)  # fmt: skip
