"""The executor of an engine: sends each attempt to where its agent runs."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from goclaw_actors.executors.async_executor import AsyncExecutor
from goclaw_actors.executors.context import ContextPorts
from goclaw_actors.executors.errors import (
    CANCELLED,
    EXECUTOR_CLOSED,
    INTERRUPTED,
    AgentUnknown,
    ExecutorMissing,
)
from goclaw_actors.executors.gate import Entrant, Gate
from goclaw_actors.executors.kept import Kept
from goclaw_actors.executors.outbox import Outbox
from goclaw_actors.executors.outcomes import cancelled, refused, timed_out
from goclaw_actors.executors.passing import REAL_TIME
from goclaw_actors.executors.run import ExecutorLimits, Shared, limited
from goclaw_actors.executors.steps import check_secret
from goclaw_actors.executors.thread_executor import ThreadExecutor
from goclaw_actors.why.reason import AGENT_MISSING, EXECUTOR_FULL
from goclaw_actors.why.sight import AT_BOUNDARY, HERE
from goclaw_actors.work import Interrupt, Limit, Offer, Outcome, Pause, Retract, Stepped
from goclaw_events.envelope import NEW_TUPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from goclaw_actors.executors.agents import Agent, AgentRegistry
    from goclaw_actors.executors.kind import KindExecutor, KindFactory
    from goclaw_actors.executors.outbox import Item
    from goclaw_actors.executors.passing import PassingTime
    from goclaw_actors.executors.process_executor import ProcessExecutor
    from goclaw_actors.executors.resolve import Gather, Load
    from goclaw_actors.executors.secrets import Secrets
    from goclaw_actors.work import (
        AttemptToken,
        Consumed,
        Emitted,
        Progress,
        Saved,
        Sink,
        StartAttempt,
        StopAttempt,
        TellAttempt,
        Word,
    )
    from goclaw_events.value import Value

AGENT: Final = "agent"
_CLOSING: Final = "the engine closes"
_log = logging.getLogger("goclaw.executors")

if TYPE_CHECKING:
    _Executor: TypeAlias = AsyncExecutor | ThreadExecutor | ProcessExecutor | KindExecutor
    ProcessFactory: TypeAlias = Callable[[Shared], ProcessExecutor]


class Running(NamedTuple):
    """What an executor has in hand, counted."""

    coroutines: int
    threads: int
    waiting_for_a_thread: int
    waiting_for_an_agent: int
    abandoned_coroutines: int
    abandoned_threads: int
    loop_lag_s: float
    others: dict[str, int]
    """Attempts by kind of work, for the kinds that are no agents."""
    in_processes: int
    workers: int
    waiting_for_room: int
    """Attempts beyond the number that may run at once."""


class AgentExecutor:
    """Implement `work.Executor`: async agents run on a loop, sync ones in threads.

    Other kinds of work go to the executors in `kinds`; one that is not there fails its attempts
    with `executor_missing`.

    An attempt of an agent that is not registered is held until it is: after a restart without its
    module the work waits instead of failing. `sink` is never called on the thread that calls
    `start_many` or `stop_many`. `load` reads the whole value under a reference's hash, a fresh one
    at each call; `input_of` gives the input of a run (it may hold references). Both may block.
    Without `secrets` no task can name one, without `gather` none is given what was collected.
    `is_crowded` says that too much of what was emitted is not written yet; from any thread.
    """

    def __init__(
        self,
        registry: AgentRegistry,
        sink: Sink,
        *,
        load: Load,
        input_of: Callable[[str], Value],
        limits: ExecutorLimits | None = None,
        processes: ProcessFactory | None = None,
        secrets: Secrets | None = None,
        gather: Gather | None = None,
        kinds: Mapping[str, KindFactory] | None = None,
        time: PassingTime = REAL_TIME,
        is_crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        self._registry = registry
        self._held: dict[AttemptToken, _Executor | None] = {}
        self._missing: dict[str, dict[AttemptToken, StartAttempt]] = {}
        self._missing_lock = threading.Lock()
        self._timers = time.timers()
        self._outbox = Outbox(sink, self._delivered)
        self._standing: set[AttemptToken] = set()
        self._closing = False
        self._empty = threading.Event()
        reveal = secrets.reveal if secrets is not None else None
        ports = ContextPorts(
            load, input_of, self._emit, self._timers.after, time.monotonic, reveal, gather,
            time.now_ns, stands=self._stands, is_crowded=is_crowded, wait=time.wait,
            require_agent=registry.lookup,
        )  # fmt: skip
        limits = limits or ExecutorLimits()
        self._kept = Kept(self._outbox, self._timers, limits.abandon_grace_s)
        shared = Shared(ports, self._outbox, self._timers, limits, self._kept, time)
        self._gate = Gate(limits.attempts_max, time.monotonic, self._timers.after, self._overdue)
        self._async = AsyncExecutor(shared)
        self._threads = ThreadExecutor(shared)
        self._processes = None if processes is None else processes(shared)
        self._sync_agents = shared.limits.sync_agents
        self._kinds: dict[str, KindExecutor] = {
            kind: make(shared) for kind, make in (kinds or {}).items()
        }
        self._leave_registry = registry.on_registered(self._registered)

    def start_many(self, attempts: Sequence[StartAttempt]) -> None:
        """Begin attempts; one that is held already is ignored, as all are after `close`."""
        if self._closing:
            return
        held, agents = self._held, self._registry
        ready: list[Entrant] = []
        for attempt in attempts:
            if attempt.token in held:
                continue
            agent = None
            if attempt.kind == AGENT:
                agent = agents.get(attempt.agent) or self._hold(attempt)
                if agent is None:
                    continue
            held[attempt.token] = None
            ready.append(NEW_TUPLE(Entrant, (agent, attempt)))
        self._begin(self._gate.enter(ready))

    def _begin(self, entrants: Sequence[Entrant]) -> None:
        """Send those that were let in to where they run."""
        ready: list[tuple[Agent, StartAttempt]] = []
        others: dict[str, list[StartAttempt]] = {}
        for agent, attempt in entrants:
            if agent is not None:
                ready.append((agent, attempt))
            else:
                self._held[attempt.token] = self._kinds.get(attempt.kind)
                others.setdefault(attempt.kind, []).append(attempt)
        self._send(ready)
        for kind, wanted in others.items():
            executor = self._kinds.get(kind)
            if executor is None:
                # not here: outcomes must not reach the sink on the caller's thread
                self._timers.after(0.0, self._outbox.put, [_missing(one, kind) for one in wanted])
            else:
                executor.start(wanted)

    def _send(self, ready: Sequence[tuple[Agent, StartAttempt]]) -> None:
        coroutines: list[tuple[Agent, StartAttempt]] = []
        functions: list[tuple[Agent, StartAttempt]] = []
        isolated: list[tuple[Agent, StartAttempt]] = []
        held = self._held
        for agent, attempt in ready:
            if agent.in_process(self._sync_agents):
                held[attempt.token] = self._processes
                isolated.append((agent, attempt))
            elif agent.is_async:
                held[attempt.token] = self._async
                coroutines.append((agent, attempt))
            else:
                held[attempt.token] = self._threads
                functions.append((agent, attempt))
        if coroutines:
            self._async.start(coroutines)
        if functions:
            self._threads.start(functions)
        if isolated and self._processes is not None:
            self._processes.start(isolated)
        elif isolated:
            none = [_missing(attempt, "agent in a process") for _, attempt in isolated]
            self._timers.after(0.0, self._outbox.put, none)

    def stop_many(self, stops: Sequence[StopAttempt]) -> None:
        """Stop attempts; an unknown token is ignored."""
        self._stop([(stop.token, stop.reason) for stop in stops], CANCELLED, None)

    def tell_many(self, tells: Sequence[TellAttempt]) -> None:
        """Tell attempts something; one that waits for its agent, or for room, hears it then.

        Work of other kinds hears of its time only: an interrupt stops it at once.
        """
        by_executor: dict[_Executor, list[TellAttempt]] = {}
        for tell in tells:
            executor = self._held.get(tell.token) or self._keep(tell)
            if executor is not None:
                by_executor.setdefault(executor, []).append(tell)
                self._say_to_kind(executor, tell)
        for listener in (self._async, self._threads, self._processes):
            if listener is not None and listener in by_executor:
                listener.tell(by_executor[listener])

    def _say_to_kind(self, executor: _Executor, tell: TellAttempt) -> None:
        kind = next((one for one in self._kinds.values() if one is executor), None)
        if kind is None:
            return
        if isinstance(tell.word, Interrupt):
            kind.stop([(tell.token, tell.word.reason)], INTERRUPTED, None)
        elif isinstance(tell.word, Limit):
            kind.limit([(tell.token, tell.word)])

    def _keep(self, tell: TellAttempt) -> _Executor | None:
        """Add what an attempt is told to what it will begin with; return who runs it by now.

        One that is interrupted does not begin.
        """
        word = tell.word
        if isinstance(word, Interrupt):
            if tell.token in self._held:
                self._timers.after(0.0, self._give_up, tell.token, word.reason, INTERRUPTED)
            return None
        with self._missing_lock:
            for attempts in self._missing.values():
                attempt = attempts.get(tell.token)
                if attempt is not None:
                    attempts[tell.token] = _told(attempt, word)
                    return None
        if self._gate.change(tell.token, partial(_told, word=word)):
            return None
        return self._held.get(tell.token)

    def holds(self, token: AttemptToken) -> bool:
        """Tell whether an attempt is here and something of it not yet with the sink. Any thread."""
        return token in self._held or token in self._kept

    def place_of(self, token: AttemptToken) -> str:
        """Return where an attempt is: `here`, what it waits for, or '' where it is unknown.

        Any thread.
        """
        if token not in self._held:
            return ""
        with self._missing_lock:
            if any(token in attempts for attempts in self._missing.values()):
                return AGENT_MISSING
        executor = self._held.get(token)
        is_full = self._gate.waits(token) or (executor is not None and executor.waits(token))
        if is_full:
            return EXECUTOR_FULL
        return AT_BOUNDARY if token in self._standing else HERE

    def running(self) -> Running:
        """Count what is in hand. Any thread."""
        with self._missing_lock:
            missing = sum(map(len, self._missing.values()))
        return Running(
            self._async.running,
            self._threads.running,
            self._threads.waiting,
            missing,
            self._async.abandoned,
            self._threads.abandoned,
            self._async.lag_s,
            {kind: executor.running for kind, executor in self._kinds.items()},
            0 if self._processes is None else self._processes.running,
            0 if self._processes is None else self._processes.workers,
            self._gate.waiting,
        )

    def stirring(self, resting: Collection[int]) -> int:
        """Count the attempts that do not just wait: for time, a word, an agent, or room.

        What is called on the loop rests if the loop does; `resting` are the threads that do, as
        `threading.get_ident` has them. Any thread.
        """
        with self._missing_lock:
            missing = sum(map(len, self._missing.values()))
        waiting = missing + self._gate.waiting + self._threads.waiting
        called = self._async.called + self._threads.count_of(resting)
        return len(self._held) - waiting - called

    def waiting_for_agents(self) -> dict[str, int]:
        """Return the names of agents that are not registered, each with the attempts it holds."""
        with self._missing_lock:
            return {name: len(held) for name, held in sorted(self._missing.items())}

    def close(self, grace_s: float = 5.0) -> None:
        """Stop everything, wait up to `grace_s`, abandon the rest. Not from an agent.

        These outcomes have the status `cancelled` and the code `executor_closed`: nobody asked
        for them, the attempts are lost with this process and start again with the next one.
        """
        if self._closing:
            return
        self._closing = True
        self._leave_registry()
        self._stop([(token, _CLOSING) for token in list(self._held)], EXECUTOR_CLOSED, grace_s)
        if self._held:
            self._empty.wait(grace_s)
        executors: list[_Executor] = [self._async, self._threads, *self._kinds.values()]
        if self._processes is not None:
            executors.append(self._processes)
        for executor in executors:
            executor.abandon_all(_CLOSING, EXECUTOR_CLOSED)
        for executor in executors:
            executor.close()
        self._timers.close()

    def _stop(
        self, stops: Sequence[tuple[AttemptToken, str]], code: str, grace_s: float | None
    ) -> None:
        by_executor: dict[_Executor, list[tuple[AttemptToken, str]]] = {}
        for stop in stops:
            if stop[0] not in self._held:
                continue
            executor = self._held.get(stop[0])
            if executor is None:
                self._timers.after(0.0, self._give_up, *stop, code)
            else:
                by_executor.setdefault(executor, []).append(stop)
        for executor, wanted in by_executor.items():
            executor.stop(wanted, code, grace_s)

    def _hold(self, attempt: StartAttempt) -> Agent | None:
        """Keep an attempt for later; return its agent if it was registered just now."""
        name = attempt.agent
        with self._missing_lock:
            agent = self._registry.get(name)
            if agent is not None:
                return agent
            self._held[attempt.token] = None
            waiting = self._missing.setdefault(name, {})
            waiting[attempt.token] = attempt
            first = len(waiting) == 1
        if first:
            try:
                self._registry.lookup(name)
            except AgentUnknown as error:
                task, run = attempt.task_id, attempt.run_id
                _log.warning("%s; task %r of run %r waits for it", error, task, run)
        return None

    def _registered(self, agent: Agent) -> None:
        with self._missing_lock:
            attempts = self._missing.pop(agent.name, {})
        entrants = [Entrant(agent, attempt) for attempt in attempts.values()]
        self._begin(self._gate.enter(entrants))

    def _give_up(self, token: AttemptToken, reason: str, code: str) -> None:
        with self._missing_lock:
            found: StartAttempt | None = None
            for name, attempts in self._missing.items():
                found = attempts.pop(token, None)
                if found is not None:
                    if not attempts:
                        del self._missing[name]
                    break
        found = found or self._gate.give_up(token)
        if found is not None:
            self._outbox.put([cancelled(found, reason, code)])
        else:  # begun between the order to stop and now
            self._stop([(token, reason)], code, None)

    def _emit(self, said: Progress | Consumed | Saved | Stepped | Emitted) -> None:
        if isinstance(said, Stepped):
            check_secret(said, self._outbox.redactor)
        self._outbox.put([said])

    def _stands(self, token: AttemptToken, is_on: bool) -> None:  # noqa: FBT001 - a port
        """Take in that an attempt stands still at a boundary, or goes on. Any thread."""
        if is_on:
            self._standing.add(token)
        else:
            self._standing.discard(token)
        executor = self._held.get(token)
        for one in (self._async, self._threads, self._processes):
            if one is not None and one is executor:
                one.stand(token, is_on=is_on)

    def _delivered(self, items: list[Item]) -> None:
        held, kept, ended = self._held, self._kept, []
        for item in items:
            if type(item) is Outcome:
                held.pop(item.token, None)
                self._standing.discard(item.token)
                if not (item.abandoned and item.token in kept):  # its code still runs
                    ended.append(item.token)
        if not self._closing:
            self._begin(self._gate.leave(ended))
        elif not held:
            self._empty.set()

    def _overdue(self, attempt: StartAttempt) -> None:
        """End an attempt whose time is over before there was room for it."""
        self._outbox.put([timed_out(attempt)])


def _told(attempt: StartAttempt, word: Word) -> StartAttempt:
    """Return an attempt that begins with what it is told."""
    if isinstance(word, Retract):
        left = tuple(one for one in attempt.signals if one.id != word.signal)
        return attempt._replace(signals=left)
    if isinstance(word, Limit):
        return limited(attempt, word)
    if isinstance(word, Pause):
        return attempt._replace(paused=word.is_on)
    if not isinstance(word, Offer):
        return attempt
    known = {one.id for one in attempt.signals}
    fresh = tuple(one for one in word.signals if one.id not in known)
    return attempt._replace(signals=attempt.signals + fresh)


def _missing(attempt: StartAttempt, kind: str) -> Outcome:
    error = ExecutorMissing(
        f"no executor runs tasks of kind {kind!r} here",
        hint="use a version of Goclaw, or settings, that have one",
    )
    return refused(attempt, error, retryable=False)
