"""Compression of archived blocks: Zstandard (RFC 8878), of the standard library where it has it."""

from __future__ import annotations

import sys
from typing import Final

from goclaw_events.errors import LogDamaged

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL: Final = 3
BLOCK_BYTES_MAX: Final = 8 * 1024 * 1024
"""The largest block that is unpacked; a frame has at most 4 MiB."""


def compress(data: bytes) -> bytes:
    """Return `data` compressed."""
    return zstd.compress(data, level=LEVEL)


def decompress(data: bytes, size: int, size_max: int = BLOCK_BYTES_MAX) -> bytes:
    """Return the `size` bytes that `data` stands for; raises `LogDamaged` for anything else."""
    if size > size_max:
        msg = f"a block of {size} bytes exceeds the limit of {size_max}"
        raise LogDamaged(msg)
    unpacking = zstd.ZstdDecompressor()
    try:
        found = unpacking.decompress(data, max_length=size + 1)
    except (zstd.ZstdError, EOFError) as error:
        msg = f"a block cannot be unpacked: {error}"
        raise LogDamaged(msg) from error
    if len(found) != size or not unpacking.eof or unpacking.unused_data:
        msg = f"a block does not hold its {size} bytes"
        raise LogDamaged(msg)
    return found
