"""From what the system says of a file of the archive to an error of ours."""

from __future__ import annotations

import errno

from goclaw_events.errors import JournalBroken, JournalFull


def disk_error(error: OSError, doing: str) -> JournalFull | JournalBroken:
    """Return the typed error for what a file call raised while `doing` something."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some space; nothing was changed"
        return JournalFull(f"{doing}: {error}", hint=hint)
    return JournalBroken(f"{doing}: {error}", hint="look at the system's log")
