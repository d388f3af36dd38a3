"""Simulated sagas: each ends as it should, and the ledger outside holds what it should."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.sagas import simulate_sagas

SEEDS_PER_TEST = 25
CASES = frozenset(
    {"abandoned", "alarm", "awaiting_compensation", "compensated", "completed", "crash", "failed",
     "timeout", "undone in doubt", *(f"explained {kind}" for kind in
     ("dependency", "lane", "person", "rest", "running", "saga", "unwinds"))}
)  # fmt: skip


@pytest.mark.parametrize("first", range(0, 100, SEEDS_PER_TEST))
def test_every_saga_ends_and_the_ledger_says_so(first: int) -> None:
    """Whatever fails, hangs or crashes: nothing is left that was to be undone, nor undone twice."""
    seen: Counter[str] = Counter()
    for seed in range(first, first + SEEDS_PER_TEST):
        seen.update(simulate_sagas(seed))
    assert not [case for case in CASES if not seen[case]]
