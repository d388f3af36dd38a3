"""Simulate random sagas under faults, against a ledger outside: `simulate_sagas.py 0:5000`.

Exit status 1: a seed failed; the seeds that do are printed, each with what was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.simulation.sagas import simulate_sagas  # noqa: E402 - found under the root

CHUNK = 25


def outcome(seed: int) -> tuple[int, Counter[str], str]:
    """Simulate a seed; return it, what came up, and what was wrong ('': nothing)."""
    try:
        return seed, simulate_sagas(seed), ""
    except Exception as error:  # noqa: BLE001 - whatever it is, the seed failed
        return seed, Counter(), f"{type(error).__name__}: {error}"


def main() -> int:
    """Do what the arguments say; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("seeds", metavar="A:B", help="simulate the seeds A to B-1")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    first, _, stop = args.seeds.partition(":")
    seen: Counter[str] = Counter()
    failed: list[int] = []
    with ProcessPoolExecutor(args.jobs) as pool:
        for seed, cases, wrong in pool.map(outcome, range(int(first), int(stop)), chunksize=CHUNK):
            seen.update(cases)
            if wrong:
                failed.append(seed)
                print(f"seed {seed}: {wrong}", file=sys.stderr)
    report = {"first": int(first), "stop": int(stop), "failed": failed, "seen": dict(seen)}
    count = int(stop) - int(first)
    print(json.dumps(report) if args.json else f"{count} seeds, {len(failed)} failed; {dict(seen)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
