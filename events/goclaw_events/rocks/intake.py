"""Make a data directory out of a portable file."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from goclaw_events.eras import era_rows
from goclaw_events.errors import ExportInvalid, LogDamaged
from goclaw_events.portable import check_portable, digest_of, import_portable
from goclaw_events.portable.importing import keeps_frames
from goclaw_events.reading import era_key
from goclaw_events.rocks.journal import RocksJournal
from goclaw_events.rocks.staging import require_whole, staged
from goclaw_events.rocks.store import RocksStore
from goclaw_events.rocks.stored import LOG_DIRECTORY
from goclaw_events.tables import Row, u64
from goclaw_events.tips import meta_rows

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw_events.portable import Manifest


def import_log(source: Path, target: Path, partitions: int | None = None) -> Manifest:
    """Make `target`, which must be empty or absent, a data directory with what `source` holds.

    `partitions`: None for as many as the log had (1 for a run). With as many it is the same log,
    frame by frame, in a new era; otherwise another log with the same facts, see
    `import_portable`. The file is compared before anything is written, and the log verified
    before it takes its place. Blocks.
    Raises `ExportInvalid`, `LogDamaged`, `LogUnfinished`, `LogMismatch`, `DirectoryNotEmpty`.
    """
    try:
        with source.open("rb") as file:
            manifest = check_portable(file)
            count = partitions or (manifest.partitions if manifest.run is None else 1)
            with staged(target) as stage:
                copied = keeps_frames(manifest, count)
                _create(stage, manifest, count, copied=copied)
                journal = RocksJournal(stage)
                try:
                    file.seek(0)
                    import_portable(file, manifest, journal, lambda rows: _write(journal, rows))
                    _compare(journal, manifest)
                    if copied:
                        journal.begin_era()
                finally:
                    journal.close()
    except OSError as error:
        msg = f"{source} cannot be read: {error.strerror or error}"
        raise ExportInvalid(msg, hint="name a file that `goclaw log export` wrote") from error
    return manifest


def _create(stage: Path, manifest: Manifest, partitions: int, *, copied: bool) -> None:
    log_id = manifest.log_id if copied else secrets.token_bytes(16)
    rows = meta_rows(log_id, partitions, time.time_ns())
    if copied:
        for (partition, era), first in manifest.eras.items():
            rows.extend(era_rows(partition, era, first))
        rows.extend(
            Row("meta", era_key(partition), u64(era))
            for partition, (era, _, _) in enumerate(manifest.ends)
        )
    directory = stage / LOG_DIRECTORY
    directory.mkdir(mode=0o700)
    store = RocksStore(directory, create=True)
    try:
        store.write(rows)
        store.flush()
    finally:
        store.close()


def _write(journal: RocksJournal, rows: list[Row]) -> None:
    journal.rewrite(lambda store: store.write(rows), durable=True)


def _compare(journal: RocksJournal, manifest: Manifest) -> None:
    require_whole(journal)
    if digest_of(journal) != manifest.digest:
        msg = "what was imported is not what the export holds"
        raise LogDamaged(msg, hint="this is a fault in Goclaw; the export is whole")
