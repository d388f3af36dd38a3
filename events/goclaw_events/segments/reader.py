"""Read a segment: a block at a time, each compared with its hash."""

from __future__ import annotations

import threading
from bisect import bisect_right
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, cast

from goclaw_events.chain import Chain
from goclaw_events.errors import LogDamaged
from goclaw_events.frame import hash_of, read_header, read_turns
from goclaw_events.segments.bloom import may_hold
from goclaw_events.segments.cache import (
    BlockCache,
    FrameBlock,
    RowBlock,
    parse_frames,
    parse_rows,
)
from goclaw_events.segments.layout import SEGMENT_MAGIC, read_block, read_directory
from goclaw_events.tables import log_key, stream_key, u16, u64

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from goclaw_events.segments.layout import Block, Directory
    from goclaw_events.segments.records import SegmentInfo

FRAMES: Final = "frames"
STREAMS: Final = "streams"
ENDED: Final = "ended"
BLOOM: Final = "bloom"
_MODULUS: Final = 1 << 256


class SegmentReader:
    """Read the segment that `info` describes out of `directory`. Any thread.

    Nothing is read before it is asked for; then the file's directory, whose digest must be the
    one of `info`, and single blocks. Memory: the directory (about 100 bytes a block, 10 bits a
    run), and what `cache` may hold. Raises `LogDamaged` naming the file and the position.
    """

    def __init__(
        self, directory: Path, partition: int, info: SegmentInfo, log_id: bytes, cache: BlockCache
    ) -> None:
        self.path = directory / info.name
        self.partition = partition
        self.info = info
        self._log_id = log_id
        self._cache = cache
        self._lock = threading.Lock()
        self._opened: Directory | None = None
        self._places: dict[str, list[tuple[int, Block]]] = {}
        self._keys: dict[str, list[bytes]] = {}
        self._bloom = b""

    # what the file holds

    @property
    def directory(self) -> Directory:
        """Return the file's directory; read once."""
        with self._lock:
            return self._opened or self._open()

    def _open(self) -> Directory:
        try:
            found = read_directory(self.path, self.info.digest)
            self._compare(found)
            places: dict[str, list[tuple[int, Block]]] = {}
            for place, block in enumerate(found.blocks):
                places.setdefault(block.section, []).append((place, block))
            self._bloom = b"".join(read_block(self.path, b) for _, b in places.get(BLOOM, ()))
        except LogDamaged as error:
            raise self._placed(error) from error
        self._places = places
        self._keys = {name: [b.key for _, b in blocks] for name, blocks in places.items()}
        self._opened = found
        return found

    def _compare(self, found: Directory) -> None:
        header, info = found.header, self.info
        said = (header.magic, header.log_id, header.partition, header.first, header.last)
        wanted = (SEGMENT_MAGIC, self._log_id, self.partition, info.first, info.last)
        if said != wanted or found.file_bytes != info.file_bytes:
            msg = f"segments/{info.name} is not the segment that was sealed under this name"
            raise LogDamaged(msg, file=info.name)

    def _placed(self, error: LogDamaged, number: int | None = None) -> LogDamaged:
        """Return an error of a file with the position at which its history is missing."""
        at = self.info.first if number is None else number
        details = {**error.details, "partition": self.partition, "number": at}
        return type(error)(error.message, hint=error.hint, **details)

    def _blocks(self, section: str) -> list[tuple[int, Block]]:
        self.directory  # noqa: B018 - reads it
        return self._places.get(section, [])

    def _frame_block(self, place: int, block: Block) -> FrameBlock:
        def load() -> FrameBlock:
            try:
                return parse_frames(read_block(self.path, block))
            except LogDamaged as error:
                raise self._placed(error, int.from_bytes(block.key, "big")) from error

        return cast("FrameBlock", self._cache.get(self.info.name, place, block.raw_bytes, load))

    def _row_block(self, place: int, block: Block) -> RowBlock:
        def load() -> RowBlock:
            try:
                return parse_rows(read_block(self.path, block))
            except LogDamaged as error:
                raise self._placed(error) from error

        return cast("RowBlock", self._cache.get(self.info.name, place, block.raw_bytes, load))

    def _first_block(self, section: str, key: bytes) -> int:
        """Return which block of a section may hold `key`."""
        return max(0, bisect_right(self._keys.get(section, []), key) - 1)

    # frames

    def frames(self, start: int = 1, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Yield (number, bytes) of the frames whose first fact is in [start, stop)."""
        end = self.info.last + 1 if stop is None else stop
        blocks = self._blocks(FRAMES)
        for place, block in blocks[self._first_block(FRAMES, u64(start)) :]:
            if int.from_bytes(block.key, "big") >= end:
                return
            yield from self._frame_block(place, block).frames(start, end)

    def frame_floor(self, number: int) -> tuple[int, bytes] | None:
        """Return the last frame whose first fact is `number` or less (None: there is none)."""
        blocks = self._blocks(FRAMES)
        if not blocks or number < self.info.first:
            return None
        found = self._frame_block(*blocks[self._first_block(FRAMES, u64(number))])
        at = bisect_right(found.numbers, number) - 1
        return (found.numbers[at], found.frame(at)) if at >= 0 else None

    def log_rows(self, start: bytes, stop: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows of table `log` with a key in [start, stop)."""
        own = u16(self.partition)
        first = int.from_bytes(start[2:10].ljust(8, b"\0"), "big") if start > own else 0
        last = None if stop is None or stop[:2] != own else int.from_bytes(stop[2:10], "big")
        for number, data in self.frames(first, last):
            yield log_key(self.partition, number), data

    # rows of streams, and of ended runs

    def may_hold(self, hashes: tuple[int, int]) -> bool:
        """Tell whether there may be facts of a stream whose routing key has these hashes."""
        self.directory  # noqa: B018 - reads it
        return may_hold(self._bloom, hashes)

    def rows(
        self, section: str = STREAMS, start: bytes = b"", stop: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows of table `streams` (or `ended`) with a key in [start, stop), in order."""
        blocks = self._blocks(section)
        for place, block in blocks[self._first_block(section, start) :]:
            if stop is not None and block.key >= stop:
                return
            yield from self._row_block(place, block).rows(start, stop)

    def row_floor(self, key: bytes, section: str = STREAMS) -> tuple[bytes, bytes] | None:
        """Return the last row whose key is `key` or less."""
        blocks = self._blocks(section)
        if not blocks:
            return None
        return self._row_block(*blocks[self._first_block(section, key)]).floor(key)

    # everything

    def check(self, *, index: bool = False) -> None:
        """Read every block and compare it; with `index` also the stream rows with the frames.

        What was read before is read again. Raises `LogDamaged` naming the position where it is not
        what was sealed.
        """
        where = self.path.parent
        fresh = SegmentReader(where, self.partition, self.info, self._log_id, BlockCache(0))
        fresh._check(index=index)

    def _check(self, *, index: bool) -> None:
        directory, info = self.directory, self.info
        chain = Chain(self.partition, info.first, directory.header.previous)
        frames, said, found, last = 0, 0, 0, b""
        for place, block in self._blocks(FRAMES):
            for number, data in self._frame_block(place, block).frames(0, info.last + 1):
                chain.follow(number, data)
                frames, last = frames + 1, hash_of(data)
                if index:
                    found += _sum_of_rows(self.partition, data)
        if (frames, chain.last, last) != (info.frames, info.last, info.last_hash):
            msg = f"segments/{info.name} does not hold the frames that were sealed"
            raise self._placed(LogDamaged(msg, file=info.name), chain.last + 1)
        before = b""
        for key, value in self.rows():
            said += _hash_of_row(key, value)
            if key <= before:
                msg = f"segments/{info.name} has rows of streams out of order"
                raise self._placed(LogDamaged(msg, file=info.name))
            before = key
        ended = sum(1 for _ in self.rows(ENDED))
        if ended != info.ended or (index and said % _MODULUS != found % _MODULUS):
            msg = f"segments/{info.name} has an index that does not fit its frames"
            raise self._placed(LogDamaged(msg, file=info.name))


def _sum_of_rows(partition: int, data: bytes) -> int:
    """Add up the hashes of the rows of table `streams` that a frame stands for."""
    streams: dict[str, tuple[int, int]] = {}
    for _, *facts in read_turns(data):
        for stream, seq, *_ in facts:
            first, count = streams.get(stream, (seq, 0))
            streams[stream] = (first, count + 1)
    place = u64(read_header(data).first)
    return sum(
        _hash_of_row(stream_key(partition, stream, seq), place + count.to_bytes(4, "big"))
        for stream, (seq, count) in streams.items()
    )


def _hash_of_row(key: bytes, value: bytes) -> int:
    return int.from_bytes(blake2b(key + value, digest_size=32).digest(), "big")
