"""The pipeline: what it may reach and run, and a library for it to ask.

Everything that it is allowed is allowed for this one command, and no wider than it needs.
"""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from goclaw.asking import ask, engine_runs
from goclaw.demo.library import DOCUMENTS, Library
from goclaw.demo.service import allowed
from goclaw.foreground import Request
from goclaw.forms import document_of
from goclaw.secrets import VARIABLE_PREFIX
from goclaw.submission import Preparer
from goclaw_events.errors import EngineRunning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from goclaw.config import Settings

PROGRAMS: Final = ("head", "sort", "tr", "uniq", "wc")
FILE: Final = DOCUMENTS / "words.yaml"
CHILD: Final = DOCUMENTS / "document.yaml"
SECRET: Final = "LIBRARY_KEY"  # noqa: S105 - its name
NOW: Final = {"min_position": "now"}
PORT: Final = "library.port"
"""The label that says where the library of a run was, so that an interrupted run finds it again."""


class Pipeline(NamedTuple):
    """What to run, and the settings it needs; `interrupted` is the run to go on with, or ''."""

    settings: Settings
    request: Request
    interrupted: str


@contextmanager
def open_pipeline(settings: Settings) -> Iterator[Pipeline]:
    """Start a library, and give the run that asks it; the library stays while the block lasts.

    A run of it that was interrupted is gone on with, and its library opened where it was. Raises
    `EngineRunning` if an engine runs on the data directory: that one has settings of its own.
    """
    if engine_runs(settings):
        raise EngineRunning(
            f"an engine runs on {settings.data_dir}, and what it may run and reach is its own",
            hint="give another directory: --data-dir DIR",
        )
    ask(settings, "workflows.register", definition=document_of(CHILD))
    prepared = Preparer().prepare(FILE)
    with _secret(secrets.token_urlsafe(18)) as key:
        interrupted, library = _library(settings, prepared.plan.name, key)
        with library:
            port = {PORT: str(library.port)}
            request = Request(FILE, prepared, {"library": library.url}, labels=port)
            yield Pipeline(allowed(settings, library.port, PROGRAMS), request, interrupted)


def _library(settings: Settings, name: str, key: str) -> tuple[str, Library]:
    """Return the run that was interrupted ('': none), and a library where it looks for one."""
    for run in ask(settings, "runs.list", name=name, status="running", limit=1, **NOW)["runs"]:
        port = run["labels"].get(PORT, "")
        if port.isdigit():
            with suppress(
                OSError, OverflowError
            ):  # another program has the port: that run fails, and says why
                return run["run_id"], Library(key, int(port))
    return "", Library(key)


@contextmanager
def _secret(value: str) -> Iterator[str]:
    variable = f"{VARIABLE_PREFIX}{SECRET}"
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield value
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
