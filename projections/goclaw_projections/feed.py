"""Frames handed over by the process that wrote them: their facts are objects there already."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_projections.projection import frame_told, read_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_events.envelope import Told
    from goclaw_events.frame import FrameHeader
    from goclaw_events.framing import EncodedFrame
    from goclaw_projections.projection import ReadFrame

FRAMES_MAX: Final = 256
BYTES_MAX: Final = 8 * 1024 * 1024
"""Of the frames as bytes; as objects they take several times as much."""


class AtHand(NamedTuple):
    """A durable frame: its header, its bytes, and its turns as objects, if there are any."""

    header: FrameHeader
    data: bytes
    told: Sequence[Told] | None

    @property
    def last(self) -> int:
        """Return the number of the frame's last fact."""
        return self.header.first + self.header.facts_count - 1

    def read(self) -> ReadFrame:
        """Return what projections read; raises `LogDamaged`, `UnknownType`."""
        if self.told is None:
            return read_frame(self.data)
        return frame_told(self.header, self.told)


class Feed:
    """Keep the last durable frames of one partition until they are folded.

    Bounded: whoever is further behind than that reads the log. `put` is called by the writer's
    thread, in the order of the log; the rest by whoever folds.
    """

    def __init__(self) -> None:
        self._frames: deque[AtHand] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self.last = 0

    def put(self, frame: EncodedFrame) -> None:
        """Take in a frame that became durable."""
        with self._lock:
            if self.last + 1 != frame.header.first:
                self._clear()  # what stands between was told to nobody
            self.last = frame.last
            if not frame.is_told:
                self._clear()
                return
            self._frames.append(AtHand(frame.header, frame.data, frame.told))
            self._bytes += len(frame.data)
            while len(self._frames) > FRAMES_MAX or self._bytes > BYTES_MAX:
                self._drop()

    def take(self, number: int) -> AtHand | None:
        """Return the frame that begins with `number`, if it is here; forget those before it."""
        with self._lock:
            while self._frames and self._frames[0].header.first < number:
                self._drop()
            if self._frames and self._frames[0].header.first == number:
                return self._drop()
            return None

    @property
    def bytes_count(self) -> int:
        """Return how many bytes the frames here have."""
        return self._bytes

    @property
    def first(self) -> int | None:
        """Return the number with which the oldest frame here begins."""
        with self._lock:
            return self._frames[0].header.first if self._frames else None

    def _drop(self) -> AtHand:
        frame = self._frames.popleft()
        self._bytes -= len(frame.data)
        return frame

    def _clear(self) -> None:
        self._frames.clear()
        self._bytes = 0
