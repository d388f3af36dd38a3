"""A writer of small frames for tests: it keeps its place in every partition and stream."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from goclaw_events.envelope import Cause, Fact
from goclaw_events.frame import FrameHeader
from goclaw_events.framing import FrameBuilder
from goclaw_events.value import packer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from goclaw_events.errors import CodedError
    from goclaw_events.framing import EncodedFrame
    from goclaw_events.journal import Journal

WAIT_S = 10.0


class Acks:
    """Collect the answers to appended frames, in the order in which they came."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, CodedError | None]] = []
        self._changed = threading.Condition()

    def of(self, mark: int) -> Callable[[CodedError | None], None]:
        """Return a callback that records `mark` with its outcome."""

        def done(error: CodedError | None) -> None:
            with self._changed:
                self.seen.append((mark, error))
                self._changed.notify_all()

        return done

    def wait(self, count: int) -> list[tuple[int, CodedError | None]]:
        """Wait until `count` answers came, and return them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= count, WAIT_S), self.seen
            return list(self.seen)


class FrameWriter:
    """Build frames that continue a journal."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.acks = Acks()
        self._pack = packer()
        self._seqs: dict[tuple[int, str], int] = {}
        self._appended = 0
        self.resume()

    def resume(self) -> None:
        """Take the journal's heads as the place to go on from."""
        journal = self.journal
        self.tips = [(journal.head(p).number, journal.head(p).hash) for p in range(len(self))]

    def __len__(self) -> int:
        return self.journal.partitions

    def frame(
        self,
        partition: int = 0,
        turns: Mapping[str, list[list[Any]]] | None = None,
        fill: Callable[[FrameBuilder], None] | None = None,
        fact_type: str = "run.cancelled",
    ) -> EncodedFrame:
        """Return a frame with one turn a stream; `turns` lists the data of each one's facts."""
        number, previous = self.tips[partition]
        builder = FrameBuilder(number + 1, self._pack)
        for stream, rows in (turns or {"workflow/r": [["why"]]}).items():
            seq = self._seqs.get((partition, stream), 0) + 1
            facts = [
                self._pack(Fact(stream, seq + place, fact_type, 1, data))
                for place, data in enumerate(rows)
            ]
            builder.add_turn(Cause(command_id=f"c{number}"), stream, seq, facts)
            self._seqs[(partition, stream)] = seq + len(rows) - 1
        if fill is not None:
            fill(builder)
        frame = builder.close(
            FrameHeader(
                self.journal.log_id,
                partition,
                self.journal.head(partition).era,
                1,
                number + 1,
                builder.count,
                1_700_000_000_000_000_000 + number,
                previous,
            )
        )
        self.tips[partition] = (frame.last, frame.hash)
        return frame

    def append(self, frame: EncodedFrame | None = None, **wanted: Any) -> EncodedFrame:
        """Append a frame (or `frame(**wanted)`); its answer goes to `acks` under its place."""
        found = self.frame(**wanted) if frame is None else frame
        self.journal.append(found, self.acks.of(self._appended + 1))
        self._appended += 1
        return found

    def settle(self) -> None:
        """Wait for the answer to everything appended; every one must be good."""
        assert [error for _, error in self.acks.wait(self._appended) if error] == []
