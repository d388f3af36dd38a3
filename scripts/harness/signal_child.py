"""The child of the signal harness: an engine whose tasks are talked to until it is killed."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from goclaw.config import EngineSettings, ExecutorSettings, ProcessSettings, Settings
from goclaw.engine import Engine
from goclaw.errors import TimedOut
from goclaw.results import CommandRefused
from goclaw_actors.executors.errors import CollectUnmet
from scripts.harness.failpoint import arm
from scripts.harness.listening import listeners
from scripts.harness.talk import (
    EXPECTED,
    MODES,
    RUNS,
    STOP,
    gatherings,
    tasks_of,
    word,
    workflow_of,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from scripts.harness.nursery import Talk
    from scripts.harness.talk import Gathering, Word

WORKERS: Final = ProcessSettings(workers_max=1, kill_grace_s=0.2)
FINISH_S: Final = 0.3
"""Tasks that still listen are asked to stop again after so long."""


def play(request: dict[str, Any], talk: Talk) -> None:
    """Open the engine on `data` and talk to the tasks of its runs, each from word `next` on.

    Says `open`; `ack` or `no` with run, task, number, and whether it was known, or the code of the
    refusal; `chunk` with run, task, cursor and value of what a task emitted, from the cursors in
    `read` on; `member` with collector, cursor and [member, status, result], likewise, and
    `collected` with what came of it. With `finish` it says no more words, but lets every task
    end; `done` when all runs have. Then it waits for `stop`. `kill_at` as in the harness of
    engines.
    """
    arm(request["kill_at"])
    home = Path(request["home"])
    settings = Settings(
        partitions=request["partitions"],
        engine=EngineSettings(lost_max=100_000, **request["engine"]),
        executors=ExecutorSettings(process=WORKERS),
    )

    async def run() -> None:
        async with Engine(home / "data", settings=settings, agents=listeners()) as engine:
            talk.say("open")
            for number in range(RUNS):
                made = workflow_of(number, str(home), request["seed"])
                await engine.submit(made, run_id=f"s{number}")
            async with asyncio.TaskGroup() as group:
                for reader in _readers(engine, request, talk):
                    group.create_task(reader)
                if request["finish"]:
                    for number in range(RUNS):
                        group.create_task(_finish(engine, number))
                else:
                    group.create_task(_say_all(engine, request, talk))
            talk.say("done")
            await asyncio.to_thread(talk.hear)

    asyncio.run(run())
    talk.say("closed")


def _readers(
    engine: Engine, request: dict[str, Any], talk: Talk
) -> Iterator[Coroutine[Any, Any, None]]:
    """Yield who reads what tasks emit, and who hears how they end, each to the end."""
    read = request["read"]
    for run in range(RUNS):
        for task in tasks_of(run):
            yield _read(engine, talk, run, task, read.get(f"{run}/{task}"))
    for gathering in gatherings():
        yield _gather(engine, talk, gathering, read.get(gathering.id, 0))


async def _read(engine: Engine, talk: Talk, run: int, task: str, after: str | None) -> None:
    async for chunk in engine.output(f"s{run}", task, after=after):
        talk.say("chunk", f"{run}/{task}", chunk.cursor, chunk.value)


async def _gather(engine: Engine, talk: Talk, gathering: Gathering, after: int) -> None:
    name = gathering.id
    await engine.collect(*gathering.members, collector_id=name, **gathering.more).open()
    with suppress(CollectUnmet):
        async for one in engine.collection(name, after=after):
            talk.say("member", name, one.cursor, [one.member, one.status, one.result])
    found = await engine.collection(name)
    talk.say("collected", name, found.status, [[one.member, one.status] for one in found.gathered])


async def _say_all(engine: Engine, request: dict[str, Any], talk: Talk) -> None:
    await asyncio.gather(
        *(
            _say_on(engine, request, talk, run, task)
            for run in range(RUNS)
            for task in tasks_of(run)
        )
    )  # fmt: skip


async def _say_on(engine: Engine, request: dict[str, Any], talk: Talk, run: int, task: str) -> None:
    """Say one word after another; now and then one that was acknowledged before."""
    rng = random.Random(f"{request['seed']}/{request['boot']}/{run}/{task}")  # noqa: S311
    number, known = request["next"][f"{run}/{task}"], list[int]()
    while True:
        again = rng.choice(known) if known and rng.random() < 0.05 else number  # noqa: PLR2004
        said = word(request["seed"], run, task, again)
        try:
            repeated = await _say(engine, f"s{run}", task, said)
        except CommandRefused as refused:
            if refused.code not in EXPECTED:
                raise
            talk.say("no", run, task, again, refused.code)
        else:
            talk.say("ack", run, task, again, repeated)
            known.append(again)
        number += again == number
        await asyncio.sleep(rng.choice([0, 0, 0, 0.002, 0.01]))


async def _say(engine: Engine, run_id: str, task: str, said: Word) -> bool | None:
    """Say a word; return whether it was known, where that is answered."""
    named: dict[str, Any] = {"signal_id": said.id, "sender": said.id}
    if said.kind in MODES:
        return (await engine.message(run_id, task=task, **said.more, **named)).repeated
    if said.kind == "params":
        return (await engine.steer(run_id, task=task, **said.more, **named)).repeated
    if said.kind == "adjust":
        return (await engine.adjust(run_id, task=task, **said.more, **named)).repeated
    await getattr(engine, said.kind)(run_id, task, **said.more, **named)
    return None


async def _finish(engine: Engine, run: int) -> None:
    """Have every task of a run go on, and then stop."""
    run_id = f"s{run}"
    while True:
        for task in tasks_of(run):
            for said in (engine.resume(run_id, task), engine.message(run_id, STOP, task=task)):
                with suppress(CommandRefused):
                    await said
        with suppress(TimedOut):
            await engine.result(run_id, timeout_s=FINISH_S)
            return
