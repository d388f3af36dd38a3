"""What was declared of a lane and what was set over it, modelled a second time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_events.facts import LaneControlled, LaneDeclared, LaneHeld, LaneScaled

if TYPE_CHECKING:
    from goclaw_events.facts import LaneAdvanced


class Live:
    """The declaration and the last change of a lane."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.mode = "open"
        self.version = 0
        self.now_ns = self.held_ns = 0
        self.scaled = 0
        self._said: list[dict[str, Any]] = [{}, {}]

    @property
    def is_paused(self) -> bool:
        """Tell whether the lane lends nothing."""
        return self.mode == "paused" or self.held_ns > self.now_ns

    def apply(self, fact: LaneDeclared | LaneControlled | LaneHeld | LaneScaled) -> None:
        """Take in what was declared, or changed, or holds the lane."""
        if isinstance(fact, LaneHeld):
            self.held_ns = fact.until_ns
            return
        if isinstance(fact, LaneScaled):
            least, most, *_ = self.in_force()[2]["scale"]
            assert least <= fact.concurrency <= most, f"{self.stream} scales beyond its limits"
            self.scaled = fact.concurrency
            return
        if isinstance(fact, LaneDeclared):
            slots = {"concurrency": fact.concurrency, "capacity": fact.capacity}
            self._said[0] = {**slots, **(fact.limits or {})}
            self._forget_scale()
            return
        assert fact.version == self.version + 1, f"{self.stream} counts changes wrongly"
        assert fact.by, f"{self.stream} was changed by nobody"
        self.mode, self._said[1], self.version = fact.mode, dict(fact.limits), fact.version
        self._forget_scale()

    def _forget_scale(self) -> None:
        if "scale" not in self.in_force()[2]:
            self.scaled = 0

    def in_force(self) -> tuple[int, int, dict[str, Any]]:
        """Return slots, capacity and the other limits."""
        limits = {**self._said[0], **self._said[1]}
        if "concurrency" in self._said[1]:
            limits.pop("scale", None)
        elif "scale" in limits:
            least, most, *_ = limits["scale"]
            limits["concurrency"] = min(max(self.scaled, least), most)
        return limits.pop("concurrency"), limits.pop("capacity"), limits

    def refuses(self, reason: str) -> bool:
        """Tell whether the lane may turn a task away for this reason."""
        return reason == "lane_draining" and self.mode == "draining"

    def check(self, fact: LaneAdvanced) -> None:
        """Check that a turn did nothing that the mode of the lane forbids."""
        assert not (fact.leased and self.is_paused), f"{self.stream} lends while it is paused"
        stayed = set(fact.withdrawn)  # they are ranked anew
        came = [queued for queued in fact.queued if queued[0] not in stayed]
        new = [task for task, _, at_head, *_ in came if not at_head]
        assert not (new and self.mode == "draining"), f"{self.stream} takes {new} in"
