"""Look over the write-ahead log before RocksDB reads it.

RocksDB 9.8 can read for ever, without letting go of the interpreter, when a damaged file shows it
a record of a kind that is only written into recycled files. We never recycle, so such a kind
proves damage. Layout: blocks of 32 KiB, each record a header (crc u32, length u16, kind u8) and
its bytes; a header never crosses a block (RocksDB wiki, "Write Ahead Log File Format").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_events.chain import HINT_DAMAGED
from goclaw_events.errors import LogDamaged
from goclaw_events.rocks.failure import classify

if TYPE_CHECKING:
    from pathlib import Path

BLOCK_BYTES: Final = 32 * 1024
HEADER_BYTES: Final = 7
_EMPTY: Final = 0
_KINDS: Final = frozenset({1, 2, 3, 4})
"""Full, first, middle, last: the kinds of record that our files hold."""


def check_wal(directory: Path) -> None:
    """Raise `LogDamaged` naming file and offset of a record of a kind that we never write.

    A file that ends within a record is a torn tail, which RocksDB cuts off; checksums are
    RocksDB's to compare.
    """
    for path in sorted(directory.glob("*.log")):
        try:
            with path.open("rb") as file:
                start = 0
                while block := file.read(BLOCK_BYTES):
                    _check_block(block, start, path)
                    start += len(block)
        except OSError as error:
            raise classify(error, f"reading {path}") from error


def _check_block(block: bytes, start: int, path: Path) -> None:
    at = 0
    while at + HEADER_BYTES <= len(block):
        length = block[at + 4] | block[at + 5] << 8
        kind = block[at + 6]
        if kind == _EMPTY and length == 0:
            return  # filled up with zeros: nothing was written behind it in this block
        if kind not in _KINDS:
            msg = f"{path.name} holds a record of unknown kind {kind} at byte {start + at}"
            raise LogDamaged(msg, hint=HINT_DAMAGED, file=path.name, offset=start + at)
        at += HEADER_BYTES + length
