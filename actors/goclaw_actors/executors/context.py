"""The task context: what an agent learns about its task, and how it talks back."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from goclaw_actors.executors.errors import Cancelled
from goclaw_actors.executors.progress import ProgressMeter
from goclaw_actors.executors.resolve import resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    from goclaw_actors.executors.progress import After
    from goclaw_actors.executors.resolve import Load, Reveal
    from goclaw_actors.work import Progress, StartAttempt
    from goclaw_events.value import Value

RUN_ID: Final[ContextVar[str]] = ContextVar("run_id", default="")
TASK_ID: Final[ContextVar[str]] = ContextVar("task_id", default="")

_UNREAD: Final = object()
_LAZY: Final = threading.Lock()
"""Held while a part of a context is made that most contexts never need."""


class ContextPorts(NamedTuple):
    """What all contexts of an executor share: the ways out of user code."""

    load: Load
    input_of: Callable[[str], Value]
    emit: Callable[[Progress], None]
    after: After
    clock: Callable[[], float] = time.monotonic
    reveal: Reveal | None = None


class TaskContext:
    """Tell an agent about its attempt. The first argument of every agent.

    Reading is safe from any thread; so are `progress`, `cancelled` and `log`.
    """

    __slots__ = (
        "_attempt",
        "_beat_s",
        "_deadline",
        "_deadline_s",
        "_ended",
        "_input",
        "_log",
        "_meter",
        "_params",
        "_ports",
        "_stopped",
        "_stopped_event",
    )

    def __init__(self, attempt: StartAttempt, params: dict[str, Any], ports: ContextPorts) -> None:
        self._attempt = attempt
        self._params = params
        self._ports = ports
        self._beat_s = ports.clock()
        self._stopped = False
        self._stopped_event: threading.Event | None = None
        self._ended = False
        self._meter: ProgressMeter | None = None
        self._log: TaskLog | None = None
        self._input: Value = _UNREAD
        self._deadline: datetime | None = None
        self._deadline_s: float | None = None
        if attempt.timeout_s is not None:
            self._deadline_s = ports.clock() + attempt.timeout_s
            now = datetime.now(UTC)
            with contextlib.suppress(OverflowError):  # a deadline beyond the calendar is none
                self._deadline = now + timedelta(seconds=attempt.timeout_s)

    @property
    def run_id(self) -> str:
        """Return the id of the run."""
        return self._attempt.run_id

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
        """Return the parameters of the task, templates and references resolved."""
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

    def sleep(self, seconds: float) -> None:
        """Wait in a sync agent; raise `Cancelled` as soon as the attempt is asked to stop."""
        with _LAZY:
            event = self._stopped_event
            if event is None:
                event = self._stopped_event = threading.Event()
        if self._stopped or event.wait(seconds):  # `stop` sets the flag first, then the event
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
        return self._ports.clock() - self._beat_s

    def stop(self) -> None:
        """Ask the agent to stop. For the executor; any thread."""
        self._stopped = True
        if self._stopped_event is not None:
            self._stopped_event.set()

    def end(self) -> None:
        """Send the last progress and let no more through. For the executor; any thread."""
        with _LAZY:
            self._ended = True
        if self._meter is not None:
            self._meter.end()


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
