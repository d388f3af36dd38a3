"""What the writers of archive files have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from goclaw_events.segments.layout import pack_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from goclaw_events.segments.layout import FileWriter

ROWS_BYTES: Final = 32 * 1024
"""A block of rows is closed at this size."""
NAME_DIGITS: Final = 20
"""Numbers in file names are padded, so that names are in order."""


def put_rows(file: FileWriter, section: str, rows: Iterable[tuple[bytes, bytes]]) -> int:
    """Write rows, which come in order of key, as blocks of a section; return how many."""
    block: list[bytes] = []
    size = count = 0
    for key, value in rows:
        block += (key, value)
        size += len(key) + len(value)
        count += 1
        if size >= ROWS_BYTES:
            file.put(section, block[0], pack_rows(block))
            block, size = [], 0
    if block:
        file.put(section, block[0], pack_rows(block))
    return count
