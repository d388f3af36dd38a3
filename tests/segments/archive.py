"""Logs to archive: frames of runs that end, of lanes that live on, and the facts of an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goclaw_events.codec import FACTS
from goclaw_events.envelope import Cause, Fact, OpenRow
from goclaw_events.facts import SegmentSealed, SegmentsExpired
from goclaw_events.frame import decode_frame
from goclaw_events.ids import PARTITION_STREAM
from goclaw_events.poisoned import POISONED
from goclaw_events.portable import LogDigest
from goclaw_events.rocks.archiving import drop_archived, drop_expired
from goclaw_events.segments.expiry import seal_baseline
from goclaw_events.segments.sealing import frame_start, seal
from goclaw_events.value import pack
from tests.contracts.frame_writer import FrameWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_events.framing import FrameBuilder
    from goclaw_events.rocks import RocksJournal
    from goclaw_events.segments.records import SegmentInfo

SEALED = FACTS.names[SegmentSealed].name
EXPIRED = FACTS.names[SegmentsExpired].name
LANE = "lane//io"


class Author:
    """Write runs into a journal: each begins, works a few turns and ends; a lane hears of all."""

    def __init__(self, journal: RocksJournal) -> None:
        self.writer = FrameWriter(journal)

    @property
    def journal(self) -> RocksJournal:
        """Return the journal that is written."""
        journal = self.writer.journal
        assert hasattr(journal, "segments_path")
        return journal  # type: ignore[return-value]

    def continue_in(self, journal: RocksJournal) -> None:
        """Go on in a journal that was opened again."""
        self.writer.journal = journal
        self.writer.resume()

    def say(
        self,
        stream: str,
        kind: str,
        *data: list[Any],
        partition: int = 0,
        fill: Callable[[FrameBuilder], None] | None = None,
    ) -> None:
        """Append a frame with facts of one type."""
        self.writer.append(
            partition=partition, turns={stream: list(data)}, fact_type=kind, fill=fill
        )

    def begin(self, run: str, partition: int = 0) -> None:
        """Submit a run; it is open from here on."""
        stream = f"workflow/{run}"

        def fill(builder: FrameBuilder) -> None:
            builder.open_added.append(OpenRow(stream, "task", "a", 0, 1))

        data = [None, "w", {"n": run}, {}, run.encode(), None, ""]
        self.say(stream, "run.submitted", data, partition=partition, fill=fill)

    def work(self, run: str, task: str = "a", partition: int = 0) -> None:
        """Let a task of a run, and the lane, say something."""
        self.say(f"task/{run}/{task}", "task.requeued", [1], [2], partition=partition)
        self.say(LANE, "lane.refused", [[f"task/{run}/{task}"], "lane_full"], partition=partition)

    def end(self, run: str, partition: int = 0) -> None:
        """Let a run complete."""
        stream = f"workflow/{run}"

        def fill(builder: FrameBuilder) -> None:
            builder.open_removed.append(stream)

        self.say(stream, "run.completed", [run], partition=partition, fill=fill)

    def poison(self, run: str) -> None:
        """Let a bug end a run: neither a message nor its failure can be handled."""
        stream, number = f"workflow/{run}", self.writer.tips[0][0] + 1
        failed = [stream, 1, "run.fail", 1, [], "internal_bug", "trace"]
        seq = self.journal.last_seq(0, PARTITION_STREAM) + 2

        def fill(builder: FrameBuilder) -> None:
            builder.open_removed.append(stream)
            builder.park(number, pack(failed))
            fact = Fact(PARTITION_STREAM, seq, POISONED, 1, [stream, "internal_bug", "a bug"])
            builder.add_turn(Cause(), PARTITION_STREAM, seq, [pack(fact)])
            self.writer._seqs[0, PARTITION_STREAM] = seq

        self.say(PARTITION_STREAM, "partition.message_failed", failed, fill=fill)

    def whole_run(self, run: str, partition: int = 0) -> None:
        """Write a run from beginning to end."""
        self.begin(run, partition)
        self.work(run, partition=partition)
        self.end(run, partition)

    def settle(self) -> None:
        """Wait until everything is durable."""
        self.writer.settle()

    def archive(self, number: int, partition: int = 0) -> SegmentInfo:
        """Seal up to the frame that holds `number` (excluded), say so, and empty the tables."""
        self.settle()
        info = seal(self.journal, partition, frame_start(self.journal, partition, number))
        self.tell(info, partition)
        drop_archived(self.journal, partition)
        return info

    def tell(self, info: SegmentInfo, partition: int = 0) -> None:
        """Record that a segment was sealed."""
        self.say(PARTITION_STREAM, SEALED, list(info), partition=partition)
        self.settle()


def contents(journal: RocksJournal) -> dict[str, Any]:
    """Return everything that readers can read of a log."""
    found: dict[str, Any] = {}
    for partition in range(journal.partitions):
        found[f"frames {partition}"] = list(journal.frames(partition))
        streams = list(journal.streams(partition))
        found[f"streams {partition}"] = streams
        for stream in streams:
            last = journal.last_seq(partition, stream)
            found[f"{partition} {stream}"] = (
                last,
                list(journal.stream_frames(partition, stream)),
                list(journal.stream_frames(partition, stream, last)),
                list(journal.stream_frames(partition, stream, last // 2)),
            )
        found[f"runs {partition}"] = list(journal.streams(partition, "workflow/"))
    return found


def facts_digest(frames: list[bytes]) -> bytes:
    """Return the digest of what some frames say."""
    digest = LogDigest()
    for data in frames:
        for turn in decode_frame(data).body.turns:
            digest.add(turn.facts)
    return digest.value()


def packed(value: Any) -> bytes:
    """Return a value as the log has it."""
    return pack(value)


def expire(author: Author, below: int, partition: int = 0, **sections: Any) -> None:
    """Give up what is below a place: baseline, fact, files."""
    author.settle()
    journal = author.journal
    baseline = seal_baseline(journal, partition, below, sections)
    data = [below, baseline.name, baseline.digest, baseline.runs]
    author.say(PARTITION_STREAM, EXPIRED, data, partition=partition)
    author.settle()
    drop_expired(journal, partition)
