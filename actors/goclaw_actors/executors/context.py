"""The task context: what an agent learns about its task, and how it talks back."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from goclaw_actors.executors.chunks import Chunks
from goclaw_actors.executors.errors import Cancelled, Interrupted
from goclaw_actors.executors.mailbox import Mailbox, ids_of, patch_of
from goclaw_actors.executors.outcomes import chunk_of, stored
from goclaw_actors.executors.pausing import Boundary
from goclaw_actors.executors.progress import ProgressMeter
from goclaw_actors.executors.resolve import resolved
from goclaw_actors.executors.spawning import Spawning
from goclaw_actors.executors.window import Room, Window, is_on_loop
from goclaw_actors.work import (
    Consumed,
    Emitted,
    Full,
    Interrupt,
    Limit,
    Offer,
    Pause,
    Recorded,
    Saved,
    Signal,
    Unrecorded,
    Written,
)
from goclaw_events.ids import plain_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, MutableMapping

    from goclaw_actors.executors.progress import After
    from goclaw_actors.executors.resolve import Gather, Load, Reveal
    from goclaw_actors.work import AttemptToken, Progress, StartAttempt, Stepped, Word
    from goclaw_events.value import Value

RUN_ID: Final[ContextVar[str]] = ContextVar("run_id", default="")
TASK_ID: Final[ContextVar[str]] = ContextVar("task_id", default="")

T = TypeVar("T")

_UNREAD: Final = object()
_LAZY: Final = threading.Lock()
"""Held while a part of a context is made that most contexts never need."""


class ContextPorts(NamedTuple):
    """What all contexts of an executor share: the ways out of user code."""

    load: Load
    input_of: Callable[[str], Value]
    emit: Callable[[Progress | Consumed | Saved | Stepped | Emitted], None]
    after: After
    clock: Callable[[], float] = time.monotonic
    reveal: Reveal | None = None
    gather: Gather | None = None
    now_ns: Callable[[], int] = time.time_ns
    stands: Callable[[AttemptToken, bool], None] = lambda _token, _is_on: None
    is_crowded: Callable[[], bool] = lambda: False
    wait: Callable[[Mailbox, int, float | None], object] = Mailbox.wait
    require_agent: Callable[[str], object] = lambda _name: None

    def whole(self, value: Value) -> Value:
        """Return a private copy of what a task is given, with nothing left to look up; blocks."""
        return resolved(value, self.load, self.reveal, self.gather)


class TaskContext(Spawning):
    """Tell an agent about its attempt. The first argument of every agent.

    Reading is safe from any thread; so are `progress`, `cancelled`, `log` and `save`. `listens`:
    the agent has looked at a boundary, or at what was said to it.
    """

    __slots__ = (
        "_attempt",
        "_beat_s",
        "_deadline",
        "_deadline_s",
        "_ended",
        "_input",
        "_interrupted",
        "_log",
        "_mailbox",
        "_meter",
        "_params",
        "_ports",
        "_saves",
        "_seen",
        "_state",
        "_stopped",
        "_window",
        "listens",
    )

    def __init__(self, attempt: StartAttempt, params: dict[str, Any], ports: ContextPorts) -> None:
        self._attempt = attempt
        self._params = params
        self._ports = ports
        self._beat_s = ports.clock()
        self._stopped = False
        self._paused, self._standing = attempt.paused, 0
        self._steps = None
        self._main = None
        self._full = None
        self._ended = False
        self._meter: ProgressMeter | None = None
        self._log: TaskLog | None = None
        self._input: Value = _UNREAD
        self._state: Value = _UNREAD
        self._mailbox: Mailbox | None = None
        self._interrupted: str | None = None
        self.listens = False
        self._window: Window | None = None
        self._saves = 0
        self._seen = 0
        self._deadline: datetime | None = None
        self._deadline_s: float | None = None
        self._bound(attempt.timeout_s)
        if attempt.signals:
            self.hear(Offer(attempt.signals))

    @property
    def run_id(self) -> str:
        """Return the id of the run."""
        return plain_id(self._attempt.run_id)

    @property
    def task_id(self) -> str:
        """Return the id of the task within its run."""
        return self._attempt.task_id

    @property
    def generation(self) -> int:
        """Return how often the task was opened again by hand; 0 at first."""
        return self._attempt.generation

    @property
    def attempt(self) -> int:
        """Return which try of this generation it is, from 1."""
        return self._attempt.attempt

    @property
    def idempotency_key(self) -> str:
        """Return the key that is the same for all attempts of this generation of the task."""
        return self._attempt.idempotency_key

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the parameters of the task, templates and references resolved.

        As they are now: a steer changes them while the agent runs. Ask again, do not keep them.
        """
        return MappingProxyType(self._params)

    @property
    def input(self) -> Value:
        """Return the input of the run. Read at the first use, which may wait for the disk."""
        if self._input is _UNREAD:
            ports = self._ports
            self._input = resolved(ports.input_of(self._attempt.run_id), ports.load)
        return self._input

    @property
    def deadline(self) -> datetime | None:
        """Return when the attempt times out (UTC), or None."""
        return self._deadline

    @property
    def remaining_s(self) -> float | None:
        """Return the seconds that are left, at least 0.0, or None without a timeout."""
        if self._deadline_s is None:
            return None
        return max(0.0, self._deadline_s - self._ports.clock())

    @property
    def log(self) -> TaskLog:
        """Return the logger `goclaw.agent.<name>`; its records carry `run_id` and `task_id`."""
        if self._log is None:
            extra = {"run_id": self.run_id, "task_id": self.task_id, "attempt": self.attempt}
            logger = logging.getLogger("goclaw.agent." + self._attempt.agent)
            self._log = TaskLog(logger, extra)
        return self._log

    @property
    def cancelled(self) -> bool:
        """Tell whether the attempt was asked to stop, or has timed out."""
        return self._stopped

    def check_cancelled(self) -> None:
        """Raise `Cancelled` once the attempt was asked to stop: for the loops of sync agents."""
        if self._stopped:
            raise Cancelled

    def progress(self, fraction: float | None = None, message: str = "") -> None:
        """Report how far the attempt is: `fraction` 0.0 to 1.0, `message` at most 1 KiB.

        May be called often: one report a second leaves, and the last one always.
        """
        self._beat_s = self._ports.clock()
        with _LAZY:
            if self._ended:
                return
            meter = self._meter
            if meter is None:
                ports = self._ports
                meter = ProgressMeter(self._attempt, ports.emit, ports.clock, ports.after)
                self._meter = meter
        meter.report(fraction, message)

    def heartbeat(self) -> None:
        """Give a sign of life: what the task's `heartbeat_timeout` waits for. Any thread; cheap.

        Nothing is recorded. `progress` is a sign of life, too.
        """
        self._beat_s = self._ports.clock()

    @property
    def silent_s(self) -> float:
        """Return how long the attempt gave no sign of life. For the executor; any thread."""
        return 0.0 if self._standing else self._ports.clock() - self._beat_s

    def _went_on(self) -> None:
        self._beat_s = self._ports.clock()

    def emit(self, chunk: object) -> Room:
        """Add a chunk to the output of the task: plain data of at most 64 KiB. Any thread.

        An async agent awaits it: that waits while much is not written yet. In any other agent
        the call itself waits, and raises `Cancelled` once the attempt is asked to stop. Chunks
        are kept in order, those of each attempt for themselves; what was emitted before the
        agent ended is there when the task has ended. Raises `ValueTooLarge`, `ValueNotStorable`,
        and `OutputFull` for more than 64 MiB of an attempt, or for who never waits.
        """
        value, size = chunk_of(chunk)
        with _LAZY:
            window = self._window = self._window or Window(self._ports.is_crowded)
        if not is_on_loop():
            window.wait(lambda: self._stopped)
        attempt = self._attempt
        with window.sending:
            if not self._ended:
                number, counted = window.take(size), (attempt.generation, attempt.attempt)
                said = Emitted(attempt.stream, attempt.token, *counted, number, value, size)
                self._ports.emit(said)
        return Room(window)

    # -- signals -------------------------------------------------------------------------------

    def boundary(self) -> Boundary:
        """Say that a steer may land here, and take the messages that came: [] where none did.

        Cheap. While the task is paused it waits here: an async agent awaits it for that, in any
        other the call itself waits. Each message is given once; messages to be merged come as
        one, its body a list. Raises `Interrupted` in an agent that was interrupted, `Cancelled`
        in one that was asked to stop.
        """
        if self._paused and not is_on_loop():
            self._stand_in_thread()
        return Boundary(self._messages(), self._stand_on_loop, self._messages)

    def _messages(self) -> list[Signal]:
        self._pass_boundary()
        return [] if self._mailbox is None else self._taken(self._mailbox.take_messages())

    def next_turn(self) -> Signal | None:
        """Take the first message that was sent as a followup: the next turn; None: there is none.

        What is never taken is declined when the task ends.
        """
        turn = None if self._mailbox is None else self._mailbox.take_turn()
        return None if turn is None else self._taken([turn])[0]

    async def steered(self) -> Mapping[str, Any]:
        """Wait for a change of the parameters, and return them; at once if one was missed."""
        mailbox = self._box()
        while (patches := mailbox.patches) == self._seen:
            seen = mailbox.changes
            await self._stand_on_loop()
            self._pass_boundary()
            if mailbox.patches == self._seen:
                await mailbox.change(seen)
        self._seen = patches
        return self.params

    async def signals(self) -> AsyncIterator[Signal]:
        """Yield every signal in order, patches and messages of all modes; messages are taken."""
        mailbox = self._box()
        while True:
            seen = mailbox.changes
            await self._stand_on_loop()
            self._pass_boundary()
            found = mailbox.take()
            if found is None:
                await mailbox.change(seen)
            else:
                yield self._taken([found])[0]

    def next_signal(self, timeout_s: float | None = None) -> Signal | None:
        """Wait for the next signal in a sync agent; None after `timeout_s`.

        Raises as `boundary` does.
        """
        mailbox = self._box()
        ends_s = None if timeout_s is None else self._ports.clock() + timeout_s
        while True:
            seen = mailbox.changes
            self._stand_in_thread()
            self._pass_boundary()
            found = mailbox.take()
            if found is not None:
                return self._taken([found])[0]
            left_s = None if ends_s is None else ends_s - self._ports.clock()
            if left_s is not None and left_s <= 0:
                return None
            self._ports.wait(mailbox, seen, left_s)

    def on_signal(self, callback: Callable[[Signal], object]) -> None:
        """Have each signal that waits or comes told to `callback`; that takes no message.

        In an async agent it is called on the loop, in any other on a thread of its own.
        """
        self._box().on_signal(callback)

    def stream(self, chunks: AsyncIterable[T]) -> Chunks[T]:
        """Make every chunk of an async iterator a boundary: see `Chunks`."""
        return Chunks(chunks, self._box(), self._messages, self._is_asked, self._stand_on_loop)

    def save(self, state: object) -> None:
        """Save what the next attempt begins with, should this one not end well. Any thread.

        What was taken before is done with, and not given again. `state` is stored as a result is;
        raises `ValueNotStorable`, `ValueTooLarge`. It is recorded soon, in order with all else
        that the attempt says, and costs a fact: save where it is worth it. Raises `HistoryFull`
        once so much is recorded of the task that it can only end.
        """
        self.check_room()
        blobs: dict[bytes, bytes] = {}
        kept = stored(state, blobs)
        with _LAZY:
            if self._ended:
                return
            self._saves += 1
            number = self._saves
        attempt = self._attempt
        self._ports.emit(Saved(attempt.stream, attempt.token, number, kept, blobs or None))

    @property
    def resumed_state(self) -> Value:
        """Return what an attempt before this one saved last, or None; may wait for the disk."""
        if self._state is _UNREAD:
            self._state = resolved(self._attempt.state, self._ports.load)
        return self._state

    def _is_asked(self) -> bool:
        """Tell whether a boundary would do anything."""
        has_messages = self._mailbox is not None and self._mailbox.has_messages()
        return has_messages or self._is_told_to_stop()

    @property
    def interrupted(self) -> bool:
        """Tell whether somebody interrupted the task: save what you have, and leave."""
        self.listens = True
        return self._interrupted is not None

    def _is_told_to_stop(self) -> bool:
        return self._stopped or self._interrupted is not None

    def _pass_boundary(self) -> None:
        self.listens = True
        self._leave_if_asked()

    def _leave_if_asked(self) -> None:
        if self._interrupted is not None:
            raise Interrupted(self._interrupted)
        if self._stopped:
            raise Cancelled

    def _box(self) -> Mailbox:
        with _LAZY:
            if self._mailbox is None:
                self._mailbox = Mailbox()
            return self._mailbox

    def _taken(self, signals: list[Signal]) -> list[Signal]:
        """Say that messages were taken."""
        ids = ids_of(signals)
        if ids:
            attempt = self._attempt
            self._ports.emit(Consumed(attempt.stream, attempt.token, ids))
        return signals

    def hear(self, word: Word) -> None:
        """Take in what the attempt is told. For the executor; any thread."""
        if isinstance(word, Written):
            if self._window is not None:
                self._window.give(word.size)
            return
        if isinstance(word, Limit):
            self._bound(word.left_s)
            return
        if isinstance(word, (Recorded, Unrecorded)):
            self.stepped(word)
            return
        if isinstance(word, Full):
            self._full = word
            return
        mailbox = self._box()
        if isinstance(word, Pause):
            self.pause(is_on=word.is_on)
        elif isinstance(word, Interrupt):
            self._interrupted = word.reason
            self._wake()
        elif isinstance(word, Offer):
            fresh = mailbox.fresh(word.signals)
            patch = patch_of(fresh)
            if patch:  # first: who is woken reads the new ones
                self._params = {**self._params, **patch}
            mailbox.put(fresh)
        else:
            mailbox.withdraw(word.signal)

    def _bound(self, left_s: float | None) -> None:
        """Let the attempt have so much time from now on."""
        self._deadline = self._deadline_s = None
        if left_s is not None:
            self._deadline_s = self._ports.clock() + left_s
            with contextlib.suppress(OverflowError):  # a deadline beyond the calendar is none
                now = datetime.fromtimestamp(self._ports.now_ns() / 1e9, UTC)
                self._deadline = now + timedelta(seconds=left_s)

    def stop(self) -> None:
        """Ask the agent to stop. For the executor; any thread."""
        self._stopped = True
        self._wake()

    def _wake(self) -> None:
        if self._mailbox is not None:
            self._mailbox.wake()

    def end(self) -> None:
        """Send the last progress and let no more through. For the executor; any thread."""
        with _LAZY:
            self._ended = True
        if self._paused:  # nothing of it stands still any more
            self.pause(is_on=False)
        if self._meter is not None:
            self._meter.end()
        self.end_steps()
        if self._mailbox is not None:
            self._mailbox.end()


if TYPE_CHECKING:
    _Adapter: TypeAlias = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class TaskLog(_Adapter):
    """Add the ids of the task to every record, also of threads that the agent started itself."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Merge the ids into what the caller gave as `extra`."""
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs
