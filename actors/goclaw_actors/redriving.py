"""At which rate dead letters run again: each takes a slot of one lane first, and gives it back.

The lane keeps the rate, whatever stops and begins again meanwhile, and people see and change it
like any other. Who asks is the run, or the saga, that waits for the letter: one letter a slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_actors.decider import Send
from goclaw_actors.lane.rates import BUCKET
from goclaw_actors.lending import DeclareLane, Enqueue, Release, Withdraw
from goclaw_events.ids import lane_stream

if TYPE_CHECKING:
    from goclaw_events.value import Value

REDRIVE: Final = "/redrive"
"""The lane. Its rate is that which was given last; one at a time, as its bucket holds no more."""
SLOTS: Final = 64
"""They are given back at once, so that only the rate counts."""
CAPACITY: Final = 10_000_000


def ask_at(stream: str, rate_per_s: float) -> tuple[Send, Send]:
    """Return what asks for a slot, at a rate that holds for all who ask."""
    limits: dict[str, Value] = {"rate": [rate_per_s, 1, BUCKET]}
    declared = DeclareLane(SLOTS, CAPACITY, "reject", "redrive", limits)
    return Send(lane_stream(REDRIVE), declared), ask(stream)


def ask(stream: str) -> Send:
    """Return what asks for a slot; who waits for one has no second."""
    return Send(lane_stream(REDRIVE), Enqueue(stream, 0, at_head=False))


def give_back(stream: str, lane: str) -> Send:
    """Return what gives a slot back."""
    return Send(lane_stream(lane), Release(stream))


def ask_no_more(stream: str) -> Send:
    """Return what leaves the lane."""
    return Send(lane_stream(REDRIVE), Withdraw(stream))
