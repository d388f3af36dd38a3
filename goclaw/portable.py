"""Exports as files: whole or not there."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import IO, TYPE_CHECKING

from goclaw.cli.version import goclaw_version
from goclaw.errors import RunNotFound, UsageInvalid
from goclaw_events.errors import LogMissing
from goclaw_events.ids import check_id
from goclaw_events.portable import export_log, export_run

if TYPE_CHECKING:
    from goclaw_events.journal import Journal
    from goclaw_events.portable import Exported


def export_to(
    journal: Journal, out: Path | IO[bytes], run_id: str = "", *, output: bool = True
) -> Exported:
    """Write a log, or with `run_id` one run of it, into a file that may not be there yet.

    Without `output` what tasks emitted is left out.

    A file gets its name only when it is whole and on the disk. Raises `RunNotFound`,
    `UsageInvalid` where the file cannot be written, `LogDamaged`.
    """
    if not isinstance(out, Path):
        return _export(journal, out, run_id, output=output)
    part = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        with part.open("xb") as file:
            found = _export(journal, file, run_id, output=output)
            file.flush()
            os.fsync(file.fileno())
        part.rename(out)
    except OSError as error:
        msg = f"{out} cannot be written: {error.strerror or error}"
        raise UsageInvalid(msg, hint="choose another file with -o") from error
    finally:
        part.unlink(missing_ok=True)
    return found


def _export(journal: Journal, file: IO[bytes], run_id: str, *, output: bool) -> Exported:
    if not run_id:
        return export_log(journal, file, goclaw_version(), output=output)
    try:
        return export_run(
            journal, file, check_id(run_id, "run id"), goclaw_version(), output=output
        )
    except LogMissing as error:
        raise RunNotFound(error.message, hint=error.hint, run_id=run_id) from error
