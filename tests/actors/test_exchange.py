"""Messages between partitions: never lost, never handled twice, and their rows go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.exchange import ACKS_MAX, Exchange
from goclaw_actors.ports import Limits
from goclaw_events.envelope import MessageRecord
from goclaw_events.framing import FrameBuilder
from goclaw_events.ids import partition_of
from goclaw_events.memory_journal import MemoryJournal
from goclaw_events.value import packer
from goclaw_events.verify import verify
from tests.actors.stage import CHAIN, LANES, MANY, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator


def record(number: int) -> MessageRecord:
    """Return a message that can be told from others."""
    return MessageRecord("task/r/a", "timer.fired", 1, [str(number)], (0, 1, number), None, None)


@pytest.fixture
def sides() -> Iterator[list[Exchange]]:
    """Give both sides of a conversation between two partitions of an empty log."""
    journal = MemoryJournal(partitions=2)
    found = [Exchange(partition, journal) for partition in range(2)]
    for side in found:
        side.peers = found
        assert list(side.open()) == []
    yield found
    journal.close()


def builder() -> FrameBuilder:
    """Return an empty frame."""
    return FrameBuilder(1, packer())


def test_messages_are_numbered_without_gaps(sides: list[Exchange]) -> None:
    """For each pair of partitions, over frames."""
    for expected in (1, 3):
        frame = builder()
        for number in range(2):
            sides[0].send(1, record(number))
        sides[0].settle(frame)
        assert [(to, counter, len(items)) for to, counter, items in frame.out] == [(1, expected, 2)]


def test_what_was_taken_in_is_dropped(sides: list[Exchange]) -> None:
    """Wholly or in part: only what is new is delivered."""
    sides[1].receive(0, 1, [record(1), record(2)])
    delivery = sides[1].take()
    assert delivery is not None
    assert delivery.last == 2
    sides[1].receive(0, 1, [record(1)])
    sides[1].receive(0, 2, [record(2), record(3)])
    second = sides[1].take()
    assert second is not None
    assert (second.last, [item.data for item in second.records]) == (3, [["3"]])
    assert sides[1].take() is None


def test_a_gap_is_a_bug(sides: list[Exchange]) -> None:
    """A message that was skipped would be lost: it is not passed over in silence."""
    sides[1].receive(0, 2, [record(2)])
    with pytest.raises(RuntimeError, match="jumps from message 0 to 2"):
        sides[1].take()


def test_acknowledgements_wait_for_a_frame_with_something_in_it(sides: list[Exchange]) -> None:
    """They cost no frame of their own until many wait."""
    sides[0].acknowledge(1, ACKS_MAX - 1)
    frame = builder()
    sides[0].settle(frame)
    assert frame.is_empty()
    sides[0].acknowledge(1, ACKS_MAX)
    sides[0].settle(frame)
    assert frame.acked == [(1, 1, ACKS_MAX)]
    again = builder()
    sides[0].settle(again)
    assert again.is_empty()


def spread(stage: Stage, run_id: str = "r") -> None:
    """Check that a run and its lane live in different partitions."""
    count = stage.journal.partitions
    assert partition_of(f"workflow/{run_id}", count) != partition_of("lane/w/io", count)


def test_rows_appear_and_go() -> None:
    """An outbox row stands until its receiver has the message, then goes with the next frame."""
    stage = Stage(partitions=4)
    spread(stage)
    stage.submit(MANY, **LANES)
    seen = 0
    while stage.node.run_once():
        stage.commit()
        seen = max(seen, stage.rows("outbox"))
    assert seen > 0
    stage.clock.ns += 2_000_000_000
    stage.finish()
    restarted = stage.crash()
    restarted.rest()
    assert restarted.rows("outbox") == 0
    assert restarted.rows("inbox") == 0
    assert verify(restarted.journal).problems == []


def test_a_message_that_was_taken_in_is_not_taken_in_again() -> None:
    """The receiver has it, the sender crashed before it heard so: its row goes, nothing else."""
    stage = Stage(partitions=4)
    stage.rest()
    stage.submit(CHAIN)
    stage.node.run_once()
    stage.commit()
    stage.node.run_once()
    stage.journal.commit()  # the lane has the message, and nobody heard of it
    stage.posts.clear()
    assert stage.rows("outbox") > 0
    lane = stage.facts("lane//default")
    after = stage.crash()
    after.node.run_once()
    after.commit()
    assert list(after.journal.rows("outbox", b"\0\0\0\3")) == []
    assert after.facts("lane//default")[: len(lane)] == lane
    after.finish()
    assert [type(fact).__name__ for fact in after.facts("workflow/r")][-1] == "RunCompleted"
    for task in CHAIN:
        leases = [fact for fact in after.facts("lane//default") if f"task/r/{task}" in fact.leased]
        assert len(leases) == 1


@pytest.mark.parametrize("survive", range(6))
def test_redelivery_after_a_crash_is_handled_once(survive: int) -> None:
    """Whichever of the frames in flight reached the disk."""
    stage: Any = Stage(partitions=4, limits=Limits(lost_max=100, batch_messages_max=2))
    stage.submit(MANY, **LANES)
    stage.node.run_once()
    stage.commit()
    for turn in range(25):
        stage.node.run_once()
        stage.journal.commit((survive + turn) % 3)
        stage.hear()
        stage.end_all()
        stage.node.run_once()
        stage = stage.crash(survive)
    stage.rest()
    stage.clock.ns += 2_000_000_000
    stage.finish()
    for task in MANY:
        assert stage.names(f"task/r/{task}").count("TaskScheduled") == (task != "wait")
        assert stage.names(f"task/r/{task}").count("TaskCompleted") == 1
    held: set[str] = set()
    for fact in stage.facts("lane/w/io"):
        if type(fact).__name__ == "LaneAdvanced":
            held -= set(fact.released)
            assert not held & set(fact.leased)
            held |= set(fact.leased)
            assert len(held) <= 3
    assert held == set()
    assert verify(stage.journal).problems == []
