"""Say in one last line how many tests ran.

Usage: count_tests.py report.xml (what `pytest --junit-xml` writes).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_COUNTS = re.compile(r"<testsuite\b[^>]*>")


def count(report: str) -> tuple[int, int, int]:
    """Return how many tests passed, failed (or broke) and were skipped."""
    passed = failed = skipped = 0
    for suite in _COUNTS.findall(report):
        figures = dict(re.findall(r'(\w+)="(\d+)"', suite))
        bad = int(figures["failures"]) + int(figures["errors"])
        failed += bad
        skipped += int(figures["skipped"])
        passed += int(figures["tests"]) - bad - int(figures["skipped"])
    return passed, failed, skipped


def main(path: str) -> int:
    """Print the counts; return 1 when no test passed or one failed."""
    file = Path(path)
    report = file.read_text(encoding="utf-8") if file.exists() else ""
    passed, failed, skipped = count(report)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
