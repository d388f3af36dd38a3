"""The bytes of an archive file: header, blocks, directory, footer.

Every byte is covered by the digest: it is that of header, directory and footer, and the directory
holds the hash of every block, of which the file consists without a gap. So a file can be trusted
from a read of its ends, and a block from a read of that block. docs/reference/log-format.md
describes it.
"""

from __future__ import annotations

import os
import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack

from goclaw_events.errors import LogDamaged, LogMismatch
from goclaw_events.segments.zstd import BLOCK_BYTES_MAX, compress, decompress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FORMAT: Final = 1
SEGMENT_MAGIC: Final = b"GCSG"
BASELINE_MAGIC: Final = b"GCBL"
_END_MAGIC: Final = b"GCSE"
HEADER: Final = struct.Struct(">4sH16sHQQ16s")
_FOOTER: Final = struct.Struct(">QII4s")
DIGEST_BYTES: Final = 32
_HASH_BYTES: Final = 16
_FOOTER_BYTES: Final = _FOOTER.size + DIGEST_BYTES
DIRECTORY_BYTES_MAX: Final = 512 * 1024 * 1024
_HINT: Final = "restore the file from a copy of the directory"


class FileHeader(NamedTuple):
    """Which log and partition a file is of, the facts [first, last] and the hash before them."""

    magic: bytes
    log_id: bytes
    partition: int
    first: int
    last: int
    previous: bytes


class Block(NamedTuple):
    """A block: what it is part of, where it stands, its size unpacked, its hash, its first key."""

    section: str
    offset: int
    stored_bytes: int
    raw_bytes: int
    hash: bytes
    key: bytes


class Directory(NamedTuple):
    """What a file holds: facts about it by name, and its blocks in order."""

    header: FileHeader
    about: dict[str, Any]
    blocks: tuple[Block, ...]
    digest: bytes
    file_bytes: int


class FileWriter:
    """Write an archive file into `file`, block by block; `finish` returns its digest."""

    def __init__(self, fd: int, header: FileHeader) -> None:
        self._fd = fd
        self._offset = 0
        self._blocks: list[Block] = []
        self._header = HEADER.pack(header.magic, FORMAT, *header[1:])
        self._write(self._header)

    def put(self, section: str, key: bytes, raw: bytes) -> None:
        """Write a block; `key` is the first thing that it holds."""
        stored = compress(raw)
        self._blocks.append(Block(section, self._offset, len(stored), len(raw), _hash(stored), key))
        self._write(stored)

    def finish(self, about: dict[str, Any]) -> tuple[bytes, int]:
        """Write directory and footer, make the file durable; return its digest and size."""
        raw: bytes = msgpack.packb({"about": about, "blocks": [list(b) for b in self._blocks]})
        directory = compress(raw)
        footer = _FOOTER.pack(self._offset, len(directory), len(raw), _END_MAGIC)
        digest = _digest(self._header, directory, footer)
        self._write(directory + footer + digest)
        os.fsync(self._fd)
        return digest, self._offset

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._offset += len(data)


def read_directory(path: Path, digest: bytes | None = None) -> Directory:
    """Read what a file says it holds; `digest` is what it must have (None: whatever it says).

    Raises `LogDamaged`, `LogMismatch` for a newer format.
    """
    try:
        size = path.stat().st_size
        if size < HEADER.size + _FOOTER_BYTES:
            raise _damaged(path, f"has {size} bytes")
        end = _read(path, size - _FOOTER_BYTES, _FOOTER_BYTES)
        offset, stored, raw, magic = _FOOTER.unpack_from(end)
        if magic != _END_MAGIC or offset + stored + _FOOTER_BYTES != size:
            raise _damaged(path, "has no footer that fits it")
        if not 0 < raw <= DIRECTORY_BYTES_MAX:
            raise _damaged(path, f"has a directory of {raw} bytes")
        head, packed = _read(path, 0, HEADER.size), _read(path, offset, stored)
    except OSError as error:
        raise _damaged(path, f"cannot be read: {error.strerror}") from error
    found = end[_FOOTER.size :]
    if _digest(head, packed, end[: _FOOTER.size]) != found or digest not in (None, found):
        raise _damaged(path, "does not match its digest")
    return _parse(path, head, _unpack(path, packed, raw), found, (offset, size))


def read_block(path: Path, block: Block) -> bytes:
    """Return a block's bytes, its hash compared; raises `LogDamaged`."""
    try:
        stored = _read(path, block.offset, block.stored_bytes)
    except OSError as error:
        raise _damaged(path, f"cannot be read: {error.strerror}") from error
    if _hash(stored) != block.hash:
        raise _damaged(path, f"is damaged between byte {block.offset} and the {len(stored)} after")
    return decompress(stored, block.raw_bytes)


def pack_rows(rows: Sequence[bytes]) -> bytes:
    """Write keys and values in turn."""
    return bytes(msgpack.packb(rows))


def unpack_rows(raw: bytes) -> list[bytes]:
    """Read what `pack_rows` wrote; raises `LogDamaged`."""
    try:
        found = msgpack.unpackb(raw)
    except (ValueError, msgpack.UnpackException) as error:
        msg = f"a block of rows cannot be read: {error}"
        raise LogDamaged(msg) from error
    if not isinstance(found, list) or len(found) % 2:
        msg = "a block of rows has another shape"
        raise LogDamaged(msg)
    return found


def _unpack(path: Path, packed: bytes, raw: int) -> dict[str, Any]:
    limit = max(raw, BLOCK_BYTES_MAX)
    found = msgpack.unpackb(decompress(packed, raw, limit))
    if not isinstance(found, dict):
        raise _damaged(path, "has a directory of another shape")
    return found


def _parse(
    path: Path, head: bytes, found: dict[str, Any], digest: bytes, place: tuple[int, int]
) -> Directory:
    magic, fmt, *fields = HEADER.unpack(head)
    if fmt != FORMAT:
        msg = f"{path} has format {fmt}; this version of Goclaw reads {FORMAT}"
        raise LogMismatch(msg, hint="use the version of Goclaw that wrote it, or a newer one")
    blocks = tuple(Block(*block) for block in found["blocks"])
    at = HEADER.size
    for block in blocks:
        if block.offset != at:
            raise _damaged(path, f"has a gap before byte {block.offset}")
        at += block.stored_bytes
    if at != place[0]:
        raise _damaged(path, "has a gap before its directory")
    return Directory(FileHeader(magic, *fields), found["about"], blocks, digest, place[1])


def _read(path: Path, offset: int, count: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return os.pread(fd, count, offset)
    finally:
        os.close(fd)


def _hash(data: bytes) -> bytes:
    return blake2b(data, digest_size=_HASH_BYTES).digest()


def _digest(*parts: bytes) -> bytes:
    return blake2b(b"".join(parts), digest_size=DIGEST_BYTES).digest()


def _damaged(path: Path, what: str) -> LogDamaged:
    return LogDamaged(f"{path.parent.name}/{path.name} {what}", hint=_HINT, file=path.name)
