"""Make a database that opens out of one that does not, beside it; the damaged one stays as it is.

Table files are never changed by RocksDB, so the copy shares them by hard links; the rest is small.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

from goclaw_events.chain import HINT_DAMAGED
from goclaw_events.errors import LogDamaged, LogMismatch
from goclaw_events.rocks.failure import classify
from goclaw_events.rocks.probe import probe
from goclaw_events.rocks.wal import first_unknown

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw_events.errors import CodedError
    from goclaw_events.rocks.probe import How

_LEFT_OUT: Final = ("LOCK", "LOG")


def salvage(directory: Path, target: Path) -> None:
    """Make `target` a database that holds what RocksDB can still read of `directory`.

    First the records before the first that is not whole; if that does not open either, what
    RocksDB's repair finds in the files themselves. What is missing then is for the caller to see.
    Raises `LogDamaged` if nothing opens, `JournalFull`, `JournalBroken`.
    """
    last: CodedError | None = None
    ways: tuple[How, ...] = ("salvage", "repair")
    for how in ways:
        try:
            copy_files(directory, target)
            if how == "repair":
                _forget_manifest(target)
            else:
                _name_newest(target)
            _cut_unknown(target)
        except OSError as error:
            raise classify(error, f"copying {directory}") from error
        try:
            probe(target, how)
        except (LogDamaged, LogMismatch) as error:
            last = error
        else:
            return
    remove(target)
    msg = f"nothing can be read of {directory}: {last.message if last else ''}"
    raise LogDamaged(msg, hint=HINT_DAMAGED)


def remove(path: Path) -> None:
    """Remove a directory if it is there."""
    if path.exists():
        shutil.rmtree(path)


def copy_files(directory: Path, target: Path) -> None:
    """Copy a database that nothing has open, its table files as links; raises `OSError`."""
    remove(target)
    target.mkdir(mode=0o700)
    for path in sorted(directory.iterdir()):
        if not path.is_file() or path.name.startswith(_LEFT_OUT):
            continue
        if path.suffix == ".sst":
            try:
                os.link(path, target / path.name)
            except OSError:
                shutil.copyfile(path, target / path.name)
        else:
            shutil.copyfile(path, target / path.name)


def _name_newest(target: Path) -> None:
    """Let CURRENT name the newest manifest, if it names none that is there."""
    current = target / "CURRENT"
    named = current.read_bytes() if current.exists() else b""
    manifests = sorted(path.name for path in target.glob("MANIFEST-*"))
    if manifests and named not in [f"{name}\n".encode() for name in manifests]:
        current.write_bytes(f"{manifests[-1]}\n".encode())


def _forget_manifest(target: Path) -> None:
    for path in (*target.glob("MANIFEST-*"), target / "CURRENT"):
        path.unlink(missing_ok=True)


def _cut_unknown(target: Path) -> None:
    """Cut every file of records before the first that would make RocksDB read for ever."""
    for path in (*target.glob("*.log"), *target.glob("MANIFEST-*")):
        found = first_unknown(path)
        if found is not None:
            os.truncate(path, found.offset)
