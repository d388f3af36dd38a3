"""The rows that a frame puts and deletes in every table: derived from frames, folding no actor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.envelope import NEW_TUPLE, AttemptRow, OpenRow, TimerRow
from goclaw_events.segments.records import ARCHIVE_ROWS, EXPIRED, SEALED, archive_rows
from goclaw_events.value import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from goclaw_events.frame import Frame, FrameHeader

TABLES: Final = (
    "log",
    "streams",
    "snapshots",
    "chunks",
    "timers",
    "attempts",
    "inbox",
    "outbox",
    "open",
    "parked",
    "ended",
    "output",
    "blobs",
    "meta",
)
DERIVED: Final = (
    "log", "streams", "timers", "attempts", "inbox", "outbox", "open", "parked", "meta",
)  # fmt: skip
"""The tables that are rebuilt from frames; of `meta` its counters, and what tells of segments
where they are (`segments.records`)."""
COUNTERS: Final = (b"in/", b"out/", b"token/")
"""How the keys of `meta` begin that are counters; the rest says what the log is."""

MESSAGE_FAILED: Final = "partition.message_failed"
MESSAGE_SETTLED: Final = "partition.message_settled"


class Row(NamedTuple):
    """A put of `value` under `key` in `table`; a None value deletes."""

    table: str
    key: bytes
    value: bytes | None


def is_derived(table: str, key: bytes) -> bool:
    """Tell whether a row is one that follows from the frames."""
    return table in DERIVED and (table != "meta" or key.startswith(COUNTERS))


def is_of_archive(row: Row) -> bool:
    """Tell whether a row says something of segments: it holds only where the files are."""
    return row.table == "meta" and row.key.startswith(ARCHIVE_ROWS)


def u16(number: int) -> bytes:
    """Write 16 bits, big-endian."""
    return number.to_bytes(2, "big")


def u64(number: int) -> bytes:
    """Write 64 bits, big-endian."""
    return number.to_bytes(8, "big")


def stream_part(stream: str) -> bytes:
    """Write a stream name as a part of a key: its length as u16, then UTF-8."""
    name = stream.encode()
    return len(name).to_bytes(2, "big") + name


def log_key(partition: int, number: int) -> bytes:
    """Key of the frame whose first fact has `number`."""
    return u16(partition) + u64(number)


def stream_key(partition: int, stream: str, seq: int) -> bytes:
    """Key of a stream's row for the frame in which its fact `seq` is the first."""
    return u16(partition) + stream_part(stream) + u64(seq)


def timer_key(partition: int, row: TimerRow) -> bytes:
    """Key of a timer: due time first, so that the table is in order of time."""
    return u16(partition) + u64(row.due_ns) + stream_part(row.stream) + row.id.encode()


def timer_of(key: bytes) -> TimerRow:
    """Read a timer back from its key."""
    length = int.from_bytes(key[10:12], "big")
    stream = key[12 : 12 + length].decode()
    return TimerRow(int.from_bytes(key[2:10], "big"), stream, key[12 + length :].decode())


def attempt_key(partition: int, token: int) -> bytes:
    """Key of a running attempt."""
    return u16(partition) + u64(token)


def inbox_key(partition: int, first: int, index: int) -> bytes:
    """Key of an undelivered message."""
    return u16(partition) + u64(first) + index.to_bytes(4, "big")


def outbox_key(partition: int, destination: int, counter: int) -> bytes:
    """Key of a message on its way to another partition."""
    return u16(partition) + u16(destination) + u64(counter)


def open_key(partition: int, stream: str) -> bytes:
    """Key of an unfinished run or a lane that is not empty."""
    return u16(partition) + stream_part(stream)


def counter_key(kind: str, partition: int, peer: int = 0) -> bytes:
    """Key in `meta` of a counter: `out` (last sent to peer), `in` (last taken), `token`."""
    return f"{kind}/{partition}/{peer}".encode()


class Changes(NamedTuple):
    """The row changes of one frame, in the form that the writer and the decoder both have.

    Messages are (row id or counter, packed record).
    """

    streams: Mapping[str, tuple[int, int]]
    left: Sequence[tuple[int, bytes]]
    handled: Sequence[tuple[int, int]]
    out: Sequence[tuple[int, int, Sequence[bytes]]]
    acked: Sequence[tuple[int, int, int]]
    received: Mapping[int, int]
    timers: tuple[Sequence[TimerRow], Sequence[TimerRow]]
    attempts: tuple[Sequence[AttemptRow], Sequence[int], int]
    open: tuple[Sequence[OpenRow], Sequence[str]]
    parked: Sequence[tuple[int, bytes | None]]
    archive: Sequence[tuple[bytes, bytes]] = ()


