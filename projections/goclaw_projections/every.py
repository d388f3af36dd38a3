"""Every projection of this version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_projections.collectors import CollectorsProjection
from goclaw_projections.counts import CountsProjection
from goclaw_projections.dead_letters import DeadProjection
from goclaw_projections.durations import DurationsProjection
from goclaw_projections.inbox import InboxProjection
from goclaw_projections.lanes import LanesProjection
from goclaw_projections.runs import RunsProjection
from goclaw_projections.sagas import SagasProjection
from goclaw_projections.schedules import SchedulesProjection
from goclaw_projections.tasks import TasksProjection
from goclaw_projections.timeline import TimelineProjection
from goclaw_projections.workers import WorkersProjection

if TYPE_CHECKING:
    from goclaw_projections.projection import Projection


def all_projections() -> list[Projection]:
    """Return every projection of this version, new ones."""
    return [
        RunsProjection(),
        SagasProjection(),
        TasksProjection(),
        TimelineProjection(),
        LanesProjection(),
        CountsProjection(),
        WorkersProjection(),
        DurationsProjection(),
        CollectorsProjection(),
        DeadProjection(),
        SchedulesProjection(),
        InboxProjection(),
    ]
