"""Schedules as records that people and other programs read: plain JSON data."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from goclaw.run_records import time_text
from goclaw_actors.alive import loaded
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.executors.resolve import resolved
from goclaw_events.durations import format_duration
from goclaw_events.ids import plain_id, schedule_stream
from goclaw_events.schedule import times

if TYPE_CHECKING:
    from goclaw.operations.ground import Ground
    from goclaw_actors.schedule import Schedule
    from goclaw_projections.schedules import ScheduleView

_SECOND_NS = 1_000_000_000


def schedule_summary(found: ScheduleView, next_max: int) -> dict[str, Any]:
    """Return what a listing says of a schedule, with so many of its next times."""
    ahead: list[int] = []
    if found.planned_ns:
        ahead = list(islice(times(found.timetable, found.planned_ns - 1), next_max))
    return {
        "schedule": found.name,
        "status": found.status,
        "kind": "saga" if found.is_saga else "workflow",
        "definition": found.definition,
        "cron": found.cron or None,
        "zone": found.zone if found.cron else None,
        "every": format_duration(found.every_ns / _SECOND_NS) if found.every_ns else None,
        "overlap": found.overlap,
        "missed": found.missed,
        "next": _instant(found.planned_ns),
        "next_times": [time_text(at_ns) for at_ns in ahead],
        "running": plain_id(found.running) or None,
        "waiting": len(found.waiting),
        "fired": found.fired,
        "skipped": found.skipped,
        "missed_count": found.missed_count,
        "last_planned": time_text(found.last_planned_ns),
        "last_fired": time_text(found.last_fired_ns),
        "last_run": plain_id(found.last_run) or None,
        "last_status": found.last_status or None,
        "made_at": time_text(found.made_at_ns),
        "reason": found.reason or None,
        "by": found.by or None,
    }


def schedule_record(ground: Ground, found: ScheduleView, next_max: int) -> dict[str, Any]:
    """Return all that is known of a schedule; values are whole."""
    journal = ground.journal
    kinds = deciders(StoredContents(journal))
    actor: Schedule = loaded(journal, kinds, schedule_stream(found.name)).state
    said = actor.said
    return {
        **schedule_summary(found, next_max),
        "version": actor.version,
        "late": format_duration(found.late_ns / _SECOND_NS),
        "delayed_by": format_duration(found.offset_ns / _SECOND_NS),
        "waiting_max": found.waiting_max,
        "waiting_times": [time_text(planned_ns) for planned_ns, _ in found.waiting],
        "input": None if said is None else resolved(said.input, ground.load),
        "planned_input": (said.planned_input or None) if said is not None else None,
        "labels": {} if said is None else dict(said.labels),
    }


def _instant(at_ns: int) -> str | None:
    return time_text(at_ns) if at_ns else None
