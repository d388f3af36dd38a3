"""Seeded simulation of the production node: any order, any fault, a crash at any step.

To look at one seed: `python scripts/simulate.py --seed N`; docs/robustness.md says more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.cases import COMMON, RARE
from tests.simulation.options import WEIGHTS, options_of
from tests.simulation.run import simulate
from tests.simulation.shrink import Case, failure_of

ROOT = Path(__file__).parents[2]
SEEDS_PER_TEST = 100
TRACED_SEEDS = range(400, 450)
TRACED_PER_TEST = 25
CASES_MIN = 30
REGRESSIONS = [
    line
    for line in (ROOT / "tests/simulation/regressions.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize("first", range(0, 300, SEEDS_PER_TEST))
def test_every_invariant_holds_whatever_happens(first: int) -> None:
    """Nothing acknowledged is lost, no rule is broken, all ends; and each common case came up."""
    seen: Counter[str] = Counter()
    for seed in range(first, first + SEEDS_PER_TEST):
        seen.update(simulate(seed).seen)
    assert not [case for case in COMMON if not seen[case]]
    assert sum(1 for case in RARE if seen[case]) > len(RARE) // 3


def test_enough_cases_are_interesting() -> None:
    """A simulation that meets too few kinds of trouble proves little."""
    assert len(set(COMMON)) >= CASES_MIN
    assert not set(COMMON) & set(RARE)


@pytest.mark.parametrize("first", TRACED_SEEDS[::TRACED_PER_TEST])
def test_the_same_seed_gives_the_same_trace(first: int) -> None:
    """Every step and every frame's bytes repeat, whatever the hash seed of the process."""
    seeds = [str(seed) for seed in range(first, first + TRACED_PER_TEST)]
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


@pytest.mark.parametrize("line", REGRESSIONS)
def test_what_once_failed_does_not_fail_again(line: str) -> None:
    """Each kept case runs through."""
    assert not failure_of(Case.parse(line))


def test_every_kind_of_fault_is_left_out_by_some_seeds() -> None:
    """Swarm: no kind is in every seed, none in no seed."""
    counts = Counter(kind for seed in range(200) for kind in options_of(seed).rates)
    assert set(counts) == set(WEIGHTS)
    assert max(counts.values()) < 150


def test_the_script_tells_what_it_did() -> None:
    """`scripts/simulate.py --json` names seeds, cases and failures."""
    done = subprocess.run(
        [sys.executable, "scripts/simulate.py", "--seeds", "0:2", "--jobs", "1", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    result = json.loads(done.stdout)
    assert (result["first"], result["stop"], result["failed"]) == (0, 2, [])
    assert done.returncode == (1 if result["missing"] else 0)
