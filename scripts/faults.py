"""Damage logs in every way that files are damaged, and see that nothing is lost in silence.

Usage: python scripts/faults.py --wal 5000 --files 500 --segments 500 --seed 1
       [--first 0] [--mend-every 10]
Progress goes to stderr, one JSON object to stdout; the exit code is 1 if any case failed.
docs/robustness.md says what is checked. In pieces: each the same seed, and `--first` where the one
before ended.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.damage.base import make_base
from scripts.damage.kinds import damage_archived, damage_other, damage_wal
from scripts.damage.trial import Opener, Trials

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    Kind = tuple[Callable[[Path, random.Random], str], bool, bool]

KINDS: Final[dict[str, Kind]] = {
    "wal": (damage_wal, False, False),
    "files": (damage_other, True, False),
    "segments": (damage_archived, True, True),
}
"""What is damaged, and whether in a log that has table files, and segments."""
TOLD_EVERY: Final = 100


def main(args: list[str]) -> int:
    """Damage as many logs as are asked for; return 1 if a case failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, default=0, metavar="CASES")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, metavar="CASE")
    parser.add_argument("--mend-every", type=int, default=10, metavar="N")
    asked = parser.parse_args(args)
    start = time.monotonic()
    summary: dict[str, Any] = {"seed": asked.seed, "first": asked.first}
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="goclaw-faults-") as home, Opener() as opener:
        for kind, (damage, settled, archived) in KINDS.items():
            trials = Trials(opener, Path(home))
            base = make_base(Path(home), settled=settled, archived=archived)
            for case in range(asked.first, asked.first + getattr(asked, kind)):
                seed = f"{asked.seed}-{kind}-{case}"
                trials.play(base, damage, seed, mend=case % asked.mend_every == 0)
                if (case + 1) % TOLD_EVERY == 0:
                    told = f"{kind} {case + 1} {dict(trials.counts)} {trials.failures}"
                    print(told, file=sys.stderr, flush=True)
            summary[kind] = {**trials.counts, "slowest_s": trials.slowest_s}
            failures += trials.failures
    seconds = round(time.monotonic() - start, 1)
    print(json.dumps({**summary, "seconds": seconds, "failures": failures}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
