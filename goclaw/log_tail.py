"""The end of the program's own log, without anything that users' data brought into it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BYTES_READ_MAX: Final = 1 << 20
LINES_MAX: Final = 2000
_FLOORS: Final = ("goclaw", "goclaw_actors", "goclaw_events", "goclaw_projections")
_USERS: Final = ("goclaw_actors.executors", "goclaw.agents", "goclaw.demo")
"""Loggers through which agents are heard: their words are users' data."""
_CODE = re.compile(r"\[([a-z][a-z0-9_]{1,60})\]")
_WORDS = re.compile(r"[A-Za-z][a-z]{0,30}(?: [a-z]{1,30}){0,7}(?=[ .,;]|$)")


def redacted_tail(files: Iterable[Path]) -> bytes:
    """Return the last records of some files, the latest last, a JSON object a line.

    A record keeps its time, level, logger, the code of its error, and the words with which its
    text begins; where agents are heard, not even those.
    """
    kept: list[bytes] = []
    for path in files:
        for line in _last_lines(path):
            record = _redacted(line)
            if record is not None:
                kept.append(json.dumps(record).encode() + b"\n")
    return b"".join(kept[-LINES_MAX:])


def _last_lines(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - BYTES_READ_MAX))
        data = file.read(BYTES_READ_MAX)
    lines = data.split(b"\n")
    return lines if size <= BYTES_READ_MAX else lines[1:]


def _redacted(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    logger = str(record.get("logger", ""))
    if logger.partition(".")[0] not in _FLOORS:
        return None
    kept = {key: record.get(key) for key in ("time", "level")} | {"logger": logger}
    text = str(record.get("event", ""))
    code = _CODE.search(text)
    kept["code"] = None if code is None else code[1]
    if not logger.startswith(_USERS):
        words = _WORDS.match(text.partition(":")[0])
        kept["event"] = "" if words is None else words[0]
    return kept