def rows_of(
    header: FrameHeader, data: bytes, changes: Changes, pack: Callable[[object], bytes] = pack
) -> list[Row]:
    """Return the rows of one frame, in the order in which they are written.

    `pack` is that of the module, or one that is kept by whoever makes many frames.
    """
    partition = header.partition
    prefix = u16(partition)
    place = u64(header.first)
    rows = [Row("log", prefix + place, data)]
    # A row for each actor that the batch touched: written out, and with numbers that come again
    # and again written once, they take a third of the time.
    new: Callable[..., Row] = NEW_TUPLE
    heads: dict[int, bytes] = {}
    tails: dict[int, bytes] = {}
    values: dict[int, bytes] = {}
    for stream, (seq, count) in changes.streams.items():
        name = stream.encode()
        head = heads.get(len(name)) or heads.setdefault(len(name), prefix + u16(len(name)))
        tail = tails.get(seq) or tails.setdefault(seq, u64(seq))
        value = values.get(count) or values.setdefault(count, place + count.to_bytes(4, "big"))
        rows.append(new(Row, ("streams", head + name + tail, value)))
    rows.extend(_message_rows(partition, header.first, changes))
    rows.extend(_work_rows(partition, changes, pack))
    rows.extend(Row("parked", prefix + u64(number), value) for number, value in changes.parked)
    rows.extend(Row("meta", key, value) for key, value in changes.archive)
    return rows


def _message_rows(partition: int, first: int, changes: Changes) -> Iterable[Row]:
    for index, message in changes.left:
        yield Row("inbox", inbox_key(partition, first, index), message)
    for frame, index in changes.handled:
        yield Row("inbox", inbox_key(partition, frame, index), None)
    for destination, counter, messages in changes.out:
        for offset, message in enumerate(messages):
            yield Row("outbox", outbox_key(partition, destination, counter + offset), message)
        last = counter + len(messages) - 1
        yield Row("meta", counter_key("out", partition, destination), u64(last))
    for destination, start, end in changes.acked:
        for counter in range(start, end + 1):
            yield Row("outbox", outbox_key(partition, destination, counter), None)
    for source, counter in changes.received.items():
        yield Row("meta", counter_key("in", partition, source), u64(counter))


def _work_rows(partition: int, changes: Changes, pack: Callable[[object], bytes]) -> Iterable[Row]:
    timers, attempts, opened = changes.timers, changes.attempts, changes.open
    for timer in timers[0]:
        yield Row("timers", timer_key(partition, timer), b"")
    for timer in timers[1]:
        yield Row("timers", timer_key(partition, timer), None)
    prefix = u16(partition)
    for attempt in attempts[0]:
        key = prefix + attempt[0].to_bytes(8, "big")
        yield NEW_TUPLE(Row, ("attempts", key, pack(attempt[1:])))
    for token in attempts[1]:
        yield NEW_TUPLE(Row, ("attempts", prefix + token.to_bytes(8, "big"), None))
    if attempts[0] or attempts[1]:
        yield Row("meta", counter_key("token", partition), u64(attempts[2]))
    for row in opened[0]:
        yield Row("open", open_key(partition, row.stream), pack(row[1:]))
    for stream in opened[1]:
        yield Row("open", open_key(partition, stream), None)


def derive(frame: Frame, data: bytes) -> list[Row]:
    """Return the rows that a stored frame stands for: what the writer wrote with it."""
    body = frame.body
    streams: dict[str, tuple[int, int]] = {}
    parked: list[tuple[int, bytes | None]] = []
    archive: list[tuple[bytes, bytes]] = []
    for number, _, fact in frame.facts():
        seq, count = streams.get(fact.stream, (fact.seq, 0))
        streams[fact.stream] = (seq, count + 1)
        if fact.type == MESSAGE_FAILED:
            parked.append((number, pack(fact.data)))
        elif fact.type == MESSAGE_SETTLED:
            parked.append((fact.data[0], None))
        elif fact.type in (SEALED, EXPIRED):
            archive.extend(archive_rows(frame.header.partition, fact.type, fact.data))
    changes = Changes(
        streams,
        [(left.place, pack(left.message)) for left in body.left],
        body.handled,
        [(out.destination, out.counter, [pack(m) for m in out.messages]) for out in body.out],
        body.acked,
        body.received,
        body.timers,
        body.attempts,
        body.open,
        parked,
        archive,
    )
    return rows_of(frame.header, data, changes)
