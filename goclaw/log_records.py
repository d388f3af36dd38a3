"""Facts of the log as records that people and other programs read."""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from goclaw.errors import NotFound, RunNotFound, UsageInvalid
from goclaw.logs import rfc3339
from goclaw_actors.baseline import seq_given_up
from goclaw_events.codec import FACTS
from goclaw_events.envelope import Cause, Fact
from goclaw_events.errors import UnknownType
from goclaw_events.faults import Suggester
from goclaw_events.frame import decode_frame
from goclaw_events.ids import (
    PARTITION_STREAM,
    owner_stream,
    partition_of,
    plain_id,
    saga_key,
)
from goclaw_events.tables import log_key
from goclaw_events.value import BlobRef, CollectedRef, SecretText

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from goclaw_events.envelope import Position
    from goclaw_events.frame import Frame
    from goclaw_events.journal import Journal


class Record(NamedTuple):
    """A fact with its place in the log."""

    time_ns: int
    partition: int
    number: int
    cause: Cause
    fact: Fact

    @property
    def position(self) -> str:
        """Return the position as people write it."""
        return f"{self.partition}:{self.number}"

    @property
    def time(self) -> str:
        """Return the time of recording, RFC 3339 in UTC with nine fractional digits."""
        return rfc3339(self.time_ns)

    def data(self) -> Any:
        """Return the fact's fields by name, as JSON has them (a list where the type is unknown)."""
        fact = self.fact
        try:
            decoded = FACTS.decode(fact.type, fact.version, fact.data)
        except UnknownType:
            return plain(fact.data)
        return {name: plain(getattr(decoded, name)) for name in decoded._fields}

    def as_json(self) -> dict[str, Any]:
        """Return the whole record as JSON has it."""
        fact, cause = self.fact, self.cause
        return {
            "position": self.position,
            "time": self.time,
            "stream": fact.stream,
            "seq": fact.seq,
            "type": fact.type,
            "version": fact.version,
            "data": self.data(),
            "cause": {k: plain(v) for k, v in cause._asdict().items() if v is not None},
        }


def record_from(fact: Sequence[Any]) -> Record:
    """Return a fact as `subscribe` gives it."""
    (partition, number), time_ns, stream, seq, name, version, fields, cause = fact
    return Record(
        time_ns, partition, number, Cause(*cause), Fact(stream, seq, name, version, fields)
    )


class Selection(NamedTuple):
    """Which facts are wanted; None and '' mean: all.

    `run` may be a saga, too. `start` and `stop` (both included) are of one partition, and then only
    that one is read. `type` is a fact's type, or the part before its dot.
    """

    run: str = ""
    stream: str = ""
    type: str = ""
    start: Position | None = None
    stop: Position | None = None

    def wants(self, number: int, fact: Fact) -> bool:
        """Tell whether a fact is selected, apart from its run's partition."""
        if self.start is not None and number < self.start.number:
            return False
        if self.stop is not None and number > self.stop.number:
            return False
        if self.type and fact.type != self.type and fact.type.partition(".")[0] != self.type:
            return False
        if self.stream and fact.stream != self.stream:
            return False
        return not self.run or self._of_run(fact.stream)

    def _of_run(self, stream: str) -> bool:
        return stream == owner_stream(self.run) or stream.startswith(f"task/{self.run}/")

    @property
    def partition(self) -> int | None:
        """Return the one partition that the positions name (None: they name none)."""
        named = {bound.partition for bound in (self.start, self.stop) if bound is not None}
        if len(named) > 1:
            msg = f"{self.start} and {self.stop} are of different partitions"
            raise UsageInvalid(msg, hint="read one partition at a time")
        return named.pop() if named else None


def check_type(wanted: str) -> None:
    """Raise `UsageInvalid` unless facts may be of this type, or of a type in this family."""
    types = {name for name, _ in FACTS.names.values()}
    families = {name.partition(".")[0] for name in types}
    if wanted and wanted not in types | families:
        suggested = Suggester().hint(wanted, types) or f"families: {', '.join(sorted(families))}"
        msg = f"there is no type of facts {wanted!r}"
        raise UsageInvalid(msg, hint=suggested)


