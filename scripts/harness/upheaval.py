"""What an engine is asked besides running programs: to cancel runs, to be copied, to forget."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final

from goclaw.results import CommandRefused
from scripts.harness.programs import program

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw.engine import Engine
    from scripts.harness.nursery import Talk

NO_RUN: Final = ("run_not_found", "run_finished")


def watch(engine: Engine, step: Callable[[str], None]) -> None:
    """Have `step` told of every step of archiving and expiry."""
    retention = engine.parts.retention
    assert retention is not None, "an engine on a directory archives"
    retention.archiver.step = step
    retention.expirer.step = step


async def upheaval(engine: Engine, request: dict[str, Any], talk: Talk) -> None:
    """Cancel the runs `cancel` (numbers), copy the directory to `backup`, each after a while.

    Says `backing` before a copy is begun, and `backed` with its path once it is whole.
    """
    rng = random.Random(f"{request['seed']}/upheaval/{request['boot']}")  # noqa: S311
    works = [_cancel(engine, request["seed"], n, rng.uniform(0, 0.4)) for n in request["cancel"]]
    if request["backup"]:
        works.append(_back_up(engine, request["backup"], rng.uniform(0, 0.2), talk))
    await asyncio.gather(*works)


async def _cancel(engine: Engine, seed: str, number: int, pause_s: float) -> None:
    await asyncio.sleep(pause_s)
    try:
        await engine.cancel(program(seed, number).run_id, command_id=f"cancel-{number}")
    except CommandRefused as refused:
        if refused.code not in NO_RUN:
            raise


async def _back_up(engine: Engine, path: str, pause_s: float, talk: Talk) -> None:
    await asyncio.sleep(pause_s)
    talk.say("backing")
    await engine.backup(path)
    talk.say("backed", path)
