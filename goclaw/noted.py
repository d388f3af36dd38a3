"""What was noticed last about a data directory, kept beside the program's log files for the doctor.

No fact: losing it loses nothing.
"""

from __future__ import annotations

import json
import os
import time
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final

from goclaw.logs import rfc3339

if TYPE_CHECKING:
    from pathlib import Path

log = getLogger(__name__)
LOG_VERIFIED: Final = "log-verified"
CLOCK_JUMPED: Final = "clock-jumped"


def note(folder: Path, what: str, **found: Any) -> None:
    """Keep what was found now, in place of what was found before; a failure is logged."""
    target = folder / f"{what}.json"
    draft = folder / f".{what}.{os.getpid()}"
    text = json.dumps({"at": rfc3339(time.time_ns()), **found}) + "\n"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        log.warning("%s could not be noted: %s", what, error)


def noted(folder: Path, what: str) -> dict[str, Any] | None:
    """Return what was noted last, with `at`; None: nothing was, or it cannot be read."""
    try:
        found = json.loads((folder / f"{what}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
