"""Kill engines and logs with SIGKILL, and see that nothing acknowledged is ever lost.

Usage: python scripts/kill9.py --engine 200 --storage 1000 --power 500 --disorder 100 --seed 1
       python scripts/kill9.py --signals 300 --sagas 300 --waits 300 --seed 1
Progress goes to stderr, one JSON object to stdout; the exit code is 1 if any world failed.
docs/robustness.md says what is checked.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.harness.campaign import KINDS, play
from scripts.harness.nursery import Nursery


def main(args: list[str]) -> int:
    """Play the campaigns that are asked for; return 1 if a world failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, default=0, metavar="KILLS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, metavar="WORLD")
    parser.add_argument("--home", type=Path, help="where the worlds stand (a new directory)")
    asked = parser.parse_args(args)
    home = Path(asked.home or tempfile.mkdtemp(prefix="goclaw-kill9-"))
    home.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    found = {}
    with Nursery() as nursery:
        for kind in KINDS:
            kills = getattr(asked, kind)
            if kills:
                found[kind] = play(nursery, kind, kills, asked.seed, home, asked.first, _tell)
    failures = [text for campaign in found.values() for text in campaign.failures]
    summary = {kind: campaign.summary() for kind, campaign in found.items()}
    seconds = round(time.monotonic() - start, 1)
    print(json.dumps({"seed": asked.seed, "seconds": seconds, **summary, "failures": failures}))
    if not failures and asked.home is None:
        home.rmdir()
    return 1 if failures else 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
