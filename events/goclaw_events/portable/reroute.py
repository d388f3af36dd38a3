"""Frames of one log become frames of another with other partitions: streams are kept whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_events.codec import FACTS
from goclaw_events.facts import MessageFailed, StreamPoisoned
from goclaw_events.frame import FrameHeader
from goclaw_events.framing import FrameBuilder
from goclaw_events.ids import PARTITION_STREAM, partition_of
from goclaw_events.value import pack, packer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from goclaw_events.envelope import Cause, Fact, Turn
    from goclaw_events.framing import EncodedFrame
    from goclaw_events.journal import Journal


class Rerouting:
    """Make the frames that an empty journal gets for the turns of another one.

    Facts keep stream, seq, type, version, data and cause; they get new numbers, and times that do
    not go back. What a partition says of itself stays behind with it, but for parked messages and
    poisoned streams: these go to the partition that has the stream now. What facts and causes say
    of old numbers (tokens, message ids) is history and stays as it is.
    `blobs` are written with the next frame.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._pack = packer()
        heads = [journal.head(partition) for partition in range(journal.partitions)]
        self._tips = [(head.number, head.hash, head.time_ns) for head in heads]
        self._own_seqs = [0] * journal.partitions
        self.blobs: dict[bytes, bytes] = {}

    def frames(self, time_ns: int, turns: Sequence[Turn]) -> Iterator[EncodedFrame]:
        """Yield one frame for each partition that now has some of the turns of an old frame."""
        builders: dict[int, FrameBuilder] = {}
        for turn in turns:
            if not turn.facts:
                continue
            if turn.facts[0].stream == PARTITION_STREAM:
                for fact in turn.facts:
                    self._take_own(builders, turn.cause, fact)
            else:
                stream = turn.facts[0].stream
                builder = self._builder(builders, partition_of(stream, self._journal.partitions))
                facts = [self._pack(fact) for fact in turn.facts]
                builder.add_turn(turn.cause, stream, turn.facts[0].seq, facts)
        for partition, builder in builders.items():
            yield self._close(partition, builder, time_ns)

    def _builder(self, builders: dict[int, FrameBuilder], partition: int) -> FrameBuilder:
        if partition not in builders:
            builders[partition] = FrameBuilder(self._tips[partition][0] + 1, self._pack)
        return builders[partition]

    def _take_own(self, builders: dict[int, FrameBuilder], cause: Cause, fact: Fact) -> None:
        match FACTS.decode(fact.type, fact.version, fact.data):
            case MessageFailed(target) | StreamPoisoned(target):
                partition = partition_of(target, self._journal.partitions)
            case _:
                return
        builder = self._builder(builders, partition)
        seq = self._own_seqs[partition] = self._own_seqs[partition] + 1
        if fact.type == FACTS.names[MessageFailed].name:
            builder.park(builder.first + builder.count, pack(fact.data))
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
