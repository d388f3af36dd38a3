"""Simulate the engine under faults, many seeds at a time; shrink what fails.

Usage:
  simulate.py --seeds 0:1000 [--jobs 2] [--json] [--stop]   simulate seeds A to B-1
  simulate.py --seed N [--without x,y] [--steps K] [--runs R]   one case, as a failure prints it
  simulate.py --seeds 0:500 --deterministic                 each seed under three hash seeds

Exit status 1: something failed; the line that repeats it, made small, is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.simulation.cases import COMMON, RARE  # noqa: E402 - found under the root
from tests.simulation.run import simulate  # noqa: E402
from tests.simulation.shrink import (  # noqa: E402
    Case,
    SeedTimeout,
    failure_of,
    shrink,
    time_limit,
)

CHUNK = 20
SEED_TIMEOUT_S = 60.0
RARE_SEEDS_MIN = 5_000
HASH_SEEDS = ("0", "1", "2")


def main() -> int:
    """Do what the arguments say; return the exit status."""
    args = arguments()
    if args.seed is not None:
        return run_case(Case(args.seed, tuple(filter(None, args.without.split(","))), args.steps,
                             args.runs))  # fmt: skip
    first, _, stop = args.seeds.partition(":")
    seeds = range(int(first), int(stop))
    if args.deterministic:
        return run_deterministic(seeds, args.jobs)
    return run_seeds(seeds, args)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seeds", metavar="A:B", help="simulate the seeds A to B-1")
    what.add_argument("--seed", type=int, metavar="N", help="simulate one seed")
    parser.add_argument("--without", default="", metavar="X,Y", help="leave out kinds of fault")
    parser.add_argument("--steps", type=int, metavar="K", help="so many steps before healing")
    parser.add_argument("--runs", type=int, metavar="R", help="so many runs at most")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default 2)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--stop", action="store_true", help="stop at the first failure")
    parser.add_argument("--no-shrink", action="store_true", help="leave failing seeds as they are")
    parser.add_argument("--deterministic", action="store_true", help="compare traces instead")
    return parser.parse_args()


def run_case(case: Case) -> int:
    """Run one case with the whole traceback of its failure."""
    started = time.perf_counter()
    world = simulate(case.seed, case.options)
    for name, count in sorted(world.seen.items()):
        print(f"{count:6} {name}")
    print(f"seed {case.seed} is well: {world.trace.hexdigest()}, "
          f"{time.perf_counter() - started:.2f} s")  # fmt: skip
    return 0


def chunk(first: int, stop: int) -> tuple[Counter[str], list[tuple[int, str]]]:
    """Simulate some seeds; return the cases that they met and how seeds failed."""
    seen: Counter[str] = Counter()
    failed = []
    for seed in range(first, stop):
        try:
            with time_limit(SEED_TIMEOUT_S):
                seen.update(simulate(seed).seen)
        except (Exception, SeedTimeout) as error:  # noqa: BLE001 - a failure of any kind is one
            failed.append((seed, f"{type(error).__name__}: {error}"))
    return seen, failed


def run_seeds(seeds: range, args: argparse.Namespace) -> int:
    """Simulate seeds in several processes, and print what came of it."""
    started = time.monotonic()
    seen: Counter[str] = Counter()
    failed: list[tuple[int, str]] = []
    done = 0
    with ProcessPoolExecutor(args.jobs) as pool:
        chunks = [(at, min(at + CHUNK, seeds.stop)) for at in range(seeds.start, seeds.stop, CHUNK)]
        futures = {pool.submit(chunk, *bounds): bounds for bounds in chunks}
        while futures:
            finished, _ = wait(futures, return_when=FIRST_COMPLETED)
            for future in finished:
                first, stop = futures.pop(future)
                done += stop - first
                found, failures = future.result()
                seen.update(found)
                failed += failures
                for seed, how in failures:
                    print(f"\rseed {seed} failed: {how[:300]}", file=sys.stderr)
            passed_s = time.monotonic() - started
            progress(f"{done} of {len(seeds)} seeds, {len(failed)} failed, "
                     f"{done / passed_s * 60:.0f} a minute")  # fmt: skip
            if args.stop and failed:
                for future in futures:
                    future.cancel()
                break
    print(file=sys.stderr)
    expected = COMMON + (RARE if len(seeds) >= RARE_SEEDS_MIN else ())
    missing = [] if failed else [case for case in expected if not seen[case]]
    report(seeds, seen, failed, missing, time.monotonic() - started, as_json=args.json)
    if not args.no_shrink:
        for seed, _ in sorted(failed)[:3]:
            print(f"to repeat: python scripts/simulate.py {shrunk(Case(seed)).line}")
    return 1 if failed or missing else 0


def shrunk(case: Case) -> Case:
    """Make a failing case small."""
    progress(f"shrinking {case.line}")
    return shrink(case, lambda candidate: bool(failure_of(candidate)))


def report(
    seeds: range,
    seen: Counter[str],
    failed: list[tuple[int, str]],
    missing: list[str],
    passed_s: float,
    *,
    as_json: bool,
) -> None:
    """Print the result on stdout."""
    a_minute = round(len(seeds) / passed_s * 60)
    if as_json:
        result = {
            "first": seeds.start, "stop": seeds.stop, "seconds": round(passed_s, 1),
            "a_minute": a_minute, "cases": dict(sorted(seen.items())), "missing": missing,
            "failed": [{"seed": seed, "how": how} for seed, how in sorted(failed)],
        }  # fmt: skip
        print(json.dumps(result, indent=2))
        return
    for case, count in sorted(seen.items()):
        print(f"{count:9} {case}")
    for seed, how in sorted(failed):
        print(f"seed {seed} failed: {how[:500]}")
    for case in missing:
        print(f"never came up: {case}")
    print(f"{len(seeds)} simulations, {len(failed)} failed, {len(seen)} kinds of case, "
          f"{passed_s:.0f} s, {a_minute} a minute")  # fmt: skip


def run_deterministic(seeds: range, jobs: int) -> int:
    """Run every seed in three processes with different hash seeds, and compare the traces."""
    different = []
    for first in range(seeds.start, seeds.stop, CHUNK):
        some = [str(seed) for seed in range(first, min(first + CHUNK, seeds.stop))]
        traces = traces_of(some, jobs)
        if len(set(traces)) != 1:
            different.append(some[0])
        progress(f"{int(some[-1]) + 1 - seeds.start} of {len(seeds)} seeds")
    print(file=sys.stderr)
    for start in different:
        print(f"the traces differ within {CHUNK} seeds from {start}")
    print(f"{len(seeds)} seeds, each under {len(HASH_SEEDS)} hash seeds, "
          f"{len(different)} groups differ")  # fmt: skip
    return 1 if different else 0


def traces_of(seeds: list[str], jobs: int) -> list[str]:
    """Return what `tests.simulation.run` prints under each hash seed."""
    printed = []
    for at in range(0, len(HASH_SEEDS), max(jobs, 1)):
        processes = [
            subprocess.Popen(  # noqa: S603 - this project's own module
                [sys.executable, "-m", "tests.simulation.run", *seeds],
                cwd=ROOT,
                env={**os.environ, "PYTHONHASHSEED": hash_seed},
                stdout=subprocess.PIPE,
                text=True,
            )
            for hash_seed in HASH_SEEDS[at : at + max(jobs, 1)]
        ]
        printed += [process.communicate()[0] + str(process.returncode) for process in processes]
    return printed


def progress(text: str) -> None:
    """Show how far it is."""
    print(f"\r{text}   ", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
