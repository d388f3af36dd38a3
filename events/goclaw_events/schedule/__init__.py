"""When schedules are due: what is asked for, checked, and the times that follow from it."""

from goclaw_events.schedule.checking import ScheduleInvalid, check_zone, timetable_of
from goclaw_events.schedule.timetable import COUNT_MAX, Due, Timetable, due, next_after, times

__all__ = [
    "COUNT_MAX",
    "Due",
    "ScheduleInvalid",
    "Timetable",
    "check_zone",
    "due",
    "next_after",
    "times",
    "timetable_of",
]
