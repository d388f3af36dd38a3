"""What a worker process does: take an attempt, call its agent, answer; one after the other.

Attempts come over one socket, read by the thread that runs them; stops and answers to questions
over another, read by a thread of their own. What leaves is written by both under a lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import logging
import os
import resource
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.executors.children.wire import READ_BYTES, Frames, framed
from goclaw_actors.executors.context import RUN_ID, TASK_ID, ContextPorts, TaskContext
from goclaw_actors.executors.errors import Cancelled
from goclaw_actors.executors.invoke import bind, mapping_of, plain_result
from goclaw_actors.executors.outcomes import MESSAGE_BYTES_MAX, bounded, failed
from goclaw_actors.executors.timers import Timers
from goclaw_actors.executors.words import word_of
from goclaw_actors.work import (
    AttemptToken,
    Consumed,
    Emitted,
    Outcome,
    Progress,
    StartAttempt,
    Stepped,
    StepRecord,
)
from goclaw_events.errors import BlobMissing, CodedError
from goclaw_events.value import pack, unpack

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from goclaw_actors.executors.agents import Agent
    from goclaw_actors.work import Saved, Word
    from goclaw_events.value import BlobRef, Value

    Find: TypeAlias = Callable[[str, Sequence[str]], Agent]
    """Return the agent of a name; the reference says where the engine's own one was defined."""

WORK_FD: Final = 3
CONTROL_FD: Final = 4
RUN: Final = "run"
STOP: Final = "stop"
INPUT: Final = "input"
BEAT: Final = "beat"
TELL: Final = "tell"
CONSUMED: Final = "consumed"
SAVED: Final = "saved"
EMITTED: Final = "emitted"
STOOD: Final = "stood"
STEPPED: Final = "stepped"
VALUE: Final = "value"
READY: Final = "ready"
DONE: Final = "done"
PROGRESS: Final = "progress"
LOG: Final = "log"
LOG_BYTES_MAX: Final = 8 * 1024
_ANSWER_S: Final = 60.0
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_log = logging.getLogger("goclaw.executors")


