"""Fail when a floor of the house is tested less than it promises.

Usage: coverage_floors.py coverage.json (the report of `coverage json`, with branches).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path, PurePosixPath
from typing import Any, Final

FLOORS: Final = {"events": 85.0, "actors": 85.0, "projections": 80.0, "goclaw": 80.0}
"""The least share of lines and branches, in per cent, for each folder at the top."""


def covered_share(files: dict[str, Any], floor: str) -> float | None:
    """Return the share of lines and branches that ran below `floor`; None without any code."""
    done = total = 0
    for name, report in files.items():
        if PurePosixPath(name.replace("\\", "/")).parts[0] != floor:
            continue
        figures = report["summary"]
        done += figures["covered_lines"] + figures.get("covered_branches", 0)
        total += figures["num_statements"] + figures.get("num_branches", 0)
    return 100.0 * done / total if total else None


def main(path: str) -> int:
    """Print one line for each floor; return 1 when one of them falls short."""
    files = json.loads(Path(path).read_text(encoding="utf-8"))["files"]
    short = False
    for floor, least in FLOORS.items():
        share = covered_share(files, floor)
        if share is None:
            print(f"{floor:<12} no code")
            continue
        short |= share < least
        said = "SHORT OF" if share < least else "of at least"
        print(f"{floor:<12} {share:5.1f} %  {said} {least} %")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
