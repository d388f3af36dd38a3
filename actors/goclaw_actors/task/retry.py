"""When a failed attempt may be tried again: a pure function of policy, failure and a seed."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from goclaw_events.plan import RetryPolicy

NEVER_RETRIED: Final = frozenset({"bad_params", "value_not_storable", "value_too_large"})
"""Codes of failures that another attempt cannot mend."""


def may_retry(policy: RetryPolicy, code: str, failures: int, *, retryable: bool) -> bool:
    """Tell whether attempt `failures + 1` is allowed after `failures` counted ones."""
    if failures >= policy.attempts_max or not retryable or code in NEVER_RETRIED:
        return False
    if code in policy.non_retryable:
        return False
    return not policy.retry_on or code in policy.retry_on


def delay_s(policy: RetryPolicy, failures: int, seed: str, asked_s: float | None = None) -> float:
    """Return the pause before the next attempt, in seconds; never longer than the policy's max.

    `asked_s` (what the attempt itself asked for) takes the place of the backoff, without jitter.

    Full jitter draws from [0, delay) (Brooker, "Exponential Backoff and Jitter", AWS 2015); the
    draw is a hash of `seed`, so that replay and every node come to the same one.
    """
    if asked_s is not None:
        return min(asked_s, policy.max_s)
    if policy.backoff == "fixed":
        delay = policy.initial_s
    elif policy.backoff == "linear":
        delay = policy.initial_s * failures
    else:
        delay = policy.initial_s * 2.0 ** min(failures - 1, 62)
    delay = min(delay, policy.max_s)
    if policy.jitter == "full":
        delay *= _fraction(f"{seed}/{failures}")
    return delay


def _fraction(seed: str) -> float:
    return int.from_bytes(blake2b(seed.encode(), digest_size=6).digest()) / 2.0**48
