"""Find the end of a write-ahead log that is whole, and whether anything whole stands behind it.

A power cut may leave anything of what no flush had covered: less of it, zeros, sectors in any
order, what the disk held before. The committer writes one record and flushes it before it writes
the next; so all of that is one record, the last. What is damaged and has a whole record behind it
was flushed, and is damage of another kind. Layout of the file: see `wal`; a record's bytes begin
with the number of its first change (u64) and how many there are (u32), both little-endian.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.rocks.crc32c import crc32c, masked
from goclaw_events.rocks.wal import BLOCK_BYTES, HEADER_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TAIL_BYTES_MAX: Final = 64 * 1024 * 1024
"""More than a group commit writes at most: where more than that is not whole, it is no tail."""
_NUMBERS_BYTES: Final = 12
_NUMBERS_PIECES: Final = 2
"""Only the end of a block cuts a record's bytes short, so they stand in two pieces at most."""
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_BEGINS: Final = (_FULL, _FIRST)
_ENDS: Final = (_FULL, _LAST)
_LIKELY: Final = re.compile(rb"(?s)(?=[\x01\x02].{6}\0\0.{3}\0)")
"""Kind, number of the first change (below 2**48), how many changes (below 2**24)."""


class Tail(NamedTuple):
    """What of a file of records is not whole: everything from the byte `cut` on, `bytes` of it.

    `followed`: the byte where a whole record begins behind it (None: nothing whole does).
    """

    path: Path
    cut: int
    bytes: int
    followed: int | None


class _Piece(NamedTuple):
    """A record of the file's format: the whole or a part of what was written at once."""

    at: int
    length: int
    kind: int

    @property
    def end(self) -> int:
        return self.at + HEADER_BYTES + self.length


def find_tail(directory: Path) -> Tail | None:
    """Return what is not whole at the end of the newest write-ahead log (None: all is).

    Damage further ahead in the file is not looked for. Raises `OSError`.
    """
    paths = _filled(directory)
    if not paths:
        return None
    data = paths[-1].read_bytes()
    records = list(_records(data))
    cut, upcoming = 0, 0
    while records:
        pieces = records.pop()
        if len(data) - pieces[0].at > TAIL_BYTES_MAX:
            return None
        if all(_is_whole(data, piece) for piece in pieces):
            number, count = _numbers(data, pieces)
            cut, upcoming = pieces[-1].end, number + count
            break
    tail = _tail(paths[-1], data, cut, upcoming)
    return None if tail is None or tail.bytes > TAIL_BYTES_MAX else tail


def find_damage(directory: Path) -> Tail | None:
    """Return the first record of all write-ahead logs that is not whole, and what follows it.

    Compares every checksum: some 10 s for the 128 MiB that they hold at most. Raises `OSError`.
    """
    paths = _filled(directory)
    for path in paths:
        data = path.read_bytes()
        cut, upcoming = 0, 0
        for pieces in _records(data):
            if not all(_is_whole(data, piece) for piece in pieces):
                break
            number, count = _numbers(data, pieces)
            cut, upcoming = pieces[-1].end, number + count
        tail = _tail(path, data, cut, upcoming)
        if tail is not None:
            behind = path != paths[-1] and tail.followed is None
            return tail._replace(followed=len(data)) if behind else tail
    return None


def _filled(directory: Path) -> list[Path]:
    """Return the write-ahead logs that hold something, the newest last.

    One without a byte is begun while a log is opened.
    """
    found = [path for path in directory.glob("*.log") if path.stem.isdecimal()]
    return sorted((p for p in found if p.stat().st_size), key=lambda path: int(path.stem))


def _tail(path: Path, data: bytes, cut: int, upcoming: int) -> Tail | None:
    if cut == len(data):
        return None
    followed = _followed(data, _header_at(cut) + 1, upcoming)
    return Tail(path, cut, len(data) - cut, followed)


def _header_at(at: int) -> int:
    """Return where the next header begins: one never crosses the end of a block."""
    left = BLOCK_BYTES - at % BLOCK_BYTES
    return at + left if left < HEADER_BYTES else at


def _piece(data: bytes, at: int) -> _Piece | None:
    """Return what the header at a byte tells of, if that fits its block and the file."""
    if at + HEADER_BYTES > len(data):
        return None
    piece = _Piece(at, data[at + 4] | data[at + 5] << 8, data[at + 6])
    fits = at % BLOCK_BYTES + HEADER_BYTES + piece.length <= BLOCK_BYTES
    return piece if fits and piece.end <= len(data) else None


def _records(data: bytes) -> Iterator[list[_Piece]]:
    """Yield the pieces of every record that is complete by its headers, to the first that is not.

    Their numbers never go back: what a disk held before may be a record too, an older one.
    """
    at, upcoming = 0, 0
    pieces: list[_Piece] = []
    while (piece := _piece(data, _header_at(at))) is not None:
        if not _FULL <= piece.kind <= _LAST or (piece.kind in _BEGINS) is bool(pieces):
            return
        pieces.append(piece)
        if piece.kind in _ENDS:
            number, count = _numbers(data, pieces)
            if number < upcoming:
                return
            upcoming = number + count
            yield pieces
            pieces = []
        at = piece.end


def _numbers(data: bytes, pieces: Sequence[_Piece]) -> tuple[int, int]:
    """Return the number of a record's first change, and how many there are."""
    begin = b"".join(
        data[piece.at + HEADER_BYTES : piece.end] for piece in pieces[:_NUMBERS_PIECES]
    )
    return int.from_bytes(begin[:8], "little"), int.from_bytes(begin[8:_NUMBERS_BYTES], "little")


def _is_whole(data: bytes, piece: _Piece) -> bool:
    stored = int.from_bytes(data[piece.at : piece.at + 4], "little")
    return masked(crc32c(data[piece.at + 6 : piece.end])) == stored


def _followed(data: bytes, start: int, upcoming: int) -> int | None:
    """Return where a whole record begins at `start` or behind it, at whatever byte, if one does."""
    for at in _begins(data, start):
        piece = _piece(data, at)
        if piece is None or piece.kind not in _BEGINS:
            continue
        known = piece.length >= _NUMBERS_BYTES
        if known and _numbers(data, [piece])[0] < upcoming:
            continue  # older than what is whole: a disk's old contents
        if (known or piece.end % BLOCK_BYTES == 0) and _is_whole(data, piece):
            return piece.at
    return None


def _begins(data: bytes, start: int) -> Iterator[int]:
    """Yield where a record may begin: where numbers look likely, or at the end of a block."""
    for match in _LIKELY.finditer(data, start + 6):
        yield match.start() - 6
    for end in range(start - start % BLOCK_BYTES + BLOCK_BYTES, len(data) + 1, BLOCK_BYTES):
        for length in range(_NUMBERS_BYTES):
            if (at := end - HEADER_BYTES - length) >= start:
                yield at
