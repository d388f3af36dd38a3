"""Ask a disk for space before something is done that cannot be undone without it."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from goclaw_events.rocks.failure import classify

if TYPE_CHECKING:
    from pathlib import Path


def require_space(directory: Path, count: int) -> None:
    """Raise `JournalFull` unless `count` bytes can be had in a directory now; keeps none."""
    try:
        with tempfile.TemporaryFile(dir=directory, prefix=".space-") as file:
            os.posix_fallocate(file.fileno(), 0, count)
    except OSError as error:
        raise classify(error, f"asking {directory} for {count} bytes") from error
