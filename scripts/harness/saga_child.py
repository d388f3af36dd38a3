"""The child of the saga harness: an engine that is given sagas until it is killed."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from goclaw.config import EngineSettings, ExecutorSettings, SagaSettings, Settings
from goclaw.engine import Engine
from goclaw_actors.executors import sleeping
from scripts.harness.failpoint import arm
from scripts.harness.journeys import journey
from scripts.harness.ledger import Ledger
from scripts.harness.saga_workers import FOREVER_S, journey_agents

if TYPE_CHECKING:
    from scripts.harness.journeys import Journey
    from scripts.harness.nursery import Talk

CONCURRENT_MAX: Final = 5
PATIENCE_S: Final = 0.3
"""After so long at most a person calls a saga back that is to be."""


def play(request: dict[str, Any], talk: Talk) -> None:
    """Open the engine on `data` and see the sagas `submit` and `follow` (numbers) to their end.

    Says `open`; `ack` with the number and whether it was known; `end` with number and status;
    `done` when all have ended. Then waits for `stop`. `kill_at` as in the harness of engines.
    """
    arm(request["kill_at"])
    sleeping.SLEEP_HELD_S = 2 * FOREVER_S  # type: ignore[misc]  # who hangs keeps its slot
    home = Path(request["home"])
    settings = Settings(
        partitions=request["partitions"],
        engine=EngineSettings(lost_max=100_000, **request["engine"]),
        executors=ExecutorSettings(stop_grace_s=0.05, abandon_grace_s=30.0),
        sagas=SagaSettings(concurrent_max=CONCURRENT_MAX),
    )
    registry = journey_agents(Ledger(home / "ledger", request["boot"]))

    async def run() -> None:
        async with Engine(home / "data", settings=settings, agents=registry) as engine:
            talk.say("open")
            rng = random.Random(f"{request['seed']}/{request['boot']}")  # noqa: S311
            made = [(journey(request["seed"], n), True) for n in request["submit"]]
            made += [(journey(request["seed"], n), False) for n in request["follow"]]
            await asyncio.gather(
                *(_see_to(engine, one, talk, rng.uniform(0, 0.1), new=new) for one, new in made)
            )
            talk.say("done")
            await asyncio.to_thread(talk.hear)

    asyncio.run(run())
    talk.say("closed")


async def _see_to(engine: Engine, made: Journey, talk: Talk, pause_s: float, *, new: bool) -> None:
    """Begin a saga, if it is new, and be the person who looks after it until it is over."""
    number = int(made.saga_id[1:])
    if new:
        await asyncio.sleep(pause_s)
        begun = await engine.submit_saga(made.saga, saga_id=made.saga_id)
        talk.say("ack", number, begun.repeated)
    caller = asyncio.create_task(_call_back(engine, made))
    while True:
        ended = await engine.saga_result(made.saga_id)
        if ended.status == "compensation_failed":
            await engine.sagas.retry(made.saga_id)
        elif ended.status == "awaiting_compensation":
            await engine.sagas.compensate(made.saga_id, reason="yes")
        else:
            break
    await caller
    talk.say("end", number, ended.status)


async def _call_back(engine: Engine, made: Journey) -> None:
    if made.fate == "recalled":
        await asyncio.sleep(PATIENCE_S)
        await engine.sagas.compensate(made.saga_id, reason="changed my mind")
