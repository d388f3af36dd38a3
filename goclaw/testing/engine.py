"""An engine for tests: in memory, in virtual time, with agents that do as a script says."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from goclaw.agents import REGISTRY
from goclaw.config import Settings
from goclaw.engine import Engine
from goclaw.errors import EngineClosed, NothingHappens, RunNotFound, SagaNotFound
from goclaw.following import follow_log
from goclaw.parts import MEMORY
from goclaw.testing.agents import ScriptedAgents
from goclaw.testing.script import Acting, Script
from goclaw.testing.stillness import LOOK_EVERY_S, Stillness
from goclaw.testing.story import Story
from goclaw.testing.world import VirtualWorld
from goclaw.waiting import Waiting
from goclaw_actors.errors import Stopping
from goclaw_events.durations import parse_duration
from goclaw_events.errors import CodedError
from goclaw_events.ids import OF_RUNS, kind_of, plain_id, routing_key, saga_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from goclaw.results import RunResult
    from goclaw.submission import Prepared, Submittable
    from goclaw.testing.script import Call
    from goclaw.testing.time import VirtualTime
    from goclaw_actors.executors.agents import AgentRegistry
    from goclaw_projections.subscription import Recorded

T = TypeVar("T")

BEGIN: Final = datetime(2030, 1, 1, tzinfo=UTC)
LEAPS_MAX: Final = 100_000
"""So often time is moved for one result."""
FACTS_AT_ONCE: Final = 512


class TestEngine(Engine):
    """Run workflows as `goclaw.Engine` does, on a log in memory, in virtual time.

    async with TestEngine() as engine:
        engine.script("charge").fails(times=2)
        assert (await engine.run(order)).ok

    Time stands still, but while somebody waits for the end of a run or a saga (`run`, `result`) and
    nothing goes on, it leaps to where something is due: a backoff, a timer, a sleep, a timeout.
    Without `skips` it is moved only by `advance`. If nothing will ever be due, waiting ends with
    `NothingHappens` after `patience_s`. What is no agent (programs, requests) takes its own time,
    and so does an agent that blocks; agents that would have a process run in this one. `begin`: the
    time at which it begins. All methods belong to the loop that opened the engine.
    """

    __test__ = False
    _world: VirtualWorld

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        agents: AgentRegistry = REGISTRY,
        begin: datetime = BEGIN,
        skips: bool = True,
        patience_s: float = 2.0,
    ) -> None:
        given = settings or Settings()
        executors = given.executors.model_copy(update={"sync_agents": "thread"})
        self._acting = Acting(self._kill)
        self._scripted = ScriptedAgents(agents, self._acting)
        super().__init__(
            MEMORY,
            settings=given.model_copy(update={"executors": executors}),
            agents=self._scripted,
        )
        self._world = VirtualWorld(begin, self._acting)
        self._skips = skips
        self._patience_s = patience_s
        self._awaited: list[str] = []
        self._somebody = asyncio.Event()
        self._leaping = asyncio.Lock()
        self._skipper: asyncio.Task[None] | None = None
        self._reviving: asyncio.Task[None] | None = None
        self._killed: VirtualTime | None = None

    async def start(self) -> None:
        """Open the log, and go on with whatever is unfinished."""
        self._acting.time = self._world.time
        await super().start()
        if self._skips:
            self._skipper = asyncio.create_task(self._skip())

    async def stop(self) -> None:
        """Stop what runs, and close the log; a process that was killed starts again first."""
        if self._reviving is not None:
            await self._reviving
        await self._end()

    async def _end(self) -> None:
        if self._skipper is not None:
            self._skipper.cancel()
            with suppress(asyncio.CancelledError):
                await self._skipper
            self._skipper = None
        self._world.time.thaw()
        await super().stop()

    # -- agents ----------------------------------------------------------------------------------

    def script(self, agent: str) -> Script:
        """Return the script of an agent: what its next attempts do. It need not be registered."""
        return self._scripted.script(agent)

    def script_task(self, task_id: str) -> Script:
        """Return the script of the tasks of an id, of any kind: programs and requests, too.

        It goes before that of the agent.
        """
        return self._acting.tasks.setdefault(task_id, Script(task_id))

    def require(self, prepared: Prepared) -> None:
        """Check as an engine does; a program that a script stands for need not be allowed."""
        real = {
            task: program
            for task, program in prepared.programs.items()
            if task not in self._acting.tasks
        }
        super().require(prepared._replace(programs=real))

    @property
    def calls(self) -> list[Call]:
        """Return every attempt that asked a script: by agent or task, those of one in order."""
        scripts = [*self._scripted.scripts, *self._acting.tasks.values()]
        return [call for script in scripts for call in script.calls]

    # -- time ------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """Return the virtual time, UTC."""
        return self._world.now()

    async def settle(self) -> None:
        """Return once nothing goes on at this moment; time does not move."""
        await self._still()

    async def advance(self, duration: float | str) -> None:
        """Let so much time pass (`90s`, `1h30m`, or seconds), with all that is due meanwhile."""
        end_ns = self._world.time.now_ns() + int(parse_duration(duration) * 1e9)
        async with self._leaping:
            while True:
                next_ns = (await self._still()).next_ns()
                if next_ns is None or next_ns > end_ns:
                    break
                self._world.time.move_to(next_ns)
            self._world.time.move_to(end_ns)
            await self._still()

    def _stillness(self) -> Stillness:
        return Stillness(self._open_parts(), self.bridge, self._world)

    async def _still(self) -> Stillness:
        """Wait until nothing goes on, in the next process where this one is killed."""
        while True:
            stillness = await self._through_crashes(self._stood_still)
            if self._reviving is None or self._reviving.done():
                return stillness

    async def _stood_still(self) -> Stillness:
        stillness = self._stillness()
        await stillness.reached()
        return stillness

    async def _through_crashes(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return an answer of this process or, if it is killed meanwhile, of the next."""
        while True:
            asked = self._parts
            try:
                return await ask()
            except (EngineClosed, Stopping):
                if self._reviving is None or (self._reviving.done() and self._parts is asked):
                    raise
                await self._reviving

    async def _skip(self) -> None:
        """Move time for whoever waits."""
        while True:
            await self._somebody.wait()
            try:
                await self._skip_for_some()
            except CodedError as error:
                self._waiting.fail(error)
                await asyncio.sleep(LOOK_EVERY_S)  # those who waited leave

    async def _skip_for_some(self) -> None:
        stillness, leaps = self._stillness(), 0
        while self._awaited:
            async with self._leaping:
                await stillness.reached()
                next_ns = stillness.next_ns()
                if self._awaited and next_ns is not None:
                    self._world.time.move_to(next_ns)
                    leaps += 1
            if self._awaited and leaps > LEAPS_MAX:
                raise await self._dead_end(f"time was moved {LEAPS_MAX} times")
            if self._awaited and next_ns is None and not await self._moves(stillness):
                raise await self._dead_end("nothing is due, and nobody says anything")

    async def _moves(self, stillness: Stillness) -> bool:
        """Wait for what comes from outside; False: nothing does."""
        tail = self._open_parts().tail
        coming = follow_log(tail, self.bridge, tail.end(), at_once=1)
        with suppress(TimeoutError):
            async with aclosing(coming), asyncio.timeout(self._patience_s):
                await anext(coming)
                return True
        return stillness.next_ns() is not None

    async def _dead_end(self, why: str) -> NothingHappens:
        run_id = plain_id(self._awaited[0])
        text = f"{run_id} does not end: {why}"
        with suppress(CodedError):
            told = (await self.why(run_id))["reason"]
            text += f": {told['says']}"
            while told["because"]:
                told = told["because"][0]
                text += f", because {told['says']}"
        return NothingHappens(text, hint="say what it waits for, or look at engine.story()")

    # -- runs ------------------------------------------------------------------------------------

    async def run(
        self,
        workflow: Submittable,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word that definitions use
        run_id: str | None = None,
        idempotency_key: str | None = None,
        labels: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> RunResult:
        """Submit a run and wait for its end, through crashes of the engine; see `result`."""
        submitted = await self.submit(
            workflow, input=input, run_id=run_id, idempotency_key=idempotency_key, labels=labels
        )
        return await self.result(submitted.run_id, timeout_s=timeout_s)

    async def _result(self, run_id: str, timeout_s: float | None) -> RunResult:
        with self._awaiting(run_id):
            return await self._through_crashes(partial(super()._result, run_id, timeout_s))

    @contextmanager
    def _awaiting(self, run_id: str) -> Iterator[None]:
        self._awaited.append(run_id)
        self._somebody.set()
        try:
            yield
        finally:
            self._awaited.remove(run_id)
            if not self._awaited:
                self._somebody.clear()

    # -- the process -----------------------------------------------------------------------------

    async def restart(self, *, killed: bool = False) -> None:
        """Stop the process and start another one on the log.

        `killed`: at once, so that the next one finds what was recorded by now, and nothing of the
        end. Agents that run are cancelled in either case: they run in the process of the test.
        """
        found = self._world.copied()
        await self._end()
        self._world.begin_again(found if killed else self._world.copied())
        self._stopping, self._waiting = False, Waiting()
        await self.start()

    def _kill(self, process: VirtualTime) -> None:
        """Kill a process, known by its time; any thread. Who waits for a result goes on waiting."""
        self.bridge.post(self._revive, process)

    def _revive(self, process: VirtualTime) -> None:
        if process is not self._killed:
            self._killed = process
            self._reviving = asyncio.create_task(self._begin_again(self._reviving))

    async def _begin_again(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        await self.restart(killed=True)

    # -- what was recorded -----------------------------------------------------------------------

    async def story(self, run_id: str | None = None, *, saga_id: str | None = None) -> Story:
        """Return what was recorded so far: all, or what is of a run or a saga, and its tasks.

        Raises `RunNotFound` or `SagaNotFound` for one of which nothing was.
        """
        key = run_id if saga_id is None else saga_key(saga_id)
        found: list[Recorded] = []
        whole = follow_log(self._open_parts().tail, None, None, at_once=FACTS_AT_ONCE)
        async with aclosing(whole) as parts:
            async for some, _ in parts:
                found += some
        told = [one for one in found if key is None or _is_of(one.stream, key)]
        if key is not None and not told:
            if saga_id is not None:
                raise SagaNotFound(f"there is no saga {saga_id!r}")
            raise RunNotFound(f"there is no run {run_id!r}")
        return Story(told)


def _is_of(stream: str, key: str) -> bool:
    return kind_of(stream) in OF_RUNS and routing_key(stream) == key
