"""The journal in memory keeps the contract, and what tests and the simulation need of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from goclaw_events.errors import JournalFull, JournalUnavailable
from goclaw_events.memory_journal import MemoryJournal
from tests.contracts.frame_writer import FrameWriter
from tests.contracts.journal_contract import JournalContract

if TYPE_CHECKING:
    from goclaw_events.journal import Journal


class TestMemoryJournal(JournalContract):
    """The contract, with commits inside `append`."""

    def create(self, partitions: int = 1) -> Journal:
        """Return a new, empty journal."""
        return MemoryJournal(partitions=partitions)

    def reopen(self, journal: Journal) -> Journal:
        """Close a journal and open the same log again."""
        assert isinstance(journal, MemoryJournal)
        return journal.crash()

    def hold(self, journal: Journal) -> None:
        """Let commits wait until `let_go`."""
        assert isinstance(journal, MemoryJournal)
        journal.autocommit = False

    def let_go(self, journal: Journal) -> None:
        """Let what waits, and all later commits, go on."""
        assert isinstance(journal, MemoryJournal)
        journal.autocommit = True
        journal.commit()

    def fail_next(self, journal: Journal) -> None:
        """Let the next commit fail after its rows were written."""
        assert isinstance(journal, MemoryJournal)
        journal.fail_next(JournalFull("no space"), stored=True)


def test_nothing_is_durable_before_commit() -> None:
    """Without autocommit a frame waits, unseen and unanswered, until `commit` takes it."""
    journal = MemoryJournal(autocommit=False)
    writer = FrameWriter(journal)
    for _ in range(3):
        writer.append()
    assert (journal.waiting, journal.durable(0), writer.acks.seen) == (3, 0, [])
    assert journal.commit(1) == 1
    assert (journal.waiting, journal.durable(0), writer.acks.seen) == (2, 1, [(1, None)])
    assert journal.commit() == 2
    assert writer.acks.seen == [(1, None), (2, None), (3, None)]


@pytest.mark.parametrize("survive", [0, 1, 3])
def test_a_crash_keeps_what_is_durable_and_a_prefix(survive: int) -> None:
    """After a crash the log holds the durable frames and as many of the queued as reached disk."""
    journal = MemoryJournal(autocommit=False)
    writer = FrameWriter(journal)
    for _ in range(5):
        writer.append()
    journal.commit(2)
    found = journal.crash(survive=survive)
    assert found.head(0).number == 2 + survive
    assert len(list(found.frames(0))) == 2 + survive
    assert len(writer.acks.seen) == 2
    with pytest.raises(JournalUnavailable):
        writer.append()


def test_a_crash_leaves_a_log_of_its_own() -> None:
    """What is written after a crash does not change the log that crashed."""
    journal = MemoryJournal()
    writer = FrameWriter(journal)
    writer.append()
    found = journal.crash()
    writer.journal = found
    writer.append()
    assert (found.durable(0), journal.durable(0)) == (2, 1)


@pytest.mark.parametrize(("stored", "number"), [(False, 0), (True, 2)])
def test_the_fate_of_a_failed_commit(stored: bool, number: int) -> None:
    """A failed commit tells everything queued, and what was stored shows after `recover`."""
    journal = MemoryJournal(autocommit=False)
    writer = FrameWriter(journal)
    for _ in range(3):
        writer.append()
    journal.fail_next(JournalFull("no space"), stored=stored)
    assert journal.commit(2) == 0
    assert [error.code if error else "" for _, error in writer.acks.seen] == ["disk_full"] * 3
    journal.recover()
    assert journal.head(0).number == number
