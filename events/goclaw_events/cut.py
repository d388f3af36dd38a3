"""Find how much of a damaged log is whole: where each partition can end without contradiction."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from goclaw_events.errors import CodedError
from goclaw_events.frame import decode_frame, hash_of, read_header
from goclaw_events.reading import begin_chain
from goclaw_events.tables import counter_key, u16

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from goclaw_events.frame import Frame
    from goclaw_events.verify import Verifiable


class Prefix(NamedTuple):
    """How far a partition is whole: up to the fact `last`, though `seen` was met behind it.

    `hash` and `era` are those of the last whole frame (zeros: there is none).
    """

    last: int
    seen: int
    hash: bytes
    era: int


class _Talk(NamedTuple):
    """What a frame has to do with other partitions."""

    first: int
    sent: dict[int, int]
    acked: dict[int, int]
    received: dict[int, int]


def whole_prefixes(log: Verifiable) -> list[Prefix]:
    """Return how far each partition is whole."""
    return [_whole_prefix(log, partition) for partition in range(log.partitions)]


def _whole_prefix(log: Verifiable, partition: int) -> Prefix:
    chain = begin_chain(log, partition)
    prefix = Prefix(chain.last, 0, chain.hash or bytes(16), 0)
    broken, seen = False, 0
    try:
        for key, data in log.rows("log", u16(partition)):
            number = int.from_bytes(key[2:], "big")
            seen = max(seen, _last_of(number, data))
            if broken:
                continue
            try:
                header = chain.follow(number, data)
            except CodedError:
                broken = True
            else:
                prefix = Prefix(chain.last, 0, hash_of(data), header.era)
    except CodedError:
        pass  # a block that cannot be read: `verify` names it
    return prefix._replace(seen=max(seen, prefix.last))


def frames_to(log: Verifiable, partition: int, end: int, start: int = 1) -> Iterator[bytes]:
    """Yield the frames of a partition whose facts reach up to `end`, and read nothing behind it.

    The first one begins at `start` or behind it.
    """
    if end == 0:
        return
    for key, data in log.rows("log", u16(partition)):
        if int.from_bytes(key[2:], "big") < start:
            continue
        last = _last_of(int.from_bytes(key[2:], "big"), data)
        if last <= end:
            yield data
        if last >= end:
            return


def _last_of(number: int, data: bytes) -> int:
    try:
        return number + max(read_header(data).facts_count, 1) - 1
    except CodedError:
        return number


def consistent_ends(log: Verifiable, ends: Sequence[int]) -> list[int]:
    """Return where the partitions end so that none knows of what another one gave up.

    No partition may have received a message that its sender no longer has sent, nor have an
    acknowledgement that was given up: such a message would be lost, or held for an old one.
    """
    found = list(ends)
    if len(found) == 1:
        return found
    talks = [_talks(log, partition, end) for partition, end in enumerate(found)]
    while True:
        sent = [_most(talks[p], found[p], "sent") for p in range(len(found))]
        received = [_most(talks[p], found[p], "received") for p in range(len(found))]
        before = list(found)
        for partition in range(len(found)):
            for talk in talks[partition]:
                if talk.first > found[partition]:
                    break
                if any(
                    counter > sent[source].get(partition, 0)
                    for source, counter in talk.received.items()
                ) or any(
                    counter > received[peer].get(partition, 0)
                    for peer, counter in talk.acked.items()
                ):
                    found[partition] = talk.first - 1
                    break
        if found == before:
            return found


def _most(talks: Sequence[_Talk], end: int, kind: str) -> dict[int, int]:
    """Return the highest counter for each peer up to the fact `end`."""
    most: dict[int, int] = {}
    for talk in talks:
        if talk.first > end:
            break
        counters: dict[int, int] = getattr(talk, kind)
        for peer, counter in counters.items():
            most[peer] = max(counter, most.get(peer, 0))
    return most


def _talks(log: Verifiable, partition: int, end: int) -> list[_Talk]:
    found = _talk_below(log, partition)
    for data in frames_to(log, partition, end):
        talk = _talk(decode_frame(data, check=False))
        if talk.sent or talk.acked or talk.received:
            found.append(talk)
    return found


def _talk_below(log: Verifiable, partition: int) -> list[_Talk]:
    """Return what a partition had to do with others in the history that was given up."""
    baseline = log.baseline(partition)
    if baseline is None:
        return []
    known = {key: value for table, key, value in baseline.derived() if table == "meta"}
    counters: dict[str, dict[int, int]] = {"out": {}, "in": {}}
    for kind, found in counters.items():
        for peer in range(log.partitions):
            stored = known.get(counter_key(kind, partition, peer))
            if stored is not None:
                found[peer] = int.from_bytes(stored, "big")
    return [_Talk(0, counters["out"], {}, counters["in"])]


def _talk(frame: Frame) -> _Talk:
    body = frame.body
    sent = {out.destination: out.counter + len(out.messages) - 1 for out in body.out}
    acked = {destination: last for destination, _, last in body.acked}
    return _Talk(frame.header.first, sent, acked, dict(body.received))
