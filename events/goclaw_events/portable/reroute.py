"""Frames of one log become frames of another with other partitions: streams are kept whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.codec import FACTS
from goclaw_events.envelope import Cause, Fact
from goclaw_events.errors import LogDamaged
from goclaw_events.facts import Marked, MessageFailed, MessageSettled, StreamPoisoned
from goclaw_events.frame import FrameHeader
from goclaw_events.framing import FrameBuilder
from goclaw_events.ids import PARTITION_STREAM, partition_of
from goclaw_events.value import pack, packer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from goclaw_events.envelope import TimerRow, Turn
    from goclaw_events.framing import EncodedFrame
    from goclaw_events.journal import Journal


TIMERS_MAX: Final = 1_000
"""So many timers stand in one frame."""


class Place(NamedTuple):
    """Where an old frame was, and when. `first`: the number of its first fact; 0: not known."""

    partition: int
    first: int
    time_ns: int


class Rerouting:
    """Make the frames that an empty journal gets for the turns of another one.

    Facts keep stream, seq, type, version, data and cause; they get new numbers, and times that do
    not go back. What a partition says of itself stays behind with it, but for parked messages,
    what became of these, and poisoned streams: they go to the partition that has the stream now.
    What facts and causes say of old numbers (tokens, message ids) is history and stays as it is.
    `blobs` are written with the next frame.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._pack = packer()
        heads = [journal.head(partition) for partition in range(journal.partitions)]
        self._tips = [(head.number, head.hash, head.time_ns) for head in heads]
        self._own_seqs = [0] * journal.partitions
        self._parked: dict[tuple[int, int], tuple[int, int]] = {}
        self.blobs: dict[bytes, bytes] = {}

    def frames(self, place: Place, turns: Sequence[Turn]) -> Iterator[EncodedFrame]:
        """Yield one frame for each partition that now has some of the turns of an old frame."""
        builders: dict[int, FrameBuilder] = {}
        number = place.first
        for turn in turns:
            if not turn.facts:
                continue
            if turn.facts[0].stream == PARTITION_STREAM:
                for at, fact in enumerate(turn.facts, number):
                    self._take_own(builders, turn.cause, fact, (place.partition, at))
            else:
                stream = turn.facts[0].stream
                builder = self._builder(builders, partition_of(stream, self._journal.partitions))
                facts = [self._pack(fact) for fact in turn.facts]
                builder.add_turn(turn.cause, stream, turn.facts[0].seq, facts)
            number += len(turn.facts)
        for partition, builder in builders.items():
            yield self._close(partition, builder, place.time_ns)

    def timer_frames(self, timers: Sequence[TimerRow]) -> Iterator[EncodedFrame]:
        """Yield frames that set timers where their streams are now."""
        found: dict[int, list[TimerRow]] = {}
        for row in timers:
            partition = partition_of(row.stream, self._journal.partitions)
            found.setdefault(partition, []).append(row)
        name, version = FACTS.names[Marked]
        for partition, rows in found.items():
            for at in range(0, len(rows), TIMERS_MAX):
                builder = self._builder({}, partition)
                builder.timers_added += rows[at : at + TIMERS_MAX]
                marked = Fact(PARTITION_STREAM, 0, name, version, [])
                self._add_own(builder, partition, Cause(), marked)
                yield self._close(partition, builder, 0)

    def _builder(self, builders: dict[int, FrameBuilder], partition: int) -> FrameBuilder:
        if partition not in builders:
            builders[partition] = FrameBuilder(self._tips[partition][0] + 1, self._pack)
        return builders[partition]

    def _take_own(
        self, builders: dict[int, FrameBuilder], cause: Cause, fact: Fact, place: tuple[int, int]
    ) -> None:
        """Take a fact of a partition that was at `place`, if it is about a stream."""
        match FACTS.decode(fact.type, fact.version, fact.data):
            case MessageFailed(target):
                partition = partition_of(target, self._journal.partitions)
                builder = self._builder(builders, partition)
                number = builder.first + builder.count
                self._parked[place] = partition, number
                builder.park(number, pack(fact.data))
            case MessageSettled() as settled:
                partition, number = self._parked_at(place[0], settled.number)
                builder = self._builder(builders, partition)
                builder.park(number, None)
                fact = fact._replace(data=[*settled._replace(number=number)])
            case StreamPoisoned(target):
                partition = partition_of(target, self._journal.partitions)
                builder = self._builder(builders, partition)
            case _:
                return
        self._add_own(builder, partition, cause, fact)

    def _parked_at(self, partition: int, number: int) -> tuple[int, int]:
        """Return where a message is parked now that was parked there, and is settled."""
        found = self._parked.pop((partition, number), None)
        if found is None:
            msg = f"the export settles a message that is not parked, at {partition}:{number}"
            raise LogDamaged(msg, hint="export the log again", partition=partition, number=number)
        return found

    def _add_own(self, builder: FrameBuilder, partition: int, cause: Cause, fact: Fact) -> None:
        seq = self._own_seqs[partition] = self._own_seqs[partition] + 1
        builder.add_turn(cause, PARTITION_STREAM, seq, [self._pack(fact._replace(seq=seq))])

    def _close(self, partition: int, builder: FrameBuilder, time_ns: int) -> EncodedFrame:
        number, last_hash, last_ns = self._tips[partition]
        builder.blobs, self.blobs = self.blobs, {}
        header = FrameHeader(
            self._journal.log_id,
            partition,
            self._journal.head(partition).era,
            1,
            number + 1,
            builder.count,
            max(time_ns, last_ns),
            last_hash,
        )
        frame = builder.close(header)
        self._tips[partition] = (frame.last, frame.hash, header.time_ns)
        return frame
