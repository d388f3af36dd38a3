"""The child of the signal harness: an engine whose tasks are talked to until it is killed."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import goclaw
from goclaw.agents import agent
from goclaw.config import EngineSettings, Settings
from goclaw.engine import Engine
from goclaw.errors import TimedOut
from goclaw.results import CommandRefused
from goclaw_actors.executors.agents import AgentRegistry
from scripts.harness.failpoint import arm
from scripts.harness.ledger import Ledger
from scripts.harness.talk import EXPECTED, MODES, RUNS, STOP, TASKS, word, workflow_of

if TYPE_CHECKING:
    from goclaw_actors.executors.context import TaskContext
    from goclaw_actors.work import Signal
    from scripts.harness.nursery import Talk
    from scripts.harness.talk import Word

FINISH_S: Final = 0.3
"""Tasks that still listen are asked to stop again after so long."""


def play(request: dict[str, Any], talk: Talk) -> None:
    """Open the engine on `data` and talk to the tasks of its runs, each from word `next` on.

    Says `open`; `ack` or `no` with run, task, number, and whether it was known, or the code of the
    refusal. With `finish` it says no more words, but lets every task end; `done` when all runs
    have. Then it waits for `stop`. `kill_at` as in the harness of engines.
    """
    arm(request["kill_at"])
    home = Path(request["home"])
    settings = Settings(
        partitions=request["partitions"],
        engine=EngineSettings(lost_max=100_000, **request["engine"]),
    )
    registry = _listeners(Ledger(home / "ledger", request["boot"]), request["seed"])

    async def run() -> None:
        async with Engine(home / "data", settings=settings, agents=registry) as engine:
            talk.say("open")
            for number in range(RUNS):
                await engine.submit(workflow_of(number), run_id=f"s{number}")
            if request["finish"]:
                await asyncio.gather(*(_finish(engine, number) for number in range(RUNS)))
                talk.say("done")
                await asyncio.to_thread(talk.hear)
            else:
                await _say_all(engine, request, talk)

    asyncio.run(run())
    talk.say("closed")


async def _say_all(engine: Engine, request: dict[str, Any], talk: Talk) -> None:
    await asyncio.gather(
        *(
            _say_on(engine, request, talk, run, task)
            for run in range(RUNS)
            for task in TASKS
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
        for task in TASKS:
            for said in (engine.resume(run_id, task), engine.message(run_id, STOP, task=task)):
                with suppress(CommandRefused):
                    await said
        with suppress(TimedOut):
            await engine.result(run_id, timeout_s=FINISH_S)
            return


class _Listener:
    """What an attempt does with what it is told: it writes that down, and saves it now and then."""

    def __init__(self, ledger: Ledger, ctx: TaskContext, seed: str) -> None:
        self._ledger = ledger
        self._ctx = ctx
        self._rng = random.Random(f"{seed}/{ctx.idempotency_key}/{ctx.attempt}")  # noqa: S311

    def hears_the_last(self, signal: Signal) -> bool:
        """Take a signal; tell whether it was the last. Fails seldom."""
        if signal.kind == "params":
            return False
        ctx, ids = self._ctx, list(signal.parts or (signal.id,))
        self._ledger.write("took", ctx.idempotency_key, ctx.attempt, [ids, signal.redelivered])
        if self._rng.random() < 0.2:  # noqa: PLR2004
            ctx.save(ids)
        if self._rng.random() < 0.02:  # noqa: PLR2004
            raise RuntimeError(signal.id)
        return bool(signal.body == STOP or (signal.parts and STOP in signal.body))


def _listeners(ledger: Ledger, seed: str) -> AgentRegistry:
    """Return the agents: one coroutine, one for threads."""
    registry = AgentRegistry()

    @agent("talk.soft", registry=registry)
    async def soft(ctx: TaskContext, knob: int = 0) -> int:
        listener = _Listener(ledger, ctx, seed)
        try:
            async for signal in ctx.signals():
                if listener.hears_the_last(signal):
                    break
        except goclaw.Interrupted:
            ctx.save("interrupted")
            raise
        return ctx.attempt + knob

    @agent("talk.hard", registry=registry)
    def hard(ctx: TaskContext, knob: int = 0) -> int:
        listener = _Listener(ledger, ctx, seed)
        while True:
            signal = ctx.next_signal()
            if signal is not None and listener.hears_the_last(signal):
                return ctx.attempt + knob

    return registry
