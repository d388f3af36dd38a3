"""The simulated disk keeps its own promises; else the simulation would test nothing."""

from __future__ import annotations

import pytest

from goclaw_events.errors import CodedError, JournalBroken, JournalFull
from goclaw_events.facts import Marked
from goclaw_events.frame import FrameHeader
from goclaw_events.framing import EncodedFrame, FrameBuilder
from goclaw_events.value import packer
from goclaw_events.verify import verify
from tests.simulation.disk import SimDisk, broken, full
from tests.simulation.failpoints import Crash

LOG_ID = bytes(16)
STREAM = "$partition"


def append(disk: SimDisk, told: list[CodedError | None], count: int) -> None:
    """Append frames of one fact each."""
    head = disk.head(0)
    number, previous = head.number, head.hash
    for _ in range(count):
        pack = packer()
        builder = FrameBuilder(number + 1, pack)
        fact = pack((STREAM, number + 1, "partition.marked", 1, Marked()))
        builder.add_turn((None,) * 6, STREAM, number + 1, [fact])  # type: ignore[arg-type]
        frame: EncodedFrame = builder.close(
            FrameHeader(LOG_ID, 0, 1, 1, number + 1, 1, 0, previous)
        )
        disk.append(frame, told.append)
        number, previous = frame.last, frame.hash


def test_what_is_written_can_be_read_before_it_is_durable() -> None:
    """Rows show at once; frames and callbacks wait for the flush."""
    disk, told = SimDisk(1, LOG_ID), []  # type: SimDisk, list[CodedError | None]
    append(disk, told, 2)
    disk.write()
    assert (disk.unflushed, disk.durable(0), told) == (2, 0, [])
    assert len(list(disk.rows("log"))) == 2
    disk.flush()
    assert (disk.unflushed, disk.durable(0), told) == (0, 2, [None, None])


@pytest.mark.parametrize("survive", [0, 1, 3])
def test_a_power_loss_takes_a_suffix_of_what_was_not_flushed(survive: int) -> None:
    """What stays is a prefix, and the tables fit it."""
    disk, told = SimDisk(1, LOG_ID), []  # type: SimDisk, list[CodedError | None]
    append(disk, told, 5)
    disk.write(2)
    disk.flush()
    disk.write()
    after = disk.crash(survive, power=True)
    assert after.durable(0) == 2 + survive
    assert verify(after).whole


def test_a_kill_leaves_what_was_written() -> None:
    """The machine lives on: only what was queued is lost."""
    disk, told = SimDisk(1, LOG_ID), []  # type: SimDisk, list[CodedError | None]
    append(disk, told, 3)
    disk.write(2)
    assert disk.crash().durable(0) == 2


def test_every_frame_of_a_failed_commit_is_told() -> None:
    """Also those that are there afterwards, and those that were only queued."""
    disk, told = SimDisk(1, LOG_ID), []  # type: SimDisk, list[CodedError | None]
    append(disk, told, 4)
    disk.write(3)
    disk.fail(full(), 1)
    assert [type(error) for error in told] == [JournalFull] * 4
    disk.full_reopens = 1
    with pytest.raises(JournalFull):
        disk.recover()
    disk.recover()
    assert disk.head(0).number == 2


def test_the_nth_call_fails_whatever_it_is() -> None:
    """Reads count as calls, writes and flushes too."""
    disk, told = SimDisk(1, LOG_ID), []  # type: SimDisk, list[CodedError | None]
    disk.fail_at(1, broken())
    disk.get("meta", b"format")
    with pytest.raises(JournalBroken):
        disk.last_seq(0, STREAM)
    append(disk, told, 2)
    disk.fail_at(1, broken())
    disk.write()
    assert [type(error) for error in told] == [JournalBroken] * 2


def test_a_process_dies_at_the_point_that_was_named() -> None:
    """Once, at the nth time."""
    disk, told = SimDisk(1, LOG_ID), []  # type: SimDisk, list[CodedError | None]
    append(disk, told, 3)
    disk.write()
    disk.points.arm("between callbacks", 2)
    with pytest.raises(Crash):
        disk.flush()
    assert (disk.durable(0), told) == (3, [None, None])
