"""Give back the space of what was deleted from a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from goclaw.datadir import DataDirectory
from goclaw_events.rocks.collection import collect_blobs
from goclaw_events.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from goclaw.config import Settings


class Compacted(NamedTuple):
    """What was deleted, and what each part of the data directory takes."""

    blobs: int
    blob_bytes: int
    files: int
    bytes_before: Mapping[str, int]
    bytes_after: Mapping[str, int]


def compact_log(settings: Settings) -> Compacted:
    """Delete blobs and files that nothing refers to, then write every table anew; blocks.

    Raises `NotFound`, `EngineRunning`, `LogDamaged` (then nothing was deleted), `JournalFull`.
    """
    directory = DataDirectory(settings.data_dir)
    directory.require()
    before = _sizes(directory)
    journal = directory.open_journal()
    try:
        collected = collect_blobs(journal)
        for table in TABLES:
            journal.tables.compact(table)
    finally:
        journal.close()
    return Compacted(collected.blobs, collected.bytes, collected.files, before, _sizes(directory))


def _sizes(directory: DataDirectory) -> dict[str, int]:
    parts = {"log": directory.log, "segments": directory.segments, "blobs": directory.blobs}
    return {name: _size(path) for name, path in parts.items()}


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
