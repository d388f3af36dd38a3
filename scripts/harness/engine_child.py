"""The child of the engine harness: an engine that is given programs until it is killed."""

from __future__ import annotations

import asyncio
import json
import random
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goclaw.config import (
    EngineSettings,
    ExecutorSettings,
    LaneSettings,
    RetentionSettings,
    Settings,
)
from goclaw.engine import Engine
from goclaw_actors.executors import sleeping
from goclaw_events.errors import HistoryExpired
from scripts.harness.failpoint import arm
from scripts.harness.ledger import Ledger
from scripts.harness.programs import SHARED, SHARED_SLOTS, SLEEP_S, program
from scripts.harness.upheaval import upheaval, watch
from scripts.harness.workers import agents_on

if TYPE_CHECKING:
    from scripts.harness.nursery import Talk


def play(request: dict[str, Any], talk: Talk) -> None:
    """Open the engine on `data` and see the runs `submit` and `follow` (numbers) to their end.

    Says `open`; `ack` with run and whether it was known, once a run is accepted; `end`
    with run, status and a digest of the result; `done` when all have ended. Then waits for `stop`.
    `kill_at` is a step of a commit, or of archiving, and how often it is reached before the child
    kills itself. What it does besides: see `upheaval`.
    """
    step = arm(request["kill_at"])
    sleeping.SLEEP_HELD_S = SLEEP_S / 2  # type: ignore[misc]  # else nobody gives a slot back here
    home = Path(request["home"])
    registry = agents_on(Ledger(home / "ledger", request["boot"]))
    settings = Settings(
        partitions=request["partitions"],
        # Each kill costs every running task a life; here they are killed more often than usual.
        engine=EngineSettings(lost_max=100_000, **request["engine"]),
        executors=ExecutorSettings(**request["executors"]),
        lanes={SHARED: LaneSettings(concurrency=SHARED_SLOTS)},
        retention=RetentionSettings(**request["retention"]),
    )

    async def run() -> None:
        async with Engine(home / "data", settings=settings, agents=registry) as engine:
            talk.say("open")
            watch(engine, step)
            await asyncio.gather(
                _see_to_the_end(engine, request, talk), upheaval(engine, request, talk)
            )
            talk.say("done")
            await asyncio.to_thread(talk.hear)

    asyncio.run(run())
    talk.say("closed")


async def _see_to_the_end(engine: Engine, request: dict[str, Any], talk: Talk) -> None:
    seed = request["seed"]
    rng = random.Random(f"{seed}/{request['boot']}")  # noqa: S311 - to be repeated

    async def one(number: int, *, submit: bool, pause_s: float) -> None:
        made = program(seed, number)
        if submit:
            await asyncio.sleep(pause_s)
            accepted = await engine.submit(made.workflow, run_id=made.run_id)
            talk.say("ack", number, accepted.repeated)
        try:
            ended = await engine.result(made.run_id)
        except HistoryExpired as gone:
            talk.say("gone", number, gone.details["status"])
            return
        text = json.dumps(ended.result, sort_keys=True)
        talk.say("end", number, ended.status, blake2b(text.encode(), digest_size=8).hexdigest())

    works = [one(number, submit=False, pause_s=0) for number in request["follow"]]
    works += [one(n, submit=True, pause_s=rng.uniform(0, 0.1)) for n in request["submit"]]
    await asyncio.gather(*works)
