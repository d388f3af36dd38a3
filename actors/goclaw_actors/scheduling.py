"""What is said to schedules; of the runs that they begin they hear as collectors do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from goclaw_events.value import BlobRef, Value


class SetSchedule(NamedTuple):
    """Make a schedule; the fields are those of `ScheduleSet`, as far as they are asked for.

    `digest` is that of all that was asked, to tell repeats apart. `every_ns` 0: `cron` says when.
    `replace`: let it take the place of another one of the name.
    """

    definition: BlobRef
    name: str
    input: Value
    labels: dict[str, str]
    children: dict[str, BlobRef] | None
    digest: bytes
    cron: str
    zone: str
    every_ns: int
    jitter_ns: int
    overlap: str
    missed: str
    late_ns: int
    waiting_max: int
    planned_input: str
    paused: bool
    replace: bool
    set_by: str
    is_saga: bool = False


class PauseSchedule(NamedTuple):
    """Let nothing be due until it is resumed."""

    reason: str
    by: str


class ResumeSchedule(NamedTuple):
    """Go on, from now."""

    by: str


class TriggerSchedule(NamedTuple):
    """Fire now, whatever the time; with `planned_ns` for that time of the timetable, past by now.

    The answer's id is that of the run; of a saga its key.
    """

    planned_ns: int
    by: str


class DeleteSchedule(NamedTuple):
    """Be no more; the run that goes on does so."""

    by: str


SCHEDULE_MESSAGES: Final = (
    (SetSchedule, "schedule.set"),
    (PauseSchedule, "schedule.pause"),
    (ResumeSchedule, "schedule.resume"),
    (TriggerSchedule, "schedule.trigger"),
    (DeleteSchedule, "schedule.delete"),
)
"""Each with its name, which may stand in a log."""
