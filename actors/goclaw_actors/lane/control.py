"""What was said of a lane as a whole: its declaration, and what somebody changed while it works.

A limit that is set live holds, whatever is declared meanwhile, until it is taken back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.decider import Accepted, ClearTimer, Decision, Refused, Send, SetTimer
from goclaw_actors.lane.scaling import SCALE, Scaling, scale_of
from goclaw_actors.lending import LendFree
from goclaw_events.facts import LaneControlled, LaneDeclared, LaneHeld

if TYPE_CHECKING:
    from goclaw_actors.lending import ControlLane, DeclareLane
    from goclaw_events.value import Value

OPEN: Final = "open"
PAUSED: Final = "paused"
DRAINING: Final = "draining"
HOLD: Final = "hold"
"""The timer that wakes a lane which was held."""
_CONCURRENCY: Final = "concurrency"
_CAPACITY: Final = "capacity"


class InForce(NamedTuple):
    """The limits that hold."""

    concurrency: int
    capacity: int
    limits: dict[str, Value] | None


class Control:
    """The last declaration and the last change; `live` are the limits that the change set.

    Until `held_ns` nothing is lent for the sake of somebody whom a task asked.
    """

    __slots__ = ("declared", "held_ns", "live", "mode", "scaling", "version")

    def __init__(self) -> None:
        self.declared: LaneDeclared | None = None
        self.live: dict[str, Value] = {}
        self.mode = OPEN
        self.version = 0
        self.held_ns = 0
        self.scaling = Scaling()

    def declares(self, message: DeclareLane) -> LaneDeclared | None:
        """Return the fact that a declaration is; None if it says what was said before."""
        said, known = LaneDeclared(*message), self.declared
        if known is not None and known._replace(declared_by=said.declared_by) == said:
            return None
        return said

    def in_force(self, declared: LaneDeclared, said: dict[str, Value] | None = None) -> InForce:
        """Return the limits of a declaration under those set live (or `said`).

        Slots that are set live do not scale.
        """
        live = dict(self.live if said is None else said)
        slots: Any = live.pop(_CONCURRENCY, None)
        capacity: Any = live.pop(_CAPACITY, declared.capacity)
        limits = {**(declared.limits or {}), **live} if live else declared.limits
        if slots is not None:
            limits = {name: each for name, each in (limits or {}).items() if name != SCALE} or None
            return InForce(slots, capacity, limits)
        scale = scale_of(limits)
        slots = declared.concurrency if scale is None else self.scaling.within(scale)
        return InForce(slots, capacity, limits)

    def rescaled(self, limits: InForce) -> tuple[ClearTimer, ...]:
        """Return what is cleared where other limits make an end of scaling."""
        ends = self.scaling.wake_ns and scale_of(limits.limits) is None
        return (ClearTimer(SCALE, self.scaling.wake_ns),) if ends else ()

    def slots(self, concurrency: int, now_ns: int) -> int:
        """Return how many slots the lane may lend in all, as things stand."""
        return 0 if self.mode == PAUSED or self.held_ns > now_ns else concurrency

    def timers(self, held_ns: int, now_ns: int, waited: int, waiting: int) -> list[Any]:
        """Return what wakes the lane if it is held until `held_ns` from now on.

        There is a timer while somebody waits: so many `waited` before, `waiting` do now.
        """
        before_ns = self.held_ns if waited and self.held_ns > now_ns else 0
        after_ns = held_ns if waiting and held_ns > now_ns else 0
        if before_ns == after_ns:
            return []
        cleared = [ClearTimer(HOLD, before_ns)] if before_ns else []
        return [*cleared, SetTimer(HOLD, after_ns)] if after_ns else cleared

    def change(self, fact: LaneControlled) -> None:
        """Apply a change."""
        self.mode, self.live, self.version = fact.mode, fact.limits, fact.version

    def root(self) -> Value:
        """Return what a snapshot keeps."""
        declared = None if self.declared is None else list(self.declared)
        return [declared, self.live, self.mode, self.version, self.held_ns, self.scaling.root()]

    def restore(self, root: Any) -> None:
        """Take back what a snapshot kept."""
        declared, self.live, self.mode, self.version, self.held_ns, scaling = root
        self.scaling.restore(scaling)
        if declared is not None:
            self.declared = LaneDeclared(*declared)
            self.scaling.scale = scale_of(self.in_force(self.declared).limits)


def control(stream: str, now: Control, message: ControlLane, now_ns: int, waiting: int) -> Decision:
    """Answer somebody who changes a lane; what is free is lent in a turn of its own.

    Who resumes it ends what it is held for.
    """
    if now.declared is None:
        text = f"no lane is called {stream.partition('/')[2]!r}"
        hint = "goclaw lanes list; a lane of a definition is there from its first run on"
        return Decision(reply=Refused("lane_not_found", text, hint))
    mode = message.mode or now.mode
    said = {**({} if message.reset else now.live), **message.limits}
    for name, other in ((_CONCURRENCY, SCALE), (SCALE, _CONCURRENCY)):
        if message.limits.get(name) is not None and other not in message.limits:
            said.pop(other, None)  # one takes the place of the other
    live = {name: value for name, value in said.items() if value is not None}
    lifts = message.mode == OPEN and now.held_ns > now_ns
    if (mode, live) == (now.mode, now.live) and not lifts:
        return Decision(reply=Accepted(str(now.version), repeated=True))
    fact = LaneControlled(mode, live, now.version + 1, message.by, message.claimed)
    lend = () if mode == PAUSED else (Send(stream, LendFree()),)
    accepted = Accepted(str(fact.version))
    cleared = now.rescaled(now.in_force(now.declared, live))
    if not lifts:
        return Decision((fact,), lend, cleared, accepted)
    timers = (*cleared, *now.timers(0, now_ns, waiting, waiting))
    return Decision((fact, LaneHeld(0, "")), lend, timers, accepted)
