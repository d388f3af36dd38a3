"""The committer's thread between groups: what it is asked to do when nothing is queued."""

from __future__ import annotations

import threading

from goclaw_events.committer import Committer
from goclaw_events.errors import JournalBroken
from goclaw_events.memory_journal import MemoryJournal
from tests.contracts.frame_writer import WAIT_S, Acks, FrameWriter


def test_a_tick_comes_without_another_frame() -> None:
    """The watermark's fsync does not wait for the next frame: `tick` is called when it asked."""
    ticks: list[int] = []
    twice = threading.Event()

    def tick() -> float | None:
        ticks.append(1)
        if len(ticks) == 2:
            twice.set()
        return 0.01 if len(ticks) == 1 else None

    acks = Acks()
    committer = Committer(lambda _: None, tick)
    committer.append(FrameWriter(MemoryJournal()).frame(), acks.of(1))
    assert twice.wait(WAIT_S)
    committer.close()
    assert acks.seen == [(1, None)]


def test_a_tick_that_fails_stops_taking() -> None:
    """An error between groups is an error of the disk: nothing is taken until `reset`."""
    failed = threading.Event()

    def tick() -> float | None:
        failed.set()
        raise JournalBroken("the disk is gone")

    acks = Acks()
    committer = Committer(lambda _: None, tick)
    committer.append(FrameWriter(MemoryJournal()).frame(), acks.of(1))
    acks.wait(1)
    assert failed.wait(WAIT_S)
    committer.settle()
    committer.close()
    assert isinstance(committer.failure, JournalBroken)
