"""One way to ask: of the engine that runs on a data directory, or of the directory without one."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from goclaw.datadir import PAUSE_S, DataDirectory
from goclaw.errors import EngineNotRunning
from goclaw.wire.sync_link import SyncLink
from goclaw_events.errors import EngineRunning

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from pathlib import Path

    from goclaw.config import Settings

STARTING_S: Final = 1.0
"""Who holds the directory without listening may be about to: a starting engine."""
COPIES: Final = "copies"
_MAKES_A_LOG: Final = frozenset({"workflows.register", "schedules.create"})


def ask(settings: Settings, name: str, /, **params: Any) -> Any:
    """Return the answer of an operation: the engine's, or where none runs the directory's own.

    Without an engine the directory is opened, asked and closed; an operation that changes
    something opens it as an engine that begins nothing. Raises what the operation raises,
    `EngineNotRunning` where it needs a working engine, `EngineRunning` where the directory is
    held by a program that does not listen, `DirectoryBusy` where that is another command.
    """
    deadline = time.monotonic() + STARTING_S
    while True:
        try:
            with SyncLink(settings.data_dir) as link:
                return link.ask(name, params)
        except EngineNotRunning as error:
            missing = error
        try:
            return _ask_directory(settings, name, params, missing)
        except EngineRunning:
            if time.monotonic() > deadline:
                raise
        time.sleep(PAUSE_S)


def _ask_directory(
    settings: Settings, name: str, params: Mapping[str, Any], missing: EngineNotRunning
) -> Any:
    from goclaw.operations.table import operation_of

    operation = operation_of(name)
    if operation.kind == "read":
        from goclaw.operations.ground import opened_ground

        asked = operation.accept(_as_sent(params))
        with opened_ground(settings, log_only=operation.log_only) as ground:
            return operation.handler(ground, asked)
    if operation.kind == "keep":
        from goclaw.upkeep import Upkeep

        asked = operation.accept(params)
        with Upkeep(settings) as upkeep:
            return operation.handler(upkeep.house, asked)
    if not operation.idle:
        raise missing
    if name not in _MAKES_A_LOG:
        DataDirectory(settings.data_dir).require()
    return _ask_idle(settings, name, params)


def _as_sent(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as a socket would carry them; raises `ValueNotStorable` as it would."""
    from goclaw_events.value import pack, unpack

    sent: dict[str, Any] = unpack(pack(params))
    return sent


def _ask_idle(settings: Settings, name: str, params: Mapping[str, Any]) -> Any:
    import asyncio

    from goclaw.engine import Engine
    from goclaw.operations.desk import EngineDesk

    async def main() -> Any:
        async with Engine(settings=settings, idle=True) as engine:
            return await EngineDesk(engine).ask(name, params)

    return asyncio.run(main())


def follow(settings: Settings, name: str, /, **params: Any) -> Generator[Any, None, None]:
    """Yield the parts of an operation that goes on; without an engine, until the log ends."""
    try:
        link = SyncLink(settings.data_dir)
    except EngineNotRunning:
        yield from _follow_directory(settings, name, params)
        return
    with link:
        yield from link.follow(name, params)


def _follow_directory(settings: Settings, name: str, params: Mapping[str, Any]) -> Iterator[Any]:
    import asyncio

    from goclaw.operations.ground import opened_ground
    from goclaw.operations.table import operation_of

    operation = operation_of(name)
    asked = operation.accept(_as_sent(params))
    with opened_ground(settings, log_only=True) as ground, asyncio.Runner() as runner:
        parts = operation.handler(ground, asked)
        while (part := runner.run(anext(parts, None))) is not None:
            yield part


def engine_runs(settings: Settings) -> bool:
    """Tell whether an engine listens on the data directory at this moment."""
    try:
        SyncLink(settings.data_dir).close()
    except EngineNotRunning:
        return False
    return True


@contextmanager
def readable(settings: Settings) -> Iterator[DataDirectory]:
    """Give a data directory that nobody writes: the one itself, or a copy of it as it is now.

    A copy links the files that never change, costs a flush, and is removed afterwards.
    """
    try:
        with SyncLink(settings.data_dir) as link:
            target = _copy_name(settings.data_dir)
            try:
                link.ask("engine.backup", {"directory": str(target.absolute())})
                yield DataDirectory(target)
            finally:
                shutil.rmtree(target, ignore_errors=True)
                with suppress(OSError):
                    target.parent.rmdir()
            return
    except EngineNotRunning:
        directory = DataDirectory(settings.data_dir)
    yield directory


def _copy_name(data_dir: Path) -> Path:
    """Return a name for a copy, and remove copies whose makers have died."""
    copies = data_dir / COPIES
    copies.mkdir(mode=0o700, exist_ok=True)
    for left in copies.iterdir():
        maker = left.name.partition("-")[0]
        if maker.isdigit() and not _lives(int(maker)):
            shutil.rmtree(left, ignore_errors=True)
    return copies / f"{os.getpid()}-{time.monotonic_ns()}"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
