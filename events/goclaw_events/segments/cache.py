"""Blocks that were read lately, unpacked: a bound in bytes for all segments of a log together."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.errors import LogDamaged
from goclaw_events.frame import read_header
from goclaw_events.segments.layout import unpack_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CACHE_BYTES_MAX: Final = 32 * 1024 * 1024
_LENGTH_BYTES: Final = 4


class FrameBlock(NamedTuple):
    """Frames in order: the number of each one's first fact, and where it stands in `raw`."""

    raw: bytes
    numbers: list[int]
    spans: list[tuple[int, int]]

    def frames(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Yield (number, bytes) of the frames whose first fact is in [start, stop)."""
        for place in range(bisect_left(self.numbers, start), bisect_left(self.numbers, stop)):
            yield self.numbers[place], self.frame(place)

    def frame(self, place: int) -> bytes:
        """Return the bytes of a frame."""
        begin, end = self.spans[place]
        return self.raw[begin:end]


class RowBlock(NamedTuple):
    """Rows in order of key."""

    keys: list[bytes]
    values: list[bytes]

    def rows(self, start: bytes, stop: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows with a key in [start, stop)."""
        end = len(self.keys) if stop is None else bisect_left(self.keys, stop)
        for place in range(bisect_left(self.keys, start), end):
            yield self.keys[place], self.values[place]

    def floor(self, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the last row whose key is `key` or less."""
        place = bisect_right(self.keys, key)
        return (self.keys[place - 1], self.values[place - 1]) if place else None


class BlockCache:
    """Keep what was unpacked last. Any thread; a block may be unpacked twice at the same time."""

    def __init__(self, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], tuple[FrameBlock | RowBlock, int]] = OrderedDict()
        self._bytes = 0

    def get(
        self, name: str, place: int, size: int, load: Callable[[], FrameBlock | RowBlock]
    ) -> FrameBlock | RowBlock:
        """Return the block `place` of the file `name`, of `size` bytes unpacked."""
        with self._lock:
            found = self._kept.get((name, place))
            if found is not None:
                self._kept.move_to_end((name, place))
                return found[0]
        block = load()
        with self._lock:
            if (name, place) not in self._kept:
                self._kept[name, place] = (block, size)
                self._bytes += size
            while self._bytes > self._bytes_max and len(self._kept) > 1:
                _, (_, freed) = self._kept.popitem(last=False)
                self._bytes -= freed
        return block


def pack_frame(data: bytes) -> bytes:
    """Return a frame as a block holds it: its length as u32, then its bytes."""
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def parse_frames(raw: bytes) -> FrameBlock:
    """Find the frames in a block; raises `LogDamaged`."""
    numbers, spans = [], []
    at = 0
    while at < len(raw):
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(raw[at:begin], "big")
        if at > len(raw):
            msg = "a block of frames ends within a frame"
            raise LogDamaged(msg)
        numbers.append(read_header(raw[begin:at]).first)
        spans.append((begin, at))
    return FrameBlock(raw, numbers, spans)


def parse_rows(raw: bytes) -> RowBlock:
    """Find the rows in a block; raises `LogDamaged`."""
    flat = unpack_rows(raw)
    return RowBlock(flat[0::2], flat[1::2])
