"""When what something waits for is expected: from timers, rates, and how long tasks took before.

An estimate: medians of what was learned, slots taken to come back in that order. Where something
in the chain was never seen before, there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.why import reason as kinds
from goclaw_events.ids import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from goclaw_actors.why import Holder, Reason
    from goclaw_projections.durations import LearnedDuration

_TIMED: Final = frozenset({kinds.TIMER, kinds.BACKOFF, kinds.LANE_RATE, kinds.LANE_HELD})
_HELD: Final = frozenset({kinds.LANE_KEY, kinds.LANE_TENANT, kinds.LANE_UNITS})
_AT_WORK: Final = frozenset({kinds.RUNNING, kinds.STOPPING})
_BELOW: Final = frozenset({kinds.DEPENDENCY, kinds.RUN, kinds.CHILD_RUN, kinds.LANE_BEHIND})
_SOON: Final = frozenset({kinds.MESSAGE, kinds.OTHER_PARTITION})


class Expectations:
    """Estimate, at one moment. `learned` gives the durations of a definition's tasks.

    `definition` is that of the run that is explained.
    """

    def __init__(
        self,
        learned: Callable[[str], Mapping[str, LearnedDuration]],
        definition: str,
        now_ns: int,
    ) -> None:
        self._learned = learned
        self._known: dict[str, Mapping[str, LearnedDuration]] = {}
        self._definition = definition
        self._now_ns = now_ns
        self._estimates: dict[str, Callable[[Reason], int | None]] = {
            **dict.fromkeys(_TIMED, lambda reason: max(reason.until_ns, now_ns)),
            **dict.fromkeys(_SOON, lambda _: now_ns),
            **dict.fromkeys(_AT_WORK, self._attempt_ns),
            **dict.fromkeys(_HELD, lambda reason: min(self._ends(reason.holders), default=None)),
            **dict.fromkeys(_BELOW, self._last),
            kinds.LANE_SLOTS: lambda reason: self._slot_ns(reason, 0),
            kinds.LANE: lambda reason: self._leased_ns(reason.because),
        }

    def over_ns(self, reason: Reason) -> int | None:
        """Return when a reason is expected to hold no more; None: there is no telling."""
        estimate = self._estimates.get(reason.kind)
        return None if estimate is None else estimate(reason)

    def ended_ns(self, reason: Reason) -> int | None:
        """Return when the subject of a reason is expected to have ended."""
        over_ns = self.over_ns(reason)
        if over_ns is None or reason.kind not in (kinds.LANE, kinds.DEPENDENCY, kinds.BACKOFF):
            return over_ns
        median_s = self._median_s(reason.subject, self._definition)
        return None if median_s is None else over_ns + int(median_s * 1e9)

    def _attempt_ns(self, reason: Reason) -> int | None:
        return self._ends_ns(reason.subject, reason.since_ns, self._definition)

    def _last(self, reason: Reason) -> int | None:
        """Return when the last of what is below is expected; None if one of it, or more, is not."""
        if reason.kind == kinds.RUN and reason.details["active"] > len(reason.because):
            return None
        if reason.kind == kinds.CHILD_RUN:
            return self._of_child(reason.because[0])
        found = [self.ended_ns(below) for below in reason.because]
        whole = [when for when in found if when is not None]
        return max(whole) if whole and len(whole) == len(found) else None

    def _of_child(self, run: Reason) -> int | None:
        """Estimate for a run by its own definition; one with tasks that have not begun has none."""
        if run.kind != kinds.RUN:
            return self.over_ns(run)
        details = run.details
        if details["ended"] + details["active"] < details["tasks"]:
            return None
        return Expectations(self._learned, details["name"], self._now_ns).over_ns(run)

    def _leased_ns(self, because: Sequence[Reason]) -> int | None:
        """Return when a task is expected to get its slot: all that holds it up is over."""
        ahead = next((r.details["ahead"] for r in because if r.kind == kinds.LANE_ORDER), 0)
        found = []
        for reason in because:
            if reason.kind == kinds.LANE_ORDER:
                continue
            if ahead is None or reason.kind == kinds.LANE_SHARE:
                return None
            is_slots = reason.kind == kinds.LANE_SLOTS
            found.append(self._slot_ns(reason, ahead) if is_slots else self.over_ns(reason))
        whole = [when for when in found if when is not None]
        return max(whole) if whole and len(whole) == len(found) else None

    def _slot_ns(self, reason: Reason, ahead: int) -> int | None:
        """Return when the slot behind `ahead` others comes back, of those that are held."""
        ends = sorted(self._ends(reason.holders))
        slots: int = reason.details["held"]
        if not ends or len(ends) < min(slots, ahead + 1):
            return None
        if ahead < slots:
            return ends[ahead]
        medians = [self._median_s(h.task, h.definition) or 0.0 for h in reason.holders]
        round_ns = int(sum(medians) / len(medians) * 1e9)
        return ends[ahead % slots] + ahead // slots * round_ns

    def _ends(self, holders: Sequence[Holder]) -> list[int]:
        found = (self._ends_ns(h.task, h.since_ns, h.definition) for h in holders)
        return [when for when in found if when is not None]

    def _ends_ns(self, task: str, since_ns: int, definition: str) -> int | None:
        """Return when an attempt is expected to end: None if it takes longer than it used to."""
        median_s = self._median_s(task, definition)
        if median_s is None or not since_ns:
            return None
        end_ns = since_ns + int(median_s * 1e9)
        return end_ns if end_ns >= self._now_ns else None

    def _median_s(self, task: str, definition: str) -> float | None:
        if kind_of(task) != "task":
            return None
        if definition not in self._known:
            self._known[definition] = self._learned(definition)
        learned = self._known[definition].get(task.split("/", 2)[2])
        return None if learned is None else learned.median_s
