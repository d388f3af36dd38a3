"""Measure the log: what a flush costs here, how much is durable a second, how fast it replays."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw.bench.machine import describe_machine, percentiles
from goclaw.errors import TimedOut
from goclaw.garbage import collect_seldom
from goclaw_actors.contents import StoredContents
from goclaw_actors.directory import deciders
from goclaw_actors.rebuild import fold_frames
from goclaw_events.codec import FACTS
from goclaw_events.envelope import Cause, Fact
from goclaw_events.facts import AttemptStarted, TaskCompleted, TaskScheduled
from goclaw_events.frame import FrameHeader
from goclaw_events.framing import FrameBuilder
from goclaw_events.ids import task_stream
from goclaw_events.replay import stream_turns
from goclaw_events.rocks import RocksJournal
from goclaw_events.value import BlobRef, packer

if TYPE_CHECKING:
    from goclaw_events.errors import CodedError
    from goclaw_events.framing import EncodedFrame

FACTS_PER_TASK: Final = 3
FLUSHES: Final = 200
FLUSH_BYTES: Final = 4096
IN_FLIGHT_MAX: Final = 32
ALONE_MAX: Final = 300
STREAMS_READ: Final = 300
ACK_WAIT_S: Final = 60.0


class Settings(NamedTuple):
    """How much is written: frames, facts a frame; at most `seconds` of appending."""

    frames: int = 2000
    facts: int = 99
    seconds: float = 10.0


@dataclass(slots=True)
class _Flushes:
    """Time what stands between two steps of a commit: the flush of the write-ahead log."""

    times_ms: list[float] = field(default_factory=list)
    started: float = 0.0

    def __call__(self, step: str) -> None:
        if step == "flush":
            self.started = time.perf_counter()
        elif step == "watermark":
            self.times_ms.append((time.perf_counter() - self.started) * 1000)


class _Writer:
    """Build frames of plain tasks (scheduled, started, completed) that continue one partition."""

    def __init__(self, journal: RocksJournal) -> None:
        self._journal = journal
        self._pack = packer()
        self._tip = (0, bytes(16))
        self.streams: list[str] = []
        self.facts = 0
        self.bytes = 0

    def frame(self, facts: int) -> EncodedFrame:
        """Return the next frame with about `facts` facts, a turn for each of them."""
        number, previous = self._tip
        builder = FrameBuilder(number + 1, self._pack)
        definition = BlobRef(bytes(32), 5000)
        for _ in range(max(1, facts // FACTS_PER_TASK)):
            stream = task_stream(f"run-{len(self.streams) // 10}", f"task-{len(self.streams)}")
            self.streams.append(stream)
            token = builder.first + builder.count + 1
            data = (
                TaskScheduled(definition, 0, {"url": "https://example.org/a"}, "digest/io", 0),
                AttemptStarted(1, token, "node:0123456789abcdef"),
                TaskCompleted(1, token, {"words": 1234, "title": "A title of some length"}),
            )
            for seq, fact in enumerate(data, 1):
                name, version = FACTS.names[type(fact)]
                packed = self._pack(Fact(stream, seq, name, version, list(fact)))
                builder.add_turn(Cause(message=(number, seq)), stream, seq, [packed])
        header = FrameHeader(
            self._journal.log_id, 0, self._journal.head(0).era, 1, number + 1, builder.count,
            time.time_ns(), previous,
        )  # fmt: skip
        frame = builder.close(header)
        self._tip = (frame.last, frame.hash)
        self.facts += builder.count
        self.bytes += len(frame.data)
        return frame


class _Acks:
    """Wait for frames to become durable; raises the first error."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._done = 0
        self._error: CodedError | None = None

    def done(self, error: CodedError | None) -> None:
        with self._changed:
            self._done += 1
            self._error = self._error or error
            self._changed.notify_all()

    def wait(self, count: int) -> None:
        with self._changed:
            came = self._changed.wait_for(lambda: self._done >= count or self._error, ACK_WAIT_S)
            if self._error is not None:
                raise self._error
            if not came:
                msg = f"no flush returned within {ACK_WAIT_S:.0f} s"
                raise TimedOut(msg, hint="the disk may be stuck or very slow")


