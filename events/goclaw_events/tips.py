"""What every adapter checks when it takes a frame in, creates a log or hands out a blob."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from goclaw_events.errors import BlobMissing, LogDamaged, LogMismatch, ValueTooLarge
from goclaw_events.frame import FRAME_BYTES_MAX
from goclaw_events.reading import ERA_FIRST, era_key
from goclaw_events.tables import Row, u64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_events.framing import EncodedFrame
    from goclaw_events.journal import Head
    from goclaw_events.value import BlobRef

LOG_FORMAT: Final = 1
PARTITIONS_MAX: Final = 1024


class Tips:
    """Know the last appended frame of every partition, stored or not yet.

    A frame that does not continue its partition is refused before it is queued: a writer that
    lost its place must not reach the disk.
    """

    def __init__(self, log_id: bytes, heads: Sequence[Head]) -> None:
        self._log_id = log_id
        self._tips = [(head.number, head.hash) for head in heads]

    def take(self, frame: EncodedFrame) -> None:
        """Move the tip to `frame`; raises `LogMismatch`, `ValueTooLarge`."""
        header = frame.header
        number, last_hash = self._tips[header.partition]
        if header.log_id != self._log_id:
            msg = f"a frame of log {header.log_id.hex()} does not belong to {self._log_id.hex()}"
            raise LogMismatch(msg)
        if header.first != number + 1 or header.previous != last_hash or header.facts_count < 1:
            msg = (
                f"the frame at {header.partition}:{header.first} with {header.facts_count} facts "
                f"does not continue {header.partition}:{number}"
            )
            raise LogMismatch(msg, partition=header.partition, number=header.first)
        if len(frame.data) > FRAME_BYTES_MAX:
            msg = f"a frame of {len(frame.data)} bytes exceeds the limit of {FRAME_BYTES_MAX}"
            raise ValueTooLarge(msg, partition=header.partition, number=header.first)
        self._tips[header.partition] = (frame.last, frame.hash)


def meta_rows(log_id: bytes, partitions: int, created_ns: int) -> list[Row]:
    """Return the rows that say what a new log is."""
    if not 1 <= partitions <= PARTITIONS_MAX:
        msg = f"a log has 1 to {PARTITIONS_MAX} partitions, not {partitions}"
        raise LogMismatch(msg)
    return [
        Row("meta", b"format", u64(LOG_FORMAT)),
        Row("meta", b"log_id", log_id),
        Row("meta", b"partitions", u64(partitions)),
        Row("meta", b"created", u64(created_ns)),
        *(Row("meta", era_key(partition), u64(ERA_FIRST)) for partition in range(partitions)),
    ]


def read_blob(ref: BlobRef, data: bytes | None) -> bytes:
    """Return `data` if it is what `ref` names; raises `BlobMissing`, `LogDamaged`."""
    if data is None:
        msg = f"blob {ref.hex} of {ref.size} bytes is not stored"
        raise BlobMissing(msg, sha256=ref.hex)
    if len(data) != ref.size or hashlib.sha256(data).digest() != ref.sha256:
        msg = f"blob {ref.hex} does not match its hash"
        raise LogDamaged(msg, hint="restore it from a copy of the directory", sha256=ref.hex)
    return data
