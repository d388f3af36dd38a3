"""`goclaw engine`: start an engine that other programs talk to, ask how it is, stop it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from goclaw.cli.options import (
    allow_exec_option,
    json_option,
    module_option,
    process_option,
    settings_options,
    trust_option,
)
from goclaw.cli.output import emit, print_table, printable, say
from goclaw.errors import EXIT_NOT_FOUND, EXIT_OK, EngineNotRunning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from goclaw.config import Settings

STOP_S: Final = 15.0
CHECKED_RUNS_MAX: Final = 1_000


@click.group()
def engine() -> None:
    """Start an engine that other programs talk to; see how it is; stop it."""


@engine.command()
@click.option("--detach", is_flag=True, help="Return once it is ready, and leave it running.")
@click.option(
    "--ready-fd", type=click.IntRange(3), metavar="N",
    help="Write `ready` to this file descriptor, and close it, once others can connect.",
)  # fmt: skip
@module_option
@trust_option
@settings_options
@allow_exec_option
@process_option
@json_option
def start(
    settings: Settings,
    detach: bool,
    ready_fd: int | None,
    modules: Sequence[str],
    trusted: Path | None,
    as_json: bool,
) -> int:
    """Run an engine on the data directory, and go on with what is unfinished in it.

    It listens on engine.sock there, until SIGINT, SIGTERM or `goclaw engine stop`; a second
    signal ends it at once. Exits 0 when it was stopped, 5 if another one runs. Where agents or
    secrets of what is unfinished are missing (2, 3), or its programs are not allowed (2), it does
    not start: give them, or cancel the run.
    """
    if detach:
        _start_detached(settings, modules, trusted, as_json=as_json)
        return EXIT_OK
    from goclaw.agents import REGISTRY
    from goclaw.logs import configure_logs
    from goclaw.modules import load_modules
    from goclaw.serving import serve

    load_modules([*settings.agents.modules, *modules], trusted)
    _require_able(settings, REGISTRY)
    close_logs = configure_logs(settings.log)
    try:
        serve(settings, lambda status: _ready(status, ready_fd))
    finally:
        close_logs()
    return EXIT_OK


def _require_able(settings: Settings, registry: Any) -> None:
    """Refuse to start where what is unfinished would fail for want of what it needs."""
    from goclaw.datadir import DataDirectory
    from goclaw.unfinished import require_able, unfinished_runs, unfinished_sagas

    directory = DataDirectory(settings.data_dir)
    if not directory.exists:
        return
    journal = directory.open_journal(passing=True)
    try:
        runs = unfinished_runs(journal, CHECKED_RUNS_MAX)
        runs += unfinished_sagas(journal, CHECKED_RUNS_MAX)
    finally:
        journal.close()
    require_able([run.as_plain() for run in runs], settings, registry)


def _ready(status: Mapping[str, Any], ready_fd: int | None) -> None:
    from goclaw.serving import READY

    say(f"engine ready: process {status['pid']}, data directory {status['data_dir']}")
    if ready_fd is not None:
        os.write(ready_fd, READY)
        os.close(ready_fd)


def _start_detached(
    settings: Settings, modules: Sequence[str], trusted: Path | None, *, as_json: bool
) -> None:
    from goclaw.asking import ask
    from goclaw.datadir import DataDirectory
    from goclaw.serving import start_detached

    log_file = DataDirectory(settings.data_dir).logs / "engine.log"
    words = ["engine", "start", "--json", "--data-dir", str(settings.data_dir)]
    given = click.get_current_context().params
    words += [] if given.get("config") is None else ["--config", str(given["config"])]
    words += ["--allow-exec"] if given.get("allow_exec") else []
    words += ["--process"] if given.get("process") else []
    words += ["--log-level", settings.log.level]
    words += [word for module in modules for word in ("--module", module)]
    words += [] if trusted is None else ["--trust-dir", str(trusted)]
    start_detached(words, log_file)
    status = ask(settings, "engine.status")
    if as_json:
        emit({**status, "running": True, "log_file": str(log_file)})
    else:
        say(f"engine ready: process {status['pid']}, data directory {status['data_dir']}")
        say(f"  its log: {log_file}")


@engine.command()
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0, min_open=True), default=STOP_S,
    metavar="SECONDS", show_default=True, help="Wait so long for its end.",
)  # fmt: skip
@settings_options
@json_option
def stop(settings: Settings, timeout_s: float, as_json: bool) -> None:
    """Stop the engine, and wait for its end. What runs is gone on with at the next start.

    From now on submissions are refused with `stopping`. Exits 5 if none runs, 4 if it takes too
    long.
    """
    from goclaw.serving import wait_for_exit
    from goclaw.wire.sync_link import SyncLink

    with SyncLink(settings.data_dir) as link:
        status = link.ask("engine.stop", {})
    wait_for_exit(status["pid"], timeout_s)
    if as_json:
        emit({"pid": status["pid"], "running": False})
    else:
        say(f"the engine in process {status['pid']} has stopped")


@engine.command()
@settings_options
@json_option
def status(settings: Settings, as_json: bool) -> int:
    """Say how the engine is. Exits 0 if one runs, 3 if none does."""
    from goclaw.wire.sync_link import SyncLink

    try:
        with SyncLink(settings.data_dir) as link:
            found = link.ask("engine.status", {})
    except EngineNotRunning as error:
        if as_json:
            emit({"running": False})
        else:
            say(f"{error.message}\n  hint: {error.hint}")
        return EXIT_NOT_FOUND
    if as_json:
        emit({**found, "running": True})
    else:
        print_table(("what", "is"), [(key, _text(value)) for key, value in found.items()])
    return EXIT_OK


@engine.command("log-level")
@click.argument("level", type=click.Choice(["debug", "info", "warning", "error"]))
@click.option("--logger", default="", metavar="NAME", help="Only for this logger.")
@settings_options
@json_option
def log_level(settings: Settings, level: str, logger: str, as_json: bool) -> None:
    """Change what the engine logs, at once and until it stops."""
    from goclaw.asking import ask

    found = ask(settings, "engine.log_level", level=level, logger=logger)
    if as_json:
        emit(found)
    else:
        rows = [(name or "(all)", chosen) for name, chosen in found["levels"].items()]
        print_table(("logger", "level"), rows)


def _text(value: Any) -> str:
    return printable(" ".join(value) if isinstance(value, list) else str(value))
