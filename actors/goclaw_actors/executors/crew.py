"""The worker processes of an executor: ordered as they are needed, reused, replaced."""

from __future__ import annotations

import inspect
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from goclaw_actors.executors.worker_link import WorkerLink

if TYPE_CHECKING:
    from collections.abc import Callable

    from goclaw_actors.executors.agents import Agent
    from goclaw_actors.executors.children.children import Children
    from goclaw_actors.executors.redaction import Redactor
    from goclaw_actors.executors.run import Run
    from goclaw_actors.executors.worker_link import Ended, Heard

START_S: Final = 60.0
_LEAVE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """How many workers there are, and what one may take.

    Between `workers_min` and `workers_max`; one that had nothing to do for `idle_s` leaves, and
    one that answered `tasks_max` times (0: never). `memory_bytes_max` bounds a worker,
    `cpu_s_max` each attempt; None is unbounded. An agent that was told to stop, or whose time is
    over, has `kill_grace_s` before its worker is killed.
    """

    workers_min: int = 0
    workers_max: int = 4
    idle_s: float = 60.0
    tasks_max: int = 1000
    kill_grace_s: float = 1.0
    memory_bytes_max: int | None = None
    cpu_s_max: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerProgram:
    """How a worker is started, and the first message that it is sent."""

    argv: tuple[str, ...]
    environment: Callable[[], dict[str, str]]
    setup: Callable[[], dict[str, Any]]


class Crew:
    """Workers, and which of them have nothing to do. Belongs to the thread of the loop."""

    def __init__(
        self,
        children: Children,
        program: WorkerProgram,
        limits: ProcessLimits,
        heard: Heard,
        ended: Ended,
        redactor: Redactor,
    ) -> None:
        self._children = children
        self._program = program
        self._limits = limits
        self._heard = heard
        self._ended = ended
        self._redactor = redactor
        self._workers: set[WorkerLink] = set()
        self._idle: list[WorkerLink] = []
        self._sweeping = False

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def has_ready(self) -> bool:
        """Tell whether a worker takes work, or is at it."""
        return any(worker.ready for worker in self._workers)

    def fill(self, wanted: int = 0) -> None:
        """Order workers: the least number, and for `wanted` attempts as many as may be.

        Raises `OSError` for one that cannot be ordered.
        """
        coming = sum(not worker.ready for worker in self._workers)
        room = self._limits.workers_max - len(self._workers)
        least = self._limits.workers_min - len(self._workers)
        for _ in range(min(room, max(least, wanted - coming))):
            self._order()

    def _order(self) -> None:
        limits = {"core_bytes": 0}
        if self._limits.memory_bytes_max is not None:
            limits["memory_bytes"] = self._limits.memory_bytes_max
        program = self._program
        environment = program.environment()
        worker = WorkerLink(
            self._children,
            program.argv,
            environment,
            limits,
            self._heard,
            self._ended,
            self._redactor,
        )
        self._workers.add(worker)
        worker.send(program.setup() | {"cpu_s_max": self._limits.cpu_s_max})
        self._children.loop.call_later(START_S, self._late, worker)

    def _late(self, worker: WorkerLink) -> None:
        """Kill a worker that still imports something: whoever waits for it learns of it."""
        if not worker.ready:
            self.kill(worker)

    def take(self, run: Run) -> WorkerLink | None:
        """Have the idle worker that was used last begin with an attempt; None: all are busy."""
        if not self._idle:
            return None
        worker = self._idle.pop()
        worker.begin(run)
        return worker

    def working_on(self, run: Run) -> WorkerLink | None:
        """Return the worker that an attempt was given to."""
        return next((worker for worker in self._workers if worker.run is run), None)

    def forget(self, worker: WorkerLink) -> None:
        """Strike out a worker that has ended, or that cannot be ended."""
        self._workers.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)

    def free(self, worker: WorkerLink) -> None:
        """Take a worker back, or let it go when it has served long enough."""
        worker.run = None
        tasks_max = self._limits.tasks_max
        if worker.leaving or (tasks_max and worker.served >= tasks_max):
            self._retire(worker)
            return
        worker.idle_since_s = time.monotonic()
        self._idle.append(worker)
        if not self._sweeping:
            self._sweeping = True
            self._children.loop.call_later(self._limits.idle_s, self._sweep)

    def _sweep(self) -> None:
        """Let workers go that had nothing to do for a while."""
        before_s = time.monotonic() - self._limits.idle_s
        stale = [worker for worker in self._idle if worker.idle_since_s <= before_s]
        stale = stale[: max(0, len(self._workers) - self._limits.workers_min)]
        for worker in stale:
            self._idle.remove(worker)
            self._retire(worker)
        self._sweeping = len(self._workers) > self._limits.workers_min
        if self._sweeping:
            self._children.loop.call_later(max(0.05, self._limits.idle_s / 2), self._sweep)

    def _retire(self, worker: WorkerLink) -> None:
        self._workers.discard(worker)
        worker.retire()
        self._children.loop.call_later(_LEAVE_S, self.kill, worker)

    def kill(self, worker: WorkerLink) -> None:
        """End a worker at once."""
        self._children.launcher.signal(worker.child, signal.SIGKILL)


def reference_of(agent: Agent) -> list[str]:
    """Return where the function of an agent was defined: module, name within it, and file."""
    function = inspect.unwrap(agent.function)
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__qualname__", None) or ""
    code = getattr(function, "__code__", None)
    return [module, name, str(getattr(code, "co_filename", ""))]
