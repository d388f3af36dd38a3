"""An engine that is there for other programs: from its start until somebody asks it to stop."""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final

from goclaw.engine import Engine
from goclaw.errors import EXIT_FAILED, GoclawError, TimedOut
from goclaw.interrupts import Interrupts
from goclaw.results import EngineDied
from goclaw.wire.errors import error_from
from goclaw_events.datalock import prepare_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from goclaw.config import Settings

log = getLogger(__name__)
STOP_MARGIN_S: Final = 5.0
"""An engine that has not stopped so long after the grace of its agents (10 s in all, unless set
otherwise) ends anyway: what was acknowledged is in the log."""
READY: Final = b"ready\n"
LOG_TAIL_BYTES: Final = 64 * 1024


class EngineNotStarted(GoclawError):
    """The process that was to run the engine ended; its log file says why."""

    code = "engine_not_started"


def serve(settings: Settings, ready: Callable[[dict[str, Any]], None]) -> None:
    """Run an engine until SIGINT, SIGTERM or `engine.stop`; a second signal ends it at once.

    `ready` is told how the engine is once others can talk to it. Raises what opening an engine
    raises, and `EngineDied`. Ends the process if stopping takes too long.
    """
    asyncio.run(_serve(settings, ready))


async def _serve(settings: Settings, ready: Callable[[dict[str, Any]], None]) -> None:
    within_s = settings.executors.stop_grace_s + STOP_MARGIN_S
    watchdog = threading.Timer(within_s, _give_up, (within_s,))
    watchdog.daemon = True

    def stopping() -> None:
        log.info("the engine stops", extra={"action": "engine_stopping"})
        watchdog.start()

    with Interrupts(stopping, lambda: None) as interrupts:
        engine = Engine(settings=settings, on_stop=interrupts.interrupt)
        async with engine:
            status = engine.status()
            log.info(
                "the engine is ready",
                extra={"action": "engine_ready", "pid": status["pid"], "log": status["log"]},
            )
            ready(status)
            await interrupts.first.wait()
            failed = engine.state == "failed"
    watchdog.cancel()
    if failed:
        raise EngineDied("the engine stopped by itself", hint="see its log, then start it again")
    log.info("the engine has stopped", extra={"action": "engine_stopped"})


def _give_up(within_s: float) -> None:
    sys.stderr.write(f"the engine did not stop within {within_s:g} s, and is ended\n")
    sys.stderr.flush()
    os._exit(EXIT_FAILED)


def start_detached(words: Sequence[str], log_file: Path) -> int:
    """Start `goclaw WORDS`, which is told `--ready-fd`, in a session of its own.

    Returns its process id once it is ready. What it writes goes to `log_file`. Raises the error
    that it ended with, or `EngineNotStarted`.
    """
    prepare_directory(log_file.parent.parent)
    log_file.parent.mkdir(mode=0o700, exist_ok=True)
    hears, tells = os.pipe()
    command = [sys.executable, "-m", "goclaw", *words, "--ready-fd", str(tells)]
    try:
        descriptor = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as out:
            began = out.tell()
            child = subprocess.Popen(  # noqa: S603 - our own program
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=[tells],
                start_new_session=True,
            )
        os.close(tells)
        tells = -1
        if os.read(hears, len(READY)) == READY:
            child.returncode = 0  # it is not ours to wait for any more
            return child.pid
    finally:
        os.close(hears)
        if tells >= 0:
            os.close(tells)
    child.wait()
    raise _why(log_file, began, child.returncode)


def _why(log_file: Path, began: int, code: int) -> Exception:
    """Return the error that a child reported last, on a line of JSON."""
    with log_file.open("rb") as file:
        file.seek(max(began, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
        lines = file.read().splitlines()
    for line in reversed(lines):
        with suppress(ValueError, TypeError, KeyError):
            return error_from(json.loads(line)["error"])
    msg = f"the engine did not start: its process ended with {code}"
    return EngineNotStarted(msg, hint=f"see {log_file}", exit_code=code)


def wait_for_exit(pid: int, timeout_s: float) -> None:
    """Return once a process has ended; raises `TimedOut`."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (OSError, AttributeError):
        _poll_for_exit(pid, timeout_s)
        return
    try:
        if not select.select([descriptor], [], [], timeout_s)[0]:
            raise _still_there(pid, timeout_s)
    finally:
        os.close(descriptor)


def _poll_for_exit(pid: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise _still_there(pid, timeout_s)


def _still_there(pid: int, timeout_s: float) -> TimedOut:
    return TimedOut(f"process {pid} did not end within {timeout_s} s", hint=f"kill {pid}")
