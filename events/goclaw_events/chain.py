"""Follow the frames of one partition: numbers without gaps, each frame naming the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goclaw_events.errors import LogDamaged
from goclaw_events.frame import GENESIS, check_hash, hash_of, read_header

if TYPE_CHECKING:
    from goclaw_events.frame import FrameHeader

HINT_DAMAGED = "restore the directory from a copy, or see with `goclaw fsck` what can be saved"


class Chain:
    """Compare each frame with the one before it. One reader's; not shared between threads.

    It begins at `start`, behind the frame whose hash is `previous`.
    Without `start` the first frame is taken as it comes: what it names is compared only if it is
    the first of the partition. After an error it goes on from the frame that it refused, so that
    a verification can name every fault.
    """

    __slots__ = ("_hash", "_next", "partition")

    def __init__(
        self, partition: int, start: int | None = None, previous: bytes | None = None
    ) -> None:
        self.partition = partition
        self._next = start
        self._hash: bytes | None = GENESIS if start == 1 else previous

    @property
    def last(self) -> int:
        """Return the number of the last fact of the last frame (0: none was followed)."""
        return 0 if self._next is None else self._next - 1

    @property
    def hash(self) -> bytes | None:
        """Return the hash that the next frame has to name (None: any)."""
        return self._hash

    def follow(self, number: int, data: bytes) -> FrameHeader:
        """Take the next frame, stored under `number`; raises `LogDamaged` naming the place."""
        header = read_header(data)
        expected, previous = self._next, self._hash
        if expected is None and number == 1:
            previous = GENESIS
        self._next = number + header.facts_count
        self._hash = hash_of(data)
        if header.partition != self.partition or header.first != number:
            self._fail(number, f"holds the frame of {header.partition}:{header.first}")
        if header.facts_count < 1:
            self._fail(number, "holds no fact")
        if expected is not None and number != expected:
            self._fail(number, f"follows {self.partition}:{expected - 1}: facts are missing")
        if previous is not None and header.previous != previous:
            self._fail(number, "does not name the hash of the frame before it")
        check_hash(data)
        return header

    def _fail(self, number: int, what: str) -> None:
        msg = f"the frame at {self.partition}:{number} {what}"
        raise LogDamaged(msg, hint=HINT_DAMAGED, partition=self.partition, number=number)
