"""Copies of a whole data directory: made while it is written, restored into an empty one."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from goclaw_events.datalock import prepare_directory
from goclaw_events.errors import LogDamaged, LogMissing
from goclaw_events.rocks.failure import classify
from goclaw_events.rocks.journal import RocksJournal
from goclaw_events.rocks.staging import (
    copy_file,
    copy_tree,
    require_empty,
    require_whole,
    staged,
)
from goclaw_events.rocks.stored import (
    BLOB_DIRECTORY,
    LOG_DIRECTORY,
    SEGMENT_DIRECTORY,
    WATERMARK_NAME,
)
from goclaw_events.watermark import sync_directory

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST_NAME: Final = "backup.json"
FORMAT: Final = 1
BESIDE: Final = (BLOB_DIRECTORY, SEGMENT_DIRECTORY)
"""Directories of files that never change once they have their name."""
_HINT: Final = "take another backup"


class Backup(NamedTuple):
    """What a backup holds: of which log, made when, and the last number of each partition."""

    log_id: str
    time_ns: int
    ends: list[int]


def back_up(journal: RocksJournal, target: Path) -> Backup:
    """Copy a log that may be written meanwhile into `target`, which must be empty or absent.

    It holds everything that was durable when it was begun. Commits wait while RocksDB copies its
    tables; blobs are copied beside them. On the same file system files that never change are
    linked, not copied. The manifest is written last: without it a copy is none. Blocks.
    Raises `DirectoryNotEmpty`, `JournalUnavailable`.
    """
    require_empty(target)
    prepare_directory(target)
    try:
        with journal.files_stay:
            marks = journal.checkpoint(target)
            for name in BESIDE:
                if (journal.path / name).is_dir():
                    copy_tree(journal.path / name, target / name, link=True)
        made = Backup(journal.log_id.hex(), time.time_ns(), [mark.number for mark in marks])
        hashes = [mark.hash.hex() for mark in marks]
        _write_manifest(
            target / MANIFEST_NAME, {"format": FORMAT, **made._asdict(), "hashes": hashes}
        )
        sync_directory(target)
    except OSError as error:
        raise classify(error, f"writing the backup {target}") from error
    return made


def restore(source: Path, target: Path) -> Backup:
    """Make `target`, which must be empty or absent, a data directory with what a backup holds.

    It is verified before it takes its place, and begins a new era: what the original wrote after
    the backup is not in it, and who read of that is told so. Blocks.
    Raises `LogMissing` where there is no backup, `LogDamaged`, `DirectoryNotEmpty`.
    """
    made, hashes = _read_manifest(source)
    with staged(target) as stage:
        copy_tree(source / LOG_DIRECTORY, stage / LOG_DIRECTORY)
        for name in BESIDE:
            if (source / name).is_dir():
                copy_tree(source / name, stage / name)
        copy_file(source / WATERMARK_NAME, stage / WATERMARK_NAME)
        journal = RocksJournal(stage)
        try:
            heads = [journal.head(partition) for partition in range(journal.partitions)]
            found = [(head.number, head.hash.hex()) for head in heads]
            if journal.log_id.hex() != made.log_id or found != hashes:
                msg = f"{source} does not hold what its manifest says"
                raise LogDamaged(msg, hint=_HINT, path=str(source))
            require_whole(journal)
            journal.begin_era()
        finally:
            journal.close()
    return made


def _write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    with path.open("x", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def _read_manifest(source: Path) -> tuple[Backup, list[tuple[int, str]]]:
    path = source / MANIFEST_NAME
    try:
        manifest = json.loads(path.read_bytes())
        if manifest["format"] != FORMAT:
            msg = f"the backup in {source} has format {manifest['format']}"
            raise LogMissing(msg, hint="use the version of Goclaw that made it, or a newer one")
        made = Backup(manifest["log_id"], manifest["time_ns"], manifest["ends"])
        return made, list(zip(made.ends, manifest["hashes"], strict=True))
    except FileNotFoundError as error:
        msg = f"there is no whole backup in {source}: {MANIFEST_NAME} is missing"
        raise LogMissing(msg, hint="name the directory that `goclaw backup` wrote") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path} cannot be read: {error}"
        raise LogDamaged(msg, hint=_HINT, path=str(path)) from error
