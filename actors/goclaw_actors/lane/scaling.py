"""How many slots a lane lends, between two limits, as tasks come and go: a pure function.

Slots are doubled when all are taken and those who wait are as many as the slots, or somebody has
waited for a while. A quarter of them goes when half or more have been unused for long, so that
what is left is a half more than was needed: what makes slots go is far from what makes them come
back, and a steady load comes to rest (a test holds it to that). After a change nothing changes
for a while. The thresholds follow from what waits and runs, not from its past.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.decider import ClearTimer, SetTimer
from goclaw_events.facts import LaneScaled

if TYPE_CHECKING:
    from collections.abc import Mapping

SCALE: Final = "scale"
"""The timer that wakes a lane whose slots may have to change, and its name among the limits."""


class Scale(NamedTuple):
    """Between how many slots, and after how long a queue and how long a quiet time."""

    least: int
    most: int
    wait_ns: int
    idle_ns: int


class Load(NamedTuple):
    """What there is after a turn."""

    waiting: int
    running: int


class Scaling:
    """How many slots there are (0: as many as at least), and since when that is too few or many.

    `short_ns`: since when all are taken and somebody waits; `quiet_ns`: since when half or more
    are unused; `changed_ns`: when slots came or went; `wake_ns`: the timer. 0: not so.
    """

    __slots__ = ("changed_ns", "quiet_ns", "scale", "short_ns", "slots", "wake_ns")

    def __init__(self) -> None:
        self.scale: Scale | None = None
        self.slots = 0
        self.changed_ns = self.short_ns = self.quiet_ns = self.wake_ns = 0

    def limit(self, limits: Mapping[str, Any] | None) -> None:
        """Scale between these limits from now on; not at all, if none are said."""
        self.scale = scale_of(limits)
        if self.scale is None:
            self.slots = self.changed_ns = self.short_ns = self.quiet_ns = self.wake_ns = 0

    def within(self, scale: Scale) -> int:
        """Return how many slots there are, between limits."""
        return min(max(self.slots, scale.least), scale.most)

    def since(self, slots: int, load: Load, now_ns: int) -> tuple[int, int]:
        """Return since when there are too few slots, and since when too many."""
        short = load.waiting > 0 and load.running >= slots
        quiet = (load.waiting + load.running) * 2 <= slots
        return (self.short_ns or now_ns) * short, (self.quiet_ns or now_ns) * quiet

    def count(self, slots: int, load: Load, now_ns: int) -> None:
        """Apply a turn."""
        self.short_ns, self.quiet_ns = self.since(slots, load, now_ns)

    def apply(self, fact: LaneScaled) -> None:
        """Apply a change, or that there was none."""
        if self.scale is None or fact.concurrency != self.within(self.scale):
            self.changed_ns = fact.now_ns
        self.slots, self.wake_ns = fact.concurrency, fact.wake_ns
        self.short_ns, self.quiet_ns = fact.short_ns, fact.quiet_ns

    def root(self) -> list[int]:
        """Return what a snapshot keeps."""
        return [self.slots, self.changed_ns, self.short_ns, self.quiet_ns, self.wake_ns]

    def restore(self, root: list[int]) -> None:
        """Take back what a snapshot kept."""
        self.slots, self.changed_ns, self.short_ns, self.quiet_ns, self.wake_ns = root


def scale_of(limits: Mapping[str, Any] | None) -> Scale | None:
    """Return between what a lane scales; None: it does not."""
    said = (limits or {}).get(SCALE)
    if said is None:
        return None
    least, most, wait_s, idle_s = said
    return Scale(least, most, int(wait_s * 1e9), int(idle_s * 1e9))


def next_slots(scale: Scale, was: Scaling, slots: int, load: Load, now_ns: int) -> int:
    """Return how many slots there are to be."""
    short_ns, quiet_ns = was.since(slots, load, now_ns)
    if now_ns - was.changed_ns < scale.wait_ns:
        return slots
    deep = load.waiting >= slots
    if short_ns and slots < scale.most and (deep or now_ns - short_ns >= scale.wait_ns):
        return min(scale.most, 2 * slots)
    while quiet_ns and slots > scale.least and now_ns - quiet_ns >= scale.idle_ns:
        slots = max(scale.least, slots - max(1, slots // 4))
        quiet_ns += scale.idle_ns
        if (load.waiting + load.running) * 2 > slots:
            break
    return slots


def scaled(
    was: Scaling, slots: int, load: Load, now_ns: int, *, fired: bool
) -> tuple[LaneScaled | None, tuple[object, ...]]:
    """Return what follows from a turn: other slots, or another time to look again.

    `slots` are those of the lane, `load` is what the turn leaves, `fired`: the timer did. Nothing
    is recorded while neither changes; a timer that comes too early is let come.
    """
    scale = was.scale
    if scale is None:
        return None, ()
    found = next_slots(scale, was, slots, load, now_ns)
    after = Scaling()
    after.scale = scale
    after.changed_ns = was.changed_ns if found == slots else now_ns
    if found == slots:
        after.short_ns, after.quiet_ns = was.since(slots, load, now_ns)
    else:
        after.short_ns, after.quiet_ns = after.since(found, load, now_ns)
    set_ns = 0 if fired else was.wake_ns
    wake_ns = _look_ns(scale, after, found, load, now_ns)
    if wake_ns and set_ns and set_ns <= wake_ns:
        wake_ns = set_ns
    if (found, wake_ns) == (slots, was.wake_ns):
        return None, ()
    cleared = (ClearTimer(SCALE, set_ns),) if set_ns and set_ns != wake_ns else ()
    timer = (SetTimer(SCALE, wake_ns),) if wake_ns and set_ns != wake_ns else ()
    fact = LaneScaled(found, now_ns, wake_ns, after.short_ns, after.quiet_ns)
    return fact, (*cleared, *timer)


def _look_ns(scale: Scale, was: Scaling, slots: int, load: Load, now_ns: int) -> int:
    """Return when slots may come or go with nothing else happening; 0: never."""
    if not (load.waiting or load.running):
        return 0  # the next task that comes finds out
    times = []
    if was.short_ns and slots < scale.most:
        ready_ns = now_ns if load.waiting >= slots else was.short_ns + scale.wait_ns
        times.append(max(ready_ns, was.changed_ns + scale.wait_ns))
    if was.quiet_ns and slots > scale.least:
        times.append(max(was.quiet_ns + scale.idle_ns, was.changed_ns + scale.wait_ns))
    return max(min(times), now_ns + 1) if times else 0
