"""Agents in worker processes: reused, replaced when they end, killed when they do not stop."""

from __future__ import annotations

import logging
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.executors.children.executor import ChildExecutor
from goclaw_actors.executors.children.wire import FrameTooLarge
from goclaw_actors.executors.crew import Crew, reference_of
from goclaw_actors.executors.deaths import died, how
from goclaw_actors.executors.errors import (
    INTERRUPTED,
    ExecutorExhausted,
    LauncherDied,
    StepSecret,
    WorkerFailed,
)
from goclaw_actors.executors.outcomes import cancelled, not_begun, refused, silent
from goclaw_actors.executors.progress import PROGRESS_MESSAGE_BYTES_MAX
from goclaw_actors.executors.resolve import HasReferences, plain_bytes, resolved
from goclaw_actors.executors.run import Run
from goclaw_actors.executors.steps import check_secret
from goclaw_actors.executors.words import plain_words
from goclaw_actors.executors.worker import (
    BEAT,
    CONSUMED,
    DONE,
    EMITTED,
    INPUT,
    LOG,
    PROGRESS,
    READY,
    RUN,
    SAVED,
    STEPPED,
    STOOD,
    STOP,
    TELL,
    VALUE,
)
from goclaw_actors.work import (
    Consumed,
    Emitted,
    Interrupt,
    Limit,
    Offer,
    Outcome,
    Pause,
    Progress,
    Saved,
    Stepped,
    Unrecorded,
)
from goclaw_events.errors import BlobMissing, CodedError, ValueTooLarge
from goclaw_events.value import BlobRef, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from goclaw_actors.executors.agents import Agent
    from goclaw_actors.executors.children.children import Children
    from goclaw_actors.executors.children.launcher import Exit
    from goclaw_actors.executors.context import ContextPorts
    from goclaw_actors.executors.crew import ProcessLimits, WorkerProgram
    from goclaw_actors.executors.outbox import Item
    from goclaw_actors.executors.run import Shared
    from goclaw_actors.executors.worker_link import WorkerLink
    from goclaw_actors.work import AttemptToken, StartAttempt, TellAttempt, Word
    from goclaw_events.value import Value

ANSWER_S: Final = 1.0
"""A worker tells within this time how long its agent has been silent, unless it hangs."""
_KILLED_S: Final = 5.0
_log = logging.getLogger("goclaw.executors")


