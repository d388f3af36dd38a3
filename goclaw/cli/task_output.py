"""`goclaw runs tail --output`: what a task emits."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from goclaw.cli.output import emit, json_line, printable, say
from goclaw.errors import EXIT_FAILED, EXIT_OK, EXIT_UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from goclaw.config import Settings


def print_output(
    settings: Settings,
    run_id: str,
    task: str | None,
    after: str | None,
    *,
    ndjson: bool,
    as_json: bool,
) -> int:
    """Print the chunks of a task as they come, until it ends; return the exit code."""
    from goclaw.asking import follow

    chunks, cursor, ended = 0, after, ""
    with closing(follow(settings, "output", run_id=run_id, task=task, after=after)) as parts:
        for part in parts:
            cursor, ended = part["cursor"], part["ended"] or ""
            for chunk in part["chunks"]:
                chunks += 1
                if ndjson or not as_json:
                    _write(chunk, ndjson=ndjson)
    if as_json:
        emit({"run_id": run_id, "chunks": chunks, "cursor": cursor, "ended": ended or None})
    if not ended:
        say(f"the task has not ended, and no engine runs; go on with --after {cursor or 0}")
        return EXIT_UNAVAILABLE
    return EXIT_OK if ended in ("completed", "skipped") else EXIT_FAILED


def _write(chunk: Mapping[str, Any], *, ndjson: bool) -> None:
    """Print a chunk: tokens of a text make up the text again."""
    if ndjson:
        sys.stdout.write(json_line(chunk) + "\n")
    elif isinstance(chunk["value"], str):
        sys.stdout.write(printable(chunk["value"]))
    else:
        sys.stdout.write(json_line(chunk["value"]) + "\n")
    sys.stdout.flush()
