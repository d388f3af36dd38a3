"""The schedule with its states and messages, for docs/reference/states.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.collecting import MembersReported
from goclaw_actors.messages import TimerFired
from goclaw_actors.schedule import Schedule, schedule_decider
from goclaw_actors.scheduling import (
    DeleteSchedule,
    PauseSchedule,
    ResumeSchedule,
    SetSchedule,
    TriggerSchedule,
)
from goclaw_events.facts import (
    FiringPlanned,
    FiringQueued,
    ScheduleDeleted,
    ScheduleFired,
    SchedulePaused,
    ScheduleSet,
)
from scripts.aggregates import NOW_NS, REF, Aggregate, OnePlan

if TYPE_CHECKING:
    from collections.abc import Sequence

_MINUTE_NS: Final = 60_000_000_000
_ASKED: Final = SetSchedule(
    REF, "w", {}, {}, None, b"same", "", "UTC", _MINUTE_NS, 0, "queue", "one", _MINUTE_NS, 1, "",
    paused=False, replace=False, set_by="",
)  # fmt: skip


def schedule() -> Aggregate:
    """Return the schedule with its states and messages."""
    said = ScheduleSet(
        *_ASKED[:9], NOW_NS - _MINUTE_NS, 0, 0, "queue", "one", _MINUTE_NS, 1, "", False, "",
    )  # fmt: skip
    is_due = (said, FiringPlanned(NOW_NS, NOW_NS))
    fired = ScheduleFired(NOW_NS - _MINUTE_NS, NOW_NS - _MINUTE_NS, "s:1")
    queued = FiringQueued(NOW_NS - 1)
    skips = (said._replace(overlap="skip"), is_due[1], fired)
    cancels = (said._replace(overlap="cancel"), is_due[1], fired)
    states: dict[str, Sequence[Any]] = {
        "unknown": (),
        "active": is_due,
        "active (a run goes on; overlap: queue)": (*is_due, fired),
        "active (a run goes on, another waits)": (*is_due, fired, queued),
        "active (a run goes on; overlap: skip)": skips,
        "active (a run goes on; overlap: cancel)": cancels,
        "paused": (said, SchedulePaused("", "")),
        "paused (a run goes on, another waits)": (said, fired, queued, SchedulePaused("", "")),
        "deleted": (*is_due, ScheduleDeleted("")),
    }
    messages = {
        "SetSchedule": _ASKED,
        "SetSchedule of another one": _ASKED._replace(digest=b"other"),
        "SetSchedule of another one (replace)": _ASKED._replace(digest=b"other", replace=True),
        "TimerFired fire": TimerFired("fire"),
        "TriggerSchedule": TriggerSchedule(0, ""),
        "TriggerSchedule for a time that is over": TriggerSchedule(NOW_NS, ""),
        "TriggerSchedule for a time that is none": TriggerSchedule(NOW_NS - 1, ""),
        "MembersReported, its run completed": MembersReported("s:1", [["", 0, "completed", ""]]),
        "MembersReported of another run": MembersReported("s:0", [["", 0, "completed", ""]]),
        "PauseSchedule": PauseSchedule("why", ""),
        "ResumeSchedule": ResumeSchedule(""),
        "DeleteSchedule": DeleteSchedule(""),
    }
    decider = schedule_decider(OnePlan())
    about = "It is due every minute, and at this moment; one firing may wait."
    return Aggregate("Schedule", about, decider, "schedule/s", states, messages, _status)


def _status(state: Schedule) -> str:
    return state.status
