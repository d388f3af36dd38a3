"""How often a lane may lend: a token bucket and a leaky bucket, as pure functions of time.

Both keep one time in nanoseconds and are exact in it. A token bucket remembers when it was (or
will be) empty: it gains a token every 1/rate seconds and holds `burst` of them. A leaky bucket
is the generic cell rate algorithm (ITU-T I.371) without tolerance: it remembers when the next
may come, so that all are spaced evenly. An interval that is no whole number of nanoseconds is
rounded up: a rate is never exceeded.
"""

from __future__ import annotations

from math import ceil
from typing import Final, NamedTuple

SECOND_NS: Final = 1_000_000_000
BUCKET: Final = "token_bucket"
LEAKY: Final = "leaky_bucket"


class Rate(NamedTuple):
    """So many a second on average; `burst` at once after a pause, for a token bucket."""

    per_second: float
    burst: int = 1
    kind: str = BUCKET


def ready_ns(rate: Rate, state_ns: int, cost: float) -> int:
    """Return from when on something of this cost may start, given the rate's state.

    What costs more than a token bucket can hold waits until it is full, and leaves a debt.
    """
    if rate.kind == LEAKY:
        return state_ns
    return state_ns + _interval_ns(rate, min(cost, rate.burst))


def taken_ns(rate: Rate, state_ns: int, now_ns: int, cost: float) -> int:
    """Return the rate's state after something of this cost starts at `now_ns`."""
    if rate.kind == LEAKY:
        return max(state_ns, now_ns) + _interval_ns(rate, cost)
    full_since_ns = now_ns - _interval_ns(rate, rate.burst)
    return max(state_ns, full_since_ns) + _interval_ns(rate, cost)


def _interval_ns(rate: Rate, cost: float) -> int:
    return ceil(cost * SECOND_NS / rate.per_second)


class Purse:
    """What a rate has left while one turn spends it: `ready_ns` and `taken_ns`, many times.

    `state_ns` is the rate's state, `due_ns` when what was refused last may start.
    """

    __slots__ = ("_cost", "_full_ns", "_now_ns", "_rate", "_takes_ns", "due_ns", "state_ns")

    def __init__(self, rate: Rate, state_ns: int, now_ns: int) -> None:
        most_ns = 0 if rate.kind == LEAKY else _interval_ns(rate, rate.burst)
        self._rate = rate
        self._now_ns = now_ns
        self._cost = -1.0
        self._full_ns = self._takes_ns = 0
        self.due_ns = 0
        self.state_ns = max(state_ns, now_ns - most_ns)

    def spend(self, cost: float) -> bool:
        """Take what something of this cost needs; False if there is not enough now."""
        if cost != self._cost:
            self._cost = cost
            self._full_ns = self._now_ns - ready_ns(self._rate, 0, cost)
            self._takes_ns = _interval_ns(self._rate, cost)
        state_ns = self.state_ns
        if state_ns > self._full_ns:
            self.due_ns = self._now_ns + state_ns - self._full_ns
            return False
        self.state_ns = state_ns + self._takes_ns
        return True
