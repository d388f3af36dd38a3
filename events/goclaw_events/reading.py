"""Read a log out of ordered rows: what every adapter that keeps rows has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from goclaw_events.chain import HINT_DAMAGED, Chain
from goclaw_events.errors import HistoryExpired, LogDamaged
from goclaw_events.frame import GENESIS, check_hash, hash_of, read_header
from goclaw_events.ids import OF_RUNS, OWNERS, kind_of, routing_key
from goclaw_events.journal import Baseline, Head
from goclaw_events.segments.records import (
    Ended,
    ended_key,
    floor_key,
    history_key,
    read_ended,
    read_history,
    read_info,
    segment_prefix,
)
from goclaw_events.tables import log_key, stream_key, stream_part, u16, u64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_events.framing import EncodedFrame

NUMBER_MAX: Final = 2**64 - 1
ERA_FIRST: Final = 1


class RowSource(Protocol):
    """Keep rows in order of key, a table at a time. Any thread may read."""

    def scan(self, table: str, start: bytes, stop: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows from `start` (included) to `stop` (excluded; None: the table's end)."""
        ...

    def floor(self, table: str, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the last row whose key is `key` or less."""
        ...

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return one row's value."""
        ...


def after_prefix(prefix: bytes) -> bytes | None:
    """Return the least key above every key that begins with `prefix` (None: there is none)."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else None


def era_key(partition: int) -> bytes:
    """Key in `meta` of a partition's era."""
    return f"era/{partition}".encode()


def load_era(source: RowSource, partition: int) -> int:
    """Read the era in which a partition is written."""
    stored = source.get("meta", era_key(partition))
    return ERA_FIRST if stored is None else int.from_bytes(stored, "big")


class MetaRows(Protocol):
    """What says where history begins; see `Journal`."""

    def rows(
        self, table: str, prefix: bytes = b"", stop: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) in order of key, for keys that begin with `prefix`, below `stop`."""
        ...

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return one row's value."""
        ...


def begin_chain(log: MetaRows, partition: int) -> Chain:
    """Return the chain of a partition before its first frame that can be read.

    That is the first of all where `meta` cannot be read.
    """
    try:
        history = read_history(log.get("meta", history_key(partition)))
        if history is None:
            return Chain(partition, 1)
        infos = (read_info(value) for _, value in log.rows("meta", segment_prefix(partition)))
        before = (info.last_hash for info in infos if info.last == history.below - 1)
        return Chain(partition, history.below, next(before, None))
    except LogDamaged:
        return Chain(partition, 1)


def load_head(source: RowSource, partition: int) -> Head:
    """Read the end of a partition from its last row; raises `LogDamaged`."""
    era = load_era(source, partition)
    row = source.floor("log", log_key(partition, NUMBER_MAX))
    if row is None or row[0][:2] != u16(partition):
        return Head(era, 0, 0, GENESIS, 0)
    key, data = row
    header = Chain(partition).follow(int.from_bytes(key[2:], "big"), data)
    last = header.first + header.facts_count - 1
    return Head(era, header.epoch, last, hash_of(data), header.time_ns)


def next_head(head: Head, frame: EncodedFrame) -> Head:
    """Return the head once `frame` stands behind it."""
    return Head(head.era, frame.header.epoch, frame.last, frame.hash, frame.header.time_ns)


class StoredLog:
    """Answer the reading half of the `Journal` port from rows, never beyond what is durable."""

    def __init__(self, source: RowSource, log_id: bytes, partitions: int) -> None:
        self._source = source
        self._log_id = log_id
        self._partitions = partitions
        self._heads: list[Head] = []
        self._durable: list[int] = []
        self._begins: list[int] = []
        self._load_heads()

    def _load_heads(self) -> None:
        self._heads = [load_head(self._source, p) for p in range(self._partitions)]
        self._durable = [head.number for head in self._heads]
        self._load_histories()

    def _load_histories(self) -> None:
        keys = [history_key(p) for p in range(self._partitions)]
        found = [read_history(self._source.get("meta", key)) for key in keys]
        self._begins = [1 if history is None else history.below for history in found]

    @property
    def log_id(self) -> bytes:
        """Return the 16 bytes that name the log."""
        return self._log_id

    @property
    def partitions(self) -> int:
        """Return how many partitions the log has; fixed at creation."""
        return self._partitions

    def head(self, partition: int) -> Head:
        """Return the end of the partition as stored when the journal was opened or recovered."""
        return self._heads[partition]

    def durable(self, partition: int) -> int:
        """Return the number of the last durable fact of a partition (0: none)."""
        return self._durable[partition]

    def history(self, partition: int) -> int:
        """Return the number of the first fact that can be read (1: nothing was given up)."""
        return self._begins[partition]

    def floor(self, partition: int) -> int:
        """Return the number of the first fact that is in no segment (1: nothing was sealed)."""
        stored = self._source.get("meta", floor_key(partition))
        return 1 if stored is None else int.from_bytes(stored[:8], "big")

    def ended(self, partition: int, run_id: str) -> Ended | None:
        """Return what is kept of a run whose every fact is archived (None: it is no such run)."""
        stored = self._source.get("ended", ended_key(partition, run_id))
        return None if stored is None else read_ended(stored)

    def baseline(self, partition: int) -> Baseline | None:
        """Return what stands for the history that was given up (None: none was)."""
        del partition
        return None

    def frames(self, partition: int, start: int = 1, stop: int | None = None) -> Iterator[bytes]:
        """Yield the durable frames that hold facts numbered `start` to `stop`, both included.

        What is durable when the first is asked for decides where it ends. Every frame's hash is
        compared. Raises `LogDamaged` at a gap, a broken chain, or an end that comes too early, and
        `HistoryExpired` where `start` lies below `history`.
        """
        durable = self._durable[partition]
        start = max(start, 1)
        if start < self._begins[partition]:
            raise self._expired(partition, f"facts {start} to {self._begins[partition] - 1}")
        stop = durable if stop is None else min(stop, durable)
        if start > stop:
            return
        row = self._source.floor("log", log_key(partition, start))
        begin = log_key(partition, 1) if row is None or row[0][:2] != u16(partition) else row[0]
        number = int.from_bytes(begin[2:], "big")
        chain = Chain(partition, 1 if number == 1 else None)
        for key, data in self._source.scan("log", begin, log_key(partition, stop + 1)):
            chain.follow(int.from_bytes(key[2:], "big"), data)
            if chain.last < start:
                break
            yield data
        if chain.last < stop:
            msg = f"partition {partition} ends at {chain.last} and should reach {stop}"
            raise LogDamaged(msg, hint=HINT_DAMAGED, partition=partition, number=chain.last + 1)

    def stream_frames(
        self, partition: int, stream: str, from_seq: int = 1
    ) -> Iterator[tuple[int, bytes]]:
        """Yield (number of its first fact, bytes) of each durable frame that has facts of a stream.

        Begins with the frame that holds `from_seq`. Raises `LogDamaged` where a frame is missing
        or the sequence has a gap, `HistoryExpired` where facts from `from_seq` on were given up.
        """
        durable = self._durable[partition]
        prefix = u16(partition) + stream_part(stream)
        begin = stream_key(partition, stream, max(from_seq, 1))
        row = self._source.floor("streams", begin)
        if row is not None and row[0].startswith(prefix) and _last_seq(row) >= from_seq:
            begin = row[0]
        expected = None
        for key, value in self._source.scan("streams", begin, after_prefix(prefix)):
            number = int.from_bytes(value[:8], "big")
            if number > durable:
                break
            seq = int.from_bytes(key[-8:], "big")
            if expected not in (None, seq):
                msg = f"stream {stream} goes on with seq {seq}, {expected} is missing"
                raise LogDamaged(msg, hint=HINT_DAMAGED, partition=partition, number=number)
            if expected is None and self._begins[partition] > 1:
                self._refuse_expired(partition, stream, from_seq, seq)
            expected = _last_seq((key, value)) + 1
            yield number, self._frame(partition, number, stream)
        if expected is None and self._begins[partition] > 1:
            self._refuse_expired(partition, stream, from_seq, None)

    def _refuse_expired(
        self, partition: int, stream: str, from_seq: int, found: int | None
    ) -> None:
        """Raise `HistoryExpired` if facts of a stream from `from_seq` on were given up.

        `found` is the seq with which what is left of it begins (None: nothing is left).
        """
        gone = self._expired_seq(partition, stream) if found is None else found - 1
        if max(from_seq, 1) <= gone:
            raise self._expired(partition, f"facts {max(from_seq, 1)} to {gone} of {stream}")

    def _expired_seq(self, partition: int, stream: str) -> int:
        """Return the seq of a stream's last fact, of which none is left (0: it never had one)."""
        baseline = self.baseline(partition)
        seq = None if baseline is None else baseline.seq(stream_key(partition, stream, 0)[:-8])
        if seq is not None:
            return seq
        run = routing_key(stream) if kind_of(stream) in OF_RUNS else None
        ended = None if run is None else self.ended(partition, run)
        if ended is None:
            return 0
        return ended.seq if kind_of(stream) in OWNERS else 1

    def _expired(self, partition: int, what: str) -> HistoryExpired:
        begin = self._begins[partition]
        msg = f"{what} were given up: the history of partition {partition} begins at {begin}"
        hint = "what they came to is kept in the baseline"
        return HistoryExpired(msg, hint=hint, partition=partition, number=begin)

    def _frame(self, partition: int, number: int, stream: str) -> bytes:
        data = self._source.get("log", log_key(partition, number))
        if data is None:
            msg = f"the frame at {partition}:{number}, which stream {stream} names, is missing"
            raise LogDamaged(msg, hint=HINT_DAMAGED, partition=partition, number=number)
        return data

    def last_seq(self, partition: int, stream: str) -> int:
        """Return the sequence number of a stream's last durable fact (0: it has none)."""
        prefix = u16(partition) + stream_part(stream)
        key = prefix + b"\xff" * 8
        while (row := self._source.floor("streams", key)) and row[0].startswith(prefix):
            if int.from_bytes(row[1][:8], "big") <= self._durable[partition]:
                return _last_seq(row)
            key = prefix + u64(int.from_bytes(row[0][-8:], "big") - 1)
        return self._expired_seq(partition, stream) if self._begins[partition] > 1 else 0

    def streams(self, partition: int, prefix: str = "") -> Iterator[str]:
        """Yield the names of the streams that have durable facts, each once, shorter names first.

        Keys hold the length of the name first, so a prefix is looked for at each length there is.
        """
        wanted = prefix.encode()
        length = len(wanted)
        while length >= 0:
            begin = u16(partition) + u16(length) + wanted
            length = -1
            last = b""
            for key, value in self._source.scan("streams", begin, u16(partition + 1)):
                if key[2:4] != begin[2:4] or not key[4:].startswith(wanted):
                    found = int.from_bytes(key[2:4], "big")
                    length = found + 1 if key[2:4] == begin[2:4] else found
                    break
                name = key[4:-8]
                if name != last:
                    last = name
                    if int.from_bytes(value[:8], "big") <= self._durable[partition]:
                        yield name.decode()

    def rows(
        self,
        table: str,
        prefix: bytes = b"",
        stop: bytes | None = None,
        *,
        after: bytes | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) in order of key, for keys that begin with `prefix`, below `stop`.

        For what is read at start, after `recover` and by a verification, when nothing is being
        written: a row whose frame is not durable yet is not held back.
        """
        end = after_prefix(prefix)
        if stop is not None and (end is None or stop < end):
            end = stop
        return self._source.scan(table, prefix if after is None else after + b"\0", end)

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return one row's value."""
        return self._source.get(table, key)


def _last_seq(row: tuple[bytes, bytes]) -> int:
    key, value = row
    return int.from_bytes(key[-8:], "big") + int.from_bytes(value[8:12], "big") - 1


def check_frame_at(source: RowSource, partition: int, number: int) -> bytes | None:
    """Return the hash of the frame whose last fact has `number`; None where no frame ends there."""
    row = source.floor("log", log_key(partition, number))
    if row is None or row[0][:2] != u16(partition):
        return None
    header = read_header(row[1])
    if header.first + header.facts_count - 1 != number:
        return None
    check_hash(row[1])
    return hash_of(row[1])
