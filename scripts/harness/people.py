"""Whoever has to do with an errand: submits it, answers, decides about its letters, recalls it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from goclaw.dead import decision_of
from goclaw.errors import RunNotFound
from goclaw.operations.desk import ask_engine
from goclaw.results import CommandRefused
from scripts.harness.errands import SIGNAL
from scripts.harness.nursery import Harm
from scripts.harness.patience import patient

if TYPE_CHECKING:
    from random import Random

    from goclaw.engine import Engine
    from scripts.harness.errands import Errand, Word
    from scripts.harness.nursery import Talk

POLL_S: Final = 0.03
NOT_YET: Final = "approval_not_open"
CONFLICT: Final = "command_conflict"
_LETTER_GONE: Final = ("not_dead", "run_finished")
_CHANGED: Final = ("run_changed", "run_finished")


class People:
    """See to one errand until it has ended; what is acknowledged is said to the parent."""

    def __init__(self, engine: Engine, errand: Errand, talk: Talk, rng: Random) -> None:
        self._engine = engine
        self._errand = errand
        self._talk = talk
        self._rng = rng
        self._ended = asyncio.Event()

    async def submit(self, born_s: float) -> bool:
        """Submit the run by its key, now and then twice at once; return whether it was known."""
        errand, rng = self._errand, self._rng
        given = errand.input(born_s)
        times = rng.choice([1, 1, 2])
        found = await asyncio.gather(*(self._submit(given) for _ in range(times)))
        if sum(not one.repeated for one in found) > 1 or {one.run_id for one in found} != {
            errand.run_id
        }:
            raise Harm(f"{errand.key} was submitted twice: {found}")
        if rng.random() < 0.2:  # noqa: PLR2004
            try:
                await self._submit({"until": "2026-01-01T00:00:00Z"})
            except CommandRefused as refused:
                if refused.code != CONFLICT:
                    raise
            else:
                raise Harm(f"{errand.key} was taken with another body")
        return all(one.repeated for one in found)

    async def _submit(self, given: dict[str, str]) -> Any:
        errand = self._errand
        return await self._engine.submit(
            errand.program.workflow, input=given, idempotency_key=errand.key
        )

    async def see_to(self) -> str:
        """Say what is to be said until the run has ended; return how it ended."""
        errand = self._errand
        async with asyncio.TaskGroup() as group:
            for words in errand.said:
                group.create_task(self._say_all(words))
            if errand.letters:
                group.create_task(self._decide_letters())
            if errand.is_recalled:
                group.create_task(self._recall())
            ended = await self._engine.result(errand.run_id)
            self._ended.set()
        for word in errand.late:
            await self._say(word)
        return ended.status

    async def _say_all(self, words: list[Word]) -> None:
        """Say one after the other, and now and then one of them again, or in other words."""
        await asyncio.sleep(self._rng.choice([0, 0, 0.02, 0.1, 0.3]))
        for word in words:
            is_taken = await self._say(word)
            if is_taken and self._rng.random() < 0.2:  # noqa: PLR2004
                await self._say(word, again=True)
            if is_taken and self._rng.random() < 0.2:  # noqa: PLR2004
                await self._say_otherwise(word)

    async def _say(self, word: Word, *, again: bool = False) -> bool:
        """Say a word until it is answered; tell the parent if it was taken, or refused."""
        while True:
            try:
                repeated = await self._once(word)
            except CommandRefused as refused:
                if refused.code == NOT_YET and not self._ended.is_set():
                    await asyncio.sleep(POLL_S)
                    continue
                if refused.code not in word.refusals and not self._errand.is_recalled:
                    raise
                self._talk.say("refused", word.id, refused.code)
                return False
            if not word.taken:
                raise Harm(f"{word} was taken")
            if again and not repeated:
                raise Harm(f"{word} was taken twice")
            self._talk.say("taken", word.id, repeated)
            return True

    async def _once(self, word: Word) -> bool:
        engine, run_id = self._engine, self._errand.run_id
        if word.kind == SIGNAL:
            sent = await engine.send_signal(run_id, word.task, signal_id=word.id, **word.more)
            return sent.repeated
        say = engine.approve if word.kind == "approve" else engine.reject
        return (await say(run_id, word.task, decision_id=word.id, **word.more)).repeated

    async def _say_otherwise(self, word: Word) -> None:
        """Say something else under the same id: that is refused."""
        more = {"body": {"total": 0}} if word.kind == SIGNAL else {"reason": "or rather"}
        try:
            await self._once(word._replace(more={**word.more, **more}))
        except CommandRefused as refused:
            if refused.code != CONFLICT:
                raise
        else:
            raise Harm(f"{word.id} was taken with another body")

    # -- letters -----------------------------------------------------------------------------

    async def _decide_letters(self) -> None:
        """Decide about what died, as it is drawn; now and then twice at once."""
        while not self._ended.is_set():
            for letter in await patient(partial(self._engine.dead.list, kind="task")):
                run_id, _, task = letter["letter"].partition("/")
                if run_id == self._errand.run_id:
                    await self._decide(letter, task)
            await asyncio.sleep(POLL_S)

    async def _decide(self, letter: dict[str, Any], task: str) -> None:
        generation = letter["generation"]
        verdicts = self._errand.letters.get(task, [])
        if generation >= len(verdicts):
            raise Harm(f"{letter} died once too often")
        how, edits = verdicts[generation]
        params = decision_of([letter], "seen", edits)
        times = self._rng.choice([1, 2])
        said = (ask_engine(self._engine, f"dead.{how}", params) for _ in range(times))
        for answer in await asyncio.gather(*said, return_exceptions=True):
            if not isinstance(answer, BaseException):
                self._talk.say("decided", self._errand.run_id, task, generation)
            elif not isinstance(answer, CommandRefused) or answer.code not in _LETTER_GONE:
                raise answer

    # -- recalling ---------------------------------------------------------------------------

    async def _recall(self) -> None:
        """Cancel the run as it is; whoever saw it otherwise is refused."""
        await asyncio.sleep(self._rng.uniform(0, 0.5))
        while not self._ended.is_set():
            version = await self._version()
            try:
                await self._engine.cancel(self._errand.run_id, if_version=version + 1_000_000)
            except CommandRefused as refused:
                if refused.code not in _CHANGED:
                    raise
            else:
                raise Harm(f"{self._errand.run_id} was cancelled in a version that it never had")
            try:
                await self._engine.cancel(self._errand.run_id, if_version=version)
            except CommandRefused as refused:
                if refused.code not in _CHANGED:
                    raise
            else:
                return
            await asyncio.sleep(POLL_S)

    async def _version(self) -> int:
        asked = {"run": self._errand.run_id, "min_position": "now"}
        try:
            found = await patient(partial(ask_engine, self._engine, "runs.find", asked))
        except RunNotFound:
            return 0
        return int(found["version"])
