"""Open damaged logs, one a line of stdin, and say what came of it: a process that may be killed.

Each line is a data directory; each answer one JSON object: `code` of the error (or ''), `frames`
(digests by partition), `problems` that the verification found, `seconds`.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from goclaw_events.errors import CodedError
from goclaw_events.rocks import RocksJournal
from goclaw_events.rocks.directory import verify_segments
from goclaw_events.verify import verify
from scripts.damage.base import digest_of


def look(path: Path) -> dict[str, Any]:
    """Open a log as an engine does, and read all of it."""
    start = time.monotonic()
    said: dict[str, Any] = {"code": "", "frames": [], "problems": []}
    journal = None
    try:
        journal = RocksJournal(path)
        said["opened_s"] = time.monotonic() - start
        said["frames"] = [
            [digest_of(data) for data in journal.frames(partition)]
            for partition in range(journal.partitions)
        ]
        report = verify(journal)
        verify_segments(journal, report)
        said["problems"] = [f"{p.code} {p.place}" for p in report.problems]
    except CodedError as error:
        said["code"], said["message"] = error.code, error.message
    finally:
        if journal is not None:
            with suppress(CodedError):
                journal.close()
    said["seconds"] = round(time.monotonic() - start, 3)
    return said


def main() -> None:
    """Answer every line."""
    for line in sys.stdin:
        print(json.dumps(look(Path(line.rstrip("\n")))), flush=True)


if __name__ == "__main__":
    main()
