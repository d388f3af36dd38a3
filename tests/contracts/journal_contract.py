"""What every adapter of the journal promises. An adapter's test subclasses `JournalContract`."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_events.envelope import AttemptRow, MessageRecord, OpenRow, TimerRow
from goclaw_events.errors import (
    BlobMissing,
    JournalFull,
    JournalUnavailable,
    LogMismatch,
)
from goclaw_events.frame import GENESIS, decode_frame
from goclaw_events.replay import stream_turns
from goclaw_events.tables import counter_key, inbox_key, is_derived, outbox_key, timer_of, u64
from goclaw_events.value import BlobRef, pack
from goclaw_events.verify import derived_rows
from tests.contracts.frame_writer import FrameWriter

if TYPE_CHECKING:
    from goclaw_events.errors import CodedError
    from goclaw_events.framing import FrameBuilder
    from goclaw_events.journal import Journal


def message(place: int) -> MessageRecord:
    """Return a message whose id is `(1, place)`."""
    return MessageRecord("lane/d/io", "lane.enqueue", 1, [place], (1, place), None, None)


class JournalContract(ABC):
    """The rules; each adapter says how to open, reopen, hold and fail."""

    @abstractmethod
    def create(self, partitions: int = 1) -> Journal:
        """Return a new, empty journal."""

    @abstractmethod
    def reopen(self, journal: Journal) -> Journal:
        """Close a journal and open the same log again."""

    @abstractmethod
    def hold(self, journal: Journal) -> None:
        """Let commits wait before their flush until `let_go`."""

    @abstractmethod
    def let_go(self, journal: Journal) -> None:
        """Let what waits, and all later commits, go on."""

    @abstractmethod
    def fail_next(self, journal: Journal) -> None:
        """Let the next commit fail with `JournalFull` after its rows were written."""

    @pytest.mark.parametrize("partitions", [1, 4])
    def test_a_new_log_is_empty(self, partitions: int) -> None:
        """A new log has an id, the partitions asked for, and nothing in any of them."""
        journal = self.create(partitions)
        assert len(journal.log_id) == 16
        assert journal.partitions == partitions
        for partition in range(partitions):
            assert journal.head(partition)[1:] == (0, 0, GENESIS, 0)
            assert journal.durable(partition) == 0
            assert list(journal.frames(partition)) == []
            assert list(journal.streams(partition)) == []

    @pytest.mark.parametrize("partitions", [1, 4])
    def test_what_is_appended_is_read_in_order(self, partitions: int) -> None:
        """The bytes of every frame come back, in order, each partition on its own."""
        writer = FrameWriter(self.create(partitions))
        written: list[list[bytes]] = [[] for _ in range(partitions)]
        for round_number in range(40):
            partition = round_number % partitions
            turns = {"workflow/r": [["a"]] * (round_number % 3 + 1)}
            written[partition].append(writer.append(partition=partition, turns=turns).data)
        writer.settle()
        for partition, frames in enumerate(written):
            assert list(writer.journal.frames(partition)) == frames
            assert writer.journal.durable(partition) == writer.tips[partition][0]

    def test_answers_come_in_order_after_the_frame_is_durable(self) -> None:
        """`done` is called in order of appends, and its frame is durable by then."""
        journal = self.create()
        writer = FrameWriter(journal)
        seen: list[tuple[int, bool]] = []

        def note(last: int, error: CodedError | None) -> None:
            seen.append((last, error is None and journal.durable(0) >= last))

        for _ in range(50):
            frame = writer.frame()
            journal.append(frame, partial(note, frame.last))
        writer.append()
        writer.settle()
        assert seen == [(number, True) for number in range(1, 51)]

    def test_readers_never_pass_what_is_durable(self) -> None:
        """While a flush is held nothing of its frames is seen by anyone who reads the log."""
        journal = self.create()
        writer = FrameWriter(journal)
        writer.append(turns={"workflow/old": [["a"]]})
        writer.settle()
        self.hold(journal)
        writer.append(turns={"workflow/old": [["b"]], "workflow/new": [["c"]]})
        assert journal.durable(0) == 1
        assert len(list(journal.frames(0))) == 1
        assert len(list(journal.stream_frames(0, "workflow/old"))) == 1
        assert list(journal.stream_frames(0, "workflow/new")) == []
        assert journal.last_seq(0, "workflow/new") == 0
        assert journal.last_seq(0, "workflow/old") == 1
        assert list(journal.streams(0)) == ["workflow/old"]
        self.let_go(journal)
        writer.settle()
        assert journal.durable(0) == 3
        assert sorted(journal.streams(0)) == ["workflow/new", "workflow/old"]

    @pytest.mark.parametrize("partitions", [1, 4])
    def test_reopening_keeps_everything_and_the_chain_goes_on(self, partitions: int) -> None:
        """A log opened again has its id, heads and frames, and takes the next frame."""
        journal = self.create(partitions)
        writer = FrameWriter(journal)
        for partition in range(partitions):
            writer.append(partition=partition, turns={"workflow/r": [["a"]] * (partition + 1)})
        writer.settle()
        before = (journal.log_id, [list(journal.frames(p)) for p in range(partitions)])
        journal = self.reopen(journal)
        assert (journal.log_id, [list(journal.frames(p)) for p in range(partitions)]) == before
        tips = [(journal.head(p).number, journal.head(p).hash) for p in range(partitions)]
        assert tips == writer.tips
        writer.journal = journal
        writer.resume()
        writer.append(partition=partitions - 1)
        writer.settle()
        assert len(list(journal.frames(partitions - 1))) == 2

    def test_a_head_is_the_last_frame_of_its_partition(self) -> None:
        """After opening, a head names number, hash, time and epoch of the last frame."""
        writer = FrameWriter(self.create(2))
        frame = writer.append(partition=1, turns={"workflow/r": [["a"]] * 7})
        writer.settle()
        head = self.reopen(writer.journal).head(1)
        assert head == (frame.header.era, 1, 7, frame.hash, frame.header.time_ns)

    def test_a_frame_that_does_not_continue_is_refused(self) -> None:
        """A gap, a repeated number and a wrong predecessor raise `LogMismatch` at `append`."""
        writer = FrameWriter(self.create())
        first = writer.append()
        writer.frame()
        with pytest.raises(LogMismatch):
            writer.append()
        with pytest.raises(LogMismatch):
            writer.append(first)
        writer.tips[0] = (first.last, bytes(16))
        with pytest.raises(LogMismatch):
            writer.append()
        writer.tips[0] = (first.last, first.hash)
        writer.append()
        writer.settle()

    def test_frames_from_and_to(self) -> None:
        """`frames` begins with the frame that holds `start` and ends with that of `stop`."""
        writer = FrameWriter(self.create())
        for _ in range(10):
            writer.append(turns={"workflow/r": [["a"], ["b"], ["c"]]})
        writer.settle()
        firsts = [
            decode_frame(data).header.first for data in writer.journal.frames(0, start=5, stop=13)
        ]
        assert firsts == [4, 7, 10, 13]
        assert list(writer.journal.frames(0, start=31)) == []
        assert list(writer.journal.frames(0, start=5, stop=4)) == []

    def test_a_stream_is_read_from_any_seq(self) -> None:
        """`stream_turns` gives the turns of one stream, from the one that holds `from_seq`."""
        writer = FrameWriter(self.create())
        for place in range(6):
            streams = {"workflow/r": [[f"{place}a"], [f"{place}b"]], "workflow/rr": [["other"]]}
            writer.append(turns=streams if place % 2 else {"task/r/t": [["x"]], **streams})
        writer.settle()
        seqs = [
            [fact.seq for fact in turn.facts]
            for turn in stream_turns(writer.journal, "workflow/r", from_seq=6)
        ]
        assert seqs == [[5, 6], [7, 8], [9, 10], [11, 12]]
        assert list(stream_turns(writer.journal, "workflow/r", from_seq=13)) == []
        assert len(list(stream_turns(writer.journal, "task/r/t"))) == 3

    def test_streams_are_found_by_prefix(self) -> None:
        """`streams` yields each name once, whatever the length of the names."""
        journal = self.create(2)
        writer = FrameWriter(journal)
        names = ["workflow/a", "workflow/abc", "workflow/" + "x" * 200, "task/a/b", "lane//io"]
        for _ in range(3):
            writer.append(partition=1, turns={name: [["a"]] for name in names})
        writer.append(partition=0, turns={"workflow/elsewhere": [["a"]]})
        writer.settle()
        assert sorted(journal.streams(1)) == sorted(names)
        assert list(journal.streams(1, "workflow/")) == names[:3]
        assert list(journal.streams(1, "workflow/ab")) == ["workflow/abc"]
        assert list(journal.streams(1, "saga/")) == []
        assert journal.last_seq(1, "task/a/b") == 3
        assert journal.last_seq(1, "task/a") == 0
        assert journal.last_seq(0, "task/a/b") == 0

    def test_work_rows_come_and_go(self) -> None:
        """Inbox, outbox, timer, attempt and open rows are put by one frame, deleted by another."""
        journal = self.create(2)
        writer = FrameWriter(journal)
        timer = TimerRow(5_000, "task/r/t", "retry:1")
        attempt = AttemptRow(3, "task/r/t", 1, "node:boot", 9_000)
        opened = OpenRow("workflow/r", "task", "t", 0, 1)

        def put(builder: FrameBuilder) -> None:
            builder.left.append((0, message(0)))
            builder.out.append((1, 1, [message(1), message(2)]))
            builder.received[1] = 7
            builder.timers_added.append(timer)
            builder.attempts_added.append(attempt)
            builder.attempts_oldest = attempt.token
            builder.open_added.append(opened)

        def delete(builder: FrameBuilder) -> None:
            builder.handled.append((1, 0))
            builder.acked.append((1, 1, 1))
            builder.timers_removed.append(timer)
            builder.attempts_removed.append(attempt.token)
            builder.open_removed.append(opened.stream)

        writer.append(fill=put)
        writer.settle()
        assert [key for key, _ in journal.rows("inbox")] == [inbox_key(0, 1, 0)]
        assert [key for key, _ in journal.rows("outbox")] == [
            outbox_key(0, 1, 1),
            outbox_key(0, 1, 2),
        ]
        assert [timer_of(key) for key, _ in journal.rows("timers")] == [timer]
        assert journal.get("meta", counter_key("out", 0, 1)) == u64(2)
        assert journal.get("meta", counter_key("in", 0, 1)) == u64(7)
        assert journal.get("meta", counter_key("token", 0)) == u64(3)
        assert len(list(journal.rows("attempts"))) == len(list(journal.rows("open"))) == 1
        writer.append(fill=delete)
        writer.settle()
        assert [key for key, _ in journal.rows("outbox")] == [outbox_key(0, 1, 2)]
        for table in ("inbox", "timers", "attempts", "open"):
            assert list(journal.rows(table)) == [], table
        assert journal.get("meta", counter_key("token", 0)) == u64(0)

    def test_rows_stop_where_they_are_told(self) -> None:
        """`rows` yields keys with a prefix, below `stop`, in order."""
        writer = FrameWriter(self.create())
        due = [30, 10, 20, 40]

        def put(builder: FrameBuilder) -> None:
            builder.timers_added.extend(TimerRow(at, "task/r/t", str(at)) for at in due)

        writer.append(fill=put)
        writer.settle()
        rows = writer.journal.rows("timers", prefix=bytes(2), stop=bytes(2) + u64(31))
        assert [timer_of(key).due_ns for key, _ in rows] == [10, 20, 30]
        assert list(writer.journal.rows("timers", prefix=b"\x00\x01")) == []

    @pytest.mark.parametrize("size", [70_000, 1024 * 1024, 1024 * 1024 + 1, 3_000_000])
    def test_blobs_are_kept_under_their_hash(self, size: int) -> None:
        """A blob is stored once, is there after reopening, and is compared with its hash."""
        data = pack("x" * (size - 5))
        ref = BlobRef(hashlib.sha256(data).digest(), len(data))
        writer = FrameWriter(self.create())
        for _ in range(2):
            writer.append(
                turns={"workflow/r": [[ref]]},
                fill=lambda builder: builder.blobs.update({ref.sha256: data}),
            )
        writer.settle()
        journal = self.reopen(writer.journal)
        assert journal.has_blob(ref.sha256)
        assert journal.blob(ref) == data
        missing = BlobRef(bytes(32), size)
        assert not journal.has_blob(missing.sha256)
        with pytest.raises(BlobMissing):
            journal.blob(missing)

    def test_after_a_failure_nothing_is_taken_until_recover(self) -> None:
        """A failed commit is told to all behind it; `recover` shows what was really stored."""
        journal = self.create()
        writer = FrameWriter(journal)
        writer.append()
        writer.settle()
        self.fail_next(journal)
        writer.append(turns={"workflow/r": [["unknown"]]})
        (_, error) = writer.acks.wait(2)[-1]
        assert isinstance(error, JournalFull)
        assert journal.durable(0) == 1
        assert len(list(journal.frames(0))) == 1
        with pytest.raises(JournalUnavailable):
            writer.append(writer.frame())
        journal.recover()
        assert journal.head(0).number in (1, 2)
        assert journal.durable(0) == journal.head(0).number
        writer.resume()
        writer.append(turns={"workflow/q": [["after"]]})
        assert writer.acks.wait(3)[-1][1] is None
        assert len(list(journal.frames(0))) == journal.head(0).number + 1

    def test_recover_without_a_failure_changes_nothing(self) -> None:
        """`recover` on a journal that works leaves it working."""
        writer = FrameWriter(self.create())
        writer.append()
        writer.settle()
        writer.journal.recover()
        writer.append()
        writer.settle()
        assert writer.journal.durable(0) == 2

    def test_closing_keeps_what_is_queued(self) -> None:
        """`close` commits what was appended, may be called twice, and then takes nothing."""
        journal = self.create()
        writer = FrameWriter(journal)
        for _ in range(20):
            writer.append()
        frame = writer.frame()
        journal.close()
        journal.close()
        writer.settle()
        with pytest.raises(JournalUnavailable):
            journal.append(frame, writer.acks.of(0))

    @pytest.mark.parametrize("partitions", [1, 4])
    def test_every_table_follows_from_the_frames(self, partitions: int) -> None:
        """Drop the derived tables, derive them from the frames: the same bytes, row for row."""
        journal = self.create(partitions)
        writer = FrameWriter(journal)
        for place in range(24):
            writer.append(partition=place % partitions, fill=_busy(place), turns=_facts(place))
        writer.settle()
        stored = {
            (table, key): value
            for table in ("streams", "timers", "attempts", "inbox", "outbox", "open", "meta")
            for key, value in journal.rows(table)
            if is_derived(table, key)
        }
        derived = {row: value for row, value in derived_rows(journal).items() if row[0] != "log"}
        assert derived == stored
        assert {table for table, _ in stored} == {
            "streams", "timers", "attempts", "inbox", "outbox", "open", "meta",
        }  # fmt: skip


def _facts(place: int) -> dict[str, list[list[Any]]]:
    return {f"workflow/r{place % 5}": [["a"]], f"task/r{place % 5}/t{place}": [["b"], ["c"]]}


def _busy(place: int) -> Any:
    def fill(builder: FrameBuilder) -> None:
        first = builder.first
        builder.left.append((place, message(place)))
        builder.timers_added.append(TimerRow(place + 1, "task/r/t", f"t{place}"))
        builder.attempts_added.append(AttemptRow(first, "task/r/t", 1, "n:b", place))
        builder.attempts_oldest = first
        builder.open_added.append(OpenRow(f"workflow/r{place % 7}", "task", f"t{place}", 0, place))
        builder.out.append((1, first, [message(place), message(place + 1)]))
        builder.received[0] = place
        if place % 3 == 0:
            builder.open_removed.append(f"workflow/r{(place + 1) % 7}")
            builder.timers_removed.append(TimerRow(place, "task/r/t", f"t{place - 1}"))

    return fill