class Worker:
    """Serve an engine until it closes the socket. `cpu_s_max` bounds the CPU time of an attempt."""

    def __init__(
        self, work: socket.socket, control: socket.socket, find: Find, cpu_s_max: int | None = None
    ) -> None:
        self._work = work
        self._control = control
        self._find = find
        self._cpu_s_max = cpu_s_max
        self._sending = threading.Lock()
        self._state = threading.Lock()
        self._number = 0
        self._stopped = False
        self._context: TaskContext | None = None
        self._early: list[tuple[int, Word]] = []
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answer: bytes | None = None
        self._answered = threading.Event()
        self._asking = threading.Lock()
        timers = Timers()
        self._ports = ContextPorts(
            self._ask_value, self._ask_input, self._emit, timers.after, stands=self._stood
        )

    def serve(self) -> None:
        """Say that it is ready, and run what comes."""
        threading.Thread(target=self._listen, name="goclaw-control", daemon=True).start()
        logging.getLogger().addHandler(_Forward(self))
        self.send([READY])
        for message in _messages(self._work):
            if message[0] == RUN:
                self._run(*message[1:])

    def send(self, message: list[Any]) -> None:
        """Write a message to the engine; any thread. An engine that is gone ends this process."""
        data = framed(message)
        try:
            with self._sending:
                self._work.sendall(data)
        except OSError:
            os._exit(0)

    def _listen(self) -> None:
        for message in _messages(self._control):
            if message[0] == STOP:
                self._stop(message[1])
            elif message[0] in (INPUT, VALUE) and message[1] == self._number:
                self._answer = message[2]
                self._answered.set()
            elif message[0] == TELL:
                self._told(message[1], message[2])
            elif message[0] == BEAT:
                context = self._context if message[1] == self._number else None
                silent_s = 0.0 if context is None else context.silent_s
                self.send([BEAT, message[1], silent_s])

    def _stop(self, number: int) -> None:
        with self._state:
            if number != self._number:
                return
            self._stopped = True
            if self._context is not None:
                self._context.stop()
            if self._task is not None and self._loop is not None:
                self._loop.call_soon_threadsafe(self._task.cancel)

    def _told(self, number: int, said: Any) -> None:
        """Tell the agent something; it comes on another way than the agent's work, so early too."""
        word = word_of(said)
        with self._state:
            if self._context is not None and number == self._number:
                self._context.hear(word)
            elif number >= self._number:
                self._early.append((number, word))

    def _run(
        self,
        number: int,
        fields: Sequence[Any],
        reference: Sequence[str],
        params: bytes,
        timeout_s: float | None,
        steps: bytes,
    ) -> None:
        stream, run_id, task_id, generation, count, name = fields
        token = AttemptToken(0, 0, number)
        attempt = StartAttempt(
            stream, run_id, task_id, generation, count, token, name, None, timeout_s,
            steps=tuple(StepRecord(*step) for step in unpack(steps)),
        )  # fmt: skip
        with self._state:
            self._number, self._stopped, self._context = number, False, None
            self._answered.clear()
        if self._cpu_s_max is not None:
            _bound_cpu(self._cpu_s_max)
        outcome = contextvars.Context().run(self._call, attempt, reference, params)
        printed = _flush()
        rest = outcome[3:]
        result = None if outcome.result is None else pack(outcome.result)
        self.send([DONE, number, printed, outcome.status, result, *rest[1:]])

    def _call(self, attempt: StartAttempt, reference: Sequence[str], packed: bytes) -> Outcome:
        RUN_ID.set(attempt.run_id)
        TASK_ID.set(attempt.task_id)
        try:
            agent = self._find(attempt.agent, reference)
        except CodedError as error:
            return Outcome(
                attempt.stream,
                attempt.token,
                "failed",
                code=error.code,
                message=bounded(str(error), MESSAGE_BYTES_MAX),
            )
        context: TaskContext | None = None
        try:
            given, state = unpack(packed)
            params = mapping_of(agent, given)
            arguments = bind(agent, params)
            context = TaskContext(attempt._replace(state=state), params, self._ports)
            with self._state:
                early = [word for number, word in self._early if number == self._number]
                self._early = [one for one in self._early if one[0] > self._number]
                for word in early:
                    context.hear(word)
                self._context = context
                if self._stopped:
                    context.stop()
            context.check_cancelled()
            result = agent.function(context, **arguments)
            if agent.is_async:
                result = self._await(result, context)
            return context.concluded(agent, plain_result(agent, result))
        except BaseException as error:  # noqa: BLE001 - nothing of an agent ends the worker
            return failed(agent, attempt, error if context is None else context.left_with(error))
        finally:
            if context is not None:
                context.end()

    def _await(self, awaitable: Any, context: TaskContext) -> Any:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)

        async def call() -> Any:
            return await awaitable

        task = self._loop.create_task(call())
        context.runs_as(task)
        with self._state:
            self._task = task
            if self._stopped:
                task.cancel()
        try:
            return self._loop.run_until_complete(task)
        finally:
            with self._state:
                self._task = None

    def _ask_input(self, _run_id: str) -> Value:
        return self._asked([INPUT, self._number], "the input of the run")

    def _ask_value(self, ref: BlobRef) -> Value:
        """Return the result of a step that is too large to come with the attempt."""
        return self._asked([VALUE, self._number, ref.sha256], "the result of a step")

    def _asked(self, question: list[Any], what: str) -> Value:
        """Return what the engine answers; agents' threads ask one after the other."""
        with self._asking:
            self._answer = None
            self._answered.clear()
            self.send(question)
            self._answered.wait(_ANSWER_S)
            answer: bytes | None = self._answer
        if answer is not None:
            return unpack(answer)
        if self._stopped:
            raise Cancelled
        msg = f"{what} could not be read"
        raise BlobMissing(msg, hint="see the log of the engine")

    def _emit(self, said: Progress | Consumed | Saved | Stepped | Emitted) -> None:
        number = said.token.number
        if isinstance(said, Progress):
            self.send([PROGRESS, number, said.fraction, said.message])
        elif isinstance(said, Consumed):
            self.send([CONSUMED, number, said.signals])
        elif isinstance(said, Emitted):
            self.send([EMITTED, number, said.number, said.value, said.size])
        elif isinstance(said, Stepped):
            step = (said.name, said.key, said.digest)
            self.send([STEPPED, number, *step, pack(said.result), said.blobs])
        else:
            self.send([SAVED, number, said.number, pack(said.state), said.blobs])

    def _stood(self, token: AttemptToken, is_on: bool) -> None:  # noqa: FBT001 - a port
        self.send([STOOD, token.number, is_on])


class _Forward(logging.Handler):
    """Hand what is logged in a worker to the engine, which writes it where its own records go."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._worker.send(_logged(record))
        except Exception:  # noqa: BLE001 - as every handler: a bad record does not fail an agent
            self.handleError(record)


def _logged(record: logging.LogRecord) -> list[Any]:
    """Return the message that says what was logged."""
    text = record.getMessage()
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    extra = {
        key: value
        for key, value in vars(record).items()
        if key not in _STANDARD and isinstance(value, str | int | float)
    }
    for key, held in (("run_id", RUN_ID), ("task_id", TASK_ID)):
        if held.get():
            extra.setdefault(key, held.get())
    return [LOG, record.name, record.levelno, bounded(text, LOG_BYTES_MAX), extra]


def _messages(end: socket.socket) -> Iterator[Any]:
    """Yield messages until the other side is gone."""
    frames = Frames()
    while True:
        try:
            data = end.recv(READ_BYTES)
        except InterruptedError:
            continue
        except OSError:
            return
        if not data:
            return
        yield from frames.feed(data)


def _bound_cpu(seconds: int) -> None:
    """Let this process use so many seconds more, and a second to say so."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + seconds + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


class Noticed(io.TextIOWrapper):
    """A stream that remembers that something was written, so that the engine reads it in time."""

    noticed = False

    def write(self, text: str, /) -> int:
        """Write, and remember it."""
        self.noticed = True
        return super().write(text)


def _flush() -> bool:
    """Send on what was printed; tell whether there was anything."""
    printed = False
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "noticed", True):
            printed = True
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
            if isinstance(stream, Noticed):
                stream.noticed = False
    return printed
