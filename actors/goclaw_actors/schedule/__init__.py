"""A schedule: begins a run of a definition whenever its timetable, or somebody, says so."""

from goclaw_actors.schedule.decide import schedule_decider
from goclaw_actors.schedule.state import Schedule

__all__ = ["Schedule", "schedule_decider"]
