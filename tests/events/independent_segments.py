"""Read archived segments with nothing of Goclaw: written from the page of the format alone."""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgpack
from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER = struct.Struct(">4sH16sHQQ16s")
FOOTER = struct.Struct(">QII4s32s")


class SegmentFile:
    """A segment or a baseline, all of it compared. `ValueError` if it is not what the page says."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        self.magic, fmt, self.log_id, self.partition, self.first, self.last, self.previous = (
            HEADER.unpack_from(data)
        )
        offset, stored, raw, end, self.digest = FOOTER.unpack(data[-FOOTER.size :])
        packed = data[offset : offset + stored]
        covered = data[: HEADER.size] + packed + data[-FOOTER.size : -32]
        expect(fmt == 1 and end == b"GCSE", "it is no such file")
        expect(offset + stored + FOOTER.size == len(data), "the directory is elsewhere")
        expect(blake2b(covered, digest_size=32).digest() == self.digest, "the digest differs")
        directory = msgpack.unpackb(zstd.decompress(packed))
        expect(len(zstd.decompress(packed)) == raw, "the directory has another size")
        self.about, at = directory["about"], HEADER.size
        self.blocks: dict[str, list[bytes]] = {}
        for section, start, length, size, digest, _ in directory["blocks"]:
            block = data[start : start + length]
            expect(start == at, "there is a gap")
            expect(blake2b(block, digest_size=16).digest() == digest, "a block differs")
            self.blocks.setdefault(section, []).append(zstd.decompress(block))
            expect(len(self.blocks[section][-1]) == size, "a block has another size")
            at = start + length
        expect(at == offset, "there is a gap before the directory")

    def frames(self) -> Iterator[bytes]:
        """Yield the frames."""
        for block in self.blocks.get("frames", []):
            at = 0
            while at < len(block):
                length = int.from_bytes(block[at : at + 4], "big")
                yield block[at + 4 : at + 4 + length]
                at += 4 + length

    def rows(self, section: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows of a section."""
        for block in self.blocks.get(section, []):
            flat: list[Any] = msgpack.unpackb(block)
            yield from zip(flat[::2], flat[1::2], strict=True)

    def may_hold(self, name: str) -> bool:
        """Tell whether the filter lets a name pass."""
        bits = b"".join(self.blocks["bloom"])
        digest = blake2b(name.encode(), digest_size=16).digest()
        a, b = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big") | 1
        places = [(a + i * b) % (8 * len(bits)) for i in range(7)]
        return all(bits[place // 8] >> place % 8 & 1 for place in places)


def expect(holds: bool, otherwise: str) -> None:
    """Raise `ValueError` unless what the page says holds."""
    if not holds:
        raise ValueError(otherwise)
