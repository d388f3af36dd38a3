"""Fold a stream of the log: the turns of one stream out of the frames that hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from goclaw_events.frame import decode_frame
from goclaw_events.ids import partition_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw_events.envelope import Cause, Fact
    from goclaw_events.frame import Frame
    from goclaw_events.journal import Journal


class StreamTurn(NamedTuple):
    """A turn of one stream: the number of its first fact, its time, cause and facts.

    `size`: how many bytes it takes in its frame, where they were counted.
    """

    number: int
    time_ns: int
    cause: Cause
    facts: list[Fact]
    size: int = 0


def turns_of(frame: Frame, stream: str) -> Iterator[StreamTurn]:
    """Yield the turns that a frame holds of one stream (a turn is of one stream only)."""
    number = frame.header.first
    for cause, facts in frame.body.turns:
        if facts and facts[0].stream == stream:
            yield StreamTurn(number, frame.header.time_ns, cause, facts)
        number += len(facts)


def stream_turns(
    journal: Journal, stream: str, from_seq: int = 1, partition: int | None = None
) -> Iterator[StreamTurn]:
    """Yield the durable turns of a stream from the one that holds `from_seq`.

    `partition` need be given only for `$partition`, which every partition has. The hash of each
    frame is compared: raises `LogDamaged`.
    """
    where = partition_of(stream, journal.partitions) if partition is None else partition
    for _, data in journal.stream_frames(where, stream, from_seq):
        for turn in turns_of(decode_frame(data), stream):
            if turn.facts[-1].seq >= from_seq:
                yield turn