def measure_log(directory: Path, settings: Settings) -> dict[str, Any]:
    """Measure in a new directory below `directory`, which is removed again.

    Figures: the disk's own flush (fdatasync of 4 KiB) and that of the write-ahead log; frames and
    facts durable a second with 32 frames in flight; time to durable of a frame alone; replay (read,
    check, decode every fact); reading one task's stream.
    """
    with tempfile.TemporaryDirectory(dir=directory, prefix=".goclaw-bench-") as name:
        path = Path(name)
        flush_ms = percentiles(_raw_flushes(path / "flushes"))
        flushes = _Flushes()
        journal = RocksJournal(path / "data", create=True, step=flushes)
        try:
            figures = _figures(journal, settings)
        finally:
            journal.close()
    return {
        "machine": describe_machine(),
        "settings": settings._asdict() | {"in_flight": IN_FLIGHT_MAX},
        "flush_ms": flush_ms,
        "flush_wal_ms": percentiles(flushes.times_ms),
        **figures,
    }


def _figures(journal: RocksJournal, settings: Settings) -> dict[str, Any]:
    writer = _Writer(journal)
    ack_ms = _alone(journal, writer, settings)
    frames_per_s, facts_per_s = _throughput(journal, writer, settings)
    tasks = journal.durable(0) // FACTS_PER_TASK
    return {
        "frames_per_s": round(frames_per_s),
        "facts_per_s": round(facts_per_s),
        "ack_ms": percentiles(ack_ms),
        "replay_facts_per_s": round(_replay(journal)),
        "stream_read_ms": percentiles(_read_streams(journal, writer.streams[:tasks])),
        "bytes_per_fact": round(writer.bytes / writer.facts, 1),
        "facts": journal.durable(0),
    }


def _raw_flushes(path: Path) -> list[float]:
    times_ms = []
    with path.open("wb", buffering=0) as file:
        for _ in range(FLUSHES):
            file.write(b"\0" * FLUSH_BYTES)
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            times_ms.append((time.perf_counter() - start) * 1000)
    return times_ms


def _alone(journal: RocksJournal, writer: _Writer, settings: Settings) -> list[float]:
    acks = _Acks()
    times_ms: list[float] = []
    end = time.perf_counter() + settings.seconds / 4
    for place in range(min(ALONE_MAX, settings.frames)):
        frame = writer.frame(FACTS_PER_TASK)
        start = time.perf_counter()
        journal.append(frame, acks.done)
        acks.wait(place + 1)
        times_ms.append((time.perf_counter() - start) * 1000)
        if time.perf_counter() > end:
            break
    return times_ms


def _throughput(journal: RocksJournal, writer: _Writer, settings: Settings) -> tuple[float, float]:
    """Return frames and facts durable a second; the frames are built before the clock starts."""
    frames = deque(writer.frame(settings.facts) for _ in range(settings.frames))
    acks = _Acks()
    appended = facts = 0
    start = time.perf_counter()
    while frames and time.perf_counter() - start < settings.seconds:
        frame = frames.popleft()
        journal.append(frame, acks.done)
        appended += 1
        facts += frame.header.facts_count
        acks.wait(appended - IN_FLIGHT_MAX)
    acks.wait(appended)
    taken_s = time.perf_counter() - start
    return appended / taken_s, facts / taken_s


def _replay(journal: RocksJournal) -> float:
    """Follow the chain, decode every fact and fold every stream, as `replay --verify` does."""
    kinds = deciders(StoredContents(journal))
    collect_seldom()
    start = time.perf_counter()
    folded = fold_frames(journal.frames(0), kinds, lambda stream, kind: kind.initial(stream))
    taken_s = time.perf_counter() - start
    return sum(one.seq for one in folded.values()) / taken_s


def _read_streams(journal: RocksJournal, streams: list[str]) -> list[float]:
    times_ms = []
    for stream in streams[:: max(1, len(streams) // STREAMS_READ)]:
        start = time.perf_counter()
        list(stream_turns(journal, stream))
        times_ms.append((time.perf_counter() - start) * 1000)
    return times_ms
