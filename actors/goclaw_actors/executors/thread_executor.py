"""Sync agents: functions on threads of a pool of their own."""

from __future__ import annotations

import contextvars
import functools
import logging
import threading
from typing import TYPE_CHECKING

from goclaw_actors.executors.context import RUN_ID, TASK_ID, TaskContext
from goclaw_actors.executors.errors import INTERRUPTED, ExecutorExhausted
from goclaw_actors.executors.invoke import bind, mapping_of, plain_result
from goclaw_actors.executors.outcomes import (
    cancelled,
    failed,
    refused,
    silent,
    timed_out,
)
from goclaw_actors.executors.pool import ThreadPool
from goclaw_actors.executors.run import Run
from goclaw_actors.work import Interrupt, Limit

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from goclaw_actors.executors.agents import Agent
    from goclaw_actors.executors.pool import Worker
    from goclaw_actors.executors.run import Shared
    from goclaw_actors.work import AttemptToken, Outcome, StartAttempt, TellAttempt

_log = logging.getLogger("goclaw.executors")


class ThreadExecutor:
    """Run sync agents. `start`, `stop` and `close` may be called from any thread.

    A timeout counts from the moment at which a thread takes the run. A thread cannot be stopped:
    one that is past its timeout is told, and abandoned at once; one that was told to stop has a
    grace before. What an abandoned one returns is dropped. It keeps its slot in the lane, and its
    place in the pool, until it returns or its grace is over; then another takes its place.
    """

    def __init__(self, shared: Shared) -> None:
        limits = shared.limits
        self._shared = shared
        self._runs: dict[AttemptToken, Run] = {}
        self._lock = threading.Lock()
        self._fenced = 0
        self._replaced = 0
        self._pool = ThreadPool(
            "goclaw-agent", threads_max=limits.threads_max, idle_s=limits.thread_idle_s
        )

    @property
    def running(self) -> int:
        """Return how many runs are here and not over, with those that wait for a thread."""
        return len(self._runs)

    @property
    def waiting(self) -> int:
        """Return how many runs wait for a thread."""
        return self._pool.waiting

    def waits(self, token: AttemptToken) -> bool:
        """Tell whether a run waits for a thread. Any thread."""
        run = self._runs.get(token)
        return run is not None and run.worker is None

    def count_of(self, threads: Collection[int]) -> int:
        """Count the runs that are in some threads, by `threading.get_ident`. Any thread."""
        workers = [run.worker for run in list(self._runs.values())]
        ours = [worker.thread for worker in workers if worker is not None]
        return sum(thread is not None and thread.ident in threads for thread in ours)

    @property
    def threads(self) -> int:
        """Return how many threads the pool has, without the abandoned."""
        return self._pool.threads

    @property
    def abandoned(self) -> int:
        """Return how many abandoned threads still run."""
        return self._fenced

    def start(self, runs: Sequence[tuple[Agent, StartAttempt]]) -> None:
        """Begin runs in order, those beyond the number of threads when a thread is free."""
        made = [Run(agent, attempt) for agent, attempt in runs]
        with self._lock:
            for run in made:
                self._runs[run.attempt.token] = run
        if self._pool.submit([functools.partial(self._work, run) for run in made]):
            self._shared.timers.after(0.0, self._refuse)

    def stop(
        self, stops: Sequence[tuple[AttemptToken, str]], code: str, grace_s: float | None = None
    ) -> None:
        """Tell runs to stop; what does not end within the grace is abandoned."""
        grace = self._shared.limits.stop_grace_s if grace_s is None else grace_s
        # outcomes of runs that have no thread yet must not reach the sink on the caller's thread
        self._shared.timers.after(0.0, self._stop, stops, code, grace)

    def tell(self, tells: Sequence[TellAttempt]) -> None:
        """Tell runs something, in order; nothing of an agent is called here."""
        for token, word in tells:
            with self._lock:
                run = self._runs.get(token)
                if run is None:
                    continue
                if isinstance(word, Limit):
                    self._limit(run, word)
                elif run.worker is not None or not isinstance(word, Interrupt):
                    run.tell(word)
            if isinstance(word, Interrupt):
                self._interrupt(run, word)

    def stand(self, token: AttemptToken, *, is_on: bool) -> None:
        """Take in that a run stands still, or goes on: its time does not count meanwhile."""
        with self._lock:
            run = self._runs.get(token)
            if run is None:
                return
            if is_on:
                run.stand(self._shared.time.monotonic())
                return
            left_s = run.go_on(self._shared.time.monotonic())
            if left_s is not None:
                self._count(run, left_s)

    def _limit(self, run: Run, word: Limit) -> None:
        """Let a run have another time; under the lock."""
        left_s = run.limit(word, self._shared.time.monotonic())
        if run.since_s is not None and run.ending is None:
            if run.timer is not None:
                run.timer.cancel()
            self._count(run, left_s)

    def _count(self, run: Run, left_s: float | None) -> None:
        """Let the time of a run count from now; under the lock."""
        run.since_s = self._shared.time.monotonic() if run.since_s is None else run.since_s
        run.timer = None
        if left_s is not None:
            run.timer = self._shared.timers.after(left_s, self._time_out, run)

    def _interrupt(self, run: Run, word: Interrupt) -> None:
        """End a run that was asked to stop when it has not; at once if it waits for a thread."""
        stop = ((run.attempt.token, word.reason),)
        grace_s = self._shared.limits.stop_grace_s
        wait_s = run.patience_s(word, grace_s) if run.worker is not None else 0.0
        end = (self._stop, stop, INTERRUPTED, grace_s)
        run.escalate(self._shared.timers.after(wait_s, *end))

    def abandon_all(self, reason: str, code: str) -> None:
        """Report what is left as cancelled and, if it has begun, abandoned."""
        for run in list(self._runs.values()):
            with self._lock:
                run.ending = run.ending or cancelled(run.attempt, reason, code)
                if self._runs.pop(run.attempt.token, None) is None:
                    continue
                begun = run.worker is not None
                self._fenced += begun
            self._shared.outbox.put([run.finish(run.ending)._replace(abandoned=begun)])

    def close(self) -> None:
        """End the idle threads; the others are daemons and end with the process."""
        self._pool.close(1.0 if not self._fenced else 0.1)

    def _work(self, run: Run, worker: Worker) -> None:
        attempt = run.attempt
        with self._lock:
            if attempt.token not in self._runs:
                return  # stopped while it waited
            exhausted = self._replaced >= self._shared.limits.abandoned_max
            if not exhausted:
                run.worker = worker
                self._count(run, run.attempt.timeout_s)
        if exhausted:
            self._settle(run, refused(attempt, self._exhausted()))
            return
        if attempt.heartbeat_s is not None:
            run.beat = self._shared.timers.after(attempt.heartbeat_s, self._listen, run)
        self._settle(run, contextvars.Context().run(self._call, run))

    def _call(self, run: Run) -> Outcome:
        attempt, agent = run.attempt, run.agent
        RUN_ID.set(attempt.run_id)
        TASK_ID.set(attempt.task_id)
        try:
            ports = self._shared.ports
            given = ports.whole(attempt.params) if attempt.params else {}
            params = mapping_of(agent, given)
            arguments = bind(agent, params)
            with self._lock:
                context = run.begin(TaskContext(run.attempt, params, ports))
            if run.ending is not None:  # stopped while the parameters were loaded
                return run.ending
            result = plain_result(agent, agent.function(context, **arguments))
            return context.concluded(agent, result)
        except BaseException as error:  # noqa: BLE001 - nothing of an agent ends the engine
            return run.ending or failed(agent, attempt, error)

    def _settle(self, run: Run, outcome: Outcome) -> None:
        with self._lock:
            run.ended = True
            mine = self._runs.pop(run.attempt.token, None) is not None
            if not mine:
                self._fenced -= 1
                self._replaced -= run.abandoned
        if mine:
            self._shared.outbox.put([run.finish(outcome)])
        else:
            self._shared.kept.end(run.attempt.token)
            _log.info("an abandoned thread of agent %r has returned", run.agent.name)

    def _time_out(self, run: Run) -> None:
        self._give_up(run, timed_out(run.attempt))

    def _give_up(self, run: Run, ending: Outcome) -> None:
        with self._lock:
            if run.ending is not None:
                return  # it is stopping already
            run.ending = ending
        self._abandon(run)

    def _listen(self, run: Run) -> None:
        """Give up a run that is silent; look again when it could have been so for too long."""
        if run.attempt.token not in self._runs:
            return
        left_s = run.silence_left_s()
        if left_s > 0:
            run.beat = self._shared.timers.after(left_s, self._listen, run)
        else:
            self._give_up(run, silent(run.attempt))

    def _stop(self, stops: Sequence[tuple[AttemptToken, str]], code: str, grace_s: float) -> None:
        for token, reason in stops:
            with self._lock:
                run = self._runs.get(token)
                if run is None or run.ending is not None:
                    continue
                run.ending = cancelled(run.attempt, reason, code)
                if run.worker is None:
                    del self._runs[token]
            if run.worker is None:
                self._shared.outbox.put([run.finish(run.ending)])
                continue
            if run.timer is not None:
                run.timer.cancel()
            if run.context is not None:
                run.context.stop()
            run.timer = self._shared.timers.after(grace_s, self._abandon, run)

    def _abandon(self, run: Run) -> None:
        with self._lock:
            if run.ending is None or self._runs.pop(run.attempt.token, None) is None:
                return
            self._fenced += 1
        if run.context is not None:
            run.context.stop()
        self._shared.kept.abandon(run.finish(run.ending), functools.partial(self._replace, run))

    def _replace(self, run: Run) -> None:
        """Have another thread take the place of one that has not returned within its grace."""
        with self._lock:
            # under the lock of `_settle`: the thread must not have gone on to another run
            if run.ended or run.worker is None:
                return
            run.abandoned = True
            self._replaced += 1
            stuck = self._pool.abandon(run.worker)
        _log.warning(
            "agent %r does not stop: the thread of task %r of run %r has lost its slot",
            run.agent.name,
            run.attempt.task_id,
            run.attempt.run_id,
        )
        if stuck:
            self._refuse()

    def _refuse(self) -> None:
        """Fail what waits: the system gives us no thread at all."""
        with self._lock:
            waiting = [run for run in self._runs.values() if run.worker is None]
            for run in waiting:
                del self._runs[run.attempt.token]
        for run in waiting:
            error = ExecutorExhausted("no thread can be started", hint="raise the limit of threads")
            self._shared.outbox.put([run.finish(refused(run.attempt, error))])

    def _exhausted(self) -> ExecutorExhausted:
        return ExecutorExhausted(
            f"{self._replaced} abandoned threads still run, so no sync agent is started",
            hint="let agents look at ctx.cancelled, or start the engine again",
        )
