"""Write facts of runs and tasks into a journal, as real frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from goclaw_events import facts
from goclaw_events.codec import FACTS
from goclaw_events.envelope import Cause, Fact, Told
from goclaw_events.frame import FrameHeader
from goclaw_events.framing import FrameBuilder
from goclaw_events.ids import partition_of
from goclaw_events.value import BlobRef, packer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from goclaw_events.framing import EncodedFrame
    from goclaw_events.journal import Journal

PLAN = BlobRef(bytes(range(32)), 123)
T0 = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000


class Said(NamedTuple):
    """A turn to record: one stream's facts."""

    stream: str
    facts: tuple[Any, ...]


def said(stream: str, *told: Any) -> Said:
    """Return a turn."""
    return Said(stream, told)


def submitted(name: str = "digest", **labels: str) -> facts.RunSubmitted:
    """Return a submission."""
    return facts.RunSubmitted(PLAN, name, {"x": 1}, labels, b"digest", None, "test")


def scheduled(lane: str = "digest/io", generation: int = 0) -> facts.TaskScheduled:
    """Return a scheduling."""
    return facts.TaskScheduled(PLAN, generation, {}, lane, 0)


def ended(task: str, status: str = "completed", result: Any = None) -> facts.TaskEnded:
    """Return what a run hears of a task's end."""
    error = ["agent_failed", "boom"] if status == "failed" else None
    return facts.TaskEnded(task, 0, status, result, error)


class LogWriter:
    """Append frames that continue a journal; frame `n` of a writer is `n` seconds after `T0`."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._pack = packer()
        self._seqs: dict[tuple[int, str], int] = {}
        self._heads = [journal.head(p) for p in range(journal.partitions)]
        self._tips = [(head.number, head.hash) for head in self._heads]
        self.time_ns = T0
        self.frames: list[EncodedFrame] = []

    def frame(
        self, *turns: Said, partition: int | None = None, blobs: Mapping[bytes, bytes] | None = None
    ) -> int:
        """Append one frame with turns of one partition; return the number of its last fact."""
        if partition is None:
            partition = partition_of(turns[0].stream, self.journal.partitions)
        number, previous = self._tips[partition]
        builder = FrameBuilder(number + 1, self._pack)
        builder.blobs.update(blobs or {})
        objects: list[Told] = []
        for stream, told in turns:
            seq = self._seqs.get((partition, stream), 0) + 1
            packed = []
            for place, fact in enumerate(told):
                name, version = FACTS.names[type(fact)]
                packed.append(self._pack(Fact(stream, seq + place, name, version, fact)))
            builder.add_turn(Cause(), stream, seq, packed)
            objects.append(Told(stream, seq, told))
            self._seqs[(partition, stream)] = seq + len(told) - 1
        self.time_ns += SECOND_NS
        head = self._heads[partition]
        header = FrameHeader(
            self.journal.log_id, partition, head.era, 1, number + 1, builder.count,
            self.time_ns, previous,
        )  # fmt: skip
        frame = builder.close(header)._replace(told=objects)
        self.frames.append(frame)
        self._tips[partition] = (frame.last, frame.hash)
        self.journal.append(frame, _raise)
        return frame.last

    def run(self, run_id: str, tasks: Sequence[str] = ("a",), name: str = "digest") -> int:
        """Append a run that completes, its tasks one after the other; return the last number."""
        stream = f"workflow/{run_id}"
        self.frame(said(stream, submitted(name)))
        for task in tasks:
            own = f"task/{run_id}/{task}"
            token = self.frame(said(own, scheduled()))
            self.frame(said(own, facts.AttemptStarted(1, token, "n:b")))
            self.frame(
                said(own, facts.TaskCompleted(1, token, {"of": task})), said(stream, ended(task))
            )
        return self.frame(said(stream, facts.RunCompleted({"done": run_id})))


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error
