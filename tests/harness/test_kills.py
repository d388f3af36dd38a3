"""Kill -9 and power cuts, a few of each; scripts/kill9.py does the same by the thousand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.harness.campaign import play
from scripts.harness.engine_kill import EngineCounts
from scripts.harness.nursery import Nursery
from scripts.harness.saga_kill import SagaCounts
from scripts.harness.signal_kill import SignalCounts
from scripts.harness.storage_kill import StorageCounts
from scripts.harness.wait_kill import WaitCounts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEED = 20


@pytest.fixture(name="nursery", scope="module")
def _nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


def play_storage(nursery: Nursery, kind: str, kills: int, home: Path) -> StorageCounts:
    """Play worlds of storage; nothing may fail."""
    campaign = play(nursery, kind, kills, SEED, home)
    assert campaign.failures == []
    assert isinstance(campaign.counts, StorageCounts)
    assert campaign.counts.kills == kills
    return campaign.counts


def test_a_killed_log_holds_all_that_was_acknowledged(nursery: Nursery, tmp_path: Path) -> None:
    """After 30 kills everything acknowledged is there, in whole batches, gapless and chained."""
    counts = play_storage(nursery, "storage", 30, tmp_path)
    assert counts.acknowledged > 100
    assert set(counts.by_step) == {"blobs", "write", "flush", "watermark"}


def test_a_power_cut_loses_nothing_that_was_flushed(nursery: Nursery, tmp_path: Path) -> None:
    """After 15 cuts of the WAL to its flushed length and a torn tail, all acknowledged is there."""
    counts = play_storage(nursery, "power", 15, tmp_path)
    assert counts.acknowledged > 100
    assert sum(counts.tails.values()) > 3
    assert counts.refused == 0


def test_a_disk_out_of_order_loses_nothing(nursery: Nursery, tmp_path: Path) -> None:
    """What a power cut left out of order is set aside: the log opens with all acknowledged."""
    counts = play_storage(nursery, "disorder", 10, tmp_path)
    assert sum(counts.tails.values()) > 1
    assert counts.refused == 0


def test_a_killed_engine_finishes_what_it_accepted(nursery: Nursery, tmp_path: Path) -> None:
    """After 10 kills under random programs all runs end as they must, with the expected totals."""
    campaign = play(nursery, "engine", 10, SEED, tmp_path)
    assert campaign.failures == []
    counts = campaign.counts
    assert isinstance(counts, EngineCounts)
    assert counts.kills == 10
    assert counts.rivals == 1
    assert counts.runs > 5
    assert counts.effects > 50
    assert counts.steps > 50
    tasks = counts.effects - counts.repeated_effects - counts.steps
    assert counts.begun > tasks, "no attempt was ever lost"


def test_a_killed_engine_loses_nothing_that_was_said(nursery: Nursery, tmp_path: Path) -> None:
    """After 10 kills under mixed signals all acknowledged are there, once, and came to an end.

    What tasks emitted was read in order and once, and collectors told of each end, once.
    """
    campaign = play(nursery, "signals", 10, SEED, tmp_path)
    assert campaign.failures == []
    counts = campaign.counts
    assert isinstance(counts, SignalCounts)
    assert counts.kills == 10
    assert counts.acknowledged > 50
    assert counts.interrupts > 0
    assert counts.adjustments > 0
    assert counts.handed_again > 0, "no attempt that had taken a message was ever lost"
    assert counts.chunks > 50
    assert counts.members > 0, "nobody was collected before the last engine"


def test_a_killed_engine_undoes_what_it_has_to(nursery: Nursery, tmp_path: Path) -> None:
    """After 10 kills of sagas going forth and back, what stands outside is what they expect."""
    campaign = play(nursery, "sagas", 10, SEED, tmp_path)
    assert campaign.failures == []
    counts = campaign.counts
    assert isinstance(counts, SagaCounts)
    assert counts.kills == 10
    assert counts.sagas > 10
    assert counts.undone > 20
    assert counts.in_doubt > 0
    assert counts.alarms > 0
    assert counts.repeated > 0, "no attempt that had taken effect was ever lost"


def test_a_killed_engine_answers_what_waits_once(nursery: Nursery, tmp_path: Path) -> None:
    """After 10 kills all that waited for time, signals, people and letters ended as was drawn."""
    campaign = play(nursery, "waits", 10, SEED, tmp_path)
    assert campaign.failures == []
    counts = campaign.counts
    assert isinstance(counts, WaitCounts)
    assert counts.kills == 10
    assert counts.errands > 10
    assert counts.answers > 10
    assert counts.deadlines > 0
    assert counts.repeats > 10
    assert counts.refused > 10
    assert counts.letters > 5
    assert counts.fired + counts.operations + counts.parked > 0, "it came to nothing beside errands"
    assert counts.repeated_effects > 0, "no attempt that had taken effect was ever lost"
