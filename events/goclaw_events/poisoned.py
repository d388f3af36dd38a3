"""Streams that a bug ended: what is recorded of it, beside the message that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.codec import FACTS
from goclaw_events.facts import StreamPoisoned
from goclaw_events.frame import decode_frame
from goclaw_events.ids import PARTITION_STREAM
from goclaw_events.tables import u16
from goclaw_events.value import unpack

if TYPE_CHECKING:
    from goclaw_events.journal import Journal

POISONED: Final = FACTS.names[StreamPoisoned].name


class Poisoned(NamedTuple):
    """The fact that gave a stream up, and its number."""

    number: int
    fact: StreamPoisoned


def poisoned(journal: Journal, partition: int, stream: str) -> Poisoned | None:
    """Return what is recorded of a stream's end by a bug; None: there is no such thing, any more.

    The message that failed is parked, and the fact stands in its frame. Reads every parked message,
    and frames only for those of the stream. Raises what reading a log raises.
    """
    for key, value in journal.rows("parked", u16(partition)):
        number = int.from_bytes(key[2:], "big")
        if unpack(value)[0] == stream and number >= journal.history(partition):
            for data in journal.frames(partition, number, number):
                found = _in_frame(data, stream)
                if found is not None:
                    return found
    return None


def _in_frame(data: bytes, stream: str) -> Poisoned | None:
    frame = decode_frame(data)
    number = frame.header.first
    for _, facts in frame.body.turns:
        for fact in facts:
            if fact.stream == PARTITION_STREAM and fact.type == POISONED and fact.data[0] == stream:
                return Poisoned(number, StreamPoisoned(*fact.data))
            number += 1
    return None
