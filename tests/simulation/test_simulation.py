"""Seeded simulation of the production node: any order, any fault, a crash between any two steps.

To look at one seed: `python -m tests.simulation.run SEED` from the root of the repository.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.run import simulate

SEEDS_PER_TEST = 30
INTERESTING = {
    "acknowledged",
    "repeated submission answered",
    "batch full: messages left in the inbox",
    "crash",
    "crash with attempts running",
    "crash losing frames",
    "failed commit, written",
    "failed commit, not written",
    "reopened after a failed commit",
    "late outcome delivered again",
    "stopped attempt ended",
    "cancel answered",
}
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("first", range(0, 300, SEEDS_PER_TEST))
def test_every_invariant_holds_whatever_happens(first: int) -> None:
    """Acknowledged is logged, limits and needs hold, one result a task, live is replayed."""
    seen: Counter[str] = Counter()
    for seed in range(first, first + SEEDS_PER_TEST):
        seen.update(simulate(seed).seen)
    assert seen["acknowledged"] > SEEDS_PER_TEST, "the simulation did nothing"


def test_the_interesting_cases_occur() -> None:
    """A simulation that never meets a fault proves nothing: each kind must have come up."""
    seen: Counter[str] = Counter()
    for seed in range(1_000, 1_060):
        seen.update(simulate(seed).seen)
    assert not INTERESTING - set(seen)


def test_the_same_seed_gives_the_same_trace() -> None:
    """Every step and every frame's bytes repeat, whatever the hash seed of the process."""
    seeds = [str(seed) for seed in (3, 5, 8, 13, 21)]
    traces = {
        subprocess.run(
            [sys.executable, "-m", "tests.simulation.run", *seeds],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "2")
    }
    assert len(traces) == 1
    assert len(set(traces.pop().split())) == 2 * len(seeds)
