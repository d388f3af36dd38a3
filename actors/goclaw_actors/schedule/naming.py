"""What the runs and sagas of a schedule are called, and how planned times are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from goclaw_events.ids import saga_key

NAME_CHARS_MAX: Final = 150
"""So that the ids of runs, which begin with the schedule's name, are ids."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def run_id_of(name: str, planned_ns: int, trigger: int) -> str:
    """Return the id of the run, or the saga, of a firing; `trigger` as in `facts.schedule`."""
    if trigger > 0:
        return f"{name}:trigger-{trigger}"
    return f"{name}:{_time(planned_ns):%Y%m%dT%H%M%SZ}"


def key_of(name: str, planned_ns: int, trigger: int, *, is_saga: bool) -> str:
    """Return what names what a firing begins: the id of a run, the key of a saga."""
    run_id = run_id_of(name, planned_ns, trigger)
    return saga_key(run_id) if is_saga else run_id


def planned_text(planned_ns: int) -> str:
    """Return a planned time as people and programs read it: UTC, to the second."""
    return f"{_time(planned_ns):%Y-%m-%dT%H:%M:%SZ}"


def _time(planned_ns: int) -> datetime:
    return _EPOCH + timedelta(seconds=planned_ns // 1_000_000_000)
