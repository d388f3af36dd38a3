"""One number for everything that was said: equal logs have it, however facts are spread."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from goclaw_events.frame import decode_frame
from goclaw_events.ids import PARTITION_STREAM
from goclaw_events.value import packer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from goclaw_events.envelope import Fact
    from goclaw_events.journal import Journal

DIGEST_BYTES: Final = 32
_MODULUS: Final = 1 << (8 * DIGEST_BYTES)


class LogDigest:
    """Add up the hashes of facts: the order of streams, partitions and frames does not matter.

    Within a stream it does, for a fact says its seq. Facts of `$partition` are left out: they are
    about the partition. One thread's.
    """

    def __init__(self) -> None:
        self._pack = packer()
        self._sum = 0
        self.facts_count = 0

    def add(self, facts: Iterable[Fact]) -> None:
        """Take facts in."""
        for fact in facts:
            if fact.stream != PARTITION_STREAM:
                found = blake2b(self._pack(fact), digest_size=DIGEST_BYTES).digest()
                self._sum = (self._sum + int.from_bytes(found, "big")) % _MODULUS
                self.facts_count += 1

    def value(self) -> bytes:
        """Return the digest of what was taken in so far."""
        return self._sum.to_bytes(DIGEST_BYTES, "big")


def digest_of(journal: Journal) -> bytes:
    """Return the digest of everything durable; raises `LogDamaged`."""
    digest = LogDigest()
    for partition in range(journal.partitions):
        for data in journal.frames(partition):
            for turn in decode_frame(data, check=False).body.turns:
                digest.add(turn.facts)
    return digest.value()
