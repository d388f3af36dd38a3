"""Make a data directory that is whole or not there: built aside, moved in as the last step."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from goclaw_events.datalock import LOCK_NAME, prepare_directory
from goclaw_events.errors import DirectoryNotEmpty, LogDamaged
from goclaw_events.rocks.directory import verify_files, verify_segments
from goclaw_events.rocks.failure import classify
from goclaw_events.rocks.stored import LOG_DIRECTORY
from goclaw_events.verify import verify
from goclaw_events.watermark import sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from goclaw_events.rocks.journal import RocksJournal

STAGE_NAME: Final = ".incoming"
_CHUNK_BYTES: Final = 1024 * 1024


def require_empty(path: Path) -> None:
    """Raise `DirectoryNotEmpty` unless a directory is empty or absent."""
    try:
        found = next(path.iterdir(), None) if path.exists() else None
    except OSError as error:
        raise classify(error, f"reading {path}") from error
    if found is not None:
        msg = f"{path} is not empty: it holds {found.name}"
        raise DirectoryNotEmpty(msg, hint="name a new directory", path=str(path))


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Give a directory to build in; what is there at the end moves to `target`, the log last.

    `target` must be empty or absent. After an error, or a crash, it holds no log. Raises
    `DirectoryNotEmpty`.
    """
    require_empty(target)
    existed = target.exists()
    prepare_directory(target)
    stage = target / STAGE_NAME
    try:
        stage.mkdir(mode=0o700)
    except OSError as error:
        raise classify(error, f"creating {stage}") from error
    try:
        yield stage
        (stage / LOCK_NAME).unlink(missing_ok=True)
        names = sorted(path.name for path in stage.iterdir())
        for name in sorted(names, key=LOG_DIRECTORY.__eq__):
            (stage / name).rename(target / name)
        stage.rmdir()
        sync_directory(target)
    except BaseException as error:
        shutil.rmtree(stage, ignore_errors=True)
        if not existed:
            shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, OSError):
            raise classify(error, f"filling {target}") from error
        raise


def require_whole(journal: RocksJournal) -> None:
    """Raise `LogDamaged`, naming the first place, unless everything of a log is as it was written.

    The journal must be at rest.
    """
    report = verify(journal)
    verify_segments(journal, report)
    verify_files(journal.blob_files, report)
    if not report.whole:
        first = report.problems[0]
        msg = f"{report.problems_count} problems, the first at {first.place}: {first.message}"
        raise LogDamaged(msg, hint="take it from another copy", problems=report.problems_count)


def copy_tree(source: Path, target: Path, *, link: bool = False) -> None:
    """Copy files and directories below `source`, each made durable; `link` where that is possible.

    Raises `OSError`.
    """
    target.mkdir(mode=0o700, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.name.startswith("."):
            continue  # begun by a process that died: nothing refers to it
        if path.is_dir():
            copy_tree(path, target / path.name, link=link)
        else:
            copy_file(path, target / path.name, link=link)
    sync_directory(target)


def copy_file(source: Path, target: Path, *, link: bool = False) -> None:
    """Copy a file and make it durable, or link it where that is wanted and possible."""
    if link:
        try:
            target.hardlink_to(source)
        except OSError:
            pass  # another file system, or one without links
        else:
            return
    target.touch(0o600, exist_ok=False)
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, _CHUNK_BYTES)
        writer.flush()
        os.fsync(writer.fileno())
