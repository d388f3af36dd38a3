"""A bug that strikes some registrations: what is parked is redriven or put away, by two at once."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from goclaw.builder import Workflow
from goclaw.errors import LetterNotFound
from goclaw.results import CommandRefused
from goclaw_actors.messages import RegisterDefinition
from scripts.harness.patience import patient

if TYPE_CHECKING:
    from random import Random

    from goclaw.engine import Engine
    from goclaw_actors.decider import Decider, Decision, Moment
    from scripts.harness.nursery import Talk

NAME: Final = "struck"
"""What is registered, in one version after the other."""
STRUCK: Final = "internal_bug"
REDRIVE: Final = "redrive"
_PAUSE_S: Final = 0.3


def verdict(seed: str, version: str) -> str:
    """Return what is decided about the registration of a version, once it is parked."""
    rng = random.Random(f"{seed}/{NAME}/{version}")  # noqa: S311 - to be repeated
    return rng.choice([REDRIVE, REDRIVE, "discard"])


class Parking:
    """Have registrations struck, and see to what is parked."""

    def __init__(self, engine: Engine, seed: str, talk: Talk, rng: Random) -> None:
        self._engine = engine
        self._seed = seed
        self._talk = talk
        self._rng = rng
        self._striking = ""
        kinds: Any = engine.parts.deciders
        kinds["catalogue"] = self._broken(kinds["catalogue"])

    def _broken(self, decider: Decider[Any]) -> Decider[Any]:
        """Return the decider with a bug: it raises for the version that is registered now."""

        def decide(state: Any, message: Any, moment: Moment) -> Decision:
            if isinstance(message, RegisterDefinition) and message.version == self._striking:
                raise RuntimeError(message.version)
            return decider.decide(state, message, moment)

        return replace(decider, decide=decide)

    async def keep(self, number: int) -> None:
        """Register from version `number` on, each struck, and see to what that leaves."""
        workflow = Workflow(NAME)
        workflow.wait("wait", 0)
        while True:
            self._striking = str(number)
            try:
                await self._engine.register(workflow, version=self._striking)
            except CommandRefused as refused:
                if refused.code != STRUCK:
                    raise
                self._talk.say("struck", number)
                number += 1
            finally:
                self._striking = ""
            await self.see_to_all()
            await asyncio.sleep(self._rng.uniform(0, _PAUSE_S))

    async def see_to_all(self) -> None:
        """Redrive or discard every message that is parked; now and then two do so at once."""
        dead = self._engine.dead
        for letter in await patient(partial(dead.list, kind="message")):
            version = (await patient(partial(dead.show, letter["letter"])))["parked"]
            if version is None:
                continue  # seen to, and the view knew of it later
            how = verdict(self._seed, version["message"][0])
            settle = dead.redrive if how == REDRIVE else dead.discard
            times = self._rng.choice([1, 2])
            asked = (settle(letter["letter"], reason=how) for _ in range(times))
            found = await asyncio.gather(*asked, return_exceptions=True)
            for error in found:
                if not isinstance(error, BaseException):
                    self._talk.say("settled", letter["letter"], how)
                elif not isinstance(error, LetterNotFound):
                    raise error
