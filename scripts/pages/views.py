"""The page of views: what each answers with, field by field."""

from __future__ import annotations

import sys
from typing import Final

from goclaw_projections import (
    collectors,
    counts,
    dead_letters,
    durations,
    inbox,
    lanes,
    runs,
    schedules,
    tasks,
    timeline,
    workers,
)

_VIEWS: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    "runs": ("RunsProjection", (runs.RunView,)),
    "tasks": ("TasksProjection", (tasks.TaskView,)),
    "timeline": ("TimelineProjection", (timeline.TimelineEntry,)),
    "lanes": ("LanesProjection", (lanes.LaneView,)),
    "counts": ("CountsProjection", (counts.Counts, counts.NamedCounts, counts.HourCounts)),
    "workers": ("WorkersProjection", (workers.WorkerView, workers.RunningAttempt)),
    "durations": ("DurationsProjection", (durations.LearnedDuration,)),
    "dead": ("DeadProjection", (dead_letters.LetterView, dead_letters.LetterGroup)),
    "collectors": ("CollectorsProjection", (collectors.CollectorView,)),
    "schedules": ("SchedulesProjection", (schedules.ScheduleView,)),
    "inbox": ("InboxProjection", (inbox.InboxView,)),
}


def page() -> str:
    """Return the reference of the views: what each answers with."""
    parts = []
    for name, (projection, answers) in _VIEWS.items():
        parts.append(f"## `{name}`, version {_version_of(answers[0], projection)}\n")
        for cls in answers:
            said = "\n".join(line.strip() for line in (cls.__doc__ or "").strip().splitlines())
            rows = "\n".join(
                f"| `{field}` | `{str(kind).replace('|', chr(92) + '|')}` |"
                for field, kind in _annotations(cls)
            )
            parts.append(f"### {cls.__name__}\n\n{said}\n\n| field | type |\n|---|---|\n{rows}\n")
    told = "\n".join(parts)
    return f"""# Views

Written by `scripts/reference.py`; do not edit.

Views are folds of the log into rows, kept beside it in `views/`. They answer questions, nothing
decides by them, and they may be deleted at any time: they are built again from the log.
Times end in `_ns` (nanoseconds since 1970, UTC, by the clock of the log) or `_s` (seconds).

- A reader that is handed the position of a reply sees its own writes:
  `engine.views.at(submitted.position).runs.get(run_id)`.
- Listings come in pages: `cursor` of a page goes on behind it, None is the end.
- `goclaw views status` says how far each view is and by how many facts and seconds it lags behind.
- `goclaw views rebuild [NAME]` makes rows anew. What is there is served, and kept up to date, until
  the new rows have caught up; then they take its place, in one write. A rebuild that a crash
  interrupts goes on when the views are opened next. A new version of a view, and history that was
  given up, drop the rows at once: what is there would be wrong.
- While much is folded at once (`views.process_facts`), a process that the engine starts for it does
  so. It stores nothing and ends by itself; if it is killed, the engine folds on alone.
- A view whose version what was kept of given-up history does not have begins behind it; `views
  status` says what it lacks (`lacks_below`).

{told}"""


def _version_of(answer: type, projection: str) -> int:
    version: int = getattr(sys.modules[answer.__module__], projection).version
    return version


def _annotations(cls: type) -> list[tuple[str, str]]:
    return [
        (name, getattr(kind, "__forward_arg__", str(kind)))
        for name, kind in cls.__annotations__.items()
    ]
