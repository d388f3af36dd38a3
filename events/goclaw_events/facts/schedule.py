"""What became of a schedule. Stream `schedule/<name>`.

A firing is one time at which the schedule is due (`planned_ns`), or one that somebody asked for
(`trigger`: the how-manieth time somebody did, 0: it is one of the timetable, -1: of the timetable,
made up for by hand). Each leads to one run, or to a fact that says why it does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from goclaw_events.value import BlobRef, Value


class ScheduleSet(NamedTuple):
    """A schedule was made, or made another one.

    What it runs: `definition`, `name`, `input`, `labels` and `children`, as in `RunSubmitted`.
    When: `cron` in `zone`, or every `every_ns` from `anchor_ns`; all `offset_ns` later, which is
    less than `jitter_ns`. `overlap` (skip, queue, cancel): what becomes of a firing while the run
    of an earlier one goes on. `missed` (skip, one, all): of firings that are more than `late_ns`
    late. `waiting_max`: so many firings wait at most, and are made up for. `planned_input`: the
    input that is given the planned time, '' if none is. `paused`: it begins so. `is_saga`: each
    firing begins a saga.
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
    anchor_ns: int
    jitter_ns: int
    offset_ns: int
    overlap: str
    missed: str
    late_ns: int
    waiting_max: int
    planned_input: str
    paused: bool
    set_by: str
    is_saga: bool = False


class FiringPlanned(NamedTuple):
    """The next time of the schedule is this one, and its firing is `due_ns`; 0: there is none."""

    planned_ns: int
    due_ns: int


class ScheduleFired(NamedTuple):
    """A firing began its run, at `fired_ns`. `by`: who asked for it. `run_id`: a saga's key."""

    planned_ns: int
    fired_ns: int
    run_id: str
    trigger: int = 0
    by: str = ""


class FiringQueued(NamedTuple):
    """A firing waits until the run of an earlier one has ended."""

    planned_ns: int
    trigger: int = 0
    by: str = ""


class FiringsSkipped(NamedTuple):
    """Firings lead to no run: the `number` of them planned from `first_ns` to `last_ns`.

    `number` -1: more than are counted.

    `reason`: `missed` (nothing ran when they were due), `overlap`, `queue_full`, `replaced` (a
    later one took their place), `deleted`.
    """

    first_ns: int
    last_ns: int
    number: int
    reason: str


class FiredRunEnded(NamedTuple):
    """The run of a firing ended: completed, failed, cancelled, or unknown (it is not kept)."""

    run_id: str
    status: str


class SchedulePaused(NamedTuple):
    """Until it is resumed nothing is due, and what waits does not begin."""

    reason: str
    by: str


class ScheduleResumed(NamedTuple):
    """The schedule goes on, from now; what would have been due meanwhile is not."""

    by: str


class ScheduleDeleted(NamedTuple):
    """The schedule is no more, until another one is made under its name; its run goes on."""

    by: str


ScheduleFact: TypeAlias = (
    ScheduleSet
    | FiringPlanned
    | ScheduleFired
    | FiringQueued
    | FiringsSkipped
    | FiredRunEnded
    | SchedulePaused
    | ScheduleResumed
    | ScheduleDeleted
)
"""What happened to a schedule."""
