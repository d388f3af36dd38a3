"""The scripts that decide whether a change may land."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from scripts import count_tests, coverage_floors, mutants

if TYPE_CHECKING:
    from pathlib import Path


def report(**covered: tuple[int, int]) -> dict[str, Any]:
    """Return what `coverage json` writes: one file a floor, (lines run, lines)."""
    return {
        f"{floor}/x.py": {"summary": {"covered_lines": run, "num_statements": lines}}
        for floor, (run, lines) in covered.items()
    }


@pytest.mark.parametrize(
    ("figures", "code"),
    [
        ({"events": (85, 100), "actors": (90, 100), "goclaw": (80, 100)}, 0),
        ({"events": (84, 100), "actors": (90, 100), "goclaw": (80, 100)}, 1),
        ({"projections": (79, 100)}, 1),
        ({"projections": (80, 100), "scripts": (0, 100)}, 0),
    ],
)
def test_each_floor_must_reach_its_share(
    figures: dict[str, tuple[int, int]], code: int, tmp_path: Path
) -> None:
    """One floor that falls short fails the whole, however well the others are tested."""
    file = tmp_path / "coverage.json"
    file.write_text(json.dumps({"files": report(**figures)}))
    assert coverage_floors.main(str(file)) == code


def test_branches_count_as_lines_do() -> None:
    """The share is that of lines and branches together."""
    summary = {
        "covered_lines": 9,
        "num_statements": 10,
        "covered_branches": 1,
        "num_branches": 10,
    }
    assert coverage_floors.covered_share({"events/x.py": {"summary": summary}}, "events") == 50.0
    assert coverage_floors.covered_share({}, "events") is None


@pytest.mark.parametrize(
    ("tests", "failures", "errors", "skipped", "line", "code"),
    [
        (10, 0, 0, 0, "10 passed, 0 failed, 0 skipped", 0),
        (10, 1, 2, 3, "4 passed, 3 failed, 3 skipped", 1),
        (0, 0, 0, 0, "0 passed, 0 failed, 0 skipped", 1),
    ],
)
def test_the_closing_line_counts_what_ran(
    tests: int,
    failures: int,
    errors: int,
    skipped: int,
    line: str,
    code: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The last line names passed, failed and skipped; without a passed test the run fails."""
    file = tmp_path / "report.xml"
    file.write_text(
        f'<testsuites name="x"><testsuite name="pytest" errors="{errors}" failures="{failures}" '
        f'skipped="{skipped}" tests="{tests}" time="1.0"></testsuite></testsuites>'
    )
    assert count_tests.main(str(file)) == code
    assert capsys.readouterr().out == line + "\n"


def test_a_run_without_a_report_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """When pytest died before it wrote anything, nothing passed."""
    assert count_tests.main(str(tmp_path / "none.xml")) == 1
    assert capsys.readouterr().out == "0 passed, 0 failed, 0 skipped\n"


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_finds_what_it_breaks(mutant: mutants.Mutant) -> None:
    """A mutant whose text has moved would break nothing, and so prove nothing."""
    text = (mutants.ROOT / mutant.file).read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1
