"""A filter of names (Bloom, 1970): tells for sure that a segment has nothing of a name."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

HASHES: Final = 7
BITS_PER_NAME: Final = 10
BYTES_MIN: Final = 8


def name_hashes(name: str) -> tuple[int, int]:
    """Return the two numbers that every filter derives a name's bits from."""
    digest = blake2b(name.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big") | 1


def make_filter(names: Collection[str]) -> bytes:
    """Return the bits for some names: about 1 % of all others are taken for one of them."""
    bits = bytearray(max(BYTES_MIN, -(-len(names) * BITS_PER_NAME // 8)))
    size = len(bits) * 8
    for name in names:
        place, step = name_hashes(name)
        for _ in range(HASHES):
            at = place % size
            bits[at >> 3] |= 1 << (at & 7)
            place += step
    return bytes(bits)


def may_hold(bits: bytes, hashes: tuple[int, int]) -> bool:
    """Tell whether a name with these `name_hashes` may be among those that the bits stand for."""
    place, step = hashes
    size = len(bits) * 8
    for _ in range(HASHES):
        at = place % size
        if not bits[at >> 3] & 1 << (at & 7):
            return False
        place += step
    return True
