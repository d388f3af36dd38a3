"""One attempt on its way, and what the executors share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from goclaw_actors.work import Limit

if TYPE_CHECKING:
    import asyncio

    from goclaw_actors.executors.agents import Agent
    from goclaw_actors.executors.context import ContextPorts, TaskContext
    from goclaw_actors.executors.kept import Kept
    from goclaw_actors.executors.outbox import Outbox
    from goclaw_actors.executors.passing import PassingTime
    from goclaw_actors.executors.pool import Worker
    from goclaw_actors.executors.timers import Timers
    from goclaw_actors.work import Interrupt, Outcome, StartAttempt, Word


OF_ATTEMPT: Final = "timeout"
"""The limit of time that begins with the attempt itself."""


@dataclass(frozen=True, slots=True)
class ExecutorLimits:
    """What user code may take.

    At most `attempts_max` attempts run at once, wherever they run; the others wait.
    `threads_max` threads run sync agents, each ends after `thread_idle_s` without work. Code that
    was told to stop has `stop_grace_s`, then it is abandoned; a thread past its timeout is at
    once. What is abandoned keeps its slot until it returns, or for `abandon_grace_s`. While
    `abandoned_max` of a kind (coroutines; threads that gave up their slots) still run, nothing new
    of that kind is started. `sync_agents` (`thread` or `process`) says where sync agents run that
    do not say it themselves.
    """

    attempts_max: int = 4096
    threads_max: int = 32
    thread_idle_s: float = 30.0
    stop_grace_s: float = 5.0
    abandon_grace_s: float = 30.0
    abandoned_max: int = 16
    sync_agents: str = "thread"


class Shared(NamedTuple):
    """The parts that the async and the thread executor have in common."""

    ports: ContextPorts
    outbox: Outbox
    timers: Timers
    limits: ExecutorLimits
    kept: Kept
    time: PassingTime


class Cancellable(Protocol):
    """A timer of a loop or of `Timers`."""

    def cancel(self) -> object:
        """Do not call it."""
        ...


class Run:
    """An attempt that an executor holds. Whoever takes it out of the table reports its outcome.

    `ending` is set once it was told to stop: then it is the outcome, whatever the code returns.
    `ended`: the code has; `abandoned`: it had not when its slot was given up. `early` is what it
    was told before its code began; `escalation` ends it when it does not stop by itself. `since_s`:
    when its time began to count (monotonic); None: it has not begun. `stood_s`: since when it
    does not count, because the run stands still at a boundary.
    """

    __slots__ = (
        "abandoned",
        "agent",
        "attempt",
        "beat",
        "begun",
        "context",
        "early",
        "ended",
        "ending",
        "escalation",
        "number",
        "since_s",
        "stood_s",
        "task",
        "timer",
        "worker",
    )

    def __init__(self, agent: Agent, attempt: StartAttempt) -> None:
        self.agent = agent
        self.attempt = attempt
        self.context: TaskContext | None = None
        self.early: list[Word] | None = None
        self.escalation: Cancellable | None = None
        self.ending: Outcome | None = None
        self.timer: Cancellable | None = None
        self.beat: Cancellable | None = None
        self.task: asyncio.Task[None] | None = None
        self.worker: Worker | None = None
        self.begun = False
        self.ended = False
        self.number = 0
        self.since_s: float | None = None
        self.stood_s: float | None = None
        self.abandoned = False

    def tell(self, word: Word) -> None:
        """Tell it something, or keep it until the code begins; see `begin`."""
        if self.context is not None:
            self.context.hear(word)
            return
        self.early = self.early or []
        self.early.append(word)

    def escalate(self, timer: Cancellable) -> None:
        """End it by a timer, unless it ends before; the latest one counts."""
        if self.escalation is not None:
            self.escalation.cancel()
        self.escalation = timer

    def begin(self, context: TaskContext) -> TaskContext:
        """Take note of its context, which hears what it was told before."""
        for word in self.early or ():
            context.hear(word)
        self.early = None
        self.context = context
        return context

    def patience_s(self, word: Interrupt, grace_s: float) -> float:
        """Return how long it may take to stop by itself when it is interrupted."""
        if word.timeout_s is not None:
            return word.timeout_s
        return grace_s if self.context is not None and self.context.listens else 0.0

    def limit(self, word: Limit, now_s: float) -> float | None:
        """Take another time in; return what is left of it, None: there is no limit.

        Its context is told, if its code has begun; its timer is the executor's.
        """
        stood_s = 0.0 if self.stood_s is None else now_s - self.stood_s
        ran_s = 0.0 if self.since_s is None else now_s - stood_s - self.since_s
        self.attempt = limited(self.attempt, word, ran_s)
        if self.stood_s is not None and self.attempt.timeout_of == OF_ATTEMPT:
            return None  # it counts again when the run goes on
        if self.since_s is not None:
            self.since_s += stood_s
        self.stood_s = None
        return self._left_s(ran_s)

    def stand(self, now_s: float) -> None:
        """Stop the time of the attempt; that of its task goes on."""
        is_counted = self.since_s is not None and self.attempt.timeout_of == OF_ATTEMPT
        if is_counted and self.ending is None:
            self.stood_s = now_s
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None

    def go_on(self, now_s: float) -> float | None:
        """Let the time of the attempt count again; return what is left, None: nothing to count."""
        if self.stood_s is None or self.since_s is None or self.ending is not None:
            return None
        self.since_s += now_s - self.stood_s
        self.stood_s = None
        return self._left_s(now_s - self.since_s)

    def _left_s(self, ran_s: float) -> float | None:
        """Return how much time is left, and tell the context, if the code has begun."""
        whole_s = self.attempt.timeout_s
        left_s = None if whole_s is None else max(0.0, whole_s - ran_s)
        if self.context is not None:
            self.context.hear(Limit(None, left_s, self.attempt.timeout_of))
        return left_s

    def silence_left_s(self) -> float:
        """Return how long the run may still be silent; 0.0 or less: it was so for too long."""
        limit_s = self.attempt.heartbeat_s or 0.0
        return limit_s if self.context is None else limit_s - self.context.silent_s

    def finish(self, outcome: Outcome) -> Outcome:
        """Close the books of a run that was taken out of the table; return what to report."""
        if self.timer is not None:
            self.timer.cancel()
        if self.beat is not None:
            self.beat.cancel()
        if self.escalation is not None:
            self.escalation.cancel()
        if self.context is not None:
            self.context.end()
        return outcome if self.ending is None else self.ending


def limited(attempt: StartAttempt, word: Limit, ran_s: float = 0.0) -> StartAttempt:
    """Return an attempt with another time, as it counts from its start, `ran_s` ago."""
    whole_s, which = word.timeout_s, OF_ATTEMPT
    if word.left_s is not None and (whole_s is None or ran_s + word.left_s < whole_s):
        whole_s, which = ran_s + word.left_s, word.left_of
    return attempt._replace(timeout_s=whole_s, timeout_of=which)
