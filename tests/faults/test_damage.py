"""Damaged logs: recovered exactly, or refused with a typed error in time; never silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.damage.base import Base, make_base
from scripts.damage.kinds import damage_archived, damage_other, damage_wal
from scripts.damage.trial import Opener, Trials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAL_CASES = 100
FILE_CASES = 40
SEGMENT_CASES = 30
MEND_EVERY = 20
SLOWEST_S = 10.0


@pytest.fixture(scope="module")
def opener() -> Iterator[Opener]:
    """Return a process that opens logs."""
    with Opener() as found:
        yield found


@pytest.fixture(scope="module", params=[False, True], ids=["all in the wal", "with table files"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Return a log to damage."""
    return make_base(tmp_path_factory.mktemp("base"), settled=request.param)


def test_a_damaged_write_ahead_log(base: Base, opener: Opener, tmp_path: Path) -> None:
    """Truncated, flipped, zeroed, full of garbage: what opens is exactly what was written."""
    trials = Trials(opener, tmp_path)
    for case in range(WAL_CASES // 2):
        trials.play(base, damage_wal, f"suite-wal-{case}", mend=case % MEND_EVERY == 0)
    assert trials.failures == []
    assert trials.counts["damaged"] == WAL_CASES // 2
    assert trials.counts["refused log_damaged"] >= WAL_CASES // 10
    assert trials.counts["mended, loss accepted"] >= 1
    assert trials.slowest_s < SLOWEST_S


def test_another_damaged_file(base: Base, opener: Opener, tmp_path: Path) -> None:
    """The same for tables, manifest, CURRENT, options, watermark and blobs."""
    trials = Trials(opener, tmp_path)
    for case in range(FILE_CASES // 2):
        trials.play(base, damage_other, f"suite-files-{case}", mend=case % MEND_EVERY == 0)
    assert trials.failures == []
    assert trials.counts["damaged"] == FILE_CASES // 2
    assert trials.counts["refused log_damaged"] >= FILE_CASES // 20
    assert trials.slowest_s < SLOWEST_S


def test_a_damaged_segment(
    opener: Opener, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same for segments, and for the other files of a log that has some."""
    base = make_base(tmp_path_factory.mktemp("archived"), settled=True, archived=True)
    trials = Trials(opener, tmp_path)
    for case in range(SEGMENT_CASES):
        trials.play(base, damage_archived, f"suite-segments-{case}", mend=case % MEND_EVERY == 0)
    assert trials.failures == []
    assert trials.counts["damaged"] == SEGMENT_CASES
    assert trials.counts["refused log_damaged"] >= SEGMENT_CASES // 3
    assert trials.slowest_s < SLOWEST_S
