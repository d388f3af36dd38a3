"""Let another process open a database that may be damaged, and end it if that never ends.

RocksDB can read a damaged file for ever without letting go of the interpreter: no thread of the
same process could stop it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final, Literal

from goclaw_events.chain import HINT_DAMAGED
from goclaw_events.errors import EngineRunning, JournalBroken, JournalFull, LogDamaged, LogMismatch
from goclaw_events.rocks.wal import wal_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from goclaw_events.errors import CodedError

    How = Literal["open", "salvage", "repair"]

DEADLINE_S: Final = 5.0
BYTES_PER_S: Final = 16 * 1024 * 1024
"""A slow disk and RocksDB replay at least so much of a write-ahead log in a second."""
_ERRORS: Final[dict[str, type[CodedError]]] = {
    kind.code: kind for kind in (EngineRunning, JournalFull, JournalBroken, LogMismatch)
}


def probe(directory: Path, how: How = "open", deadline_s: float | None = None) -> None:
    """Open and close `directory` in a process of its own; raises what that raised.

    `how`: as the engine does; as a copy of which a part may be lost; or, a copy too, after
    RocksDB's own repair. Raises `LogDamaged` if it does not end in time, or dies.
    """
    limit_s = deadline_s or DEADLINE_S + wal_bytes(directory) / BYTES_PER_S
    command = [sys.executable, "-P", "-m", "goclaw_events.rocks.opening", how, str(directory)]
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, and a path that is one argument
            command, capture_output=True, timeout=limit_s, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        msg = f"opening {directory} did not end within {limit_s:.0f} s"
        raise LogDamaged(msg, hint=HINT_DAMAGED) from error
    if done.returncode == 0:
        return
    try:
        said = json.loads(done.stdout)
    except ValueError:
        code = -done.returncode
        died = signal.Signals(code).name if code > 0 else f"exit code {done.returncode}"
        msg = f"opening {directory} ended with {died}"
        raise LogDamaged(msg, hint=HINT_DAMAGED) from None
    kind = _ERRORS.get(said["code"], LogDamaged)
    raise kind(said["message"], hint=HINT_DAMAGED)
