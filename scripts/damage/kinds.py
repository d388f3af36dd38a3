"""How files are damaged: each kind changes one file of a data directory, by a seeded generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    Damage = Callable[[bytes, random.Random], bytes | None]
    """From a file's bytes to what stands there afterwards (None: the file is gone)."""

BLOCK_BYTES: Final = 32 * 1024
HEADER_BYTES: Final = 7
ODD_KINDS: Final = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 130, 255)
"""Kinds of RocksDB's records: 5 to 8 and 11 can make it read for ever."""


def truncated(data: bytes, rng: random.Random) -> bytes:
    """Cut the file at any byte."""
    return data[: rng.randrange(len(data))]


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Turn over one to three bits."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def zero_tail(data: bytes, rng: random.Random) -> bytes:
    """Let the end be zeros, as a file system does that grew a file and lost its contents."""
    cut = rng.randrange(len(data))
    return data[:cut] + bytes(len(data) - cut + rng.choice((0, 1, 100, BLOCK_BYTES)))


def garbage_tail(data: bytes, rng: random.Random) -> bytes:
    """Add bytes that look like a record of any kind, or like nothing."""
    return data[: rng.choice((len(data), rng.randrange(len(data))))] + _record(rng)


def garbage_record(data: bytes, rng: random.Random) -> bytes:
    """Change kind or length of a record in the midst of the file, or all of it."""
    starts = _records(data)
    if not starts:
        return garbage_tail(data, rng)
    at = rng.choice(starts)
    changed = bytearray(data)
    match rng.randrange(3):
        case 0:
            changed[at + 6] = rng.choice(ODD_KINDS)
        case 1:
            changed[at + 4 : at + 6] = rng.choice((0, 1, 7, 100, 65_535)).to_bytes(2, "little")
            changed[at + 6] = rng.choice(ODD_KINDS)
        case _:
            garbage = _record(rng)
            changed[at : at + len(garbage)] = garbage
    return bytes(changed)


def emptied(data: bytes, rng: random.Random) -> bytes:
    """Leave a file of no bytes."""
    del data, rng
    return b""


def removed(data: bytes, rng: random.Random) -> None:
    """Take the file away."""
    del data, rng


def overwritten(data: bytes, rng: random.Random) -> bytes:
    """Write random bytes over a part."""
    at = rng.randrange(len(data))
    garbage = rng.randbytes(rng.randint(1, 4096))
    return data[:at] + garbage + data[at + len(garbage) :]


def _record(rng: random.Random) -> bytes:
    length = rng.choice((0, 1, 5, 30, 200, 4_000, 65_535))
    header = rng.randbytes(4) + length.to_bytes(2, "little") + bytes((rng.choice(ODD_KINDS),))
    return header + rng.randbytes(rng.choice((0, 3, 10, 50, 500)))


def _records(data: bytes) -> list[int]:
    """Return where the records of a file of records begin."""
    starts, at = [], 0
    while at + HEADER_BYTES <= len(data):
        if BLOCK_BYTES - at % BLOCK_BYTES < HEADER_BYTES:
            at += BLOCK_BYTES - at % BLOCK_BYTES
            continue
        starts.append(at)
        at += HEADER_BYTES + int.from_bytes(data[at + 4 : at + 6], "little")
    return starts


WAL: Final[tuple[Damage, ...]] = (
    truncated, flipped, zero_tail, garbage_tail, garbage_record, overwritten,
)  # fmt: skip
ANY: Final[tuple[Damage, ...]] = (*WAL, emptied, removed)
FILES: Final = {
    "sst": "log/*.sst",
    "manifest": "log/MANIFEST-*",
    "current": "log/CURRENT",
    "options": "log/OPTIONS-*",
    "config": "log/rocksdict-config.json",
    "identity": "log/IDENTITY",
    "watermark": "watermark",
    "blob": "blobs/*/*",
    "segment": "segments/*.segment",
}
"""What else is damaged, by name: the files that the pattern finds, one of them at a time."""


def damage_file(path: Path, damage: Damage, rng: random.Random) -> None:
    """Damage one file."""
    data = path.read_bytes()
    changed = damage(data, rng) if data else None
    if changed is None:
        path.unlink()
    else:
        path.write_bytes(changed)


def damage_wal(directory: Path, rng: random.Random) -> str:
    """Damage the write-ahead log; return what was done."""
    damage = rng.choice(WAL)
    path = max((directory / "log").glob("*.log"), key=lambda found: found.stat().st_size)
    damage_file(path, damage, rng)
    return f"{path.name} {damage.__name__}"


def damage_other(directory: Path, rng: random.Random) -> str:
    """Damage another file; return what was done."""
    damage = rng.choice(ANY)
    found = {name: sorted(directory.glob(pattern)) for name, pattern in FILES.items()}
    name = rng.choice([name for name, paths in sorted(found.items()) if paths])
    path = rng.choice(found[name])
    damage_file(path, damage, rng)
    return f"{name} {path.name} {damage.__name__}"


def damage_archived(directory: Path, rng: random.Random) -> str:
    """Damage a segment, or in one of three cases another file; return what was done."""
    if rng.randrange(3) == 0:
        return damage_other(directory, rng)
    damage = rng.choice(ANY)
    path = rng.choice(sorted(directory.glob(FILES["segment"])))
    damage_file(path, damage, rng)
    return f"segment {path.name} {damage.__name__}"
