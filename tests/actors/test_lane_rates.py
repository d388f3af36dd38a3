"""Rates against a second implementation that counts tokens drop by drop."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.lane.rates import BUCKET, LEAKY, Rate, ready_ns, taken_ns

SECOND_NS: Final = 1_000_000_000
START_NS: Final = 1_700_000_000 * SECOND_NS


class Counter:
    """A bucket of exact fractions: tokens drop in all the time, and are taken out."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.most = Fraction(rate.burst)
        self.tokens = self.most
        self.at_ns = START_NS

    def at(self, now_ns: int) -> Fraction:
        """Return how many tokens there are at a time."""
        passed = Fraction(now_ns - self.at_ns, SECOND_NS) * Fraction(self.rate.per_second)
        return min(self.most, self.tokens + passed)

    def take(self, now_ns: int, cost: float) -> None:
        """Take tokens out."""
        self.tokens, self.at_ns = self.at(now_ns) - Fraction(cost), now_ns


steps = st.lists(
    st.tuples(st.integers(0, 5 * SECOND_NS), st.sampled_from([0.25, 1.0, 2.0, 7.0])), max_size=40
)
rates = st.sampled_from([0.1, 0.5, 1.0, 3.0, 1_000.0])


@given(rates, st.integers(1, 5), steps)
@settings(max_examples=150)
def test_a_token_bucket_lets_through_what_counting_lets_through(
    per_second: float, burst: int, asked: list[tuple[int, float]]
) -> None:
    """Exactly when there are tokens; an interval is at most a nanosecond longer for each taken."""
    rate = Rate(per_second, burst, BUCKET)
    counter, state_ns, now_ns = Counter(rate), 0, START_NS
    slack = Fraction(len(asked) + 2, SECOND_NS) * Fraction(per_second)
    for pause_ns, cost in asked:
        now_ns += pause_ns
        there, needed = counter.at(now_ns), min(Fraction(cost), counter.most)
        if ready_ns(rate, state_ns, cost) <= now_ns:
            assert there >= needed, "more than there is"
            counter.take(now_ns, cost)
            state_ns = taken_ns(rate, state_ns, now_ns, cost)
        else:
            assert there < needed + slack, "held back for nothing"


@given(rates, steps)
@settings(max_examples=100)
def test_a_leaky_bucket_spaces_evenly(per_second: float, asked: list[tuple[int, float]]) -> None:
    """After something of cost c nothing starts for c / rate seconds, whatever the pause before."""
    rate = Rate(per_second, 3, LEAKY)
    state_ns, now_ns, free_ns = 0, START_NS, Fraction(0)
    for pause_ns, cost in asked:
        now_ns += pause_ns
        due_ns = ready_ns(rate, state_ns, cost)
        assert abs(due_ns - free_ns) <= 1
        if due_ns <= now_ns:
            state_ns = taken_ns(rate, state_ns, now_ns, cost)
            free_ns = now_ns + Fraction(cost) * SECOND_NS / Fraction(per_second)


@pytest.mark.parametrize("kind", [BUCKET, LEAKY])
@pytest.mark.parametrize("per_second", [0.05, 0.9, 7.0, 700_000.0, 1_000_000.0])
def test_a_rate_is_reached_and_not_exceeded(per_second: float, kind: str) -> None:
    """Below one a second too (the reference divided by zero there): n starts take n - 1 intervals.

    Of 700,000 a second an interval is no whole number of nanoseconds: it is rounded up.
    """
    rate = Rate(per_second, 1, kind)
    state_ns, now_ns = 0, START_NS
    for _ in range(1_000):
        now_ns = max(now_ns, ready_ns(rate, state_ns, 1.0))
        state_ns = taken_ns(rate, state_ns, now_ns, 1.0)
    took_s = (now_ns - START_NS) / SECOND_NS
    assert 999 / per_second <= took_s <= 999 / per_second * 1.001