def select(journal: Journal, wanted: Selection) -> Iterator[Record]:
    """Yield the selected durable facts in order of time, those of a partition in order of number.

    Without a start they begin where history begins. Raises `RunNotFound` or `NotFound` where the
    log knows no such run or stream, `HistoryExpired` for one of which nothing is left.
    """
    if wanted.run:
        wanted = wanted._replace(run=_key(journal, wanted.run))
    named = wanted.partition
    if named is not None and named >= journal.partitions:
        msg = f"the log has no partition {named}"
        raise NotFound(msg, hint=f"it has partitions 0 to {journal.partitions - 1}")
    partitions = [named] if named is not None else range(journal.partitions)
    if wanted.run or (wanted.stream and wanted.stream != PARTITION_STREAM):
        partitions = [_owner(journal, wanted)]
    parts = [_records(_frames(journal, p, wanted), p, wanted) for p in partitions]
    return heapq.merge(*parts, key=lambda record: (record.time_ns, record.partition))


def last(journal: Journal, count: int) -> Sequence[Record]:
    """Return the last `count` durable facts of the log, in order of time."""
    everything = Selection()
    parts = []
    for partition in range(journal.partitions):
        start = max(journal.history(partition), journal.durable(partition) - count + 1)
        parts.append(_records(journal.frames(partition, start), partition, everything))
    merged = heapq.merge(*parts, key=lambda record: (record.time_ns, record.partition))
    return list(deque(merged, maxlen=count))


def _owner(journal: Journal, wanted: Selection) -> int:
    stream = wanted.stream or owner_stream(wanted.run)
    partition = partition_of(stream, journal.partitions)
    if not journal.last_seq(partition, stream):
        if wanted.run:
            raise RunNotFound(f"the log has no run {wanted.run!r}", hint="see `goclaw runs list`")
        raise NotFound(f"the log has no stream {stream!r}", hint="see `goclaw log show`")
    return partition


def _key(journal: Journal, name: str) -> str:
    """Return what streams of a run are named by, or, where no run has the name, of a saga."""
    run, saga = owner_stream(name), saga_key(plain_id(name))
    is_run = journal.last_seq(partition_of(run, journal.partitions), run)
    stream = owner_stream(saga)
    is_saga = not is_run and journal.last_seq(partition_of(stream, journal.partitions), stream)
    return saga if is_saga else name


def _frames(journal: Journal, partition: int, wanted: Selection) -> Iterator[bytes]:
    streams: Iterable[str]
    if wanted.stream:
        streams = [wanted.stream]
    elif wanted.run:
        tasks = journal.streams(partition, f"task/{wanted.run}/")
        streams = [owner_stream(wanted.run), *tasks]
    else:
        start = journal.history(partition) if wanted.start is None else wanted.start.number
        stop = None if wanted.stop is None else wanted.stop.number
        yield from journal.frames(partition, start, stop)
        return
    numbers = {
        number
        for s in streams
        for number, _ in journal.stream_frames(partition, s, _first_seq(journal, partition, s))
    }
    for number in sorted(numbers):
        data = journal.get("log", log_key(partition, number))
        if data is not None:
            yield data


def _first_seq(journal: Journal, partition: int, stream: str) -> int:
    """Return the seq with which a stream begins, where some of its facts were given up."""
    return seq_given_up(journal, partition, stream) + 1


def _records(frames: Iterable[bytes], partition: int, wanted: Selection) -> Iterator[Record]:
    for data in frames:
        frame: Frame = decode_frame(data, check=False)
        for number, cause, fact in frame.facts():
            if wanted.wants(number, fact):
                yield Record(frame.header.time_ns, partition, number, cause, fact)


def plain(value: Any) -> Any:
    """Return a stored value as JSON has it: references and bytes are marked as such."""
    if isinstance(value, (BlobRef, SecretText, CollectedRef)):
        return _marked(value)
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _marked(value: BlobRef | SecretText | CollectedRef) -> dict[str, Any]:
    if isinstance(value, BlobRef):
        return {"$blob": value.hex, "bytes": value.size, "path": list(value.path)}
    if isinstance(value, SecretText):
        return {"$secret": str(value)}
    return {"$collected": value.collector}
