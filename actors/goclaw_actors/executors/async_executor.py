"""Async agents: coroutines on a loop and a thread of their own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.executors.context import RUN_ID, TASK_ID, TaskContext
from goclaw_actors.executors.errors import INTERRUPTED, ExecutorExhausted
from goclaw_actors.executors.invoke import bind, mapping_of
from goclaw_actors.executors.outcomes import (
    cancelled,
    failed,
    refused,
    silent,
    timed_out,
)
from goclaw_actors.executors.pool import ThreadPool
from goclaw_actors.executors.resolve import HasReferences, plain_copy
from goclaw_actors.executors.run import Run
from goclaw_actors.executors.watch import LoopWatch
from goclaw_actors.work import Full, Interrupt, Limit

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from goclaw_actors.executors.agents import Agent
    from goclaw_actors.executors.outbox import Item
    from goclaw_actors.executors.pool import Worker
    from goclaw_actors.executors.run import Shared
    from goclaw_actors.work import AttemptToken, Outcome, StartAttempt, TellAttempt
    from goclaw_events.value import Value

BEGIN_BATCH_MAX: Final = 256
LOADERS_MAX: Final = 4
LEFT_BEHIND_S: Final = 0.2
_JOIN_S: Final = 1.0
_log = logging.getLogger("goclaw.executors")


class AsyncExecutor:
    """Run async agents. `start`, `stop` and `close` may be called from any other thread.

    A run is a task of the loop; its outcome leaves with all others of the same tick.
    """

    def __init__(self, shared: Shared, *, name: str = "goclaw-async") -> None:
        self._shared = shared
        self._last: Coroutine[Any, Any, None] | None = None
        self._runs: dict[AttemptToken, Run] = {}
        self._backlog: deque[Run] = deque()
        self._beginning = False
        self._ended: list[Item] = []
        self._flushing = False
        self._abandoned = 0
        self._closed = False
        self._loaders = ThreadPool(
            "goclaw-load", threads_max=LOADERS_MAX, idle_s=shared.limits.thread_idle_s
        )
        self._loop = shared.time.new_loop()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()
        self._watch: LoopWatch | None = None
        if shared.time.is_real:
            self._watch = LoopWatch(
                self._loop, self._thread, shared.timers, lambda: bool(self._runs), self._names
            )

    @property
    def running(self) -> int:
        """Return how many runs are here and not over."""
        return len(self._runs)

    @property
    def called(self) -> int:
        """Return how many runs have been given to their agents and are not over."""
        return sum(run.context is not None for run in list(self._runs.values()))

    def waits(self, token: AttemptToken) -> bool:
        """Tell that no coroutine waits for another one."""
        del token
        return False

    @property
    def abandoned(self) -> int:
        """Return how many abandoned coroutines still run."""
        return self._abandoned

    @property
    def lag_s(self) -> float:
        """Return how long the loop took to answer when it was last asked."""
        return 0.0 if self._watch is None else self._watch.lag_s

    def start(self, runs: Sequence[tuple[Agent, StartAttempt]]) -> None:
        """Begin runs: one wake-up of the loop for all of them."""
        made = [Run(agent, attempt) for agent, attempt in runs]
        for run in made:
            self._runs[run.attempt.token] = run
        self._call(self._arrive, made)
        if self._watch is not None:
            self._watch.wake()

    def stop(
        self, stops: Sequence[tuple[AttemptToken, str]], code: str, grace_s: float | None = None
    ) -> None:
        """Cancel runs; what does not end within the grace is abandoned."""
        grace = self._shared.limits.stop_grace_s if grace_s is None else grace_s
        self._call(self._stop, stops, code, grace)

    def tell(self, tells: Sequence[TellAttempt]) -> None:
        """Tell runs something, in order.

        An agent that holds the loop up hears that its history is full all the same.
        """
        for token, word in tells:
            if isinstance(word, Full):
                run = self._runs.get(token)
                if run is not None and run.context is not None:
                    run.context.hear(word)
        self._call(self._tell, tells)

    def stand(self, token: AttemptToken, *, is_on: bool) -> None:
        """Take in that a run stands still, or goes on: its time does not count meanwhile."""
        self._call(self._stand, token, is_on)

    def abandon_all(self, reason: str, code: str) -> None:
        """Report what is left as cancelled and abandoned; works while the loop is blocked, too."""
        for token, run in list(self._runs.items()):
            if self._runs.pop(token, None) is None:
                continue
            run.abandoned = run.begun
            self._abandoned += run.begun
            outcome = run.finish(cancelled(run.attempt, reason, code))
            self._shared.outbox.put([outcome._replace(abandoned=run.begun)])

    def last(self, closing: Coroutine[Any, Any, None]) -> None:
        """Have the loop run this when it is closed and everything on it has ended."""
        self._last = closing

    def close(self) -> None:
        """End the loop and its thread; waits at most a second for code that blocks it."""
        self._closed = True
        with contextlib.suppress(RuntimeError):  # it is closed already
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_JOIN_S)
        self._loaders.close(0.0)

    def _call(self, function: Callable[..., object], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # closed meanwhile: the engine starts it again
            self._loop.call_soon_threadsafe(function, *args)

    # What follows runs on the thread of the loop.

    def _main(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        while not self._closed:
            try:
                loop.run_forever()
            except BaseException:  # noqa: BLE001 - a task of an agent's own raised SystemExit
                _log.exception("an agent's task ended the loop of the async agents; it goes on")
        self._flush()
        self._end_tasks()
        loop.close()

    def _end_tasks(self) -> None:
        """Cancel what agents left behind, and give it a moment to tidy up."""
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            try:
                self._loop.run_until_complete(asyncio.wait(tasks, timeout=LEFT_BEHIND_S))
            except BaseException:  # noqa: BLE001 - as in `_main`
                _log.exception("a task that an agent left behind failed at the end")
        if self._last is not None:
            with contextlib.suppress(Exception):  # nothing hears of it any more
                self._loop.run_until_complete(_briefly(self._last))
        for task in asyncio.all_tasks(self._loop):
            # reported as abandoned: what asyncio has to say about it at its end is noise
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001

    def _arrive(self, runs: list[Run]) -> None:
        self._backlog.extend(runs)
        if not self._beginning:
            self._beginning = True
            self._begin()

    def _begin(self) -> None:
        """Begin some of the backlog, so that outcomes leave between the parts of a large one.

        Once a tick: `_beginning` is taken back one tick after the backlog was empty.
        """
        backlog, runs, loop = self._backlog, self._runs, self._loop
        if not backlog:
            self._beginning = False
            return
        loop.call_soon(self._begin)
        for _ in range(min(len(backlog), BEGIN_BATCH_MAX)):
            run = backlog.popleft()
            attempt = run.attempt
            if attempt.token not in runs:
                continue  # stopped before it began
            if self._abandoned >= self._shared.limits.abandoned_max:
                self._settle(run, refused(attempt, self._exhausted()))
                continue
            run.task = loop.create_task(self._attempt(run))
            if attempt.timeout_s is not None:
                run.timer = loop.call_later(attempt.timeout_s, self._time_out, run)
            run.since_s = loop.time()
            if attempt.heartbeat_s is not None:
                run.beat = loop.call_later(attempt.heartbeat_s, self._listen, run)

    async def _attempt(self, run: Run) -> None:
        attempt, agent = run.attempt, run.agent
        if attempt.token not in self._runs:
            return  # given up before its first step
        run.begun = True
        RUN_ID.set(attempt.run_id)
        TASK_ID.set(attempt.task_id)
        try:
            given = await self._given(attempt.params) if attempt.params else {}
            params = mapping_of(agent, given)
            arguments = bind(agent, params)
            context = run.begin(TaskContext(run.attempt, params, self._shared.ports))
            if run.task is not None:
                context.runs_as(run.task)
            outcome = context.concluded(agent, await agent.function(context, **arguments))
        except BaseException as error:  # noqa: BLE001 - nothing of an agent ends the engine
            why = error if run.context is None else run.context.left_with(error)
            outcome = run.ending or failed(agent, attempt, why)
        self._settle(run, outcome)

    async def _given(self, params: Value) -> Value:
        with contextlib.suppress(HasReferences):
            return plain_copy(params)
        future: asyncio.Future[Value] = self._loop.create_future()

        ports = self._shared.ports

        def load(_: Worker) -> None:
            try:
                value = ports.whole(params)
            except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
                self._call(_give, future, None, error)
            else:
                self._call(_give, future, value, None)

        if self._loaders.submit([load]):
            msg = "no thread can be started to load the parameters"
            raise ExecutorExhausted(msg)
        return await future

    def _settle(self, run: Run, outcome: Outcome) -> None:
        if self._runs.pop(run.attempt.token, None) is None:
            if run.abandoned:
                self._abandoned -= 1
                self._shared.kept.end(run.attempt.token)
                _log.info("an abandoned coroutine of agent %r has ended", run.agent.name)
            return
        self._ended.append(run.finish(outcome))
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        ended, self._ended = self._ended, []
        if ended:
            self._shared.outbox.put(ended)

    def _time_out(self, run: Run) -> None:
        self._end(run, timed_out(run.attempt), self._shared.limits.stop_grace_s)

    def _listen(self, run: Run) -> None:
        """End a run that is silent; look again when it could have been so for too long."""
        left_s = run.silence_left_s()
        if left_s > 0:
            run.beat = self._loop.call_later(left_s, self._listen, run)
        elif run.attempt.token in self._runs:
            self._end(run, silent(run.attempt), self._shared.limits.stop_grace_s)

    def _stop(self, stops: Sequence[tuple[AttemptToken, str]], code: str, grace_s: float) -> None:
        for token, reason in stops:
            run = self._runs.get(token)
            if run is not None:
                self._end(run, cancelled(run.attempt, reason, code), grace_s)

    def _tell(self, tells: Sequence[TellAttempt]) -> None:
        for token, word in tells:
            run = self._runs.get(token)
            if run is None:
                continue
            if isinstance(word, Interrupt):
                self._interrupt(run, word)
            elif isinstance(word, Limit):
                self._limit(run, word)
            else:
                run.tell(word)

    def _interrupt(self, run: Run, word: Interrupt) -> None:
        """Ask a run to stop, and cancel it when it does not; at once if it has not begun."""
        ending, grace_s = cancelled(run.attempt, word.reason, INTERRUPTED), self._stop_grace_s
        wait_s = run.patience_s(word, grace_s)
        if run.context is not None and run.ending is None:
            run.tell(word)
            if wait_s > 0:
                end = partial(self._end, run, ending, grace_s)
                run.escalate(self._loop.call_later(wait_s, end))
                return
        self._end(run, ending, grace_s)

    def _limit(self, run: Run, word: Limit) -> None:
        left_s = run.limit(word, self._loop.time())
        if run.since_s is None or run.ending is not None:
            return
        if run.timer is not None:
            run.timer.cancel()
        run.timer = None
        if left_s is not None:
            run.timer = self._loop.call_later(left_s, self._time_out, run)

    def _stand(self, token: AttemptToken, is_on: bool) -> None:  # noqa: FBT001 - as it is posted
        run = self._runs.get(token)
        if run is None:
            return
        if is_on:
            run.stand(self._loop.time())
            return
        left_s = run.go_on(self._loop.time())
        if left_s is not None:
            run.timer = self._loop.call_later(left_s, self._time_out, run)

    @property
    def _stop_grace_s(self) -> float:
        return self._shared.limits.stop_grace_s

    def _end(self, run: Run, ending: Outcome, grace_s: float) -> None:
        if run.ending is not None:
            return  # the first reason counts, and its grace
        run.ending = ending
        if run.timer is not None:
            run.timer.cancel()
        if run.context is not None:
            run.context.stop()
        if run.task is not None:
            run.task.cancel()
        if not run.begun:  # a task cancelled before its first step never reaches our code
            self._settle(run, ending)
            return
        run.timer = self._loop.call_later(grace_s, self._abandon, run)

    def _abandon(self, run: Run) -> None:
        if run.ending is None or run.attempt.token not in self._runs:
            return
        del self._runs[run.attempt.token]
        run.abandoned = True
        self._abandoned += 1
        self._shared.kept.abandon(run.finish(run.ending))
        _log.warning(
            "agent %r does not end when it is cancelled: task %r of run %r is abandoned",
            run.agent.name,
            run.attempt.task_id,
            run.attempt.run_id,
        )

    def _exhausted(self) -> ExecutorExhausted:
        return ExecutorExhausted(
            f"{self._abandoned} abandoned coroutines still run, so no async agent is started",
            hint="let agents end when they are cancelled, or start the engine again",
        )

    def _names(self, task: asyncio.Task[Any] | None) -> str:
        """Name the agent that a task of the loop belongs to. Called by the watch, on its thread."""
        for run in list(self._runs.values()):
            if task is not None and run.task is task:
                return f"agent {run.agent.name!r}"
        return "an agent"


def _give(future: asyncio.Future[Value], value: Value, error: Exception | None) -> None:
    if future.done():
        return  # cancelled while it was loaded
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


async def _briefly(work: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(LEFT_BEHIND_S):
        await work