class ProcessExecutor(ChildExecutor[Run]):
    """Run agents in worker processes, one attempt at a time in each.

    `start`, `stop` and `abandon_all` may be called from any thread; the rest belongs to the
    thread of the loop. An outcome that says that an agent was stopped, or is out of time, leaves
    after the agent has ended, so that attempts never overlap.
    """

    def __init__(
        self, shared: Shared, children: Children, program: WorkerProgram, limits: ProcessLimits
    ) -> None:
        super().__init__(shared, children, limits.kill_grace_s)
        self._limits = limits
        self._crew = Crew(
            children, program, limits, self._heard, self._over, shared.outbox.redactor
        )
        self._references: dict[str, tuple[Agent, list[str]]] = {}
        self._number = 0
        self._ended: list[Item] = []
        self._flushing = False
        if limits.workers_min:
            children.call(self._fill)

    def waits(self, token: AttemptToken) -> bool:
        """Tell whether a run waits for a worker. Any thread."""
        run = self._runs.get(token)
        return run is not None and not run.begun

    @property
    def workers(self) -> int:
        """Return how many worker processes there are."""
        return len(self._crew)

    def start(self, runs: Sequence[tuple[Agent, StartAttempt]]) -> None:
        """Begin runs in order, those beyond the number of workers when one is free."""
        self._take_in(Run(agent, attempt) for agent, attempt in runs)

    def tell(self, tells: Sequence[TellAttempt]) -> None:
        """Tell agents something, in order."""
        self._children.call(self._tell, tells)

    def stand(self, token: AttemptToken, *, is_on: bool) -> None:
        """Take in that a run stands still, or goes on: its time does not count meanwhile."""
        self._children.call(self._stand, token, is_on)

    # What follows runs on the thread of the loop.

    def _stand(self, token: AttemptToken, is_on: bool) -> None:  # noqa: FBT001 - as it is posted
        run, now_s = self._runs.get(token), self._children.loop.time()
        if run is None:
            return
        if is_on:
            run.stand(now_s)
            return
        left_s = run.go_on(now_s)
        if left_s is not None:
            self._count(run, left_s)

    def _next(self) -> None:
        """Give what waits to idle workers, the one used last first; order more if they lack."""
        waiting = self._waiting
        while waiting:
            if waiting[0].attempt.token not in self._runs:
                waiting.popleft()
                continue
            worker = self._crew.take(waiting[0])
            if worker is None:
                self._fill(len(waiting))
                return
            self._assign(worker, waiting.popleft())

    def _fill(self, wanted: int = 0) -> None:
        try:
            self._crew.fill(wanted)
        except OSError as error:
            self._fail_waiting(ExecutorExhausted(f"no worker process can be started: {error}"))

    def _assign(self, worker: WorkerLink, run: Run) -> None:
        given, ports = [run.attempt.params, run.attempt.state], self._shared.ports
        try:
            packed = plain_bytes(given)
        except HasReferences:

            def read() -> bytes:
                return pack(ports.whole(given))

            def then(value: Value, error: Exception | None) -> None:
                if worker.run is run:
                    self._hand_over(worker, run, value, error)

            self._children.load_in_thread(read, then)
        else:
            self._hand_over(worker, run, packed, None)

    def _hand_over(
        self, worker: WorkerLink, run: Run, packed: bytes, error: Exception | None
    ) -> None:
        attempt = run.attempt
        ending = run.ending if error is None else run.ending or not_begun(attempt, error)
        if ending is not None:
            self._crew.free(worker)
            self._settle(run, ending)
            self._next()
            return
        self._number += 1
        run.number = self._number
        fields = [
            attempt.stream,
            attempt.run_id,
            attempt.task_id,
            attempt.generation,
            attempt.attempt,
            attempt.agent,
        ]
        reference = self._reference(run.agent)
        early = [*([Offer(attempt.signals)] if attempt.signals else ()), *(run.early or ())]
        if attempt.paused:
            early.insert(0, Pause(is_on=True))
        try:
            steps = pack([list(step) for step in attempt.steps])
            worker.send([RUN, run.number, fields, reference, packed, run.attempt.timeout_s, steps])
            for word in early:
                _say(worker, run, word)
        except FrameTooLarge as fault:
            self._crew.free(worker)
            self._settle(run, refused(attempt, ValueTooLarge(str(fault)), retryable=False))
            self._next()
            return
        run.begun = True
        run.since_s = self._children.loop.time()
        self._count(run, run.attempt.timeout_s)
        if attempt.heartbeat_s is not None:
            run.beat = self._children.loop.call_later(attempt.heartbeat_s, self._listen, run)

    def _heard(self, worker: WorkerLink, message: list[Any]) -> None:
        kind = message[0]
        run = worker.run
        if kind == READY:
            worker.ready = True
            self._crew.free(worker)
            self._next()
        elif kind == LOG:
            _, name, level, text, extra = message
            said = self._shared.outbox.redactor.marked(text)
            logging.getLogger(name).log(level, "%s", said, extra=extra)
        elif run is None or message[1] != run.number:
            _log.warning("a worker answered for an attempt that it does not have")
        elif kind == DONE:
            self._done(worker, run, *message[2:])
        elif kind in (CONSUMED, SAVED, EMITTED):
            self._reported(run, message)
        elif kind == STEPPED:
            self._stepped(worker, run, *message[2:])
        elif kind == PROGRESS:
            self._progress(run, message[2], message[3])
        elif kind == INPUT:
            ports, run_id = self._shared.ports, run.attempt.run_id
            read = partial(_read_input, ports, run_id)
            self._answer(worker, run, INPUT, read, f"the input of run {run_id!r}")
        elif kind == VALUE:
            read = partial(_read_step, self._shared.ports, run.attempt, message[2])
            self._answer(worker, run, VALUE, read, "the result of a step")
        elif kind == BEAT:
            self._beat(run, message[2])
        elif kind == STOOD:
            self._shared.ports.stands(run.attempt.token, message[2])

    def _done(
        self,
        worker: WorkerLink,
        run: Run,
        printed: bool,  # noqa: FBT001 - as it comes over the socket
        status: str,
        result: bytes | None,
        *rest: Any,
    ) -> None:
        attempt = run.attempt
        value = None if result is None else unpack(result)
        outcome = Outcome(attempt.stream, attempt.token, status, value, *rest)
        worker.served += 1
        if printed:
            worker.hear_out()
        self._crew.free(worker)
        self._settle(run, outcome)
        self._next()

    def _progress(self, run: Run, fraction: float | None, text: str) -> None:
        attempt = run.attempt
        if run.ending is None and attempt.token in self._runs:
            said = text[:PROGRESS_MESSAGE_BYTES_MAX]
            self._put(Progress(attempt.stream, attempt.token, fraction, said))

    def _reported(self, run: Run, message: list[Any]) -> None:
        attempt = run.attempt
        if attempt.token not in self._runs:
            return
        if message[0] == CONSUMED:
            self._put(Consumed(attempt.stream, attempt.token, message[2]))
        elif message[0] == EMITTED:
            place = (attempt.generation, attempt.attempt)
            self._put(Emitted(attempt.stream, attempt.token, *place, *message[2:]))
        else:
            _, _, number, state, blobs = message
            self._put(Saved(attempt.stream, attempt.token, number, unpack(state), blobs))

    def _tell(self, tells: Sequence[TellAttempt]) -> None:
        for token, word in tells:
            run = self._runs.get(token)
            worker = None if run is None else self._crew.working_on(run)
            if run is None:
                continue
            is_begun = worker is not None and run.begun
            if isinstance(word, Interrupt):
                self._interrupt(run, word, worker if is_begun else None)
            elif isinstance(word, Limit):
                self._limit(run, word, worker if is_begun else None)
            elif worker is None or not is_begun:
                run.tell(word)
            else:
                _say(worker, run, word)

    def _interrupt(self, run: Run, word: Interrupt, worker: WorkerLink | None) -> None:
        """Ask an agent to stop, and end it when it does not; at once if it has not begun."""
        grace_s = self._limits.kill_grace_s
        ending = cancelled(run.attempt, word.reason, INTERRUPTED)
        if worker is not None and run.ending is None:
            _say(worker, run, word)
            wait_s = grace_s if word.timeout_s is None else word.timeout_s
            if wait_s > 0:
                end = partial(self._end, run, ending, grace_s)
                run.escalate(self._children.loop.call_later(wait_s, end))
                return
        self._end(run, ending, grace_s)

    def _limit(self, run: Run, word: Limit, worker: WorkerLink | None) -> None:
        left_s = run.limit(word, self._children.loop.time())
        if worker is None or run.ending is not None:
            return
        _say(worker, run, Limit(None, left_s, run.attempt.timeout_of))
        if run.timer is not None:
            run.timer.cancel()
        self._count(run, left_s)

    def _count(self, run: Run, left_s: float | None) -> None:
        run.timer = None
        if left_s is not None:
            run.timer = self._children.loop.call_later(left_s, self._time_out, run)

    def _stepped(
        self,
        worker: WorkerLink,
        run: Run,
        name: str,
        key: str,
        digest: bytes,
        *rest: Any,
    ) -> None:
        attempt, (result, blobs) = run.attempt, rest
        if attempt.token not in self._runs:
            return
        said = Stepped(attempt.stream, attempt.token, name, key, digest, unpack(result), blobs)
        try:
            check_secret(said, self._shared.outbox.redactor)
        except StepSecret as error:
            _say(worker, run, Unrecorded(name, key, error.message))
        else:
            self._put(said)

    def _answer(
        self, worker: WorkerLink, run: Run, kind: str, read: Callable[[], bytes], what: str
    ) -> None:
        """Tell a worker what it asked for, or None: it cannot be read."""
        number = run.number

        def then(value: Value, error: Exception | None) -> None:
            if error is not None:
                _log.warning("%s cannot be read: %s", what, error)
            try:
                worker.control([kind, number, value])
            except FrameTooLarge as fault:
                _log.warning("%s cannot be handed over: %s", what, fault)
                worker.control([kind, number, None])

        self._children.load_in_thread(read, then)

    def _over(self, worker: WorkerLink, end: Exit) -> None:
        """Say for what a worker ran that it has ended; fail what waits if it never was ready."""
        self._crew.forget(worker)
        run, worker.run = worker.run, None
        if run is not None:
            self._settle(run, run.ending or died(run, end, self._limits))
        if not worker.ready:
            self._failed(end)
        self._next()

    def _failed(self, end: Exit) -> None:
        if end.lost:
            self._fail_waiting(LauncherDied("the launcher died, and the worker with it"))
        elif not self._crew.has_ready:
            text = f"a worker process ended before it was ready: {how(end)}"
            self._fail_waiting(WorkerFailed(text, hint="its output stands in the engine's log"))

    def _fail_waiting(self, error: CodedError) -> None:
        waiting, self._waiting = self._waiting, deque()
        for run in waiting:
            self._settle(run, refused(run.attempt, error))

    def _settle(self, run: Run, outcome: Outcome) -> None:
        if self._runs.pop(run.attempt.token, None) is not None:
            self._put(run.finish(outcome))

    def _put(self, item: Item) -> None:
        self._ended.append(item)
        if not self._flushing:
            self._flushing = True
            self._children.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        ended, self._ended = self._ended, []
        self._shared.outbox.put(ended)

    def _listen(self, run: Run) -> None:
        """Ask how long an agent has been silent; a process that does not answer is silent, too."""
        worker = self._crew.working_on(run)
        if worker is not None and run.ending is None:
            worker.control([BEAT, run.number])
            run.beat = self._children.loop.call_later(ANSWER_S, self._end_silent, run)

    def _beat(self, run: Run, silent_s: float) -> None:
        if run.beat is not None:
            run.beat.cancel()
        left_s = (run.attempt.heartbeat_s or 0.0) - silent_s
        if left_s > 0:
            run.beat = self._children.loop.call_later(left_s, self._listen, run)
        else:
            self._end_silent(run)

    def _end_silent(self, run: Run) -> None:
        self._end(run, silent(run.attempt), self._limits.kill_grace_s)

    def _end(self, run: Run, ending: Outcome, grace_s: float) -> None:
        if run.ending is not None:
            return  # the first reason counts, and its grace
        run.ending = ending
        if run.timer is not None:
            run.timer.cancel()
        worker = self._crew.working_on(run)
        if worker is None or not run.begun:
            self._settle(run, ending)
            return
        worker.control([STOP, run.number])
        run.timer = self._children.loop.call_later(grace_s, self._end_worker, worker, run)

    def _end_worker(self, worker: WorkerLink, run: Run) -> None:
        if worker.run is run:
            _log.warning(
                "agent %r does not stop: the worker of task %r of run %r is killed",
                run.agent.name,
                run.attempt.task_id,
                run.attempt.run_id,
            )
            worker.leaving = True
            self._crew.kill(worker)
            run.timer = self._children.loop.call_later(_KILLED_S, self._give_up, worker, run)

    def _give_up(self, worker: WorkerLink, run: Run) -> None:
        """Report a worker that not even the kernel can end: it waits for a device."""
        if worker.run is run and run.ending is not None:
            worker.run = None
            self._crew.forget(worker)
            if self._runs.pop(run.attempt.token, None) is not None:
                self._shared.kept.abandon(run.finish(run.ending))
            self._next()

    def _reference(self, agent: Agent) -> list[str]:
        """Return where an agent's function was defined: module, name within it, file."""
        known = self._references.get(agent.name)
        if known is None or known[0] is not agent:
            known = self._references[agent.name] = (agent, reference_of(agent))
        return known[1]


def _read_input(ports: ContextPorts, run_id: str) -> bytes:
    return pack(resolved(ports.input_of(run_id), ports.load))


def _read_step(ports: ContextPorts, attempt: StartAttempt, sha256: bytes) -> bytes:
    """Return the result of a recorded step of the attempt, and nothing else that is kept."""
    for step in attempt.steps:
        if isinstance(step.result, BlobRef) and step.result.sha256 == sha256:
            return pack(ports.load(step.result))
    msg = "the attempt has no such step"
    raise BlobMissing(msg)


def _say(worker: WorkerLink, run: Run, word: Word) -> None:
    """Tell a worker something."""
    for said in plain_words(word):
        worker.control([TELL, run.number, said])
