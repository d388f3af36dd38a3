"""The watermark file: two slots, written in turn, fsynced in time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from goclaw_events.errors import LogDamaged, LogMismatch
from goclaw_events.watermark import Mark, Watermark, read_watermark

if TYPE_CHECKING:
    from pathlib import Path

LOG = b"L" * 16
MARKS = [Mark(1, 0, bytes(16)), Mark(1, 0, bytes(16))]


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def mark(watermark: Watermark, number: int) -> None:
    """Write a number for partition 1."""
    watermark.marks[1] = Mark(1, number, bytes([number]) * 16)
    watermark.write()


def test_the_newest_whole_slot_counts(tmp_path: Path) -> None:
    """What was written last is read; if its slot is torn, what was written before it."""
    path = tmp_path / "watermark"
    watermark = Watermark(path, LOG, MARKS)
    for number in range(1, 6):
        mark(watermark, number)
    watermark.close()
    found = read_watermark(path, LOG, 2)
    assert found == [MARKS[0], Mark(1, 5, bytes([5]) * 16)]
    seen = []
    for slot in (0, 512):
        content = bytearray(path.read_bytes())
        content[slot + 40] ^= 1
        (tmp_path / "torn").write_bytes(content)
        torn = read_watermark(tmp_path / "torn", LOG, 2)
        assert torn is not None
        seen.append(torn[1].number)
    assert sorted(seen) == [4, 5]


def test_without_a_whole_slot_nothing_is_known(tmp_path: Path) -> None:
    """A file of which both slots are damaged is refused; no file is not an error."""
    path = tmp_path / "watermark"
    assert read_watermark(path, LOG, 2) is None
    path.write_bytes(bytes(1024))
    with pytest.raises(LogDamaged):
        read_watermark(path, LOG, 2)
    path.write_bytes(b"")
    with pytest.raises(LogDamaged):
        read_watermark(path, LOG, 2)


def test_another_logs_watermark_is_refused(tmp_path: Path) -> None:
    """A watermark names its log."""
    path = tmp_path / "watermark"
    Watermark(path, LOG, MARKS).close()
    with pytest.raises(LogMismatch):
        read_watermark(path, b"M" * 16, 2)


def test_writing_goes_on_after_reopening(tmp_path: Path) -> None:
    """A file opened again is continued: its next slot is newer than both that it holds."""
    path = tmp_path / "watermark"
    for number in range(1, 5):
        watermark = Watermark(path, LOG, MARKS)
        mark(watermark, number)
        watermark.close()
        found = read_watermark(path, LOG, 2)
        assert found is not None
        assert found[1].number == number


def test_an_fsync_at_most_every_100_ms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many writes are one fsync, due 100 ms after the first of them, and one at close."""
    clock = Clock()
    watermark = Watermark(tmp_path / "watermark", LOG, MARKS, monotonic=clock)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    assert watermark.sync_if_due() is None
    mark(watermark, 1)
    clock.now_s = 0.04
    mark(watermark, 2)
    assert watermark.sync_if_due() == pytest.approx(0.06)
    assert synced == []
    clock.now_s = 0.1
    assert watermark.sync_if_due() is None
    assert len(synced) == 1
    mark(watermark, 3)
    watermark.close()
    watermark.close()
    assert len(synced) == 2
