"""What was said of a lane as a whole: its declaration, and what somebody changed while it works.

A limit that is set live holds, whatever is declared meanwhile, until it is taken back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_actors.decider import Accepted, Decision, Refused, Send
from goclaw_actors.messages import LendFree
from goclaw_events.facts import LaneControlled, LaneDeclared

if TYPE_CHECKING:
    from goclaw_actors.messages import ControlLane, DeclareLane
    from goclaw_events.value import Value

OPEN: Final = "open"
PAUSED: Final = "paused"
DRAINING: Final = "draining"
_CONCURRENCY: Final = "concurrency"
_CAPACITY: Final = "capacity"


class InForce(NamedTuple):
    """The limits that hold."""

    concurrency: int
    capacity: int
    limits: dict[str, Value] | None


class Control:
    """The last declaration and the last change; `live` are the limits that the change set."""

    __slots__ = ("declared", "live", "mode", "version")

    def __init__(self) -> None:
        self.declared: LaneDeclared | None = None
        self.live: dict[str, Value] = {}
        self.mode = OPEN
        self.version = 0

    def declares(self, message: DeclareLane) -> LaneDeclared | None:
        """Return the fact that a declaration is; None if it says what was said before."""
        said, known = LaneDeclared(*message), self.declared
        if known is not None and known._replace(declared_by=said.declared_by) == said:
            return None
        return said

    def in_force(self, declared: LaneDeclared) -> InForce:
        """Return the limits of a declaration under those set live."""
        live = dict(self.live)
        concurrency: Any = live.pop(_CONCURRENCY, declared.concurrency)
        capacity: Any = live.pop(_CAPACITY, declared.capacity)
        limits = {**(declared.limits or {}), **live} if live else declared.limits
        return InForce(concurrency, capacity, limits)

    def slots(self, concurrency: int) -> int:
        """Return how many slots the lane may lend in all, as things stand."""
        return 0 if self.mode == PAUSED else concurrency

    def change(self, fact: LaneControlled) -> None:
        """Apply a change."""
        self.mode, self.live, self.version = fact.mode, fact.limits, fact.version

    def root(self) -> Value:
        """Return what a snapshot keeps."""
        declared = None if self.declared is None else list(self.declared)
        return [declared, self.live, self.mode, self.version]

    def restore(self, root: Any) -> None:
        """Take back what a snapshot kept."""
        declared, self.live, self.mode, self.version = root
        self.declared = None if declared is None else LaneDeclared(*declared)


def control(stream: str, now: Control, message: ControlLane) -> Decision:
    """Answer somebody who changes a lane; what is free is lent in a turn of its own."""
    if now.declared is None:
        text = f"no lane is called {stream.partition('/')[2]!r}"
        hint = "goclaw lanes list; a lane of a definition is there from its first run on"
        return Decision(reply=Refused("lane_not_found", text, hint))
    if message.if_version not in (None, now.version):
        text = f"the lane was changed meanwhile: its version is {now.version}"
        return Decision(reply=Refused("lane_changed", text, "look at it again: goclaw lanes show"))
    mode = message.mode or now.mode
    said = {**({} if message.reset else now.live), **message.limits}
    live = {name: value for name, value in said.items() if value is not None}
    if (mode, live) == (now.mode, now.live):
        return Decision(reply=Accepted(str(now.version), repeated=True))
    fact = LaneControlled(mode, live, now.version + 1, message.by, message.claimed)
    lend = () if mode == PAUSED else (Send(stream, LendFree()),)
    return Decision((fact,), lend, reply=Accepted(str(fact.version)))
