"""The pool of threads: grows on demand, keeps order, outlives stuck jobs, shrinks when idle."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

import pytest

from goclaw_actors.executors.pool import ThreadPool, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAIT_S = 20.0


@pytest.fixture
def make_pool() -> Iterator[Callable[..., ThreadPool]]:
    """Make pools that end with the test."""
    made: list[ThreadPool] = []

    def make(threads_max: int = 4, idle_s: float = 30.0) -> ThreadPool:
        made.append(ThreadPool("test-pool", threads_max=threads_max, idle_s=idle_s))
        return made[-1]

    yield make
    for pool in made:
        pool.close(1.0)


def test_no_thread_without_work(make_pool: Callable[..., ThreadPool]) -> None:
    """The minimum is none, and idle threads end."""
    pool = make_pool(idle_s=0.01)
    assert pool.threads == 0
    done: list[threading.Thread] = []
    ran = threading.Event()

    def job(_: Worker) -> None:
        done.append(threading.current_thread())
        ran.set()

    assert pool.submit([job]) == []
    assert ran.wait(WAIT_S)
    done[0].join(WAIT_S)
    assert pool.threads == 0
    assert done[0].daemon
    assert done[0].name == "test-pool-1"


def test_threads_grow_to_the_maximum_and_the_rest_waits(
    make_pool: Callable[..., ThreadPool],
) -> None:
    """One submission of many jobs uses all threads, never more."""
    pool = make_pool(threads_max=3)
    together = threading.Barrier(4)
    go = threading.Event()
    seen: list[int] = []

    def job(number: int, _: Worker) -> None:
        if number < 3:
            together.wait(WAIT_S)
            go.wait(WAIT_S)
        seen.append(number)

    pool.submit([functools.partial(job, n) for n in range(5)])
    together.wait(WAIT_S)  # three jobs run at the same time, the fourth party is this thread
    assert (pool.threads, pool.waiting) == (3, 2)
    go.set()
    pool.close(WAIT_S)
    assert set(seen) >= {0, 1, 2}


def test_jobs_begin_in_order(make_pool: Callable[..., ThreadPool]) -> None:
    """With one thread, jobs run one after another as they came."""
    pool = make_pool(threads_max=1)
    seen: list[int] = []
    end = threading.Event()

    def job(number: int, _: Worker) -> None:
        seen.append(number)
        if number == 99:
            end.set()

    for first in range(0, 100, 10):
        pool.submit([functools.partial(job, n) for n in range(first, first + 10)])
    assert end.wait(WAIT_S)
    assert seen == list(range(100))


def test_an_abandoned_thread_is_replaced(make_pool: Callable[..., ThreadPool]) -> None:
    """What waits gets a new thread; the abandoned one ends with its job."""
    pool = make_pool(threads_max=1)
    stuck, release, ran = threading.Event(), threading.Event(), threading.Event()
    workers: list[Worker] = []

    def hang(worker: Worker) -> None:
        workers.append(worker)
        stuck.set()
        release.wait(WAIT_S)

    pool.submit([hang, lambda _: ran.set()])
    assert stuck.wait(WAIT_S)
    assert not ran.is_set()
    assert pool.abandon(workers[0]) == []
    assert ran.wait(WAIT_S)
    release.set()
    thread = workers[0].thread
    assert thread is not None
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert pool.threads == 1


def test_a_faulty_job_does_not_end_its_thread(
    make_pool: Callable[..., ThreadPool], caplog: pytest.LogCaptureFixture
) -> None:
    """An exception of a job is logged; the next job runs."""
    pool = make_pool(threads_max=1)
    ran = threading.Event()

    def fail(_: Worker) -> None:
        raise SystemExit

    pool.submit([fail, lambda _: ran.set()])
    assert ran.wait(WAIT_S)
    assert "a job of pool test-pool failed" in caplog.text


def test_jobs_are_handed_back_when_no_thread_can_be_started(
    make_pool: Callable[..., ThreadPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits for a thread that never comes."""

    def refuse(_: Any) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    pool = make_pool()
    jobs: list[Any] = [lambda _: None, lambda _: None]
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert pool.submit(jobs) == jobs
    assert (pool.threads, pool.waiting) == (0, 0)


def test_a_closed_pool_takes_nothing(make_pool: Callable[..., ThreadPool]) -> None:
    """After `close`, jobs are handed back."""
    pool = make_pool()
    pool.close(1.0)
    jobs: list[Any] = [lambda _: None]
    assert pool.submit(jobs) == jobs
