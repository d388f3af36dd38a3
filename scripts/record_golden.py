"""Record the golden logs of this version: exports that every later version must read.

Usage: record_golden.py [NAME]    (NAME: a new directory of tests/golden; by default the version)

What is there is never written again: a log of an older version stays as that version wrote it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from goclaw.cli.version import goclaw_version  # noqa: E402 - the tests stand beside the scripts
from goclaw_events.rocks import RocksJournal  # noqa: E402
from goclaw_events.rocks.intake import import_log  # noqa: E402
from tests.golden.forms import kept_forms  # noqa: E402
from tests.golden.outcomes import outcomes  # noqa: E402
from tests.golden.play import record  # noqa: E402

LOGS: Final = {"unfinished-1": (1, True), "finished-4": (4, False)}
"""By name: how many partitions, and whether runs are left under way."""


def main(name: str) -> int:
    """Write each log, what it comes to, and how its actors are kept."""
    directory = ROOT / "tests" / "golden" / name
    try:
        directory.mkdir()
    except FileExistsError:
        print(f"tests/golden/{name} is there and stays as it is; give another name")
        return 1
    for log, (partitions, unfinished) in LOGS.items():
        file = directory / f"{log}.export"
        file.write_bytes(record(partitions, unfinished=unfinished))
        with tempfile.TemporaryDirectory() as there:
            import_log(file, Path(there))
            journal = RocksJournal(Path(there))
            found = outcomes(journal)
            kept = kept_forms(journal)
            journal.close()
        text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
        file.with_suffix(".json").write_text(text, encoding="utf-8")
        file.with_suffix(".forms").write_bytes(kept)
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size} bytes, {len(found)} streams")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else goclaw_version()))
