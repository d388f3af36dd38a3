"""Whoever makes the schedules of a world, changes them while they fire, and deletes them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from goclaw.errors import ScheduleNotFound
from goclaw.operations.desk import ask_engine
from goclaw.results import CommandRefused
from scripts.harness.nursery import Harm
from scripts.harness.patience import patient
from scripts.harness.timetables import operation, rules, workflow_of

if TYPE_CHECKING:
    from random import Random

    from goclaw.engine import Engine
    from scripts.harness.nursery import Talk
    from scripts.harness.timetables import Operation

POLL_S: Final = 0.05
_EXPECTED: Final = ("schedule_busy", "schedule_exists", "schedule_changed")


class Timekeeper:
    """Do to one schedule what is drawn for it, one thing after another."""

    def __init__(self, engine: Engine, seed: str, name: str, talk: Talk, rng: Random) -> None:
        self._engine = engine
        self._seed = seed
        self._name = name
        self._talk = talk
        self._rng = rng
        self._workflow = workflow_of(seed, name)

    async def keep(self, number: int) -> None:
        """Make the schedule if there is none, and go on with the `number`-th operation.

        Now and then one that was acknowledged is asked for again: it is answered as before.
        """
        known: list[int] = []
        while True:
            again = self._rng.choice(known) if known and self._rng.random() < 0.1 else number  # noqa: PLR2004
            done = operation(self._seed, self._name, again)
            try:
                answer = await self._do(done)
            except ScheduleNotFound:
                await self._make(number)
                answer = None
            except CommandRefused as refused:
                if refused.code not in _EXPECTED:
                    raise
                answer = None
            if answer is not None:
                self._talk.say("done_to", self._name, again, done.kind, answer)
                known.append(again)
            number += again == number
            await asyncio.sleep(self._rng.uniform(0, 0.3))

    async def _do(self, done: Operation) -> str | None:
        """Do something; return what it was answered with, None if that is nothing to keep."""
        schedules, said = self._engine.schedules, {"command_id": done.id}
        match done.kind:
            case "trigger":
                return str((await schedules.trigger(self._name, **said))["run_id"])
            case "pause":
                return str((await schedules.pause(self._name, reason=done.id, **said))["id"])
            case "resume":
                return str((await schedules.resume(self._name, **said))["id"])
            case "delete":
                return str((await schedules.delete(self._name, **said))["id"])
            case "change":
                await self._make(done.number, replace=True)
            case "contend":
                await self._contend()
        return None

    async def _make(self, number: int, *, replace: bool = False) -> None:
        said = rules(self._seed, self._name, number)
        await self._engine.schedules.create(self._name, self._workflow, replace=replace, **said)

    async def _contend(self) -> None:
        """Have two change it who have seen the same version: one of them at most does."""
        schedules = self._engine.schedules
        version = (await patient(partial(schedules.show, self._name)))["version"]
        found = await asyncio.gather(
            schedules.pause(self._name, if_version=version),
            schedules.resume(self._name, if_version=version),
            return_exceptions=True,
        )
        for error in found:
            if isinstance(error, CommandRefused | ScheduleNotFound):
                continue
            if isinstance(error, BaseException):
                raise error
        changed = [one for one in found if isinstance(one, dict) and not one["repeated"]]
        if len(changed) > 1:
            raise Harm(f"{self._name} was changed twice in version {version}: {found}")

    async def finish(self) -> None:
        """Delete it, whatever it is."""
        with suppress(ScheduleNotFound):
            await self._engine.schedules.delete(self._name)


async def all_ended(engine: Engine) -> None:
    """Return when no run goes on, and nobody is asked anything."""
    while unfinished := await ask_engine(engine, "runs.unfinished", {}):
        del unfinished
        await asyncio.sleep(POLL_S)
    left: list[Any] = [*await patient(engine.inbox), *await patient(engine.dead.list)]
    if left:
        raise Harm(f"all has ended, and this is asked still: {left}")
