"""The child of the harness of what waits: an engine with errands and schedules, until it dies."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goclaw.config import EngineSettings, ExecutorSettings, ProcessSettings, Settings
from goclaw.engine import Engine
from goclaw_actors.executors import sleeping
from goclaw_actors.executors.agents import AgentOptions
from scripts.harness.deadly import deadly
from scripts.harness.errand_parts import chore, errand
from scripts.harness.failpoint import arm
from scripts.harness.ledger import Ledger
from scripts.harness.parking import Parking
from scripts.harness.people import People
from scripts.harness.programs import SLEEP_S
from scripts.harness.timekeeper import Timekeeper, all_ended
from scripts.harness.timetables import NAMES
from scripts.harness.workers import agents_on

if TYPE_CHECKING:
    from scripts.harness.nursery import Talk


def play(request: dict[str, Any], talk: Talk) -> None:
    """Open the engine on `data` and see the errands `submit` and `follow` (numbers) to their end.

    Beside them its schedules fire, and are changed from operation `next` on. Says `open`; `ack`
    with the number of an errand and whether it was known; `taken` (whether it had been before),
    or `refused`, with the id of a word; `decided` with run, task and generation of a letter;
    `done_to` with schedule, number, kind and answer of an operation; `end` with number and status;
    `struck` with the number of what a bug parked (from `struck` on), `settled` with its letter and
    how; `done` when all have ended, with `finish` also what the schedules began. Then waits for
    `stop`. `kill_at` as in the harness of engines.
    """
    arm(request["kill_at"])
    sleeping.SLEEP_HELD_S = SLEEP_S / 2  # type: ignore[misc]  # else nobody gives a slot back here
    home = Path(request["home"])
    settings = Settings(
        partitions=request["partitions"],
        engine=EngineSettings(lost_max=100_000, **request["engine"]),
        executors=ExecutorSettings(stop_grace_s=2.0, process=ProcessSettings(workers_max=1)),
    )
    registry = agents_on(Ledger(home / "ledger", request["boot"]))
    registry.register("harness.deadly", deadly, options=AgentOptions(executor="process"))

    async def run() -> None:
        async with Engine(home / "data", settings=settings, agents=registry) as engine:
            talk.say("open")
            await engine.register(chore())
            keepers = [Timekeeper(engine, seed, name, talk, rng) for name in NAMES]
            parking = Parking(engine, seed, talk, rng)
            if request["finish"]:
                await see_to_all(engine)
                await asyncio.gather(*(keeper.finish() for keeper in keepers))
                await parking.see_to_all()
                await all_ended(engine)
            else:
                async with asyncio.TaskGroup() as group:
                    keeping = [
                        group.create_task(keeper.keep(request["next"][name]))
                        for name, keeper in zip(NAMES, keepers, strict=True)
                    ]
                    keeping.append(group.create_task(parking.keep(request["struck"])))
                    await see_to_all(engine)
                    for one in keeping:
                        one.cancel()
            talk.say("done")
            await asyncio.to_thread(talk.hear)

    async def see_to_all(engine: Engine) -> None:
        made = [(number, True) for number in request["submit"]]
        made += [(number, False) for number in request["follow"]]
        await asyncio.gather(*(see_to(engine, number, new=new) for number, new in made))

    async def see_to(engine: Engine, number: int, *, new: bool) -> None:
        own = random.Random(f"{seed}/{request['boot']}/{number}")  # noqa: S311 - to be repeated
        people = People(engine, errand(seed, number), talk, own)
        if new:
            await asyncio.sleep(own.uniform(0, 0.1))
            talk.say("ack", number, await people.submit(request["born_s"]))
        talk.say("end", number, await people.see_to())

    seed = request["seed"]
    rng = random.Random(f"{seed}/{request['boot']}")  # noqa: S311
    asyncio.run(run())
    talk.say("closed")
