"""A pool of daemon threads that grows on demand, shrinks when idle, and survives stuck jobs."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Job: TypeAlias = Callable[["Worker"], None]

_log = logging.getLogger("goclaw.executors")


class Worker:
    """One thread of a pool. `abandoned`: the pool does not count it any more."""

    __slots__ = ("abandoned", "thread")

    def __init__(self) -> None:
        self.abandoned = False
        self.thread: threading.Thread | None = None


class ThreadPool:
    """Run jobs in order of arrival on at most `threads_max` threads, none of them when idle.

    Jobs wait without a bound of their own: what is started is bounded by the lanes.
    """

    def __init__(self, name: str, *, threads_max: int, idle_s: float) -> None:
        self._name = name
        self._threads_max = threads_max
        self._idle_s = idle_s
        self._jobs: deque[Job] = deque()
        self._workers: set[Worker] = set()
        self._idle = 0
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._closed = False

    @property
    def threads(self) -> int:
        """Return how many threads the pool has, without those that it abandoned."""
        return len(self._workers)

    @property
    def waiting(self) -> int:
        """Return how many jobs have no thread yet."""
        return len(self._jobs)

    def submit(self, jobs: Sequence[Job]) -> list[Job]:
        """Queue jobs; start at most one thread here, the others are started by threads.

        Returns the jobs that nobody is going to run, because no thread can be started. Does not
        block.
        """
        with self._changed:
            if self._closed:
                return list(jobs)
            self._jobs.extend(jobs)
            self._changed.notify(min(len(jobs), self._idle))
        return self._grow()

    def abandon(self, worker: Worker) -> list[Job]:
        """Give up a thread that does not come back: it ends with its job, another takes its place.

        Returns the jobs that nobody is going to run, as `submit` does.
        """
        with self._changed:
            worker.abandoned = True
            self._workers.discard(worker)
        return self._grow()

    def close(self, join_s: float) -> None:
        """Drop the jobs that wait and end the threads; wait for them at most `join_s` in all."""
        with self._changed:
            self._closed = True
            self._jobs.clear()
            self._changed.notify_all()
            threads = [worker.thread for worker in self._workers]
        until_s = time.monotonic() + join_s
        for thread in threads:
            if thread is not None and thread is not threading.current_thread():
                thread.join(max(0.0, until_s - time.monotonic()))

    def _grow(self) -> list[Job]:
        with self._changed:
            if len(self._jobs) <= self._idle or len(self._workers) >= self._threads_max:
                return []
            worker = Worker()
            self._workers.add(worker)
        name = f"{self._name}-{next(self._numbers)}"
        worker.thread = threading.Thread(target=self._run, args=(worker,), name=name, daemon=True)
        try:
            worker.thread.start()
        except RuntimeError:  # the system has no thread for us
            _log.exception("no thread could be started")
            with self._changed:
                self._workers.discard(worker)
                stuck = [] if self._workers else list(self._jobs)
                if stuck:
                    self._jobs.clear()
            return stuck
        return []

    def _run(self, worker: Worker) -> None:
        while True:
            with self._changed:
                job = self._take(worker)
            if job is None:
                return
            self._grow()
            try:
                job(worker)
            except BaseException:  # noqa: BLE001 - a job reports its faults: this one is ours
                _log.exception("a job of pool %s failed", self._name)
            del job
            if worker.abandoned:
                return

    def _take(self, worker: Worker) -> Job | None:
        while not self._jobs:
            if self._closed:
                break
            self._idle += 1
            woken = self._changed.wait(self._idle_s)
            self._idle -= 1
            if not woken and not self._jobs:
                break
        else:
            return self._jobs.popleft()
        self._workers.discard(worker)
        return None
