"""Write a log, or one run of it, into a portable file."""

from __future__ import annotations

import heapq
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events.errors import HistoryExpired, LogDamaged, LogMissing
from goclaw_events.frame import decode_frame, hash_of, read_header
from goclaw_events.ids import partition_of, task_stream, workflow_stream
from goclaw_events.output import OUTPUT, output_prefix
from goclaw_events.portable.digest import LogDigest
from goclaw_events.portable.file import FORMAT, PortableWriter
from goclaw_events.tables import log_key, open_key, u16
from goclaw_events.value import pack, references, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from goclaw_events.envelope import Turn
    from goclaw_events.frame import Frame
    from goclaw_events.journal import Journal


_PARTITION_BYTES: Final = 2


class Exported(NamedTuple):
    """What was written. `facts` counts those outside of `$partition`, as `digest` does.

    `chunks` are those of the output of tasks.
    """

    facts: int
    blobs: int
    digest: str
    chunks: int = 0


def values_of(frame: Frame) -> Iterator[Any]:
    """Yield everything in a frame that may hold references."""
    for turn in frame.body.turns:
        for fact in turn.facts:
            yield fact.data
    for left in frame.body.left:
        yield left.message.data
    for out in frame.body.out:
        for message in out.messages:
            yield message.data


def export_log(journal: Journal, file: IO[bytes], version: str, *, output: bool = True) -> Exported:
    """Write everything durable: frames as they stand, blobs before the frames that need them.

    The frames of all partitions are in order of time; behind them, with `output`, comes what
    tasks emitted. `version` is Goclaw's. Memory grows by 100
    bytes a blob. Raises `HistoryExpired` where the first facts were given up, `LogDamaged`,
    `BlobMissing`, `OSError`.
    """
    partitions = range(journal.partitions)
    for begin, partition in ((journal.history(p), p) for p in partitions):
        if begin > 1:
            msg = f"the facts of partition {partition} below {begin} were given up"
            raise HistoryExpired(
                msg + ": an export holds all facts from the first",
                hint="goclaw backup copies all that is kept; --run exports a run that is whole",
                partition=partition,
                number=begin,
            )
    ends = [(journal.head(p).era, 0, bytes(16)) for p in partitions]
    digest = LogDigest()
    head = {
        "log_id": journal.log_id,
        "partitions": journal.partitions,
        "run": None,
        "finished": None,
        "version": version,
    }
    chunks = _Output(journal, [u16(partition) for partition in partitions] if output else [])
    with PortableWriter(file, head, chunks.format) as writer:
        blobs = _Blobs(journal, writer)
        for _, partition, data in heapq.merge(*(_timed(journal, p) for p in partitions)):
            frame = decode_frame(data, check=False)
            blobs.put(values_of(frame))
            writer.put("frame", data)
            for turn in frame.body.turns:
                digest.add(turn.facts)
            ends[partition] = (ends[partition][0], frame.last, hash_of(data))
        chunks.write(writer)
        end = {"heads": [list(place) for place in ends], **chunks.end}
        return _finish(writer, digest, blobs, end)


def export_run(
    journal: Journal, file: IO[bytes], run_id: str, version: str, *, output: bool = True
) -> Exported:
    """Write the facts of one run and of its tasks, and with `output` what these emitted.

    Raises `LogMissing` if there is no such run.
    """
    stream = workflow_stream(run_id)
    partition = partition_of(stream, journal.partitions)
    if not journal.last_seq(partition, stream):
        msg = f"the log has no run {run_id!r}"
        raise LogMissing(msg, hint="see `goclaw runs list`", run_id=run_id)
    finished = journal.get("open", open_key(partition, stream)) is None
    digest = LogDigest()
    head = {
        "log_id": journal.log_id,
        "partitions": journal.partitions,
        "run": run_id,
        "finished": finished,
        "version": version,
    }
    chunks = _Output(journal, [output_prefix(partition, run_id)] if output else [])
    with PortableWriter(file, head, chunks.format) as writer:
        blobs = _Blobs(journal, writer)
        for number, time_ns, turn in _turns(journal, partition, run_id):
            blobs.put(fact.data for fact in turn.facts)
            writer.put("turn", partition, number, time_ns, pack([turn.cause, *turn.facts]))
            digest.add(turn.facts)
        chunks.write(writer)
        return _finish(writer, digest, blobs, chunks.end)


def _finish(
    writer: PortableWriter, digest: LogDigest, blobs: _Blobs, end: dict[str, Any]
) -> Exported:
    facts, count, found = digest.facts_count, len(blobs.written), digest.value()
    writer.put("end", {"facts": facts, "blobs": count, "digest": found, **end})
    return Exported(facts, count, found.hex(), end.get("chunks", 0))


def _timed(journal: Journal, partition: int) -> Iterator[tuple[int, int, bytes]]:
    for data in journal.frames(partition):
        yield read_header(data).time_ns, partition, data


def _turns(journal: Journal, partition: int, run_id: str) -> Iterator[tuple[int, int, Turn]]:
    """Yield the turns of a run and its tasks in order, with the number of their first fact."""
    own, tasks = workflow_stream(run_id), task_stream(run_id, "")
    streams = [own, *journal.streams(partition, tasks)]
    numbers = {number for s in streams for number, _ in journal.stream_frames(partition, s)}
    for first in sorted(numbers):
        data = journal.get("log", log_key(partition, first))
        if data is None:
            msg = f"the frame at {partition}:{first} is missing"
            raise LogDamaged(msg, partition=partition, number=first)
        frame = decode_frame(data)
        number = first
        for turn in frame.body.turns:
            stream = turn.facts[0].stream if turn.facts else ""
            if stream == own or stream.startswith(tasks):
                yield number, frame.header.time_ns, turn
            number += len(turn.facts)


class _Output:
    """Write what tasks emitted: rows whose keys begin so, without their partition."""

    def __init__(self, journal: Journal, prefixes: Sequence[bytes]) -> None:
        self._rows = chain.from_iterable(journal.rows(OUTPUT, prefix) for prefix in prefixes)
        self._first = next(self._rows, None)
        self._count = 0

    @property
    def format(self) -> int:
        """Return the format of a file with it."""
        return 1 if self._first is None else FORMAT

    @property
    def end(self) -> dict[str, int]:
        """Return what the end of the file says of it."""
        return {"chunks": self._count} if self._count else {}

    def write(self, writer: PortableWriter) -> None:
        """Write it."""
        if self._first is None:
            return
        for key, value in chain([self._first], self._rows):
            writer.put(OUTPUT, key[_PARTITION_BYTES:], value)
            self._count += 1


class _Blobs:
    """Write blobs, each once: those that values refer to, and those that these refer to."""

    def __init__(self, journal: Journal, writer: PortableWriter) -> None:
        self._journal = journal
        self._writer = writer
        self.written: set[bytes] = set()

    def put(self, values: Iterable[Any]) -> None:
        """Write what some values refer to and is not written yet."""
        waiting = [ref for value in values for ref in references(value)]
        while waiting:
            ref = waiting.pop()
            if ref.sha256 in self.written:
                continue
            self.written.add(ref.sha256)
            data = self._journal.blob(ref)
            self._writer.put("blob", ref.sha256, data)
            waiting.extend(_inside(data))


def _inside(data: bytes) -> list[Any]:
    try:
        return list(references(unpack(data)))
    except LogDamaged:
        return []  # whole, as its hash says, but no msgpack: it refers to nothing
