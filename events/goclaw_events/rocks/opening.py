"""Open a log's database and close it again: run as a process of its own by `probe`.

Usage: python -m goclaw_events.rocks.opening {open|salvage|repair} DIRECTORY
Prints the error as one JSON object and exits 1 where it does not open.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rocksdict import Rdict

from goclaw_events.errors import CodedError
from goclaw_events.rocks.failure import classify
from goclaw_events.rocks.options import database_options
from goclaw_events.rocks.store import RocksStore


def main(how: str, directory: Path) -> int:
    """Open `directory` the careful way, or as a copy to save from, perhaps repaired first."""
    try:
        if how == "repair":
            _repair(directory)
        RocksStore(directory, create=False, salvage=how != "open").close()
    except CodedError as error:
        sys.stdout.write(json.dumps({"code": error.code, "message": error.message}))
        return 1
    return 0


def _repair(directory: Path) -> None:
    try:
        Rdict.repair(str(directory), database_options(create=False))
    except Exception as error:
        raise classify(error, f"repairing {directory}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
