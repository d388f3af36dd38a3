"""The engine itself: how it is, stop it, copy it, let it say more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from goclaw.errors import UsageInvalid
from goclaw.operations.operation import NoParams, Params, act, read
from goclaw_events.rocks import RocksJournal
from goclaw_events.rocks.backup import back_up

if TYPE_CHECKING:
    from goclaw.engine import Engine
    from goclaw.operations.ground import Ground


class LogLevel(Params):
    """What is written from now on."""

    level: Literal["debug", "info", "warning", "error"]
    """The least severe level that is written."""
    logger: str = ""
    """Only for this logger and those below it ('': for all)."""


class BackUp(Params):
    """Where to."""

    directory: str
    """An absolute path, of a directory that is empty or absent."""


async def _status(engine: Engine, _: NoParams) -> dict[str, Any]:
    return engine.status()


async def _stop(engine: Engine, _: NoParams) -> dict[str, Any]:
    engine.ask_to_stop()
    return engine.status()


async def _log_level(_: Engine, asked: LogLevel) -> dict[str, Any]:
    from goclaw.logs import set_level

    return {"levels": set_level(asked.level, asked.logger)}


def _back_up(ground: Ground, asked: BackUp) -> dict[str, Any]:
    if not isinstance(ground.journal, RocksJournal):
        raise UsageInvalid("a log in memory cannot be copied", hint="open it on a directory")
    directory = Path(asked.directory)
    if not directory.is_absolute():
        raise UsageInvalid(f"{directory} is not an absolute path", hint="name it from the root")
    return back_up(ground.journal, directory)._asdict()


OPERATIONS: Final = (
    act("engine.status", NoParams, _status, "Say how the engine is.",
        "`{pid, version, state, data_dir, log, started_at, uptime_s, positions, behind, agents, "
        "attempts_waiting, folding_pid, connections}`"),
    act("engine.stop", NoParams, _stop, "Ask the engine to stop; answers before it does.",
        "as `engine.status`", local=True),
    act("engine.log_level", LogLevel, _log_level, "Change what is logged, at once.",
        "`{levels: {logger: level}}`"),
    read("engine.backup", BackUp, _back_up, "Copy the log, as it is now, into a directory.",
         "`{log_id, time_ns, ends}`", local=True, log_only=True),
)  # fmt: skip
