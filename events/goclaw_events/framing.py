"""Build a frame piece by piece while a batch is decided; each fact is packed exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events.envelope import NEW_TUPLE, Told
from goclaw_events.frame import FrameHeader, array_header, encode_header, hash_of, seal
from goclaw_events.ids import PARTITION_STREAM
from goclaw_events.segments.records import EXPIRED, SEALED, archive_rows
from goclaw_events.tables import Changes, Row, rows_of
from goclaw_events.value import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw_events.envelope import AttemptRow, Cause, MessageRecord, OpenRow, TimerRow

_BODY_FIELDS: Final = 10
_OF_ARCHIVE: Final = (SEALED.encode(), EXPIRED.encode())
_ARRAYS: Final = tuple(array_header(length) for length in range(64))


class EncodedFrame(NamedTuple):
    """A frame ready to be written: its bytes, its rows and the blobs that go before it.

    `told` has its turns as objects, for readers in the same process, if the writer had all of them.
    """

    header: FrameHeader
    data: bytes
    rows: list[Row]
    blobs: dict[bytes, bytes]
    told: Sequence[Told] = ()

    @property
    def is_told(self) -> bool:
        """Tell whether `told` has the facts of the frame."""
        return bool(self.told)

    @property
    def last(self) -> int:
        """Return the number of the frame's last fact."""
        return self.header.first + self.header.facts_count - 1

    @property
    def hash(self) -> bytes:
        """Return the frame's own hash, which the next frame names."""
        return hash_of(self.data)


class FrameBuilder:
    """Collect the turns and row changes of one batch of one partition; `close` makes the frame.

    Used by the dispatcher's thread alone. Rows put and deleted within the batch must be netted
    by the caller before `close`.
    """

    __slots__ = (
        "_pack",
        "acked",
        "archive",
        "attempts_added",
        "attempts_oldest",
        "attempts_removed",
        "blobs",
        "body_bytes",
        "count",
        "first",
        "handled",
        "left",
        "open_added",
        "open_removed",
        "out",
        "parked",
        "received",
        "streams",
        "timers_added",
        "timers_removed",
        "told",
        "turns",
    )

    def __init__(self, first: int, pack: Callable[[object], bytes]) -> None:
        self._pack = pack
        self.first = first
        self.count = 0
        self.turns: list[bytes] = []
        self.told: list[Told] = []
        self.body_bytes = 0
        self.streams: dict[str, tuple[int, int]] = {}
        self.left: list[tuple[int, MessageRecord]] = []
        self.handled: list[tuple[int, int]] = []
        self.out: list[tuple[int, int, list[MessageRecord]]] = []
        self.acked: list[tuple[int, int, int]] = []
        self.received: dict[int, int] = {}
        self.timers_added: list[TimerRow] = []
        self.timers_removed: list[TimerRow] = []
        self.attempts_added: list[AttemptRow] = []
        self.attempts_removed: list[int] = []
        self.attempts_oldest = 0
        self.open_added: list[OpenRow] = []
        self.open_removed: list[str] = []
        self.parked: list[tuple[int, bytes | None]] = []
        self.archive: list[bytes] = []
        self.blobs: dict[bytes, bytes] = {}

    def add_turn(self, cause: Cause, stream: str, seq: int, facts: Sequence[bytes]) -> None:
        """Append a turn whose facts (packed `Fact`s) start at `seq` of `stream`."""
        count = len(facts)
        data = b"".join((_array(count + 1), self._pack(cause), *facts))
        self.add(stream, seq, count, data)

    def add(
        self, stream: str, seq: int, count: int, data: bytes, facts: Sequence[Any] | None = None
    ) -> None:
        """Append a turn that is packed whole: its cause, then its `count` facts.

        `facts` are these as objects, if the writer has them.
        """
        if facts is not None:
            self.told.append(NEW_TUPLE(Told, (stream, seq, facts)))
        self.turns.append(data)
        self.count += count
        self.body_bytes += len(data)
        known = self.streams.get(stream)
        self.streams[stream] = (seq, count) if known is None else (known[0], known[1] + count)
        if stream == PARTITION_STREAM and any(kind in data for kind in _OF_ARCHIVE):
            self.archive.append(data)

    def park(self, number: int, data: bytes | None) -> None:
        """Add the `parked` row of a `MessageFailed` that took `number`; None: remove it."""
        self.parked.append((number, data))

    def is_empty(self) -> bool:
        """Tell whether nothing was recorded and no row changes."""
        return not (
            self.count
            or self.left
            or self.handled
            or self.out
            or self.acked
            or self.received
            or self.timers_removed
            or self.attempts_removed
            or self.open_removed
        )

    def close(self, header: FrameHeader) -> EncodedFrame:
        """Make the frame; `header.first` and `header.facts_count` are this builder's."""
        rest = (
            self.left,
            self.handled,
            self.out,
            self.acked,
            self.received,
            None,
            (self.timers_added, self.timers_removed),
            (self.attempts_added, self.attempts_removed, self.attempts_oldest),
            (self.open_added, self.open_removed),
        )
        tail = [self._pack(part) for part in rest]
        body = b"".join((_array(_BODY_FIELDS), _array(len(self.turns)), *self.turns, *tail))
        data = seal(encode_header(header), body)
        rows = rows_of(header, data, self._changes(header), self._pack)
        told = self.told if len(self.told) == len(self.turns) else ()
        return EncodedFrame(header, data, rows, self.blobs, told)

    def _changes(self, header: FrameHeader) -> Changes:
        archive = [
            row
            for turn in self.archive
            for _, _, kind, _, data in unpack(turn)[1:]
            if kind in (SEALED, EXPIRED)
            for row in archive_rows(header.partition, kind, data)
        ]
        return Changes(
            self.streams,
            [(index, self._pack(message)) for index, message in self.left],
            self.handled,
            [(to, counter, [self._pack(m) for m in items]) for to, counter, items in self.out],
            self.acked,
            self.received,
            (self.timers_added, self.timers_removed),
            (self.attempts_added, self.attempts_removed, self.attempts_oldest),
            (self.open_added, self.open_removed),
            self.parked,
            archive,
        )


def _array(length: int) -> bytes:
    return _ARRAYS[length] if length < len(_ARRAYS) else array_header(length)
