"""Backoff: growth, cap, jitter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goclaw_actors.task.retry import NEVER_RETRIED, delay_s, may_retry
from goclaw_events.plan import RetryPolicy

BACKOFFS = st.sampled_from(["fixed", "linear", "exponential"])


def policy(**changes: Any) -> RetryPolicy:
    """Return a policy."""
    return RetryPolicy(5, "exponential", 0.5, 10.0, "none", (), ())._replace(**changes)


@pytest.mark.parametrize(
    ("backoff", "expected_s"),
    [
        ("fixed", [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
        ("linear", [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]),
        ("exponential", [0.5, 1.0, 2.0, 4.0, 8.0, 10.0]),
    ],
)
def test_the_pause_grows_as_the_policy_says(backoff: str, expected_s: list[float]) -> None:
    """By the number of failures, up to the cap."""
    found = [delay_s(policy(backoff=backoff), failures, "s") for failures in range(1, 7)]
    assert found == expected_s


@given(BACKOFFS, st.integers(1, 100_000), st.floats(0.001, 1e6), st.floats(0.001, 1e6))
def test_no_pause_exceeds_the_cap(
    backoff: str, failures: int, initial_s: float, max_s: float
) -> None:
    """However many failures there were; nothing overflows."""
    plain = policy(backoff=backoff, initial_s=initial_s, max_s=max_s)
    delay = delay_s(plain, failures, "s")
    assert 0 < delay <= max_s
    jittered = delay_s(plain._replace(jitter="full"), failures, "s")
    assert 0 <= jittered < delay


@given(st.text(max_size=20), st.integers(1, 10))
def test_jitter_is_the_same_each_time(seed: str, failures: int) -> None:
    """The draw is a hash of what it is for: replay and every node come to the same one."""
    jittered = policy(jitter="full")
    assert delay_s(jittered, failures, seed) == delay_s(jittered, failures, seed)


def test_jitter_spreads() -> None:
    """Tasks that fail together do not come back together: draws fill the whole range."""
    jittered = policy(jitter="full", backoff="fixed", initial_s=1.0)
    draws = sorted(delay_s(jittered, 1, f"task/r/{number}/0") for number in range(1_000))
    assert len(set(draws)) == len(draws)
    for tenth in range(10):
        assert 50 < sum(tenth <= draw * 10 < tenth + 1 for draw in draws) < 150


@pytest.mark.parametrize("code", sorted(NEVER_RETRIED))
def test_what_another_attempt_cannot_mend_is_not_retried(code: str) -> None:
    """Even where the policy names it."""
    assert not may_retry(policy(retry_on=(code,)), code, 1, retryable=True)


def test_the_first_attempt_counts() -> None:
    """`attempts` counts all attempts: five of them are four retries."""
    allowed = [may_retry(policy(), "e", failures, retryable=True) for failures in range(1, 7)]
    assert allowed == [True, True, True, True, False, False]


def test_non_retryable_wins_over_retry_on() -> None:
    """A code in both lists is not retried."""
    both = policy(retry_on=("e",), non_retryable=("e",))
    assert not may_retry(both, "e", 1, retryable=True)
