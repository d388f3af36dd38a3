"""What happened in a lane. Stream `lane/<definition>/<lane>`; a shared one has no definition."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class LaneDeclared(NamedTuple):
    """The limits that a definition or the configuration declares for the lane changed."""

    concurrency: int
    capacity: int
    overflow: str
    declared_by: str


class LaneAdvanced(NamedTuple):
    """One turn of the lane: what came, what left, what got a slot; applied in this order.

    `released`: tasks whose slot came back. `withdrawn`: tasks that left the queue without one.
    `queued`: (task stream, priority, at head) in order of arrival. `leased`: tasks given a slot.
    """

    released: list[str]
    withdrawn: list[str]
    queued: list[tuple[str, int, bool]]
    leased: list[str]


class LaneRefused(NamedTuple):
    """Tasks were not taken in. `reason`: `lane_full`."""

    tasks: list[str]
    reason: str


LaneFact: TypeAlias = LaneDeclared | LaneAdvanced | LaneRefused
