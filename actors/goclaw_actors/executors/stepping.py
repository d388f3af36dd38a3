"""The part of the task context that makes steps durable: done once, handed back ever after."""

from __future__ import annotations

import inspect
import logging
import random
import threading
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload
from urllib.parse import quote

from goclaw_actors.errors import HistoryFull
from goclaw_actors.executors.errors import (
    Cancelled,
    StepInvalid,
    StepMissing,
    StepSecret,
    StepsLeft,
)
from goclaw_actors.executors.outcomes import completed, refused
from goclaw_actors.executors.pausing import Pausing
from goclaw_actors.executors.resolve import resolved
from goclaw_actors.executors.steps import (
    HOW_WITHOUT,
    StepApart,
    Steps,
    ThreadTicket,
    Ticket,
    digest_of,
    kept_result,
    named,
    step_id,
)
from goclaw_actors.executors.window import is_on_loop
from goclaw_actors.work import Recorded, Stepped, Unrecorded
from goclaw_events.errors import ValueNotStorable, ValueTooLarge
from goclaw_events.value import BlobRef, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from goclaw_actors.executors.agents import Agent
    from goclaw_actors.executors.context import ContextPorts
    from goclaw_actors.executors.steps import StepId
    from goclaw_actors.work import Full, Outcome, StartAttempt
    from goclaw_events.value import Value

T = TypeVar("T")

NOW: Final = "$now"
RANDOM: Final = "$random"
UUID: Final = "$uuid"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEY: Final[ContextVar[str]] = ContextVar("step_key", default="")
_LAZY: Final = threading.Lock()
_log = logging.getLogger("goclaw.executors")


def step_key() -> str:
    """Return the idempotency key of the durable step that runs: the same whenever it runs again.

    To be called in the function of a step, where others are asked to do something once. Raises
    `StepMissing` elsewhere.
    """
    key = _KEY.get()
    if not key:
        msg = "no durable step runs here"
        raise StepMissing(msg, hint="call it in the function that is handed to ctx.step(...)")
    return key


