"""From what RocksDB and the system say to an error of ours: the one place that reads messages."""

from __future__ import annotations

import errno
from typing import Final

from rocksdict import DbClosedError

from goclaw_events.chain import HINT_DAMAGED
from goclaw_events.errors import (
    CodedError,
    EngineRunning,
    JournalBroken,
    JournalFull,
    JournalUnavailable,
    LogDamaged,
    LogMismatch,
)

_FULL: Final = ("No space left on device", "Disk quota exceeded")
_LOCKED: Final = ("lock hold by current process", "While lock file")
_GONE: Final = ("No such file or directory", "file is too short", "Sst file size mismatch")
_HINT_FULL: Final = "free some space; reading goes on, and writing will"
_HINT_BROKEN: Final = "look at the system's log: the disk may be failing"


def classify(error: Exception, doing: str) -> CodedError:
    """Return the typed error for what a RocksDB or file call raised while `doing` something.

    RocksDB's exceptions have no types: its status is the beginning of the text.
    """
    text, said = f"{doing}: {error}", str(error)
    match error:
        case CodedError():
            return error
        case DbClosedError():
            return JournalUnavailable(text)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return JournalFull(text, hint=_HINT_FULL)
        case _:
            return _classify_text(said, text)


def _classify_text(said: str, text: str) -> CodedError:
    if any(part in said for part in _FULL):
        return JournalFull(text, hint=_HINT_FULL)
    if any(part in said for part in _LOCKED):
        return EngineRunning(text, hint="stop the process that holds the directory")
    if said.startswith("Corruption") or any(part in said for part in _GONE):
        return LogDamaged(text, hint=HINT_DAMAGED)
    if said.startswith(("Invalid argument", "Not implemented")):
        return LogMismatch(text, hint="it may be written by another version of Goclaw")
    return JournalBroken(text, hint=_HINT_BROKEN)
