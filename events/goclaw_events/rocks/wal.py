"""Look over RocksDB's files of records (write-ahead log, manifest) before RocksDB reads them.

RocksDB 9.8 can read for ever, without letting go of the interpreter, when a damaged file shows it
a record of a kind that is only written into recycled files: in the write-ahead log as in the
manifest, which has the same form. We never recycle, so such a kind proves damage. Layout: blocks
of 32 KiB, each record a header (crc u32, length u16, kind u8) and its bytes; a header never
crosses a block (RocksDB wiki, "Write Ahead Log File Format"; docs/adr/0004).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw_events.chain import HINT_DAMAGED
from goclaw_events.errors import LogDamaged
from goclaw_events.rocks.failure import classify

if TYPE_CHECKING:
    from pathlib import Path

BLOCK_BYTES: Final = 32 * 1024
HEADER_BYTES: Final = 7
NAME_BYTES_MAX: Final = 256
_MANIFEST: Final = re.compile(r"MANIFEST-[0-9]{1,20}")
_EMPTY: Final = 0
_KINDS: Final = frozenset({1, 2, 3, 4})
"""Full, first, middle, last: the kinds of record that our files hold."""


class Unknown(NamedTuple):
    """A record of a kind that we never write, and where it begins."""

    kind: int
    offset: int


def check_wal(directory: Path) -> None:
    """Raise `LogDamaged` naming file and offset of a record of a kind that we never write.

    A file that ends within a record is a torn tail, which RocksDB cuts off; checksums are
    RocksDB's to compare.
    """
    for path in (*sorted(directory.glob("*.log")), *_manifest(directory)):
        try:
            found = first_unknown(path)
        except OSError as error:
            raise classify(error, f"reading {path}") from error
        if found is not None:
            msg = f"{path.name} holds a record of unknown kind {found.kind} at byte {found.offset}"
            raise LogDamaged(msg, hint=HINT_DAMAGED, file=path.name, offset=found.offset)


def wal_bytes(directory: Path) -> int:
    """Return how much the write-ahead log of a database holds."""
    return sum(path.stat().st_size for path in directory.glob("*.log"))


def first_unknown(path: Path) -> Unknown | None:
    """Return the first record of a kind that we never write; raises `OSError`."""
    with path.open("rb") as file:
        start = 0
        while block := file.read(BLOCK_BYTES):
            found = _look_over(block)
            if found is not None:
                return Unknown(found.kind, start + found.offset)
            start += len(block)
    return None


def _manifest(directory: Path) -> list[Path]:
    """Return the manifest that CURRENT names; none where it names none (RocksDB says so itself)."""
    try:
        with (directory / "CURRENT").open("rb") as file:
            name = file.read(NAME_BYTES_MAX).decode("ascii", "replace").rstrip("\n")
    except OSError:
        return []
    found = directory / name
    return [found] if _MANIFEST.fullmatch(name) and found.is_file() else []


def _look_over(block: bytes) -> Unknown | None:
    at = 0
    while at + HEADER_BYTES <= len(block):
        length = block[at + 4] | block[at + 5] << 8
        kind = block[at + 6]
        if kind == _EMPTY and length == 0:
            return None  # filled up with zeros: nothing was written behind it in this block
        if kind not in _KINDS:
            return Unknown(kind, at)
        at += HEADER_BYTES + length
    return None
