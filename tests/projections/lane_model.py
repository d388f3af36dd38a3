"""A lane as a test knows it: what may be said of it next, and what a view of it must show."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from goclaw_events.facts import LaneAdvanced

if TYPE_CHECKING:
    from goclaw_projections.lanes import LaneView


class LaneModel:
    """Who waits, with which priority, and who has a slot."""

    def __init__(self) -> None:
        self.queued: dict[str, int] = {}
        self.leased: set[str] = set()
        self.advanced = False

    def step(self, task: str, priority: int, *, at_once: bool) -> LaneAdvanced:
        """Move a task on: into the queue (`at_once`: through it), out of it, or out of its slot."""
        self.advanced = True
        if task in self.leased:
            self.leased.remove(task)
            return LaneAdvanced([task], [], [], [])
        if task in self.queued:
            del self.queued[task]
            if at_once:
                return LaneAdvanced([], [task], [], [])
            self.leased.add(task)
            return LaneAdvanced([], [], [], [task])
        if at_once:
            self.leased.add(task)
            return LaneAdvanced([], [], [(task, priority, False)], [task])
        self.queued[task] = priority
        return LaneAdvanced([], [], [(task, priority, False)], [])

    def is_shown_by(self, view: LaneView | None) -> bool:
        """Tell whether a view shows this lane."""
        if view is None:
            return not self.advanced
        return (
            view.queued == len(self.queued)
            and view.running == len(self.leased)
            and dict(view.queued_by_priority) == Counter(self.queued.values())
            and (view.oldest_queued_at_ns is None) == (not self.queued)
            and view.leased_total - view.released_total == len(self.leased)
        )
