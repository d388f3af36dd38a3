"""Frames handed over by their writer: folded without being read, never instead of another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from goclaw_events.memory_journal import MemoryJournal
from goclaw_projections import feed as feed_module
from goclaw_projections.every import all_projections
from goclaw_projections.feed import Feed
from goclaw_projections.projection import frame_told, read_frame
from goclaw_projections.runner import ProjectionRunner, RunnerSettings
from goclaw_projections.store import MemoryViewStore
from goclaw_projections.verify import differences
from tests.projections.log_writer import LogWriter, said, submitted

if TYPE_CHECKING:
    from goclaw_events.framing import EncodedFrame

WAIT_S = 30.0


def frames(count: int) -> list[EncodedFrame]:
    """Return frames that follow each other, of one fact each."""
    writer = LogWriter(MemoryJournal())
    for number in range(count):
        writer.frame(said(f"workflow/w{number}", submitted()))
    return writer.frames


def plain(value: Any) -> Any:
    """Return lists for tuples, as the log keeps both."""
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def test_what_is_told_is_what_is_read() -> None:
    """A frame's objects and its bytes make the same turns."""
    writer = LogWriter(MemoryJournal())
    writer.run("r", ["a", "b"])
    for frame in writer.frames:
        assert plain(frame_told(frame.header, frame.told)) == plain(read_frame(frame.data))


def test_a_frame_is_given_by_its_first_number() -> None:
    """What stands before it is forgotten, what stands behind it stays."""
    feed, made = Feed(), frames(4)
    for frame in made:
        feed.put(frame)
    assert (feed.first, feed.last) == (1, 4)
    found = feed.take(3)
    assert found is not None
    assert (found.told, found.last, found.data) == (made[2].told, 3, made[2].data)
    assert feed.take(3) is None
    assert feed.first == 4
    assert feed.take(1) is None


def test_behind_a_gap_nothing_older_is_kept() -> None:
    """A commit that was told to nobody lies between: it is read from the log."""
    feed, made = Feed(), frames(4)
    feed.put(made[0])
    feed.put(made[2])
    assert (feed.take(1), feed.first, feed.last) == (None, 3, 3)


def test_a_frame_without_its_objects_is_not_kept() -> None:
    """Nor what came before it, which a reader would have to read up to."""
    feed, made = Feed(), frames(2)
    feed.put(made[0])
    feed.put(made[1]._replace(told=()))
    assert (feed.first, feed.last) == (None, 2)


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go: who is that far behind reads the log."""
    monkeypatch.setattr(feed_module, "FRAMES_MAX", 3)
    feed, made = Feed(), frames(9)
    for frame in made:
        feed.put(frame)
    assert (feed.first, feed.last) == (7, 9)
    monkeypatch.setattr(feed_module, "BYTES_MAX", len(made[0].data))
    feed.put(frames(10)[9])
    assert feed.first == 10


@pytest.mark.parametrize("lost", [(), (0,), (3, 4), (11,), tuple(range(12))])
def test_the_rows_are_the_same_wherever_frames_come_from(
    monkeypatch: pytest.MonkeyPatch, lost: tuple[int, ...]
) -> None:
    """Frames that were not handed over are read from the log, the others are not."""
    read: list[int] = []

    def reading(data: bytes) -> Any:
        frame = read_frame(data)
        read.append(frame.first)
        return frame

    journal, store = MemoryJournal(), MemoryViewStore()
    writer = LogWriter(journal)
    monkeypatch.setattr(feed_module, "read_frame", reading)
    runner = ProjectionRunner(journal, store, all_projections(), RunnerSettings(linger_s=60.0))
    writer.run("r", ["a", "b"])
    writer.run("s")
    assert len(writer.frames) == 13
    for at, frame in enumerate(writer.frames):
        if at not in lost:
            runner.notify(0, frame)
    runner.start()
    runner.wait_for({0: journal.durable(0)}, WAIT_S)
    runner.stop()
    seen = [writer.frames[at].header.first for at in range(max(lost, default=-1) + 1)]
    assert read == seen
    assert list(differences(journal, store, all_projections())) == []
