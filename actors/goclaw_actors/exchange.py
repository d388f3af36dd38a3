"""Messages between partitions: an outbox row until the receiver has it, one number each way.

A message rides in the sender's frame, with a gapless counter for each (source, destination)
pair; the receiver's frame stores the last counter it took in from each source. So a message is
never lost and never handled twice, whatever crashes in between.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.envelope import AttemptRow, MessageRecord
from goclaw_events.frame import message_record
from goclaw_events.tables import counter_key, u16
from goclaw_events.value import unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from goclaw_events.framing import FrameBuilder
    from goclaw_events.journal import Journal


ACKS_MAX: Final = 1_000
"""So many acknowledgements wait for a frame with something else in it; then they get one."""


class Delivery(NamedTuple):
    """Messages of another partition, and the counter of the last of them."""

    source: int
    last: int
    records: list[MessageRecord]


class Exchange:
    """One partition's side of its conversations; `peers` are all sides, by partition."""

    def __init__(self, partition: int, journal: Journal) -> None:
        self.partition = partition
        self.peers: Sequence[Exchange] = ()
        self._journal = journal
        self.waiting: deque[tuple[int, int, list[MessageRecord]]] = deque()
        self._received: dict[int, int] = {}
        self._sent: dict[int, int] = {}
        self._acked: dict[int, int] = {}
        self._settled: dict[int, int] = {}
        self._sending: dict[int, list[MessageRecord]] = {}

    def open(self) -> Iterator[tuple[tuple[int, int], MessageRecord]]:
        """Read the counters; yield what waits in the inbox table: (row, message), in order."""
        self.waiting.clear()
        self._sending.clear()
        for peer in range(self._journal.partitions):
            self._received[peer] = self._counter("in", peer)
            self._sent[peer] = self._counter("out", peer)
            self._acked[peer] = self._settled[peer] = self._first_unacked(peer) - 1
        for key, value in self._journal.rows("inbox", u16(self.partition)):
            row = (int.from_bytes(key[2:10], "big"), int.from_bytes(key[10:14], "big"))
            yield row, message_record(unpack(value))

    def _counter(self, kind: str, peer: int) -> int:
        data = self._journal.get("meta", counter_key(kind, self.partition, peer))
        return int.from_bytes(data, "big") if data else 0

    def _first_unacked(self, peer: int) -> int:
        prefix = u16(self.partition) + u16(peer)
        for key, _ in self._journal.rows("outbox", prefix):
            return int.from_bytes(key[4:12], "big")
        return self._sent[peer] + 1

    def resend(self) -> None:
        """Hand every message that its partition does not have to it again.

        Called when all sides have opened: what they took in is durable, and what of it stands in
        the outbox is as good as acknowledged.
        """
        for other in self.peers:
            self.acknowledge(other.partition, other.taken_from(self.partition))
        prefix = u16(self.partition)
        for key, value in self._journal.rows("outbox", prefix):
            peer = int.from_bytes(key[2:4], "big")
            counter = int.from_bytes(key[4:12], "big")
            if counter > self._acked[peer]:
                self.peers[peer].receive(self.partition, counter, [message_record(unpack(value))])

    def attempts(self) -> Iterator[AttemptRow]:
        """Yield the attempts that were running, from the oldest live token."""
        prefix = u16(self.partition)
        oldest = self._counter("token", 0)
        for key, value in self._journal.rows("attempts", prefix):
            token = int.from_bytes(key[2:10], "big")
            if token >= oldest:
                yield AttemptRow(token, *unpack(value))

    # -- sending ---------------------------------------------------------------------------

    def send(self, destination: int, record: MessageRecord) -> None:
        """Add a message to the batch being decided."""
        self._sending.setdefault(destination, []).append(record)

    def settle(self, builder: FrameBuilder) -> None:
        """Write the batch's outbox, and what was acknowledged since the last frame."""
        for destination, records in self._sending.items():
            counter = self._sent[destination] + 1
            builder.out.append((destination, counter, records))
            self._sent[destination] += len(records)
        self._sending = {}
        due = {peer: end for peer, end in self._acked.items() if end > self._settled[peer]}
        total = sum(end - self._settled[peer] for peer, end in due.items())
        if due and (total >= ACKS_MAX or not builder.is_empty()):
            for peer, end in due.items():
                builder.acked.append((peer, self._settled[peer] + 1, end))
                self._settled[peer] = end

    def committed(self, builder: FrameBuilder) -> None:
        """Let a durable batch's messages and acknowledgements leave."""
        for destination, counter, records in builder.out:
            self.peers[destination].receive(self.partition, counter, records)
        for source, counter in builder.received.items():
            self.peers[source].acknowledge(self.partition, counter)

    # -- receiving -------------------------------------------------------------------------

    def receive(self, source: int, counter: int, records: list[MessageRecord]) -> None:
        """Take in messages of another partition; the first has `counter`."""
        self.waiting.append((source, counter, records))

    def acknowledge(self, destination: int, counter: int) -> None:
        """Hear that a destination has everything up to `counter`."""
        self._acked[destination] = max(self._acked[destination], counter)

    def taken_from(self, source: int) -> int:
        """Return the counter of the last message taken in from a partition."""
        return self._received[source]

    def take(self) -> Delivery | None:
        """Return the next delivery that is new, without what came before."""
        while self.waiting:
            source, counter, records = self.waiting.popleft()
            known = self._received[source]
            last = counter + len(records) - 1
            if counter > known + 1:
                msg = f"partition {source} jumps from message {known} to {counter}"
                raise RuntimeError(msg)
            if last > known:
                self._received[source] = last
                return Delivery(source, last, records[known + 1 - counter :])
        return None