class Stepping(Pausing):
    """Durable steps, and what is recorded of the clock and of chance.

    In an async agent what these return is awaited; in any other they wait themselves.
    """

    __slots__ = ("_full", "_steps")

    _attempt: StartAttempt
    _ports: ContextPorts
    _ended: bool
    _steps: Steps | None
    _full: Full | None

    if TYPE_CHECKING:

        def heartbeat(self) -> None: ...  # noqa: D102 - the context's

    @overload
    def step(
        self, name: str, function: Callable[..., Awaitable[T]], /, *args: Any,
        key: str = "", **kwargs: Any,
    ) -> Awaitable[T]: ...  # fmt: skip

    @overload
    def step(
        self, name: str, function: Callable[..., Any], /, *args: Any, key: str = "", **kwargs: Any
    ) -> Any: ...

    def step(
        self, name: str, function: Callable[..., Any], /, *args: Any, key: str = "", **kwargs: Any
    ) -> Any:
        """Call `function` once and for all: its result is recorded, and handed back ever after.

        On return the result is durable. Attempts of the task after this one get it without a
        call, whatever ended this one. `name` and `key` say which step it is, so each pair may be
        asked for once in an attempt. The arguments are plain data, of which a digest is recorded;
        the result is kept as that of an agent, and what is returned is a copy of what is kept.
        Where `function` raises nothing is recorded, and the step may be asked for again. Should
        the process end between the call and the record, the function is called again: what it
        asks others to do it asks with `goclaw.step_key()`.

        A boundary, unless the step is recorded: raises `Interrupted`, `Cancelled`. Raises
        `StepRepeated`, `StepChanged`, `StepInvalid`, `StepSecret`, `ValueNotStorable`,
        `ValueTooLarge`, and `HistoryFull`, before the function is called, once so much is recorded
        of the task that it can only end.
        """
        step = step_id(name, key)
        said: object = function
        if not callable(said):
            msg = f"{named(step)} has no function to call: {repr(said)[:80]}"
            hint = "hand over the function, and after it what it is called with"
            raise StepInvalid(msg, hint=hint)
        digest = digest_of(args, kwargs)
        return self._do(step, digest, partial(function, *args, **kwargs))

    def now(self, key: str = "") -> Any:
        """Return the time (UTC), the same in all attempts; each needs a key of its own."""
        return self._do(own_step(NOW, key), b"", self._ports.now_ns, _time_of)

    def random(self, key: str = "") -> Any:
        """Return a number from 0.0 up to 1.0, the same in all attempts; as for `now`."""
        return self._do(own_step(RANDOM, key), b"", random.random)

    def uuid(self, key: str = "") -> Any:
        """Return a random UUID as text, the same in all attempts; as for `now`."""
        return self._do(own_step(UUID, key), b"", lambda: str(uuid.uuid4()))

    # -- for the executor ------------------------------------------------------------------------

    def stepped(self, word: Recorded | Unrecorded) -> None:
        """Take in what became of steps. Any thread."""
        steps = self._steps
        if steps is None:
            return
        if isinstance(word, Recorded):
            steps.settle((name, key) for name, key in word.steps)
        else:
            error = StepSecret(word.message, hint=HOW_WITHOUT)
            steps.settle([(word.name, word.key)], error)

    def check_room(self) -> None:
        """Raise `HistoryFull` once so much is recorded of the task that it can only end."""
        if self._full is not None:
            raise HistoryFull(self._full.message, hint=self._full.hint)

    def end_steps(self) -> None:
        """Let nobody wait for a step any more. Any thread."""
        if self._steps is not None:
            self._steps.end_all()

    def concluded(self, agent: Agent, result: object) -> Outcome:
        """Return the outcome of an agent that returned, with the steps that it did not use."""
        attempt = self._attempt
        outcome = completed(attempt, result)
        if not attempt.steps or outcome.status != "completed":
            return outcome
        unused = self._journal().unused
        if not unused:
            return outcome
        some = ", ".join(named(step) for step in unused[:3])
        text = f"agent {agent.name!r} ended without asking for {len(unused)} recorded steps: {some}"
        if agent.options.strict_steps:
            hint = "an agent asks in every attempt for the steps that it asked for before"
            return refused(attempt, StepsLeft(text, hint=hint), retryable=False)
        _log.warning("%s; task %r of run %r", text, attempt.task_id, attempt.run_id)
        return outcome._replace(unused=unused)

    # -- steps -----------------------------------------------------------------------------------

    def _do(
        self,
        step: StepId,
        digest: bytes,
        call: Callable[[], Any],
        read: Callable[[Any], Any] = lambda value: value,
    ) -> Any:
        if _KEY.get():
            msg = f"{named(step)} is asked for in the function of another step"
            raise StepInvalid(msg, hint="a step has no steps: ask for them one after the other")
        if is_on_loop():
            return self._do_on_loop(step, digest, call, read)
        return read(self._do_in_thread(step, digest, call))

    async def _do_on_loop(
        self, step: StepId, digest: bytes, call: Callable[[], Any], read: Callable[[Any], Any]
    ) -> Any:
        if self._is_boundary(step):
            await self._stand_on_loop()
            self._leave_if_over()
        steps = self._journal()
        found = steps.begin(step, digest)
        if found is not None:
            return read(resolved(found.result, self._ports.load))
        said = False
        try:
            self.check_room()
            result = self._called(step, call)
            if inspect.isawaitable(result):
                token = _KEY.set(self._key_of(step))
                try:
                    result = await result
                finally:
                    _KEY.reset(token)
            stepped = self._stepped(step, digest, result)
            ticket = Ticket()
            steps.expect(step, ticket)
            self._ports.emit(stepped)
            said = True
            await ticket.heard()
        finally:
            self._done(steps, step, said=said)
        return read(_copy_of(stepped))

    def _do_in_thread(self, step: StepId, digest: bytes, call: Callable[[], Any]) -> Any:
        if self._is_boundary(step):
            self._stand_in_thread()
            self._leave_if_over()
        steps = self._journal()
        found = steps.begin(step, digest)
        if found is not None:
            return resolved(found.result, self._ports.load)
        said = False
        try:
            self.check_room()
            result = self._called(step, call)
            if inspect.isawaitable(result):
                if inspect.iscoroutine(result):
                    result.close()
                msg = f"the function of {named(step)} is to be awaited, and the agent is not async"
                raise StepInvalid(msg, hint="write the agent as `async def`")
            stepped = self._stepped(step, digest, result)
            ticket = ThreadTicket()
            steps.expect(step, ticket)
            self._ports.emit(stepped)
            said = True
            ticket.wait(self._leave_if_over)
        finally:
            self._done(steps, step, said=said)
        return _copy_of(stepped)

    def _called(self, step: StepId, call: Callable[[], Any]) -> Any:
        token = _KEY.set(self._key_of(step))
        try:
            return call()
        finally:
            _KEY.reset(token)
            self.heartbeat()

    def _stepped(self, step: StepId, digest: bytes, result: object) -> Stepped:
        blobs: dict[bytes, bytes] = {}
        attempt = self._attempt
        if isinstance(result, StepApart):
            kept, blobs = result
        else:
            try:
                kept = kept_result(result, blobs)
            except (ValueNotStorable, ValueTooLarge) as error:
                msg = f"what {named(step)} came to: {error.message}"
                raise type(error)(msg, hint=error.hint) from error
        return Stepped(attempt.stream, attempt.token, *step, digest, kept, blobs or None)

    def _done(self, steps: Steps, step: StepId, *, said: bool) -> None:
        steps.end(step, said=said)
        self._rouse(steps)

    def _rouse(self, steps: Steps) -> None:
        """Have whoever sleeps look again."""
        if steps.wakes_ns:
            self._box().wake()

    def _key_of(self, step: StepId) -> str:
        return "/".join((self._attempt.idempotency_key, *(quote(part, safe="") for part in step)))

    def _is_boundary(self, step: StepId) -> bool:
        steps = self._steps
        known = steps.knows(step) if steps is not None else bool(self._attempt.steps)
        return not known or self._ended

    def _leave_if_over(self) -> None:
        """Let nobody wait for what nobody says any more."""
        if self._ended:
            raise Cancelled
        self._leave_if_asked()

    def _journal(self) -> Steps:
        steps = self._steps
        if steps is None:
            with _LAZY:
                steps = self._steps = self._steps or Steps(self._attempt.steps, self._ports.clock)
        return steps


def _time_of(ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=ns // 1000)


def own_step(name: str, key: str) -> StepId:
    """Return what a step of the engine's is known by; raises `StepInvalid`."""
    return name, step_id("key", key)[1]


def _copy_of(stepped: Stepped) -> Value:
    """Return what a later attempt will get, for the attempt that did the step."""
    result, blobs = stepped.result, stepped.blobs
    return unpack(blobs[result.sha256] if blobs and isinstance(result, BlobRef) else pack(result))
