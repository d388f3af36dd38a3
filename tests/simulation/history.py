"""The durable log as the checks read it: decoded once, and never to change again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from goclaw_events.codec import FACTS
from goclaw_events.frame import decode_frame, hash_of
from goclaw_events.ids import PARTITION_STREAM
from goclaw_events.tables import log_key

if TYPE_CHECKING:
    from goclaw_events.envelope import Cause, Fact
    from goclaw_events.frame import Frame
    from tests.simulation.disk import SimDisk

RUN_ENDS = {"run.completed": "completed", "run.failed": "failed", "run.cancelled": "cancelled"}


class Entry(NamedTuple):
    """A durable fact: where it stands, when and why it was recorded, as stored and as decoded."""

    partition: int
    number: int
    time_ns: int
    cause: Cause
    fact: Fact
    decoded: Any


class History:
    """Every durable fact so far, by stream; `update` reads what is new."""

    def __init__(self, partitions: int) -> None:
        self.entries: list[Entry] = []
        self.streams: dict[str, list[Entry]] = {}
        self.frames: list[list[Frame]] = [[] for _ in range(partitions)]
        self.ended: dict[str, str] = {}
        self.poisoned: set[str] = set()
        self.failed: dict[str, set[str]] = {}
        """By stream, the types of messages to it that were parked."""
        self._last = [0] * partitions

    def update(self, disk: SimDisk) -> None:
        """Read on; what was durable before must still stand there, byte for byte."""
        for partition, last in enumerate(self._last):
            if last:
                frame = self.frames[partition][-1]
                stored = disk._rows.get("log", log_key(partition, frame.header.first))
                assert stored is not None, f"durable facts up to {partition}:{last} are lost"
                assert hash_of(stored) == frame.hash, f"the frame at {partition}:{last} changed"
            for data in disk.frames(partition, last + 1):
                self._take(partition, decode_frame(data))

    def _take(self, partition: int, frame: Frame) -> None:
        self.frames[partition].append(frame)
        for number, cause, fact in frame.facts():
            decoded = FACTS.decode(fact.type, fact.version, fact.data)
            entry = Entry(partition, number, frame.header.time_ns, cause, fact, decoded)
            self.entries.append(entry)
            name = fact.stream
            if name == PARTITION_STREAM:
                name = f"{name}/{partition}"
            self.streams.setdefault(name, []).append(entry)
            if fact.type == "partition.stream_poisoned":
                self.poisoned.add(decoded.stream)
            elif fact.type == "partition.message_failed":
                self.failed.setdefault(decoded.target, set()).add(decoded.message_type)
            if fact.type in RUN_ENDS:
                run_id = fact.stream.partition("/")[2]
                assert run_id not in self.ended, f"{run_id} ended twice"
                self.ended[run_id] = RUN_ENDS[fact.type]
        self._last[partition] = frame.last

    def of_kind(self, kind: str) -> list[tuple[str, list[Entry]]]:
        """Return the streams of a kind, with their facts."""
        prefix = f"{kind}/"
        return [(name, found) for name, found in self.streams.items() if name.startswith(prefix)]


def lane_taken(own: list[Entry]) -> str:
    """Return the lane that a task asked last, from its own facts."""
    asked = [
        e.decoded.lane
        for e in own
        if e.fact.type in ("task.scheduled", "task.redirected", "task.moved")
    ]
    return f"lane/{asked[-1]}"
