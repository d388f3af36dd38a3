"""A frame: one turn batch as the bytes that are stored, chained to the frame before.

Layout (integers big-endian): header, msgpack body, blake2b-128 of everything before it.
The body is positional; what each place holds is the field order of `Body`.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgpack

from goclaw_events.envelope import AttemptRow, Cause, Fact, MessageRecord, OpenRow, TimerRow, Turn
from goclaw_events.errors import LogDamaged
from goclaw_events.value import unpack

MAGIC: Final = b"GCLF"
FORMAT: Final = 1
HEADER: Final = struct.Struct(">4sH16sHIQQIq16s")
HASH_BYTES: Final = 16
FRAME_BYTES_MAX: Final = 4 * 1024 * 1024
GENESIS: Final = bytes(HASH_BYTES)
_BODY_FIELDS: Final = 10


class FrameHeader(NamedTuple):
    """Who wrote the frame, where it stands, when, and the hash of the frame before it."""

    log_id: bytes
    partition: int
    era: int
    epoch: int
    first: int
    facts_count: int
    time_ns: int
    previous: bytes


class Left(NamedTuple):
    """A message still undelivered when the batch was full; its row is (frame's first, place)."""

    place: int
    message: MessageRecord


class Out(NamedTuple):
    """Messages to another partition, numbered without gaps from `counter`."""

    destination: int
    counter: int
    messages: list[MessageRecord]


class Body(NamedTuple):
    """What a frame says besides its header.

    `handled`: inbox rows whose messages this frame handled. `acked`: (destination, from, to)
    outbox rows that the destination has. `received`: source -> last counter taken in.
    `cmd`: the command stream's creation time and offset (cluster). The last three are rows
    added and removed; `attempts_oldest` is the oldest live token after this frame (0: none).
    """

    turns: list[Turn]
    left: list[Left]
    handled: list[tuple[int, int]]
    out: list[Out]
    acked: list[tuple[int, int, int]]
    received: dict[int, int]
    cmd: tuple[int, int] | None
    timers: tuple[list[TimerRow], list[TimerRow]]
    attempts: tuple[list[AttemptRow], list[int], int]
    open: tuple[list[OpenRow], list[str]]


class Frame(NamedTuple):
    """A decoded frame."""

    header: FrameHeader
    body: Body
    hash: bytes

    @property
    def last(self) -> int:
        """Return the number of the frame's last fact."""
        return self.header.first + self.header.facts_count - 1

    def facts(self) -> list[tuple[int, Cause, Fact]]:
        """Return every fact with its number and its turn's cause, in order."""
        number = self.header.first
        rows = []
        for turn in self.body.turns:
            for fact in turn.facts:
                rows.append((number, turn.cause, fact))
                number += 1
        return rows


def encode_header(header: FrameHeader) -> bytes:
    """Write a header."""
    return HEADER.pack(MAGIC, FORMAT, *header)


def read_header(data: bytes) -> FrameHeader:
    """Read only the header; raises `LogDamaged` if the magic, format or length is wrong."""
    if len(data) < HEADER.size + HASH_BYTES:
        msg = f"a frame of {len(data)} bytes is too short"
        raise LogDamaged(msg)
    magic, fmt, *fields = HEADER.unpack_from(data)
    if magic != MAGIC or fmt != FORMAT:
        msg = f"not a frame of format {FORMAT}: magic {magic!r}, format {fmt}"
        raise LogDamaged(msg)
    return FrameHeader(*fields)


def hash_of(data: bytes) -> bytes:
    """Return the hash that ends a frame's bytes."""
    return data[-HASH_BYTES:]


def seal(header: bytes, body: bytes) -> bytes:
    """Join header and body and add the hash of both."""
    content = header + body
    return content + blake2b(content, digest_size=HASH_BYTES).digest()


def check_hash(data: bytes) -> None:
    """Raise `LogDamaged` unless the trailer is the hash of what stands before it."""
    content = memoryview(data)[:-HASH_BYTES]
    if blake2b(content, digest_size=HASH_BYTES).digest() != data[-HASH_BYTES:]:
        header = read_header(data)
        msg = f"the frame at {header.partition}:{header.first} does not match its hash"
        raise LogDamaged(msg, partition=header.partition, number=header.first)


def decode_frame(data: bytes, *, check: bool = True) -> Frame:
    """Read a frame; `check` compares its hash. Raises `LogDamaged` for anything that is not one."""
    header = read_header(data)
    if check:
        check_hash(data)
    raw = unpack(data[HEADER.size : -HASH_BYTES])
    try:
        body = _body(raw)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        msg = f"the frame at {header.partition}:{header.first} has a body of another shape"
        raise LogDamaged(msg, partition=header.partition, number=header.first) from error
    if sum(len(turn.facts) for turn in body.turns) != header.facts_count:
        place = f"{header.partition}:{header.first}"
        msg = f"the frame at {place} does not hold {header.facts_count} facts"
        raise LogDamaged(msg, partition=header.partition, number=header.first)
    return Frame(header, body, data[-HASH_BYTES:])


def read_turns(data: bytes) -> list[list[Any]]:
    """Return a frame's turns as they are stored: [cause, [stream, seq, type, version, data]...].

    The fast way for who folds many frames and reads facts alone; the hash is not compared.
    """
    try:
        turns = unpack(data[HEADER.size : -HASH_BYTES])[0]
    except (TypeError, IndexError):
        turns = None
    if not isinstance(turns, list):
        header = read_header(data)
        msg = f"the frame at {header.partition}:{header.first} has a body of another shape"
        raise LogDamaged(msg, partition=header.partition, number=header.first)
    return turns


def _body(raw: list[Any]) -> Body:
    turns, left, handled, out, acked, received, cmd, timers, attempts, opened = raw
    return Body(
        [Turn(cause_of_raw(turn[0]), [Fact(*fact) for fact in turn[1:]]) for turn in turns],
        [Left(index, message_record(message)) for index, message in left],
        [(first, index) for first, index in handled],
        [Out(to, counter, [message_record(m) for m in items]) for to, counter, items in out],
        [(to, start, end) for to, start, end in acked],
        received,
        None if cmd is None else (cmd[0], cmd[1]),
        ([TimerRow(*row) for row in timers[0]], [TimerRow(*row) for row in timers[1]]),
        ([AttemptRow(*row) for row in attempts[0]], attempts[1], attempts[2]),
        ([OpenRow(*row) for row in opened[0]], opened[1]),
    )


def cause_of_raw(raw: list[Any]) -> Cause:
    """Read a turn's cause as a frame holds it."""
    message, *rest = raw
    return Cause(None if message is None else tuple(message), *rest)


def message_record(raw: list[Any]) -> MessageRecord:
    """Read a message as a row or a frame holds it."""
    record = MessageRecord(*raw)
    return record._replace(id=tuple(record.id))


def array_header(length: int) -> bytes:
    """Write the head of a msgpack array, for what is packed piece by piece."""
    return bytes(msgpack.Packer().pack_array_header(length))
