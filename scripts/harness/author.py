"""Random frames that continue a log, with rows and blobs of every kind that a frame may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_events.envelope import AttemptRow, Cause, Fact, MessageRecord, OpenRow, TimerRow
from goclaw_events.frame import FrameHeader, decode_frame
from goclaw_events.framing import FrameBuilder
from goclaw_events.value import packer, store

if TYPE_CHECKING:
    from random import Random

    from goclaw_events.framing import EncodedFrame
    from goclaw_events.journal import Journal

STREAMS: Final = 24
FACTS_MAX: Final = 24
BLOB_BYTES: Final = 70_000
BLOB_FILE_BYTES: Final = 1_100_000
_START_NS: Final = 1_700_000_000_000_000_000


class _Place:
    """Where a partition stands: its end, its streams, and the rows that may be removed."""

    def __init__(self, number: int, tip: bytes) -> None:
        self.number = number
        self.tip = tip
        self.seqs: dict[str, int] = {}
        self.timers: list[TimerRow] = []
        self.attempts: list[int] = []
        self.open: list[str] = []
        self.left: list[tuple[int, int]] = []


class Author:
    """Write frames that continue what a journal holds. `blobs` False writes small ones only."""

    def __init__(self, journal: Journal, rng: Random, *, blobs: bool = True) -> None:
        self._journal = journal
        self._rng = rng
        self._pack = packer()
        self._blobs = blobs
        self._places = [self._read(partition) for partition in range(journal.partitions)]

    def _read(self, partition: int) -> _Place:
        head = self._journal.head(partition)
        place = _Place(head.number, head.hash)
        for data in self._journal.frames(partition):
            frame = decode_frame(data, check=False)
            for _, _, fact in frame.facts():
                place.seqs[fact.stream] = fact.seq
            body, first = frame.body, frame.header.first
            place.timers = [t for t in place.timers if t not in body.timers[1]] + body.timers[0]
            tokens = [t for t in place.attempts if t not in body.attempts[1]]
            place.attempts = tokens + [row.token for row in body.attempts[0]]
            place.open = [name for name in place.open if name not in body.open[1]]
            place.open += [row.stream for row in body.open[0]]
            left = [(first, item.place) for item in body.left]
            place.left = [key for key in place.left if key not in body.handled] + left
        return place

    def frame(self) -> EncodedFrame:
        """Return the next frame, of a partition drawn at random."""
        rng = self._rng
        partition = rng.randrange(len(self._places))
        place = self._places[partition]
        builder = FrameBuilder(place.number + 1, self._pack)
        for stream in rng.sample(range(STREAMS), rng.randint(1, 4)):
            self._turn(builder, place, f"task/r{stream}/t")
        self._rows(builder, place)
        header = FrameHeader(
            self._journal.log_id, partition, self._journal.head(partition).era, 1,
            place.number + 1, builder.count, _START_NS + place.number, place.tip,
        )  # fmt: skip
        frame = builder.close(header)
        place.number, place.tip = frame.last, frame.hash
        return frame

    def _turn(self, builder: FrameBuilder, place: _Place, stream: str) -> None:
        seq = place.seqs.get(stream, 0) + 1
        facts = []
        for at in range(self._rng.randint(1, FACTS_MAX // 4)):
            data = [1, builder.first + at, self._value(builder)]
            facts.append(self._pack(Fact(stream, seq + at, "task.completed", 1, data)))
        builder.add_turn(Cause(command_id=f"c{builder.first}"), stream, seq, facts)
        place.seqs[stream] = seq + len(facts) - 1

    def _value(self, builder: FrameBuilder) -> Any:
        drawn = self._rng.random()
        if not self._blobs or drawn > 0.02:  # noqa: PLR2004 - seldom: blobs are large
            return self._rng.randbytes(self._rng.randint(0, 200))
        size = BLOB_FILE_BYTES if drawn < 0.002 else BLOB_BYTES  # noqa: PLR2004
        return store(self._rng.randbytes(size), builder.blobs)

    def _rows(self, builder: FrameBuilder, place: _Place) -> None:
        first, rng = builder.first, self._rng
        if rng.random() < 0.5:  # noqa: PLR2004 - as often as not
            builder.timers_removed, place.timers = _drop(rng, place.timers)
            builder.attempts_removed, place.attempts = _drop(rng, place.attempts)
            builder.open_removed, place.open = _drop(rng, place.open)
            builder.handled, place.left = _drop(rng, place.left)
        if rng.random() < 0.5:  # noqa: PLR2004
            stream = f"workflow/w{first}"
            timer = TimerRow(_START_NS + rng.randrange(1000), stream, f"t{first}")
            builder.timers_added, place.timers = [timer], [*place.timers, timer]
            builder.attempts_added = [AttemptRow(first, stream, 1, "n:b", 0)]
            place.attempts = [*place.attempts, first]
            builder.open_added = [OpenRow(stream, "run", "x", 0, 0)]
            place.open = [*place.open, stream]
            record = MessageRecord(stream, "m", 1, [first], (first, 0), None, None)
            builder.left, place.left = [(0, record)], [*place.left, (first, 0)]
        builder.attempts_oldest = min(place.attempts, default=0)


def _drop(rng: Random, rows: list[Any]) -> tuple[list[Any], list[Any]]:
    """Choose up to three of the rows; return the chosen and the others."""
    chosen = rng.sample(rows, min(len(rows), rng.randint(0, 3)))
    return chosen, [row for row in rows if row not in chosen]
