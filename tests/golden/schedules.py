"""The part of the golden play in which schedules are made, fire, wait, are missed and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_actors.message import Message
from goclaw_actors.scheduling import (
    DeleteSchedule,
    PauseSchedule,
    ResumeSchedule,
    SetSchedule,
    TriggerSchedule,
)
from goclaw_events.ids import schedule_stream
from goclaw_events.plan import pack_plan
from goclaw_events.value import blob_of
from tests.actors.given import plan_of
from tests.actors.stage import ONE

if TYPE_CHECKING:
    from tests.actors.stage import Stage

_HOUR_NS = 3_600 * 10**9


def set_schedule(stage: Stage, name: str, **changes: Any) -> None:
    """Make a schedule of every hour."""
    data = pack_plan(plan_of(ONE, input={"at": {"type": "string"}}))
    asked = SetSchedule(
        blob_of(data), "w", {}, {"k": "v"}, None, name.encode(), "", "UTC", _HOUR_NS, 10**9,
        "queue", "one", 60 * 10**9, 5, "at", paused=False, replace=False, set_by="golden",
    )  # fmt: skip
    message = Message(schedule_stream(name), asked._replace(**changes))
    message.blobs = {blob_of(data).sha256: data}
    stage.node.accept(message)
    stage.rest()


def scheduled(stage: Stage) -> None:
    """Let schedules fire on time, late, by hand and not at all; then they are deleted."""
    set_schedule(stage, "hourly")
    set_schedule(stage, "nightly", cron="30 2 * * *", zone="Europe/Berlin", every_ns=0)
    for hours in (1, 1, 100):
        stage.clock.ns += hours * _HOUR_NS + 10 * 10**9
        stage.rest()
    for body in (TriggerSchedule(0, "golden"), PauseSchedule("quiet", "golden")):
        stage.node.accept(Message(schedule_stream("nightly"), body))
        stage.rest()
    for attempt in list(stage.executor.held.values()):
        if attempt.run_id.partition(":")[0] in ("hourly", "nightly"):
            stage.end(attempt, value={"n": 1})
    stage.rest()
    stage.node.accept(Message(schedule_stream("nightly"), ResumeSchedule("golden")))
    stage.rest()
    for name in ("hourly", "nightly"):
        stage.node.accept(Message(schedule_stream(name), DeleteSchedule("golden")))
    stage.rest()
